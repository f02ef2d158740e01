"""From a config to the objects that it describes: the task, the network, and its hyperparameters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax.nn.execution import Compute
from seadlif_jax.nn.network import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.tasks import TASKS, Task

TracedRange = tuple[Float[Array, ""], Float[Array, ""]]


class NetworkHyperparameters(NamedTuple):
    """Numbers of a network that may differ between the members of a sweep: traced values, never compiled in.

    Ranges are pairs. `dropout` is None for none, which spares drawing masks.
    """

    tau_u: TracedRange
    tau_w: TracedRange
    a: TracedRange
    b: TracedRange
    q: Float[Array, ""]
    slope: Float[Array, ""]
    c: Float[Array, ""]
    dropout: Float[Array, ""] | None


def build_task(config: ConfigDict | FrozenConfigDict) -> Task:
    """Return the task that `config.task` names; raises a `ConfigError` for fields that do not fit it."""
    return TASKS[config.task].from_config(config)


def build_hyperparameters(config: ConfigDict | FrozenConfigDict) -> NetworkHyperparameters:
    """Return the hyperparameters of a config's network as arrays."""
    return jax.tree.map(lambda value: jnp.asarray(value, float), _static_hyperparameters(config))


def stack_hyperparameters(configs: Sequence[ConfigDict]) -> NetworkHyperparameters:
    """Return the hyperparameters of the members of a sweep, each with an axis of members."""
    members = [build_hyperparameters(config) for config in configs]
    if any(hyper.dropout is not None for hyper in members):
        # All draw masks, or none does. With a dropout of 0 nothing is dropped.
        members = [
            hyper._replace(dropout=jnp.zeros(()) if hyper.dropout is None else hyper.dropout) for hyper in members
        ]
    return jax.tree.map(lambda *values: jnp.stack(values), *members)


def build_network(
    config: ConfigDict | FrozenConfigDict, channels: int, hyper: NetworkHyperparameters | None = None
) -> Network:
    """Return the network of a config for inputs with this number of channels.

    Args:
      config: the config.
      channels: number of input channels; a forecast has as many outputs.
      hyper: values in place of those of the config.
    """
    model = config.model
    hyper = _static_hyperparameters(config) if hyper is None else hyper

    def layer(features: int) -> RecurrentLayer:
        return RecurrentLayer(
            features=features,
            neuron=model.neuron,
            recurrent=model.recurrent,
            tau_u=hyper.tau_u,
            tau_w=hyper.tau_w,
            a=hyper.a,
            b=hyper.b,
            q=hyper.q,
            surrogate=model.surrogate.shape,
            slope=hyper.slope,
            c=hyper.c,
            forget_bias=model.forget_bias,
            compute=Compute(**config.compute),
        )

    return Network(
        layers=tuple(layer(features) for features in model.hidden),
        readout=LeakyReadout(build_task(config).num_outputs(channels), tuple(model.tau_out), model.train_tau_out),
        dropout=hyper.dropout,
    )


def _static_hyperparameters(config: ConfigDict | FrozenConfigDict) -> Any:
    """Return them as Python's numbers, with which the network is hashable."""
    model = config.model
    return NetworkHyperparameters(
        tau_u=tuple(model.tau_u),
        tau_w=tuple(model.tau_w),
        a=tuple(model.a),
        b=tuple(model.b),
        q=model.q,
        slope=model.surrogate.slope,
        c=model.surrogate.c,
        dropout=model.dropout or None,
    )
