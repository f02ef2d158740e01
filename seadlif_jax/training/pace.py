"""How long the compiled calls of an epoch are, and whether to save or to stop between two of them."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from seadlif_jax.parallel import mesh as devices

CALL_SECONDS = 1.0  # so that a progress bar can move, and a signal is soon heard


class Now(NamedTuple):
    """What to do at this moment: save the position in training; and then stop."""

    save: bool
    stop: bool


class Pace:
    """All processes of a run make the same calls, and save and stop at the same of them.

    Args:
      every_minutes: a save is due when so much time has passed since the last.
      interrupted: whether this process has been asked to stop.
    """

    def __init__(self, every_minutes: float, interrupted: Callable[[], bool]):
        self.steps = 1  # of the next call; a short epoch is one. The numbers do not depend on it.
        self._every_seconds = 60 * every_minutes
        self._interrupted = interrupted
        self._saved = time.monotonic()

    def called(self, steps: int, seconds: float) -> None:
        """Takes note of the time that a call of so many steps has taken."""
        # At most four times longer than the last: the first call is slow, since it compiles.
        wanted = max(1, min(int(steps * CALL_SECONDS / seconds), 4 * self.steps))
        self.steps = int(devices.of_first_process(wanted))

    def now(self) -> Now:
        """Saves are due by the clock of the first process; one process that is asked to stop stops all."""
        due = time.monotonic() - self._saved >= self._every_seconds
        of_all = devices.of_all_processes(np.array([due, self._interrupted()]))
        stop = bool(of_all[:, 1].any())
        return Now(bool(of_all[0, 0]) or stop, stop)

    def saved(self) -> None:
        """Takes note of a save."""
        self._saved = time.monotonic()
