import signal
import threading

import pytest

from seadlif_jax.interrupt import deferred_interrupt


@pytest.fixture(autouse=True)
def _interrupts_are_not_ignored():
    """As they are in a process that a script starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_interrupt_waits_for_the_check_and_the_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as check:
        check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_signals_are_left_alone():
    handlers = []

    def work():
        with deferred_interrupt() as check:
            check()
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
