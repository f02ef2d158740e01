"""A run's folder: which run it holds, and its files.

config.json       the config
data.json         checksums of the data
start.json        with `config.init_from`, the checksum of the parameters that it starts from
metrics.csv       one row an epoch (and member of a sweep)
checkpoints/      last and best state (see `checkpoint`)
curves.png, raster.png; for a forecast forecast.png, forecast_error.png and .csv
members/<number>/, members.csv, summary.csv, sweep.png    of a sweep, in place of these: each member as a run of its own
.added/           of a sweep that is given more members, what is under way (see `training.extension`)
result.json       present once the run is finished
tensorboard/      if config.tensorboard says so
imported.json     in place of metrics, result and pictures: the origin of a network that was trained by another program

Commands that evaluate or inspect a run leave their tables and pictures beside these. Of several processes, which must
all see the folder, the first alone writes.
"""

import contextlib
import functools
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from seadlif_jax.config import (
    LENGTH,
    changed_fields,
    complete_config,
    differences,
    flatten,
    is_sweep,
    to_json,
)
from seadlif_jax.parallel import is_first_process
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.files import timestamp, versions, write_atomically
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.utils.locking import lock as file_lock
from seadlif_jax.utils.paths import workdir_path

LOCK = ".lock"
ORIGIN = "imported.json"


def _first_process_only(method: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> None:
        if is_first_process():
            method(*args, **kwargs)

    return guarded


def path_of_member(folder: Path, number: int) -> Path:
    """Return the path of the folder of a member, in that of a sweep.

    Example:
      >>> path_of_member(Path("runs/sweep"), 3).as_posix()
      'runs/sweep/members/3'
    """
    return folder / "members" / str(number)


class RunFolder:
    """Folder of one run, or of one sweep. Making one of these changes nothing on the disk.

    Args:
      workdir: path of the folder; it need not exist.
      config: config of the run.

    Attributes:
      path: absolute path of the folder.
      config: config of the run.
      metrics: its log of metrics.

    Raises:
      RunError: the folder holds the run of another config or of an older version, or files of no run.
      PathError: the path is an address, or has a name that checkpoints cannot have.
    """

    def __init__(self, workdir: str | Path, config: ConfigDict):
        self.path = workdir_path(workdir)
        self.config = config
        saved_every = self._check_folder()
        every_epochs = max(saved_every, config.checkpoint.every_epochs)
        self.metrics = MetricsLog(self.path / "metrics.csv", is_sweep(config), every_epochs)

    @property
    def checkpoints(self) -> Path:
        """Path of the folder of checkpoints."""
        return self.path / "checkpoints"

    def member_path(self, number: int) -> Path:
        """Return the path of the folder of a member of a sweep."""
        return path_of_member(self.path, number)

    def result(self) -> dict[str, Any] | None:
        """Return the result of a finished run; None if it is not finished, or is being given more epochs or members."""
        path = self.path / "result.json"
        if not path.exists():
            return None
        required = ("members", "summary") if is_sweep(self.config) else ("test", "best_epoch")
        result = _read_json(path, required=(*required, "protocol", "finished", "config"))
        return None if changed_fields(result["config"], json.loads(to_json(self.config))) else result

    def finish(self, **result: Any) -> dict[str, Any]:
        """Write the result, with what is to be known about its origin, and return it."""
        result |= {
            "seed": self.config.seed,
            "config": json.loads(to_json(self.config)),
            "versions": versions(),
            "device": f"{jax.devices()[0].device_kind} ({jax.default_backend()}, {platform.machine()})",
            "finished": timestamp(),
        }
        write_atomically(self.path / "result.json", json.dumps(result, indent=2))
        return result

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Create the folder, with the config in it, and hold an exclusive lock.

        Raises:
          RunError: the folder cannot be written to, or another process holds the lock.
        """
        if not is_first_process():
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / LOCK).touch()
        except OSError as error:
            raise RunError(f"cannot write to {self.path} ({error.strerror}); choose another --workdir") from error
        with file_lock(self.path / LOCK, self._refuse_second_process):
            self._check_folder()  # once more: another process may have been here in between
            if not (self.path / "config.json").exists():
                write_atomically(self.path / "config.json", to_json(self.config))
            yield

    @_first_process_only
    def record_changes(self) -> None:
        """Write the config that the run continues with: its length, the place of its data, and so on may be others."""
        path, text = self.path / "config.json", to_json(self.config)
        if _read_json(path) != json.loads(text):
            write_atomically(path, text)

    @_first_process_only
    def check_data(self, checksums: dict[str, int]) -> None:
        """Record the checksums of the data, by split, or compare them with those recorded.

        Raises:
          RunError: the run was started on other data.
        """
        changed = self._first_changed("data.json", checksums)
        if changed:
            raise RunError(
                f"{self.path} holds a run on other data: the {changed} split has changed since it was started. "
                "Bring the data back, or start over in another folder (--workdir)"
            )

    @_first_process_only
    def check_start(self, checksums: dict[str, int]) -> None:
        """Record the checksum of the parameters that the run starts from, or compare it with that recorded.

        Raises:
          RunError: the run was started from other parameters.
        """
        if self._first_changed("start.json", checksums):
            raise RunError(
                f"the parameters in config.init_from = {self.config.init_from!r} have changed since the run in "
                f"{self.path} was started. Bring them back, or start over in another --workdir"
            )

    def _first_changed(self, file: str, checksums: dict[str, int]) -> str | None:
        """Return the first name whose checksum is not that in the file, which is written if it does not exist."""
        path = self.path / file
        if not path.exists():
            write_atomically(path, json.dumps(checksums, indent=2))
        recorded = _read_json(path)
        return next((name for name, checksum in checksums.items() if recorded.get(name) != checksum), None)

    def data_checksums(self) -> dict[str, int]:
        """Return the checksums that `check_data` recorded."""
        return _read_json(self.path / "data.json")

    def origin(self) -> dict[str, Any] | None:
        """Return the origin of an imported network; None for a run that was trained here."""
        path = self.path / ORIGIN
        return _read_json(path, required=("file", "epoch")) if path.exists() else None

    @_first_process_only
    def write_origin(self, origin: Mapping[str, Any]) -> None:
        """Mark the run as an imported network."""
        write_atomically(self.path / ORIGIN, json.dumps(origin, indent=2))

    def refuse_imported(self) -> None:
        """Raise a `RunError` for an imported network, which comes without the state of its training."""
        origin = self.origin()
        if origin:
            raise RunError(
                f"{self.path} holds a network imported from {origin['file']}, whose training cannot be continued; "
                "choose another --workdir"
            )

    def _refuse_second_process(self) -> None:
        raise RunError(f"{self.path} is in use by another process; choose another --workdir")

    def _check_folder(self) -> int:
        """Return the number of epochs between saves before; 1 for a new run."""
        if not self.path.exists():
            return 1
        if not self.path.is_dir():
            raise RunError(f"--workdir {self.path} is a file; choose a folder")
        if not (self.path / "config.json").exists():
            others = sorted(file.name for file in self.path.iterdir() if not file.name.startswith("."))
            if others:
                raise RunError(f"{self.path} holds {others[0]} but no config.json; choose another --workdir")
            return 1
        before = _read_config_json(self.path)
        changes = differences(before, json.loads(to_json(self.config)))
        if changes:
            raise RunError(
                f"{self.path} holds a run with another config ({'; '.join(changes)}); choose another --workdir"
            )
        if self.config.num_epochs < before[LENGTH]:
            self._check_length()
        return int(flatten(before)["checkpoint.every_epochs"])

    def _check_length(self) -> None:
        """Raise a `RunError` if the run has more epochs than `config.num_epochs` already."""
        trained = max(map(len, MetricsLog(self.path / "metrics.csv").by_member().values()), default=0)
        if self.config.num_epochs < trained:
            raise RunError(
                f"config.num_epochs = {self.config.num_epochs}: the run in {self.path} has {trained} epochs already; "
                "give at least as many, or choose another --workdir"
            )


def read_config(folder: Path) -> ConfigDict:
    """Return the config of the run in a folder.

    Raises:
      RunError: there is no run, or it is one of an older version of this library.
    """
    if not (folder / "config.json").exists():
        raise RunError(f"{folder} holds no run: there is no config.json")
    return complete_config(_read_config_json(folder))


def _read_config_json(folder: Path) -> dict[str, Any]:
    config = _read_json(folder / "config.json")
    if "task" not in config:  # all versions up to 0.1
        raise RunError(
            f"{folder} holds a run of an older version of this library, which this one cannot read (its config.json "
            "has no field 'task'); use version 0.1 for it, or choose another --workdir"
        )
    return config


def _read_json(path: Path, required: tuple[str, ...] = ()) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # an editor may have put a mark in front
        if not isinstance(content, dict) or any(name not in content for name in required):
            raise ValueError("not the file that a run writes")
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); restore it from a copy, or choose another --workdir") from error
    return content
