"""Signals that ask a process to stop, answered at a moment of our choosing.

SIGINT is Ctrl-C. SIGTERM comes before a machine is taken away; SIGUSR1, SIGUSR2 and SIGXCPU from schedulers before the
time of a job is over; SIGHUP when its terminal has gone.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")  # not all systems have all
ONCE = (signal.SIGINT, signal.SIGTERM)  # a second one is not held back


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, and has saved where it is: called again, it goes on there."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals to answer: not those ignored, as SIGHUP under `nohup`, or handled outside of Python."""
    signals = (getattr(signal, name, None) for name in NAMES)
    return tuple(one for one in signals if one and signal.getsignal(one) not in (signal.SIG_IGN, None))


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Holds a first signal back; yields a function that tells whether one has come.

    An exception in the middle of a compilation can be lost, or bring the process down. A second SIGINT or SIGTERM is
    not held back; the others may come again and again. Outside the main thread, which alone can handle signals,
    nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pending = threading.Event()

    def restore(numbers: tuple[signal.Signals, ...]) -> None:
        for number in numbers:
            if number in previous:
                signal.signal(number, previous[number])

    def note(*_: object) -> None:
        pending.set()
        restore(ONCE)

    previous = {number: signal.signal(number, note) for number in stop_signals()}
    try:
        yield pending.is_set
    finally:
        restore(tuple(previous))
