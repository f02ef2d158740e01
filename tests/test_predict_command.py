import csv
import dataclasses
import re

import numpy as np
import pytest
from ml_collections import ConfigDict

from seadlif_jax.cli import predict_command
from seadlif_jax.inference import load_run
from seadlif_jax.inference.batching import unlabelled
from tests.helpers import seadlif


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def inputs():
    return np.random.default_rng(0).poisson(0.3, (5, 40, 10)).astype(np.uint8)


def test_recordings_of_all_files_are_classified(finished_run, inputs, tmp_path):
    np.save(tmp_path / "a b.npy", inputs)
    np.savez(tmp_path / "two.npz", inputs=inputs[:2], other=np.zeros(3))
    files = (tmp_path / "a b.npy", tmp_path / "two.npz")
    found = seadlif("predict", "--workdir", finished_run, *files, "--output", tmp_path / "out.csv")
    assert not found.returncode, found.stderr
    rows = rows_of(tmp_path / "out.csv")
    assert [(row["file"], int(row["recording"])) for row in rows] == [
        (str(file), number) for file, count in zip(files, (5, 2), strict=True) for number in range(count)
    ]
    expected = load_run(finished_run).probabilities(inputs)
    for row, probabilities in zip(rows[:5], expected, strict=True):
        found = [float(row[f"probability_{number}"]) for number in range(len(probabilities))]
        np.testing.assert_allclose(found, probabilities, rtol=1e-4, atol=1e-6)
        assert int(row["class"]) == probabilities.argmax()


@pytest.mark.parametrize("how", ["option", "array"])
def test_only_the_steps_that_count_are_used(how, finished_run, inputs, tmp_path):
    mask = np.zeros((5, 40), np.uint8)
    mask[:, 30:] = 1
    arrays = {"inputs": inputs} | ({"block_index": mask} if how == "array" else {})
    np.savez(tmp_path / "in.npz", **arrays)
    options = ("--steps=30:",) if how == "option" else ()
    found = seadlif(
        "predict", "--workdir", finished_run, tmp_path / "in.npz", *options, "--output", tmp_path / "out.csv"
    )
    assert not found.returncode, found.stderr
    expected = load_run(finished_run).probabilities(inputs, mask == 1)
    probabilities = [float(row["probability_0"]) for row in rows_of(tmp_path / "out.csv")]
    np.testing.assert_allclose(probabilities, expected[:, 0], rtol=1e-4)


def test_a_recording_of_which_no_step_counts_has_no_class_and_the_others_keep_their_numbers(
    finished_run, inputs, tmp_path
):
    mask = np.ones((5, 40), np.uint8)
    mask[1] = 0
    np.savez(tmp_path / "in.npz", inputs=inputs, block_index=mask)
    command = ("predict", "--workdir", finished_run, tmp_path / "in.npz", "--output", tmp_path / "out.csv")
    found = seadlif(*command)
    assert not found.returncode, found.stderr
    assert "in.npz: recording 1 has no step that counts, and so no class\n4 recordings: " in found.stdout
    rows = rows_of(tmp_path / "out.csv")
    assert [int(row["recording"]) for row in rows] == [0, 2, 3, 4]
    expected = load_run(finished_run).probabilities(inputs)[[0, 2, 3, 4], 0]
    np.testing.assert_allclose([float(row["probability_0"]) for row in rows], expected, rtol=1e-4)
    np.savez(tmp_path / "in.npz", inputs=inputs, block_index=0 * mask)
    assert "in.npz: no step of its recordings counts; choose some with --steps" in seadlif(*command).stderr


def test_a_pretrained_network_classifies(inputs, tmp_path):
    np.save(tmp_path / "in.npy", inputs)
    found = seadlif("predict", "--pretrained=bsd", tmp_path / "in.npy", "--output", tmp_path / "out.csv")
    assert not found.returncode, found.stderr
    assert len(rows_of(tmp_path / "out.csv")) == 5


def test_the_table_of_a_pretrained_network_is_in_the_current_folder(inputs, tmp_path):
    np.save(tmp_path / "in.npy", inputs)
    found = seadlif("predict", "--pretrained=bsd", "in.npy", cwd=tmp_path)
    assert not found.returncode, found.stderr
    assert len(rows_of(tmp_path / "predictions.csv")) == 5


def test_every_step_is_classified_if_asked(finished_run, inputs, tmp_path):
    np.savez(tmp_path / "one.npz", inputs)
    found = seadlif(
        "predict", "--workdir", finished_run, tmp_path / "one.npz", "--per_step", "--output", tmp_path / "out.csv"
    )
    assert not found.returncode, found.stderr
    rows = rows_of(tmp_path / "out.csv")
    labels = np.array([int(row["class"]) for row in rows]).reshape(5, 40)
    assert np.mean(labels == load_run(finished_run).predict_steps(inputs)) > 0.99
    assert (rows[41]["recording"], rows[41]["step"]) == ("1", "1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.npy", None, "there is no file .*absent.npy"),
        ("damaged.npz", b"PK", "damaged.npz is no file of NumPy arrays, or damaged"),
        ("flat.npy", np.zeros((3, 10)), r"flat.npy has an array of shape \(3, 10\); it must be \[recording, time, 10"),
        ("nan.npy", np.full((1, 2, 10), np.nan), "nan.npy: its values are NaN or infinite"),
        ("text.txt", b"1 2 3", "text.txt can only be read by the run's loader: .*; or give .npy or .npz"),
        ("two.npz", {"x": np.zeros(1), "y": np.zeros(1)}, "has the arrays x, y; name the one to classify `inputs`"),
    ],
)
def test_a_file_that_cannot_be_classified_is_named_and_nothing_is_written(
    finished_run, tmp_path, name, content, message
):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        np.save(path, content)
    found = seadlif("predict", "--workdir", finished_run, path, "--output", tmp_path / "out.csv")
    assert found.returncode == 1
    assert re.search(message, found.stderr), found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


def test_an_archive_of_other_arrays_is_read_by_the_loader_if_it_reads_files(finished_run, inputs, tmp_path):
    config = ConfigDict(load_run(finished_run).config.to_dict())
    config.data.loader = "tests.test_predict_command:load"
    trained = dataclasses.replace(load_run(finished_run), config=config.lock())
    np.savez(tmp_path / "own.npz", counts=inputs, patient=np.arange(5))
    np.testing.assert_array_equal(predict_command._read(str(tmp_path / "own.npz"), trained, {}).inputs, inputs)
    np.savez(tmp_path / "ours.npz", inputs=inputs[:2], other=np.zeros(3))
    config.unlock().data.loader = "gone:load"  # which these arrays do not need
    assert len(predict_command._read(str(tmp_path / "ours.npz"), trained, {}).inputs) == 2


def load(config):
    """The loader of the test above, which only reads."""


def read(path, config):
    return unlabelled(np.load(path)["counts"])
