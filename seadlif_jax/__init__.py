"""Spiking neural networks of adaptive LIF neurons, discretised with the Symplectic Euler method, in JAX."""

from seadlif_jax.costs import measure as measure_costs
from seadlif_jax.evaluation import Evaluation, evaluate
from seadlif_jax.network import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.neurons import NEURONS
from seadlif_jax.optimizer import project_to_boxes
from seadlif_jax.readout import aggregate, classification
from seadlif_jax.surrogate import SURROGATES, spike_function
from seadlif_jax.trained import TrainedNetwork, load_network, load_run
from seadlif_jax.training import train_and_evaluate
from seadlif_jax.version import __version__

__all__ = [
    "NEURONS",
    "SURROGATES",
    "Evaluation",
    "LeakyReadout",
    "Network",
    "RecurrentLayer",
    "TrainedNetwork",
    "__version__",
    "aggregate",
    "classification",
    "evaluate",
    "load_network",
    "load_run",
    "measure_costs",
    "project_to_boxes",
    "spike_function",
    "train_and_evaluate",
]
