"""`look.py` and `compare.py` as a user runs them."""

import csv
import subprocess
import sys

import pytest

from tests.picture import is_drawn
from tests.test_train_script import ROOT


def run(script, *arguments):
    command = [sys.executable, script, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_pictures_of_the_inside(own_run):
    result = run("look.py", f"--workdir={own_run}", "--split=validation", "--sample=3")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    pictures = {path.name for path in (own_run / "inside").iterdir()}
    assert pictures == {"sample.png", "parameters.png", "training.png", "gradients.png"}
    assert all(is_drawn(own_run / "inside" / name) for name in pictures)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--workdir is missing"),
        (("--workdir=nowhere",), "nowhere holds no run: there is no config.json"),
        (("--workdir=s3://bucket/run",), "must be a folder or file of this machine"),
        (("--workdir={}", "--sample=20"), "--sample=20: the test split has samples 0..19"),
        (("--workdir={}", "--split=all"), "--split=all"),
    ],
)
def test_what_cannot_be_looked_at_gets_one_line(finished_run, arguments, message):
    result = run("look.py", *(argument.format(finished_run) for argument in arguments))
    assert result.returncode == 1
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not (finished_run / "inside").exists()


def test_runs_side_by_side(tmp_path, own_run, finished_run):
    result = run("compare.py", own_run, finished_run, f"--output_dir={tmp_path / 'new'}")
    assert result.returncode == 0, result.stderr
    with (tmp_path / "new" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epochs"] for row in rows] == ["8", "8"]
    assert rows[0]["test_accuracy"] == rows[1]["test_accuracy"] != ""
    assert len({row["run"] for row in rows}) == 2
    assert is_drawn(tmp_path / "new" / "comparison.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: give the folders of runs to compare"),
        (("nowhere",), "none of these folders holds a run with a finished epoch"),
        (("{}", "{}"), "a run is given twice"),
    ],
)
def test_what_cannot_be_compared_gets_one_line(tmp_path, finished_run, arguments, message):
    result = run("compare.py", *(argument.format(finished_run) for argument in arguments), f"--output_dir={tmp_path}")
    assert result.returncode == 1
    assert message in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "flag"),
    [(("evaluate.py",), "--config.data.dir"), (("look.py",), "--sample"), (("-m", "studies.features"), "--output_dir")],
)
def test_help_names_the_flags(command, flag):
    assert flag in run(*command, "--help").stdout
