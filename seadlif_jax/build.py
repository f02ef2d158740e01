"""From a config to the network that it describes."""

from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax.nn.execution import Compute
from seadlif_jax.nn.network import LeakyReadout, Network, RecurrentLayer


def build_network(config: ConfigDict | FrozenConfigDict, channels: int) -> Network:
    """Return the network of a single run: static, so that compiled functions can be looked up by it."""
    model = config.model
    layers = tuple(
        RecurrentLayer(
            features=features,
            neuron=model.neuron,
            recurrent=model.recurrent,
            tau_u=tuple(model.tau_u),
            tau_w=tuple(model.tau_w),
            a=tuple(model.a),
            b=tuple(model.b),
            q=model.q,
            surrogate=model.surrogate.shape,
            slope=model.surrogate.slope,
            c=model.surrogate.c,
            forget_bias=model.forget_bias,
            compute=Compute(**config.compute),
        )
        for features in model.hidden
    )
    readout = LeakyReadout(config.data.num_classes, tuple(model.tau_out), model.train_tau_out)
    return Network(layers=layers, readout=readout, dropout=model.dropout or None)
