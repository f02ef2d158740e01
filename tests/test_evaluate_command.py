"""`seadlif evaluate` as a user runs it: in a process of its own, from any folder."""

import csv
import json

import numpy as np
import pytest

from tests.helpers import is_drawn, seadlif


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_finished_run_is_tested(own_run, tmp_path):
    """By class, for its costs, and under shifts; and nothing else in its folder changes."""
    result = json.loads((own_run / "result.json").read_text())
    before = contents(own_run)
    evaluated = seadlif("evaluate", f"--workdir={own_run}", "--shifts=0.1,0.4", "--draws=2", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert evaluated.stderr == ""

    after = contents(own_run)
    new = {path.name for path in after.keys() - before.keys()}
    assert new == {
        "test_classes.csv", "test_confusion.csv", "test_confusion.png", "test_costs.csv",
        "robustness.csv", "robustness.png",
    }  # fmt: skip
    assert {path: after[path] for path in before} == before
    assert all(is_drawn(own_run / name) for name in new if name.endswith(".png"))

    accuracy = result["test"]["accuracy"]
    confusion = [
        [int(row[f"predicted_{number}"]) for number in range(3)] for row in rows_of(own_run / "test_confusion.csv")
    ]
    assert np.trace(confusion) / np.sum(confusion) == pytest.approx(accuracy)
    assert [int(row["targets"]) for row in rows_of(own_run / "test_classes.csv")] == np.sum(confusion, axis=1).tolist()
    layers = [row["layer"] for row in rows_of(own_run / "test_costs.csv")]
    assert layers == ["hidden 1", "hidden 2", "readout", "total"]

    rows = rows_of(own_run / "robustness.csv")
    assert [(row["shift"], float(row["level"])) for row in rows] == [
        (shift, level) for shift in ("constant", "events") for level in (0, 0.1, 0.4)
    ]
    assert float(rows[0]["accuracy"]) == pytest.approx(accuracy, rel=1e-6)
    printed = evaluated.stdout.splitlines()
    assert printed[0].split() == ["class", "targets", "recall", "precision", "f1"]
    assert printed[4].startswith(f"test accuracy {accuracy:.4f}")
    assert printed[-2] == f"({result['protocol']})" == f"({rows[-1]['protocol']})"
    assert printed[-3].split()[:3] == ["events", "0.4", "2"]


def test_the_data_must_be_the_run_s(own_run):
    before = contents(own_run)
    path = own_run / "data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test": 1}))
    refused = seadlif("evaluate", f"--workdir={own_run}", "--split=train")
    assert refused.returncode == 1
    assert "holds a run on other data: the test split has changed" in refused.stderr
    assert contents(own_run).keys() == before.keys()
