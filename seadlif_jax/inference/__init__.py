"""A trained network in use: predictions, streaming, evaluation, export."""

from seadlif_jax.inference.evaluation import Evaluation, evaluate
from seadlif_jax.inference.run_loading import load_network, load_run, open_run
from seadlif_jax.inference.stream_batch import StreamBatch
from seadlif_jax.inference.trained_model import TrainedModel

__all__ = ["Evaluation", "StreamBatch", "TrainedModel", "evaluate", "load_network", "load_run", "open_run"]
