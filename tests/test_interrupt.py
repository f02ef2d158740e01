import signal
import threading

import pytest

from seadlif_jax.interrupt import SIGNALS, deferred_signals


@pytest.fixture(autouse=True)
def _signals_are_as_in_a_process_of_its_own():
    """One that a script starts in the background ignores Ctrl-C."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_only_noted_and_the_second_is_not_held_back(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    with deferred_signals() as interrupted:
        assert not interrupted()
        signal.raise_signal(number)
        assert interrupted()
        assert [signal.getsignal(each) for each in SIGNALS] == before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_outside_the_main_thread_signals_are_left_alone():
    handlers = []

    def work():
        with deferred_signals() as interrupted:
            assert not interrupted()
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
