"""Training all members of a sweep in one program, and summarising their results setting by setting."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from seadlif_jax.members import Member, Setting, describe_setting, expand_sweep, format_value, without_seed
from seadlif_jax.training.trainer import Hyperparameters

__all__ = ["Member", "Setting", "describe", "members", "stack", "summarise", "text"]
members, describe, text = expand_sweep, describe_setting, format_value


def stack(configs: Sequence[ConfigDict]) -> tuple[Int[Array, " member"], Hyperparameters]:
    """Seeds and hyperparameters of all members, each with an axis of members."""
    hypers = [Hyperparameters.from_config(config) for config in configs]
    if any(hyper.dropout is not None for hyper in hypers):
        # All draw masks, or none does. With a dropout of 0 nothing is dropped.
        hypers = [hyper._replace(dropout=jnp.zeros(()) if hyper.dropout is None else hyper.dropout) for hyper in hypers]
    seeds = jnp.asarray([config.seed for config in configs])
    return seeds, jax.tree.map(lambda *values: jnp.stack(values), *hypers)


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
        settings.setdefault(json.dumps(without_seed(result["varied"])), []).append(result)
    return [_summary(of_setting) for of_setting in settings.values()]


def _summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    finished = [result for result in results if not result["diverged"]]
    summary = {
        "setting": without_seed(results[0]["varied"]),
        "seeds": len(results),
        "diverged": len(results) - len(finished),
    }
    for split in ("validation", "test"):
        metrics = finished[0][split] if finished else {}
        summary[split] = {name: _mean_and_std([result[split][name] for result in finished]) for name in metrics}
    return summary


def _mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}
