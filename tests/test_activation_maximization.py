import csv
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import bsd
from seadlif_jax.analysis.activation_maximization import draw_noise, find_peaks, maximize_activation, smooth
from seadlif_jax.neurons import LIF
from seadlif_jax.nn import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.training import fit
from tests.helpers import ROOT, is_drawn

pytestmark = pytest.mark.slow
COUNTED = np.arange(60) >= 50
NETWORK = Network(
    layers=(RecurrentLayer(3, LIF(), recurrent=False),),
    readout=LeakyReadout(3, tau=(3.0, 3.0)),
)


@pytest.fixture(scope="module")
def variables():
    """Every class has a channel of its own, through a neuron of its own with the shortest memory; channel 3 is idle."""
    variables = NETWORK.init(jax.random.key(0), jnp.zeros((1, 60, 4)))
    layer, readout = (variables["params"][name] for name in ("layers_0", "readout"))
    params = {
        "layers_0": {**layer, "kernel": 4 * jnp.eye(4, 3), "k_u": jnp.zeros(3)},
        "readout": {**readout, "kernel": 6 * jnp.eye(3)},
    }
    return {**variables, "params": params}


@functools.cache
def compiled():
    return jax.jit(functools.partial(maximize_activation, NETWORK, step_mask=COUNTED, iterations=150))


def start(key=1):
    return draw_noise(jax.random.key(key), (3, 60, 4))


def test_a_class_is_shown_by_the_channel_that_it_answers_to_when_it_answers(variables):
    features = compiled()(variables, start())
    inputs = np.asarray(features.inputs)
    assert ((inputs >= 0) & (inputs <= 1)).all()
    counted = inputs[:, 50:58].mean(axis=1)
    np.testing.assert_array_equal(counted.argmax(axis=1), [0, 1, 2])
    own = np.eye(3, 4, dtype=bool)
    assert counted[own].min() > 0.3
    assert counted[~own].max() < 0.05
    # What has no effect fades: here all that is long before the answer.
    assert inputs[:, :20].max() < 0.05


def test_the_network_answers_to_the_inputs_found(variables):
    features = compiled()(variables, start())
    outputs = jax.nn.log_softmax(NETWORK.apply(variables, features.inputs)[:, COUNTED]).mean(axis=1)
    assert features.log_probability.shape == (151, 3)
    np.testing.assert_allclose(features.log_probability[-1], np.diagonal(outputs), rtol=1e-5)
    of_start = jax.nn.log_softmax(NETWORK.apply(variables, start())[:, COUNTED]).mean(axis=1)
    np.testing.assert_allclose(features.log_probability[0], np.diagonal(of_start), rtol=1e-5)
    assert (features.log_probability[-1] > features.log_probability[0] + 0.3).all()


def test_classes_do_not_disturb_each_other(variables):
    first, second = start(1), start(2)
    mixed = jnp.stack([first[0], second[1], second[2]])
    before, after = (compiled()(variables, each).inputs for each in (first, mixed))
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[1] != after[1]).any()


def test_noise_is_what_few_spikes_look_like():
    values = np.asarray(draw_noise(jax.random.key(0), (3, 60, 4)))
    assert 0 <= values.min() < 0.01
    assert 0.09 < values.max() <= 0.1
    assert (values != np.asarray(draw_noise(jax.random.key(1), (3, 60, 4)))).any()


def test_smoothing_spreads_a_pulse_as_a_gaussian_and_keeps_constants():
    pulse = smooth(jnp.zeros((2, 41, 3)).at[1, 20, 2].set(1.0), 3.0)
    expected = np.exp(-((np.arange(41) - 20) ** 2) / (2 * 3.0**2)) / (3.0 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(pulse[1, 5:36, 2], expected[5:36], atol=1e-6)
    assert pulse[0].max() == pulse[1, :, :2].max() == 0
    np.testing.assert_allclose(smooth(jnp.full((2, 41, 3), 0.7), 3.0), 0.7, rtol=1e-6)


def test_peaks_are_at_the_centres_of_bursts():
    centres = np.array([0.2, 0.5, 0.8])
    inputs = 0.05 * np.ones((200, 4))
    inputs[:, :3] = bsd.spike_probability(centres)
    found = find_peaks(jnp.asarray(inputs), 3.0)
    np.testing.assert_array_equal(found.step[:3], [40, 100, 160])
    assert found.height[:3].min() > 0.4
    assert found.height[3] < 1e-6


@pytest.mark.usefixtures("as_for_users")
def test_bad_arguments_are_refused(variables):
    with pytest.raises(ValueError, match=r"smoothing = -1.0: a standard deviation, it must be at least 0"):
        maximize_activation(NETWORK, variables, start(), COUNTED, smoothing=-1.0)
    with pytest.raises(ValueError, match="start has 2 inputs; it must have one for each of the 3 classes"):
        maximize_activation(NETWORK, variables, start()[:2], COUNTED)
    for counted in (COUNTED[1:], np.zeros(60, bool), COUNTED.astype(int)):
        with pytest.raises(ValueError, match="step_mask must be bools that choose at least one of the 60 steps"):
            maximize_activation(NETWORK, variables, start(), counted)


def test_class_patterns_are_those_of_the_data():
    channels, centres = bsd.class_patterns(2, seed=7)
    split = bsd.generate(2000, 2, seed=7)
    for label in (0, 1):
        rate = split.inputs[split.targets[:, 1] == label].mean(axis=0)
        assert set(np.flatnonzero(rate.max(axis=0) > 0.6)) == set(channels[label])
        np.testing.assert_allclose(rate[:, channels[label]].argmax(axis=0), 200 * centres[label], atol=3)


def run_study(*arguments):
    command = [sys.executable, "-m", "studies.features", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=300, check=False)


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_study_compares_what_is_found_with_the_bursts(tmp_path, tiny_config):
    fit(tiny_config, tmp_path / "run")
    result = run_study(f"--output_dir={tmp_path / 'study'}", f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 0, result.stderr
    rows = read(tmp_path / "study" / "results.csv")
    assert len(rows) == 3 * 3 * 3  # noises, classes, bursts
    channels, centres = bsd.class_patterns(3, tiny_config.data.seed)
    assert [int(row["channel"]) for row in rows[:9]] == channels.ravel().tolist()
    np.testing.assert_allclose([float(row["true_centre"]) for row in rows[:9]], 20 * centres.ravel(), atol=0.006)
    for row in rows:
        near = abs(float(row["true_centre"]) - float(row["estimated_centre"])) < 1.5
        assert int(row["recovered"]) == near
    summary = {row["estimates"]: row for row in read(tmp_path / "study" / "summary.csv")}
    assert list(summary) == ["noise 0", "noise 1", "noise 2", "bursts of other classes", "random times"]
    counts = np.array([int(row["recovered"]) for row in rows]).reshape(3, 3, 3)
    for number, of_noise in enumerate(counts):
        row = summary[f"noise {number}"]
        assert float(row["bursts_recovered"]) == pytest.approx(of_noise.mean())
        assert float(row["classes_with_two_or_more"]) == pytest.approx((of_noise.sum(axis=1) >= 2).mean())
    assert is_drawn(tmp_path / "study" / "figure.png")


def test_the_study_refuses_an_address(tmp_path):
    result = run_study("--output_dir=gs://bucket/study", f"--workdir={tmp_path}")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: --output_dir gs://bucket/study: it must be a folder or file of this machine"
    )


def test_the_study_refuses_a_folder_without_a_run(tmp_path):
    result = run_study(f"--output_dir={tmp_path / 'study'}", f"--workdir={tmp_path}")
    assert result.returncode == 1
    assert result.stderr.strip() == f"error: {tmp_path} holds no run: there is no config.json"


def test_a_width_of_zero_smooths_nothing():
    np.testing.assert_array_equal(smooth(start(), 0.0), start())
