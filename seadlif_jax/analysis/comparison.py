"""Several runs side by side: what they found, and where their configs differ."""

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


class Compared(NamedTuple):
    """A run, or a member of a sweep.

    Attributes:
      name: the shortest path that tells it from the others.
      score: the metric next to the loss, "accuracy" or "mse".
      config: all its fields, by name.
      rows: of metrics.csv, one an epoch.
      result: what is in result.json; None if it is not finished.
    """

    name: str
    score: str
    config: dict[str, Any]
    rows: list[dict[str, float]]
    result: Mapping[str, Any] | None


def read(folders: Sequence[Path], skipped: Callable[[str], None] = lambda reason: None) -> list[Compared]:
    """The runs in these folders; of a sweep, all its members.

    Args:
      folders: a folder without a run, or with one that cannot be read or has no epoch, is left out.
      skipped: is called with the reason for each of these.

    Raises:
      RunError: no run is left; or some runs forecast, and others classify.
    """
    runs: list[Compared] = []
    for folder, name in zip(folders, _names(folders), strict=True):
        try:
            runs += _read(folder, name)
        except (RunError, ConfigError, OSError, PathError) as error:
            skipped(str(error))
    if not runs:
        raise RunError("none of these folders holds a run with a finished epoch")
    scores = {run.score for run in runs}
    if len(scores) > 1:
        raise RunError(f"these runs cannot be compared: they have different metrics, {' and '.join(sorted(scores))}")
    return runs


def columns(runs: Sequence[Compared]) -> dict[str, list[Any]]:
    """A table with a row for each run: the settings that differ, then epochs, selected epoch and metrics."""
    settings = dict.fromkeys(name for run in runs for name in run.config)
    differ = [name for name in settings if len({repr(run.config.get(name)) for run in runs}) > 1]
    table: dict[str, list[Any]] = {"run": [run.name for run in runs]}
    for name in differ:
        table[name] = [_text(run.config.get(name)) for run in runs]
    table["epochs"] = [len(run.rows) for run in runs]
    table["best_epoch"] = [(run.result or {}).get("best_epoch") for run in runs]
    for split in ("validation", "test"):
        for metric in dict.fromkeys((runs[0].score, "loss")):
            table[f"{split}_{metric}"] = [(run.result or {}).get(split, {}).get(metric) for run in runs]
    table["seconds"] = [round(sum(row["seconds"] for row in run.rows), 1) for run in runs]
    return table


def _read(folder: Path, name: str) -> list[Compared]:
    config = read_config(folder)
    run = RunFolder(folder, config)
    results = run.result() or {}
    members = expand_sweep(config)
    rows_of = MetricsLog(folder / "metrics.csv").by_member()
    if not rows_of and not results and run.origin() is None:
        raise RunError(f"{folder} has no finished epoch yet; let it run on")
    found = []
    for number, member in enumerate(members):
        result = results["members"][number] if "members" in results else results or None
        fields = {
            field: value
            for field, value in flatten(member.config).items()
            if not field.startswith("sweep.") and field not in MAY_CHANGE
        }
        own_name = f"{name}, {member}" if member.varied else name
        found.append(Compared(own_name, build_task(member.config).metric, fields, rows_of.get(number, []), result))
    return found


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as few as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(of_one[-count:]) for of_one in parts]
        if len(set(names)) == len(names):
            return names
    raise RunError("a run is given twice; name each of them once")


def _text(value: Any) -> Any:
    return format_value(value) if isinstance(value, tuple | list) else value
