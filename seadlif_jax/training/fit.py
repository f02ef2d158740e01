"""From a config to a finished run, or sweep."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from seadlif_jax.config import MAY_MOVE, flatten, normalize, validate
from seadlif_jax.data.loader import record_loader_dir
from seadlif_jax.data.loading import Dataset, fingerprint, load_dataset
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.folder import Run, RunError
from seadlif_jax.training import extension as additions
from seadlif_jax.training import sweep, tensorboard
from seadlif_jax.training import warm_start as pretrained
from seadlif_jax.training.divergence import instability
from seadlif_jax.training.loop import Loop
from seadlif_jax.training.report import finish
from seadlif_jax.training.task import Task, mesh_for
from seadlif_jax.training.trainer import TrainState
from seadlif_jax.utils.progress import say
from seadlif_jax.utils.signals import deferred_signals


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> dict[str, Any]:
    """Trains as the config says, selects the best epoch on validation, tests once; returns what is in `result.json`.

    With values in `config.sweep`, all its members are trained in one program; one that diverges stays as it was before
    that epoch. Everything is left in `workdir` (see `run.Run`). Called again with the same config, it goes on from what
    was saved there last, to the same numbers as if never interrupted; a finished run is not run again. With a larger
    `num_epochs`, a run goes on to the same numbers as if it had been given from the start; the result stays that of the
    shorter run until then.

    Raises:
      ConfigError: a field is unknown, missing or out of range; or `init_from` has other parameters.
      DatasetError: the loader's data breaks the contract (and what the loader itself raises).
      RunError: `workdir` holds another run, or one on other data, or files that are none; or another process uses it.
      CheckpointError: the checkpoints in it are damaged, or cannot be saved.
      DivergenceError: loss or gradients are not finite, or a weight is beyond 100,000, and `config.divergence` has no
        other way out; the checkpoints before it are kept. Of a sweep, it is reported instead.
      Interrupted: on SIGINT or SIGTERM, once the position in training is saved.

    Example:
      >>> from configs.bsd import get_config
      >>> result = train_and_evaluate(get_config("quick"), "runs/bsd-quick-seed0")  # doctest: +SKIP
      >>> result["test"]["accuracy"]  # doctest: +SKIP

      (Takes 20 seconds; docs/first-steps.ipynb has a smaller one.)
    """
    config = normalize(config)
    validate(config)
    config = record_loader_dir(config)
    members = sweep.members(config)
    tensorboard.check(config, len(members))
    additions.complete(workdir)
    addition = additions.find(workdir, config, members)
    run = addition.old if addition else Run(workdir, config)
    run.refuse_imported()
    result = None if addition else run.result()
    if devices.of_first_process(result is not None):
        return result or {}
    start = None if addition else pretrained.load(run, members)
    dataset = load_dataset(config)
    checksums = fingerprint(dataset)
    _refuse_differences(config, checksums)
    with run.held(), deferred_signals() as interrupted:
        run.check_data(checksums)
        if addition:
            new_run = addition.new_run()
            mesh = mesh_for(config, len(members))
            new_members = addition.new_members(mesh)
            start = pretrained.load(new_run, new_members)
            with new_run.held():
                new_run.check_data(checksums)
                task, states = _train(new_run, new_members, dataset, start, interrupted, mesh)
            additions.merge(addition, dataset, task, states)
        else:
            _train(run, members, dataset, start, interrupted)
        devices.wait_for_all("result")
        return Run(workdir, config).result() or {}


def _train(
    run: Run,
    members: Sequence[sweep.Member],
    dataset: Dataset,
    start: pretrained.Start | None,
    interrupted: Callable[[], bool],
    mesh: jax.sharding.Mesh | None = None,
) -> tuple[Task, TrainState]:
    """Train the members of a run that are given, on `mesh` or all devices, and leave what they found."""
    for warning in dict.fromkeys(filter(None, (instability(member.config.model) for member in members))):
        say(f"warning: {warning}")
    task = Task.prepare(run.config, members, dataset, mesh)
    if start:
        run.check_start(start.fingerprint())
        task = task._replace(initial=pretrained.replace_parameters(task.initial, start, task.mesh))
    with Checkpoints(run.folder / "checkpoints", run.config, writing=True) as checkpoints:
        states = Loop(task, members, run, checkpoints, interrupted).train()
    finish(run, members, dataset, task, states)
    return task, states


def _refuse_differences(config: ConfigDict, checksums: Mapping[str, int]) -> None:
    """Raises a `RunError`, in all processes, unless they have the same config and data."""
    own = {name: value for name, value in flatten(config).items() if name not in MAY_MOVE}
    found = {"config": zlib.crc32(repr(sorted(own.items())).encode()), **checksums}
    of_all = devices.of_all_processes(np.array(list(found.values()), np.uint32))
    for name, of_processes in zip(found, of_all.T, strict=True):
        for process in np.flatnonzero(of_processes != of_processes[0]):
            what = name if name == "config" else f"{name} split"
            raise RunError(f"process {process} has another {what} than process 0; start all with the same")
