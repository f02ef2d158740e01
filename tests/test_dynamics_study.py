"""Responses and sensitivities of the neurons that networks are made of, and the studies that show them."""

import csv
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.analysis import stability as dynamics
from seadlif_jax.analysis.sensitivity import input_sensitivity, respond
from seadlif_jax.neurons import AdLIFCoefficients, LIFCoefficients, decay, find_neuron
from tests.helpers import is_drawn

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent

# Neurons side by side: the published example, where EF is unstable; of the shortest and longest time constants; slow.
TAU_U, TAU_W, A = jnp.array([25.0, 5, 25, 10]), jnp.array([60.0, 60, 300, 200]), jnp.array([120.0, 100, 60, 5])
NEURONS = ("lif", "ef_adlif", "se_adlif")


def build_case(name, b=0.0, threshold=np.inf, steps=1):
    """The neurons above, and their coefficients; a step may be divided into several."""
    neuron = find_neuron(name).neuron(threshold=threshold)
    tau_u, tau_w, a = (jnp.asarray(np.asarray(values), float) for values in (TAU_U, TAU_W, A))
    alpha, beta = decay(steps * tau_u), decay(steps * tau_w)
    if name == "lif":
        return neuron, LIFCoefficients(alpha)
    return neuron, AdLIFCoefficients(alpha, beta, (1 - beta) * a, (1 - beta) * b * a)


def pulses(num_steps, length=1):
    return jnp.zeros((num_steps, len(A))).at[:length].set(1)


def response(neuron, num_steps):
    return np.asarray(respond(*build_case(neuron), pulses(num_steps)).u)


@pytest.mark.parametrize("neuron", ["ef_adlif", "se_adlif"])
def test_responses_of_the_neurons_decay_and_oscillate_as_in_closed_form(x64, neuron):
    """Every three steps of a linear system of two variables obey `u'' = trace u' - det u`, which is fitted here."""
    expected = dynamics.SPECTRA[neuron](TAU_U, TAU_W, A)
    for number, u in enumerate(response(neuron, 150).T):
        rows = np.stack([u[1:-1], -u[:-2], u[2:]], axis=1)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)  # all steps count alike, whatever is left of the amplitude
        (trace, det), *_ = np.linalg.lstsq(rows[:, :2], rows[:, 2])
        largest = max(np.roots([1, -trace, det]), key=abs)
        assert abs(largest) == pytest.approx(expected.decay[number], rel=1e-8)
        assert abs(np.angle(largest)) / (2 * np.pi) == pytest.approx(expected.frequency[number], rel=1e-8)
    assert (expected.frequency > 0).all()


@pytest.mark.parametrize("neuron", NEURONS)
def test_below_threshold_sensitivity_is_the_impulse_response_reversed_in_time(x64, neuron):
    rng = np.random.default_rng(0)
    current = jnp.asarray(rng.uniform(-0.1, 0.1, (150, len(A))))
    curves = input_sensitivity(*build_case(neuron, b=1.0, threshold=1e3), current)
    np.testing.assert_allclose(curves, response(neuron, 150)[::-1], rtol=0, atol=1e-10)


def test_gradients_of_adlif_oscillate_and_those_of_lif_do_not(x64):
    changes = {neuron: (np.diff(np.sign(response(neuron, 150)), axis=0) != 0).sum(axis=0) for neuron in NEURONS}
    assert (changes["lif"] == 0).all()
    assert (np.diff(response("lif", 150), axis=0) < 0).all()
    cycles = 150 * dynamics.symplectic_euler(TAU_U, TAU_W, A).frequency
    np.testing.assert_allclose(changes["se_adlif"], 2 * cycles, atol=1)


def test_a_spike_cuts_the_sensitivity_of_lif_and_not_of_adlif(x64):
    current = jnp.asarray(8 * np.random.default_rng(9).standard_normal((150, len(A))))
    for neuron in NEURONS:
        arguments = (*build_case(neuron, b=1.0, threshold=1.0), current)
        spikes, gradients = np.asarray(respond(*arguments).z), np.asarray(input_sensitivity(*arguments))
        for z, gradient in zip(spikes.T, gradients.T, strict=True):
            until = np.flatnonzero(z)[-1] + 1  # the last spike and all before
            assert 20 < until < 149
            assert np.abs(gradient[until:]).max() > 0.01
            if neuron == "lif":
                assert not gradient[:until].any()
            else:
                assert np.abs(gradient[:until]).max() > 0.005


def run(study, folder, *arguments):
    command = [sys.executable, "-m", f"studies.{study}", f"--output_dir={folder}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def table(path):
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """The folders of both studies, of the published example."""
    folders = {study: tmp_path_factory.mktemp(study) for study in ("dynamics", "sensitivity")}
    for study, folder in folders.items():
        result = run(study, folder)
        assert result.returncode == 0, result.stderr
        assert is_drawn(folder / "figure.png")
    return folders


def test_the_study_finds_the_published_decay(studies):
    curves = table(studies["dynamics"] / "coupling.csv")
    (here,) = np.flatnonzero(curves["a"] == 120)
    assert curves["continuous_decay"][here] == pytest.approx(0.972, abs=5e-4)
    assert curves["se_adlif_decay"][here] == pytest.approx(0.972, abs=5e-4)
    assert curves["ef_adlif_decay"][here] > 1


def test_se_follows_continuous_time_and_ef_explodes(x64, studies):
    curves = table(studies["dynamics"] / "response.csv")
    error = {neuron: np.abs(curves[neuron] - curves["continuous"]).max() for neuron in ("ef_adlif", "se_adlif")}
    assert error["se_adlif"] < 0.002 < 0.2 < error["ef_adlif"]
    # Continuous time is what steps that become smaller tend to.
    parts = 200
    fine = respond(*build_case("se_adlif", steps=parts), pulses(150 * parts, parts))
    np.testing.assert_allclose(curves["continuous"], fine.u[parts - 1 :: parts, 0], rtol=0, atol=2e-5)


def test_steps_of_all_sizes_leave_the_decay_to_se_until_it_is_unstable(studies):
    curves = table(studies["dynamics"] / "step_size.csv")
    stable = curves["step_ms"] < 7
    np.testing.assert_allclose(curves["se_adlif"][stable], curves["continuous"][stable], rtol=1e-12)
    assert (np.diff(curves["ef_adlif"][stable]) > 0).all()
    assert curves["se_adlif"][-1] > 1


def test_bounds_and_drawn_neurons_are_told(studies):
    bounds = table(studies["dynamics"] / "bounds.csv")
    for name in ("ef_adlif", "se_adlif"):
        at_bound = dynamics.SPECTRA[name](bounds["tau_u"], 60, bounds[f"{name}_tau_w_60"]).decay
        np.testing.assert_allclose(at_bound, 1, rtol=1e-9)
    drawn = table(studies["dynamics"] / "neurons.csv")
    assert len(drawn["a"]) == 1000
    assert (drawn["se_adlif_decay"] < 1).all()
    assert (drawn["ef_adlif_decay"] > 1).any()


def test_the_study_of_gradients_finds_their_pattern(studies):
    folder = studies["sensitivity"]
    below = table(folder / "response.csv")
    for neuron in NEURONS:
        np.testing.assert_allclose(below[f"{neuron}_sensitivity"], below[f"{neuron}_u"][::-1], rtol=0, atol=1e-10)
    by_frequency = table(folder / "frequency.csv")
    own = dynamics.symplectic_euler(25, 60, 120).frequency
    assert by_frequency["frequency"][by_frequency["se_adlif"].argmax()] == pytest.approx(own, rel=0.05)
    assert by_frequency["lif"].argmax() == 0
    by_delay = table(folder / "wavelet.csv")
    assert np.ptp(by_delay["se_adlif"]) > 10 * np.ptp(by_delay["lif"])
    with_spikes = table(folder / "spikes.csv")
    last = np.flatnonzero(with_spikes["lif_z"])[-1]
    assert not with_spikes["lif_sensitivity"][: last + 1].any()
    assert with_spikes["se_adlif_z"].any()


@pytest.mark.parametrize(
    ("study", "a", "error"), [("dynamics", 7000, "stable only below 6001"), ("sensitivity", 6000, "no cycle of")]
)
def test_neurons_with_nothing_to_compare_are_refused(tmp_path, study, a, error):
    result = run(study, tmp_path, f"--a={a}")
    assert result.returncode != 0
    assert error in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
