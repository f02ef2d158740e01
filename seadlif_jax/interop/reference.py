"""Networks of the authors' PyTorch program.

    checkpoint = read_reference_checkpoint("model.ckpt")
    network, variables = from_reference(checkpoint.arrays, checkpoint.settings)
    outputs = network.apply(variables, inputs)

Only names and shapes of the reference are known here: hidden layers `l1`, `l2`, ..., readout `out_layer`, matrices
stored [out, in], the LSTM's gates in the order input, forget, cell, output.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array

from seadlif_jax.config import differing
from seadlif_jax.neurons import NEURONS, Surrogate
from seadlif_jax.neurons.registry import PAPER
from seadlif_jax.nn import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.utils.errors import InputError

_PARAMETERS = {
    "weight": "kernel",
    "bias": "bias",
    "recurrent": "recurrent_kernel",
    "a": "a",
    "b": "b",
    "tau_u_trainer.weight": "k_u",
    "tau_w_trainer.weight": "k_w",
    "weight_ih": "kernel",
    "weight_hh": "recurrent_kernel",
    "bias_ih": "bias",
    "bias_hh": "recurrent_bias",
}
_RANGE = re.compile(r"tau_[uw]_trainer\.tau_(min|max)")


def parameters_from_reference(arrays: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
    """Return the reference's parameters (or gradients), renamed and transposed, as the tree of `Network`'s parameters.

    Bounds of time constants (`*.tau_min`, `*.tau_max`) are settings, and left out.

    Raises:
      InputError: a name is not one of the reference's.
    """
    tree: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        layer, _, parameter = name.partition(".")
        if _RANGE.fullmatch(parameter):
            continue
        if not re.fullmatch(r"l[1-9]\d*|out_layer", layer) or parameter not in _PARAMETERS:
            raise InputError(f"{name!r} is not a parameter of the reference program that this library knows")
        module = "readout" if layer == "out_layer" else f"layers_{int(layer[1:]) - 1}"
        array = np.asarray(array)
        tree.setdefault(module, {})[_PARAMETERS[parameter]] = jnp.asarray(array.T if array.ndim == 2 else array, float)
    return tree


def from_reference(arrays: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Network, dict[str, Any]]:
    """Return the network and variables that equal a model of the reference program.

    Args:
      arrays: its `state_dict`, names to arrays.
      settings: its configuration: `cell` ("lif", "ef_adlif", "se_adlif", "lstm"); where the cell has them `q`, `alpha`
        (the surrogate's slope), `c`, and the ranges `tau_u_range`, `tau_w_range`; `tau_out_range`; and, where given,
        `dropout`, `train_tau_out_method` (the readout's time constants are trained if it is "interpolation").

    Raises:
      InputError: a parameter is unknown, missing, superfluous or of another shape; or a setting is missing.
    """
    tree = parameters_from_reference(arrays)
    depth = len(tree) - 1
    expected = {"readout", *(f"layers_{index}" for index in range(depth))}
    if depth < 1 or set(tree) != expected:
        raise InputError(
            f"the arrays must hold layers l1, l2, ... without a gap and out_layer; they hold {sorted(tree)}"
        )

    try:
        cell = settings["cell"]
        if cell not in PAPER:
            raise InputError(f"the reference's setting cell is {cell!r}; it must be one of {', '.join(PAPER)}")
        if settings.get("thr", 1) != 1:
            raise InputError(f"the reference's setting thr, the firing threshold, is {settings['thr']}; it must be 1")
        fields: dict[str, Any] = {}
        if cell == "lstm":
            fields["forget_bias"] = settings.get("forget_bias_init")
        else:
            fields["tau_u"] = _range(settings, "tau_u_range")
            fields["surrogate"] = Surrogate("exponential", _number(settings, "alpha"), _number(settings, "c"))
        if cell.endswith("adlif"):
            fields |= {"tau_w": _range(settings, "tau_w_range"), "q": _number(settings, "q")}
        tau_out = _range(settings, "tau_out_range")
        _check_ranges(arrays, settings)
    except KeyError as error:
        raise InputError(f"the reference's setting {error} is needed and missing") from None

    train_tau = settings.get("train_tau_out_method", "fixed") == "interpolation"
    hidden = tuple(
        RecurrentLayer(
            features=_features(arrays, f"l{index + 1}", cell),
            neuron=NEURONS[cell](**fields),
            recurrent="recurrent_kernel" in tree[f"layers_{index}"],
        )
        for index in range(depth)
    )
    network = Network(
        layers=hidden,
        readout=LeakyReadout(_rows(arrays, "out_layer.weight"), tau_out, train_tau),
        dropout=settings.get("dropout") or 0.0,
    )

    variables: dict[str, Any] = {"params": tree}
    if not train_tau and "k_u" in tree["readout"]:
        # Where the reference does not train the readout's time constants, it stores them as they are.
        variables["constants"] = {"readout": {"tau": tree["readout"].pop("k_u")}}
    _check_shapes(network, variables)
    return network, variables


def _check_ranges(arrays: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise an `InputError` unless the bounds stored with the parameters are those of the settings."""
    for name, bound in arrays.items():
        layer, _, parameter = name.partition(".")
        if _RANGE.fullmatch(parameter):
            kind = "tau_out_range" if layer == "out_layer" else f"{parameter[:5]}_range"
            low, high = _range(settings, kind)
            expected = low if parameter.endswith("min") else high
            dtype = np.result_type(bound, np.float32)
            if bound != dtype.type(expected):  # rounded as it is stored
                raise InputError(f"{name} is {float(bound)}, but the setting {kind} is {settings[kind]}")


def _range(settings: Mapping[str, Any], name: str) -> tuple[float, float]:
    try:
        low, high = settings[name]
        return float(low), float(high)
    except (TypeError, ValueError):
        raise InputError(f"the reference's setting {name} is {settings[name]!r}; it must be two numbers") from None


def _number(settings: Mapping[str, Any], name: str) -> float:
    try:
        return float(settings[name])
    except (TypeError, ValueError):
        raise InputError(f"the reference's setting {name} is {settings[name]!r}; it must be a number") from None


def _features(arrays: Mapping[str, Any], layer: str, cell: str) -> int:
    return _rows(arrays, f"{layer}.weight_ih") // 4 if cell == "lstm" else _rows(arrays, f"{layer}.weight")


def _rows(arrays: Mapping[str, Any], name: str) -> int:
    if name not in arrays:
        raise InputError(f"the reference's parameter {name!r} is missing")
    return len(arrays[name])


def _check_shapes(network: Network, variables: Mapping[str, Any]) -> None:
    channels = len(variables["params"]["layers_0"]["kernel"])
    inputs = jax.ShapeDtypeStruct((1, 1, channels), jnp.result_type(float))
    needed, stored = (
        {name: array.shape for name, array in flatten_dict(tree, sep=".").items()}
        for tree in (jax.eval_shape(network.init, jax.random.key(0), inputs), variables)
    )
    wrong = [f"{name} is {shape}, needed {other}" for name, (shape, other) in differing(stored, needed).items()]
    if wrong:
        raise InputError(f"the arrays do not fit the settings: {'; '.join(wrong)}")
