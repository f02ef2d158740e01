"""The step functions against the equations, written out once more in plain numpy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.neurons import (
    LIF,
    LSTM,
    NEURONS,
    AdLIFCoefficients,
    EFAdLIF,
    LeakyIntegrator,
    LIFCoefficients,
    LSTMState,
    Neuron,
    RadLIF,
    SEAdLIF,
    SiLIF,
    Surrogate,
    SynapticLIF,
    decay,
    find_neuron,
)
from seadlif_jax.nn import LeakyReadout, RecurrentLayer
from seadlif_jax.utils.errors import SeadlifError

RNG = np.random.default_rng(0)
ALPHA, BETA = RNG.uniform(0.8, 0.96, 5), RNG.uniform(0.98, 0.996, 5)
A, B, Q = RNG.uniform(0, 1, 5), RNG.uniform(0, 2, 5), 120.0
CURRENTS = RNG.normal(1.0, 3.0, (60, 2, 5))


def run(neuron, coefficients):
    state = neuron.initial_state((2, 5))
    states = []
    for current in CURRENTS:
        state = neuron.step(coefficients, state, jnp.asarray(current))
        states.append(state)
    return jax.tree.map(lambda *steps: jnp.stack(steps), *states)


def adlif(neuron):
    """The equations as a loop; the adaptation follows the new values for SE, those of the step before for EF."""
    u, w, z = np.zeros((3, 2, 5))
    history = []
    for current in CURRENTS:
        u_hat = ALPHA * u + (1 - ALPHA) * (current - w)
        z_new = (u_hat > 1).astype(float)
        u_new = u_hat * (1 - z_new)
        follows = (u_new, z_new) if neuron is SEAdLIF else (u, z)
        w = BETA * w + (1 - BETA) * Q * (A * follows[0] + B * follows[1])
        u, z = u_new, z_new
        history.append((u, w, z))
    return [np.stack(field) for field in zip(*history, strict=True)]


def coefficients(a=A, b=B):
    return AdLIFCoefficients(*map(jnp.asarray, (ALPHA, BETA, (1 - BETA) * Q * a, (1 - BETA) * Q * b)))


@pytest.mark.parametrize("neuron", [EFAdLIF, SEAdLIF])
def test_adlif_follows_its_equations(neuron, x64):
    states = run(neuron(), coefficients())
    u, w, z = adlif(neuron)
    assert z.sum() > 10  # it does spike
    np.testing.assert_allclose(states.u, u, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(states.z, z)
    np.testing.assert_allclose(states.w, w, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("neuron", [EFAdLIF, SEAdLIF])
def test_the_coefficients_of_adlif_are_those_of_its_equations(neuron, x64):
    neuron = neuron(tau_u=(5.0, 25.0), tau_w=(60.0, 300.0), q=Q)
    params = {"k_u": jnp.array([0.0, 0.5, 1.0]), "k_w": jnp.array([0.0, 0.5, 1.0])}
    params |= {"a": jnp.array([0.2, 0.3, 0.4]), "b": jnp.array([1.0, 2.0, 0.0])}
    alpha, beta, a, b, *_ = neuron.coefficients(params)
    np.testing.assert_allclose(-1 / np.log(alpha), [5, 15, 25], rtol=1e-10)
    np.testing.assert_allclose(-1 / np.log(beta), [60, 180, 300], rtol=1e-10)
    np.testing.assert_allclose(a, (1 - beta) * Q * params["a"], rtol=1e-12)
    np.testing.assert_allclose(b, (1 - beta) * Q * params["b"], rtol=1e-12)


def test_ef_and_se_differ():
    assert not np.allclose(run(EFAdLIF(), coefficients()).u, run(SEAdLIF(), coefficients()).u)


def test_lif_integrates_fires_and_resets(x64):
    states = run(LIF(), LIFCoefficients(jnp.asarray(ALPHA)))
    u, z = states.u, states.z
    expected = np.zeros((2, 5))
    for step, current in enumerate(CURRENTS):
        expected = ALPHA * expected + (1 - ALPHA) * current
        spikes = expected > 1
        expected[spikes] = 0
        np.testing.assert_allclose(u[step], expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(z[step], spikes)
    assert z.sum() > 10


def test_adlif_without_adaptation_is_lif(x64):
    adaptive = run(SEAdLIF(), coefficients(a=0 * A, b=0 * B))
    plain = run(LIF(), LIFCoefficients(jnp.asarray(ALPHA)))
    np.testing.assert_array_equal(adaptive.u, plain.u)
    np.testing.assert_array_equal(adaptive.z, plain.z)


def test_a_constant_input_drives_the_leaky_integrator_to_its_value(x64):
    neuron, alpha = LeakyIntegrator(), decay(jnp.array([3.0, 15.0]))
    state = neuron.initial_state((1, 2))
    for _ in range(15):
        state = neuron.step(alpha, state, jnp.ones((1, 2)))
    # After 15 steps: five time constants of the first, one of the second.
    np.testing.assert_allclose(state.y[0], [1 - np.exp(-5), 1 - np.exp(-1)], rtol=1e-12)


def test_lstm_follows_its_equations(x64):
    gates = RNG.normal(size=(4, 2, 5))
    state = LSTMState(*jnp.asarray(RNG.normal(size=(2, 2, 5))))
    i, f, g, o = gates
    new = LSTM().step({}, state, jnp.concatenate(list(jnp.asarray(gates)), axis=-1))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    c = sigmoid(f) * np.asarray(state.c) + sigmoid(i) * np.tanh(g)
    np.testing.assert_allclose(new.c, c, rtol=1e-12)
    np.testing.assert_allclose(new.output, sigmoid(o) * np.tanh(c), rtol=1e-12)


def test_decay_is_exact():
    np.testing.assert_allclose(decay(jnp.array([1.0, 25.0])), [0.36787944, 0.96078944], rtol=1e-6)


@pytest.mark.parametrize("neuron", NEURONS.values())
def test_a_neuron_is_a_hashable_value(neuron):
    assert neuron() == neuron()
    assert hash(neuron()) == hash(neuron())
    with pytest.raises(AttributeError):
        neuron().threshold = 2.0


def test_the_numbers_of_a_neuron_are_data():
    neuron = SEAdLIF(q=60.0, surrogate=Surrogate("boxcar", slope=3.0))
    doubled = jax.tree.map(lambda number: 2 * number, neuron)
    assert doubled.q == 120.0
    assert doubled.tau_u == (10.0, 50.0)
    assert doubled.surrogate == Surrogate("boxcar", slope=6.0, c=0.8)


def test_neurons_are_found_by_name():
    assert find_neuron("se_adlif").neuron is SEAdLIF
    assert find_neuron("seadlif_jax.neurons:LeakyIntegrator").neuron is LeakyIntegrator


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adlif", "neuron = 'adlif': it must be one of lif, ef_adlif, se_adlif, alif, brf, "),
        ("no_such_module:ALIF", "neuron = 'no_such_module:ALIF': no module no_such_module in"),
        ("seadlif_jax.neurons:AdLIF", "has no AdLIF"),
        ("seadlif_jax.neurons:decay", "it is not a subclass of seadlif_jax.neurons.Neuron"),
    ],
)
def test_a_name_of_no_neuron_is_refused(name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        find_neuron(name)


def test_a_subclass_with_another_step_has_the_gradient_of_that_step():
    class Slow(SEAdLIF):
        def step(self, coefficients, state, current):
            return super().step(coefficients, state, current / 2)

    class Fast(SEAdLIF):
        threshold: float = 0.5

    assert Slow.backward is Neuron.backward
    assert Fast.backward is SEAdLIF.backward


@pytest.mark.parametrize(
    ("neuron", "name"),
    [
        (RadLIF(tau_u=(25.0, 5.0)), "tau_u"),
        (SiLIF(rate_u=(250.0, 10.0)), "rate_u"),
        (LIF(tau_u=(-5.0, -1.0)), "tau_u"),
        (SEAdLIF(tau_w=(0.0, 300.0)), "tau_w"),
        (EFAdLIF(tau_w=(300.0, 60.0)), "tau_w"),
        (SynapticLIF(tau_syn=(-2.0, 10.0)), "tau_syn"),
    ],
)
def test_a_range_of_time_constants_that_is_not_positive_or_not_in_order_is_refused(neuron, name):
    with pytest.raises(SeadlifError, match=rf"{name} = \(.*\), but it must be positive, the lower first"):
        neuron.named_parameters()


def test_the_time_constants_of_a_readout_are_checked_too():
    with pytest.raises(SeadlifError, match=r"LeakyReadout: tau = \(-3.0, 3.0\)"):
        LeakyReadout(2, tau=(-3.0, 3.0)).init(jax.random.key(0), jnp.ones((1, 1, 1)))


@pytest.mark.parametrize("neuron", [LIF(), SEAdLIF(), SynapticLIF(), RadLIF(), SiLIF()])
def test_hyperparameters_in_arrays_are_constants_of_a_compiled_function(neuron):
    constants = jax.tree.map(lambda number: jnp.asarray(number, float), neuron)
    layer = RecurrentLayer(3, constants)
    outputs = jax.jit(lambda x: layer.init_with_output(jax.random.key(0), x)[0])(jnp.ones((1, 2, 4)))
    assert outputs.shape == (1, 2, 3)
