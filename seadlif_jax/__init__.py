"""Spiking neural networks of adaptive LIF neurons, discretised with the Symplectic Euler method, in JAX."""

from seadlif_jax.network import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.neurons import NEURONS
from seadlif_jax.surrogate import SURROGATES, spike_function
from seadlif_jax.training import train_and_evaluate

__version__ = "0.1.0"

__all__ = [
    "NEURONS",
    "SURROGATES",
    "LeakyReadout",
    "Network",
    "RecurrentLayer",
    "spike_function",
    "train_and_evaluate",
]
