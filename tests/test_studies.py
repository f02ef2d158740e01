"""The studies run from the command line, on little data."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from tests.helpers import is_drawn

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


def run(study, folder, *arguments):
    command = [sys.executable, "-m", f"studies.{study}", f"--output_dir={folder}", "--num_epochs=1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)


def table(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_ecg_compares_neurons_over_seeds(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "QTDB").mkdir()
    for split in ("train", "test"):
        arrays = {"x": rng.integers(-1, 2, (80, 40, 4)), "y": np.eye(6)[rng.integers(0, 6, (80, 40))]}
        scipy.io.savemat(tmp_path / "QTDB" / f"QTDB_{split}.mat", arrays)
    arguments = ("ecg", tmp_path / "study", f"--data_dir={tmp_path}", "--seeds=3,5", "--neurons=se_adlif,lif")
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    rows = table(tmp_path / "study")
    assert [row["neuron"] for row in rows] == ["se_adlif", "lif"]
    assert {row["seeds"] for row in rows} == {"2"}
    assert is_drawn(tmp_path / "study" / "figure.png")
    # A finished case is not repeated.
    before = (tmp_path / "study" / "lif" / "result.json").stat().st_mtime_ns
    assert run(*arguments).returncode == 0
    assert (tmp_path / "study" / "lif" / "result.json").stat().st_mtime_ns == before


def test_the_study_of_all_neurons_chooses_the_learning_rate_without_the_test_samples(tmp_path):
    arguments = ("--tasks=bsd", "--neurons=brf", "--seeds=0,1", "--learning_rates=0.01,0.1")
    result = run("neurons", tmp_path, *arguments)
    assert result.returncode == 0, result.stderr
    for row in table(tmp_path):
        members = json.loads((tmp_path / f"bsd-{row['neuron']}" / "result.json").read_text())["members"]
        of_rate = {rate: [each for each in members if each["varied"]["learning_rate"] == rate] for rate in (0.01, 0.1)}
        validation = {
            rate: np.mean([each["validation"]["accuracy"] for each in group]) for rate, group in of_rate.items()
        }
        assert validation[float(row["learning_rate"])] == max(validation.values())
        test = [100 * each["test"]["accuracy"] for each in of_rate[float(row["learning_rate"])]]
        assert float(row["accuracy_mean"]) == pytest.approx(np.mean(test), rel=1e-3)
        assert 19_000 < int(row["parameters"]) <= 19_594  # at most those of SE-adLIF
        assert float(row["kilo_operations_per_step"]) > 0
    assert is_drawn(tmp_path / "figure.png")


@pytest.mark.parametrize(
    ("study", "arguments", "rows"),
    [
        ("bsd_classes", ("--classes=2,5", "--seeds=0", "--quick", "--neurons=lif"), 2),
        ("oscillation", ("--systems=0", "--seeds=0", "--quick", "--neurons=lif"), 1),
    ],
)
def test_studies_of_generated_data(tmp_path, study, arguments, rows):
    result = run(study, tmp_path, *arguments)
    assert result.returncode == 0, result.stderr
    assert len(table(tmp_path)) == rows
    assert is_drawn(tmp_path / "figure.png")
