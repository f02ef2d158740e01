"""`evaluate.py` as a user runs it: in a process of its own, from the command line."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seadlif_jax.training import train_and_evaluate

ROOT = Path(__file__).parent.parent


def run(*arguments):
    command = [sys.executable, "evaluate.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_tested_under_shifts(tmp_path, tiny_config):
    tiny_config.num_epochs = 1
    result = train_and_evaluate(tiny_config, tmp_path)
    before = contents(tmp_path)
    evaluated = run(f"--workdir={tmp_path}", "--shifts=0.1,0.4", "--draws=2")
    assert evaluated.returncode == 0, evaluated.stderr
    assert evaluated.stderr == ""

    table, picture = tmp_path / "robustness.csv", tmp_path / "robustness.png"
    after = contents(tmp_path)
    assert after.keys() - before.keys() == {table, picture}
    assert {path: after[path] for path in before} == before
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["shift"], float(row["level"])) for row in rows] == [
        (shift, level) for shift in ("constant", "events") for level in (0, 0.1, 0.4)
    ]
    assert float(rows[0]["accuracy"]) == result["test"]["accuracy"]
    assert np.asarray(Image.open(picture).convert("L")).std() > 10  # something is drawn

    lines = evaluated.stdout.splitlines()
    assert lines[0].split() == ["shift", "level", "draws", "accuracy", "(%)", "loss"]
    assert lines[1].split()[:4] == ["constant", "0", "1", f"{100 * result['test']['accuracy']:.2f}"]
    assert lines[-2] == f"({result['protocol']})" == f"({rows[-1]['protocol']})"
    assert len(lines) == 1 + len(rows) + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--workdir is missing"),
        (("--workdir={}",), "holds no run: there is no config.json"),
        (("--workdir={}", "--shifts=0,x"), "--shifts=0,x: it must be numbers joined by commas"),
        (("--workdir={}", "--shifts="), "--shifts=: it must be numbers"),
        (("--workdir={}", "--shifts=-0.1"), "level -0.1: it must be a number of events"),
        (("--workdir={}", "--draws=some"), "--draws=some"),
        (("--workdir={}", "extra"), "'extra': not understood"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(tmp_path, arguments, message):
    result = run(*(argument.format(tmp_path) for argument in arguments))
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []
