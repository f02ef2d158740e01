"""Training with weights of 8 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.device import device_layers, quantize
from seadlif_jax.inference import load_run
from seadlif_jax.neurons import LIF, SEAdLIF
from seadlif_jax.nn import BatchNorm, LeakyReadout, Network, RecurrentLayer
from seadlif_jax.training import fit


def build(round_weights, **settings):
    layers = tuple(RecurrentLayer(size, SEAdLIF(q=2.0), round_weights=round_weights, **settings) for size in (6, 5))
    return Network(layers, LeakyReadout(3, round_weights=round_weights))


@pytest.fixture
def inputs():
    return 8 * jax.random.normal(jax.random.key(1), (4, 30, 7))


@pytest.mark.parametrize("settings", [{}, {"batch_norm": BatchNorm()}])
def test_the_weights_are_those_of_fixed_point(settings, inputs):
    network = build(True, **settings)
    variables = network.init(jax.random.key(0), inputs)
    layers = device_layers(network, variables)
    for layer, integers in zip(layers, quantize(layers).layers, strict=True):
        scale = np.abs(layer.kernel).max(0) / 127
        np.testing.assert_allclose(integers.kernel * scale, layer.kernel, rtol=1e-5)
    plain = device_layers(build(False, **settings), variables)
    assert all(not np.allclose(one.kernel, other.kernel, rtol=1e-4) for one, other in zip(layers, plain, strict=True))
    assert all(np.array_equal(one.bias, other.bias) for one, other in zip(layers, plain, strict=True))


def test_the_gradient_is_that_for_the_rounded_weights(x64, inputs):
    network = build(True)
    variables = network.init(jax.random.key(0), inputs)
    variables["params"]["layers_1"]["bias"] += jnp.linspace(2.0, 4.0, 5)  # so that all layers spike
    rounded = device_layers(network, variables)
    replaced = jax.tree.map(lambda array: array, variables)
    for index, layer in enumerate(rounded):
        name = "readout" if index == 2 else f"layers_{index}"
        replaced["params"][name]["kernel"] = jnp.asarray(layer.kernel, jnp.float64)
        if layer.recurrent_kernel is not None:
            replaced["params"][name]["recurrent_kernel"] = jnp.asarray(layer.recurrent_kernel, jnp.float64)

    def gradient(network, variables):
        def loss(params):
            return jnp.sum(network.apply(variables | {"params": params}, inputs) ** 2)

        return jax.grad(loss)(variables["params"])

    found, expected = gradient(network, variables), gradient(build(False), replaced)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(expected["layers_1"]))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4), found, expected)


def test_a_kernel_of_zeros_stays(inputs):
    layer = RecurrentLayer(3, LIF(), round_weights=True)
    variables = layer.init(jax.random.key(0), inputs)
    variables["params"]["kernel"] = jnp.zeros((7, 3))
    assert jnp.isfinite(layer.apply(variables, inputs)).all()


def test_a_run_is_tuned_for_fixed_point(tiny_config, tmp_path, without_pictures):
    fit(tiny_config, tmp_path / "first")
    tiny_config.init_from = str(tmp_path / "first")
    tiny_config.model.quantize = "int8"
    fit(tiny_config, tmp_path / "tuned")
    model = load_run(tmp_path / "tuned")
    (layer, _) = device_layers(model.network, model.variables)
    assert not np.allclose(layer.kernel, model.variables["params"]["layers_0"]["kernel"], rtol=1e-4)
