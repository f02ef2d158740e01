"""Output that cannot be written must not cost a result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

LETTERS = "\u00fc \u65e5 \udcff"
CODE = f"""
import os, sys
from seadlif_jax.cli.environment import protect_output
protect_output()
for number in range(2000):
    print("epoch", number, {LETTERS!r}, flush=True)
    print("a warning", file=sys.stderr)
open(sys.argv[1], "w").write("result")
"""


def write(path, **options):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-c", CODE, str(path)], cwd=ROOT, env=environment, check=False, timeout=60, **options
    )


@pytest.mark.parametrize("ends", [os.pipe, os.openpty], ids=["a pipe", "a terminal"])
def test_a_reader_that_has_gone_costs_no_result(tmp_path, ends):
    reading, writing = ends()
    os.close(reading)
    done = write(tmp_path / "result", stdout=writing, stderr=writing)
    os.close(writing)
    assert done.returncode == 0
    assert (tmp_path / "result").read_text() == "result"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_under_the_log_costs_no_result(tmp_path):
    with open("/dev/full", "w") as full:
        assert write(tmp_path / "result", stdout=full, stderr=full).returncode == 0
    assert (tmp_path / "result").read_text() == "result"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_the_output_does_not_know_are_escaped(tmp_path, encoding):
    done = write(tmp_path / "result", capture_output=True, env={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0
    assert b"\\udcff" in done.stdout


def test_streams_that_are_closed_from_the_start_cost_no_result_and_take_no_file(tmp_path):
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" "$2" <&- >&- 2>&-', sys.executable, CODE, str(tmp_path / "result")],
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert (tmp_path / "result").read_text() == "result"
