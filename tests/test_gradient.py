"""The gradients of neurons and weights against automatic differentiation of the plain scan."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.neurons import ALIF, BRF, LIF, SURROGATES, EFAdLIF, RadLIF, SEAdLIF, SiLIF, Surrogate, SynapticLIF
from seadlif_jax.nn import Execution, LeakyReadout, Network, RecurrentLayer
from seadlif_jax.nn.layer import Layer, Weights
from seadlif_jax.nn.scan import Outputs, run_chunk, scan_layers, scan_states
from tests import alif

TRAINED = {"train_threshold": True, "train_rest": True}
SPIKING = {
    "LIF": LIF,
    "EFAdLIF": EFAdLIF,
    "SEAdLIF": SEAdLIF,
    "LIF, trained threshold and rest": functools.partial(LIF, **TRAINED),
    "EFAdLIF, trained threshold and rest": functools.partial(EFAdLIF, **TRAINED),
    "SEAdLIF, trained threshold and rest": functools.partial(SEAdLIF, **TRAINED),
    "SEAdLIF, trained threshold": functools.partial(SEAdLIF, train_threshold=True),
    "LIF, trained rest": functools.partial(LIF, train_rest=True),
    "ALIF": functools.partial(ALIF, tau_a=(5.0, 50.0)),
    "BRF": functools.partial(BRF, dt=0.2, omega=(0.5, 3.0), b_offset=(0.1, 1.0)),
    "RadLIF": RadLIF,
    "SiLIF": SiLIF,
    "SynapticLIF": SynapticLIF,
    "a user's": alif.ALIF,
}
each_neuron = pytest.mark.parametrize("neuron", SPIKING.values(), ids=SPIKING)


@st.composite
def problems(draw, neurons=None):
    """A neuron, sizes, and a seed for everything else."""
    return {
        "neuron": draw(st.sampled_from(neurons or [*SPIKING.values()])),
        "recurrent": draw(st.booleans()),
        "surrogate": draw(st.sampled_from(tuple(SURROGATES))),
        "num_steps": draw(st.integers(1, 23)),
        "batch": draw(st.integers(1, 4)),
        "channels": draw(st.integers(1, 5)),
        "width": draw(st.integers(1, 6)),
        "counts": draw(st.booleans()),
        "chunk_mib": draw(st.sampled_from([1e-6, 2e-4, 1.0])),
        "seed": draw(st.integers(0, 2**31 - 1)),
    }


def arrays(neuron, recurrent, num_steps, batch, channels, width, counts, seed, **_):
    """Parameters of a layer that spikes now and then, inputs, and the gradient that reaches the spikes."""
    rng = np.random.default_rng(seed)
    params = {name: rng.uniform(*p.initial, width) for name, p in neuron().named_parameters().items()}
    trained = {
        "params": params,
        "kernel": rng.normal(2, 6, (channels, width)),
        "bias": rng.normal(0, 1, width),
        "recurrent_kernel": rng.normal(0, 3, (width, width)) if recurrent else None,
    }
    if counts:
        inputs = jnp.asarray(rng.poisson(0.4, (num_steps, batch, channels)), jnp.uint8)
    else:
        trained["inputs"] = rng.normal(0.3, 1, (num_steps, batch, channels))
        inputs = None
    return jax.tree.map(jnp.asarray, trained), inputs, jnp.asarray(rng.normal(size=(num_steps, batch, width)))


def build(trained, problem, execution):
    neuron = problem["neuron"](surrogate=Surrogate(problem["surrogate"], slope=3.0, c=0.5))
    for name, value in {"tau_u": (1.5, 30.0), "threshold": problem.get("threshold", 0.7)}.items():
        neuron = neuron.replace(**{name: value}) if hasattr(neuron, name) else neuron
    weights = Weights(trained["kernel"], trained["bias"], trained["recurrent_kernel"])
    return Layer(neuron, neuron.coefficients(trained["params"]), weights, execution)


def loss(trained, inputs, cotangent, problem, execution):
    layer = build(trained, problem, execution)
    spikes, _ = scan_layers((layer,), trained.get("inputs", inputs))
    return jnp.sum(spikes * cotangent), spikes


def gradients(problem, execution):
    return jax.jit(jax.grad(functools.partial(loss, problem=problem, execution=execution), has_aux=True))


def assert_close(gradient, expected, tolerance):
    """Relative to the largest entry of each array."""

    def check(path, new, reference):
        scale = np.abs(reference).max()
        np.testing.assert_allclose(new, reference, rtol=0, atol=tolerance * scale + 1e-300, err_msg=str(path))

    jax.tree_util.tree_map_with_path(check, gradient, expected)


@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@hypothesis.given(problems())
def test_the_gradient_is_that_of_automatic_differentiation(problem):
    with jax.enable_x64(True):
        trained, inputs, cotangent = arrays(**problem)
        gradient, spikes = gradients(problem, Execution(chunk_mib=problem["chunk_mib"]))(trained, inputs, cotangent)
        expected, expected_spikes = gradients(problem, Execution(plain_scan=True))(trained, inputs, cotangent)
        np.testing.assert_array_equal(spikes, expected_spikes)
        assert_close(gradient, expected, 1e-10)


def fixed(neuron, recurrent=True):
    return {
        "neuron": neuron,
        "recurrent": recurrent,
        "surrogate": "exponential",
        "num_steps": 30,
        "batch": 3,
        "channels": 4,
        "width": 5,
        "counts": False,
        "seed": 1,
    }


@each_neuron
@pytest.mark.parametrize("recurrent", [True, False])
def test_the_problems_spike_and_every_parameter_matters(neuron, recurrent, x64):
    problem = fixed(neuron, recurrent)
    gradient, spikes = gradients(problem, Execution())(*arrays(**problem))
    assert 0.02 < spikes.mean() < 0.9
    assert all(jnp.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient))


@each_neuron
def test_the_gradient_may_be_mapped_over(neuron, x64):
    problem = fixed(neuron)
    members = [arrays(**(problem | {"seed": seed})) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    mapped, _ = jax.jit(jax.vmap(gradients(problem, Execution(chunk_mib=2e-4))))(*stacked)
    for index, member in enumerate(members):
        expected, _ = gradients(problem, Execution(plain_scan=True))(*member)
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], mapped), expected, 1e-10)


@pytest.mark.slow
@each_neuron
def test_a_network_has_the_gradient_of_its_plain_scan(neuron, x64):
    inputs = 3.0 * jax.random.bernoulli(jax.random.key(1), 0.5, (4, 31, 5))

    def gradient(execution):
        layers = tuple(RecurrentLayer(width, neuron(), execution=execution) for width in (8, 6))
        network = Network(layers, LeakyReadout(3, tau=(2.0, 9.0), train_tau=True), dropout=0.3)
        params = jax.tree_util.tree_map_with_path(
            lambda path, leaf: 20 * leaf if path[-1].key == "kernel" else leaf,
            jax.jit(network.init)(jax.random.key(0), inputs[:1, :1]),
        )

        def loss(params):
            return jnp.sum(network.apply(params, inputs, jax.random.key(2)) ** 2)

        return jax.jit(jax.grad(loss))(params)

    expected = gradient(Execution(plain_scan=True))
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(expected))
    for chunk_mib in (1e-4, 1.0):
        assert_close(gradient(Execution(chunk_mib=chunk_mib)), expected, 1e-10)


@each_neuron
def test_single_precision_agrees_with_double(neuron):
    problem = fixed(neuron)
    with jax.enable_x64(True):
        double = arrays(**problem)
        expected, expected_spikes = gradients(problem, Execution())(*double)
    single = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float32)), double)
    gradient, spikes = gradients(problem, Execution())(*single)
    np.testing.assert_array_equal(spikes, expected_spikes)
    assert_close(gradient, jax.tree.map(np.asarray, expected), 1e-4)


@pytest.mark.parametrize("unrolled", [2, 7])
def test_unrolled_loops_execution_the_same(unrolled, x64):
    problem = fixed(SEAdLIF)
    gradient, _ = gradients(problem, Execution(unroll=unrolled))(*arrays(**problem))
    expected, _ = gradients(problem, Execution())(*arrays(**problem))
    assert_close(gradient, expected, 1e-12)


def test_only_the_membrane_potential_is_kept(x64):
    problem = fixed(SEAdLIF) | {"num_steps": 512, "batch": 64, "width": 32}
    trained, inputs, cotangent = arrays(**problem)
    sequence = 512 * 64 * 32 * 8

    def temporary(execution):
        compiled = gradients(problem, execution).lower(trained, inputs, cotangent).compile()
        return compiled.memory_analysis().temp_size_in_bytes / sequence

    # The membrane potential and the spikes that are returned; the rest is a few chunks.
    assert temporary(Execution(chunk_mib=0.1)) < 2.5
    assert temporary(Execution(plain_scan=True)) > 5


def test_bfloat16_rounds_weights_but_not_spikes_or_potentials():
    problem = fixed(SEAdLIF)
    trained, inputs, cotangent = arrays(**problem)
    rounded, spikes = gradients(problem, Execution("bfloat16"))(trained, inputs, cotangent)
    assert {leaf.dtype for leaf in jax.tree.leaves((rounded, spikes))} == {jnp.dtype("float32")}
    layer = build(trained, problem, Execution("bfloat16"))
    z = jnp.eye(5)
    product = layer.execution.matmul(z, layer.weights.recurrent_kernel)
    np.testing.assert_array_equal(product, layer.weights.recurrent_kernel.astype(jnp.bfloat16).astype(jnp.float32))
    potentials = scan_states(layer, trained["inputs"]).u
    assert not jnp.array_equal(potentials, potentials.astype(jnp.bfloat16).astype(jnp.float32))


@pytest.mark.parametrize("width", [1, 5, 36])
def test_networks_train_in_bfloat16_and_their_gradient_is_a_rounded_one(width):
    inputs = jnp.asarray(3.0 * jax.random.bernoulli(jax.random.key(1), 0.5, (4, 31, 5)), jnp.uint8)

    def gradient(precision):
        layers = tuple(RecurrentLayer(width, execution=Execution(precision)) for _ in range(2))
        network = Network(layers, LeakyReadout(3))
        params = jax.jit(network.init)(jax.random.key(0), inputs[:1, :1])
        return jax.jit(jax.grad(lambda params: jnp.sum(network.apply(params, inputs) ** 2)))(params)["params"]

    for rounded, full in zip(*(jax.tree.leaves(gradient(each)) for each in ("bfloat16", "highest")), strict=True):
        assert rounded.dtype == full.dtype
        assert jnp.linalg.norm(rounded - full) <= 0.3 * jnp.linalg.norm(full)


def test_forward_mode_needs_the_plain_scan(x64):
    problem = fixed(SEAdLIF)
    trained, inputs, cotangent = arrays(**problem)

    def derivative(execution):
        def along(bias):
            return loss(trained | {"bias": bias}, inputs, cotangent, problem, execution)[0]

        return jax.jvp(along, (trained["bias"],), (jnp.ones(5),))[1]

    expected, _ = gradients(problem, Execution())(trained, inputs, cotangent)
    np.testing.assert_allclose(derivative(Execution(plain_scan=True)), expected["bias"].sum(), rtol=1e-10)
    with pytest.raises(TypeError, match="forward-mode"):
        derivative(Execution())


def test_a_second_derivative_is_refused(x64):
    """The potentials are constants to it: without a refusal it would be wrong, and silent."""
    problem = fixed(SEAdLIF)
    trained, inputs, cotangent = arrays(**problem)

    def squared_norm(bias, execution):
        gradient = jax.grad(lambda b: loss(trained | {"bias": b}, inputs, cotangent, problem, execution)[0])(bias)
        return jnp.sum(gradient**2)

    assert jnp.abs(jax.grad(squared_norm)(trained["bias"], Execution(plain_scan=True))).max() > 0
    with pytest.raises(NotImplementedError, match="higher derivatives"):
        jax.grad(squared_norm)(trained["bias"], Execution())


@each_neuron
@pytest.mark.parametrize("x64", [True, False])
def test_weights_may_be_of_a_narrower_type_than_potentials(neuron, x64):
    narrow = jnp.float32 if x64 else jnp.bfloat16
    with jax.enable_x64(x64):
        problem = fixed(neuron)
        trained, inputs, cotangent = jax.tree.map(lambda leaf: leaf.astype(narrow), arrays(**problem))
        gradient, _ = gradients(problem, Execution())(trained, inputs, cotangent)
        expected, _ = gradients(problem, Execution(plain_scan=True))(trained, inputs, cotangent)
        for one, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
            assert one.dtype == other.dtype == narrow
            assert np.isfinite(one.astype(np.float32)).all()
        if x64:
            assert_close(gradient, expected, 1e-4)


@each_neuron
def test_the_gradient_reaches_the_first_state_from_the_last(neuron, x64):
    """Of a loss on the state after some steps, under a checkpoint of the user's own."""
    problem = fixed(neuron)
    trained, _, _ = arrays(**problem)
    rng = np.random.default_rng(0)
    shape = trained["inputs"].shape[1], len(trained["bias"])
    layer = build(trained, problem, Execution())

    def last(state, inputs):
        return run_chunk(layer, state, Outputs(inputs, inputs))[0]

    def in_one(state):
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(last(state, trained["inputs"])))

    def in_two(state):
        state = jax.checkpoint(last)(state, trained["inputs"][:7])
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(last(state, trained["inputs"][7:])))

    state = jax.tree.map(
        lambda zero: zero + rng.normal(size=shape), layer.neuron.initial_carry(layer.coefficients, shape)
    )
    gradient = jax.grad(in_one)(state)
    assert all(jnp.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient))
    assert_close(jax.grad(in_two)(state), gradient, 1e-12)


def test_the_threshold_is_a_constant_to_every_gradient(x64):
    problem = fixed(SEAdLIF)
    trained, inputs, cotangent = arrays(**problem)

    def of_threshold(threshold, execution):
        layer = build(trained, problem, execution)
        layer = layer.replace(neuron=layer.neuron.replace(threshold=threshold))
        return jnp.sum(scan_layers((layer,), trained.get("inputs", inputs))[0] * cotangent)

    for execution in (Execution(), Execution(plain_scan=True)):
        assert jax.grad(of_threshold)(0.7, execution) == 0


@each_neuron
@pytest.mark.parametrize("shape", [(0, 3, 4), (5, 0, 4)])
def test_without_steps_or_samples_there_are_no_spikes(neuron, shape):
    network = Network((RecurrentLayer(6, neuron()),), LeakyReadout(2))
    variables = network.init(jax.random.key(0), jnp.ones((1, 1, 4)))
    gradient = network.apply(variables, jnp.ones((shape[1], shape[0], 4)))
    assert gradient.shape == (shape[1], shape[0], 2)
