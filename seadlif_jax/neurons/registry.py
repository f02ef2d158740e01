"""Neurons by name."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from seadlif_jax.neurons.adlif import EFAdLIF, SEAdLIF
from seadlif_jax.neurons.lif import LIF
from seadlif_jax.neurons.lstm import LSTM
from seadlif_jax.neurons.neuron import Neuron

NEURONS: Mapping[str, type[Neuron]] = MappingProxyType(
    {"lif": LIF, "ef_adlif": EFAdLIF, "se_adlif": SEAdLIF, "lstm": LSTM}
)
"""The neurons of the library by name: `lif`, `ef_adlif`, `se_adlif`, `lstm`."""


def find_neuron(name: str) -> type[Neuron]:
    """Return the class of a neuron: a name in `NEURONS`, or "module:Class" for one of a module that can be imported.

    Raises:
      ValueError: there is none of this name.
    """
    if name in NEURONS:
        return NEURONS[name]
    module_name, _, class_name = name.partition(":")
    if not (module_name and class_name):
        raise ValueError(f"unknown neuron {name!r}; choose one of {', '.join(NEURONS)}, or module:Class of your own")
    try:
        neuron = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"neuron {name!r}: {error}") from error
    if not (isinstance(neuron, type) and issubclass(neuron, Neuron)):
        raise ValueError(f"neuron {name!r}: {class_name} is not a subclass of seadlif_jax.neurons.Neuron")
    return neuron
