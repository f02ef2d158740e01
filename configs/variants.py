"""The part of `--config=configs/<task>.py:<variant>` after the colon: words, joined by commas, each one choice."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from seadlif_jax.config import ConfigError, set_neuron
from seadlif_jax.neurons import NEURONS as NAMES
from seadlif_jax.neurons.registry import PAPER

OTHERS = tuple(name for name in NAMES if name not in PAPER)  # see docs/neurons.md for their sources
NEURONS = ("se_adlif", "ef_adlif", "lif", *OTHERS)
# What the layers of these neurons are like in their sources.
LAYERS = {
    "radlif": {"model.self_connections": False, "model.batch_norm": True},
    "silif": {"model.recurrent": False, "model.batch_norm": True},
}


def set_neuron_of_source(config: ConfigDict, neuron: str, published: Mapping[str, Mapping[str, Any]]) -> None:
    """Sets a neuron that is not one of the paper, with the settings of its source.

    Args:
      config: changed in place. A neuron of the paper changes nothing.
      neuron: its name.
      published: by neuron, the fields that its source sets for this task; others have the defaults of its class.
    """
    if neuron in OTHERS:
        set_neuron(config, neuron)
        config.update_from_flattened_dict({**LAYERS.get(neuron, {}), **published.get(neuron, {})})
        if config.task == "forecast":  # fed with its own outputs, whose mean and variance are not known before
            config.model.batch_norm = False


def parse(variant: str, choices: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Picks for each choice the word given, else its first.

    `parse("lif,quick", {"neuron": ("se_adlif", "lif"), "size": ("full", "quick")})` is
    `{"neuron": "lif", "size": "quick"}`.

    Raises:
      ConfigError: a word is unknown, or two words answer the same choice.
    """
    picked: dict[str, str] = {}
    for word in filter(None, variant.split(",")):
        choice = next((name for name, words in choices.items() if word in words), None)
        if choice is None:
            known = "; ".join(f"{name}: {', '.join(words)}" for name, words in choices.items())
            raise ConfigError(f"unknown variant {word!r}; known are {known}")
        if choice in picked:
            raise ConfigError(f"variant {variant!r} names two values for {choice}: {picked[choice]} and {word}")
        picked[choice] = word
    return {name: picked.get(name, words[0]) for name, words in choices.items()}
