"""What a finished run leaves: its result, pictures and tables; a sweep, those of each member and of all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seadlif_jax import plots
from seadlif_jax.build import build_hyperparameters, build_network, build_task
from seadlif_jax.config import flatten, is_sweep
from seadlif_jax.data.dataset import is_of_last_epoch
from seadlif_jax.data.loading import Dataset
from seadlif_jax.members import Member, describe_setting, format_value
from seadlif_jax.parallel import broadcast, is_first_process, select_member, to_host
from seadlif_jax.reports.pictures import save_task_pictures
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.files import write_table
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.tasks import Task
from seadlif_jax.training.optimizer import as_single
from seadlif_jax.training.setup import Setup
from seadlif_jax.training.state import Position, TrainState
from seadlif_jax.training.sweep import summarize
from seadlif_jax.utils.errors import with_type
from seadlif_jax.utils.progress import bar, say

CURVES = "curves.png"


def finish_run(
    folder: RunFolder, members: Sequence[Member], dataset: Dataset, setup: Setup, states: TrainState
) -> None:
    """Leave all that a finished run, or sweep, has.

    Args:
      folder: folder of the run, or of the sweep.
      members: the runs in it.
      dataset: data that they were trained and tested on.
      setup: devices and functions that they were trained with.
      states: states after the last epoch, with an axis of members.
    """
    host_states, metrics = to_host(states), setup.measure(states)
    if not is_sweep(folder.config):
        if is_first_process():
            _finish_member(folder, dataset, setup, host_states, 0, metrics)
            _draw_member(folder, folder, dataset, host_states, 0)
        return
    folders = [RunFolder(folder.member_path(number), member.config) for number, member in enumerate(members)]
    unfinished = broadcast([member_folder.result() is None for member_folder in folders])
    has_finished = host_states.epoch == folder.config.num_epochs  # all others have diverged
    rows = folder.metrics.by_member()
    for number, member_folder in enumerate(bar(folders, unit="member")):
        if unfinished[number] and has_finished[number]:
            with member_folder.lock():
                member_folder.check_data(folder.data_checksums())
                _save_member(member_folder, rows.get(number, []), select_member(states, number))
                if is_first_process():
                    _finish_member(member_folder, dataset, setup, host_states, number, metrics)
    if is_first_process():
        results = [
            {
                "member": number,
                "varied": member.varied,
                "diverged": None if has_finished[number] else int(host_states.epoch[number]) + 1,  # the epoch
                **(member_folder.result() or {}),
            }
            for number, (member, member_folder) in enumerate(zip(members, folders, strict=True))
        ]
        finish_sweep(folder, dataset, setup, results)
        for number, member_folder in enumerate(bar(folders, desc="pictures", unit="member")):
            is_drawn = not unfinished[number] and (member_folder.path / CURVES).exists()
            if has_finished[number] and not is_drawn:
                _draw_member(folder, member_folder, dataset, host_states, number)


def finish_sweep(folder: RunFolder, dataset: Dataset, setup: Setup, results: list[dict[str, Any]]) -> None:
    """Leave the tables, the picture and the result of a sweep whose members have left theirs."""
    summary = summarize(results)
    _write_tables(folder.path, results, summary)
    by_member = folder.metrics.by_member()
    rows = [by_member.get(number, []) for number in range(len(results))]
    folder.finish(
        members=results,
        summary=summary,
        protocol=dataset.protocol,
        mesh=setup.mesh.devices.shape,
        wall_seconds=max(sum(row["seconds"] for row in of_member) for of_member in rows),
    )
    task = build_task(folder.config)
    plots.save_sweep(results, rows, task.metric, task.metric_sign, folder.path / "sweep.png")


def _save_member(folder: RunFolder, rows: Sequence[Mapping[str, float]], state: TrainState) -> None:
    """Leave a member's metrics and checkpoint, from which it can be continued as a run of its own."""
    folder.record_changes()
    if is_first_process():
        folder.metrics.write(rows)
    state = state._replace(opt_state=as_single(state.opt_state, folder.config))
    with Checkpoints(folder.checkpoints, folder.config, writing=True) as checkpoints:
        Position(state, metrics_checksum=folder.metrics.checksum).save(checkpoints)


def _finish_member(
    folder: RunFolder,
    dataset: Dataset,
    setup: Setup,
    states: TrainState,
    number: int,
    metrics: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Leave the result of a run, or of a member of a sweep.

    `states`, on the host, and `metrics`, by split and name, have an axis of members.
    """
    folder.finish(
        **{
            split: {name: float(values[number]) for name, values in of_split.items()}
            for split, of_split in metrics.items()
        },
        protocol=dataset.protocol,
        mesh=setup.mesh.devices.shape,
        best_epoch=int(states.best.epoch[number]),
        wall_seconds=sum(row["seconds"] for row in folder.metrics.read()),
    )


def _draw_member(
    folder: RunFolder, member_folder: RunFolder, dataset: Dataset, states: TrainState, number: int
) -> None:
    """Leave the pictures of a run, or of a member of a sweep, whose folder is `folder`."""
    config, path = folder.config, member_folder.path
    variables = jax.tree.map(lambda array: array[number], states.best.variables)
    task = build_task(config)
    try:
        plots.save_curves(member_folder.metrics.read(), int(states.best.epoch[number]), task.curves, path / CURVES)
        # The network of the sweep, so that one compiled function serves all members.
        network = build_network(config, dataset.test.inputs.shape[-1])
        hyper = build_hyperparameters(member_folder.config)
        save_task_pictures(task, network, hyper, variables, dataset.test, config.data.step_ms, path)
    except Exception as error:  # such as of a user's own pictures: the result must not wait for their repair
        say(f"warning: not all pictures of {path} could be drawn ({with_type(error)})")


def describe_result(result: Mapping[str, Any], task: Task) -> list[str]:
    """Return the lines that a command prints about the result of a run, or of a sweep.

    Of several settings, the best one is named: the one whose validation samples have the best mean of the metric that
    selects the epoch, unless the network has been trained on them too, or a seed has diverged.
    """
    metric, sign = task.selection

    def score(statistics: Mapping[str, float | None]) -> str:
        mean, std = statistics["mean"], statistics["std"]
        return f"{mean:.4f}" if std is None else f"{mean:.4f} +- {std:.4f}"

    def line(setting: Mapping[str, Any]) -> str:
        scores = "  ".join(
            f"{split} {name} {score(statistics)}"
            for split in ("validation", "test")
            for name, statistics in setting[split].items()
            if name != "loss" and not name.startswith("spike_rate_")
        )
        count = f"{setting['seeds']} seed{'s' if setting['seeds'] > 1 else ''}"
        count += f", {setting['diverged']} diverged" if setting["diverged"] else ""
        return f"{describe_setting(setting['setting']) or 'all'}: {scores or 'no finished members'}  ({count})"

    if "summary" in result:
        lines = [line(setting) for setting in result["summary"]]
        finished = [
            setting
            for setting in result["summary"]
            if not setting["diverged"] and np.isfinite(setting["validation"][metric]["mean"])
        ]
        if len(finished) > 1 and not is_of_last_epoch(result["protocol"]):
            best = max(finished, key=lambda setting: sign * setting["validation"][metric]["mean"])
            lines.append(f"best validation {metric}: {describe_setting(best['setting'])}")
        return [*lines, f"(mean +- standard deviation over seeds; {result['protocol']})"]
    text = "  ".join(
        f"{name} {value:.4f}" for name, value in result["test"].items() if not name.startswith("spike_rate_")
    )
    return [f"test {text}  ({result['protocol']}: epoch {result['best_epoch']})"]


def _write_tables(folder: Path, results: Sequence[Mapping[str, Any]], summary: Sequence[Mapping[str, Any]]) -> None:
    """Write a row for each member to members.csv, and one for each setting to summary.csv."""

    def columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
        names = dict.fromkeys(name for row in rows for name in row)  # in order, each once
        return {name: [row.get(name) for row in rows] for name in names}

    def row(varied: Mapping[str, Any], result: Mapping[str, Any], *names: str) -> dict[str, Any]:
        metrics = flatten({split: result[split] for split in ("validation", "test") if split in result})
        return {
            **{name: format_value(value) if isinstance(value, tuple) else value for name, value in varied.items()},
            **{name: result.get(name) for name in names},
            **{name.replace(".", "_"): value for name, value in metrics.items()},
        }

    members = [
        {"member": result["member"], **row(result["varied"], result, "diverged", "best_epoch")} for result in results
    ]
    settings = [row(setting["setting"], setting, "seeds", "diverged") for setting in summary]
    write_table(folder / "members.csv", columns(members))
    write_table(folder / "summary.csv", columns(settings))
