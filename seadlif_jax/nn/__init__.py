"""Flax modules of layers and networks, and their way through time."""

from seadlif_jax.nn.batch_norm import BatchNorm
from seadlif_jax.nn.execution import ENGINES, PRECISIONS, Execution
from seadlif_jax.nn.layers import LeakyReadout, RecurrentCell, RecurrentLayer
from seadlif_jax.nn.network import Hyperparameters, Network

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "BatchNorm",
    "Execution",
    "Hyperparameters",
    "LeakyReadout",
    "Network",
    "RecurrentCell",
    "RecurrentLayer",
]
