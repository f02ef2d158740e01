"""Training from a config to a finished run: `fit`, from top to bottom.

    fit              which run is in the folder: this one, finished or not, a shorter one, a sweep to add members to?
    train_members    set-up, resuming, and for each epoch steps, validation, divergence, metrics, saving; report

The numbers are computed by `trainer`, compiled for all members and devices by `setup`.
"""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from seadlif_jax.build import build_task, check_engine, check_own_classes, choose_engine
from seadlif_jax.config import MAY_MOVE, flatten, is_sweep, normalize, validate
from seadlif_jax.data.in_memory import LOADER
from seadlif_jax.data.loader import record_folders
from seadlif_jax.data.loading import Dataset, fingerprint, load_dataset
from seadlif_jax.members import Member, expand_sweep
from seadlif_jax.parallel import allgather, barrier, broadcast, device_put_global, member_sharded, to_host
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder, read_config
from seadlif_jax.training import extension, report, warm_start
from seadlif_jax.training.divergence import (
    DivergenceError,
    DivergenceMonitor,
    LayerMonitor,
    Outcome,
    instability_warning,
)
from seadlif_jax.training.logging import Progress, check_tensorboard, tensorboard_writer
from seadlif_jax.training.setup import Setup, mesh_for_config, prepare
from seadlif_jax.training.state import Position, TrainState
from seadlif_jax.utils.paths import workdir_path
from seadlif_jax.utils.progress import say
from seadlif_jax.utils.signals import Interrupted, deferred_signals

CALL_SECONDS = 1.0  # of a compiled call, so that a progress bar can move, and a signal is soon answered
MAX_GROWTH = 4  # of the steps of a call: the first call is slow, since it compiles


def fit(config: ConfigDict, workdir: str | Path, dataset: Dataset | None = None) -> dict[str, Any]:
    """Train as a config says, select the best epoch on validation, and test it once.

    With `config.data.validation = "last"`, no epoch is selected, and the network of the last epoch is tested.

    With values in `config.sweep`, all its members are trained in one program; one that diverges is frozen at its last
    finite state. Everything is left in `workdir` (see `runs.folder`). Called again with the same config, an interrupted
    run is continued from what was saved last, to the same numbers as if never interrupted; a finished run is not run
    again. With a larger `num_epochs`, a run goes on to the same numbers as if it had been given from the start; with
    more values in `config.sweep`, a finished sweep is given more members. The result is the old one until then.

    Args:
      config: the config, see `seadlif_jax.config.base_config`.
      workdir: folder of the run.
      dataset: the data, if they are in memory; otherwise they come from the loader that the config names.

    Returns:
      the content of `result.json`; `result["test"]` has the metrics of the test.

    Raises:
      ConfigError: a field is unknown, missing or out of range; or `init_from` has other parameters.
      NativeError: `config.compute.engine` is "native", and cannot be used here.
      DatasetError: the loader's data breaks the contract (and what the loader itself raises).
      RunError: `workdir` holds another run, or one on other data, or files of no run; or another process uses it.
      CheckpointError: the checkpoints in it are damaged, or cannot be saved.
      DivergenceError: a single run has diverged, and `config.divergence` has no other way out; the state before is
        saved. Of a sweep, it is reported instead.
      Interrupted: on SIGINT or SIGTERM, once the position in training is saved.

    Example:
      >>> from configs.bsd import get_config
      >>> result = fit(get_config("quick"), "runs/bsd-quick-seed0")  # doctest: +SKIP
      >>> result["test"]["accuracy"]  # doctest: +SKIP

      (Takes 20 seconds; docs/first-steps.ipynb has a smaller one.)
    """
    if dataset is not None:
        config = ConfigDict(config.to_dict())
        config.data.loader = LOADER
    config = normalize(config)
    validate(config)
    build_task(config)
    config, reason_for_engine = _settle_engine(config, workdir)
    config = record_folders(config)
    members = expand_sweep(config)
    check_tensorboard(config, len(members))
    extension.complete_merge(workdir)
    addition = extension.find_addition(workdir, config, members)
    folder = addition.old if addition else RunFolder(workdir, config)
    folder.refuse_imported()
    result = None if addition else folder.result()
    if broadcast(result is not None):
        if dataset is not None:
            folder.check_data(fingerprint(load_dataset(config, dataset)))
        if result:  # on the first process
            say(f"already finished on {result['finished']}")
        return result or {}

    if not addition:
        extension.refuse_unfinished(folder.path)
    check_own_classes(config)
    check_engine(config)
    start = None if addition else warm_start.load_start(folder, members)
    dataset = load_dataset(config, dataset)
    checksums = fingerprint(dataset)
    _refuse_differences(config, checksums)
    with folder.lock(), deferred_signals() as interrupted:
        folder.check_data(checksums)
        if reason_for_engine:
            say(f"engine: {config.compute.engine}, since {reason_for_engine}")
        if addition:
            new_folder, mesh = addition.new_folder(), mesh_for_config(config, len(members))
            new_members = addition.new_members(mesh)
            start = warm_start.load_start(new_folder, new_members)
            if start:
                addition.old.check_start(start.fingerprint())
            with new_folder.lock():
                new_folder.check_data(checksums)
                setup, states = train_members(new_folder, new_members, dataset, start, interrupted, mesh)
            extension.merge(addition, dataset, setup, states)
        else:
            train_members(folder, members, dataset, start, interrupted)
        barrier("result")
        return RunFolder(workdir, config).result() or {}


def train_members(
    folder: RunFolder,
    members: Sequence[Member],
    dataset: Dataset,
    start: warm_start.Start | None,
    interrupted: Callable[[], bool],
    mesh: jax.sharding.Mesh | None = None,
) -> tuple[Setup, TrainState]:
    """Train members of a run to the last epoch, or until all have diverged, and leave their results in its folder.

    Args:
      folder: folder of the run.
      members: the members; a single run is one.
      dataset: the data.
      start: parameters to start from; None for random ones, or if the run has started already.
      interrupted: whether this process has been asked to stop.
      mesh: the devices; None for those that suit the number of members.

    Returns:
      what the members were trained with, and their states.

    Raises:
      DivergenceError, CheckpointError, Interrupted: see `fit`.
    """
    config, num_epochs = folder.config, folder.config.num_epochs
    for warning in dict.fromkeys(filter(None, (instability_warning(member.config.model) for member in members))):
        say(f"warning: {warning}")
    setup = prepare(config, members, dataset, mesh)
    if start:
        folder.check_start(start.fingerprint())
        setup = setup._replace(initial=warm_start.replace_parameters(setup.initial, start, setup.mesh))
    num_steps = setup.trainer.steps_per_epoch(setup.train)
    names = [str(member) for member in members] if is_sweep(config) else []
    divergences, layers = DivergenceMonitor(config, names), LayerMonitor(names, num_epochs)
    with (
        Checkpoints(folder.checkpoints, config, writing=True) as checkpoints,
        Progress(config, num_steps, setup.trainer.task, names) as progress,
    ):
        saver = Saver(checkpoints, config.checkpoint.every_minutes, interrupted)
        position = _resume(setup, folder, saver, num_steps)
        epoch = int(to_host(position.state.epoch).max())
        folder.record_changes()
        with tensorboard_writer(folder, names) as write_events:
            while epoch < num_epochs:
                progress.start_epoch(epoch + 1, position.step)
                position = _finish_steps(setup, position, num_steps, saver, divergences, progress)
                state, outcome, seconds = _end_epoch(setup, position, epoch)
                try:
                    to_retry = divergences.members_to_retry(outcome, epoch, state.variables["params"])
                except DivergenceError:
                    saver.save(Position(state, metrics_checksum=folder.metrics.checksum))  # the last finite state
                    raise
                if to_retry:  # all members repeat the epoch, those that have not diverged to the same bits
                    state = _count_retry(position.state, to_retry, setup.mesh)
                    position = Position(state, metrics_checksum=folder.metrics.checksum)
                    continue
                rows = _rows(outcome, epoch + 1, seconds)
                if not rows:  # all members have diverged
                    position = Position(state, metrics_checksum=folder.metrics.checksum)
                    saver.save(position)
                    break
                epoch += 1
                # The rows first: one without its checkpoint is dropped on resuming, the reverse could not be mended.
                folder.metrics.append(rows)
                write_events(rows)
                position = Position(state, metrics_checksum=folder.metrics.checksum)
                due = saver.due()
                if due.save or epoch % config.checkpoint.every_epochs == 0 or epoch == num_epochs:
                    saver.save(position)
                for row in rows:
                    layers.check(row)
                progress.end_epoch(rows, *to_host((state.best.epoch, state.best.score)))
                if due.stop and epoch < num_epochs:
                    raise Interrupted
    report.finish_run(folder, members, dataset, setup, position.state)
    return setup, position.state


class Due(NamedTuple):
    """Whether it is time to save the position in training, and then to stop."""

    save: bool
    stop: bool


class Saver:
    """Saves positions in training, and knows when a save is due. All processes save, and stop, at the same positions.

    Args:
      checkpoints: where to save.
      every_minutes: a save is due when this much time has passed since the last.
      interrupted: whether this process has been asked to stop.
    """

    def __init__(self, checkpoints: Checkpoints, every_minutes: float, interrupted: Callable[[], bool]):
        self.checkpoints = checkpoints
        self._every_seconds = 60 * every_minutes
        self._interrupted = interrupted
        self._saved = time.monotonic()

    def due(self) -> Due:
        """Return what is due by the clock of the first process; one process that is asked to stop stops all."""
        is_time = time.monotonic() - self._saved >= self._every_seconds
        by_process = allgather(np.array([is_time, self._interrupted()]))
        stop = bool(by_process[:, 1].any())
        return Due(bool(by_process[0, 0]) or stop, stop)

    def save(self, position: Position) -> None:
        """Save a position, in the background."""
        position.save(self.checkpoints)
        self._saved = time.monotonic()


def next_call_steps(steps: int, seconds: float) -> int:
    """Return how many training steps the next compiled call makes, after one of `steps` that took `seconds`.

    About as many as take `CALL_SECONDS`, the same in all processes. The numbers do not depend on it.
    """
    return int(broadcast(max(1, min(int(steps * CALL_SECONDS / seconds), MAX_GROWTH * steps))))


def _resume(setup: Setup, folder: RunFolder, saver: Saver, num_steps: int) -> Position:
    """Return the position that was saved last, or that before the first epoch."""
    running = setup.start_epoch(setup.initial)  # for its shapes
    saved = Position.restore(saver.checkpoints, setup.initial, running)
    position = saved or Position(setup.initial)
    epochs = to_host(position.state.epoch)
    folder.metrics.rewind(epochs.tolist(), saved.metrics_checksum if saved else None)
    if saved and epochs.max() < folder.config.num_epochs:
        steps = f", step {position.step}/{num_steps} of the next" if position.step else ""
        say(f"continuing after epoch {epochs.max()}{steps}")
    if not saved and folder.config.init_from:
        saver.save(position)  # from now on, the folder that the parameters are from is not needed
    return position


def _finish_steps(
    setup: Setup,
    position: Position,
    num_steps: int,
    saver: Saver,
    divergences: DivergenceMonitor,
    progress: Progress,
) -> Position:
    """Make the steps that are left of an epoch, and save in between where that is due."""
    running = setup.start_epoch(position.state) if position.running is None else position.running
    position, call_steps = position._replace(running=running), 1
    while position.step < num_steps:
        started = time.perf_counter()
        stop = min(position.step + call_steps, num_steps)
        running = setup.train_steps(position.state, running, setup.hyper, setup.train, position.step, stop)
        first_non_finite = to_host(running.sums.first_non_finite)  # which waits for the steps
        seconds = time.perf_counter() - started
        progress.advance(stop - position.step)
        call_steps = next_call_steps(stop - position.step, seconds)
        position = position._replace(running=running, step=stop, seconds=position.seconds + seconds)
        due = saver.due()
        if due.save:
            saver.save(position)
        if due.stop:
            raise Interrupted
        if divergences.all_diverged(first_non_finite):
            break
    return position


def _end_epoch(setup: Setup, position: Position, epoch: int) -> tuple[TrainState, Outcome, float]:
    """Return the states after an epoch, its outcome on the host, and its seconds; `epoch` of them were finished before.

    The buffers of `position.state` are gone then, unless epochs may be repeated.
    """
    started = time.perf_counter()
    state, outcome = setup.end_epoch(position.state, position.running, setup.hyper, setup.validation, epoch)
    return state, to_host(outcome), position.seconds + time.perf_counter() - started


def _count_retry(states: TrainState, members: Sequence[int], mesh: jax.sharding.Mesh) -> TrainState:
    """Return the states with one more retry, and so a smaller learning rate, of these members."""
    more = np.isin(np.arange(len(states.retries)), members).astype(np.int32)
    return states._replace(retries=states.retries + device_put_global(more, member_sharded(mesh)))


def _rows(outcome: Outcome, epoch: int, seconds: float) -> list[dict[str, float]]:
    """Return the metrics of an epoch, one row per member that has not diverged."""
    return [
        {
            "member": number,
            "epoch": epoch,
            **{name: float(values[number]) for name, values in outcome.metrics.items()},
            "seconds": seconds,
        }
        for number in np.flatnonzero(outcome.active & outcome.finite).tolist()
    ]


def _settle_engine(config: ConfigDict, workdir: str | Path) -> tuple[ConfigDict, str | None]:
    """Replace the engine "auto" by the one that the run has begun with, or the best here; also return the reason.

    A run that has begun before there were engines has begun with XLA.
    """
    if config.compute.engine != "auto":
        return config, None
    folder = workdir_path(workdir)
    has_begun = (folder / "config.json").exists()
    if broadcast(has_begun):  # nothing is compiled for a run that does not need it
        begun_native = has_begun and read_config(folder).compute.engine == "native"
        engine, reason = "native" if broadcast(begun_native) else "xla", "the run has begun with it"
    else:
        engine, reason = choose_engine(config)
        all_native = allgather(np.asarray(engine == "native")).all()
        if engine == "native" and not all_native:
            engine, reason = "xla", "another process cannot use the native kernel"
    config = ConfigDict(config.to_dict())
    config.compute.engine = engine
    return config, reason


def _refuse_differences(config: ConfigDict, checksums: Mapping[str, int]) -> None:
    """Raise a `RunError`, in all processes, unless they have the same config and data."""
    fields = {name: value for name, value in flatten(config).items() if name not in MAY_MOVE}
    values = {"config": zlib.crc32(repr(sorted(fields.items())).encode()), **checksums}
    gathered = allgather(np.array(list(values.values()), np.uint32))
    for name, by_process in zip(values, gathered.T, strict=True):
        for process in np.flatnonzero(by_process != by_process[0]):
            item = name if name == "config" else f"{name} split"
            raise RunError(f"process {process} has another {item} than process 0; start all with the same")
