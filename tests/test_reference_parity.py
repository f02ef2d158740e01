"""Our network against the numbers of the reference program, in float64: every .npz of a folder is a case."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seadlif_jax import losses as readout
from seadlif_jax.interop.reference import from_reference, parameters_from_reference
from seadlif_jax.training.optimizer import clipped_adam

OWN_FOLDER = Path(__file__).parent / "golden"
FOLDER = Path(os.environ.get("SEADLIF_GOLDEN", OWN_FOLDER))
OWN_CASES = {
    "ef_1l_perstep", "ef_2l_softmax", "lif_1l_softmax", "lif_2l_mean_norec", "lif_autoreg", "lstm_1l_softmax",
    "lstm_autoreg", "se_1l_multiblock", "se_1l_softmax", "se_2l_mean", "se_2l_perstep", "se_autoreg",
}  # fmt: skip
CASES = sorted(FOLDER.glob("*.npz"))
CLIP_NORM = 1.5


class Case:
    """One file: its arrays, and our network with the reference's parameters."""

    def __init__(self, path):
        with np.load(path) as file:
            self.arrays = dict(file)
        self.settings = json.loads(str(self.arrays["config_json"]))
        self.forecasting = self.settings.get("auto_regression", False)
        self.how = "softmax" if self.settings["loss_agg"] == "softmax" else "mean"
        self.network, self.variables = from_reference(self.group("param/"), self.settings)
        self.params = self.variables["params"]

    def group(self, prefix):
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}

    def __getitem__(self, name):
        return jnp.asarray(self.arrays[name])

    def outputs_and_states(self, params):
        variables = {**self.variables, "params": params}
        if self.forecasting:
            start = readout.feedback_start(self["inputs"].shape[1])
            return self.network.apply(variables, self["inputs"], feedback_from=start), None
        return self.network.apply(variables, self["inputs"], method="trace")

    def block_outputs(self, outputs):
        """As stored: flattened over batch and block, block 0 included; a forecast has no blocks to gather."""
        if self.forecasting:
            return outputs
        blocks = readout.aggregate(outputs, self["block_idx"], self["targets"].shape[1] - 1, self.how)
        return blocks.reshape(-1, blocks.shape[-1])

    def loss(self, params):
        outputs, _ = self.outputs_and_states(params)
        if self.forecasting:
            return readout.forecast(outputs, self["block_idx"], self["targets"]).mean_loss()
        return readout.classification(outputs, self["block_idx"], self["targets"], self.how).mean_loss()

    def parameters(self, prefix):
        """Parameters stored under `prefix`, in our tree; fixed readout time constants are checked and left out."""
        tree = parameters_from_reference(self.group(prefix))
        if "constants" in self.variables and "k_u" in tree["readout"]:
            np.testing.assert_array_equal(tree["readout"].pop("k_u"), self.variables["constants"]["readout"]["tau"])
        return tree


@pytest.fixture(params=CASES, ids=lambda path: path.stem)
def case(request, x64):
    return Case(request.param)


def assert_close(found, expected, tolerance, name=""):
    """Equal shapes, and differences of at most `tolerance` times the largest value; a NaN fails."""
    assert jnp.shape(found) == jnp.shape(expected), name
    error = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
    assert error < tolerance, f"{name}: relative error {error}"


def assert_trees_close(found, expected, tolerance):
    assert jax.tree.structure(found) == jax.tree.structure(expected)  # every parameter has its counterpart
    for module, parameters in expected.items():
        for name, value in parameters.items():
            assert_close(found[module][name], value, tolerance, f"{module}.{name}")


def test_no_case_is_missing():
    assert {path.stem for path in OWN_FOLDER.glob("*.npz")} >= OWN_CASES
    assert CASES, f"SEADLIF_GOLDEN = {FOLDER} holds no .npz"


def test_outputs_spikes_and_loss_agree(case):
    outputs, states = jax.jit(case.outputs_and_states)(case.params)
    assert_close(outputs, case["outputs"], 1e-9)
    assert_close(case.block_outputs(outputs), case["block_outputs"], 1e-9)
    assert_close(case.loss(case.params), case["loss"], 1e-9)
    if "layer1_spikes" in case.arrays:
        assert case["layer1_spikes"].any()
        np.testing.assert_array_equal(states[0].output, case["layer1_spikes"])
    else:
        assert case.forecasting or case.settings["cell"] == "lstm"


def test_every_gradient_agrees(case):
    assert_trees_close(jax.jit(jax.grad(case.loss))(case.params), case.parameters("grad/"), 1e-9)


def test_four_training_steps_agree(case):
    adam = clipped_adam(case.settings["lr"], CLIP_NORM)

    @jax.jit
    def train_step(params, opt_state):
        loss, gradients = jax.value_and_grad(case.loss)(params)
        updates, opt_state = adam.update(gradients, opt_state, params)
        return loss, case.network.project(optax.apply_updates(params, updates)), opt_state

    params, opt_state, losses = case.params, adam.init(case.params), []
    for _ in range(4):
        loss, params, opt_state = train_step(params, opt_state)
        losses.append(loss)
    assert_close(jnp.stack(losses), case["losses_over_4_steps"], 1e-8)
    assert_trees_close(params, case.parameters("param_after_4_steps/"), 1e-6)
    assert not np.allclose(losses[0], losses[-1])


def test_every_array_of_the_file_is_read(case):
    known = {
        "outputs", "block_outputs", "loss", "layer1_spikes", "losses_over_4_steps", "inputs", "targets", "block_idx",
        "config_json",
    }  # fmt: skip
    groups = ("param/", "grad/", "param_after_4_steps/")
    assert {name for name in case.arrays if not name.startswith(groups)} <= known
    ranges = {name for name in case.group("param/") if name.endswith((".tau_min", ".tau_max"))}
    read = sum(len(layer) for collection in case.variables.values() for layer in collection.values())
    assert read == len(case.group("param/")) - len(ranges)
