import signal
import threading

import pytest

from seadlif_jax.utils.signals import STOP_SIGNALS, deferred_signals, stop_signals

SIGNALS = [getattr(signal, name) for name in STOP_SIGNALS]


@pytest.fixture(autouse=True)
def _signals_are_as_in_a_process_of_its_own():
    """One that a script starts in the background ignores Ctrl-C."""
    handlers = {**dict.fromkeys(SIGNALS, signal.SIG_DFL), signal.SIGINT: signal.default_int_handler}
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
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before[:2]
        if number not in (signal.SIGINT, signal.SIGTERM):  # such as SIGXCPU, which comes every second
            signal.raise_signal(number)
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


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    assert number not in stop_signals()
    with deferred_signals() as interrupted:
        signal.raise_signal(number)
        assert not interrupted()
    assert signal.getsignal(number) == signal.SIG_IGN


def test_handlers_that_are_not_of_python_are_left_alone(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    with deferred_signals() as interrupted:
        assert not interrupted()
