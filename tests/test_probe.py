import os
import signal
import time
from pathlib import Path

import pytest

from seadlif_jax.data import probe
from seadlif_jax.data.dataset import DataError

FILE = Path("a file")


def reading(path):
    yield
    yield


def raising(path):
    yield
    raise OSError("not such a file")


def crashing(path):
    yield
    os.abort()


def hanging(path):
    yield
    time.sleep(1000)


def test_a_reader_that_comes_to_an_end_has_finished():
    assert probe.probe_file(FILE, reading)


def test_an_exception_is_left_to_the_caller():
    assert not probe.probe_file(FILE, raising)


def test_a_crash_is_reported():
    with pytest.raises(DataError, match="a file is damaged: reading it crashes a process"):
        probe.probe_file(FILE, crashing)


def test_a_reader_without_an_end_is_reported(monkeypatch):
    monkeypatch.setattr(probe, "TIMEOUT", 3)
    with pytest.raises(DataError, match="a file is damaged: reading it does not end"):
        probe.probe_file(FILE, hanging)


def killed(path):
    yield
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_reader_that_is_killed_says_nothing_of_the_file():
    with pytest.raises(DataError, match=r"reading a file was stopped by signal 9, perhaps for lack of memory") as error:
        probe.probe_file(FILE, killed)
    assert "damaged" not in str(error.value)
