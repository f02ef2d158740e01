"""The folder of a run under trouble: a full disk, one that is read-only, a second process; `train.py` in a process."""

import shutil
import signal
import subprocess
import sys

import pytest

from seadlif_jax.cli.errors import EXIT_RESUMABLE
from seadlif_jax.runs.metrics import MetricsLog
from tests.helpers import QUICK, ROOT, TINY, command, metrics_without_time, run

EPOCHS = "--config.num_epochs=6"
ON_A_DISK_OF_ITS_OWN = ("unshare", "--mount", "--map-root-user", "sh", "-euc")


def may_mount():
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run([*ON_A_DISK_OF_ITS_OWN, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode
        == 0
    )


needs_mount = pytest.mark.skipif(not may_mount(), reason="this user may not mount a file system, even in a namespace")


def on_disk(folder, script):
    """Runs a script with a file system of 300 KiB at `folder`, and `train.py` as `train`."""
    train = " ".join(
        f"'{word}'" for word in [sys.executable, "train.py", QUICK, *TINY, EPOCHS, f"--workdir={folder}/run"]
    )
    whole = f"mount -t tmpfs -o size=300k none {folder}\ntrain() {{ {train}; }}\n{script}"
    return subprocess.run(
        [*ON_A_DISK_OF_ITS_OWN, whole], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
@needs_mount
def test_on_a_full_disk_training_stops_and_goes_on_when_there_is_room(tmp_path):
    (tmp_path / "disk").mkdir()
    result = on_disk(
        tmp_path / "disk",
        f"""
        ! train
        test -d {tmp_path}/disk/run/checkpoints/1
        mount -o remount,size=20m {tmp_path}/disk
        train
        cp {tmp_path}/disk/run/metrics.csv {tmp_path}
        """,
    )
    assert result.returncode == 0, result.stderr
    error, *more = result.stderr.splitlines()
    assert not more, result.stderr
    assert error.startswith(f"error: cannot save to {tmp_path}/disk/run/checkpoints (")
    assert "No space left on device" in error
    assert "What was saved before is intact" in error
    assert "continuing after epoch" in result.stdout
    assert run(QUICK, *TINY, EPOCHS, f"--workdir={tmp_path / 'whole'}").returncode == 0
    assert metrics_without_time(tmp_path) == metrics_without_time(tmp_path / "whole")


@needs_mount
def test_a_disk_that_is_read_only_is_told_before_training(tmp_path):
    (tmp_path / "disk").mkdir()
    result = on_disk(tmp_path / "disk", f"mount -o remount,ro {tmp_path}/disk; ! train")
    assert result.returncode == 0, result.stderr
    assert (
        result.stderr
        == f"error: cannot write to {tmp_path}/disk/run (Read-only file system); choose another --workdir\n"
    )
    assert "epoch" not in result.stdout


@pytest.mark.slow
def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path):
    arguments = (QUICK, *TINY, "--config.num_epochs=300", f"--workdir={tmp_path}")
    with subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        for line in first.stdout:
            if line.startswith("epoch"):
                break
        second = run(*arguments)
        assert second.returncode == 1
        assert second.stderr == f"error: {tmp_path} is in use by another process; choose another --workdir\n"
        assert first.poll() is None
        first.send_signal(signal.SIGKILL)
    # The lock of a process that is gone is none.
    finished = len(MetricsLog(tmp_path / "metrics.csv").read())
    third = subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with third:
        assert any(line.startswith("continuing after epoch") for line in third.stdout)
        third.send_signal(signal.SIGTERM)
    assert third.returncode == EXIT_RESUMABLE
    assert len(MetricsLog(tmp_path / "metrics.csv").read()) >= finished - 2
