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
            name = TIME_CONSTANTS.get(stored, stored)
            if stored in TIME_CONSTANTS:
                bounds = getattr(layer.neuron, name)
            params = after[f"layers_{number}"][stored]
            initial = None if before is None else _values(before[f"layers_{number}"][stored], stored, bounds)
            low, high = map(float, bounds)
            yield NeuronParameter(number + 1, name, (low, high), initial, _values(params, stored, bounds))


def _values(params: Array, stored: str, bounds: Range) -> np.ndarray:
    """Return the values of a parameter; one that is stored as a position in its range is converted."""
    return np.asarray(interpolate(params, bounds) if stored in TIME_CONSTANTS else params)
