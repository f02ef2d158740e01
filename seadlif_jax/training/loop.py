"""The loop of training around the compiled functions of `program`: what to report, when to save, when to go back."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seadlif_jax.config import is_sweep
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.runs.checkpoint import Checkpoints, Position
from seadlif_jax.runs.folder import Run
from seadlif_jax.training import tensorboard
from seadlif_jax.training.divergence import DivergenceError, LayerWatch, divergence
from seadlif_jax.training.pace import Pace
from seadlif_jax.training.sweep import Member
from seadlif_jax.training.task import Task
from seadlif_jax.training.trainer import TrainState
from seadlif_jax.utils.progress import Progress, say
from seadlif_jax.utils.signals import Interrupted

MOST_RETRIES = 5  # of a member, with the action "back"


class Loop:
    """Runs the epochs that are left, each with its rows of metrics and a line of output; see `train`."""

    def __init__(
        self,
        task: Task,
        members: Sequence[Member],
        run: Run,
        checkpoints: Checkpoints,
        interrupted: Callable[[], bool],
    ):
        self._task, self._run, self._checkpoints = task, run, checkpoints
        self._config = run.config
        self._names = [str(member) for member in members] if is_sweep(run.config) else []
        self._num_steps = task.program.steps_per_epoch(task.train)
        self._pace = Pace(run.config.checkpoint.every_minutes, interrupted)
        self._watch = LayerWatch()
        self._told: set[int] = set()  # members that have diverged
        self._train_steps = task.spread(task.program.train_steps)
        self._end_epoch = task.spread(task.program.end_epoch)
        self._unless_diverged = task.spread(task.program.unless_diverged)
        self._slower = task.spread(task.program.slower, mapped=2)

    def train(self) -> TrainState:
        """The states after the last epoch, or when all members have diverged.

        Raises:
          Interrupted: a process was asked to stop, and the position in training is saved.
          DivergenceError, CheckpointError: see `training.train_and_evaluate`.
        """
        num_epochs = self._config.num_epochs
        position, epoch = self._resume()
        self._run.record_length()
        with (
            Progress(num_epochs, self._num_steps, self._task.program.score_name, self._names) as progress,
            tensorboard.recorder(self._run, self._names) as record,
        ):
            while epoch < num_epochs:
                progress.start_epoch(epoch + 1, position.step)
                position = self._finish_steps(position, progress)
                started = time.perf_counter()
                after, metrics = self._end_epoch(
                    position.under_way, position.sums, self._task.hyper, self._task.validation
                )
                states = self._unless_diverged(position.states, after, metrics, epoch)
                values, before, epochs = devices.to_host((metrics, position.states.epoch, states.epoch))
                diverged = np.flatnonzero((before == epoch) & (epochs == epoch)).tolist()
                if diverged and (again := self._tell_diverged(diverged, position, values, epoch)):
                    position = self._start(self._make_slower(position.states, again))
                    continue
                well = epochs == epoch + 1
                if not well.any():
                    break
                epoch += 1
                rows = _rows(values, well, epoch, position.seconds + time.perf_counter() - started)
                # The rows first: one without its checkpoint is dropped on resuming, the reverse could not be mended.
                self._run.metrics.append(rows)
                record(rows)
                position = self._start(states)
                now = self._pace.now()
                if now.save or epoch % self._config.checkpoint.every_epochs == 0 or epoch == num_epochs:
                    self._save(position)
                self._warn(rows)
                progress.epoch_done(rows, *devices.to_host((states.best.epoch, states.best.score)))
                if now.stop and epoch < num_epochs:
                    raise Interrupted
        return position.states

    def _start(self, states: TrainState) -> Position:
        """The position before the first step of an epoch."""
        return Position(states, states, self._task.no_sums, metrics=self._run.metrics.checksum)

    def _resume(self) -> tuple[Position, int]:
        """Where training goes on, and the number of the epochs before."""
        start = Position(self._task.initial, self._task.initial, self._task.no_sums)
        position = self._checkpoints.restore(start)
        epochs = devices.to_host(position.states.epoch)
        epoch = int(epochs.max())
        self._run.metrics.keep(epochs.tolist(), position.metrics)
        if position.metrics is not None and epoch < self._config.num_epochs:
            steps = f", step {position.step}/{self._num_steps} of the next" if position.step else ""
            say(f"continuing after epoch {epoch}{steps}")
        if position.metrics is None and self._config.init_from:
            self._save(position)  # from now on, the folder that the parameters are from is not needed
        return position, epoch

    def _finish_steps(self, position: Position, progress: Progress) -> Position:
        """Makes the steps that are left of an epoch, and saves in between where that is due."""
        while position.step < self._num_steps:
            started = time.perf_counter()
            stop = min(position.step + self._pace.steps, self._num_steps)
            under_way, sums = self._train_steps(
                position.under_way, position.sums, self._task.hyper, self._task.train, position.step, stop
            )
            seconds = time.perf_counter() - started
            progress.steps_done(stop - position.step)
            self._pace.called(stop - position.step, seconds)
            position = position._replace(under_way=under_way, sums=sums, step=stop, seconds=position.seconds + seconds)
            now = self._pace.now()
            if now.save:
                self._save(position)
            if now.stop:
                raise Interrupted
            if self._is_hopeless(position):
                break
        return position

    def _is_hopeless(self, position: Position) -> bool:
        """Whether the rest of the epoch is a waste of time, since all members have diverged."""
        if self._config.divergence.action == "skip":
            return False
        return bool((devices.to_host(position.sums.trouble.step) >= 0).all())

    def _tell_diverged(
        self, members: Sequence[int], position: Position, metrics: Mapping[str, np.ndarray], epoch: int
    ) -> list[int]:
        """Tells what has happened to members that have diverged; returns those that try the epoch again.

        Raises:
          DivergenceError: it is a run of its own, and does not try again; the state before the epoch is saved.
        """
        slowdown, trouble = devices.to_host((position.states.slowdown, position.sums.trouble))
        with np.errstate(divide="ignore"):  # of a factor so small that nothing is left
            retries = np.log(slowdown) / np.log(self._config.divergence.factor)
        again = []
        for member in members:
            what = divergence(metrics, trouble, member, epoch + 1, position.states.params)
            if self._config.divergence.action == "back" and retries[member] < MOST_RETRIES - 0.5:
                again.append(member)
                who = self._name(member) or "the run"
                say(f"{who} goes back to the end of epoch {epoch}, and on with a smaller learning rate: {what}")
            elif not self._names:
                self._save(self._start(position.states))
                raise DivergenceError(
                    f"{what}. The run's folder keeps the state before. Try a smaller config.optimizer.learning_rate, "
                    "or another config.divergence.action, in another --workdir"
                )
            elif member not in self._told:
                self._told.add(member)
                say(f"{self._name(member)} has diverged, and is left as it was: {what}")
        return again

    def _name(self, member: int) -> str:
        """That of a member of a sweep; empty for a run."""
        return f"member {member} ({self._names[member]})" if self._names else ""

    def _make_slower(self, states: TrainState, members: Sequence[int]) -> TrainState:
        which = np.isin(np.arange(len(states.epoch)), members)
        return self._slower(states, devices.put(which, devices.by_member(self._task.mesh)))

    def _warn(self, rows: Sequence[Mapping[str, float]]) -> None:
        for row in rows:
            for warning in self._watch.warnings(row):
                who = self._name(int(row["member"]))
                say(f"warning: {warning}" + (f" of {who}" if who else ""))

    def _save(self, position: Position) -> None:
        self._checkpoints.save(position)
        self._pace.saved()


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
