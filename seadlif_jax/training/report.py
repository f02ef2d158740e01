"""What a trained run leaves behind: its result, pictures and tables; a sweep, those of each member and of all."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import FrozenConfigDict

from seadlif_jax import plots
from seadlif_jax.analysis.forecast_error import ForecastError, cut_windows, squared_errors
from seadlif_jax.config import flatten, is_sweep
from seadlif_jax.data.loading import Dataset, Samples, Split
from seadlif_jax.losses import IGNORED, aggregate, feedback_start
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.runs.checkpoint import Checkpoints, Position, Variables
from seadlif_jax.runs.folder import Run, write_table
from seadlif_jax.training import sweep
from seadlif_jax.training.task import Task
from seadlif_jax.training.trainer import Hyperparameters, TrainState, build_network, score_name
from seadlif_jax.utils.progress import bar

RASTER_CANDIDATES = 16

# By split and name, one of each member.
Measured = Mapping[str, Mapping[str, np.ndarray]]


def finish(run: Run, members: Sequence[sweep.Member], dataset: Dataset, task: Task, states: TrainState) -> None:
    """Leaves all that a finished run has.

    Args:
      run: the run, or the sweep, and its folder.
      members: the runs in it.
      dataset: what it was trained and tested on.
      task: what it was trained with.
      states: those after the last epoch, with an axis of members.
    """
    config, on_host, measured = FrozenConfigDict(run.config), devices.to_host(states), task.measure(states)
    if not is_sweep(run.config):
        if devices.is_first_process():
            _finish_run(run, config, dataset, task, on_host, _of_member(measured, 0))
        return
    member_runs = [Run(run.folder / "members" / str(number), member.config) for number, member in enumerate(members)]
    to_do = devices.of_first_process([member_run.result() is None for member_run in member_runs])
    well = on_host.epoch == run.config.num_epochs
    rows_of = run.metrics.by_member()
    for number, member_run in enumerate(bar(member_runs, unit="member")):
        if to_do[number] and well[number]:
            own = jax.tree.map(lambda array, number=number: array[number : number + 1], on_host)
            with member_run.held():
                member_run.check_data(run.data())
                member_run.record_length()
                if devices.is_first_process():
                    member_run.metrics.write(rows_of[number])
                with Checkpoints(member_run.folder / "checkpoints", member_run.config, writing=True) as checkpoints:
                    picked = devices.pick(states, number)
                    checkpoints.save(Position(picked, picked, task.no_sums, metrics=member_run.metrics.checksum))
                if devices.is_first_process():
                    _finish_run(member_run, config, dataset, task, own, _of_member(measured, number))
    if devices.is_first_process():
        results = [
            {
                "member": number,
                "varied": member.varied,
                "diverged": None if well[number] else int(on_host.epoch[number]) + 1,  # the epoch
                **(member_run.result() or {}),
            }
            for number, (member, member_run) in enumerate(zip(members, member_runs, strict=True))
        ]
        finish_sweep(run, dataset, task, results)


def describe(result: Mapping[str, Any]) -> list[str]:
    """The lines that say what a run, or a sweep, has found."""

    def score(statistics: Mapping[str, float | None]) -> str:
        mean, std = statistics["mean"], statistics["std"]
        return f"{mean:.4f}" if std is None else f"{mean:.4f} +- {std:.4f}"

    def line(setting: Mapping[str, Any]) -> str:
        found = "  ".join(
            f"{split} {name} {score(statistics)}"
            for split in ("validation", "test")
            for name, statistics in setting[split].items()
            if name in ("accuracy", "mse")
        )
        count = f"{setting['seeds']} seed{'s' if setting['seeds'] > 1 else ''}"
        count += f", {setting['diverged']} diverged" if setting["diverged"] else ""
        return f"{sweep.describe(setting['setting']) or 'all'}: {found or 'nothing found'}  ({count})"

    if "summary" in result:
        lines = [line(setting) for setting in result["summary"]]
        return [*lines, f"(mean +- standard deviation over seeds; {result['protocol']})"]
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in result["test"].items() if "rate" not in name)
    return [f"test {metrics}  ({result['protocol']}: epoch {result['best_epoch']})"]


def finish_sweep(run: Run, dataset: Dataset, task: Task, results: list[dict[str, Any]]) -> None:
    """Leave the tables, the picture and the result of a sweep whose members have left theirs."""
    summary = sweep.summarise(results)
    _write_tables(run.folder, results, summary)
    rows_of = run.metrics.by_member()
    rows = [rows_of.get(number, []) for number in range(len(results))]
    run.finish(
        members=results,
        summary=summary,
        protocol=dataset.protocol,
        mesh=task.mesh.devices.shape,
        wall_seconds=max(sum(row["seconds"] for row in own) for own in rows),
    )
    plots.save_sweep(results, rows, score_name(run.config), run.folder / "sweep.png")


def _finish_run(
    run: Run,
    config: FrozenConfigDict,
    dataset: Dataset,
    task: Task,
    state: TrainState,
    metrics: dict[str, dict[str, float]],
) -> None:
    """The result and the pictures of a run; of a sweep, of one of its members.

    `config` is that of the sweep, so that one program serves all members; `state` has an axis of one member.
    """
    variables = jax.tree.map(lambda array: array[0], {"params": state.best.params, "constants": state.constants})
    hyper = Hyperparameters.from_config(run.config)
    rows, best_epoch = run.metrics.read(), int(state.best.epoch[0])
    # Before the pictures, which must never cost a result.
    run.finish(
        **metrics,
        protocol=dataset.protocol,
        mesh=task.mesh.devices.shape,
        best_epoch=best_epoch,
        wall_seconds=sum(row["seconds"] for row in rows),
    )
    is_forecast = config.model.aggregation == "forecast"
    metrics_drawn = ("loss",) if is_forecast else ("loss", score_name(config))
    plots.save_curves(rows, best_epoch, metrics_drawn, run.folder / "curves.png")
    if is_forecast:
        samples = Samples.of(dataset.test)
        outputs = _forecast(config, hyper, variables, samples.inputs)
        save_forecast(samples, outputs, config.data.step_ms, run.folder / "forecast")
    else:
        _save_raster(config, hyper, variables, dataset.test, run.folder / "raster.png")


def _of_member(measured: Measured, number: int) -> dict[str, dict[str, float]]:
    return {
        split: {name: float(of_members[number]) for name, of_members in metrics.items()}
        for split, metrics in measured.items()
    }


def _write_tables(folder: Path, results: Sequence[Mapping[str, Any]], summary: Sequence[Mapping[str, Any]]) -> None:
    """A row for each member in members.csv, and one for each setting in summary.csv."""

    def columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
        names = dict.fromkeys(name for row in rows for name in row)  # in order, each once
        return {name: [row.get(name) for row in rows] for name in names}

    def row(varied: Mapping[str, Any], found: Mapping[str, Any], *names: str) -> dict[str, Any]:
        metrics = flatten({split: found[split] for split in ("validation", "test") if split in found})
        return {
            **{name: sweep.text(value) if isinstance(value, tuple) else value for name, value in varied.items()},
            **{name: found.get(name) for name in names},
            **{name.replace(".", "_"): value for name, value in metrics.items()},
        }

    of_members = [
        {"member": result["member"], **row(result["varied"], result, "diverged", "best_epoch")} for result in results
    ]
    write_table(folder / "members.csv", columns(of_members))
    write_table(
        folder / "summary.csv", columns([row(setting["setting"], setting, "seeds", "diverged") for setting in summary])
    )


def _save_raster(
    config: FrozenConfigDict, hyper: Hyperparameters, variables: Variables, test: Split, path: Path
) -> None:
    """A picture of the best network at work: on the first test sample it gets right, or else on the first of all."""
    samples = Samples.of(test, 0, RASTER_CANDIDATES)
    outputs, states = _trace(config, hyper, variables, samples.inputs)
    scores = aggregate(outputs, samples.block_index, samples.targets.shape[1] - 1, config.model.aggregation)
    right = (scores.argmax(axis=-1) == samples.targets) | (samples.targets == IGNORED)
    chosen = int(right.all(axis=1).argmax())
    samples, outputs, states = jax.tree.map(lambda array: array[chosen : chosen + 1], (samples, outputs, states))
    plots.save_raster(samples, outputs, states, config.model.aggregation, path)


@functools.partial(jax.jit, static_argnums=0)
def _trace(config: FrozenConfigDict, hyper: Hyperparameters, variables: Variables, inputs: Array) -> Any:
    return build_network(config, hyper).apply(variables, inputs, method="trace")


@functools.partial(jax.jit, static_argnums=0)
def _forecast(config: FrozenConfigDict, hyper: Hyperparameters, variables: Variables, inputs: Array) -> Any:
    start = feedback_start(inputs.shape[1])
    return build_network(config, hyper).apply(variables, inputs, start, method="forecast")


def save_forecast(samples: Samples, outputs: Array, step_ms: float | None, stem: Path) -> ForecastError:
    """The forecast of the first of some samples, and the error in the course of all of them.

    Left as `<stem>.png`, `<stem>_error.png` and `<stem>_error.csv`; returns the errors of the network.
    """
    network, zero = (jax.jit(squared_errors)(y, samples) for y in (outputs, jnp.zeros_like(outputs)))
    num_steps = outputs.shape[1]
    windows = cut_windows(num_steps, step_ms)
    network_mse, zero_mse = windows.mean(network.steps), windows.mean(zero.steps)
    write_table(
        Path(f"{stem}_error.csv"),
        {
            f"from_{windows.unit}": windows.edges[:-1],
            f"to_{windows.unit}": windows.edges[1:],
            "network_mse": network_mse,
            "zero_mse": zero_mse,
        },
    )
    plots.save_forecast(samples, outputs, step_ms, Path(f"{stem}.png"))
    step = 1.0 if step_ms is None else step_ms
    plots.save_forecast_error(
        windows.edges,
        windows.unit,
        (step * feedback_start(num_steps), step * num_steps),
        (network_mse, float(network.second_half)),
        (zero_mse, float(zero.second_half)),
        Path(f"{stem}_error.png"),
    )
    return network
