"""A run's folder: which run it holds, its metrics and its result.

config.json       the config
metrics.csv       one row an epoch
checkpoints/      last and best state (see `checkpoint`)
curves.png, raster.png
result.json       present once the run is finished
"""

import csv
import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from seadlif_jax.config import differences, to_json

PACKAGES = ("seadlif-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunError(ValueError):
    """A folder that cannot be used for this run: the message says why and what to do."""


class Run:
    """The folder of one run.

    Raises:
      RunError: the folder holds the run of another config, or results of unknown origin.
    """

    def __init__(self, workdir: str | Path, config: ConfigDict):
        self.folder = Path(workdir).expanduser().resolve()
        self.config = config
        self.metrics = MetricsLog(self.folder / "metrics.csv")
        self._check_folder()

    def result(self) -> dict[str, Any] | None:
        """What a finished run found, or None."""
        path = self.folder / "result.json"
        return _read_json(path) if path.exists() else None

    def create(self) -> None:
        """Makes the folder and writes the config into it; raises a `RunError` where that is not allowed."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "config.json", to_json(self.config))
        except OSError as error:
            raise RunError(f"cannot write to {self.folder} ({error.strerror}); choose another --workdir") from error

    def finish(self, **result: Any) -> dict[str, Any]:
        """Writes and returns the result."""
        result |= {
            "seed": self.config.seed,
            "config": json.loads(to_json(self.config)),
            "versions": versions(),
            "device": f"{jax.devices()[0].device_kind} ({jax.default_backend()}, {platform.machine()})",
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_atomically(self.folder / "result.json", json.dumps(result, indent=2))
        return result

    def _check_folder(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise RunError(f"--workdir {self.folder} is a file; choose a folder")
        path = self.folder / "config.json"
        if not path.exists():
            for name in ("metrics.csv", "result.json", "checkpoints"):
                if (self.folder / name).exists():
                    raise RunError(f"{self.folder} holds {name} but no config.json; choose another --workdir")
            return
        changes = differences(_read_json(path), json.loads(to_json(self.config)))
        # Data may move between machines; the numbers stay the same.
        changes = [change for change in changes if not change.startswith("config.data.dir:")]
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
            writer = csv.DictWriter(file, row.keys())
            if new:
                writer.writeheader()
            writer.writerow(row)

    def read(self) -> list[dict[str, float]]:
        with self.path.open(newline="") as file:
            return [
                {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
                for row in csv.DictReader(file)
            ]

    def keep(self, num_epochs: int) -> None:
        """Drops the rows after epoch `num_epochs`, the last one with a checkpoint, and a row cut off in writing.

        Raises:
          RunError: there are fewer rows than that.
        """
        if num_epochs == 0:
            self.path.unlink(missing_ok=True)
            return
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        if len(lines) <= num_epochs:
            raise RunError(
                f"{self.path} has lost rows: the checkpoint is of epoch {num_epochs}. Put the file back, or start anew "
                "in another --workdir"
            )
        write_atomically(self.path, "".join(lines[: num_epochs + 1]))


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


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); choose another --workdir, or remove the folder") from error
