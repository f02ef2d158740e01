"""The network of a config at work, compiled: once for each config and shape, whoever calls."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num
from ml_collections import FrozenConfigDict

from seadlif_jax.build import NetworkHyperparameters, build_network, build_task
from seadlif_jax.losses import aggregate
from seadlif_jax.runs.checkpoint import Variables

Inputs = Num[Array, "sample time channel"] | Num[Any, "sample time channel"]


@functools.partial(jax.jit, static_argnums=0)
def outputs(
    config: FrozenConfigDict, hyper: NetworkHyperparameters, variables: Variables, inputs: Inputs
) -> Float[Array, "sample time output"]:
    """The readout of every step; of a network that forecasts, its predictions."""
    return build_task(config).run(build_network(config, inputs.shape[-1], hyper), variables, inputs)


@functools.partial(jax.jit, static_argnums=0)
def probabilities(
    config: FrozenConfigDict,
    hyper: NetworkHyperparameters,
    variables: Variables,
    inputs: Inputs,
    block_index: Int[Any, "sample time"],
) -> Float[Array, "sample class"]:
    """Of each class for block 1: the softmax of the scores that the loss is of."""
    scores = aggregate(outputs(config, hyper, variables, inputs), block_index, 1, config.model.aggregation)
    return jax.nn.softmax(scores[:, 1])


@functools.partial(jax.jit, static_argnums=0)
def trace(config: FrozenConfigDict, hyper: NetworkHyperparameters, variables: Variables, inputs: Inputs) -> Any:
    """The readout of every step and the states of the hidden layers: `Network.trace`."""
    return build_network(config, inputs.shape[-1], hyper).apply(variables, inputs, method="trace")


@functools.partial(jax.jit, static_argnums=0)
def step(
    config: FrozenConfigDict,
    hyper: NetworkHyperparameters,
    variables: Variables,
    state: Any,
    x: Num[Any, "batch channel"],
) -> Any:
    """One step of streaming: `Network.step`."""
    return build_network(config, x.shape[-1], hyper).apply(variables, state, jnp.asarray(x), method="step")
