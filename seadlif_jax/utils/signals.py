"""Signals that ask a process to stop, answered once it can.

SIGINT is Ctrl-C. SIGTERM comes before a machine is taken away; SIGUSR1, SIGUSR2 and SIGXCPU from schedulers before the
time of a job is over; SIGHUP when its terminal has gone.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")  # not all systems have all of them
DEFERRED_ONCE = (signal.SIGINT, signal.SIGTERM)  # a second one acts at once


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, and has saved its state: the same command resumes it."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals to answer: not those that are ignored, as SIGHUP under `nohup`, or handled outside Python."""
    signals = (getattr(signal, name, None) for name in STOP_SIGNALS)
    return tuple(number for number in signals if number and signal.getsignal(number) not in (signal.SIG_IGN, None))


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Defer stop signals; yield a function that returns whether one has arrived.

    An exception in the middle of a compilation can be lost, or abort the process. A second SIGINT or SIGTERM acts at
    once; the others may arrive any number of times. Outside the main thread, which alone can handle signals, nothing
    changes.
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
        restore(DEFERRED_ONCE)

    previous = {number: signal.signal(number, note) for number in stop_signals()}
    try:
        yield pending.is_set
    finally:
        restore(tuple(previous))
