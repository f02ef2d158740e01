"""Batch normalisation of the feed-forward current."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import bsd
from seadlif_jax import load_run
from seadlif_jax.build import build_task
from seadlif_jax.config import ConfigError, set_neuron
from seadlif_jax.inference import evaluate
from seadlif_jax.neurons import LIF, LSTM, SEAdLIF
from seadlif_jax.nn import BatchNorm, Execution, LeakyReadout, Network, RecurrentCell, RecurrentLayer
from seadlif_jax.nn.layer import Layer
from seadlif_jax.nn.scan import scan_states
from seadlif_jax.training import fit
from seadlif_jax.utils.signals import Interrupted
from tests.test_native import needs_compiler
from tests.training_helpers import interrupt_at

BATCH, STEPS, CHANNELS = 6, 20, 5


def assert_trees_close(found, expected, tolerance):
    def assert_close(found, expected):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())

    jax.tree.map(assert_close, found, expected)


class Reference(nn.Module):
    """The layer with Flax's own normalisation of its currents, by a plain scan."""

    layer: RecurrentLayer

    @nn.compact
    def __call__(self, inputs):
        layer = self.layer.as_layer(inputs.shape[-1])
        current = inputs @ layer.weights.kernel
        norm = nn.BatchNorm(use_running_average=False, momentum=0.95, epsilon=1e-5, name="norm")
        identity = jnp.eye(current.shape[-1])
        plain = Layer(layer.neuron, layer.coefficients, layer.weights._replace(kernel=identity))
        return scan_states(plain, norm(current).swapaxes(0, 1)).output.swapaxes(0, 1)


@pytest.fixture
def inputs():
    return 3 * jax.random.normal(jax.random.key(1), (BATCH, STEPS, CHANNELS)) + 1


@pytest.mark.parametrize("neuron", [SEAdLIF(), LSTM()])
def test_outputs_gradients_and_running_moments_are_those_of_flax(neuron, x64, inputs):
    layer = RecurrentLayer(7, neuron, batch_norm=BatchNorm())
    variables = layer.init(jax.random.key(0), inputs)
    width = 7 * neuron.gates
    params = variables["params"] | {"norm_scale": jnp.linspace(0.5, 2, width), "bias": jnp.linspace(-1, 1, width)}
    cotangents = jax.random.normal(jax.random.key(2), (BATCH, STEPS, 7))

    def ours(params, inputs):
        outputs, updated = layer.apply(variables | {"params": params}, inputs, mutable=["batch_stats"])
        return jnp.sum(outputs * cotangents), updated["batch_stats"]

    def theirs(params, inputs):
        reference = Reference(RecurrentLayer(7, neuron))
        of_norm = {"scale": params["norm_scale"], "bias": params["bias"]}
        of_layer = {name: value for name, value in params.items() if name != "norm_scale"} | {"bias": jnp.zeros(width)}
        outputs, updated = reference.apply(
            {"params": {"layer": of_layer, "norm": of_norm}, "batch_stats": {"norm": variables["batch_stats"]}},
            inputs,
            mutable=["batch_stats"],
        )
        return jnp.sum(outputs * cotangents), updated["batch_stats"]["norm"]

    (total, moments), gradients = jax.jit(jax.value_and_grad(ours, (0, 1), has_aux=True))(params, inputs)
    (expected, flax_moments), flax_gradients = jax.jit(jax.value_and_grad(theirs, (0, 1), has_aux=True))(params, inputs)
    assert total == pytest.approx(float(expected), rel=1e-12)
    assert_trees_close(moments, flax_moments, 1e-12)
    assert_trees_close(gradients, flax_gradients, 1e-10)
    assert jnp.abs(gradients[1]).max() > 0


def network(execution=Execution(), **settings):  # noqa: B008  it is immutable
    layers = tuple(RecurrentLayer(size, LIF(), True, execution, True, BatchNorm(**settings)) for size in (7, 6))
    return Network(layers, LeakyReadout(3), dropout=0.2)


def initial(network, inputs):
    """Variables with which all layers spike."""
    variables = network.init(jax.random.key(0), inputs)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: 10 * leaf if "scale" in jax.tree_util.keystr(path) else leaf, variables
    )


@functools.partial(jax.jit, static_argnums=0)
def trained_once(network, variables, inputs):
    outputs, updated = network.apply(variables, inputs, jax.random.key(3), mutable=["batch_stats"])
    return outputs, variables | updated


def test_in_use_a_step_is_that_of_the_whole_sequence_and_independent_of_the_batch(x64, inputs):
    net = network()
    _, variables = trained_once(net, initial(net, inputs), inputs)
    assert not np.allclose(variables["batch_stats"]["layers_1"]["mean"], 0)
    outputs = net.apply(variables, inputs)
    np.testing.assert_allclose(net.apply(variables, inputs[:1]), outputs[:1], rtol=1e-12)
    state = net.initial_state(BATCH)
    for t in range(STEPS):
        state, y = net.apply(variables, state, inputs[:, t], method="step")
        np.testing.assert_allclose(y, outputs[:, t], rtol=1e-12, atol=1e-14)


def test_dropout_falls_on_the_same_spikes_as_without_normalisation(x64, inputs):
    """With the moments of one batch as the running ones, a pass in training is one in use with the same dropout."""
    net = network(momentum=0.0)
    variables = initial(net, inputs)
    outputs, variables = trained_once(net, variables, inputs)
    np.testing.assert_allclose(net.apply(variables, inputs, jax.random.key(3)), outputs, rtol=1e-9)


def test_constant_and_silent_inputs_are_finite(inputs):
    net = network()
    variables = initial(net, inputs)
    gradient = jax.jit(jax.grad(lambda params, x: trained_once(net, variables | {"params": params}, x)[0].sum()))
    for constant in (0.0, 5.0):
        gradients = gradient(variables["params"], jnp.full_like(inputs, constant))
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_moments_in_float32_are_those_of_flax_for_inputs_with_an_offset(offset):
    inputs = offset + jax.random.normal(jax.random.key(1), (STEPS, BATCH, CHANNELS))
    kernel = jax.random.normal(jax.random.key(2), (CHANNELS, 7)).astype(jnp.bfloat16)  # moments stay in float32
    mean, variance = BatchNorm().moments(inputs, kernel)
    expected = np.asarray(inputs, np.float64) @ np.asarray(kernel, np.float64)
    assert mean.dtype == variance.dtype == jnp.float32
    np.testing.assert_allclose(mean, expected.mean((0, 1)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(variance, expected.var((0, 1)), rtol=1e-4)


def test_a_batch_without_steps_leaves_the_running_moments(inputs):
    net = network()
    variables = initial(net, inputs)
    for empty in (inputs[:0], inputs[:, :0]):
        _, updated = trained_once(net, variables, empty)
        jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize(
    "execution",
    [
        Execution(plain_scan=True),
        pytest.param(Execution(engine="native"), marks=needs_compiler),
    ],
)
def test_training_is_the_same_however_it_is_computed(execution, x64, inputs):
    net = network()
    variables = initial(net, inputs)

    def gradients(net):
        def loss(params):
            outputs, updated = trained_once(net, variables | {"params": params}, inputs)
            return jnp.sum(outputs**2), updated["batch_stats"]

        return jax.grad(loss, has_aux=True)(variables["params"])

    assert_trees_close(gradients(network(execution)), gradients(net), 1e-10)


def test_all_layers_and_the_readout_run_as_the_execution_says(inputs):
    """Forward-mode derivatives, which only the plain scan has."""
    net = network(Execution(plain_scan=True))
    variables = initial(net, inputs)
    _, tangents = jax.jvp(lambda x: trained_once(net, variables, x)[0], (inputs,), (jnp.ones_like(inputs),))
    assert jnp.isfinite(tangents).all()


def test_only_a_call_of_a_layer_or_a_network_trains_it(inputs):
    net = network()
    variables = initial(net, inputs)
    with pytest.raises(ValueError, match="only a call trains batch normalisation"):
        net.apply(variables, inputs, method="trace", mutable=["batch_stats"])
    cell = RecurrentCell(7, LIF(), batch_norm=BatchNorm())
    state, first = cell.initial_state(BATCH), inputs[:, 0]
    of_cell = cell.init(jax.random.key(0), state, first)
    with pytest.raises(ValueError, match="a cell cannot train batch normalisation"):
        cell.apply(of_cell, state, first, mutable=["batch_stats"])
    rnn = nn.RNN(cell, variable_broadcast=("params", "batch_stats"))
    outputs = rnn.apply({name: {"cell": values} for name, values in of_cell.items()}, inputs)
    expected = RecurrentLayer(7, LIF(), batch_norm=BatchNorm()).apply(of_cell, inputs)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_a_forecast_with_it_is_refused(tiny_config):
    tiny_config.task, tiny_config.model.batch_norm = "forecast", True
    with pytest.raises(ConfigError, match=r"config\.model\.batch_norm = True: a forecast is fed with its own outputs"):
        build_task(tiny_config)


def normalised(config):
    config.model.batch_norm = True
    config.num_epochs = 2
    return config


@pytest.mark.parametrize("neuron", ["se_adlif", "radlif"])
def test_the_best_epoch_is_evaluated_with_its_own_moments(neuron, tiny_config, tmp_path, without_pictures):
    set_neuron(tiny_config, neuron)
    result = fit(normalised(tiny_config), tmp_path / "run")
    model = load_run(tmp_path / "run")
    found = evaluate(model, bsd.load(tiny_config).test)
    assert found.accuracy == pytest.approx(result["test"]["accuracy"], abs=1e-6)
    assert found.loss == pytest.approx(result["test"]["loss"], rel=1e-4)
    assert not np.allclose(model.variables["batch_stats"]["layers_0"]["mean"], 0)


def test_an_interrupted_run_continues_with_the_same_moments(tiny_config, tmp_path, monkeypatch, without_pictures):
    config = normalised(tiny_config)
    fit(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)  # within the first epoch
        with pytest.raises(Interrupted):
            fit(config, tmp_path / "cut")
    fit(config, tmp_path / "cut")
    expected, found = (load_run(tmp_path / name).variables for name in ("whole", "cut"))
    assert_trees_close(found, expected, 1e-5)


def test_a_sweep_has_moments_for_each_member(tiny_config, tmp_path, without_pictures):
    config = normalised(tiny_config)
    config.sweep.seed = (0, 1)
    config.devices.width = 2
    fit(config, tmp_path / "sweep")
    means = [load_run(tmp_path / "sweep", member).variables["batch_stats"]["layers_0"]["mean"] for member in (0, 1)]
    assert not np.allclose(*means)


def test_a_run_starts_from_the_moments_of_another(tiny_config, tmp_path, without_pictures):
    config = normalised(tiny_config)
    config.num_epochs = 1
    fit(config, tmp_path / "first")
    config.init_from = str(tmp_path / "first")
    config.optimizer.learning_rate = 1e-12
    fit(config, tmp_path / "second")
    first, second = (load_run(tmp_path / name).variables["batch_stats"] for name in ("first", "second"))
    # 4 steps after 4 of almost the same network: 1 - 0.95^8 of the mean of a batch; without a start, 1 - 0.95^4 again.
    ratio = np.abs(second["layers_0"]["mean"]).sum() / np.abs(first["layers_0"]["mean"]).sum()
    assert ratio == pytest.approx((1 - 0.95**8) / (1 - 0.95**4), abs=0.3)
    config.model.batch_norm = False
    with pytest.raises(ConfigError, match=r"config\.model\.batch_norm is True there and False here"):
        fit(config, tmp_path / "third")


def test_in_training_the_readout_has_a_precision_of_its_own(inputs):
    """A CPU rounds to bfloat16, too, where it is asked to."""
    net = network(Execution("bfloat16"))
    variables = initial(net, inputs)
    rounded = net.clone(readout=LeakyReadout(3, execution=Execution("bfloat16")))
    outputs = [trained_once(each, variables, inputs)[0] for each in (net, rounded)]
    assert not jnp.array_equal(*outputs)
