"""How well a trained network does when its input is shifted: events that were not there in training.

A shift's level is the mean number of events it adds to every channel at every step, the same unit for all shifts.
All channels are hit. The reference program's noise reaches only the first 28 of SHD's 140 channels, by mistake, so its
curve is not comparable.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from seadlif_jax.data.loading import Samples, Split, to_device
from seadlif_jax.inference.model import TrainedNetwork
from seadlif_jax.runs.checkpoint import Variables
from seadlif_jax.training.trainer import ChangeInputs, Hyperparameters, Inputs, Metrics, Program, Purpose, key_for
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.progress import bar
from seadlif_jax.utils.signals import deferred_signals

Shifted = Float[Array, "sample time channel"]


HIGHEST_LEVEL = 1_000_000  # far beyond use, and below what 32 bits count


class ShiftError(SeadlifError):
    """A network, a level or a number of draws that cannot be used."""


def add_constant(inputs: Inputs, level: Float[Array, ""], key: Key[Array, ""]) -> Shifted:
    """`x + level`; nothing is drawn."""
    return inputs + level


def add_events(inputs: Inputs, level: Float[Array, ""], key: Key[Array, ""]) -> Shifted:
    """`x + Poisson(level)`, drawn for every sample, step and channel."""
    return inputs + jax.random.poisson(key, level, inputs.shape).astype(level.dtype)


class Shift(NamedTuple):
    """A change of the inputs, and whether it is drawn at random."""

    apply: Callable[[Inputs, Float[Array, ""], Key[Array, ""]], Shifted]
    random: bool


SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {"constant": Shift(add_constant, random=False), "events": Shift(add_events, random=True)}
)


def of_batches(shift: Shift, level: Float[Array, ""], key: Key[Array, ""]) -> ChangeInputs:
    """The shift of every batch, with a key of its own for each."""
    return lambda inputs, batch: shift.apply(inputs, level, jax.random.fold_in(key, batch))


class Row(NamedTuple):
    """What a network does under a shift of one level: means over the draws, accuracy as a fraction.

    `accuracy_std` is the standard deviation between draws, None where there is only one draw; `protocol` is that of the
    run, how its epoch was selected.
    """

    shift: str
    level: float
    draws: int
    accuracy: float
    accuracy_std: float | None
    loss: float
    protocol: str


def measure_robustness(
    trained: TrainedNetwork, test: Split, protocol: str, levels: Sequence[float], draws: int = 3
) -> list[Row]:
    """Tests a network on the test split of its data under every shift.

    Args:
      trained: the network of a run.
      test: the split.
      protocol: how the run's epoch was selected, for the rows.
      levels: mean added events per channel and step. The rows come in ascending order, each level once,
        and first of all 0, the run's own test.
      draws: how often a random shift is drawn. The draws follow from the run's seed, and are the same at every level.

    Raises:
      ShiftError: see `check` and `refuse_forecast`.
    """
    check(levels, draws)
    refuse_forecast(trained)
    levels, config, variables = sorted({0.0, *levels}), trained.config, trained.variables
    samples = to_device(test)
    program, hyper, key = Program(config), Hyperparameters.from_config(config), jax.random.key(config.seed)
    rows = []
    with (
        deferred_signals() as interrupted,
        bar(total=len(SHIFTS) * len(levels), unit="level") as progress,
    ):
        for name, shift in SHIFTS.items():
            progress.set_description(name)
            evaluate = jax.jit(functools.partial(_evaluate, program, shift))
            for level in levels:
                results = []
                for draw in range(draws if shift.random else 1):
                    draw_key = key_for(key, Purpose.SHIFT, draw)
                    metrics = evaluate(variables, hyper, samples, jnp.asarray(level, float), draw_key)
                    results.append({metric: float(value) for metric, value in metrics.items()})
                    if interrupted():
                        raise KeyboardInterrupt
                rows.append(_row(name, level, results, protocol))
                progress.update()
    return rows


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The rows as columns of a table, by name."""
    return {name: [getattr(row, name) for row in rows] for name in Row._fields}


def refuse_forecast(trained: TrainedNetwork) -> None:
    """Raises a `ShiftError` for a network that forecasts, which has no accuracy."""
    if trained.forecasts:
        raise ShiftError("a network that forecasts has no accuracy under shifts; choose a run of classification")


def check(levels: Sequence[float], draws: int) -> None:
    """Raises a `ShiftError` for a level that is no rate, or without a draw."""
    for level in levels:
        if not 0 <= level <= HIGHEST_LEVEL:
            raise ShiftError(f"level {level}: it must be a number of events in 0..{HIGHEST_LEVEL}")
    if draws < 1:
        raise ShiftError(f"{draws} draws: at least 1 is needed")


def _evaluate(
    program: Program,
    shift: Shift,
    variables: Variables,
    hyper: Hyperparameters,
    test: Samples,
    level: Float[Array, ""],
    key: Key[Array, ""],
) -> Metrics:
    """One pass over the test split; level and key are traced, so all levels and draws share one compiled call."""
    params, constants = variables["params"], variables["constants"]
    return program.evaluate(params, constants, hyper, test, change_inputs=of_batches(shift, level, key))


def _row(shift: str, level: float, results: Sequence[Mapping[str, float]], protocol: str) -> Row:
    accuracies = [result["accuracy"] for result in results]
    return Row(
        shift,
        level,
        draws=len(results),
        accuracy=float(np.mean(accuracies)),
        accuracy_std=float(np.std(accuracies, ddof=1)) if len(results) > 1 else None,
        loss=float(np.mean([result["loss"] for result in results])),
        protocol=protocol,
    )
