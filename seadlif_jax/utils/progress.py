"""What a user sees while training: a bar over the epoch, and a line for each finished one."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from seadlif_jax.parallel.mesh import is_first_process


def bar(items: Iterable[Any] | None = None, **settings: Any) -> tqdm:
    """A progress bar, on a terminal."""
    disable = None if is_first_process() else True  # None: where it is no terminal
    return tqdm(items, disable=disable, dynamic_ncols=True, leave=False, **settings)


def say(text: str) -> None:
    """A line for the user, above the bars there are."""
    if is_first_process():
        tqdm.write(text)
        sys.stdout.flush()  # for those who watch a file


class Progress:
    """On a terminal a progress bar over the steps of the epoch; everywhere one line for each finished epoch.

    `members` are the names of those of a sweep.
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
        """A line about an epoch, with the best so far.

        Args:
          rows: its metrics, a row for each member that is well.
          best_epochs: of every member, as in `program.Best`.
          best_scores: likewise.
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
