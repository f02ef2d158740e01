"""Ctrl-C at a moment of our choosing."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Holds a first Ctrl-C back until the function it yields is called, which then raises KeyboardInterrupt.

    An exception in the middle of a compilation can be lost, or bring the process down. A second Ctrl-C is not held
    back. Outside the main thread, which alone can handle signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    pending = threading.Event()

    def note(*_: object) -> None:
        pending.set()
        signal.signal(signal.SIGINT, previous)

    def check() -> None:
        if pending.is_set():
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
