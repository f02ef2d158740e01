"""Using a trained network: predictions, streaming, files of recordings, export."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import seadlif_jax
from seadlif_jax.config import ConfigError
from seadlif_jax.inference import load_run, open_run, trained_model
from seadlif_jax.runs.errors import RunError
from seadlif_jax.training import fit
from seadlif_jax.utils.errors import InputError
from tests.recordings_file import write


@pytest.fixture(scope="module")
def trained(finished_run):
    return seadlif_jax.load_run(finished_run)


@pytest.fixture(scope="module")
def test_split(trained):
    return trained.dataset().test


def test_predictions_are_those_that_the_run_was_tested_with(finished_run, trained, test_split):
    labels = trained.predict(test_split.inputs, test_split.block_index == 1)
    expected = json.loads((finished_run / "result.json").read_text())["test"]["accuracy"]
    assert (labels == test_split.targets[:, 1]).mean() == pytest.approx(expected)
    probabilities = trained.probabilities(test_split.inputs, test_split.block_index == 1)
    assert probabilities.shape == (20, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == labels).all()


def test_batches_make_no_difference(trained, test_split):
    """20 samples are more than a batch of 16."""
    whole = trained.network.apply(trained.variables, jnp.asarray(test_split.inputs))
    np.testing.assert_allclose(trained.outputs(test_split.inputs), whole, rtol=1e-4, atol=1e-6)


def test_streaming_gives_the_same_outputs_for_any_length(trained, test_split):
    inputs = test_split.inputs[:2, :23]
    outputs = trained.outputs(inputs)
    state = trained.initial_state(2)
    for step in range(23):
        state, y = trained.step(state, inputs[:, step])
        np.testing.assert_allclose(y, outputs[:, step], rtol=1e-4, atol=1e-6)


def test_a_model_can_be_pickled_after_it_has_streamed(trained, test_split):
    x = test_split.inputs[:1, 0]
    trained.step(trained.initial_state(), x)
    copied = pickle.loads(pickle.dumps(trained))
    np.testing.assert_array_equal(
        copied.step(copied.initial_state(), x)[1], trained.step(trained.initial_state(), x)[1]
    )


def test_streaming_by_several_steps_gives_the_same_outputs(trained, test_split):
    inputs = test_split.inputs[:2, :23]
    state, first = trained.steps(trained.initial_state(2), inputs[:, :16])
    _, second = trained.steps(state, inputs[:, 16:])
    outputs = np.concatenate([first, second], axis=1)
    np.testing.assert_allclose(outputs, trained.outputs(inputs), rtol=1e-4, atol=1e-6)


def test_steps_have_labels(trained, test_split):
    np.testing.assert_array_equal(
        trained.predict_steps(test_split.inputs[:3]), trained.outputs(test_split.inputs[:3]).argmax(axis=-1)
    )


def test_states_can_be_inspected(trained, test_split):
    outputs, states = trained.trace(test_split.inputs[:2])
    np.testing.assert_allclose(outputs, trained.outputs(test_split.inputs[:2]), rtol=1e-4, atol=1e-6)
    assert [state.z.shape for state in states] == [(2, 200, 32), (2, 200, 16)]
    assert set(np.unique(states[0].z)) <= {0, 1}


@pytest.mark.parametrize(
    ("inputs", "step_mask", "message"),
    [
        (np.zeros((2, 10, 9)), None, r"inputs have shape \(2, 10, 9\); they must be \[sample, time, 10 channels\]"),
        (np.zeros((0, 10, 10)), None, "there is no sample"),
        (np.full((1, 10, 10), 1e300), None, "beyond the largest float32"),
        (np.zeros((2, 10, 10)), np.array([[True] * 10, [False] * 10]), "step_mask is False in all steps of sample 1"),
        (np.full((2, 10, 10), [[[0.0]], [[np.nan]]]), None, "NaN or infinite, first in sample 1"),
        (np.zeros((2, 10, 10)), np.ones(10), r"step_mask has shape \(10,\); for these inputs it must be \(2, 10\)"),
    ],
)
def test_what_the_network_cannot_take_is_refused(trained, inputs, step_mask, message):
    with pytest.raises(ValueError, match=message):
        trained.predict(inputs, step_mask)


def test_every_step_that_is_not_zero_in_the_mask_counts(trained, test_split):
    mask = test_split.block_index == 1
    expected = trained.probabilities(test_split.inputs, mask)
    np.testing.assert_array_equal(trained.probabilities(test_split.inputs, 0.5 * mask), expected)


def test_a_step_of_another_shape_is_refused(trained):
    with pytest.raises(ValueError, match=r"x has shape \(1, 9\); it must be \[batch, 10 channels\]"):
        trained.step(trained.initial_state(), np.zeros((1, 9)))


def test_only_folders_can_have_moved_and_may_be_paths(trained, tmp_path):
    assert trained.with_data(dir=tmp_path, cache_dir="cache").config.data.dir == str(tmp_path)
    with pytest.raises(InputError, match="directory: it must be one of dir, cache_dir, loader_dir"):
        trained.dataset(directory="data")


def test_the_data_may_have_moved_but_must_be_the_run_s(finished_run, monkeypatch):
    folders = []
    load = trained_model.load_dataset

    def load_dataset(config):
        folders.append(config.data.dir)
        dataset = load(config)
        return dataset if len(folders) < 3 else dataset._replace(test=dataset.train)

    monkeypatch.setattr(trained_model, "load_dataset", load_dataset)
    open_run(finished_run, {})
    open_run(finished_run, {"dir": "elsewhere"})
    with pytest.raises(RunError, match="holds a run on other data: the test split has changed"):
        open_run(finished_run, {"dir": "changed"})
    assert folders == ["", "elsewhere", "changed"]


def test_folders_without_a_run_are_refused(tmp_path, own_run):
    with pytest.raises(RunError, match=r"holds no run: there is no config\.json"):
        open_run(tmp_path, {})
    shutil.rmtree(own_run / "checkpoints")
    with pytest.raises(RunError, match="has no checkpoint yet"):
        open_run(own_run, {})


def test_of_a_sweep_one_must_be_chosen(tmp_path, tiny_config):
    tiny_config.num_epochs = 1
    tiny_config.sweep.learning_rate = (0.01, 1e6)
    fit(tiny_config, tmp_path)
    with pytest.raises(RunError, match=r"holds a sweep; choose one of its members 0\.\.1, by --member=1 or member=1"):
        seadlif_jax.load_run(tmp_path)
    with pytest.raises(RunError, match=r"holds a sweep; choose one of its members, such as .*members/0"):
        open_run(tmp_path, {})
    assert seadlif_jax.load_run(tmp_path, 0).config.optimizer.learning_rate == 0.01
    with pytest.raises(RunError, match=r"member 1 of .* has no finished epoch; let it run on, unless it has diverged"):
        seadlif_jax.load_run(tmp_path, 1)


def test_a_loader_that_reads_no_files_says_so(trained):
    with pytest.raises(ConfigError, match=r"'data.bsd:load': its module has no function read"):
        trained.read("recordings.h5")


def test_recordings_in_a_file_are_read_as_in_training(tmp_path):
    from configs.shd import get_config

    for split in ("train", "test"):
        write(tmp_path / "SHD" / f"shd_{split}.h5", recordings=40, classes=20)
    config = get_config("small")
    config.num_epochs, config.batch_size, config.model.hidden = 1, 16, (8,)
    config.data.dir, config.data.cache_dir = str(tmp_path), str(tmp_path / "cache")
    fit(config, tmp_path / "run")
    trained = seadlif_jax.load_run(tmp_path / "run")
    recordings, expected = trained.read(tmp_path / "SHD" / "shd_test.h5"), trained.dataset().test
    for one, other in zip(recordings, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert trained.predict(recordings.inputs, recordings.block_index == 1).shape == (40,)


def test_an_exported_network_runs_without_the_library(tmp_path, trained, test_split):
    """In a process that has no module of ours; for other numbers of samples and steps than it was trained on."""
    path = trained.export(tmp_path / "network.bin")
    inputs = test_split.inputs[:5, :150].astype(np.float32)
    np.save(tmp_path / "inputs.npy", inputs)
    code = """
import sys
import jax.export, numpy as np
exported = jax.export.deserialize(open("network.bin", "rb").read())
np.save("outputs.npy", exported.call(np.load("inputs.npy")))
others = [name for name in sys.modules if name.partition(".")[0] in ("seadlif_jax", "flax", "optax", "orbax")]
assert not others, others
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), trained.outputs(inputs), rtol=1e-4, atol=1e-6)
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert {"cpu", "cuda", "tpu"} <= set(exported.platforms)


def test_a_forecast_predicts_its_inputs_and_no_classes(tmp_path):
    from configs.oscillation import get_config

    config = get_config("lif")
    config.num_epochs, config.batch_size, config.model.hidden = 1, 16, (8,)
    config.data.num_samples, config.data.num_steps, config.data.damping = 64, 40, (0.0, 5.0)
    result = fit(config, tmp_path)
    trained = seadlif_jax.load_run(tmp_path)
    test = trained.dataset().test
    outputs = trained.outputs(test.inputs)
    second_half = ((outputs - test.targets[:, 1:]) ** 2).mean(axis=2)[:, 20:]
    assert second_half.mean() == pytest.approx(result["test"]["mse"], rel=1e-5)
    with pytest.raises(ValueError, match="not trained for classification"):
        trained.predict(test.inputs)
    with pytest.raises(ValueError, match="forecasts"):
        trained.export(tmp_path / "network.bin")


def test_a_fork_of_a_process_that_has_used_jax_is_refused(finished_run, monkeypatch):
    trained = load_run(finished_run)
    inputs = np.zeros((1, 5, 10), np.uint8)
    trained.predict(inputs)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    state, x = trained.initial_state(), inputs[:, 0]
    for use in (lambda: trained.predict(inputs), lambda: trained.step(state, x), lambda: load_run(finished_run)):
        with pytest.raises(RuntimeError, match="a fork of one that has used JAX, and would hang; start workers by"):
            use()


@pytest.mark.usefixtures("as_for_users")
def test_a_state_of_another_number_of_streams_is_refused(trained, test_split):
    for use, x in ((trained.step, test_split.inputs[:5, 0]), (trained.steps, test_split.inputs[:5])):
        with pytest.raises(ValueError, match="the state has 1 streams, and the inputs have 5"):
            use(trained.initial_state(), x)
        with pytest.raises(ValueError, match=r"the state is a ndarray; it must be that of initial_state\(batch\)"):
            use(x, trained.initial_state(5))


def test_a_step_is_exported_for_any_number_of_streams(trained):
    (streams,) = export.symbolic_shape("streams")
    state = jax.eval_shape(lambda: trained.initial_state(2))
    state, x = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((streams, leaf.shape[1]), jnp.float32), (state, jnp.zeros((2, 10)))
    )
    exported = export.export(jax.jit(trained.step))(state, x)
    expected = trained.step(trained.initial_state(3), jnp.ones((3, 10)))[1]
    np.testing.assert_allclose(exported.call(trained.initial_state(3), jnp.ones((3, 10)))[1], expected, rtol=1e-6)
