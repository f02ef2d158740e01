"""The hand-written gradient against automatic differentiation of the plain scan."""

import dataclasses
import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import neurons
from seadlif_jax.neurons.surrogate import SURROGATES, spike_function
from seadlif_jax.nn import adjoint
from seadlif_jax.nn.execution import Compute
from seadlif_jax.nn.network import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.nn.scan import Layer, outputs, unroll

SPIKING = ("lif", "ef_adlif", "se_adlif")


@st.composite
def problems(draw):
    """A neuron, sizes, and a seed for everything else."""
    return {
        "neuron": draw(st.sampled_from(SPIKING)),
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
    params = {"alpha": rng.uniform(0.5, 0.97, width)}
    if neuron != "lif":
        params |= {"beta": rng.uniform(0.9, 0.999, width), "q": np.array(rng.uniform(1, 120))}
        params |= {"a": rng.uniform(0, 1, width), "b": rng.uniform(0, 2, width)}
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


def build(trained, problem, compute):
    neuron = neurons.NEURONS[problem["neuron"]]
    kind = neurons.LIFParams if problem["neuron"] == "lif" else neurons.AdLIFParams
    return Layer(
        neuron,
        kind(**trained["params"], threshold=0.7),
        trained["kernel"],
        trained["bias"],
        trained["recurrent_kernel"],
        spike=spike_function(problem["surrogate"], slope=3.0, c=0.5),
        compute=compute,
    )


def loss(trained, inputs, cotangent, problem, compute):
    layer = build(trained, problem, compute)
    spikes = outputs((layer,), trained.get("inputs", inputs))
    return jnp.sum(spikes * cotangent), spikes


def gradients(problem, compute):
    return jax.jit(jax.grad(functools.partial(loss, problem=problem, compute=compute), has_aux=True))


def assert_close(found, expected, tolerance):
    """Relative to the largest entry of each array."""

    def check(path, new, reference):
        scale = np.abs(reference).max()
        np.testing.assert_allclose(new, reference, rtol=0, atol=tolerance * scale + 1e-300, err_msg=str(path))

    jax.tree_util.tree_map_with_path(check, found, expected)


@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@hypothesis.given(problems())
def test_the_gradient_is_that_of_automatic_differentiation(problem):
    with jax.enable_x64(True):
        trained, inputs, cotangent = arrays(**problem)
        found, spikes = gradients(problem, Compute(chunk_mib=problem["chunk_mib"]))(trained, inputs, cotangent)
        expected, expected_spikes = gradients(problem, Compute(plain_scan=True))(trained, inputs, cotangent)
        np.testing.assert_array_equal(spikes, expected_spikes)
        assert_close(found, expected, 1e-10)


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


@pytest.mark.parametrize("neuron", SPIKING)
@pytest.mark.parametrize("recurrent", [True, False])
def test_the_problems_spike_and_every_parameter_matters(neuron, recurrent, x64):
    problem = fixed(neuron, recurrent)
    gradient, spikes = gradients(problem, Compute())(*arrays(**problem))
    assert 0.02 < spikes.mean() < 0.9
    assert all(jnp.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("neuron", SPIKING)
def test_the_gradient_may_be_mapped_over(neuron, x64):
    problem = fixed(neuron)
    members = [arrays(**(problem | {"seed": seed})) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    mapped, _ = jax.jit(jax.vmap(gradients(problem, Compute(chunk_mib=2e-4))))(*stacked)
    for index, member in enumerate(members):
        expected, _ = gradients(problem, Compute(plain_scan=True))(*member)
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], mapped), expected, 1e-10)


@pytest.mark.parametrize("neuron", SPIKING)
def test_a_network_has_the_gradient_of_its_plain_scan(neuron, x64):
    inputs = 3.0 * jax.random.bernoulli(jax.random.key(1), 0.5, (4, 31, 5))

    def gradient(compute):
        layers = tuple(RecurrentLayer(width, neuron=neuron, compute=compute) for width in (8, 6))
        network = Network(layers, LeakyReadout(3, tau=(2.0, 9.0), train_tau=True), dropout=0.3)
        params = jax.tree_util.tree_map_with_path(
            lambda path, leaf: 20 * leaf if path[-1].key == "kernel" else leaf,
            jax.jit(network.init)(jax.random.key(0), inputs[:1, :1]),
        )

        def loss(params):
            return jnp.sum(network.apply(params, inputs, jax.random.key(2)) ** 2)

        return jax.jit(jax.grad(loss))(params)

    expected = gradient(Compute(plain_scan=True))
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(expected))
    for chunk_mib in (1e-4, 1.0):
        assert_close(gradient(Compute(chunk_mib=chunk_mib)), expected, 1e-10)


@pytest.mark.parametrize("neuron", SPIKING)
def test_single_precision_agrees_with_double(neuron):
    problem = fixed(neuron)
    with jax.enable_x64(True):
        double = arrays(**problem)
        expected, expected_spikes = gradients(problem, Compute())(*double)
    single = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float32)), double)
    found, spikes = gradients(problem, Compute())(*single)
    np.testing.assert_array_equal(spikes, expected_spikes)
    assert_close(found, jax.tree.map(np.asarray, expected), 1e-4)


@pytest.mark.parametrize("unrolled", [2, 7])
def test_unrolled_loops_compute_the_same(unrolled, x64):
    problem = fixed("se_adlif")
    found, _ = gradients(problem, Compute(unroll=unrolled))(*arrays(**problem))
    expected, _ = gradients(problem, Compute())(*arrays(**problem))
    assert_close(found, expected, 1e-12)


def test_only_the_membrane_potential_is_kept(x64):
    problem = fixed("se_adlif") | {"num_steps": 512, "batch": 64, "width": 32}
    trained, inputs, cotangent = arrays(**problem)
    sequence = 512 * 64 * 32 * 8

    def temporary(compute):
        compiled = gradients(problem, compute).lower(trained, inputs, cotangent).compile()
        return compiled.memory_analysis().temp_size_in_bytes / sequence

    # The membrane potential and the spikes that are returned; the rest is a few chunks.
    assert temporary(Compute(chunk_mib=0.1)) < 2.5
    assert temporary(Compute(plain_scan=True)) > 5


def test_bfloat16_rounds_weights_but_not_spikes_or_potentials():
    problem = fixed("se_adlif")
    trained, inputs, cotangent = arrays(**problem)
    rounded, spikes = gradients(problem, Compute("bfloat16"))(trained, inputs, cotangent)
    assert {leaf.dtype for leaf in jax.tree.leaves((rounded, spikes))} == {jnp.dtype("float32")}
    layer = build(trained, problem, Compute("bfloat16"))
    z = jnp.eye(5)
    product = layer.compute.matmul(z, layer.recurrent_kernel)
    np.testing.assert_array_equal(product, layer.recurrent_kernel.astype(jnp.bfloat16).astype(jnp.float32))
    potentials = unroll(layer, trained["inputs"]).u
    assert not jnp.array_equal(potentials, potentials.astype(jnp.bfloat16).astype(jnp.float32))


@pytest.mark.parametrize("width", [1, 5, 36])
def test_networks_train_in_bfloat16_and_their_gradient_is_a_rounded_one(width):
    inputs = jnp.asarray(3.0 * jax.random.bernoulli(jax.random.key(1), 0.5, (4, 31, 5)), jnp.uint8)

    def gradient(precision):
        layers = tuple(RecurrentLayer(width, compute=Compute(precision)) for _ in range(2))
        network = Network(layers, LeakyReadout(3))
        params = jax.jit(network.init)(jax.random.key(0), inputs[:1, :1])
        return jax.jit(jax.grad(lambda params: jnp.sum(network.apply(params, inputs) ** 2)))(params)["params"]

    for rounded, full in zip(*(jax.tree.leaves(gradient(each)) for each in ("bfloat16", "highest")), strict=True):
        assert rounded.dtype == full.dtype
        assert jnp.linalg.norm(rounded - full) <= 0.3 * jnp.linalg.norm(full)


def test_forward_mode_needs_the_plain_scan(x64):
    problem = fixed("se_adlif")
    trained, inputs, cotangent = arrays(**problem)

    def derivative(compute):
        def along(bias):
            return loss(trained | {"bias": bias}, inputs, cotangent, problem, compute)[0]

        return jax.jvp(along, (trained["bias"],), (jnp.ones(5),))[1]

    expected, _ = gradients(problem, Compute())(trained, inputs, cotangent)
    np.testing.assert_allclose(derivative(Compute(plain_scan=True)), expected["bias"].sum(), rtol=1e-10)
    with pytest.raises(TypeError, match="forward-mode"):
        derivative(Compute())


def test_a_second_derivative_is_refused(x64):
    """The potentials are constants to it: without a refusal it would be wrong, and silent."""
    problem = fixed("se_adlif")
    trained, inputs, cotangent = arrays(**problem)

    def squared_norm(bias, compute):
        gradient = jax.grad(lambda b: loss(trained | {"bias": b}, inputs, cotangent, problem, compute)[0])(bias)
        return jnp.sum(gradient**2)

    assert jnp.abs(jax.grad(squared_norm)(trained["bias"], Compute(plain_scan=True))).max() > 0
    with pytest.raises(NotImplementedError, match="higher derivatives"):
        jax.grad(squared_norm)(trained["bias"], Compute())


@pytest.mark.parametrize("neuron", SPIKING)
@pytest.mark.parametrize("x64", [True, False])
def test_weights_may_be_of_a_narrower_type_than_potentials(neuron, x64):
    narrow = jnp.float32 if x64 else jnp.bfloat16
    with jax.enable_x64(x64):
        problem = fixed(neuron)
        trained, inputs, cotangent = jax.tree.map(lambda leaf: leaf.astype(narrow), arrays(**problem))
        found, _ = gradients(problem, Compute())(trained, inputs, cotangent)
        expected, _ = gradients(problem, Compute(plain_scan=True))(trained, inputs, cotangent)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert one.dtype == other.dtype == narrow
            assert np.isfinite(one.astype(np.float32)).all()
        if x64:
            assert_close(found, expected, 1e-4)


@pytest.mark.parametrize("neuron", SPIKING)
def test_the_gradient_reaches_the_first_state_from_the_last(neuron, x64):
    """Of a loss on the state after some steps, under a checkpoint of the user's own."""
    problem = fixed(neuron)
    trained, _, _ = arrays(**problem)
    rng = np.random.default_rng(0)
    shape = trained["inputs"].shape[1], len(trained["bias"])
    weights = adjoint.Weights(trained["kernel"], trained["bias"], trained["recurrent_kernel"])
    layer = build(trained, problem, Compute())
    run = adjoint.prepare(layer.neuron, layer.params, layer.spike, weights, layer.compute)

    def last(state, inputs):
        return run(state, inputs)[0]

    def in_one(state):
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(last(state, trained["inputs"])))

    def in_two(state):
        state = jax.checkpoint(last)(state, trained["inputs"][:7])
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(last(state, trained["inputs"][7:])))

    state = jax.tree.map(
        lambda zero: zero + rng.normal(size=shape), adjoint.zero_state(layer.neuron, shape[0], shape[1])
    )
    found = jax.grad(in_one)(state)
    assert all(jnp.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(found))
    assert_close(jax.grad(in_two)(state), found, 1e-12)


def test_the_threshold_is_a_constant_to_every_gradient(x64):
    problem = fixed("se_adlif")
    trained, inputs, cotangent = arrays(**problem)

    def of_threshold(threshold, compute):
        layer = build(trained, problem, compute)
        layer = dataclasses.replace(layer, params=layer.params._replace(threshold=threshold))
        return jnp.sum(outputs((layer,), trained.get("inputs", inputs)) * cotangent)

    for compute in (Compute(), Compute(plain_scan=True)):
        assert jax.grad(of_threshold)(0.7, compute) == 0


@pytest.mark.parametrize("neuron", SPIKING)
@pytest.mark.parametrize("shape", [(0, 3, 4), (5, 0, 4)])
def test_without_steps_or_samples_there_are_no_spikes(neuron, shape):
    network = Network((RecurrentLayer(6, neuron=neuron),), LeakyReadout(2))
    variables = network.init(jax.random.key(0), jnp.ones((1, 1, 4)))
    found = network.apply(variables, jnp.ones((shape[1], shape[0], 4)))
    assert found.shape == (shape[1], shape[0], 2)
