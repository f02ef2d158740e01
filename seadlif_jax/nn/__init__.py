"""Flax modules of layers and networks, and their way through time."""

from seadlif_jax.nn.execution import PRECISIONS, Execution
from seadlif_jax.nn.layers import LeakyReadout, RecurrentCell, RecurrentLayer
from seadlif_jax.nn.network import Hyperparameters, Network

__all__ = ["PRECISIONS", "Execution", "Hyperparameters", "LeakyReadout", "Network", "RecurrentCell", "RecurrentLayer"]
