"""Layers without recurrence beside others with it, and layers of which only some neurons have outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import native
from seadlif_jax.analysis.synops import measure_costs
from seadlif_jax.build import build_network, choose_engine, init_variables
from seadlif_jax.config import ConfigError, validate
from seadlif_jax.device import device_layers
from seadlif_jax.inference.streaming import stream
from seadlif_jax.neurons import LSTM, EFAdLIF, SEAdLIF
from seadlif_jax.nn import Execution, LeakyReadout, Network, RecurrentCell, RecurrentLayer
from seadlif_jax.training import fit

CHANNELS, WIDTHS, OUTPUTS = 5, (9, 8), 3


def build(neuron, num_outputs, dropout=0.0, classes=2, **execution):
    """Two layers, of which the first has `num_outputs` outputs, and variables with which they spike."""
    execution = Execution(**execution)
    first = RecurrentLayer(WIDTHS[0], neuron, execution=execution, num_outputs=num_outputs)
    network = Network((first, RecurrentLayer(WIDTHS[1], neuron, execution=execution)), LeakyReadout(classes), dropout)
    variables = network.init(jax.random.key(0), jnp.ones((1, 1, CHANNELS)))
    for layer in ("layers_0", "layers_1"):
        variables["params"][layer]["kernel"] *= 15
    return network, variables


def with_zero_weights(variables):
    """Return variables of the network whose neurons all have outputs, but those beyond have weights of 0."""
    padded = jax.tree.map(jnp.asarray, variables)
    kernel = padded["params"]["layers_1"]["kernel"]
    padded["params"]["layers_1"]["kernel"] = jnp.pad(kernel, [(0, WIDTHS[0] - OUTPUTS), (0, 0)])
    return padded


@pytest.fixture
def inputs():
    return jax.random.poisson(jax.random.key(1), 0.7, (4, 40, CHANNELS)).astype(float)


@pytest.mark.parametrize("neuron", [SEAdLIF(), EFAdLIF(train_threshold=True, train_rest=True), LSTM()])
@pytest.mark.parametrize("execution", [{"chunk_mib": 1e-3}, {"plain_scan": True}])
def test_neurons_without_outputs_are_neurons_with_weights_of_zero(neuron, execution, x64, inputs):
    network, variables = build(neuron, OUTPUTS, **execution)
    whole, _ = build(neuron, None, **execution)

    def loss(params, network, constants):
        outputs = network.apply({"params": params, "constants": constants}, inputs)
        return jnp.sum(outputs * jnp.cos(jnp.arange(outputs.size)).reshape(outputs.shape)), outputs

    padded = with_zero_weights(variables)
    gradient = jax.grad(loss, has_aux=True)
    of_some, outputs = gradient(variables["params"], network, variables["constants"])
    of_all, expected = gradient(padded["params"], whole, padded["constants"])
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-14)
    of_all["layers_1"]["kernel"] = of_all["layers_1"]["kernel"][:OUTPUTS]
    for name, array in jax.tree.leaves_with_path(of_some):
        expected = np.asarray(dict(jax.tree.leaves_with_path(of_all))[name])
        np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12)
        assert np.abs(expected).max() > 0


def test_the_activity_is_that_of_the_neurons_with_outputs(inputs):
    network, variables = build(SEAdLIF(), OUTPUTS)
    _, activity = network.apply(variables, inputs, return_activity=True)
    _, states = network.apply(variables, inputs, method="trace")
    assert states[0].z.shape[-1] == WIDTHS[0]
    for layer_activity, z in zip(activity, (states[0].z[..., :OUTPUTS], states[1].z), strict=True):
        np.testing.assert_allclose(layer_activity, z.mean(-1), rtol=1e-6)
        assert 0.01 < z.mean() < 0.9


def test_streams_traces_and_dropout_take_the_outputs_alone(x64, inputs):
    network, variables = build(SEAdLIF(), OUTPUTS, dropout=0.3, classes=CHANNELS)  # as many as a forecast has
    outputs = network.apply(variables, inputs)
    streamed = stream(network, variables, inputs, lambda x, before, after: after[-1].output)
    np.testing.assert_allclose(streamed.swapaxes(0, 1), outputs, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(network.apply(variables, inputs, method="trace")[0], outputs, rtol=1e-12, atol=1e-14)
    dropped = network.apply(variables, inputs, jax.random.key(3))
    traced, _ = network.apply(variables, inputs, jax.random.key(3), method="trace")
    np.testing.assert_allclose(traced, dropped, rtol=1e-12, atol=1e-14)
    assert np.abs(dropped - outputs).max() > 1e-3
    fed_back = network.apply(variables, inputs, feedback_from=len(inputs[0]), return_activity=True)
    np.testing.assert_allclose(fed_back[0], outputs, rtol=1e-12, atol=1e-14)


def test_a_cell_has_the_outputs_of_its_layer(inputs):
    layer, cell = (kind(9, SEAdLIF(), num_outputs=OUTPUTS) for kind in (RecurrentLayer, RecurrentCell))
    whole, variables = layer.init_with_output(jax.random.key(0), inputs)
    assert whole.shape == (4, 40, OUTPUTS)
    carry = cell.initial_state(4)
    for t, x in enumerate(inputs.swapaxes(0, 1)):
        carry, outputs = cell.apply(variables, carry, x)
        np.testing.assert_array_equal(outputs, whole[:, t])
    assert carry.output.shape == (4, 9)


def test_an_empty_sequence_has_outputs_of_the_right_width():
    layer = RecurrentLayer(9, SEAdLIF(), num_outputs=OUTPUTS)
    assert layer.init_with_output(jax.random.key(0), jnp.zeros((2, 0, CHANNELS)))[0].shape == (2, 0, OUTPUTS)


def test_operations_are_those_of_the_outputs(inputs):
    network, variables = build(SEAdLIF(), OUTPUTS)
    costs = measure_costs(network, variables, np.asarray(inputs))
    whole = measure_costs(build(SEAdLIF(), None)[0], with_zero_weights(variables), np.asarray(inputs))
    for some, every in zip(costs[1:], whole[1:], strict=True):  # operations with weights of 0 are not effective
        assert (some.effective_acs, some.effective_macs) == (every.effective_acs, every.effective_macs)
    _, states = network.apply(variables, inputs, method="trace")
    assert costs[0].activation_sparsity == pytest.approx(float(1 - states[0].z[..., :OUTPUTS].mean()))


def test_a_device_gets_weights_of_zero():
    network, variables = build(SEAdLIF(), OUTPUTS)
    expected = device_layers(build(SEAdLIF(), None)[0], with_zero_weights(variables))
    for layer, other in zip(device_layers(network, variables), expected, strict=True):
        for array, values in zip(layer, other, strict=True):
            np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize("num_outputs", [0, 10])
def test_a_layer_cannot_have_more_outputs_than_neurons(num_outputs):
    with pytest.raises(ValueError, match=rf"num_outputs = {num_outputs}: it must be in 1\.\.9"):
        RecurrentLayer(9, num_outputs=num_outputs).init(jax.random.key(0), jnp.ones((1, 1, 2)))


def test_the_native_kernel_leaves_such_layers_to_xla(tiny_config):
    with pytest.raises(native.NativeError, match="only some neurons have outputs"):
        build(SEAdLIF(), OUTPUTS, engine="native")
    tiny_config.model.num_outputs = (1,)
    assert choose_engine(tiny_config)[0] == "xla"


def test_a_config_sets_both_for_each_layer(tiny_config, tmp_path):
    tiny_config.model.hidden = (6, 4)
    tiny_config.model.num_outputs = (2, 4)
    with tiny_config.ignore_type():
        tiny_config.model.recurrent = (False, True)
    variables = init_variables(build_network(tiny_config, CHANNELS), jax.random.key(0), CHANNELS)
    assert "recurrent_kernel" not in variables["params"]["layers_0"]
    assert variables["params"]["layers_1"]["kernel"].shape == (2, 4)
    tiny_config.num_epochs = 1
    assert fit(tiny_config, tmp_path / "run")["test"]["spike_rate_1"] >= 0


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("recurrent", (True,), "True or False, for all or one for each of the 2 hidden layers"),
        ("recurrent", (True, 1), "True, False, or a tuple of these"),
        ("num_outputs", (2,), "one number for each of the 2 hidden layers"),
        ("num_outputs", (7, 2), r"at most the widths in config\.model\.hidden, \(6, 4\)"),
        ("num_outputs", (0, 2), "whole numbers of at least 1"),
        ("num_outputs", 2, "a tuple of whole numbers"),
    ],
)
def test_wiring_that_does_not_fit_is_refused(field, value, problem, tiny_config):
    tiny_config.model.hidden = (6, 4)
    with tiny_config.ignore_type():
        tiny_config.model[field] = value
    with pytest.raises(ConfigError, match=rf"config\.model\.{field} = .*{problem}"):
        validate(tiny_config)
