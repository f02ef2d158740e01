"""Flax modules of one layer: they own the parameters, and know their bounds.

Arrays are batch-major at this surface. Trained parameters are in the collection "params"; "constants" holds what is
drawn once and not trained (the fixed time constants of a readout), so that no optimizer ever sees it; "batch_stats" the
running means and variances of batch normalisation, as in Flax.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax.projections
from jaxtyping import Array, Float, Key, Num

from seadlif_jax.neurons import LeakyIntegrator, Neuron, Range, SEAdLIF, decay, interpolate, symmetric_uniform
from seadlif_jax.neurons.neuron import refuse_nonpositive
from seadlif_jax.nn.batch_norm import BatchNorm, Moments
from seadlif_jax.nn.execution import Execution
from seadlif_jax.nn.layer import Layer, Weights
from seadlif_jax.nn.quantization import rounded
from seadlif_jax.nn.scan import scan_layers
from seadlif_jax.utils.errors import InputError

Params = Mapping[str, Array]


def time_major(x: Num[Array, "batch time channel"]) -> Num[Array, "time batch channel"]:
    """Swap the axes of batch and time.

    Raises:
      InputError: the array has other than three axes.
    """
    if jnp.ndim(x) != 3:
        raise InputError(f"inputs have shape {jnp.shape(x)}; they must be [batch, time, channel]")
    return jnp.swapaxes(x, 0, 1)


def batch_major(x: Num[Array, "time batch ..."]) -> Num[Array, "batch time ..."]:
    """Swap the axes of time and batch."""
    return jnp.swapaxes(x, 0, 1)


def uses_batch_moments(module: nn.Module) -> bool:
    """Return whether layers with `batch_norm` take the moments of the batch, as in training, or the running ones."""
    return module.is_mutable_collection("batch_stats") and not module.is_initializing()


def project(params: Params, bounds: Mapping[str, Range]) -> dict[str, Array]:
    """Move the parameters that have bounds to the nearest point within them."""
    return {
        name: optax.projections.projection_box(value, *bounds[name]) if name in bounds else value
        for name, value in params.items()
    }


class _Neurons(nn.Module):
    """Recurrently connected neurons: what `RecurrentLayer` and `RecurrentCell` share."""

    features: int
    neuron: Neuron = SEAdLIF()
    recurrent: bool = True
    execution: Execution = Execution()
    self_connections: bool = True
    batch_norm: BatchNorm | None = None
    round_weights: bool = False
    num_outputs: int | None = None

    @property
    def output_features(self) -> int:
        """Number of neurons with outputs."""
        return self.features if self.num_outputs is None else self.num_outputs

    @nn.compact
    def as_layer(
        self,
        channels: int,
        neuron: Neuron | None = None,
        training_inputs: Num[Array, "time batch channel"] | None = None,
    ) -> Layer:
        """Return the layer with its parameters, for functions of `seadlif_jax.nn.scan`.

        Args:
          channels: number of inputs.
          neuron: replaces the layer's own; of the same class, with other, possibly traced, numbers.
          training_inputs: what `batch_norm` takes mean and variance from; None for the running ones.
        """
        if not isinstance(self.features, int | np.integer) or not isinstance(self.neuron, Neuron):
            raise InputError(
                f"RecurrentLayer({self.features!r}, {self.neuron!r}): it takes a number of neurons, and a neuron such "
                "as SEAdLIF()"
            )
        if not isinstance(self.batch_norm, BatchNorm | None):
            raise InputError(f"batch_norm = {self.batch_norm!r}: it must be a seadlif_jax.BatchNorm, or None for none")
        _check_sizes(self.features, channels)
        if not 0 < self.output_features <= self.features:
            raise InputError(f"num_outputs = {self.num_outputs}: it must be in 1..{self.features}, the features")
        neuron = self.neuron if neuron is None else neuron
        dtype = jnp.result_type(float)
        width = neuron.gates * self.features
        initial = neuron.initial_weights(channels, self.features)

        kernel = self.param("kernel", initial["kernel"], (channels, width), dtype)
        bias = self.param("bias", initial["bias"], (width,), dtype)
        recurrent_kernel = None
        if self.recurrent:
            shape = (self.features, width)
            init = initial["recurrent_kernel"]
            if self.self_connections:
                recurrent_kernel = self.param("recurrent_kernel", init, shape, dtype)
            else:  # zero from the start, and without gradient
                stored = self.param("recurrent_kernel", lambda *args: _between_neurons(init(*args)), shape, dtype)
                recurrent_kernel = _between_neurons(stored)
        if "recurrent_bias" in initial:
            bias = bias + self.param("recurrent_bias", initial["recurrent_bias"], (width,), dtype)

        def uniform(key: Array, low: Any, high: Any) -> Float[Array, " neuron"]:
            return interpolate(jax.random.uniform(key, (self.features,), dtype), (low, high))

        params = {name: self.param(name, uniform, *p.initial) for name, p in neuron.named_parameters().items()}
        weights = Weights(kernel, bias, recurrent_kernel)
        if self.batch_norm is not None:
            weights = self._normalized(self.batch_norm, weights, training_inputs)
        if self.round_weights:
            weights = rounded(weights)
        return Layer(neuron, neuron.coefficients(params), weights, self.execution, self.num_outputs)

    def _normalized(self, batch_norm: BatchNorm, weights: Weights, training_inputs: Array | None) -> Weights:
        """Return the weights of the layer with normalisation, and update the running moments in training."""
        shape, dtype = weights.bias.shape, weights.bias.dtype
        scale = self.param("norm_scale", nn.initializers.ones, shape, dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, dtype)
        variance = self.variable("batch_stats", "var", jnp.ones, shape, dtype)
        moments = Moments(mean.value, variance.value)
        if training_inputs is not None and training_inputs.size:
            running, moments = moments, batch_norm.moments(training_inputs, weights.kernel)
            mean.value, variance.value = batch_norm.update(running, moments)
        return batch_norm.fold(weights, scale, moments)

    def initial_state(self, batch: int) -> Any:
        """Return the state before the first step, `[batch, neuron]`."""
        return self.neuron.initial_state((batch, self.features))

    def bounds(self, neuron: Neuron | None = None) -> Mapping[str, Range]:
        """Return the parameters that are kept within bounds, by name, with their lowest and highest value."""
        neuron = self.neuron if neuron is None else neuron
        return {name: parameter.bounds for name, parameter in neuron.named_parameters().items()}

    def project(self, params: Params, neuron: Neuron | None = None) -> dict[str, Array]:
        """Return the layer's parameters, moved back within their bounds; to be called after each update.

        Example:
          >>> params = {"a": jnp.array([1.5]), "k_u": jnp.array([-0.5]), "bias": jnp.array([7.0])}
          >>> {name: value.tolist() for name, value in RecurrentLayer(1).project(params).items()}
          {'a': [1.0], 'k_u': [0.0], 'bias': [7.0]}
        """
        return project(params, self.bounds(neuron))


def _check_sizes(features: int, channels: int) -> None:
    if features < 1 or channels < 1:
        raise InputError(f"a layer has {features} neurons and {channels} inputs; there must be at least one of each")


def _between_neurons(recurrent_kernel: Float[Array, "neuron current"]) -> Float[Array, "neuron current"]:
    """Return the weights with zero for those of a neuron to itself."""
    features, width = recurrent_kernel.shape
    return recurrent_kernel * jnp.tile(1 - jnp.eye(features), width // features)


class RecurrentLayer(_Neurons):
    """A layer of recurrently connected neurons, over whole sequences.

    `I_t = x_t kernel + bias + output_{t-1} recurrent_kernel`, then `neuron.step`.

    Attributes:
      features: number of neurons.
      neuron: the neuron (see `seadlif_jax.neurons`).
      recurrent: whether the outputs reach the inputs of the same layer one step later.
      execution: how to compute; `engine`, `plain_scan` and `chunk_mib` are those of a network's first layer.
      self_connections: whether the output of a neuron also reaches the neuron itself.
      batch_norm: normalisation of the feed-forward current, by the moments of the batch if the collection
        "batch_stats" is mutable, as in training, and otherwise by the running ones; None for none.
      round_weights: whether to compute with weights of 8 bits (see `seadlif_jax.nn.quantization`).
      num_outputs: number of neurons, from the first, whose outputs leave the layer; the others act within the layer
        only. None for all.

    Parameters: `kernel [channel, neuron]`, `bias [neuron]`, `recurrent_kernel [neuron, neuron]`, with the initial
    values of `neuron.initial_weights`; those of `neuron.parameters`, each `[neuron]`; and with `batch_norm`,
    `norm_scale [neuron]`, initially 1.

    Example:
      >>> from seadlif_jax.neurons import LIF
      >>> layer = RecurrentLayer(8, LIF())
      >>> spikes, variables = layer.init_with_output(jax.random.key(0), jnp.ones((3, 10, 4)))
      >>> spikes.shape
      (3, 10, 8)
    """

    def __call__(
        self, inputs: Num[Array, "batch time channel"], neuron: Neuron | None = None
    ) -> Float[Array, "batch time output"]:
        """Return the outputs for a batch of sequences, from the initial state."""
        x = time_major(inputs)
        layer = self.as_layer(x.shape[-1], neuron, x if uses_batch_moments(self) else None)
        return batch_major(scan_layers((layer,), x)[0])


class RecurrentCell(_Neurons, nn.RNNCellBase):
    """One time step of a `RecurrentLayer`, with the same parameters: for `flax.linen.RNN`, and for streaming.

    With `batch_norm`, it takes the running moments, which only a layer can train; `flax.linen.RNN` then needs
    `variable_broadcast=("params", "batch_stats")`.

    Example:
      >>> rnn = nn.RNN(RecurrentCell(8))
      >>> spikes, variables = rnn.init_with_output(jax.random.key(0), jnp.ones((3, 10, 4)))
      >>> spikes.shape
      (3, 10, 8)
      >>> cell, carry = RecurrentCell(8), RecurrentCell(8).initial_state(batch=3)
      >>> params = {"params": variables["params"]["cell"]}
      >>> carry, spikes = cell.apply(params, carry, jnp.ones((3, 4)))
    """

    def __call__(self, carry: Any, inputs: Num[Array, "batch channel"]) -> tuple[Any, Float[Array, "batch output"]]:
        """Return the state after a step, and its outputs."""
        if self.batch_norm is not None and uses_batch_moments(self):
            raise InputError("a cell cannot train batch normalisation, which needs whole sequences: use RecurrentLayer")
        layer = self.as_layer(inputs.shape[-1])
        carry = layer.step(carry, layer.project(inputs))
        return carry, layer.outgoing(carry.output)

    @nn.nowrap
    def initialize_carry(self, rng: Key[Array, ""], input_shape: tuple[int, ...]) -> Any:
        """Return the state before the first step, for inputs of `input_shape`; nothing in it is random."""
        del rng
        return self.neuron.initial_state((*input_shape[:-1], self.features))

    @property
    def num_feature_axes(self) -> int:
        return 1


class LeakyReadout(nn.Module):
    """Leaky integrators, one an output: `y_t = alpha y_{t-1} + (1 - alpha) (x_t kernel + bias)`.

    Attributes:
      features: number of outputs: classes, or channels of a forecast.
      tau: range of the time constants in steps.
      train_tau: whether the time constants are trained within their range (parameter `k_u`); otherwise they are drawn
        uniformly from it once, and kept in the collection "constants" as `tau`.
      execution: how to compute.
      round_weights: as for `RecurrentLayer`.

    Example:
      >>> readout = LeakyReadout(2, tau=(3.0, 3.0))
      >>> potentials, variables = readout.init_with_output(jax.random.key(0), jnp.ones((3, 10, 8)))
      >>> potentials.shape, variables["constants"]["tau"].tolist()
      ((3, 10, 2), [3.0, 3.0])
    """

    features: int
    tau: Range = (15.0, 15.0)
    train_tau: bool = False
    execution: Execution = Execution()
    round_weights: bool = False

    @nn.compact
    def as_layer(self, channels: int) -> Layer:
        """Return the layer with its parameters, for functions of `seadlif_jax.nn.scan`."""
        _check_sizes(self.features, channels)
        refuse_nonpositive(self, "tau")
        dtype = jnp.result_type(float)
        kernel = self.param("kernel", symmetric_uniform(channels), (channels, self.features), dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), dtype)
        weights = Weights(kernel, bias)
        if self.round_weights:
            weights = rounded(weights)
        return Layer(LeakyIntegrator(), decay(self._tau(dtype)), weights, self.execution)

    def initial_state(self, batch: int) -> Any:
        """Return the state before the first step, `[batch, output]`."""
        return LeakyIntegrator().initial_state((batch, self.features))

    def project(self, params: Params) -> dict[str, Array]:
        """Return the layer's parameters, moved back within their bounds; to be called after each update."""
        return project(params, {"k_u": (0.0, 1.0)})

    def __call__(self, inputs: Num[Array, "batch time neuron"]) -> Float[Array, "batch time output"]:
        """Return the membrane potentials for a batch of sequences, from zero."""
        x = time_major(inputs)
        return batch_major(scan_layers((self.as_layer(x.shape[-1]),), x)[0])

    def _tau(self, dtype: Any) -> Float[Array, " output"]:
        shape = (self.features,)
        if self.train_tau:
            return interpolate(self.param("k_u", nn.initializers.uniform(1.0), shape, dtype), self.tau)

        def draw():
            return interpolate(jax.random.uniform(self.make_rng("params"), shape, dtype), self.tau)

        return self.variable("constants", "tau", draw).value
