"""Neurons by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from seadlif_jax.neurons.adlif import EFAdLIF, SEAdLIF
from seadlif_jax.neurons.lif import LIF
from seadlif_jax.neurons.lstm import LSTM
from seadlif_jax.neurons.neuron import Neuron
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.modules import find_object

NEURONS: Mapping[str, type[Neuron]] = MappingProxyType(
    {"lif": LIF, "ef_adlif": EFAdLIF, "se_adlif": SEAdLIF, "lstm": LSTM}
)
"""The neurons of the library by name: `lif`, `ef_adlif`, `se_adlif`, `lstm`."""


class FoundNeuron(NamedTuple):
    """The class of a neuron, and the folder from which its module is imported; None for an installed one."""

    neuron: type[Neuron]
    folder: Path | None = None


def find_neuron(name: str, folders: Sequence[Path] = ()) -> FoundNeuron:
    """Return the neuron of a name in `NEURONS`, or of "module:Class".

    Args:
      name: the name.
      folders: searched for the module, before the current folder and the installed packages.

    Raises:
      SeadlifError: there is none of this name.
    """
    if name in NEURONS:
        return FoundNeuron(NEURONS[name])
    if not all(name.partition(":")):
        raise SeadlifError(
            f"config.model.neuron = {name!r}: it must be one of {', '.join(NEURONS)}, or module:Class of your own"
        )
    neuron, _, folder = find_object(name, folders, "config.model.neuron")
    if not (isinstance(neuron, type) and issubclass(neuron, Neuron)):
        raise SeadlifError(f"config.model.neuron = {name!r}: it is not a subclass of seadlif_jax.neurons.Neuron")
    return FoundNeuron(neuron, folder)
