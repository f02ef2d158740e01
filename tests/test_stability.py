import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import neurons
from seadlif_jax.analysis import stability
from seadlif_jax.training.divergence import instability_warning

NEURONS = ("ef_adlif", "se_adlif")


@pytest.fixture(scope="module")
def drawn():
    """10,000 sets of time constants and `a`, of all sizes in use and beyond."""
    rng = np.random.default_rng(0)
    return np.exp(rng.uniform(np.log((2, 2, 0.01)), np.log((400, 400, 3000)), (10_000, 3))).T


def matrices(neuron, tau_u, tau_w, a):
    """From the step functions that networks are made of: what a step makes of (1, 0) and (0, 1)."""

    def step(start, tau_u, tau_w, a):
        one = jnp.ones(1)
        adlif = neurons.NEURONS[neuron](tau_u=(tau_u, tau_u), tau_w=(tau_w, tau_w), q=1.0, threshold=1e9)
        coefficients = adlif.coefficients({"k_u": 0 * one, "k_w": 0 * one, "a": a * one, "b": 0 * one})
        state = neurons.AdLIFState(start[:1], start[1:], jnp.zeros(1))
        state = adlif.step(coefficients, state, jnp.zeros(1))
        return jnp.concatenate([state.u, state.w])

    of_both = jax.vmap(jax.vmap(step, (0, None, None, None), out_axes=1), (None, 0, 0, 0))
    return np.asarray(jax.jit(of_both)(jnp.eye(2), tau_u, tau_w, a))


def continuous_matrices(tau_u, tau_w, a):
    return np.stack([np.stack([-1 / tau_u, -1 / tau_u], -1), np.stack([a / tau_w, -1 / tau_w], -1)], -2)


def assert_spectrum(found, eigenvalues):
    largest = np.take_along_axis(eigenvalues, np.abs(eigenvalues).argmax(-1)[:, None], -1)[:, 0]
    np.testing.assert_allclose(found.decay, np.abs(largest), rtol=1e-9)
    np.testing.assert_allclose(found.frequency, np.abs(np.angle(largest)) / (2 * np.pi), atol=1e-9)


@pytest.mark.parametrize("neuron", NEURONS)
def test_closed_forms_are_the_eigenvalues_of_the_neurons_steps(x64, drawn, neuron):
    assert_spectrum(stability.SPECTRA[neuron](*drawn), np.linalg.eigvals(matrices(neuron, *drawn)))


def test_the_closed_form_of_continuous_time_is_its_eigenvalues(drawn):
    tau_u, tau_w, a = drawn
    eigenvalues = np.linalg.eigvals(continuous_matrices(tau_u, tau_w, a))
    found = stability.continuous(*drawn)
    np.testing.assert_allclose(found.decay, np.exp(eigenvalues.real.max(-1)), rtol=1e-9)
    np.testing.assert_allclose(found.frequency, np.abs(eigenvalues.imag).max(-1) / (2 * np.pi), atol=1e-9)


@pytest.mark.parametrize("neuron", NEURONS)
def test_a_neuron_is_stable_up_to_the_bound_and_not_beyond(drawn, neuron):
    tau_u, tau_w, _ = drawn
    bound = stability.max_stable_a(neuron, tau_u, tau_w)
    for part in (0.0, 0.3, 0.999):
        assert (stability.SPECTRA[neuron](tau_u, tau_w, part * bound).decay < 1).all()
    assert (stability.SPECTRA[neuron](tau_u, tau_w, 1.001 * bound).decay > 1).all()


def test_se_decays_like_continuous_time_at_the_published_example():
    """Fig. 3 of the paper: 0.972 a step at tau_u = 25, tau_w = 60, a = 120."""
    example = (25, 60, 120)
    assert stability.continuous(*example).decay == pytest.approx(0.972, abs=5e-4)
    assert stability.symplectic_euler(*example).decay == pytest.approx(stability.continuous(*example).decay, rel=1e-12)
    assert stability.euler_forward(*example).decay > 1


def test_the_decay_of_se_does_not_depend_on_a_while_it_oscillates():
    decay, frequency = stability.symplectic_euler(25, 60, np.linspace(1, 5000, 1000))
    oscillating = (frequency > 0) & (frequency < 0.5)
    assert oscillating.sum() > 900
    np.testing.assert_allclose(decay[oscillating], np.exp(-(1 / 25 + 1 / 60) / 2), rtol=1e-12)


@pytest.mark.parametrize(
    ("neuron", "q", "unstable"), [("ef_adlif", 60, False), ("ef_adlif", 70, True), ("se_adlif", 120, False)]
)
def test_ranges_that_allow_unstable_neurons_are_reported(tiny_config, neuron, q, unstable):
    """The bound of EF is 65 at tau_u = 5, tau_w = 60; the paper's q for EF is 60."""
    tiny_config.model.neuron, tiny_config.model.q = neuron, float(q)
    warning = instability_warning(tiny_config.model)
    assert (warning is not None) == unstable
    assert not unstable or warning.endswith("ef_adlif is stable only below q a = 65.02, and q a may become 70")


def test_a_neuron_without_a_bound_is_refused_by_name():
    with pytest.raises(ValueError, match="there is no bound for 'lif'; choose one of ef_adlif, se_adlif"):
        stability.max_stable_a("lif", 5, 60)
