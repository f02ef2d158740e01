"""The part of `--config=configs/<task>.py:<variant>` after the colon: words, joined by commas, each one choice."""

from collections.abc import Mapping

from seadlif_jax.config import ConfigError

NEURONS = ("se_adlif", "ef_adlif", "lif")


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
