"""Looking inside a trained network: what training did to its neurons, and how gradients reach back in time."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seadlif_jax.build import build_task
from seadlif_jax.data.samples import Samples
from seadlif_jax.inference.model import TrainedNetwork
from seadlif_jax.nn.network import batch_major, interpolate, time_major
from seadlif_jax.nn.scan import outputs
from seadlif_jax.utils.keys import Purpose, key_for


class NeuronParameter(NamedTuple):
    """One parameter of the neurons of a hidden layer, counted from 1, in the range that it is trained in.

    `before` (None if unknown) and `after` training, `[neuron]`; time constants in steps.
    """

    layer: int
    name: str
    bounds: tuple[float, float]
    before: np.ndarray | None
    after: np.ndarray


def neuron_parameters(trained: TrainedNetwork, initial: bool = True) -> list[NeuronParameter]:
    """Time constants `tau_u`, `tau_w` and couplings `a`, `b` of all hidden layers, as far as their neurons have them.

    Those before training are drawn again, by the seed of the run, if `initial`: they are unknown if it was imported.
    """
    if not initial:
        return list(_parameters(trained, None, trained.variables["params"]))
    key = key_for(jax.random.key(trained.config.seed), Purpose.PARAMETERS)
    before = jax.jit(trained.network.init)(key, jnp.zeros((1, 1, trained.num_channels)))["params"]
    return list(_parameters(trained, before, trained.variables["params"]))


def _parameters(trained: TrainedNetwork, before: dict | None, after: dict) -> Iterator[NeuronParameter]:
    for layer in range(len(trained.network.layers)):
        name_of_layer = f"layers_{layer}"
        for name, stored in (("tau_u", "k_u"), ("tau_w", "k_w"), ("a", "a"), ("b", "b")):
            if stored not in after[name_of_layer]:
                continue
            low, high = map(float, trained.config.model[name])
            bounds = low, high
            start = None if before is None else _values(before[name_of_layer], name, stored, bounds)
            yield NeuronParameter(layer + 1, name, bounds, start, _values(after[name_of_layer], name, stored, bounds))


def _values(params: dict, name: str, stored: str, bounds: tuple[float, float]) -> np.ndarray:
    """Return a parameter; of one that is stored as a position in its range, the value there."""
    return np.asarray(params[stored] if stored == name else interpolate(params[stored], bounds))


def gradient_norms(trained: TrainedNetwork, samples: Samples) -> list[Float[np.ndarray, " time"]]:
    """How much the loss depends on what each layer receives in each step: `|dL / dx_t|`, over samples and channels.

    `L` is the loss of these samples, a mean over their targets, and `x_t` what reaches a layer from the one before:
    counts, or spikes. So the last, of the readout, is about the readout's memory only, while each one before it has
    gone back through the time of one more layer. A network that forecasts is fed the true signal in all steps here.

    Args:
      trained: the network.
      samples: a batch, with block index and targets.

    Returns:
      a curve for each hidden layer, and one for the readout.
    """
    layers: Any = trained.network.apply(trained.variables, trained.num_channels, method="bind_parameters")
    task = build_task(trained.config)

    def loss(x: Array, first: int) -> Array:
        y = batch_major(outputs(layers[first:], x))
        return task.sums(y, samples.block_index, samples.targets).mean_loss()

    x, norms = time_major(jnp.asarray(samples.inputs, float)), []
    for number in range(len(layers)):
        if number:
            x = outputs(layers[number - 1 : number], x)
        gradient = jax.jit(jax.grad(loss), static_argnums=1)(x, number)
        norms.append(np.asarray(jnp.sqrt(jnp.sum(gradient**2, axis=(1, 2)))))
    return norms
