"""Inputs on which code for a device is compared with JAX."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from seadlif_jax.device.layers import device_layers
from seadlif_jax.nn import Network

STEPS, DRAWS, RATE = 200, 20, 0.2


def draw_test_inputs(network: Network, variables: Mapping[str, Any]) -> np.ndarray:
    """Return counts of events, `[1, time, channel]`, the second half of them with random signs.

    Of several draws, they are those in which potentials keep the largest distance from their thresholds: nearer to
    them, sums that are rounded otherwise would lead to other spikes.
    """
    layers = device_layers(network, variables)
    rngs = [np.random.default_rng(seed) for seed in range(DRAWS)]
    inputs = np.stack([rng.poisson(RATE, (STEPS, layers[0].channels)) for rng in rngs])
    late = inputs[:, STEPS // 2 :]
    late *= np.stack([rng.choice([-1, 1], late.shape[1:]) for rng in rngs])
    result: Any = network.apply(variables, jnp.asarray(inputs, jnp.int32), method="trace")
    distances = [
        np.abs(np.asarray(state.u_hat) - layer.threshold).min((1, 2))
        for state, layer in zip(result[1], layers, strict=False)
    ]
    best = np.argmax(np.min(distances, axis=0))
    return inputs[best : best + 1]
