"""Training from a config to a finished run, or sweep: the loop around the compiled functions of `program`."""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from seadlif_jax import devices, sweep
from seadlif_jax.checkpoint import Checkpoints, Variables
from seadlif_jax.config import MAY_MOVE, flatten, is_sweep, validate
from seadlif_jax.dataset import fingerprint, load_dataset
from seadlif_jax.interrupt import deferred_interrupt
from seadlif_jax.network import Network
from seadlif_jax.program import LARGEST_WEIGHT, MUST_BE_FINITE, Hyperparameters, TrainState, build_network
from seadlif_jax.progress import Progress, say
from seadlif_jax.results import finish
from seadlif_jax.run import Run, RunError, read_config
from seadlif_jax.task import Task, repeat


class DivergenceError(RuntimeError):
    """The loss became NaN or infinite, or a weight far too large."""


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> dict[str, Any]:
    """Trains as the config says, selects the best epoch on validation, tests once; returns what is in `result.json`.

    With values in `config.sweep`, all its members are trained in one program; one that diverges stays as it was before
    that epoch. Everything is left in `workdir` (see `run.Run`). Called again with the same config, it goes on after the
    last epoch saved there, to the same numbers as if never interrupted; a finished run is not run again.

    Raises:
      ConfigError: a field is unknown, missing or out of range.
      DatasetError: the loader's data breaks the contract (and what the loader itself raises).
      RunError: `workdir` holds another run, or one on other data, or files that are none; or another process uses it.
      CheckpointError: the checkpoint in it is damaged.
      DivergenceError: the loss is not finite, or a weight beyond 100,000; the checkpoints before it are kept. Of a
        sweep, it is reported instead.
    """
    validate(config)
    members = sweep.members(config)
    run = Run(workdir, config)
    result = run.result()
    if devices.of_first_process(result is not None):
        return result or {}
    dataset = load_dataset(config)
    checksums = fingerprint(dataset)
    _refuse_differences(config, checksums)
    with run.held(), deferred_interrupt() as check_interrupt:
        run.check_data(checksums)
        task = Task.prepare(config, members, dataset)
        with Checkpoints(run.folder / "checkpoints", config) as checkpoints:
            states = _train(task, members, run, checkpoints, check_interrupt)
        finish(run, members, dataset, task, states)
        devices.wait_for_all("result")
        return run.result() or {}


def _refuse_differences(config: ConfigDict, checksums: Mapping[str, int]) -> None:
    """Raises a `RunError`, in all processes, unless they have the same config and data."""
    own = {name: value for name, value in flatten(config).items() if name not in MAY_MOVE}
    found = {"config": zlib.crc32(repr(sorted(own.items())).encode()), **checksums}
    of_all = devices.of_all_processes(np.array(list(found.values()), np.uint32))
    for name, of_processes in zip(found, of_all.T, strict=True):
        for process in np.flatnonzero(of_processes != of_processes[0]):
            what = name if name == "config" else f"{name} split"
            raise RunError(f"process {process} has another {what} than process 0; start all with the same")


def load_network(workdir: str | Path, member: int = 0) -> tuple[Network, Variables]:
    """The network of a run with the variables of its best epoch so far: `network.apply(variables, inputs)`.

    Args:
      workdir: the run's folder.
      member: of a sweep, the number of the member.

    Raises:
      RunError: `workdir` holds no run, or one without a saved epoch or without such a member.
      CheckpointError: its checkpoint is damaged.
    """
    folder = Path(workdir).expanduser().resolve()
    config = read_config(folder)
    with Checkpoints(folder / "checkpoints", config) as checkpoints:
        metadata = checkpoints.metadata()
        if metadata is None:
            raise RunError(f"{folder} has no checkpoint yet; run at least one epoch")
        count = metadata["members"]
        if not 0 <= member < count:
            raise RunError(f"{folder} has no member {member}; its members are 0..{count - 1}")
        own = sweep.members(config)[member].config
        network = build_network(own, Hyperparameters.from_config(own))
        like = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 1, metadata["channels"])))
        best = checkpoints.restore_best(repeat({"constants": {}, **like}, count))
        return network, jax.tree.map(lambda array: jnp.asarray(np.asarray(array)[member]), best)


def _train(
    task: Task,
    members: list[sweep.Member],
    run: Run,
    checkpoints: Checkpoints,
    check_interrupt: Callable[[], None],
) -> TrainState:
    """Runs the epochs that are left, each with its rows of metrics, a checkpoint and a line of output."""
    program, hyper = task.program, task.hyper
    train_steps, end_epoch = task.spread(program.train_steps), task.spread(program.end_epoch)
    unless_diverged = task.spread(program.unless_diverged)

    states = checkpoints.restore_last(task.initial)
    epochs = devices.to_host(states.epoch)
    run.metrics.keep(epochs.tolist())
    epoch, num_epochs, num_steps = int(epochs.max()), program.config.num_epochs, program.steps_per_epoch(task.train)
    if 0 < epoch < num_epochs:
        say(f"continuing after epoch {epoch}")
    calls = CallLength()
    names = [str(member) for member in members] if is_sweep(run.config) else []
    with Progress(num_epochs, num_steps, program.score_name, names) as progress:
        while epoch < num_epochs:
            start = time.perf_counter()
            progress.start_epoch(epoch + 1)
            new_states, sums = states, task.no_sums
            for first, stop in calls.cut(num_steps):
                new_states, sums = train_steps(new_states, sums, hyper, task.train, first, stop)
                progress.steps_done(stop - first)
                check_interrupt()
            new_states, metrics = end_epoch(new_states, sums, hyper, task.validation)
            states = unless_diverged(states, new_states, metrics, epoch)
            before, epochs = epochs, devices.to_host(states.epoch)
            values = devices.to_host(metrics)
            epoch += 1
            well = epochs == epoch
            for number in np.flatnonzero((before == epoch - 1) & ~well).tolist():
                what = f"{_divergence(values, number)} in epoch {epoch}"
                if not is_sweep(run.config):
                    raise DivergenceError(
                        f"{what}; the run's folder keeps the state of epoch {epoch - 1}. "
                        "Try a smaller config.optimizer.learning_rate in another --workdir"
                    )
                say(f"member {number} ({members[number]}) has diverged, and is left as it was: {what}")
            if not well.any():
                break
            rows = _rows(values, well, epoch, time.perf_counter() - start)
            # The rows first: one without its checkpoint is dropped on resuming, the reverse could not be mended.
            run.metrics.append(rows)
            checkpoints.save(states)
            progress.epoch_done(rows, *devices.to_host((states.best.epoch, states.best.score)))
    return states


def _rows(metrics: Mapping[str, np.ndarray], well: np.ndarray, epoch: int, seconds: float) -> list[dict[str, float]]:
    """The metrics of an epoch, a row for each member that is well."""
    return [
        {
            "member": number,
            "epoch": epoch,
            **{name: float(of_members[number]) for name, of_members in metrics.items()},
            "seconds": seconds,
        }
        for number in np.flatnonzero(well).tolist()
    ]


def _divergence(metrics: Mapping[str, np.ndarray], number: int) -> str:
    for name in MUST_BE_FINITE:
        if not np.isfinite(metrics[name][number]):
            return f"{name} is {metrics[name][number]}"
    return f"a weight is {metrics['largest_weight'][number]:.4g}, more than {LARGEST_WEIGHT:.0f},"


class CallLength:
    """How many steps one compiled call makes: about a second's worth, so that a progress bar can move.

    A short epoch is one call. The cut does not change the numbers.
    """

    SECONDS = 1.0

    def __init__(self) -> None:
        self._steps = 1

    def cut(self, num_steps: int) -> Iterator[tuple[int, int]]:
        """Cuts the steps of an epoch into `(first, stop)`; the time between two pieces is that of the call."""
        if jax.process_count() > 1:  # which must all make the same calls, whatever time each takes
            yield 0, num_steps
            return
        first = 0
        while first < num_steps:
            stop = min(first + self._steps, num_steps)
            start = time.perf_counter()
            yield first, stop
            seconds = time.perf_counter() - start
            # At most four times longer than the last: the first call is slow, since it compiles.
            steps = (stop - first) * self.SECONDS / seconds
            self._steps = max(1, min(int(steps), 4 * self._steps))
            first = stop
