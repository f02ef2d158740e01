import csv
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from configs.ecg import get_config
from data import ecg
from seadlif_jax.cli import main
from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.loading import check_dataset
from seadlif_jax.training import fit

REAL_DATA = os.environ.get("SEADLIF_DATA", "")


def write(path, recordings=20, steps=30, seed=0, **changes):
    """A file in the format of the real ones, with random content; the first step has no label."""
    rng = np.random.default_rng(seed)
    y = np.eye(6, dtype=np.uint8)[rng.integers(0, 6, (recordings, steps))]
    y[:, 0] = 0
    arrays = {"x": rng.integers(-1, 2, (recordings, steps, 4)).astype(np.int16), "y": y, **changes}
    path.parent.mkdir(exist_ok=True)
    scipy.io.savemat(path, arrays)
    return arrays


@pytest.fixture
def config(tmp_path):
    config = get_config()
    config.batch_size = 8
    config.data.dir = str(tmp_path)
    return config


@pytest.fixture
def train_file(tmp_path):
    return tmp_path / "QTDB" / "QTDB_train.mat"


@pytest.fixture
def files(train_file):
    return write(train_file), write(train_file.with_name("QTDB_test.mat"), recordings=7, seed=1)


def test_every_step_is_a_block_with_its_label(config, files):
    dataset = ecg.load(config)
    check_dataset(dataset, config)
    _, test = files
    np.testing.assert_array_equal(dataset.test.inputs, test["x"])
    np.testing.assert_array_equal(dataset.test.targets[:, 1:], test["y"].argmax(axis=2))
    np.testing.assert_array_equal(dataset.test.block_index[3], np.arange(1, 31))
    assert dataset.test.inputs.dtype == np.int8


def test_with_the_protocol_last_all_recordings_are_trained_on(config, files):
    config.data.validation = "last"
    dataset = ecg.load(config)
    train, _ = files
    np.testing.assert_array_equal(dataset.train.inputs, train["x"])
    assert len(dataset.validation.inputs) == 1
    assert (dataset.train.inputs == dataset.validation.inputs).all(axis=(1, 2)).any()
    assert dataset.protocol.startswith("last epoch, trained on all training recordings")


def test_steps_without_a_label_are_gaps_or_the_tail_of_a_recording(config, train_file):
    y = np.eye(6, dtype=np.uint8)[np.random.default_rng(0).integers(0, 6, (20, 30))]
    y[3, 5:8], y[3, 25:], y[7, :2], y[7, 29] = 0, 0, 0, 0
    write(train_file, y=y)
    write(train_file.with_name("QTDB_test.mat"), recordings=7, seed=1)
    dataset = ecg.load(config)
    for name in ("train", "validation", "test"):
        masks = ecg.parts(config, name)
        assert list(masks) == ["labelled", "gap", "tail"]
        targets = getattr(dataset, name).targets
        np.testing.assert_array_equal(sum(mask.astype(int) for mask in masks.values()), targets != -1)
        assert (targets[masks["gap"] | masks["tail"]] == 0).all()
    config.data.validation = "last"  # all recordings, in the order of the file
    masks = ecg.parts(config, "train")
    assert np.argwhere(masks["gap"]).tolist() == [[3, 6], [3, 7], [3, 8], [7, 1], [7, 2]]
    assert np.argwhere(masks["tail"]).tolist() == [[3, step] for step in range(26, 31)] + [[7, 30]]


def test_evaluation_reports_the_parts_apart(config, files, tmp_path, capsys):
    config.num_epochs, config.model.hidden = 1, (4,)
    result = fit(config, tmp_path / "run")
    main(["evaluate", f"--workdir={tmp_path / 'run'}"])
    rows = list(csv.DictReader((tmp_path / "run" / "test_parts.csv").read_text().splitlines()))
    assert [(row["part"], int(row["targets"])) for row in rows] == [("labelled", 7 * 29), ("gap", 7)]
    correct = sum(float(row["accuracy (%)"]) / 100 * int(row["targets"]) for row in rows)
    assert correct / (7 * 30) == pytest.approx(result["test"]["accuracy"], abs=1e-4)
    assert "labelled" in capsys.readouterr().out


def test_a_fraction_of_train_is_held_out(config, files):
    dataset = ecg.load(config)
    assert (len(dataset.train.inputs), len(dataset.validation.inputs)) == (19, 1)
    assert "5 % of the training recordings" in dataset.protocol


def test_the_file_itself_may_be_named(config, files, train_file):
    config.data.dir = str(train_file)
    assert len(ecg.load(config).test.inputs) == 7


def test_missing_files_say_where_to_get_them(config, train_file):
    with pytest.raises(DataError, match=r"no .*QTDB_train.mat. .*Efficient-spiking-networks.*--config.data.dir"):
        ecg.load(config)
    write(train_file)
    with pytest.raises(DataError, match=r"no .*QTDB_test.mat"):
        ecg.load(config)


def save_as_v73(path, arrays):
    """As MATLAB does it: HDF5 after a header of 512 bytes, the axes in reverse."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def test_a_file_of_matlab_7_3_is_read(config, files, train_file):
    before = ecg.load(config)
    for path, arrays in zip((train_file, train_file.with_name("QTDB_test.mat")), files, strict=True):
        save_as_v73(path, arrays)
    after = ecg.load(config)
    for split, expected in zip(after[:3], before[:3], strict=True):
        for array, of_before in zip(split, expected, strict=True):
            np.testing.assert_array_equal(array, of_before)


@pytest.mark.parametrize("content", [{}, {"x": np.zeros((20, 30, 4))}])
def test_a_file_of_matlab_7_3_without_the_arrays_is_refused(config, files, train_file, content):
    save_as_v73(train_file, content)
    with pytest.raises(DataError, match=r"QTDB_train.mat is damaged or not the ECG file \(KeyError"):
        ecg.load(config)


@pytest.mark.parametrize("size", [0, 50, 400])
def test_a_truncated_file_is_refused(config, files, train_file, size):
    train_file.write_bytes(train_file.read_bytes()[:size])
    with pytest.raises(DataError, match=r"QTDB_train.mat is damaged or not the ECG file"):
        ecg.load(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((20, 30, 3))}, r"3 channels and 6 classes; .*docs/own-data.md$"),
        ({"x": np.zeros((20, 30, 24)), "y": np.zeros((20, 30, 5))}, r"24 channels and 5 classes; .*docs/own-data.md$"),
        ({"y": np.zeros((20, 30, 5))}, r"4 channels and 5 classes; .*docs/own-data.md$"),
        ({"x": np.zeros((20, 120))}, r"x is \(20, 120\)"),
        ({"y": np.zeros((20, 29, 6))}, r"y is \(20, 29, 6\)"),
        ({"x": np.full((20, 30, 4), 2)}, "values other than -1, 0 and 1. .*docs/own-data.md$"),
        ({"x": np.full((20, 30, 4), np.nan)}, "values other than -1, 0 and 1"),
        ({"y": np.ones((20, 30, 6))}, "more than one class"),
        ({"y": np.full((20, 30, 6), 0.5)}, "more than one class"),
    ],
)
def test_a_foreign_file_is_refused(config, files, train_file, changes, message):
    write(train_file, **changes)
    with pytest.raises(DataError, match=message):
        ecg.load(config)


def test_a_file_without_the_arrays_is_refused(config, files, train_file):
    scipy.io.savemat(train_file, {"z": np.zeros(3)})
    with pytest.raises(DataError, match="KeyError: 'x'"):
        ecg.load(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [("validation", "test"), ("validation_fraction", 0.001), ("validation_fraction", 1.0), ("num_classes", 5)],
)
def test_bad_settings_are_refused(config, files, field, value):
    config.data[field] = value
    with pytest.raises(DataError, match=rf"config.data.{field} = {value!r}"):
        ecg.load(config)


@pytest.mark.skipif(not REAL_DATA, reason="SEADLIF_DATA names no folder with the QT database")
def test_the_real_files_are_read():
    config = get_config()
    config.data.dir = str(Path(REAL_DATA))
    dataset = ecg.load(config)
    check_dataset(dataset, config)
    assert [split.inputs.shape for split in dataset[:3]] == [(587, 1301, 4), (31, 1301, 4), (141, 1301, 4)]
