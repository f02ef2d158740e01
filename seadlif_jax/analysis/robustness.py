"""Accuracy of a trained network under shifts of its input: events that were not there in training.

The level of a shift is the mean number of events that it adds to every channel in every step, the same unit for all
shifts. All channels are affected. The noise of the reference program reaches only the first 28 of SHD's 140 channels,
by mistake, so its curve is not comparable.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num

from seadlif_jax.data.loading import Split
from seadlif_jax.inference.evaluation import Evaluation, evaluate
from seadlif_jax.inference.trained_model import TrainedModel
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.keys import Purpose, key_for
from seadlif_jax.utils.progress import bar
from seadlif_jax.utils.signals import deferred_signals

MAX_LEVEL = 1_000_000  # far beyond use, and below what 32 bits count
Inputs = Num[Array, "sample time channel"]


class ShiftError(SeadlifError):
    """A network, a level or a number of draws that cannot be used."""


class Shift(NamedTuple):
    """A perturbation of the inputs.

    Attributes:
      apply: function of inputs, level and key.
      random: whether it is drawn at random.
    """

    apply: Callable[[Inputs, Float[Array, ""], Key[Array, ""]], Inputs]
    random: bool


def add_constant(inputs: Inputs, level: Float[Array, ""], key: Key[Array, ""]) -> Inputs:
    """Return `x + level`; nothing is drawn."""
    return inputs + level


def add_events(inputs: Inputs, level: Float[Array, ""], key: Key[Array, ""]) -> Inputs:
    """Return `x + Poisson(level)`, drawn for every sample, step and channel."""
    return inputs + jax.random.poisson(key, level, inputs.shape).astype(level.dtype)


SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {"constant": Shift(add_constant, random=False), "events": Shift(add_events, random=True)}
)


class ShiftScore(NamedTuple):
    """Metrics under a shift of one level: means over the draws, accuracy as a fraction.

    Attributes:
      shift: name in `SHIFTS`.
      level: mean added events per channel and step.
      draws: number of draws.
      accuracy: mean accuracy.
      accuracy_std: standard deviation between draws, None for a single draw.
      loss: mean loss.
      protocol: how the run's epoch was selected.
    """

    shift: str
    level: float
    draws: int
    accuracy: float
    accuracy_std: float | None
    loss: float
    protocol: str


def measure_robustness(
    model: TrainedModel, test: Split, protocol: str, levels: Sequence[float], draws: int = 3
) -> list[ShiftScore]:
    """Test a network on the test split of its data under every shift.

    Args:
      model: the network of a run.
      test: the split.
      protocol: how the run's epoch was selected, for the scores.
      levels: mean added events per channel and step. The scores come in ascending order, each level once, and first of
        all 0, the run's own test.
      draws: number of draws of a random shift. They follow from the run's seed, and are the same at every level.

    Raises:
      ShiftError: see `check_levels` and `require_classifier`.
    """
    check_levels(levels, draws)
    require_classifier(model)
    levels, key = sorted({0.0, *levels}), jax.random.key(model.config.seed)
    scores = []
    with deferred_signals() as interrupted, bar(total=len(SHIFTS) * len(levels), unit="level") as progress:
        for name, shift in SHIFTS.items():
            progress.set_description(name)
            for level in levels:
                evaluations = []
                for draw in range(draws if shift.random else 1):
                    change = shift_batches(shift, jnp.asarray(level, float), key_for(key, Purpose.SHIFT, draw))
                    evaluations.append(evaluate(model, test, change))
                    if interrupted():
                        raise KeyboardInterrupt
                scores.append(_score(name, level, evaluations, protocol))
                progress.update()
    return scores


def shift_batches(shift: Shift, level: Float[Array, ""], key: Key[Array, ""]) -> jax.tree_util.Partial:
    """Return the shift as `evaluate` takes it, with another key for each batch.

    Level and key are traced, so that all levels and draws share one compiled function.
    """
    return jax.tree_util.Partial(_ShiftBatch(shift), level, key)


class _ShiftBatch(NamedTuple):
    """A shift as a static function of traced values, equal for equal shifts."""

    shift: Shift

    def __call__(self, level: Float[Array, ""], key: Key[Array, ""], inputs: Inputs, batch: Int[Array, ""]) -> Inputs:
        return self.shift.apply(inputs, level, jax.random.fold_in(key, batch))


def require_classifier(model: TrainedModel) -> None:
    """Raise a `ShiftError` for a network of another task, which has no accuracy."""
    if not model.classifies:
        raise ShiftError("this network has no accuracy under shifts; choose a run of classification")


def check_levels(levels: Sequence[float], draws: int) -> None:
    """Raise a `ShiftError` for a level that is not a rate, or without a draw."""
    for level in levels:
        if not 0 <= level <= MAX_LEVEL:
            raise ShiftError(f"level {level}: it must be a number of events in 0..{MAX_LEVEL}")
    if draws < 1:
        raise ShiftError(f"{draws} draws: at least 1 is needed")


def _score(shift: str, level: float, evaluations: Sequence[Evaluation], protocol: str) -> ShiftScore:
    accuracies = [evaluation.accuracy for evaluation in evaluations]
    return ShiftScore(
        shift,
        level,
        draws=len(evaluations),
        accuracy=float(np.mean(accuracies)),
        accuracy_std=statistics.stdev(accuracies) if len(evaluations) > 1 else None,
        loss=float(np.mean([evaluation.loss for evaluation in evaluations])),
        protocol=protocol,
    )
