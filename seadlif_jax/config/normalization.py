"""Configs as plain values: flat, normalized, as JSON."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from seadlif_jax.config.checks import CHECKS
from seadlif_jax.config.fields import ConfigError

MAX_DEPTH = 20  # of sections, and of tuples, within each other: a section may contain itself


def flatten(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Return all fields by their full names: `{"model": {"q": 1}}` -> `{"model.q": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict | Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def normalize(config: ConfigDict) -> ConfigDict:
    """Return the config with values that JSON and static arguments of `jax.jit` can hold.

    Lists and arrays become tuples, NumPy's scalars Python's, and paths texts.

    Raises:
      ConfigError: a value has no such form; the message names its field.
    """
    return ConfigDict(_normalize_section(config, "config")).lock()


def _normalize_section(section: Mapping[str, Any] | ConfigDict, name: str) -> dict[str, Any]:
    if name.count(".") > MAX_DEPTH:
        raise ConfigError(f"{name}: sections within each other more than {MAX_DEPTH} deep")
    for key in section:
        if not isinstance(key, str):
            raise ConfigError(f"{name}: the field {key!r} is named by a {type(key).__name__}; name it by a text")
    return {
        key: _normalize_section(value, f"{name}.{key}")
        if isinstance(value, ConfigDict | Mapping)
        else _normalize_value(value, f"{name}.{key}")
        for key, value in section.items()
    }


def _normalize_value(value: Any, name: str, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ConfigError(f"{name}: tuples within each other more than {MAX_DEPTH} deep")
    if hasattr(value, "tolist"):  # scalars and arrays of NumPy, JAX and PyTorch
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, tuple | list):
        return tuple(_normalize_value(item, name, depth + 1) for item in value)
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    # For a known field, `validate` gives the requirement.
    if isinstance(value, float) and (math.isfinite(value) or name.removeprefix("config.") in CHECKS):
        return float(value)
    if isinstance(value, int):
        problem = "a whole number beyond 64 bits"
    elif isinstance(value, float):
        problem = f"{value}, which is not a finite number"
    elif isinstance(value, Mapping | ConfigDict):
        problem = "a mapping within a tuple; give it as a section, with a name"
    elif isinstance(value, set | frozenset):
        problem = "a set, which has no order; give a tuple"
    else:
        problem = f"a value of type {type(value).__name__}"
    raise ConfigError(f"{name}: {problem}. It must be a number, a text, True, False, None, or a tuple of these")


def to_json(config: ConfigDict) -> str:
    """Return the config as JSON text, the same for equal configs."""
    return json.dumps(normalize(config).to_dict(), indent=2, sort_keys=True)
