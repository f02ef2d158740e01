"""A network through time by `Network.step` alone, one step after the other."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from seadlif_jax.nn.layers import time_major
from seadlif_jax.nn.network import Network

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

# From the input of a step, and the states before and after it, to what is recorded of it.
Observe = Callable[[Array, tuple[Any, ...], tuple[Any, ...]], PyTree[Array]]


def stream(
    network: Network, variables: Mapping[str, Any], inputs: Array, observe: Observe, feedback_from: int | None = None
) -> PyTree[Array]:
    """Run a network over sequences from the zero state, in memory that does not grow with its hidden layers.

    Args:
      network: any network; no dropout.
      variables: its variables, by collection.
      inputs: `[batch, time, channel]`; either length may be symbolic.
      observe: function of `(x_t, state before, state after)`; one entry of a state is a layer, the readout's last.
      feedback_from: for a forecast, the step from which the network is fed its own output (see `Network.forecast`).

    Returns:
      what `observe` returns, stacked over time: every array `[time, ...]`.
    """

    def body(state: Any, step_input: tuple[Array, Array]) -> tuple[Any, Any]:
        x, t = step_input
        if feedback_from is not None:
            x = jnp.where(t < feedback_from, x, state[-1].output)
        stepped: Any = network.apply(variables, state, x, method="step")
        new_state, _ = stepped
        return new_state, observe(x, state, new_state)

    batch, num_steps, _ = inputs.shape
    # A layer may know no symbolic batch.
    first = jax.tree.map(lambda one: jnp.broadcast_to(one, (batch, *one.shape[1:])), network.initial_state(1))
    return jax.lax.scan(body, first, (time_major(inputs), jnp.arange(num_steps)))[1]


def serialize_network(network: Network, variables: Mapping[str, Any], num_channels: int) -> bytes:
    """Return a network as `jax.export` writes it, to be run without this library on any platform of JAX.

    The function in it is `float32 [batch, time, channel] -> [batch, time, class]` for any batch and time: the readout
    of every step. It is made to be read everywhere, not for speed.
    """

    def outputs(inputs: Array) -> Array:
        return time_major(stream(network, variables, inputs, lambda x, before, after: after[-1].output))

    batch, time = jax.export.symbolic_shape("batch, time")
    inputs = jax.ShapeDtypeStruct((batch, time, num_channels), jnp.float32)
    return bytes(jax.export.export(jax.jit(outputs), platforms=PLATFORMS)(inputs).serialize())
