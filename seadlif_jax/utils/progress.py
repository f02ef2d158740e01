"""Progress bars, messages to the user, and a line for each epoch of training."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm


def _is_first_process() -> bool:
    """Return whether this process is the one that talks to the user."""
    return jax.process_index() == 0


def bar(items: Iterable[Any] | None = None, **settings: Any) -> tqdm:
    """Return a progress bar, which is shown on a terminal only."""
    disable = None if _is_first_process() else True  # None: unless it is a terminal
    return tqdm(items, disable=disable, dynamic_ncols=True, leave=False, **settings)


def say(text: str) -> None:
    """Print a line above the progress bars."""
    if _is_first_process():
        tqdm.write(text)
        sys.stdout.flush()  # for a user who follows a log file


class Progress:
    """A line for each finished epoch and, on a terminal, a progress bar over the steps of the epoch.

    Args:
      num_epochs: number of epochs of the run.
      num_steps: number of training steps in an epoch.
      score_name: the metric next to the loss, "accuracy" or "mse".
      members: names of the members of a sweep; none for a single run.
    """

    def __init__(self, num_epochs: int, num_steps: int, score_name: str, members: Sequence[str]):
        self._num_epochs = num_epochs
        self._num_steps = num_steps
        self._score_name = score_name
        self._members = members
        self._bar = bar(total=num_steps, unit="step")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start_epoch(self, epoch: int, step: int) -> None:
        self._bar.reset(self._num_steps)
        self._bar.update(step)
        self._bar.set_description(f"epoch {epoch}/{self._num_epochs}")

    def steps_done(self, count: int) -> None:
        self._bar.update(count)

    def epoch_done(self, rows: Sequence[dict[str, float]], best_epochs: np.ndarray, best_scores: np.ndarray) -> None:
        """Print a line about an epoch, with the best so far.

        Args:
          rows: its metrics, one row for each member that has not diverged.
          best_epochs: the best epoch of every member so far.
          best_scores: its validation score, for every member; larger is better.
        """
        epoch, seconds = int(rows[0]["epoch"]), rows[0]["seconds"]
        number = f"epoch {epoch:{len(str(self._num_epochs))}d}/{self._num_epochs}"
        if self._members:
            best = max((int(row["member"]) for row in rows), key=lambda member: best_scores[member])
            self._bar.set_postfix_str(f"best {abs(best_scores[best]):.4f}")
            shown = "loss" if self._score_name == "mse" else self._score_name  # what the best is chosen by
            mean = np.mean([row[f"validation_{shown}"] for row in rows])
            say(
                f"{number}  {len(rows)} of {len(self._members)} members  "
                f"validation {shown} {mean:.4f} (mean), {abs(best_scores[best]):.4f} best: "
                f"{self._members[best]}, epoch {best_epochs[best]}  {seconds:.1f} s"
            )
        else:
            mark = "  best so far" if best_epochs[0] == epoch else ""
            say(f"{number}  {self._part('train', rows[0])}  {self._part('validation', rows[0])}  {seconds:.1f} s{mark}")

    def _part(self, split: str, row: dict[str, float]) -> str:
        loss, score = row[f"{split}_loss"], row[f"{split}_{self._score_name}"]
        return f"{split} loss {loss:.4f} {self._score_name} {score:.4f}"
