"""A run's folder: which run it holds, its metrics and its result.

config.json       the config
data.json         checksums of the data
start.json        with `config.init_from`, the checksum of the parameters that it starts from
metrics.csv       one row an epoch (and member of a sweep)
checkpoints/      last and best state (see `checkpoint`)
curves.png, raster.png; for a forecast forecast.png, forecast_error.png and .csv
.added/           of a sweep that is given more members, what is under way (see `additions`)
members/<number>/, members.csv, summary.csv, sweep.png    of a sweep, in place of these: each member as a run of its own
result.json       present once the run is finished
tensorboard/      if config.tensorboard says so
imported.json     in place of metrics, result and pictures: the origin of a network that was trained by another program
inside/           left by look.py
robustness.csv and .png, <split>_classes.csv, <split>_confusion.csv and .png, <split>_costs.csv    left by evaluate.py

Of several processes, the first alone writes, and looks after what is there. They all see the folder.
"""

import contextlib
import csv
import datetime
import functools
import importlib.metadata
import io
import json
import os
import platform
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import jax
from ml_collections import ConfigDict

from seadlif_jax.config import LENGTH, base_config, changed_fields, differences, flatten, is_sweep, normalize, to_json
from seadlif_jax.parallel.mesh import is_first_process
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.locking import lock
from seadlif_jax.utils.paths import workdir_path

LOCK = ".lock"
ORIGIN = "imported.json"
PACKAGES = ("seadlif-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def _first_process_only(method: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> None:
        if is_first_process():
            method(*args, **kwargs)

    return guarded


class RunError(SeadlifError):
    """A folder that cannot be used for this run: the message says why and what to do."""


class Run:
    """The folder of one run.

    Raises:
      RunError: the folder holds the run of another config, or files that are none of a run's.
      PathError: it is an address, or has a name that checkpoints cannot have.
    """

    def __init__(self, workdir: str | Path, config: ConfigDict):
        self.folder = workdir_path(workdir)
        self.config = config
        saved_before = self._check_folder()
        every_epochs = max(saved_before, config.checkpoint.every_epochs)
        self.metrics = MetricsLog(self.folder / "metrics.csv", is_sweep(config), every_epochs)

    def result(self) -> dict[str, Any] | None:
        """What a finished run found, or None; also while it is given more epochs, or members, than the result is of."""
        path = self.folder / "result.json"
        if not path.exists():
            return None
        needed = ("members", "summary") if is_sweep(self.config) else ("test", "best_epoch")
        result = _read_json(path, needed=(*needed, "protocol", "finished", "config"))
        return None if changed_fields(result["config"], json.loads(to_json(self.config))) else result

    @_first_process_only
    def record_length(self) -> None:
        """Write the number of epochs into config.json, if it is another one than before."""
        path = self.folder / "config.json"
        before = _read_json(path)
        if before[LENGTH] != self.config.num_epochs:
            after = before | {LENGTH: self.config.num_epochs}
            write_atomically(path, json.dumps(after, indent=2, sort_keys=True))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder, with the config in it, and keeps other processes out for the time being.

        Raises:
          RunError: the folder cannot be written to, or another process holds it.
        """
        if not is_first_process():
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / LOCK).touch()
        except OSError as error:
            raise RunError(f"cannot write to {self.folder} ({error.strerror}); choose another --workdir") from error
        with lock(self.folder / LOCK, self._refuse_second_process):
            self._check_folder()  # once more: another process may have been here in between
            if not (self.folder / "config.json").exists():
                write_atomically(self.folder / "config.json", to_json(self.config))
            yield

    def _refuse_second_process(self) -> None:
        raise RunError(f"{self.folder} is in use by another process; choose another --workdir")

    @_first_process_only
    def check_data(self, fingerprint: dict[str, int]) -> None:
        """Writes down what data the run is on, `dataset.fingerprint`, or compares with what was written.

        Raises:
          RunError: the run was started on other data.
        """
        other = self._first_changed("data.json", fingerprint)
        if other:
            raise RunError(
                f"{self.folder} holds a run on other data: the {other} split has changed since it was started. "
                "Bring the data back, or start anew in another --workdir"
            )

    @_first_process_only
    def check_start(self, fingerprint: dict[str, int]) -> None:
        """Write down which parameters the run starts from, or compare with what was written.

        Raises:
          RunError: it was started from others.
        """
        if self._first_changed("start.json", fingerprint):
            raise RunError(
                f"the parameters in config.init_from = {self.config.init_from!r} have changed since the run in "
                f"{self.folder} was started. Bring them back, or start anew in another --workdir"
            )

    def _first_changed(self, file: str, checksums: dict[str, int]) -> str | None:
        """The first name whose checksum is not what is in the file, which is written if it is not there."""
        path = self.folder / file
        if not path.exists():
            write_atomically(path, json.dumps(checksums, indent=2))
        written = _read_json(path)
        return next((name for name, checksum in checksums.items() if written.get(name) != checksum), None)

    def data(self) -> dict[str, int]:
        """The checksums that `check_data` wrote down."""
        return _read_json(self.folder / "data.json")

    def origin(self) -> dict[str, Any] | None:
        """Return where an imported network is from, or None for a run that was trained here."""
        path = self.folder / ORIGIN
        return _read_json(path, needed=("file", "epoch")) if path.exists() else None

    @_first_process_only
    def write_origin(self, origin: Mapping[str, Any]) -> None:
        """Mark the run as an imported network."""
        write_atomically(self.folder / ORIGIN, json.dumps(origin, indent=2))

    def refuse_imported(self) -> None:
        """Raise a `RunError` for an imported network, which comes without the state of its training."""
        origin = self.origin()
        if origin:
            raise RunError(
                f"{self.folder} holds a network imported from {origin['file']}, whose training cannot be continued; "
                "choose another --workdir"
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

    def _check_folder(self) -> int:
        """Returns how many epochs there were between saves before: 1, if it is a new run."""
        if not self.folder.exists():
            return 1
        if not self.folder.is_dir():
            raise RunError(f"--workdir {self.folder} is a file; choose a folder")
        path = self.folder / "config.json"
        if not path.exists():
            others = sorted(file.name for file in self.folder.iterdir() if not file.name.startswith("."))
            if others:
                raise RunError(f"{self.folder} holds {others[0]} but no config.json; choose another --workdir")
            return 1
        before = _read_json(path)
        changes = differences(before, json.loads(to_json(self.config)))
        if changes:
            raise RunError(
                f"{self.folder} holds a run with another config ({'; '.join(changes)}); choose another --workdir"
            )
        if self.config.num_epochs < before[LENGTH]:
            self._check_length()
        return int(flatten(before)["checkpoint.every_epochs"])

    def _check_length(self) -> None:
        """Raise a `RunError` if the run has been trained for more epochs than it is to have."""
        trained = max(map(len, MetricsLog(self.folder / "metrics.csv").by_member().values()), default=0)
        if self.config.num_epochs < trained:
            raise RunError(
                f"config.num_epochs = {self.config.num_epochs}: the run in {self.folder} has {trained} epochs already; "
                "give at least as many, or choose another --workdir"
            )


class MetricsLog:
    """A CSV file with one row an epoch; of a sweep, one for each member, which are told apart by a column `member`."""

    def __init__(self, path: Path, numbered: bool = False, every_epochs: int = 1):
        self.path = path
        self.checksum = 0  # of the rows written
        self._every_epochs = every_epochs  # a save
        self._numbered = numbered

    def write(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Makes these the rows of the file."""
        self.path.unlink(missing_ok=True)
        self.checksum = 0
        self.append(rows)

    @_first_process_only
    def append(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Adds the rows of an epoch, each with the number of its member."""
        new = not self.path.exists()
        text = io.StringIO()
        columns = [name for name in rows[0] if name != "member" or self._numbered]
        writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerows(rows)
        with self.path.open("a", newline="") as file:
            file.write(text.getvalue())
            _to_disk(file)
        self.checksum = zlib.crc32(text.getvalue().encode(), self.checksum)

    def read(self, member: int = 0) -> list[dict[str, float]]:
        """The rows of a member; none, if it has diverged in the first epoch."""
        return self.by_member().get(member, [])

    def by_member(self) -> dict[int, list[dict[str, float]]]:
        """The rows of all members that have some."""
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        if lines and not lines[-1].endswith("\n"):  # cut off, or being written now
            lines.pop()
        found: dict[int, list[dict[str, float]]] = {}
        for row in _parse_rows(lines):
            found.setdefault(int(row.get("member", 0)), []).append(row)
        return found

    @_first_process_only
    def keep(self, epochs: Sequence[int], checksum: int | None) -> None:
        """Goes back to the last checkpoint, with `epochs[i]` finished by member i: drops the rows after it.

        A run that is cut off can leave the rows of epochs more, the last of them incomplete.

        Args:
          epochs: of every member.
          checksum: that of the rows then; None, if there is no checkpoint at all.

        Raises:
          RunError: rows are missing or damaged, or there are so many that there must have been a checkpoint.
        """
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        if checksum is None and len(lines) - 1 > 2 * self._every_epochs * len(epochs):
            raise RunError(
                f"{self.path} has {len(lines) - 1} rows, but there is no checkpoint. Put the checkpoints back, or "
                "start anew in another --workdir"
            )
        num_rows = sum(epochs)
        kept = b"".join(lines[: num_rows + 1]) if num_rows else b""
        self.checksum = zlib.crc32(kept)
        if self.checksum != (checksum or 0):
            raise RunError(
                f"{self.path} is damaged: its first {num_rows} rows are not those of the checkpoint. "
                "Put the file back, or start anew in another --workdir"
            )
        if kept:
            write_atomically(self.path, kept.decode())
        else:
            self.path.unlink(missing_ok=True)


def _parse_rows(lines: list[str]) -> list[dict[str, float]]:
    return [
        {name: int(value) if name in ("member", "epoch") else float(value) for name, value in row.items()}
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
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            _to_disk(file)
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # an error of a write does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _to_disk(file: TextIO) -> None:
    """Returns when a file's content would survive the end of the machine."""
    file.flush()
    os.fsync(file.fileno())


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
    config = base_config().to_dict()  # for fields that are newer than the run
    return normalize(ConfigDict(_merge(config, _read_json(path))))


def _merge(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = {
        name: _merge(defaults.get(name, {}), value) if isinstance(value, dict) else value
        for name, value in values.items()
    }
    return defaults | merged


def _read_json(path: Path, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # an editor may have put a mark in front
        if not isinstance(content, dict) or any(name not in content for name in needed):
            raise ValueError("not the file that a run writes")
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); restore it from a copy, or choose another --workdir") from error
    return content
