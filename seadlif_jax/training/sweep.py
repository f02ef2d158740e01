"""A sweep as data: the hyperparameters of all members in arrays, and its results setting by setting."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from seadlif_jax.members import without_seed
from seadlif_jax.training.state import TrainingHyperparameters


def stack_members(
    configs: Sequence[ConfigDict], sweep: ConfigDict
) -> tuple[Int[Array, " member"], TrainingHyperparameters]:
    """Return seeds and hyperparameters of members of a sweep, each with an axis of members."""
    return jnp.asarray([config.seed for config in configs]), TrainingHyperparameters.stack(configs, sweep)


def summarize(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and standard deviation over the seeds, setting by setting.

    Args:
      results: results of the members, with `varied` and `diverged`, and `test` and `validation` of those that have not.

    Returns:
      for every setting a dictionary with the `setting`, the numbers of `seeds` and of those that `diverged`; and, for
      `test` and `validation`, metric by metric, `mean` and `std` over those that did not. `std` is the standard
      deviation of a sample, None for a single one.
    """
    by_setting: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_setting.setdefault(json.dumps(without_seed(result["varied"])), []).append(result)
    return [_summary(seeds) for seeds in by_setting.values()]


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
