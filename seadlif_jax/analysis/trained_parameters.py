"""Parameters of the neurons of a trained network, before and after training."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seadlif_jax.inference.trained_model import TrainedModel
from seadlif_jax.nn.network import interpolate
from seadlif_jax.utils.keys import Purpose, key_for


class NeuronParameter(NamedTuple):
    """One parameter of the neurons of a hidden layer.

    Attributes:
      layer: number of the hidden layer, from 1.
      name: `tau_u`, `tau_w` (in steps), `a` or `b`.
      bounds: range that it is trained in.
      before: values before training `[neuron]`; None if unknown.
      after: values after training `[neuron]`.
    """

    layer: int
    name: str
    bounds: tuple[float, float]
    before: np.ndarray | None
    after: np.ndarray


def neuron_parameters(model: TrainedModel, initial: bool = True) -> list[NeuronParameter]:
    """Return time constants `tau_u`, `tau_w` and couplings `a`, `b` of all hidden layers whose neurons have them.

    With `initial`, the values before training are drawn again from the run's seed; those of an imported run are
    unknown.
    """
    before = None
    if initial:
        key = key_for(jax.random.key(model.config.seed), Purpose.PARAMETERS)
        before = jax.jit(model.network.init)(key, jnp.zeros((1, 1, model.num_channels)))["params"]
    return list(_parameters(model, before, model.variables["params"]))


def _parameters(model: TrainedModel, before: dict | None, after: dict) -> Iterator[NeuronParameter]:
    for number in range(len(model.network.layers)):
        layer = f"layers_{number}"
        for name, stored in (("tau_u", "k_u"), ("tau_w", "k_w"), ("a", "a"), ("b", "b")):
            if stored not in after[layer]:
                continue
            low, high = map(float, model.config.model[name])
            bounds = low, high
            start = None if before is None else _values(before[layer], name, stored, bounds)
            yield NeuronParameter(number + 1, name, bounds, start, _values(after[layer], name, stored, bounds))


def _values(params: dict, name: str, stored: str, bounds: tuple[float, float]) -> np.ndarray:
    """Return the values of a parameter; one that is stored as a position in its range is converted."""
    return np.asarray(params[stored] if stored == name else interpolate(params[stored], bounds))
