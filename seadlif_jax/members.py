"""The runs that a config stands for: itself, or the members of its sweep.

`config.sweep.<name>` holds values of a hyperparameter, or a range to draw from (`config.swept_fields` has the names). A
setting is one combination of them, and is trained with every seed; a member is one of these runs.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from seadlif_jax.config import is_range, is_sweep, swept_fields, validate

Setting = dict[str, Any]  # values of what is varied, by its name in `config.sweep`


class Member(NamedTuple):
    """One run of a sweep.

    Attributes:
      varied: values of the hyperparameters that the sweep varies.
      config: config of the single run that is the same.
    """

    varied: Setting
    config: ConfigDict

    def __str__(self) -> str:
        return describe_setting(self.varied)


def expand_sweep(config: ConfigDict) -> list[Member]:
    """Return all runs of a config: the seeds of the first setting, those of the second, ...; or the run itself.

    Raises:
      ConfigError: a member could not be run on its own.
    """
    seeds = [{"seed": int(seed)} for seed in config.sweep.seed] or [{}]
    if not is_sweep(config):
        return [Member({}, config)]
    members = [_member(config, setting | seed) for setting in _settings(config) for seed in seeds]
    for member in members:
        validate(member.config)
    return members


def format_value(value: Any) -> str:
    """Return a value as short text: `0.01` -> `0.01`, `(5.0, 25.0)` -> `5..25`."""
    if isinstance(value, tuple | list):
        return "..".join(map(format_value, value))
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)


def describe_setting(varied: Setting) -> str:
    """Return a setting as text: `{"tau_u": (5.0, 25.0), "seed": 3}` -> `tau_u 5..25, seed 3`."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in varied.items())


def without_seed(varied: Setting) -> Setting:
    """Return what is varied apart from the seed."""
    return {name: value for name, value in varied.items() if name != "seed"}


def _settings(config: ConfigDict) -> list[Setting]:
    """Return all combinations of the values, or as many random ones as `config.sweep.samples` says; seeds apart."""
    values = {name: config.sweep[name] for name in swept_fields(config) if name != "seed" and len(config.sweep[name])}
    if not config.sweep.samples:
        return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    rng = np.random.default_rng(config.seed)
    if any(map(is_range, values.values())):
        return [{name: _draw(rng, choices) for name, choices in values.items()} for _ in range(config.sweep.samples)]
    combinations = list(itertools.product(*values.values()))
    drawn = rng.choice(len(combinations), config.sweep.samples, replace=False)
    return [dict(zip(values, combinations[number], strict=True)) for number in sorted(drawn)]


def _draw(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    if not is_range(values):
        return values[int(rng.integers(len(values)))]
    law, low, high = values
    return float(rng.uniform(low, high) if law == "uniform" else np.exp(rng.uniform(np.log(low), np.log(high))))


def _member(config: ConfigDict, varied: Setting) -> Member:
    single = ConfigDict(config.to_dict())
    fields = swept_fields(config)
    for name in fields:
        single.sweep[name] = ()
    single.sweep.samples = 0
    single.devices.mesh = single.devices.width = None  # for many members
    for name, value in varied.items():
        *section, field = fields[name].split(".")
        target = single
        for part in section:
            target = target[part]
        target[field] = value
    return Member(varied, single.lock())
