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
    layers, draws = device_layers(network, variables), []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        inputs = rng.poisson(RATE, (1, STEPS, layers[0].channels))
        inputs[:, STEPS // 2 :] *= rng.choice([-1, 1], inputs[:, STEPS // 2 :].shape)
        result: Any = network.apply(variables, jnp.asarray(inputs, jnp.int32), method="trace")
        distances = [
            float(np.abs(np.asarray(state.u_hat) - layer.threshold).min())
            for state, layer in zip(result[1], layers, strict=False)
        ]
        draws.append((min(distances), seed, inputs))
    return max(draws)[-1]
