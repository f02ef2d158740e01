"""Checkpoints of a run: the only file that imports orbax.

A checkpoint is one folder, written in the background and visible only once complete. It holds

last        the whole train state after the last finished epoch
under_way   of an epoch that is not finished, the parameters, the optimizer's state and the sums so far
best        the parameters and constants of the best epoch
metadata    where in training that is, the config, and checksums of all this

They are numbered in the order of saving, and the newest two are kept: if the last is damaged, training goes on from the
one before. All arrays have an axis of members in front, of length one for a single run.
"""

import contextlib
import errno
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jaxtyping import PyTree
from ml_collections import ConfigDict

from seadlif_jax.config import differences, differing, to_json
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.runs.folder import versions
from seadlif_jax.training.trainer import EpochSums, TrainState
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.progress import say

LAYOUT = 3  # of the files; another number can be another version's
KEPT = 2
DAMAGED = "damaged-"  # before the number of a checkpoint that is
NOT_NOW = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED")  # of the storage's errors, those that say nothing of the files
OF_THE_FILES = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})  # the system's, other than those
Variables = dict[str, Any]
T = TypeVar("T")


class CheckpointError(SeadlifError):
    """A checkpoint that cannot be restored or saved: the message names it and what to do."""


class _DamagedError(CheckpointError):
    """One that is not what was written: that before may be."""


class Position(NamedTuple):
    """Where in training a run is.

    Attributes:
      states: those after the last finished epoch.
      under_way: the same, with the parameters and the optimizer as they are after some steps of the next epoch.
      sums: over these steps.
      step: their number.
      seconds: the time they took.
      metrics: the checksum of the rows of metrics so far; None if nothing has been saved.
    """

    states: TrainState
    under_way: TrainState
    sums: EpochSums
    step: int = 0
    seconds: float = 0.0
    metrics: int | None = None


class Checkpoints:
    """The checkpoints in a folder. Use as a context manager: leaving it waits for saves under way.

    Args:
      folder: it need not exist.
      config: that of the run; a checkpoint of another one is refused.
      writing: whether to save, which only the process that holds the run may. It also removes what processes left that
        were killed while saving.
    """

    def __init__(self, folder: Path, config: ConfigDict, writing: bool = False):
        self.folder = folder
        self._config = json.loads(to_json(config))
        self._writing = writing
        self._settings, self._environment = jax_settings(), _environment()
        self._manager = self._open()
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        aside = [int(match[1]) for name in names if (match := re.fullmatch(rf"{DAMAGED}(\d+)", name))]
        self._last = max(self._numbers() + aside, default=0)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        with self._saving():
            self._manager.close()

    def save(self, position: Position) -> None:
        """Saves where in training all members are, in the background.

        Raises:
          CheckpointError: this, or the save before, has failed; what had been saved before is intact.
        """
        states = position.states
        content: dict[str, Any] = {
            "last": states,
            "best": {"params": states.best.params, "constants": states.constants},
        }
        if position.step:
            content["under_way"] = (position.under_way.params, position.under_way.opt_state, position.sums)
        content = devices.to_host(content)  # NumPy's: for each save of JAX's, some memory is never given back
        epochs, best_epochs, best_scores = devices.to_host((states.epoch, states.best.epoch, states.best.score))
        members, channels, _ = states.params["layers_0"]["kernel"].shape
        metadata = {
            "layout": LAYOUT,
            "epochs": epochs.tolist(),
            "step": position.step,
            "seconds": position.seconds,
            "metrics": position.metrics or 0,
            "best_epochs": best_epochs.tolist(),
            "best_scores": best_scores.tolist(),
            "members": members,
            "channels": channels,
            "config": self._config,
            "jax_settings": self._settings,
            "environment": self._environment,
            "checksums": {name: checksum(tree) for name, tree in content.items()},
        }
        items = {name: ocp.args.PyTreeSave(tree) for name, tree in content.items()}
        items["metadata"] = ocp.args.JsonSave({**metadata, "checksum": _text_checksum(metadata)})
        self._last += 1
        with self._saving():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager.save(self._last, args=ocp.args.Composite(**items))

    def any_saved(self) -> bool:
        """Return whether there is a complete checkpoint, if only a damaged one."""
        return bool(self._numbers())

    def restore(self, start: Position) -> Position:
        """Where training goes on: what is in the newest checkpoint that is whole; `start`, if nothing has been saved.

        Damaged ones are renamed, and the user is told.

        Raises:
          CheckpointError: all there are are damaged; or they are of another architecture than `start`, of another
            version of this library, or of other settings of JAX that change the arrays.
        """

        def read(number: int, metadata: dict[str, Any]) -> Position:
            self._check_settings(number, metadata)
            states = self._read(number, "last", start.states, metadata)
            position = start._replace(states=states, under_way=states, metrics=metadata["metrics"])
            if metadata["step"]:
                like = (states.params, states.opt_state, start.sums)
                params, opt_state, sums = self._read(number, "under_way", like, metadata)
                position = position._replace(
                    under_way=states._replace(params=params, opt_state=opt_state),
                    sums=sums,
                    step=metadata["step"],
                    seconds=metadata["seconds"],
                )
            return position

        found = self._newest(read)
        if found is None:
            return start
        number, position = found
        damaged = [other for other in self._numbers() if other > number]
        if damaged and self._writing:
            self._put_aside(damaged)
        return position

    def restore_best(self, like: Callable[[dict[str, Any]], Variables]) -> Variables | None:
        """The variables of every member's best epoch, or None if nothing has been saved; raises like `restore`.

        Args:
          like: from what a checkpoint says about itself, to such variables.
        """
        found = self._newest(lambda number, metadata: self._read(number, "best", like(metadata), metadata))
        return found and found[1]

    def _open(self) -> ocp.CheckpointManager:
        # One file for all arrays, where orbax finds it: it takes these characters of a folder's path for a pattern.
        use_ocdbt = not set("*?[]").intersection(str(self.folder))
        with _quietly():
            options = ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.LatestN(KEPT),
                create=False,  # reading leaves nothing behind
                cleanup_tmp_directories=self._writing,
                read_only=not self._writing,
            )
            arrays = {name: ocp.PyTreeCheckpointHandler(use_ocdbt=use_ocdbt) for name in ("last", "under_way", "best")}
            handlers = {**arrays, "metadata": ocp.JsonCheckpointHandler()}
            return ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def _numbers(self) -> list[int]:
        """Those of all checkpoints, from the newest."""
        return sorted(self._manager.all_steps(), reverse=True)

    def _newest(self, read: Callable[[int, dict[str, Any]], T]) -> tuple[int, T] | None:
        """The number of the newest checkpoint that can be read, and what was read."""
        numbers, problems = self._numbers(), []
        for number in numbers:
            try:
                found = read(number, self._metadata(number))
            except _DamagedError as error:
                problems.append(error)
                continue
            for problem in problems:
                say(f"{problem}; using the one saved before, {self.folder / str(number)}")
            return number, found
        if not self._writing:
            self._manager.reload()
            if self._numbers() != numbers:  # another process is training, and has replaced them
                return self._newest(read)
        if problems:
            raise CheckpointError(f"{problems[0]}. Nothing was changed; choose another --workdir to start anew")
        return None

    def _metadata(self, number: int) -> dict[str, Any]:
        found = dict(self._get(number, "metadata", ocp.args.JsonRestore()))
        if found.pop("checksum", None) != _text_checksum(found):
            raise self._damaged(number, "its metadata has another checksum than was written down")
        if found["layout"] != LAYOUT:
            raise self._foreign(number, f"has layout {found['layout']}; this version of the library reads {LAYOUT}")
        changes = differences(found["config"], self._config)
        if changes:
            raise self._foreign(number, f"is of another architecture or config ({'; '.join(changes)})")
        return found

    def _check_settings(self, number: int, metadata: dict[str, Any]) -> None:
        """Refuses to continue under settings of JAX that change the arrays; reports what changes their rounding."""
        settings = differing(metadata["jax_settings"], self._settings)
        if settings:
            changes = [f"{name} was {saved}, and is {now}" for name, (saved, now) in settings.items()]
            raise self._foreign(
                number,
                f"was saved under other settings of JAX ({'; '.join(changes)}); with the same settings, set by these "
                "environment variables, the run can be continued",
            )
        environment = differing(metadata["environment"], self._environment)
        if environment:
            changes = [f"{name} {saved} -> {now}" for name, (saved, now) in environment.items()]
            say(
                f"note: the run was saved with another environment ({'; '.join(changes)}); numbers may be rounded "
                "differently than in an uninterrupted run"
            )

    def _read(self, number: int, item: str, like: Any, metadata: dict[str, Any]) -> Any:
        """An item, in the types it was saved in: checked, and placed like `like`."""
        shapes = jax.tree.map(devices.without_key, like)
        as_saved = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        saved = self._get(number, item, ocp.args.PyTreeRestore(item=shapes, restore_args=as_saved))
        if checksum(saved) != metadata["checksums"][item]:
            raise self._damaged(number, f"{item!r} has another checksum than was written down")
        for (path, array), shape in zip(jax.tree.leaves_with_path(saved), jax.tree.leaves(shapes), strict=True):
            if array.shape != shape.shape:
                name = jax.tree_util.keystr(path, simple=True, separator=".")
                raise self._foreign(number, f"has {name} of shape {array.shape}; here it is {shape.shape}")
        return jax.tree.map(_place, saved, like)

    def _get(self, number: int, item: str, how: ocp.args.CheckpointArgs) -> Any:
        try:
            return self._manager.restore(number, args=ocp.args.Composite(**{item: how}))[item]
        except Exception as error:  # orbax and the storage below it raise many kinds
            reason = _reason(error)
            if _is_of_the_storage(error, reason):
                raise CheckpointError(
                    f"the checkpoint {self.folder / str(number)} cannot be read now ({reason}). Nothing was changed; "
                    "try the same command again"
                ) from error
            raise self._damaged(number, reason) from error

    def _foreign(self, number: int, what: str) -> CheckpointError:
        where = self.folder / str(number)
        return CheckpointError(f"the checkpoint {where} {what}. Nothing was changed; choose another --workdir")

    def _damaged(self, number: int, how: str) -> CheckpointError:
        return _DamagedError(f"the checkpoint {self.folder / str(number)} is damaged ({how})")

    def _put_aside(self, numbers: Sequence[int]) -> None:
        self._manager.close()
        for number in numbers if devices.is_first_process() else ():
            (self.folder / str(number)).rename(self.folder / f"{DAMAGED}{number}")
        devices.wait_for_all("damaged checkpoints")
        self._manager = self._open()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"cannot save to {self.folder} ({_reason(error)}). What was saved before is intact; when there is room "
                "again, the same command goes on from there"
            ) from error


def jax_settings() -> dict[str, bool | str]:
    """The settings of JAX that a training state depends on, by their environment variables."""
    return {
        "JAX_ENABLE_X64": jax.dtypes.canonicalize_dtype(float) == np.float64,
        "JAX_DEFAULT_PRNG_IMPL": str(jax.config.values["jax_default_prng_impl"]),
        "JAX_THREEFRY_PARTITIONABLE": bool(jax.config.values["jax_threefry_partitionable"]),
    }


def _environment() -> dict[str, Any]:
    """What changes the rounding of sums and products, and nothing else."""
    return {
        "devices": jax.device_count(),
        "platform": jax.default_backend(),
        "JAX_DEFAULT_MATMUL_PRECISION": jax.config.values["jax_default_matmul_precision"],
        **{name: version for name, version in versions().items() if name in ("jax", "jaxlib", "flax", "optax")},
    }


def _place(array: np.ndarray, like: Any) -> Any:
    """A saved array on the devices of `like`, as random keys if `like` is; without a sharding, as it is."""
    sharding = getattr(like, "sharding", None)
    if sharding is None:
        return array
    with jax.transfer_guard("allow"):  # meant here, whatever the user guards against
        placed = devices.put(array, sharding)
        return jax.random.wrap_key_data(placed) if devices.is_key(like) else placed


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without orbax's warnings that what is to be read is opened for reading."""
    before = logging.get_verbosity()
    logging.set_verbosity(min(before, logging.ERROR))
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _is_of_the_storage(error: Exception, reason: str) -> bool:
    """Whether an error says nothing of the files: a disk that fails, a stale handle, no memory, too many open files."""
    if isinstance(error, MemoryError) or any(name in reason for name in NOT_NOW):
        return True
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := re.search(r"OS error (\d+)", str(error))):  # TensorStore's
        number = int(match[1])
    return number is not None and number not in OF_THE_FILES


def _reason(error: Exception) -> str:
    """The first line of an error's message, without the storage's settings."""
    return str(error).partition("\n")[0].partition(" [tensorstore_spec")[0] or type(error).__name__


def checksum(tree: PyTree[np.ndarray]) -> int:
    """Return a checksum of the arrays of a tree."""
    crc = 0
    for array in jax.tree.leaves(tree):
        crc = zlib.crc32(np.ascontiguousarray(array).data.cast("B"), crc)
    return crc


def _text_checksum(metadata: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(metadata, sort_keys=True).encode())
