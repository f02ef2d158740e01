"""Spiking neural networks of adaptive LIF neurons, discretised with the Symplectic Euler method, in JAX."""

from seadlif_jax.analysis.synops import measure_costs
from seadlif_jax.inference import Evaluation, TrainedModel, evaluate, load_network, load_run
from seadlif_jax.losses import aggregate, classification
from seadlif_jax.neurons import NEURONS
from seadlif_jax.neurons.surrogate import SURROGATES, spike_function
from seadlif_jax.nn.bounds import project_to_boxes
from seadlif_jax.nn.network import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.training import fit
from seadlif_jax.version import __version__

__all__ = [
    "NEURONS",
    "SURROGATES",
    "Evaluation",
    "LeakyReadout",
    "Network",
    "RecurrentLayer",
    "TrainedModel",
    "__version__",
    "aggregate",
    "classification",
    "evaluate",
    "fit",
    "load_network",
    "load_run",
    "measure_costs",
    "project_to_boxes",
    "spike_function",
]
