"""Runs on data that are given to `fit`, and recordings of several lengths as a split."""

import re

import numpy as np
import pytest

from seadlif_jax import evaluate, fit, load_run
from seadlif_jax.config import base_config
from seadlif_jax.data import DataError, Dataset, pad_recordings
from seadlif_jax.runs.errors import RunError

pytestmark = pytest.mark.usefixtures("without_pictures")


def make_dataset(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(64) % 2
    samples = pad_recordings([rng.poisson(0.1 + label, (rng.integers(5, 10), 6)) for label in labels], labels)
    return Dataset(samples.take(slice(32)), samples.take(slice(32, 48)), samples.take(slice(48, 64)), "held out")


def make_config():
    config = base_config().unlock()
    config.data.num_classes, config.model.hidden, config.num_epochs, config.batch_size = 2, (8,), 2, 16
    return config


def test_a_run_on_arrays_is_repeated_only_on_other_arrays_and_elsewhere(tmp_path, capsys):
    dataset = make_dataset(0)
    result = fit(make_config(), tmp_path / "run", dataset)
    assert result["protocol"] == "held out"
    trained = load_run(tmp_path / "run")
    assert evaluate(trained, dataset.test).accuracy == pytest.approx(result["test"]["accuracy"])
    assert repr(trained) == "TrainedModel(se_adlif, hidden=(8,), 6 channels)"

    assert fit(make_config(), tmp_path / "run", dataset) == result
    assert f"already finished on {result['finished']}" in capsys.readouterr().out
    with pytest.raises(RunError, match="holds a run on other data: the train split has changed"):
        fit(make_config(), tmp_path / "run", make_dataset(1))
    with pytest.raises(DataError, match="the data of this run were given to fit, and are not stored"):
        trained.dataset()


@pytest.mark.parametrize("labels", [[4, 2], np.array([4, 2], np.uint8)])
def test_recordings_are_padded_in_block_0(labels):
    split = pad_recordings([np.full((2, 3), 5, np.uint8), np.full((4, 3), 7, np.uint8)], labels)
    assert split.inputs.dtype == np.uint8
    np.testing.assert_array_equal(split.inputs[:, :, 0], [[5, 5, 0, 0], [7, 7, 7, 7]])
    np.testing.assert_array_equal(split.block_index, [[1, 1, 0, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(split.targets, [[-1, 4], [-1, 2]])


@pytest.mark.parametrize(
    ("recordings", "labels", "message"),
    [
        ([], [], "0 recordings and labels of shape (0,): give one label per recording"),
        ([np.ones((2, 3))], [0, 1], "1 recordings and labels of shape (2,)"),
        ([np.ones((2, 3))] * 2, np.array([0.0, 1.0]), "labels are of type float64; they must be whole numbers"),
        ([np.ones((2, 3))] * 2, np.array([False, True]), "labels are of type bool"),
        ([np.ones((2, 3)), np.ones((2, 4))], [0, 1], "recording 1 has shape (2, 4); all must be [time, channel]"),
        (
            [np.ones((2, 3)), np.ones((0, 3))],
            [0, 1],
            "recording 1 has shape (0, 3); all must be [time, channel], wi",
        ),
        ([np.ones(3), np.ones(3)], [0, 1], "recording 0 has shape (3,)"),
    ],
)
def test_recordings_that_make_no_split_are_refused(recordings, labels, message):
    with pytest.raises(DataError, match=re.escape(message)):
        pad_recordings(recordings, labels)
