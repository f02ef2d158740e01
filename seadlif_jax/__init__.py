"""Spiking neural networks of adaptive LIF neurons, discretised with the Symplectic Euler method, in JAX."""

from seadlif_jax.losses import aggregate, classification
from seadlif_jax.neurons import LIF, LSTM, NEURONS, SURROGATES, EFAdLIF, Neuron, SEAdLIF, Surrogate
from seadlif_jax.nn import Execution, Hyperparameters, LeakyReadout, Network, RecurrentCell, RecurrentLayer
from seadlif_jax.version import __version__

__all__ = [
    "LIF",
    "LSTM",
    "NEURONS",
    "SURROGATES",
    "EFAdLIF",
    "Execution",
    "Hyperparameters",
    "LeakyReadout",
    "Network",
    "Neuron",
    "RecurrentCell",
    "RecurrentLayer",
    "SEAdLIF",
    "Surrogate",
    "__version__",
    "aggregate",
    "classification",
]
