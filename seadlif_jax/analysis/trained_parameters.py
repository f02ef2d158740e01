"""Parameters of the neurons of a trained network, before and after training."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from seadlif_jax.inference.trained_model import TrainedModel
from seadlif_jax.neurons import Range, interpolate
from seadlif_jax.utils.keys import Purpose, key_for

TIME_CONSTANTS = {"k_u": "tau_u", "k_w": "tau_w", "k_syn": "tau_syn"}  # stored as positions in their ranges


class NeuronParameter(NamedTuple):
    """One parameter of the neurons of a hidden layer.

    Attributes:
      layer: number of the hidden layer, from 1.
      name: `tau_u`, `tau_w` (in steps), `a`, `b`, or another trained parameter of the neuron.
      bounds: range that it starts and stays in; infinite if these are two.
      before: values before training `[neuron]`; None if unknown.
      after: values after training `[neuron]`.
    """

    layer: int
    name: str
    bounds: tuple[float, float]
    before: np.ndarray | None
    after: np.ndarray


def neuron_parameters(model: TrainedModel, initial: bool = True) -> list[NeuronParameter]:
    """Return the trained parameters of the neurons of all hidden layers, such as time constants and couplings.

    With `initial`, the values before training are drawn again from the run's seed; those of an imported run are
    unknown.
    """
    before = None
    if initial:
        key = key_for(jax.random.key(model.config.seed), Purpose.PARAMETERS)
        before = jax.jit(model.network.init)(key, jnp.zeros((1, 1, model.num_channels)))["params"]
    return list(_parameters(model, before, model.variables["params"]))


def _parameters(model: TrainedModel, before: dict | None, after: dict) -> Iterator[NeuronParameter]:
    for number, layer in enumerate(model.network.layers):
        for stored, parameter in layer.neuron.named_parameters().items():
            bounds = parameter.bounds if parameter.initial == parameter.bounds else (-math.inf, math.inf)
            name, tau = stored, getattr(layer.neuron, TIME_CONSTANTS.get(stored, ""), None)
            if tau is not None:
                name, bounds = TIME_CONSTANTS[stored], tau
            params = after[f"layers_{number}"][stored]
            initial = None if before is None else _values(before[f"layers_{number}"][stored], tau)
            low, high = map(float, bounds)
            yield NeuronParameter(number + 1, name, (low, high), initial, _values(params, tau))


def _values(params: Array, tau: Range | None) -> np.ndarray:
    """Return the values of a parameter, or the time constants whose positions in the range `tau` it has."""
    return np.asarray(params if tau is None else interpolate(params, tau))
