"""Configs of runs that are there already: read back, of older versions, and compared."""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from seadlif_jax.config.fields import base_config
from seadlif_jax.config.normalization import flatten, normalize, to_json

# What does not change the numbers. Data may move between machines, and be elsewhere for another process.
MAY_MOVE = ("data.dir", "data.cache_dir", "data.loader_dir", "model.neuron_dir", "task_dir")
MAY_CHANGE = (*MAY_MOVE, "checkpoint.every_epochs", "checkpoint.every_minutes", "tensorboard")
LENGTH = "num_epochs"  # only decides where training ends, except with the cosine schedule


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the pairs of values in which two mappings differ; a name that one lacks is "absent" there, as if None."""
    return {
        name: (old.get(name, "absent"), new.get(name, "absent"))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }


def older_defaults() -> ConfigDict:
    """Return what a run has where it is older than a field: its default, except for fields that changed the results."""
    config = base_config().copy_and_resolve_references().unlock()
    config.compute.engine = "xla"
    return config


def complete_config(stored: dict[str, Any]) -> ConfigDict:
    """Return a stored config with the fields that it lacks, since it is older than them."""
    return normalize(ConfigDict(_merge(older_defaults().to_dict(), stored)))


def _merge(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = {
        name: _merge(defaults.get(name, {}), value) if isinstance(value, dict) else value
        for name, value in values.items()
    }
    return defaults | merged


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two configs (as read back from JSON) differ, with both values; not those that may.

    A field that one of them does not have is taken as in `older_defaults`, or as unset: it may be of another version.
    """
    defaults = flatten(json.loads(to_json(older_defaults())))
    changed = differing(defaults | flatten(old), defaults | flatten(new))
    return {name: pair for name, pair in changed.items() if name not in MAY_CHANGE}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the fields in which two configs differ, as `field: old -> new`.

    The number of epochs is left out, because a run can be extended; not with the cosine schedule, which depends on it.
    """
    fields = changed_fields(old, new)
    may_continue = new["optimizer"].get("schedule") != "cosine"
    return [
        f"config.{name}: {before!r} -> {now!r}"
        for name, (before, now) in fields.items()
        if name != LENGTH or not may_continue
    ]
