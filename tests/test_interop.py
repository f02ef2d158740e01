import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.interop.reference import from_reference

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def reference():
    with np.load(GOLDEN / "se_2l_mean.npz") as file:
        arrays = {name.removeprefix("param/"): array for name, array in file.items() if name.startswith("param/")}
        return arrays, json.loads(str(file["config_json"]))


def test_weights_are_transposed_and_time_constants_kept(reference):
    arrays, settings = reference
    network, variables = from_reference(arrays, settings)
    np.testing.assert_allclose(variables["params"]["layers_1"]["kernel"], arrays["l2.weight"].T, rtol=1e-6)
    np.testing.assert_allclose(variables["constants"]["readout"]["tau"], arrays["out_layer.tau_u_trainer.weight"])
    assert [layer.features for layer in network.layers] == [7, 7]
    assert network.apply(variables, jnp.ones((2, 3, 5))).shape == (2, 3, 4)


def test_a_float32_model_works_without_x64(reference):
    _, variables = from_reference(*reference)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, settings: arrays.update({"l1.gamma": np.ones(7)}), "'l1.gamma' is not a parameter"),
        (lambda arrays, settings: settings.update(tau_u_range=[5, 50]), "l1.tau_u_trainer.tau_max is 25.0, but"),
        (lambda arrays, settings: arrays.pop("l1.a"), "do not fit the settings"),
        (lambda arrays, settings: arrays.update({"l2.weight": np.ones((7, 6))}), "do not fit the settings"),
        (lambda arrays, settings: settings.update(cell="lif"), "do not fit the settings"),
        (lambda arrays, settings: settings.pop("q"), "setting 'q' is needed"),
        (
            lambda arrays, settings: [arrays.pop(name) for name in list(arrays) if name.startswith("l1.")],
            "without a gap",
        ),
        (lambda arrays, settings: arrays.pop("out_layer.tau_u_trainer.weight"), "constants.readout.tau is absent"),
        (lambda arrays, settings: arrays.pop("l1.weight"), "'l1.weight' is missing"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(reference, change, message):
    arrays, settings = reference
    change(arrays, settings)
    with pytest.raises(ValueError, match=message):
        from_reference(arrays, settings)


def test_ranges_are_compared_as_they_are_stored(reference):
    arrays, settings = reference
    low, high = settings["tau_u_range"] = [5.3, 25.7]  # which float32 rounds
    for name in list(arrays):
        if name.endswith(("tau_u_trainer.tau_min", "tau_u_trainer.tau_max")) and not name.startswith("out_layer"):
            arrays[name] = np.float32(low if name.endswith("min") else high)
    network, _ = from_reference(arrays, settings)
    assert network.layers[0].neuron.tau_u == (5.3, 25.7)


def test_a_stored_range_without_its_setting_is_refused(reference):
    arrays, settings = reference
    arrays["l1.tau_w_trainer.tau_min"] = np.float32(1)
    settings.update(cell="lif")
    del settings["tau_w_range"]
    with pytest.raises(ValueError, match="setting 'tau_w_range' is needed and missing"):
        from_reference(arrays, settings)
