"""A network with its parameters as one file, which runs wherever JAX does, without this library."""

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array

from seadlif_jax.nn.network import Network, time_major
from seadlif_jax.runs.checkpoint import Variables

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def serialize(network: Network, variables: Variables, num_channels: int) -> bytes:
    """The outputs of a network: `float32 [batch, time, channel] -> [batch, time, class]`, for any batch and time.

    As `jax.export` writes them. The states go through a plain scan, one step at a time: made to be read everywhere, not
    for speed.
    """

    def outputs(inputs: Array) -> Array:
        def step(state, x):
            return network.apply(variables, state, x, method="step")

        first = jax.tree.map(lambda one: jnp.zeros((batch, *one.shape[1:]), one.dtype), network.initial_state(1))
        return time_major(jax.lax.scan(step, first, time_major(inputs))[1])

    batch, time = jax.export.symbolic_shape("batch, time")
    inputs = jax.ShapeDtypeStruct((batch, time, num_channels), jnp.float32)
    return bytes(jax.export.export(jax.jit(outputs), platforms=PLATFORMS)(inputs).serialize())
