"""Checkpoints of a run: named trees of arrays with metadata. The only file that imports orbax.

A checkpoint is one folder, written in the background and visible only once complete. Of training it holds

last        the whole state after the last finished epoch
running     of an epoch that is not finished, the variables, the optimizer's state and the sums so far
best        the network's variables of the best epoch
metadata    the position in training, the config, and checksums of all this

They are numbered in the order of saving, and the newest two are kept: if the last is damaged, the one before is used.
All arrays have an axis of members in front, of length one for a single run.
"""

import contextlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jaxtyping import PyTree
from ml_collections import ConfigDict

from seadlif_jax.config import differences, differing, to_json
from seadlif_jax.parallel import barrier, device_put_global, is_first_process, is_key, key_data, to_host
from seadlif_jax.runs.errors import CheckpointError
from seadlif_jax.runs.files import versions
from seadlif_jax.utils.errors import storage_error
from seadlif_jax.utils.progress import say

LAYOUT = 5  # of the files; 3 and less are of version 0.1
NUM_KEPT = 2
TREES = ("last", "running", "best")
QUARANTINE_PREFIX = "damaged-"  # before the number of a damaged checkpoint
Variables = dict[str, Any]  # of a network, by collection

# From the metadata of a checkpoint to trees with the shapes of those to read, by name: arrays, which are read to where
# these are, or `jax.ShapeDtypeStruct`.
Templates = Callable[[Mapping[str, Any]], Mapping[str, PyTree]]


class _DamagedError(CheckpointError):
    """Corrupt checkpoint; an older one may still be valid."""


class Checkpoint(NamedTuple):
    """Content of a checkpoint: trees of arrays by name, and metadata that JSON can hold."""

    trees: dict[str, Any]
    metadata: dict[str, Any]


class Checkpoints:
    """The checkpoints in a folder. Use as a context manager: leaving it waits for saves under way.

    Args:
      folder: it need not exist.
      config: config of the run; a checkpoint of another one is refused.
      writing: whether to save, which only the process that holds the run's lock may. It also removes the remains of
        processes that were killed while saving.
    """

    def __init__(self, folder: Path, config: ConfigDict, writing: bool = False):
        self.folder = folder
        self._config = json.loads(to_json(config))
        self._writing = writing
        self._settings, self._environment = jax_settings(), _environment()
        self._manager = self._open()
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        quarantined = [int(match[1]) for name in names if (match := re.fullmatch(rf"{QUARANTINE_PREFIX}(\d+)", name))]
        self._last = max(self._numbers() + quarantined, default=0)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        with self._saving():
            self._manager.close()

    def save(self, trees: Mapping[str, PyTree], metadata: Mapping[str, Any]) -> None:
        """Save trees of arrays, by names in `TREES`, and metadata, in the background.

        The arrays are copied to the host first: their buffers may be reused at once.

        Raises:
          CheckpointError: this, or the save before, has failed; what had been saved before is intact.
        """
        host_trees = to_host(dict(trees))  # NumPy's: for each save of JAX's, some memory is never given back
        content = {
            **metadata,
            "layout": LAYOUT,
            "config": self._config,
            "jax_settings": self._settings,
            "environment": self._environment,
            "checksums": {name: checksum(tree) for name, tree in host_trees.items()},
        }
        items = {name: ocp.args.PyTreeSave(tree) for name, tree in host_trees.items()}
        items["metadata"] = ocp.args.JsonSave({**content, "checksum": _text_checksum(content)})
        self._last += 1
        with self._saving():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager.save(self._last, args=ocp.args.Composite(**items))

    def any_saved(self) -> bool:
        """Return whether there is a complete checkpoint, even if a damaged one."""
        return bool(self._numbers())

    def restore(self, templates: Templates, to_continue: bool = True) -> Checkpoint | None:
        """Return the newest checkpoint that is intact; None if nothing has been saved.

        Damaged ones are reported, and renamed if this process writes.

        Args:
          templates: which trees to read.
          to_continue: whether training is to go on from it, for which JAX must have the same settings.

        Raises:
          CheckpointError: all checkpoints are damaged; or they are of another network, of another version of this
            library, or of other settings of JAX that change the arrays.
        """

        def read(number: int) -> Checkpoint:
            metadata = self._metadata(number)
            if to_continue:
                self._check_settings(number, metadata)
            wanted = templates(metadata)
            trees = {name: self._read(number, name, template, metadata) for name, template in wanted.items()}
            return Checkpoint(trees, metadata)

        numbers, problems = self._numbers(), []
        for number in numbers:
            try:
                checkpoint = read(number)
            except _DamagedError as error:
                problems.append(error)
                continue
            for problem in problems:
                say(f"{problem}; using the one saved before, {self.folder / str(number)}")
            if problems and self._writing:
                self._quarantine([damaged for damaged in numbers if damaged > number])
            return checkpoint
        if not self._writing:
            self._manager.reload()
            if self._numbers() != numbers:  # another process is training, and has replaced them
                return self.restore(templates, to_continue)
        if problems:
            raise CheckpointError(f"{problems[0]}. Nothing was changed; choose another --workdir to start over")
        return None

    def _open(self) -> ocp.CheckpointManager:
        # One file for all arrays, where orbax finds it: it takes these characters in a folder's path for a pattern.
        use_ocdbt = not set("*?[]").intersection(str(self.folder))
        with _quietly():
            options = ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.LatestN(NUM_KEPT),
                create=False,  # reading leaves nothing behind
                cleanup_tmp_directories=self._writing,
                read_only=not self._writing,
            )
            arrays = {name: ocp.PyTreeCheckpointHandler(use_ocdbt=use_ocdbt) for name in TREES}
            handlers = {**arrays, "metadata": ocp.JsonCheckpointHandler()}
            return ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def _numbers(self) -> list[int]:
        """Return the numbers of all checkpoints, from the newest."""
        return sorted(self._manager.all_steps(), reverse=True)

    def _metadata(self, number: int) -> dict[str, Any]:
        metadata = dict(self._get(number, "metadata", ocp.args.JsonRestore()))
        if metadata.pop("checksum", None) != _text_checksum(metadata):
            raise self._damaged(number, "the checksum of its metadata does not match")
        if metadata["layout"] != LAYOUT:
            layout = metadata["layout"]
            raise self._foreign(number, f"has layout {layout}; this version of the library reads layout {LAYOUT} only")
        changes = differences(metadata["config"], self._config)
        if changes:
            raise self._foreign(number, f"is of another network or config ({'; '.join(changes)})")
        return metadata

    def _check_settings(self, number: int, metadata: dict[str, Any]) -> None:
        """Refuse settings of JAX that change the arrays; report differences that change their rounding."""
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
        """Return a tree in the dtypes that it was saved in: checked, and placed like `like`."""
        shapes = jax.tree.map(key_data, like)
        as_saved = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        saved = self._get(number, item, ocp.args.PyTreeRestore(item=shapes, restore_args=as_saved))
        if checksum(saved) != metadata["checksums"][item]:
            raise self._damaged(number, f"the checksum of {item!r} does not match")
        for (path, array), shape in zip(jax.tree.leaves_with_path(saved), jax.tree.leaves(shapes), strict=True):
            if array.shape != shape.shape:
                name = jax.tree_util.keystr(path, simple=True, separator=".")
                raise self._foreign(number, f"has {name} of shape {array.shape}; here it is {shape.shape}")
        return jax.tree.map(_place, saved, like)

    def _get(self, number: int, item: str, arguments: ocp.args.CheckpointArgs) -> Any:
        try:
            return self._manager.restore(number, args=ocp.args.Composite(**{item: arguments}))[item]
        except Exception as error:  # orbax and the storage below it raise many kinds
            reason = _reason(error)
            if storage_error(error):
                raise CheckpointError(
                    f"the checkpoint {self.folder / str(number)} cannot be read now ({reason}). Nothing was changed; "
                    "try the same command again"
                ) from error
            raise self._damaged(number, reason) from error

    def _foreign(self, number: int, problem: str) -> CheckpointError:
        where = self.folder / str(number)
        return CheckpointError(f"the checkpoint {where} {problem}. Nothing was changed; choose another --workdir")

    def _damaged(self, number: int, reason: str) -> CheckpointError:
        return _DamagedError(f"the checkpoint {self.folder / str(number)} is damaged ({reason})")

    def _quarantine(self, numbers: Sequence[int]) -> None:
        self._manager.close()
        for number in numbers if is_first_process() else ():
            (self.folder / str(number)).rename(self.folder / f"{QUARANTINE_PREFIX}{number}")
        barrier("damaged checkpoints")
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
    """Return the settings of JAX that a training state depends on, by their environment variables."""
    return {
        "JAX_ENABLE_X64": jax.dtypes.canonicalize_dtype(float) == np.float64,
        "JAX_DEFAULT_PRNG_IMPL": str(jax.config.values["jax_default_prng_impl"]),
        "JAX_THREEFRY_PARTITIONABLE": bool(jax.config.values["jax_threefry_partitionable"]),
    }


def _environment() -> dict[str, Any]:
    """Return what changes the rounding of sums and products, and nothing else."""
    return {
        "devices": jax.device_count(),
        "platform": jax.default_backend(),
        "JAX_DEFAULT_MATMUL_PRECISION": jax.config.values["jax_default_matmul_precision"],
        **{name: version for name, version in versions().items() if name in ("jax", "jaxlib", "flax", "optax")},
    }


def _place(array: np.ndarray, like: Any) -> Any:
    """Return a saved array on the devices of `like`, as random keys if `like` is; without a sharding, as it is."""
    sharding = getattr(like, "sharding", None)
    if sharding is None:
        return array
    with jax.transfer_guard("allow"):  # meant here, whatever the user guards against
        placed = device_put_global(array, sharding)
        return jax.random.wrap_key_data(placed) if is_key(like) else placed


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppress orbax's warnings that a folder is opened for reading."""
    before = logging.get_verbosity()
    logging.set_verbosity(min(before, logging.ERROR))
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, without the storage's settings."""
    return str(error).partition("\n")[0].partition(" [tensorstore_spec")[0] or type(error).__name__


def checksum(tree: PyTree[np.ndarray]) -> int:
    """Return a checksum of the arrays of a tree."""
    crc = 0
    for array in jax.tree.leaves(tree):
        crc = zlib.crc32(np.ascontiguousarray(array).data.cast("B"), crc)
    return crc


def _text_checksum(metadata: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(metadata, sort_keys=True).encode())
