"""Spiking neural networks of adaptive LIF neurons, discretised with the Symplectic Euler method, in JAX.

Names are imported on first use: `import seadlif_jax` alone loads nothing, not even JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from seadlif_jax.utils.errors import SeadlifError, missing_package
from seadlif_jax.version import __version__

if TYPE_CHECKING:
    from seadlif_jax.analysis.synops import measure as measure_costs
    from seadlif_jax.inference.evaluation import Evaluation, evaluate
    from seadlif_jax.inference.model import TrainedNetwork, load_network, load_run
    from seadlif_jax.losses import aggregate, classification
    from seadlif_jax.neurons import NEURONS
    from seadlif_jax.neurons.surrogate import SURROGATES, spike_function
    from seadlif_jax.nn.network import LeakyReadout, Network, RecurrentLayer
    from seadlif_jax.training.fit import train_and_evaluate
    from seadlif_jax.training.optimizer import project_to_boxes

__all__ = [
    "NEURONS",
    "SURROGATES",
    "Evaluation",
    "LeakyReadout",
    "Network",
    "RecurrentLayer",
    "SeadlifError",
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

# The module of each name that is imported on first use, and the object's name there if it differs.
_LAZY = {
    "NEURONS": "neurons",
    "SURROGATES": "neurons.surrogate",
    "Evaluation": "inference.evaluation",
    "LeakyReadout": "nn.network",
    "Network": "nn.network",
    "RecurrentLayer": "nn.network",
    "TrainedNetwork": "inference.model",
    "aggregate": "losses",
    "classification": "losses",
    "evaluate": "inference.evaluation",
    "load_network": "inference.model",
    "load_run": "inference.model",
    "measure_costs": "analysis.synops:measure",
    "project_to_boxes": "training.optimizer",
    "spike_function": "neurons.surrogate",
    "train_and_evaluate": "training.fit",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute or name)
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        raise missing from error
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
