"""SIGINT (Ctrl-C) and SIGTERM, which machines send before they are taken away, at a moment of our choosing."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, and has saved where it is: called again, it goes on there."""


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Holds a first signal back; yields a function that tells whether one has come.

    An exception in the middle of a compilation can be lost, or bring the process down. A second signal is not held
    back. Outside the main thread, which alone can handle signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pending = threading.Event()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(*_: object) -> None:
        pending.set()
        restore()

    previous = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield pending.is_set
    finally:
        restore()
