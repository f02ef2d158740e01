"""Several runs side by side: their results, and the settings in which they differ."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seadlif_jax.build import build_task
from seadlif_jax.config import MAY_CHANGE, ConfigError, flatten
from seadlif_jax.members import expand_sweep, format_value
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder, read_config
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.utils.paths import PathError


class ComparedRun(NamedTuple):
    """A run, or a member of a sweep.

    Attributes:
      name: shortest path that tells it from the others.
      score: metric next to the loss, "accuracy" or "mse".
      config: all fields of its config, by name.
      rows: rows of metrics.csv, one per epoch.
      result: content of result.json; None if it is not finished.
    """

    name: str
    score: str
    config: dict[str, Any]
    rows: list[dict[str, float]]
    result: Mapping[str, Any] | None


def read_runs(folders: Sequence[Path], report: Callable[[str], None] = lambda reason: None) -> list[ComparedRun]:
    """Return the runs in these folders; for a sweep, all its members.

    Args:
      folders: a folder without a run, or with one that cannot be read or has no epoch, is left out.
      report: called with the reason for each folder that is left out.

    Raises:
      RunError: no run is left; or some runs forecast, and others classify.
    """
    runs: list[ComparedRun] = []
    for folder, name in zip(folders, _shortest_names(folders), strict=True):
        try:
            runs += _read_folder(folder, name)
        except (RunError, ConfigError, OSError, PathError) as error:
            report(str(error))
    if not runs:
        raise RunError("none of these folders holds a run with a finished epoch")
    first: dict[str, str] = {}
    for run in runs:
        first.setdefault(run.score, run.name)
    if len(first) > 1:
        metrics = ", ".join(f"{score} in {name}" for score, name in first.items())
        raise RunError(f"these runs cannot be compared: they have different metrics, {metrics}")
    return runs


def comparison_table(runs: Sequence[ComparedRun]) -> dict[str, list[Any]]:
    """Return the columns of a table with one row per run: the settings that differ, epochs, and metrics."""
    settings = dict.fromkeys(name for run in runs for name in run.config)
    differ = [name for name in settings if len({repr(run.config.get(name)) for run in runs}) > 1]
    table: dict[str, list[Any]] = {"run": [run.name for run in runs]}
    for name in differ:
        table[name] = [_cell(run.config.get(name)) for run in runs]
    table["epochs"] = [len(run.rows) for run in runs]
    table["best_epoch"] = [(run.result or {}).get("best_epoch") for run in runs]
    for split in ("validation", "test"):
        for metric in dict.fromkeys((runs[0].score, "loss")):
            table[f"{split}_{metric}"] = [(run.result or {}).get(split, {}).get(metric) for run in runs]
    table["seconds"] = [round(sum(row["seconds"] for row in run.rows), 1) for run in runs]
    return table


def _read_folder(folder: Path, name: str) -> list[ComparedRun]:
    config = read_config(folder)
    run = RunFolder(folder, config)
    result = run.result() or {}
    rows_by_member = MetricsLog(folder / "metrics.csv").by_member()
    if not rows_by_member and not result and run.origin() is None:
        raise RunError(f"{folder} has no finished epoch yet; let it run on")
    runs = []
    for number, member in enumerate(expand_sweep(config)):
        fields = {
            field: value
            for field, value in flatten(member.config).items()
            if not field.startswith("sweep.") and field not in MAY_CHANGE
        }
        result_of_member = result["members"][number] if "members" in result else result or None
        name_of_member = f"{name}, {member}" if member.varied else name
        metric, rows = build_task(member.config).metric, rows_by_member.get(number, [])
        runs.append(ComparedRun(name_of_member, metric, fields, rows, result_of_member))
    return runs


def _shortest_names(folders: Sequence[Path]) -> list[str]:
    """Return the last parts of the paths, as few as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-count:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    raise RunError("a run is given twice; name each of them once")


def _cell(value: Any) -> Any:
    return format_value(value) if isinstance(value, tuple | list) else value
