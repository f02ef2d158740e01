"""Spiking neural networks of adaptive LIF neurons, discretised with the Symplectic Euler method, in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

from seadlif_jax.losses import aggregate, classification
from seadlif_jax.neurons import LIF, LSTM, NEURONS, SURROGATES, EFAdLIF, Neuron, SEAdLIF, Surrogate
from seadlif_jax.nn import Execution, Hyperparameters, LeakyReadout, Network, RecurrentCell, RecurrentLayer
from seadlif_jax.version import __version__

if TYPE_CHECKING:
    from seadlif_jax.analysis.synops import measure_costs
    from seadlif_jax.inference import Evaluation, TrainedModel, evaluate, load_network, load_run
    from seadlif_jax.training import fit

# Imported when they are used: they need more packages than layers and losses.
_LAZY = {
    "Evaluation": "seadlif_jax.inference",
    "TrainedModel": "seadlif_jax.inference",
    "evaluate": "seadlif_jax.inference",
    "fit": "seadlif_jax.training",
    "load_network": "seadlif_jax.inference",
    "load_run": "seadlif_jax.inference",
    "measure_costs": "seadlif_jax.analysis.synops",
}

__all__ = [
    "LIF",
    "LSTM",
    "NEURONS",
    "SURROGATES",
    "EFAdLIF",
    "Evaluation",
    "Execution",
    "Hyperparameters",
    "LeakyReadout",
    "Network",
    "Neuron",
    "RecurrentCell",
    "RecurrentLayer",
    "SEAdLIF",
    "Surrogate",
    "TrainedModel",
    "__version__",
    "aggregate",
    "classification",
    "evaluate",
    "fit",
    "load_network",
    "load_run",
    "measure_costs",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
