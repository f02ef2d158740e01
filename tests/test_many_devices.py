"""Runs on many devices, and in many processes, are those on one: `train.py` from the command line, in float64."""

import json
import os
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from seadlif_jax.cli.errors import EXIT_RESUMABLE
from seadlif_jax.inference import load_network
from seadlif_jax.runs.metrics import MetricsLog
from tests.helpers import ROOT

pytestmark = pytest.mark.slow
SMALL = (
    "--config=configs/bsd.py:quick",
    "--config.data.num_samples=400",
    "--config.model.hidden=(8,)",
    "--config.model.dropout=0.1",
    "--config.batch_size=128",
)


# `train.py` without pictures, which take longer than the training here.
PROGRAM = """
import runpy, sys
from seadlif_jax import plots
plots.save_curves = plots.save_raster = lambda *_: None
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""
EIGHT = ("--config.num_epochs=6", "--config.sweep.seed=(0,1,2,3,4,5,6,7)")


def command(*arguments):
    return [sys.executable, "-c", PROGRAM, *arguments]


def environment(num_devices):
    clean = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num_devices}"
    return clean | {"XLA_FLAGS": flags, "JAX_ENABLE_X64": "1"}


def train(workdir, num_devices, *arguments):
    subprocess.run(
        command(*SMALL, *arguments, f"--workdir={workdir}"),
        cwd=ROOT, env=environment(num_devices), check=True, timeout=300, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def assert_same(found, expected, members=1):
    """Metrics and networks, up to rounding in float64."""
    for member in range(members):
        rows = [MetricsLog(folder / "metrics.csv").read(member) for folder in (found, expected)]
        for row, expected_row in zip(*rows, strict=True):
            assert row | {"seconds": 0} == pytest.approx(expected_row | {"seconds": 0}, rel=1e-8)
        networks = [load_network(folder, member)[1] for folder in (found, expected)]
        for one, other in zip(*map(jax.tree.leaves, networks), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    train(folder, 1, *EIGHT)
    return folder


@pytest.mark.parametrize("mesh", [(8, 1), (1, 8), (4, 2)])
def test_a_sweep_on_eight_devices_is_that_on_one(tmp_path, x64, on_one_device, mesh):
    train(tmp_path, 8, *EIGHT, f"--config.devices.mesh={mesh}")
    assert_same(tmp_path, on_one_device, members=8)


class Processes:
    """Two processes on this machine, each with a device, that are one run."""

    def __init__(self, *arguments, of_second=(), environment_of_second=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._all = [
            subprocess.Popen(
                command(
                    *SMALL, *arguments, *(of_second if number else ()),
                    "--distributed", f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={number}",
                ),
                cwd=ROOT, env=environment(1) | (environment_of_second or {} if number else {}),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for number in range(2)
        ]  # fmt: skip

    def signal_after(self, epoch, number, processes=(0, 1)):
        """Sends a signal once an epoch is reported; returns the exit statuses."""
        for line in self._all[0].stdout:
            if line.startswith(f"epoch {epoch}/"):
                break
        for process in processes:
            self._all[process].send_signal(number)
        for process in self._all:
            process.communicate(timeout=300)
        return [process.returncode for process in self._all]

    def finish(self, status=0):
        """What each has said, and what of it as an error."""
        said = [process.communicate(timeout=300) for process in self._all]
        assert [process.returncode for process in self._all] == [status, status], said
        return said


@pytest.mark.parametrize(("mesh", "stopped"), [((2, 1), "terminated"), ((1, 2), "killed")])
def test_two_processes_are_one_and_so_they_are_when_they_continue(tmp_path, x64, on_one_device, mesh, stopped):
    """Sharing the members, or every batch; of two, one that is told to stop stops the other."""
    two = (*EIGHT, f"--config.devices.mesh={mesh}", f"--workdir={tmp_path}")
    if stopped == "killed":
        assert Processes(*two).signal_after(2, signal.SIGKILL) == [-signal.SIGKILL] * 2
    else:
        assert Processes(*two).signal_after(2, signal.SIGTERM, processes=(1,)) == [EXIT_RESUMABLE, EXIT_RESUMABLE]
    (first, _), (second, _) = Processes(*two).finish()
    assert "continuing after epoch" in first
    assert "epoch" not in second  # the first speaks for both
    assert_same(tmp_path, on_one_device, members=8)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in on_one_device.iterdir()}


def test_processes_agree_on_the_engine(tmp_path):
    processes = Processes(
        "--config.num_epochs=1", "--config.compute.engine=auto", f"--workdir={tmp_path}",
        environment_of_second={"CXX": "no_such_compiler"},
    )  # fmt: skip
    (said, _), _ = processes.finish()
    assert "engine: xla, since another process cannot use the native kernel" in said
    assert json.loads((tmp_path / "result.json").read_text())["config"]["compute"]["engine"] == "xla"


def test_processes_that_differ_are_refused(tmp_path):
    processes = Processes("--config.num_epochs=1", f"--workdir={tmp_path / 'run'}", of_second=("--config.seed=1",))
    for _, error in processes.finish(status=1):
        assert "error: process 1 has another config than process 0; start all with the same" in error
    assert not (tmp_path / "run").exists()
