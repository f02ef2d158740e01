"""The studies run from the command line, on little data."""

import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from seadlif_jax.data.dataset import DataError, Split
from studies.folds import draw_folds, fold_dataset
from tests.helpers import is_drawn

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


def run(study, folder, *arguments):
    epochs = () if study == "cross_validate" else ("--num_epochs=1",)
    command = [sys.executable, "-m", f"studies.{study}", f"--output_dir={folder}", *epochs, *arguments]
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
    if study == "oscillation":
        check_trajectory(tmp_path)


def check_trajectory(folder):
    """The errors of the windows are those that the run itself has left."""
    trajectory, of_run = (
        list(csv.DictReader(path.read_text().splitlines()))
        for path in (folder / "trajectory.csv", folder / "lif-system-0" / "members" / "0" / "forecast_error.csv")
    )
    assert [row["to_ms"] for row in trajectory] == [row["to_ms"] for row in of_run]
    expected = [float(row["network_mse"]) for row in of_run]
    assert [float(row["lif"]) for row in trajectory] == pytest.approx(expected, rel=1e-4)


def test_cross_validation_never_uses_the_test_samples_and_averages_over_folds(tmp_path):
    arguments = (
        "cross_validate", tmp_path / "folds", "--config=configs/bsd.py:quick", "--folds=3", "--config.num_epochs=1",
        "--config.data.num_samples=200", "--config.data.num_classes=3", "--config.model.hidden=(8,)",
        "--config.batch_size=32", "--config.sweep.seed=(0,1)", "--config.sweep.learning_rate=(0.01,0.1)",
    )  # fmt: skip
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    rows = table(tmp_path / "folds")
    assert [row["setting"] for row in rows] == ["learning_rate 0.01", "learning_rate 0.1"]
    of_folds = [json.loads((tmp_path / "folds" / f"fold-{fold}" / "result.json").read_text()) for fold in (1, 2, 3)]
    for number, row in enumerate(rows):
        scores = [100 * each["summary"][number]["test"]["accuracy"]["mean"] for each in of_folds]
        assert [float(row[f"fold_{fold}"]) for fold in (1, 2, 3)] == pytest.approx(scores, rel=1e-3)
        assert float(row["accuracy_mean"]) == pytest.approx(np.mean(scores), rel=1e-3)
        assert float(row["std_of_folds"]) == pytest.approx(np.std(scores, ddof=1), rel=0.1)
    assert {member["best_epoch"] for each in of_folds for member in each["members"]} == {1}
    assert is_drawn(tmp_path / "folds" / "figure.png")


OWN_LOADER = """
import numpy as np
from seadlif_jax.data import Dataset, pad_recordings

def load(config):
    rng = np.random.default_rng(0)
    split = pad_recordings([rng.poisson(0.3, (12, 4)) for _ in range(24)], np.arange(24) % 2)
    return Dataset(split, split, split, "last epoch")
"""
OWN_CONFIG = """
from seadlif_jax.config import base_config

def get_config():
    config = base_config().unlock()
    config.data.loader, config.data.num_classes = "own_data:load", 2
    config.model.hidden, config.batch_size, config.num_epochs = (4,), 8, 1
    return config.lock()
"""


@pytest.fixture
def own_config(tmp_path):
    """A config file, with a loader beside it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "own_data.py").write_text(OWN_LOADER)
    (folder / "own.py").write_text(OWN_CONFIG)
    return folder / "own.py"


def test_settings_that_diverge_are_counted_with_a_loader_beside_the_config(own_config, tmp_path):
    result = run(
        "cross_validate", tmp_path / "folds", f"--config={own_config}", "--folds=2", "--config.sweep.seed=(0,1)",
        "--config.sweep.learning_rate=(0.01,1e6)",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    learns, diverges = table(tmp_path / "folds")
    assert (learns["diverged"], diverges["diverged"]) == ("0", "4")
    assert 0 <= float(learns["accuracy_mean"]) <= 100
    assert diverges["accuracy_mean"] == diverges["fold_2"] == "nan"


@pytest.mark.slow
def test_a_network_that_diverges_does_not_stop_the_other_folds(own_config, tmp_path):
    arguments = ("cross_validate", tmp_path / "folds", f"--config={own_config}", "--folds=2")
    result = run(*arguments, "--config.optimizer.learning_rate=1e6")
    assert result.returncode == 0, result.stderr
    assert "fold 2: " in result.stdout
    (row,) = table(tmp_path / "folds")
    assert (row["setting"], row["diverged"], row["fold_1"]) == ("all", "2", "nan")


def test_folds_share_no_sample_and_hold_whole_groups():
    groups = np.random.default_rng(0).integers(0, 7, 50)
    folds = draw_folds(groups, 3, seed=0)
    assert sorted(np.concatenate(folds)) == list(range(50))
    assert all(set(groups[one]).isdisjoint(groups[other]) for one, other in itertools.combinations(folds, 2))
    with pytest.raises(DataError, match=r"--folds=8: there are only 7 groups"):
        draw_folds(groups, 8, seed=0)
    train = Split(*(np.arange(50)[:, None] for _ in range(3)))
    dataset = fold_dataset(train, folds[1], 2, 3)
    assert sorted(np.concatenate([dataset.train.inputs, dataset.test.inputs])[:, 0]) == list(range(50))
    assert set(dataset.validation.inputs[:, 0]) < set(dataset.train.inputs[:, 0])


def test_cross_validation_by_group_needs_a_loader_that_names_groups(tmp_path):
    result = run("cross_validate", tmp_path / "folds", "--config=configs/bsd.py:quick", "--by_group")
    assert result.returncode == 1
    assert "config.data.loader = 'data.bsd:load': its module has no function groups(config)" in result.stderr
