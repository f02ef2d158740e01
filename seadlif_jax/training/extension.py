"""Members added to a finished sweep, by more values in `config.sweep`.

The new members are trained as a sweep of their own, in `.added/new` of the sweep's folder. Then the whole sweep is
merged in `.added/whole`, from copies of the old members' files, and moved to its place, file by file. Killed at any
moment, the same command goes on; until the move, the folder is that of the old sweep.

Members are numbered in the order of `members.expand_sweep`, so that the numbers of old ones may change.
"""

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from seadlif_jax.config import LENGTH, changed_fields, is_sweep, to_json
from seadlif_jax.data.loading import Dataset
from seadlif_jax.members import Member, expand_sweep
from seadlif_jax.parallel import MEMBER, is_first_process, to_host
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import LOCK, RunFolder, read_config
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.training.logging import tensorboard_writer
from seadlif_jax.training.report import finish_sweep
from seadlif_jax.training.setup import Setup
from seadlif_jax.training.state import Position, TrainState, used_options
from seadlif_jax.utils.paths import workdir_path

FOLDER = ".added"


class Addition(NamedTuple):
    """A finished sweep, and the same with more members.

    Attributes:
      old: the finished sweep.
      config: config of the whole sweep.
      members: all of its members.
      sources: for each member, whether it is new, and its number among the new or the old ones.
    """

    old: RunFolder
    config: ConfigDict
    members: Sequence[Member]
    sources: Sequence[tuple[bool, int]]

    @property
    def folder(self) -> Path:
        """Folder of all that is under way."""
        return self.old.path / FOLDER

    def new_folder(self) -> RunFolder:
        """Return the run folder of the new members; raises a `RunError` if other members are being added."""
        path = self.folder / "new" / "config.json"
        if path.exists() and changed_fields(json.loads(path.read_text()), json.loads(to_json(self.config))):
            raise RunError(
                f"{self.old.path} is being given other members; continue with that config, or remove {self.folder}"
            )
        return RunFolder(self.folder / "new", self.config)

    def new_members(self, mesh: jax.sharding.Mesh) -> list[Member]:
        """Return the members to train, some of them twice so that all devices of the whole sweep get equally many.

        For the same bits as in the whole sweep, on a CPU: the loop over the members of a device compiles to other
        instructions if there is only one, as do programs for another number of devices.
        """
        by_member = mesh.shape[MEMBER]
        min_each = min(2, len(self.members) // by_member)
        members = [member for member, (is_new, _) in zip(self.members, self.sources, strict=True) if is_new]
        each = max(min_each, -(-len(members) // by_member))
        return list(itertools.islice(itertools.cycle(members), each * by_member))


def find_addition(workdir: str | Path, config: ConfigDict, members: Sequence[Member]) -> Addition | None:
    """Return the members to add to the sweep in a folder; None if there is no sweep, or nothing to add.

    Raises:
      RunError: the sweep is not finished, or there are several processes.
    """
    folder = workdir_path(workdir)
    if not is_sweep(config) or not (folder / "config.json").exists():
        return None
    before = read_config(folder)
    fields = changed_fields(json.loads(to_json(before)), json.loads(to_json(config)))
    if not is_sweep(before) or not any(name.startswith("sweep.") for name in fields):
        return None
    numbers = {to_json(member.config): number for number, member in enumerate(_members_before(before, config))}
    texts = [to_json(member.config) for member in members]
    if not numbers.keys() < set(texts) or any(not name.startswith(("sweep.", LENGTH)) for name in fields):
        return None  # other members, not more
    if used_options(before) != used_options(config):
        return None  # the program of the old members had other options
    if LENGTH in fields and config.optimizer.schedule == "cosine":
        return None
    if LENGTH in fields:
        raise RunError(
            f"{folder} holds a sweep of {before.num_epochs} epochs with fewer members; add members first, and epochs "
            "then, or the reverse"
        )
    old = RunFolder(folder, before)
    if old.result() is None:
        raise RunError(f"{folder} holds a sweep that is not finished; let it finish before members are added")
    with Checkpoints(old.checkpoints, before) as checkpoints:
        if not checkpoints.any_saved():
            raise RunError(f"{folder} holds a finished sweep, but no checkpoint; put the checkpoints back")
    if jax.process_count() > 1:
        raise RunError(f"members are added to the sweep in {folder} by a single process only; leave out --distributed")
    new = iter(range(len(members)))
    sources = [(True, next(new)) if text not in numbers else (False, numbers[text]) for text in texts]
    return Addition(old, config, members, sources)


def refuse_unfinished(folder: Path) -> None:
    """Raise a `RunError` if members are being added to the sweep in a folder: it must not change before they are."""
    if (folder / FOLDER / "new" / "config.json").exists():
        raise RunError(
            f"more members are being added to the sweep in {folder}, and are not finished: finish them first, by the "
            f"command that adds them, or remove {folder / FOLDER}"
        )


def merge(addition: Addition, dataset: Dataset, setup: Setup, states: TrainState) -> None:
    """Merge the old and the new members into one sweep, and move it to its place.

    Args:
      addition: the members, of which the new ones are trained.
      dataset: data that they were trained on.
      setup: devices and functions that they were trained with.
      states: states of the new members after training.
    """
    old, new, whole = addition.old, addition.new_folder(), RunFolder(addition.folder / "whole", addition.config)
    shutil.rmtree(whole.path, ignore_errors=True)
    with whole.lock():
        for path in (*old.path.glob("data.json"), *old.path.glob("start.json")):
            shutil.copy2(path, whole.path)
        for number, (is_new, source) in enumerate(addition.sources):
            path = (new if is_new else old).member_path(source)
            if path.exists():  # it has not diverged
                shutil.copytree(path, whole.member_path(number))
        whole.metrics.write(_rows(addition, old.metrics, new.metrics))
        _merge_checkpoints(addition, states, whole)
        with tensorboard_writer(whole, [str(member) for member in addition.members]):
            pass  # which writes all rows
        results = [(folder.result() or {})["members"] for folder in (old, new)]
        finish_sweep(
            whole,
            dataset,
            setup,
            [
                {**results[is_new][source], "member": number, "varied": member.varied}
                for number, (member, (is_new, source)) in enumerate(
                    zip(addition.members, addition.sources, strict=True)
                )
            ],
        )
    _move(old.path)


def complete_merge(workdir: str | Path) -> None:
    """Move a sweep to its place that had been merged before the process was killed.

    Raises:
      RunError: the folder is in use.
    """
    folder = workdir_path(workdir)
    if is_first_process() and (folder / FOLDER).exists():
        with RunFolder(folder, read_config(folder)).lock():
            if (folder / FOLDER / "whole" / "result.json").exists():
                _move(folder)
            elif not changed_fields(*(json.loads(to_json(read_config(path))) for path in _configs(folder))):
                shutil.rmtree(folder / FOLDER)  # it has been moved, or nothing has begun


def _configs(folder: Path) -> tuple[Path, Path]:
    """Return the folders of the sweep as it is, and as it is to be; the same if nothing has begun, or all is done."""
    new = folder / FOLDER / "new"
    return folder, new if (new / "config.json").exists() else folder


def _move(folder: Path) -> None:
    whole, before = folder / FOLDER / "whole", folder / FOLDER / "before"
    # The config first: from then on the folder is that of no other sweep. The result last: it is the mark to go on.
    for path in sorted(whole.iterdir(), key=lambda path: (path.name == "result.json", path.name != "config.json")):
        if path.is_dir() and (folder / path.name).exists():
            shutil.rmtree(before, ignore_errors=True)
            (folder / path.name).rename(before)
        if path.name != LOCK:
            path.rename(folder / path.name)
    shutil.rmtree(folder / FOLDER)


def _members_before(before: ConfigDict, config: ConfigDict) -> list[Member]:
    """Return the members of the old sweep, with fields that may change as in the new one."""
    updated = ConfigDict(config.to_dict())
    updated.sweep = ConfigDict(before.sweep.to_dict())
    return expand_sweep(updated.lock())


def _rows(addition: Addition, old: MetricsLog, new: MetricsLog) -> list[dict[str, float]]:
    """Return the metrics of all members, epoch by epoch."""
    by_member = old.by_member(), new.by_member()
    rows = [
        {**row, "member": number}
        for number, (is_new, source) in enumerate(addition.sources)
        for row in by_member[is_new].get(source, [])
    ]
    return sorted(rows, key=lambda row: (row["epoch"], row["member"]))


def _merge_checkpoints(addition: Addition, states: TrainState, whole: RunFolder) -> None:
    """Save the states of all members, from which the sweep loads and is continued as any other."""
    num_old = sum(not is_new for is_new, _ in addition.sources)
    template = jax.tree.map(lambda array: array[np.zeros(num_old, int)], states)
    with Checkpoints(addition.old.checkpoints, addition.old.config) as checkpoints:
        saved = checkpoints.restore(lambda metadata: {"last": template})
    assert saved is not None  # `find_addition` has seen a checkpoint
    places = np.array([source + num_old * is_new for is_new, source in addition.sources])
    merged = jax.tree.map(
        lambda old, new: jnp.asarray(np.concatenate([old, new])[places]), *map(to_host, (saved.trees["last"], states))
    )
    with Checkpoints(whole.checkpoints, whole.config, writing=True) as checkpoints:
        Position(merged, metrics_checksum=whole.metrics.checksum).save(checkpoints)
