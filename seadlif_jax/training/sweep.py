"""What a sweep varies: its members, and what they found, by setting.

`config.sweep.<name>` has the values of a hyperparameter, or a range to draw from (`config.SWEPT` has the names). A
setting is a combination of them, and is trained with every seed. A member is one of these runs; all are trained in one
program. Without any values, there is a single member, and it is the run itself.
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from seadlif_jax.config import SWEPT, is_range, is_sweep, validate
from seadlif_jax.training.trainer import Hyperparameters

Setting = dict[str, Any]  # what is varied, by its name in `config.sweep`


class Member(NamedTuple):
    """One run of a sweep: what is its own, and the config of the plain run that is the same."""

    varied: Setting
    config: ConfigDict

    def __str__(self) -> str:
        return describe(self.varied)


def members(config: ConfigDict) -> list[Member]:
    """All runs of a config: the seeds of the first setting, those of the second, ...; or the run itself.

    Raises:
      ConfigError: one of them could not be run on its own.
    """
    seeds = [{"seed": int(seed)} for seed in config.sweep.seed] or [{}]
    if not is_sweep(config):
        return [Member({}, config)]
    found = [_member(config, setting | seed) for setting in _settings(config) for seed in seeds]
    for member in found:
        validate(member.config)
    return found


def stack(configs: Sequence[ConfigDict]) -> tuple[Int[Array, " member"], Hyperparameters]:
    """Seeds and hyperparameters of all members, each with an axis of members."""
    hypers = [Hyperparameters.from_config(config) for config in configs]
    if any(hyper.dropout is not None for hyper in hypers):
        # All draw masks, or none does. With a dropout of 0 nothing is dropped.
        hypers = [hyper._replace(dropout=jnp.zeros(()) if hyper.dropout is None else hyper.dropout) for hyper in hypers]
    seeds = jnp.asarray([config.seed for config in configs])
    return seeds, jax.tree.map(lambda *values: jnp.stack(values), *hypers)


def text(value: Any) -> str:
    """`0.01` -> `0.01`, `(5.0, 25.0)` -> `5..25`."""
    return "..".join(map(text, value)) if isinstance(value, tuple | list) else f"{value:.10g}"


def describe(varied: Setting) -> str:
    """`{"tau_u": (5.0, 25.0), "seed": 3}` -> `tau_u 5..25, seed 3`."""
    return ", ".join(f"{name} {text(value)}" for name, value in varied.items())


def summarise(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds, setting by setting.

    Args:
      results: of the members, with `varied`, `diverged`, and `test` and `validation` of those that have not.

    Returns:
      for every setting a dictionary with the `setting`, the numbers of `seeds` and of those that `diverged`; and, for
      `test` and `validation`, metric by metric, `mean` and `std` over those that did not. `std` is that of a sample,
      None for a single one.
    """
    settings: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        settings.setdefault(json.dumps(_without_seed(result["varied"])), []).append(result)
    return [_summary(of_setting) for of_setting in settings.values()]


def _summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    finished = [result for result in results if not result["diverged"]]
    summary = {
        "setting": _without_seed(results[0]["varied"]),
        "seeds": len(results),
        "diverged": len(results) - len(finished),
    }
    for split in ("validation", "test"):
        metrics = finished[0][split] if finished else {}
        summary[split] = {name: _mean_and_std([result[split][name] for result in finished]) for name in metrics}
    return summary


def _mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _without_seed(varied: Setting) -> Setting:
    return {name: value for name, value in varied.items() if name != "seed"}


def _settings(config: ConfigDict) -> list[Setting]:
    """All combinations of the values, or as many draws as asked for; seeds apart."""
    values = {name: config.sweep[name] for name in SWEPT if name != "seed" and len(config.sweep[name])}
    if not config.sweep.samples:
        return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    rng = np.random.default_rng(config.seed)
    if any(map(is_range, values.values())):
        return [{name: _draw(rng, of_name) for name, of_name in values.items()} for _ in range(config.sweep.samples)]
    combinations = list(itertools.product(*values.values()))
    drawn = rng.choice(len(combinations), config.sweep.samples, replace=False)
    return [dict(zip(values, combinations[number], strict=True)) for number in sorted(drawn)]


def _draw(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    if not is_range(values):
        return values[int(rng.integers(len(values)))]
    how, low, high = values
    return float(rng.uniform(low, high) if how == "uniform" else np.exp(rng.uniform(np.log(low), np.log(high))))


def _member(config: ConfigDict, varied: Setting) -> Member:
    own = ConfigDict(config.to_dict())
    for name in SWEPT:
        own.sweep[name] = ()
    own.sweep.samples = 0
    own.devices.mesh = own.devices.width = None  # for many members
    for name, value in varied.items():
        *section, field = SWEPT[name].split(".")
        target = own
        for part in section:
            target = target[part]
        target[field] = value
    return Member(varied, own.lock())
