"""What a user can watch during training: lines and a bar in the terminal, and event files for TensorBoard."""

import contextlib
import importlib.util
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from seadlif_jax.config import ConfigError
from seadlif_jax.data.dataset import LAST
from seadlif_jax.parallel import is_first_process
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.tasks import Task
from seadlif_jax.utils.progress import bar, say

TENSORBOARD = "tensorboard"
MAX_MEMBERS = 100  # in TensorBoard: each has an open file, and a thread
Rows = Sequence[Mapping[str, float]]


class Progress:
    """A bar over the steps of the epoch, on a terminal, and a line for each finished epoch.

    Args:
      config: config of the run.
      num_steps: number of steps in an epoch.
      task: the task, whose metric is shown.
      names: names of the members of a sweep; none for a single run.
    """

    def __init__(self, config: ConfigDict, num_steps: int, task: Task, names: Sequence[str]):
        self._num_epochs, self._num_steps = config.num_epochs, num_steps
        self._selects_best = config.data.validation != LAST
        self._task, self._names = task, names
        self._bar = bar(total=num_steps, unit="step")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start_epoch(self, epoch: int, step: int) -> None:
        """Show an epoch, from 1, of which some steps may be done already."""
        self._bar.reset(self._num_steps)
        self._bar.update(step)
        self._bar.set_description(f"epoch {epoch}/{self._num_epochs}")

    def advance(self, steps: int) -> None:
        """Show that more steps are done."""
        self._bar.update(steps)

    def end_epoch(self, rows: Rows, best_epochs: np.ndarray, best_scores: np.ndarray) -> None:
        """Print a line about an epoch, with the best so far.

        Args:
          rows: metrics of the epoch, one row per member that has not diverged.
          best_epochs: number of the best epoch of every member.
          best_scores: its score, see `Task.selection_score`.
        """
        epoch, seconds = int(rows[0]["epoch"]), rows[0]["seconds"]
        number = f"epoch {epoch:{len(str(self._num_epochs))}d}/{self._num_epochs}"
        if self._names:
            metric, sign = self._task.selection
            best = max((int(row["member"]) for row in rows), key=lambda member: best_scores[member])
            self._bar.set_postfix_str(f"best {sign * best_scores[best]:.4f}")
            mean = np.mean([row[f"validation_{metric}"] for row in rows])
            say(
                f"{number}  {len(rows)} of {len(self._names)} members  "
                f"validation {metric} {mean:.4f} (mean), {sign * best_scores[best]:.4f} best: "
                f"{self._names[best]}, epoch {best_epochs[best]}  {seconds:.1f} s"
            )
        else:
            mark = "  best so far" if self._selects_best and best_epochs[0] == epoch else ""
            train, validation = (self._metrics(split, rows[0]) for split in ("train", "validation"))
            say(f"{number}  {train}  {validation}  {seconds:.1f} s{mark}")

    def _metrics(self, split: str, row: Mapping[str, float]) -> str:
        loss, value = row[f"{split}_loss"], row[f"{split}_{self._task.metric}"]
        return f"{split} loss {loss:.4f} {self._task.metric} {value:.4f}"


def check_tensorboard(config: ConfigDict, num_members: int) -> None:
    """Raise a `ConfigError` if event files are wanted, but cannot be written."""
    if not config.tensorboard:
        return
    if importlib.util.find_spec("tensorboardX") is None:
        raise ConfigError("config.tensorboard = True needs the package tensorboardX: pip install tensorboardX")
    if num_members > MAX_MEMBERS:
        raise ConfigError(f"config.tensorboard = True: {num_members} members; at most {MAX_MEMBERS} can be shown")


@contextlib.contextmanager
def tensorboard_writer(folder: RunFolder, names: Sequence[str]) -> Iterator[Callable[[Rows], None]]:
    """Yield a function that writes the rows of an epoch to event files, if `config.tensorboard` is set.

    The files are first written from the rows that are there: a run that is continued has no epoch twice.

    Args:
      folder: folder of the run whose metrics they are.
      names: names of the members of a sweep; each has a folder of its own.
    """
    if not folder.config.tensorboard or not is_first_process():
        yield lambda rows: None
        return
    from tensorboardX import SummaryWriter

    root = folder.path / TENSORBOARD
    shutil.rmtree(root, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(SummaryWriter(str(path))) for path in _folders(root, names)]

        def write(rows: Rows) -> None:
            for row in rows:
                writer = writers[int(row.get("member", 0))]
                for name, value in row.items():
                    if name not in ("member", "epoch"):
                        writer.add_scalar(_tag(name), value, int(row["epoch"]))
                writer.flush()

        for rows in folder.metrics.by_member().values():
            write(rows)
        yield write


def _folders(root: Path, names: Sequence[str]) -> list[Path]:
    return [root / f"{number} {name}" for number, name in enumerate(names)] or [root]


def _tag(name: str) -> str:
    """Return `loss/train` for `train_loss`: TensorBoard shows tags with the same beginning side by side."""
    for split in ("train", "validation"):
        if name.startswith(f"{split}_"):
            return f"{name.removeprefix(f'{split}_')}/{split}"
    return name
