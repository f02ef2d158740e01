"""The step functions against the equations, written out once more in plain numpy."""

import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import neurons
from seadlif_jax.neurons.surrogate import spike_function

SPIKE = spike_function()
RNG = np.random.default_rng(0)
ALPHA, BETA = RNG.uniform(0.8, 0.96, 5), RNG.uniform(0.98, 0.996, 5)
A, B, Q = RNG.uniform(0, 1, 5), RNG.uniform(0, 2, 5), 120.0
CURRENTS = RNG.normal(1.0, 3.0, (60, 2, 5))


def run(neuron, params):
    state = neurons.zero_state(neurons.NEURONS[neuron].state, (2, 5))
    states = []
    for current in CURRENTS:
        state = neurons.NEURONS[neuron].step(params, state, jnp.asarray(current), SPIKE)
        states.append(state)
    return [np.stack(field) for field in zip(*states, strict=True)]


def adlif(neuron):
    """The loop of DESIGN's equations: `new` picks the values that the adaptation follows."""
    u, w, z = np.zeros((3, 2, 5))
    history = []
    for current in CURRENTS:
        u_hat = ALPHA * u + (1 - ALPHA) * (current - w)
        z_new = (u_hat > 1).astype(float)
        u_new = u_hat * (1 - z_new)
        follows = (u_new, z_new) if neuron == "se_adlif" else (u, z)
        w = BETA * w + (1 - BETA) * Q * (A * follows[0] + B * follows[1])
        u, z = u_new, z_new
        history.append((u, w, z))
    return [np.stack(field) for field in zip(*history, strict=True)]


@pytest.mark.parametrize("neuron", ["ef_adlif", "se_adlif"])
def test_adlif_follows_its_equations(neuron, x64):
    found = run(neuron, neurons.AdLIFParams(*map(jnp.asarray, (ALPHA, BETA, A, B)), q=Q))
    expected = adlif(neuron)
    assert expected[2].sum() > 10  # it does spike
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_ef_and_se_differ():
    params = neurons.AdLIFParams(*map(jnp.asarray, (ALPHA, BETA, A, B)), q=Q)
    assert not np.allclose(run("ef_adlif", params)[1], run("se_adlif", params)[1])


def test_lif_integrates_fires_and_resets(x64):
    u, z = run("lif", neurons.LIFParams(jnp.asarray(ALPHA)))
    expected = np.zeros((2, 5))
    for step, current in enumerate(CURRENTS):
        expected = ALPHA * expected + (1 - ALPHA) * current
        spikes = expected > 1
        expected[spikes] = 0
        np.testing.assert_allclose(u[step], expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(z[step], spikes)
    assert z.sum() > 10


def test_adlif_without_adaptation_is_lif(x64):
    zero = jnp.zeros(5)
    adaptive = run("se_adlif", neurons.AdLIFParams(jnp.asarray(ALPHA), jnp.asarray(BETA), zero, zero, q=Q))
    plain = run("lif", neurons.LIFParams(jnp.asarray(ALPHA)))
    np.testing.assert_array_equal(adaptive[0], plain[0])
    np.testing.assert_array_equal(adaptive[2], plain[1])


def test_a_constant_input_drives_the_leaky_integrator_to_its_value(x64):
    params = neurons.LIParams(neurons.decay(jnp.array([3.0, 15.0])))
    state = neurons.zero_state(neurons.LIState, (1, 2))
    for _ in range(15):
        state = neurons.leaky_integrator(params, state, jnp.ones((1, 2)))
    # After 15 steps: five time constants of the first, one of the second.
    np.testing.assert_allclose(state.y[0], [1 - np.exp(-5), 1 - np.exp(-1)], rtol=1e-12)


def test_lstm_follows_its_equations(x64):
    gates = RNG.normal(size=(4, 2, 5))
    state = neurons.LSTMState(*jnp.asarray(RNG.normal(size=(2, 2, 5))))
    i, f, g, o = gates
    found = neurons.lstm(None, state, jnp.concatenate(list(jnp.asarray(gates)), axis=-1))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    c = sigmoid(f) * np.asarray(state.c) + sigmoid(i) * np.tanh(g)
    np.testing.assert_allclose(found.c, c, rtol=1e-12)
    np.testing.assert_allclose(found.output, sigmoid(o) * np.tanh(c), rtol=1e-12)


def test_decay_is_exact():
    np.testing.assert_allclose(neurons.decay(jnp.array([1.0, 25.0])), [0.36787944, 0.96078944], rtol=1e-6)
