"""Spiking neural networks of adaptive LIF neurons, discretised with the Symplectic Euler method, in JAX.

Names are imported on first use: `import seadlif_jax` alone loads nothing, not even JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from seadlif_jax.utils.errors import SeadlifError, missing_package
from seadlif_jax.version import __version__

if TYPE_CHECKING:
    from seadlif_jax.analysis.synops import measure_costs
    from seadlif_jax.inference import Evaluation, StreamBatch, TrainedModel, evaluate, load_network, load_run
    from seadlif_jax.losses import aggregate, classification
    from seadlif_jax.neurons import (
        ALIF,
        BRF,
        LIF,
        LSTM,
        NEURONS,
        SURROGATES,
        EFAdLIF,
        Neuron,
        RadLIF,
        SEAdLIF,
        SiLIF,
        Surrogate,
        SynapticLIF,
    )
    from seadlif_jax.nn import (
        BatchNorm,
        Execution,
        Hyperparameters,
        LeakyReadout,
        Network,
        RecurrentCell,
        RecurrentLayer,
    )
    from seadlif_jax.pretrained import load_pretrained
    from seadlif_jax.training import fit

# The module of each name that is imported on first use.
_LAZY = {
    **dict.fromkeys(("Evaluation", "StreamBatch", "TrainedModel"), "inference"),
    **dict.fromkeys(("evaluate", "load_network", "load_run"), "inference"),
    **dict.fromkeys(("LIF", "EFAdLIF", "SEAdLIF", "ALIF", "BRF", "RadLIF", "SiLIF", "SynapticLIF", "LSTM"), "neurons"),
    **dict.fromkeys(("NEURONS", "SURROGATES", "Neuron", "Surrogate"), "neurons"),
    **dict.fromkeys(("BatchNorm", "Execution", "Hyperparameters", "LeakyReadout", "Network"), "nn"),
    **dict.fromkeys(("RecurrentCell", "RecurrentLayer"), "nn"),
    **dict.fromkeys(("aggregate", "classification"), "losses"),
    "fit": "training",
    "load_pretrained": "pretrained",
    "measure_costs": "analysis.synops",
}

__all__ = [
    "ALIF",
    "BRF",
    "LIF",
    "LSTM",
    "NEURONS",
    "SURROGATES",
    "BatchNorm",
    "EFAdLIF",
    "Evaluation",
    "Execution",
    "Hyperparameters",
    "LeakyReadout",
    "Network",
    "Neuron",
    "RadLIF",
    "RecurrentCell",
    "RecurrentLayer",
    "SEAdLIF",
    "SeadlifError",
    "SiLIF",
    "StreamBatch",
    "Surrogate",
    "SynapticLIF",
    "TrainedModel",
    "__version__",
    "aggregate",
    "classification",
    "evaluate",
    "fit",
    "load_network",
    "load_pretrained",
    "load_run",
    "measure_costs",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        raise missing from error
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
