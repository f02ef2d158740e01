"""The neurons against the programs that introduced them, in float64.

Each file of golden/neurons has the spikes of a recurrent layer for given currents, and the gradients of a weighted sum
of them, computed by the program that its `settings` name, from the parameters of that program.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.neurons import ALIF, BRF, LIF, EFAdLIF, RadLIF, SEAdLIF, SiLIF, Surrogate, SynapticLIF
from seadlif_jax.nn import BatchNorm, Execution, RecurrentLayer

FOLDER = Path(__file__).parent / "golden" / "neurons"
TRAINED = {"train_threshold": True, "train_rest": True}
NORMALIZED = "radlif_batch_norm"
NEURONS = {
    "alif": ALIF(),
    "brf": BRF(),
    "radlif": RadLIF(),
    "silif": SiLIF(),
    "synaptic_lif": SynapticLIF(surrogate=Surrogate("fast_sigmoid", slope=5.0, c=2 / 5)),
    "lif_trained_threshold": LIF(tau_u=(5.0, 25.0), **TRAINED),
    "ef_adlif_trained_threshold": EFAdLIF(tau_u=(5.0, 25.0), tau_w=(30.0, 300.0), q=20.0, **TRAINED),
    "se_adlif_trained_threshold": SEAdLIF(tau_u=(5.0, 25.0), tau_w=(30.0, 300.0), q=120.0, **TRAINED),
}


def position(decay, bounds):
    """The position in its range of the time constant with a decay."""
    low, high = bounds
    return (-1 / jnp.log(decay) - low) / (high - low)


def to_ours(name, params):
    """The neuron's parameters, and the factor of its currents, from those of the program."""
    neuron = NEURONS[name]
    if name == "synaptic_lif":
        alpha, beta = params["alpha"], params["beta"]
        positions = {"k_syn": position(alpha, neuron.tau_syn), "k_u": position(beta, neuron.tau_u)}
        return positions, 1 / ((1 - alpha) * (1 - beta))
    if name.endswith("trained_threshold"):
        threshold = params["thr"]
        ours = {"threshold": threshold, "k_rest": params["u0"] / threshold, "k_u": params["tau_u_trainer.weight"]}
        adlif = {"k_w": params.get("tau_w_trainer.weight"), "a": params.get("a"), "b": params.get("b")}
        return ours | {key: value for key, value in adlif.items() if value is not None}, jnp.ones(len(threshold))
    return params, jnp.ones(len(next(iter(params.values()))))


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("execution", [Execution(), Execution(chunk_mib=1e-4), Execution(plain_scan=True)])
def test_spikes_and_gradients_are_those_of_the_program_that_introduced_the_neuron(name, execution, x64):
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: jnp.asarray(value) for key, value in file.items() if key != "settings"}
        assert json.loads(str(file["settings"]))["program"]
    recurrent = "recurrent_kernel" in arrays
    layer = RecurrentLayer(5, NEURONS[name], recurrent, execution, self_connections=name != "radlif")

    def weighted_sum(theirs):
        params, factor = to_ours(name, theirs["param"])
        params = params | {"kernel": jnp.diag(factor), "bias": jnp.zeros(5)}
        if recurrent:
            params["recurrent_kernel"] = theirs["recurrent_kernel"] * factor
        spikes = layer.apply({"params": params}, theirs["x"].swapaxes(0, 1)).swapaxes(0, 1)
        return jnp.sum(spikes * arrays["cotangent"]), spikes

    theirs = {"param": {key[6:]: value for key, value in arrays.items() if key.startswith("param/")}, "x": arrays["x"]}
    if recurrent:
        theirs["recurrent_kernel"] = arrays["recurrent_kernel"]
    gradient, spikes = jax.jit(jax.grad(weighted_sum, has_aux=True))(theirs)
    np.testing.assert_array_equal(spikes, arrays["z"])
    for key, found in {**gradient.pop("param"), **gradient}.items():
        expected = arrays[f"grad/{key}"]
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * scale, err_msg=key)


def test_spikes_and_gradients_with_batch_normalisation_are_those_of_the_program(x64):
    with np.load(FOLDER / f"{NORMALIZED}.npz") as file:
        arrays = {key: jnp.asarray(value) for key, value in file.items() if key != "settings"}
        settings = json.loads(str(file["settings"]))
    # Momentum is the complement there, and variances are of a sample, not of the population.
    batch_norm = BatchNorm(1 - settings["momentum"], settings["eps"])
    layer = RecurrentLayer(5, RadLIF(), self_connections=False, batch_norm=batch_norm)

    def weighted_sum(theirs, x):
        names = {"W": "kernel", "norm.weight": "norm_scale", "norm.bias": "bias"}
        params = {names.get(key, key): value for key, value in theirs.items()}
        params["kernel"] = params["kernel"].T
        variables = {"params": params, "batch_stats": {"mean": jnp.zeros(5), "var": jnp.ones(5)}}
        spikes, updated = layer.apply(variables, x.swapaxes(0, 1), mutable=["batch_stats"])
        return jnp.sum(spikes.swapaxes(0, 1) * arrays["cotangent"]), (spikes.swapaxes(0, 1), updated["batch_stats"])

    theirs = {key[6:]: value for key, value in arrays.items() if key.startswith("param/")}
    theirs["recurrent_kernel"] = arrays["recurrent_kernel"]
    gradients, (spikes, moments) = jax.grad(weighted_sum, (0, 1), has_aux=True)(theirs, arrays["x"])
    np.testing.assert_array_equal(spikes, arrays["z"])
    steps = arrays["x"].shape[0] * arrays["x"].shape[1]
    np.testing.assert_allclose(moments["mean"], arrays["running_mean"], rtol=1e-12)
    of_sample = 0.95 + (moments["var"] - 0.95) * steps / (steps - 1)
    np.testing.assert_allclose(of_sample, arrays["running_var"], rtol=1e-12)
    for key, gradient in {**gradients[0], "x": gradients[1]}.items():
        expected = arrays[f"grad/{key}"]
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(), err_msg=key)


@pytest.mark.parametrize("name", ["alif", "brf"])
def test_potentials_are_those_of_the_program_that_introduced_the_neuron(name, x64):
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: jnp.asarray(value) for key, value in file.items() if key != "settings"}
    neuron = NEURONS[name]
    coefficients = neuron.coefficients({key[6:]: value for key, value in arrays.items() if key.startswith("param/")})
    state = neuron.initial_state(arrays["x"].shape[1:])
    for x, expected in zip(arrays["x"], arrays["u"], strict=True):
        state = neuron.step(coefficients, state, x + state.z @ arrays["recurrent_kernel"])
        np.testing.assert_allclose(state.u, expected, rtol=1e-9, atol=1e-12)
