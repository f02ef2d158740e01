"""How well a trained network does when its input is shifted: events that were not there in training.

A shift's level is the mean number of events it adds to every channel at every step, the same unit for all shifts.
All channels are hit. The reference program's noise reaches only the first 28 of SHD's 140 channels, by mistake, so its
curve is not comparable.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from seadlif_jax.checkpoint import Variables
from seadlif_jax.config import is_sweep, validate
from seadlif_jax.dataset import Samples, load_dataset, to_device
from seadlif_jax.interrupt import deferred_signals
from seadlif_jax.program import ChangeInputs, Hyperparameters, Inputs, Metrics, Program, Purpose, key_for
from seadlif_jax.progress import bar
from seadlif_jax.run import Run, RunError, read_config
from seadlif_jax.trained import load_network

Shifted = Float[Array, "sample time channel"]


HIGHEST_LEVEL = 1_000_000  # far beyond use, and below what 32 bits count


class ShiftError(ValueError):
    """A level, or a number of draws, that cannot be used."""


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
    workdir: str | Path, levels: Sequence[float], draws: int = 3, moved: Mapping[str, str] = MappingProxyType({})
) -> list[Row]:
    """Tests a finished run's best network on its test split under every shift; the run's folder is only read.

    Args:
      workdir: the run's folder.
      levels: mean added events per channel and step. The rows come in ascending order, each level once,
        and first of all 0, the run's own test.
      draws: how often a random shift is drawn. The draws follow from the run's seed, and are the same at every level.
      moved: where the run's data are now, if they have moved: fields of `config.data` and their new values.

    Raises:
      ShiftError: a level is not a finite number of at least 0; or there is no draw.
      RunError: `workdir` holds no finished run, or a forecast, which has no accuracy.
      CheckpointError: its checkpoint is damaged.
      ConfigError: its config is not one that can be run.
      DatasetError: the data breaks the contract (and what the loader itself raises).
    """
    check(levels, draws)
    levels = sorted({0.0, *levels})
    folder = Path(workdir).expanduser().resolve()
    config = read_config(folder)
    validate(config)
    if is_sweep(config):
        raise RunError(f"{folder} holds a sweep; choose one of its members, such as {folder / 'members' / '0'}")
    if config.model.aggregation == "forecast":
        raise RunError(f"{folder} holds a forecast, which has no accuracy; choose the folder of a classification")
    result = Run(folder, config).result()
    if result is None:
        raise RunError(f"{folder} holds no finished run: there is no result.json; let the run end first")
    _, variables = load_network(folder)
    config.data.update(moved)
    test = to_device(load_dataset(config).test)

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
                    metrics = evaluate(variables, hyper, test, jnp.asarray(level, float), draw_key)
                    results.append({metric: float(value) for metric, value in metrics.items()})
                    if interrupted():
                        raise KeyboardInterrupt
                rows.append(_row(name, level, results, result["protocol"]))
                if level == 0:
                    _refuse_other_data(rows[-1], result["test"], config)
                progress.update()
    return rows


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The rows as columns of a table, by name."""
    return {name: [getattr(row, name) for row in rows] for name in Row._fields}


def check(levels: Sequence[float], draws: int) -> None:
    """Raises a `ShiftError` for a level that is not a finite number of at least 0, or less than one draw."""
    for level in levels:
        if not 0 <= level <= HIGHEST_LEVEL:
            raise ShiftError(f"level {level}: it must be a number of events in 0..{HIGHEST_LEVEL}")
    if draws < 1:
        raise ShiftError(f"{draws} draws: at least 1 is needed")


def _refuse_other_data(row: Row, test: Mapping[str, float], config: ConfigDict) -> None:
    """Without a shift the result must be the run's own, but for the rounding of another device."""
    if not math.isclose(row.loss, test["loss"], rel_tol=0.01) or abs(row.accuracy - test["accuracy"]) > 0.01:
        raise RunError(
            f"without a shift the test accuracy is {row.accuracy:.4f}, but that of the run is {test['accuracy']:.4f}: "
            f"the data of {config.data.loader} in {config.data.dir!r} are not those of the run"
        )


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
