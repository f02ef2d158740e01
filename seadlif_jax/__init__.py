"""Spiking neural networks of adaptive LIF neurons, discretised with the Symplectic Euler method, in JAX."""

from seadlif_jax.network import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.neurons import NEURONS
from seadlif_jax.surrogate import SURROGATES, spike_function
from seadlif_jax.training import load_network, train_and_evaluate
from seadlif_jax.version import __version__

__all__ = [
    "NEURONS",
    "SURROGATES",
    "LeakyReadout",
    "Network",
    "RecurrentLayer",
    "__version__",
    "load_network",
    "spike_function",
    "train_and_evaluate",
]
