"""A run's folder: which run it holds, its metrics and its result.

config.json       the config
data.json         checksums of the data
metrics.csv       one row an epoch
checkpoints/      last and best state (see `checkpoint`)
curves.png, raster.png; for a forecast forecast.png, forecast_error.png and .csv
result.json       present once the run is finished
robustness.csv, robustness.png    left by evaluate.py
"""

import contextlib
import csv
import datetime
import fcntl
import importlib.metadata
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from seadlif_jax.config import differences, to_json

LOCK = ".lock"
PACKAGES = ("seadlif-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunError(ValueError):
    """A folder that cannot be used for this run: the message says why and what to do."""


class Run:
    """The folder of one run.

    Raises:
      RunError: the folder holds the run of another config, or files that are none of a run's.
    """

    def __init__(self, workdir: str | Path, config: ConfigDict):
        self.folder = Path(workdir).expanduser().resolve()
        self.config = config
        self.metrics = MetricsLog(self.folder / "metrics.csv")
        self._check_folder()

    def result(self) -> dict[str, Any] | None:
        """What a finished run found, or None."""
        path = self.folder / "result.json"
        return _read_json(path, needed=("test", "protocol", "best_epoch", "finished")) if path.exists() else None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder, with the config in it, and keeps other processes out for the time being.

        Raises:
          RunError: the folder cannot be written to, or another process holds it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / LOCK).open("w")
        except OSError as error:
            raise RunError(f"cannot write to {self.folder} ({error.strerror}); choose another --workdir") from error
        with lock:  # closing the file gives the lock back, and so does the end of the process
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(f"{self.folder} is in use by another process; choose another --workdir") from error
            if not (self.folder / "config.json").exists():
                write_atomically(self.folder / "config.json", to_json(self.config))
            yield

    def check_data(self, fingerprint: dict[str, int]) -> None:
        """Writes down what data the run is on, `dataset.fingerprint`, or compares with what was written.

        Raises:
          RunError: the run was started on other data.
        """
        path = self.folder / "data.json"
        if not path.exists():
            write_atomically(path, json.dumps(fingerprint, indent=2))
        others = [name for name, checksum in fingerprint.items() if _read_json(path).get(name) != checksum]
        if others:
            raise RunError(
                f"{self.folder} holds a run on other data: the {others[0]} split has changed since it was started. "
                "Bring the data back, or start anew in another --workdir"
            )

    def finish(self, **result: Any) -> dict[str, Any]:
        """Writes and returns the result."""
        result |= {
            "seed": self.config.seed,
            "config": json.loads(to_json(self.config)),
            "versions": versions(),
            "device": f"{jax.devices()[0].device_kind} ({jax.default_backend()}, {platform.machine()})",
            "finished": timestamp(),
        }
        write_atomically(self.folder / "result.json", json.dumps(result, indent=2))
        return result

    def _check_folder(self) -> None:
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise RunError(f"--workdir {self.folder} is a file; choose a folder")
        path = self.folder / "config.json"
        if not path.exists():
            others = sorted(file.name for file in self.folder.iterdir() if not file.name.startswith("."))
            if others:
                raise RunError(f"{self.folder} holds {others[0]} but no config.json; choose another --workdir")
            return
        changes = differences(_read_json(path), json.loads(to_json(self.config)))
        # Data may move between machines; the numbers stay the same.
        moved = ("config.data.dir:", "config.data.cache_dir:")
        changes = [change for change in changes if not change.startswith(moved)]
        if changes:
            raise RunError(
                f"{self.folder} holds a run with another config ({'; '.join(changes)}); choose another --workdir"
            )


class MetricsLog:
    """A CSV file with one row an epoch."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: dict[str, float]) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row.keys(), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)

    def read(self) -> list[dict[str, float]]:
        return _parse_rows(self.path.read_text().splitlines())

    def keep(self, num_epochs: int) -> None:
        """Goes back to epoch `num_epochs`, the last one with a checkpoint: drops the rows after it.

        A run that is cut off can leave two rows more than its checkpoint has epochs (the save under way, and the epoch
        after it), the last of them incomplete.

        Raises:
          RunError: rows are missing or damaged, or there are so many that it must be the checkpoint that is missing.
        """
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        if len(lines) - 1 > num_epochs + 2:
            raise RunError(
                f"{self.path} has {len(lines) - 1} rows, but the last checkpoint is of epoch {num_epochs}. Put the "
                "checkpoints back, or start anew in another --workdir"
            )
        if num_epochs == 0:
            self.path.unlink(missing_ok=True)
            return
        try:
            epochs = [row["epoch"] for row in _parse_rows(lines[: num_epochs + 1])]
        except (KeyError, TypeError, ValueError):
            epochs = []
        if epochs != list(range(1, num_epochs + 1)):
            raise RunError(
                f"{self.path} is damaged: it must have a row for every epoch up to {num_epochs}, the checkpoint's. "
                "Put the file back, or start anew in another --workdir"
            )
        write_atomically(self.path, "".join(lines[: num_epochs + 1]))


def _parse_rows(lines: list[str]) -> list[dict[str, float]]:
    return [
        {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
        for row in csv.DictReader(lines)
    ]


def timestamp() -> str:
    """The time now, in UTC; later times are greater as text."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def write_table(path: Path, columns: Mapping[str, Iterable[Any]]) -> None:
    """Writes columns of equal length as a CSV file; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_atomically(path, text.getvalue())


def read_config(folder: Path) -> ConfigDict:
    """The config of the run in a folder; raises a `RunError` if there is none."""
    path = folder / "config.json"
    if not path.exists():
        raise RunError(f"{folder} holds no run: there is no config.json")
    return ConfigDict(_read_json(path)).lock()


def _read_json(path: Path, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or any(name not in content for name in needed):
            raise ValueError("not the file that a run writes")
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); choose another --workdir, or remove the folder") from error
    return content
