"""Members added to a finished sweep: values of `config.sweep` that it did not have.

The new members are trained as a sweep of their own, in `.added/new` of the sweep's folder. Then the whole sweep is put
together in `.added/whole`, from copies of what the old members left, and moved to its place, file by file. Killed at
any moment, the same command goes on; until the move, the folder is that of the old sweep.

Members are numbered in the order of `sweep.members`, so that the numbers of old ones may change.
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
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.runs.checkpoint import Checkpoints, Position
from seadlif_jax.runs.folder import LOCK, MetricsLog, Run, RunError, read_config
from seadlif_jax.training import sweep, tensorboard
from seadlif_jax.training.report import finish_sweep
from seadlif_jax.training.task import Task
from seadlif_jax.training.trainer import TrainState
from seadlif_jax.utils.paths import workdir_path

FOLDER = ".added"


class Addition(NamedTuple):
    """A finished sweep, and the same with more members.

    Attributes:
      old: the finished sweep.
      config: that of the whole sweep.
      members: all of them.
      sources: for each, whether it is new, and its number among the new or the old ones.
    """

    old: Run
    config: ConfigDict
    members: Sequence[sweep.Member]
    sources: Sequence[tuple[bool, int]]

    @property
    def folder(self) -> Path:
        """The folder of all that is under way."""
        return self.old.folder / FOLDER

    def new_run(self) -> Run:
        """Return the run of the new members; raises a `RunError` if others are being added."""
        path = self.folder / "new" / "config.json"
        if path.exists() and changed_fields(json.loads(path.read_text()), json.loads(to_json(self.config))):
            raise RunError(
                f"{self.old.folder} is being given other members; go on with that config, or remove {self.folder}"
            )
        return Run(self.folder / "new", self.config)

    def new_members(self, mesh: jax.sharding.Mesh) -> list[sweep.Member]:
        """Return the members to train on the devices of the whole sweep, with some of them twice to fill these up.

        For the same bits as in the whole sweep: the loop over the members of a device is compiled to other ones if
        there is only one, as are programs for another number of devices. On a CPU, that is.
        """
        by_member = mesh.shape[devices.MEMBER]
        least = min(2, len(self.members) // by_member)
        members = [member for member, (is_new, _) in zip(self.members, self.sources, strict=True) if is_new]
        of_each = max(least, -(-len(members) // by_member))
        return list(itertools.islice(itertools.cycle(members), of_each * by_member))


def find(workdir: str | Path, config: ConfigDict, members: Sequence[sweep.Member]) -> Addition | None:
    """Return what is to be added to the sweep in a folder; None if there is no sweep, or nothing to add.

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
    of_members = [to_json(member.config) for member in members]
    if not numbers.keys() < set(of_members) or any(not name.startswith(("sweep.", LENGTH)) for name in fields):
        return None  # other members, not more
    if LENGTH in fields:
        raise RunError(
            f"{folder} holds a sweep of {before.num_epochs} epochs with fewer members; add members first, and epochs "
            "then, or the reverse"
        )
    old = Run(folder, before)
    if old.result() is None:
        raise RunError(f"{folder} holds a sweep that is not finished; let it finish before members are added")
    if jax.process_count() > 1:
        raise RunError(f"members are added to the sweep in {folder} by a single process only; leave out --distributed")
    new = iter(range(len(members)))
    sources = [(True, next(new)) if text not in numbers else (False, numbers[text]) for text in of_members]
    return Addition(old, config, members, sources)


def merge(addition: Addition, dataset: Dataset, task: Task, states: TrainState) -> None:
    """Put the whole sweep together, and move it to its place.

    Args:
      addition: whose new members are trained.
      dataset: what they were trained on.
      task: what they were trained with.
      states: those of the new members after training.
    """
    old, new, whole = addition.old, addition.new_run(), Run(addition.folder / "whole", addition.config)
    shutil.rmtree(whole.folder, ignore_errors=True)
    with whole.held():
        for path in (*old.folder.glob("data.json"), *old.folder.glob("start.json")):
            shutil.copy2(path, whole.folder)
        for number, (is_new, source) in enumerate(addition.sources):
            path = (new if is_new else old).folder / "members" / str(source)
            if path.exists():  # it has not diverged
                shutil.copytree(path, whole.folder / "members" / str(number))
        whole.metrics.write(_rows(addition, old.metrics, new.metrics))
        _merge_checkpoints(addition, task, states, whole)
        with tensorboard.recorder(whole, [str(member) for member in addition.members]):
            pass  # which writes all rows
        results = [(run.result() or {})["members"] for run in (old, new)]
        finish_sweep(
            whole,
            dataset,
            task,
            [
                {**results[is_new][source], "member": number, "varied": member.varied}
                for number, (member, (is_new, source)) in enumerate(
                    zip(addition.members, addition.sources, strict=True)
                )
            ],
        )
    _move(old.folder)


def complete(workdir: str | Path) -> None:
    """Move a sweep that has been put together, before the process was killed, to its place.

    Raises:
      RunError: the folder is in use.
    """
    folder = workdir_path(workdir)
    if devices.is_first_process() and (folder / FOLDER).exists():
        with Run(folder, read_config(folder)).held():
            if (folder / FOLDER / "whole" / "result.json").exists():
                _move(folder)
            elif not changed_fields(*(json.loads(to_json(read_config(path))) for path in _configs(folder))):
                shutil.rmtree(folder / FOLDER)  # it has been moved


def _configs(folder: Path) -> tuple[Path, Path]:
    """The folders of the sweep that there is, and of the one that it is to be."""
    new = folder / FOLDER / "new"
    return folder, new if new.exists() else folder


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


def _members_before(before: ConfigDict, config: ConfigDict) -> list[sweep.Member]:
    """The members of the old sweep, with fields that may change as in the new one."""
    updated = ConfigDict(config.to_dict())
    updated.sweep = ConfigDict(before.sweep.to_dict())
    return sweep.members(updated.lock())


def _rows(addition: Addition, old: MetricsLog, new: MetricsLog) -> list[dict[str, float]]:
    """The metrics of all members, epoch by epoch."""
    rows_of = old.by_member(), new.by_member()
    rows = [
        {**row, "member": number}
        for number, (is_new, source) in enumerate(addition.sources)
        for row in rows_of[is_new].get(source, [])
    ]
    return sorted(rows, key=lambda row: (row["epoch"], row["member"]))


def _merge_checkpoints(addition: Addition, task: Task, states: TrainState, whole: Run) -> None:
    """Save the states of all members, which load, and go on to more epochs, as those of any sweep."""
    old_members = sum(not is_new for is_new, _ in addition.sources)
    like = jax.tree.map(lambda array: array[np.zeros(old_members, int)], states)
    with Checkpoints(addition.old.folder / "checkpoints", addition.old.config) as checkpoints:
        old_states = checkpoints.restore(Position(like, like, task.no_sums)).states
    places = [source + old_members * is_new for is_new, source in addition.sources]
    of_all = jax.tree.map(
        lambda old, new: jnp.asarray(np.concatenate([old, new])[np.array(places)]),
        *map(devices.to_host, (old_states, states)),
    )
    with Checkpoints(whole.folder / "checkpoints", whole.config, writing=True) as checkpoints:
        checkpoints.save(Position(of_all, of_all, task.no_sums, metrics=whole.metrics.checksum))
