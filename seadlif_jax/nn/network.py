"""Networks: hidden layers with dropout on their spikes, then the readout.

    network = Network(
        layers=(RecurrentLayer(360, SEAdLIF()), RecurrentLayer(360, SEAdLIF())),
        readout=LeakyReadout(20),
        dropout=0.15,
    )
    variables = network.init(jax.random.key(0), inputs)     # inputs [batch, time, channel]
    outputs = network.apply(variables, inputs)               # [batch, time, class]

A network is static, and hashable. Numbers that vary between the members of a sweep are data, `Hyperparameters`, given
with each call.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num

from seadlif_jax.neurons import Neuron, Scalar
from seadlif_jax.nn.dropout import Dropout, sample_keys
from seadlif_jax.nn.layer import Layer
from seadlif_jax.nn.layers import LeakyReadout, RecurrentLayer, batch_major, time_major, uses_batch_moments
from seadlif_jax.nn.scan import (
    activity,
    scan_layers,
    scan_states,
    scan_with_feedback,
)
from seadlif_jax.utils.errors import InputError

Activity = tuple[Float[Array, "batch time"], ...]


class Hyperparameters(NamedTuple):
    """Numbers that override those of a network's modules, possibly traced.

    Attributes:
      neurons: for each hidden layer, a neuron of the same class as the layer's.
      dropout: rate; None for none.

    Example:
      >>> from seadlif_jax.neurons import SEAdLIF
      >>> hyper = Hyperparameters(neurons=(SEAdLIF(q=60.0),), dropout=0.1)
      >>> hyper.neurons[0].q
      60.0
    """

    neurons: tuple[Neuron, ...]
    dropout: Scalar | None = None


class Network(nn.Module):
    """Hidden layers with dropout on their spikes, then the readout.

    Attributes:
      layers: the hidden layers, from input to output.
      readout: the readout layer.
      dropout: probability that a spike is dropped (the others are scaled up to keep the mean), with a new mask every
        step; 0 for none. Recurrent connections see all spikes. Applies where a key is given, as `dropout_key` (one for
        the batch, or one for each sample) or as `rngs={"dropout": key}`.

    In training, a network whose layers have `batch_norm` is called with `mutable=["batch_stats"]`, and also returns the
    new running moments. A forecast cannot be trained so: its inputs are not known before.

    Example:
      >>> network = Network(layers=(RecurrentLayer(8),), readout=LeakyReadout(2))
      >>> inputs = jnp.ones((3, 10, 4))
      >>> outputs, variables = network.init_with_output(jax.random.key(0), inputs)
      >>> outputs.shape
      (3, 10, 2)
    """

    layers: tuple[RecurrentLayer, ...]
    readout: LeakyReadout
    dropout: float = 0.0

    def __call__(
        self,
        inputs: Num[Array, "batch time channel"],
        dropout_key: Key[Array, "*samples"] | None = None,
        hyper: Hyperparameters | None = None,
        feedback_from: int | None = None,
        return_activity: bool = False,
    ) -> Float[Array, "batch time output"] | tuple[Float[Array, "batch time output"], Activity]:
        """Return the readout of every step, `[batch, time, output]`, from the initial state.

        Args:
          inputs: a batch of sequences.
          dropout_key: makes it a training pass, with dropout.
          hyper: numbers that override those of the modules.
          feedback_from: for forecasts, the step from which the input is the network's own, detached output.
          return_activity: return a pair of readout and activity: a tuple with, for each spiking hidden layer, the
            fraction of the neurons with outputs that spike in each step, before dropout, `[batch, time]`.
        """
        x = time_major(inputs)
        dropout = self._dropout(dropout_key, x.shape[1], hyper)
        if feedback_from is not None:
            results = self._forecast(x, feedback_from, dropout, hyper)
        elif self._trains_batch_norm():
            results = self._normalized_by_batch(x, dropout, hyper, return_activity)
        else:
            results = scan_layers(self.as_layers(x.shape[-1], hyper), x, dropout, return_activity)
        outputs, activity = jax.tree.map(batch_major, results)
        return (outputs, activity) if return_activity else outputs

    def trace(
        self,
        inputs: Num[Array, "batch time channel"],
        dropout_key: Key[Array, "*samples"] | None = None,
        hyper: Hyperparameters | None = None,
    ) -> tuple[Float[Array, "batch time output"], tuple[Any, ...]]:
        """Return the readout of every step, and the states of each hidden layer, every field `[batch, time, neuron]`.

        For inspection: slower than a call, and far slower to differentiate.
        """
        x = time_major(inputs)
        dropout = self._dropout(dropout_key, x.shape[1], hyper)
        *hidden, readout = self.as_layers(x.shape[-1], hyper)
        traces = []
        for index, layer in enumerate(hidden):
            states = scan_states(layer, x)
            traces.append(jax.tree.map(batch_major, states))
            x = layer.outgoing(states.output)
            if dropout is not None:
                x = dropout.apply_to_steps(x, index, jnp.arange(len(x)))
        return batch_major(scan_states(readout, x).output), tuple(traces)

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        """Return the state before the first step, for `step`: one entry a layer, the readout's last."""
        return tuple(layer.initial_state(batch) for layer in (*self.layers, self.readout))

    def step(
        self, state: tuple[Any, ...], x: Num[Array, "batch channel"], hyper: Hyperparameters | None = None
    ) -> tuple[tuple[Any, ...], Float[Array, "batch output"]]:
        """Return the state after one step of streaming, and its readout: `(state, x_t) -> (state, y_t)`. No dropout."""
        return step_layers(self.as_layers(x.shape[-1], hyper), state, x)

    def as_layers(self, channels: int, hyper: Hyperparameters | None = None) -> tuple[Layer, ...]:
        """Return all layers with their parameters, the readout last, for functions of `seadlif_jax.nn.scan`."""
        if self._trains_batch_norm():
            raise InputError('only a call trains batch normalisation; leave out mutable=["batch_stats"]')
        neurons = self._neurons(hyper)
        widths = (channels, *(layer.output_features for layer in self.layers))
        hidden = [
            layer.as_layer(width, neuron)
            for layer, width, neuron in zip(self.layers, widths[:-1], neurons, strict=True)
        ]
        return (*hidden, self.readout.as_layer(widths[-1]))

    def project(self, params: Mapping[str, Any], hyper: Hyperparameters | None = None) -> dict[str, Any]:
        """Return the parameters, moved back within the bounds that the layers declare; to be called after each update.

        Raises:
          InputError: these are no parameters of a network.

        Example:
          >>> network = Network(layers=(RecurrentLayer(1),), readout=LeakyReadout(2))
          >>> params = {"layers_0": {"a": jnp.array([1.5])}, "readout": {"bias": jnp.array([7.0])}}
          >>> network.project(params)["layers_0"]["a"].tolist()
          [1.0]
        """
        if "readout" not in params:
            raise InputError(f'these are not variables["params"]: they hold {", ".join(params) or "nothing"}')
        projected = dict(params)
        for index, layer in enumerate(self.layers):
            name = f"layers_{index}"
            projected[name] = layer.project(params[name], None if hyper is None else hyper.neurons[index])
        return projected | {"readout": self.readout.project(params["readout"])}

    def _normalized_by_batch(self, x, dropout, hyper, return_activity):
        """Run layer after layer, since the moments of a layer's inputs are those of all steps."""
        rates: tuple[Any, ...] = ()

        def run(layer, x):
            layer = layer.replace(execution=layer.execution.in_network(self.layers[0].execution))
            return scan_layers((layer,), x, None, return_activity)

        for index, (layer, neuron) in enumerate(zip(self.layers, self._neurons(hyper), strict=True)):
            x, of_layer = run(layer.as_layer(x.shape[-1], neuron, training_inputs=x), x)
            rates += of_layer
            if dropout is not None:
                x = dropout.apply_to_steps(x, index, jnp.arange(len(x)))
        return run(self.readout.as_layer(x.shape[-1]), x)[0], rates

    def _trains_batch_norm(self):
        return uses_batch_moments(self) and any(layer.batch_norm is not None for layer in self.layers)

    def _neurons(self, hyper):
        neurons = tuple(layer.neuron for layer in self.layers)
        if hyper is None:
            return neurons
        if list(map(type, hyper.neurons)) != list(map(type, neurons)):
            given, needed = (", ".join(type(neuron).__name__ for neuron in each) for each in (hyper.neurons, neurons))
            raise InputError(f"the hyperparameters are for layers of {given}; the network has {needed}")
        return hyper.neurons

    def _dropout(self, key, batch, hyper):
        if key is None and self.has_rng("dropout"):
            key = self.make_rng("dropout")
        keys = None if key is None else sample_keys(key, batch)  # a batch without a fixed size has no key
        rate = (self.dropout or None) if hyper is None else hyper.dropout
        if isinstance(rate, int | float) and not 0 <= rate < 1:
            raise InputError(f"dropout = {rate}: it is a probability, at least 0 and less than 1")
        return None if keys is None or rate is None else Dropout(keys, rate)

    def _forecast(self, x, feedback_from, dropout, hyper):
        """Return the predictions, and the activity of the hidden layers; all is time-major."""
        if x.shape[-1] != self.readout.features:
            raise InputError(
                f"a forecast is fed its own outputs, but has {self.readout.features} outputs and {x.shape[-1]} channels"
            )
        layers = self.as_layers(x.shape[-1], hyper)
        return scan_with_feedback(
            lambda state, x, t: step_layers(layers, state, x, dropout, t),
            self.initial_state(x.shape[1]),
            x.astype(float),  # as states are
            feedback_from,
            observe=lambda state: activity(layers, list(map(_outgoing, layers, state))),
        )


def step_layers(
    layers: Sequence[Layer],
    state: tuple[Any, ...],
    x: Num[Array, "batch channel"],
    dropout: Dropout | None = None,
    t: Int[Array, ""] | int = 0,
) -> tuple[tuple[Any, ...], Float[Array, "batch output"]]:
    """Return the states of layers after step `t`, each fed by the one before, and the outputs of the last."""
    new_state: list[Any] = []
    for index, (layer, layer_state) in enumerate(zip(layers, state, strict=True)):
        if index and dropout is not None:
            x = dropout.apply(x, index - 1, t)
        new_state.append(layer.step(layer_state, layer.project(x)))
        x = _outgoing(layer, new_state[-1])
    return tuple(new_state), x


def _outgoing(layer, state):
    return layer.outgoing(state.output)
