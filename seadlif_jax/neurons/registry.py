"""Neurons by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from seadlif_jax.neurons.adlif import EFAdLIF, SEAdLIF
from seadlif_jax.neurons.alif import ALIF
from seadlif_jax.neurons.brf import BRF
from seadlif_jax.neurons.lif import LIF
from seadlif_jax.neurons.lstm import LSTM
from seadlif_jax.neurons.neuron import Neuron
from seadlif_jax.neurons.radlif import RadLIF, SiLIF
from seadlif_jax.neurons.synaptic_lif import SynapticLIF
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.modules import find_object, module_checksum

NEURONS: Mapping[str, type[Neuron]] = MappingProxyType(
    {
        "lif": LIF,
        "ef_adlif": EFAdLIF,
        "se_adlif": SEAdLIF,
        "alif": ALIF,
        "brf": BRF,
        "radlif": RadLIF,
        "silif": SiLIF,
        "synaptic_lif": SynapticLIF,
        "lstm": LSTM,
    }
)
"""The neurons of the library by name: `lif`, `ef_adlif`, `se_adlif`, `alif`, `brf`, `radlif`, `silif`, `synaptic_lif`,
`lstm`."""


PAPER = ("lif", "ef_adlif", "se_adlif", "lstm")
"""The neurons of the paper, which the fields of every config are for."""


class FoundNeuron(NamedTuple):
    """The class of a neuron, the folder and the checksum of its module; no folder if the module is installed."""

    neuron: type[Neuron]
    folder: Path | None = None
    checksum: str = ""


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
    neuron, module, folder = find_object(name, folders, "config.model.neuron")
    if not (isinstance(neuron, type) and issubclass(neuron, Neuron)):
        raise SeadlifError(f"config.model.neuron = {name!r}: it is not a subclass of seadlif_jax.neurons.Neuron")
    return FoundNeuron(neuron, folder, module_checksum(module))
