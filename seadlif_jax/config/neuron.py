"""The neuron of a config: found by its name, built from the config's numbers, or set with its own."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax.config.fields import ConfigError, base_config
from seadlif_jax.neurons import Neuron, Surrogate, find_neuron
from seadlif_jax.neurons.registry import PAPER, FoundNeuron
from seadlif_jax.utils.errors import SeadlifError


def configured_neuron(model: ConfigDict | FrozenConfigDict, folders: Sequence[Path] = ()) -> FoundNeuron:
    """Return the neuron that the section `model` of a config names.

    Args:
      model: the section.
      folders: searched for the neuron's module after `model.neuron_dir`.

    Raises:
      ConfigError: there is no such neuron.
    """
    recorded = [Path(model.neuron_dir)] if model.neuron_dir else []
    try:
        return find_neuron(model.neuron, [*recorded, *folders])
    except SeadlifError as error:
        raise ConfigError(str(error)) from error


def build_neuron(config: ConfigDict | FrozenConfigDict) -> Neuron:
    """Return the neuron that `config.model` describes."""
    model, neuron = config.model, configured_neuron(config.model).neuron
    fields = {field.name for field in dataclasses.fields(neuron)} & set(model)
    values = {name: tuple(model[name]) if isinstance(model[name], list | tuple) else model[name] for name in fields}
    values.pop("surrogate", None)
    if type(getattr(neuron, "surrogate", None)) is Surrogate:  # not one of the user's own
        values["surrogate"] = Surrogate(**model.surrogate)
    return neuron(**values)


def set_neuron(config: ConfigDict, neuron: str, folders: Sequence[Path] = ()) -> None:
    """Name the neuron of a config, and set its hyperparameters to the defaults of its class.

    The neurons of the paper share the fields of every config: between them, these are left as they are.

    Args:
      config: the config.
      neuron: as in `config.model.neuron`.
      folders: searched for the neuron's module.

    Raises:
      SeadlifError: there is no such neuron.
      ConfigError: it is one of the paper, and the config has the numbers of another one.
    """
    before, base = config.model.neuron, base_config()
    if neuron in PAPER and before not in PAPER:
        raise ConfigError(
            f"config.model.neuron = {neuron!r}: the numbers of this config are for {before}; start from a config for a "
            "neuron of the paper, such as the variant of this name"
        )
    with config.unlocked():
        config.model.neuron = neuron
        if neuron in PAPER:
            return
        for section in ("model", "sweep"):
            for name in set(config[section]) - set(base[section]):  # of the neuron before
                del config[section][name]
        for name, value in neuron_hyperparameters(neuron, folders).items():
            if isinstance(config.model.get(name, value), tuple) == isinstance(value, tuple):  # `validate` says why not
                config.model[name] = value
        found = find_neuron(neuron, folders).neuron
        for name in ("train_threshold", "train_rest"):
            config.model[name] = getattr(found, name, False)
        surrogate = getattr(found, "surrogate", None)
        if isinstance(surrogate, Surrogate):
            config.model.surrogate.update(shape=surrogate.shape, slope=surrogate.slope, c=surrogate.c)
    add_neuron_fields(config, neuron, folders)


def add_neuron_fields(config: ConfigDict, neuron: str, folders: Sequence[Path] = ()) -> None:
    """Add the hyperparameters of a neuron that a config lacks, and what can be swept of them."""
    if neuron in PAPER:
        return
    with config.unlocked():
        for name, value in neuron_hyperparameters(neuron, folders).items():
            config.model[name] = config.model.get(name, value)
            config.sweep[name] = config.sweep.get(name, ())


def neuron_hyperparameters(neuron: str, folders: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the numbers and ranges that are hyperparameters of a neuron, with the defaults of its class."""
    return {
        field.name: field.default
        for field in dataclasses.fields(find_neuron(neuron, folders).neuron)
        if isinstance(field.default, int | float | tuple) and not isinstance(field.default, bool)
    }
