"""For tests that train: what a run has left, and runs that are cut off."""

import contextlib
import itertools

import jax
import numpy as np
import pytest

from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.training import fitting


class Killed(BaseException):
    """In place of the end of the process."""


def rows_of(folder, member=0):
    """The metrics of a member without its number and the time."""
    return [{**row, "member": 0, "seconds": 0} for row in MetricsLog(folder / "metrics.csv").read(member)]


def assert_close(metrics, expected):
    """Up to rounding in float64: compilers may sum in another order in a loop over members."""
    assert metrics.keys() == expected.keys()
    for name in metrics:
        assert metrics[name] == pytest.approx(expected[name], rel=1e-8), name


def assert_same_network(variables, expected):
    for array, other in zip(jax.tree.leaves(variables), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-7, atol=1e-9)


def interrupt_at(monkeypatch, moment):
    """Interrupt a run at this moment, counting calls, which make one step each, and the ends of epochs."""
    moments = itertools.count(1)

    @contextlib.contextmanager
    def signals():
        yield lambda: next(moments) == moment

    monkeypatch.setattr(fitting, "CALL_SECONDS", 0)
    monkeypatch.setattr(fitting, "deferred_signals", signals)


def kill_at_save(monkeypatch, epoch, before=False):
    """Kill a run with the first save whose members have finished this many epochs at most."""
    save = Checkpoints.save

    def killed(self, trees, metadata):
        if not before:
            save(self, trees, metadata)
        if max(metadata["epochs"]) == epoch:
            raise Killed
        if before:
            save(self, trees, metadata)

    monkeypatch.setattr(Checkpoints, "save", killed)
