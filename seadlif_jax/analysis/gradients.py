"""Gradients of the loss with respect to what each layer receives in each step: how far back in time they reach."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.inference.trained_model import TrainedModel
from seadlif_jax.nn import Network


def gradient_norms(model: TrainedModel, samples: Samples) -> list[Float[np.ndarray, " time"]]:
    """Return `|dL / dx_t|` over samples and channels, for the input `x_t` of each layer in each step.

    `L` is the loss of these samples, a mean over their targets; `x_t` is what a layer receives from the one before:
    counts, or spikes. The last curve, of the readout, shows the readout's memory alone; each curve before it has passed
    back through the time of one more layer. A network that forecasts is fed the true signal in all steps here.

    Args:
      model: the network.
      samples: a batch with block index and targets.

    Returns:
      a curve for each hidden layer, and one for the readout.
    """
    task = model.task
    samples = task.prepare(samples)

    def loss(x: Array, first: int) -> Array:
        network, variables = _from_layer(model.network, model.variables, first)
        outputs: Any = network.apply(variables, x)
        return task.sums(outputs, samples.block_index, samples.targets).mean_loss()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    x, norms = jnp.asarray(samples.inputs, float), []
    for number, layer in enumerate((*model.network.layers, None)):
        norms.append(np.asarray(jnp.sqrt(jnp.sum(gradient(x, number) ** 2, axis=(0, 2)))))
        if layer is not None:
            variables = {name: modules.get(f"layers_{number}", {}) for name, modules in model.variables.items()}
            spikes: Any = layer.apply(variables, x)
            x = spikes
    return norms


def _from_layer(network: Network, variables: Mapping[str, Any], first: int) -> tuple[Network, dict[str, Any]]:
    """Return the part of a network from a hidden layer on, with its variables; the readout alone at their end."""

    def part(modules: Mapping[str, Any]) -> dict[str, Any]:
        kept = {
            f"layers_{number - first}": modules[f"layers_{number}"]
            for number in range(first, len(network.layers))
            if f"layers_{number}" in modules
        }
        return kept | {name: modules[name] for name in ("readout",) if name in modules}

    tail = Network(layers=network.layers[first:], readout=network.readout)
    return tail, {collection: part(modules) for collection, modules in variables.items()}
