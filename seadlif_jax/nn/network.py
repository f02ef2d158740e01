"""Flax modules that own the parameters; the computation is in `neurons` and `unroll`.

    network = Network(
        layers=(RecurrentLayer(360), RecurrentLayer(360)),
        readout=LeakyReadout(20),
        dropout=0.15,
    )
    variables = network.init(jax.random.key(0), inputs)     # inputs [batch, time, channel]
    outputs = network.apply(variables, inputs)               # [batch, time, class]

Arrays are batch-major at this surface. Trained parameters are in the collection "params"; "constants" holds what is
drawn once and not trained (the fixed time constants of the readout), so that no optimizer ever sees it.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Num

from seadlif_jax import neurons
from seadlif_jax.neurons.surrogate import Scalar, spike_function
from seadlif_jax.nn.bounds import BOXES
from seadlif_jax.nn.execution import Compute, keep
from seadlif_jax.nn.scan import Layer, activity, advance, outputs, outputs_with_activity, unroll, unroll_steps

Range = tuple[Scalar, Scalar]


def symmetric_uniform(key: Array, shape: tuple[int, ...], dtype: Any, fan_in: int) -> Float[Array, "..."]:
    """Uniform in +-1/sqrt(fan_in)."""
    return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)


def uniform(key: Array, shape: tuple[int, ...], dtype: Any, low: Scalar, high: Scalar) -> Float[Array, "..."]:
    """Uniform in `low`..`high`."""
    return interpolate(jax.random.uniform(key, shape, dtype), (low, high))


def interpolate(k: Float[Array, " neuron"], bounds: Range) -> Float[Array, " neuron"]:
    """A value in `bounds` from the trained `k` in [0, 1]: `low + k (high - low)`."""
    low, high = bounds
    return low + k * (high - low)


def random_mask(key: Key[Array, ""], probability: Scalar, length: int) -> Bool[Array, " length"]:
    """Each entry is True with a probability, rounded to 1 / 65,536: drawing its bits is what takes time."""
    words = jax.random.bits(key, (-(-length // 2),), jnp.uint32)
    halves = jnp.concatenate([words & 0xFFFF, words >> 16])[:length]
    return halves < jnp.round(jnp.asarray(probability) * 2**16).astype(halves.dtype)


def time_major(x: Num[Array, "batch time ..."]) -> Num[Array, "time batch ..."]:
    """Swaps the axes of batch and time; its own inverse."""
    return jnp.swapaxes(x, 0, 1)


batch_major = time_major


class RecurrentLayer(nn.Module):
    """A layer of spiking (or LSTM) neurons.

    Attributes:
      features: number of neurons.
      neuron: a name in `neurons.NEURONS`.
      recurrent: whether the layer's output reaches its own input one step later.
      tau_u: range in steps of the membrane time constants, trained per neuron within it.
      tau_w: the same for the adaptation time constants (adLIF only).
      a, b: ranges of the couplings of the adaptation to membrane potential and spikes, trained per neuron (adLIF only).
      q: scale of the adaptation (adLIF only).
      surrogate, slope, c: the surrogate gradient, see `surrogate.spike_function`.
      forget_bias: initial bias of the forget gate (LSTM only); None draws it like the other gates'.
      compute: how to compute, see `compute.Compute`.

    Parameters: `kernel [channel, neuron]` uniform in +-1/sqrt(channel), `bias` zero, `recurrent_kernel
    [neuron, neuron]` orthogonal; adLIF `a` and `b` in their ranges; `k_u`, `k_w` in [0, 1], the positions of the time
    constants in theirs; these four uniform over their ranges, where `optimizer.project_to_boxes` keeps them. For an
    LSTM, all of `kernel`, `recurrent_kernel`, `bias` and `recurrent_bias` are uniform in +-1/sqrt(neuron), and four
    gates wide.

    Numbers and ranges of the neuron and of its surrogate gradient may be traced.

    Example:
      >>> layer = RecurrentLayer(8, neuron="lif")
      >>> spikes, variables = layer.init_with_output(jax.random.key(0), jnp.ones((3, 10, 4)))
      >>> spikes.shape
      (3, 10, 8)
    """

    features: int
    neuron: str = "se_adlif"
    recurrent: bool = True
    tau_u: Range = (5.0, 25.0)
    tau_w: Range = (60.0, 300.0)
    a: Range = BOXES["a"]
    b: Range = BOXES["b"]
    q: Scalar = 120.0
    surrogate: str = "exponential"
    slope: Scalar = 5.0
    c: Scalar = 0.4
    forget_bias: float | None = None
    compute: Compute = Compute()

    @nn.compact
    def bind_parameters(self, channels: int) -> Layer:
        """The layer with its parameters bound, for functions of `unroll`."""
        if self.neuron not in neurons.NEURONS:
            raise ValueError(f"unknown neuron {self.neuron!r}; choose one of {', '.join(neurons.NEURONS)}")
        neuron = neurons.NEURONS[self.neuron]
        dtype = jnp.result_type(float)
        width = neuron.gates * self.features
        is_lstm = self.neuron == "lstm"

        fan_in = self.features if is_lstm else channels
        weights = functools.partial(symmetric_uniform, fan_in=fan_in)
        kernel = self.param("kernel", weights, (channels, width), dtype)
        bias = self.param("bias", weights if is_lstm else nn.initializers.zeros, (width,), dtype)
        recurrent_kernel = None
        if self.recurrent:
            recurrent_weights = weights if is_lstm else nn.initializers.orthogonal()
            recurrent_kernel = self.param("recurrent_kernel", recurrent_weights, (self.features, width), dtype)
        if is_lstm:
            # Redundant with `bias`, but Adam moves the sum of two biases faster than one: kept for parity.
            bias = bias + self.param("recurrent_bias", self._recurrent_bias, (width,), dtype, bias)

        return Layer(
            neuron,
            self._neuron_params(dtype),
            kernel,
            bias,
            recurrent_kernel,
            spike=spike_function(self.surrogate, self.slope, self.c),
            compute=self.compute,
        )

    def initial_state(self, batch: int) -> Any:
        """The state before the first step, `[batch, neuron]`."""
        return neurons.zero_state(neurons.NEURONS[self.neuron].state, (batch, self.features))

    def __call__(self, inputs: Num[Array, "batch time channel"]) -> Float[Array, "batch time neuron"]:
        """The layer's spikes for a batch of sequences, from the zero state."""
        return batch_major(outputs((self.bind_parameters(inputs.shape[-1]),), time_major(inputs)))

    def step(self, state: Any, x: Num[Array, "batch channel"]) -> tuple[Any, Float[Array, "batch neuron"]]:
        """One step of streaming: `(state, x_t) -> (state, spikes)`."""
        state = advance(self.bind_parameters(x.shape[-1]), state, x)
        return state, state.output

    def _neuron_params(self, dtype: Any) -> Any:
        def parameter(name, low=0.0, high=1.0):
            return self.param(name, uniform, (self.features,), dtype, low, high)

        def time_constant(name, bounds):
            return interpolate(parameter(name), bounds)

        if self.neuron == "lstm":
            return None
        alpha = neurons.decay(time_constant("k_u", self.tau_u))
        if self.neuron == "lif":
            return neurons.LIFParams(alpha)
        beta = neurons.decay(time_constant("k_w", self.tau_w))
        return neurons.AdLIFParams(alpha, beta, a=parameter("a", *self.a), b=parameter("b", *self.b), q=self.q)

    def _recurrent_bias(self, key: Array, shape: tuple[int, ...], dtype: Any, bias: Array) -> Float[Array, " gates"]:
        values = symmetric_uniform(key, shape, dtype, self.features)
        if self.forget_bias is None:
            return values
        forget = slice(self.features, 2 * self.features)
        # The two biases add up to `forget_bias`.
        return values.at[forget].set(self.forget_bias - bias[forget])


class LeakyReadout(nn.Module):
    """Leaky integrators, one a class: `y_t = alpha y_{t-1} + (1 - alpha) (x_t kernel + bias)`.

    Attributes:
      features: number of classes (or forecast channels).
      tau: range of the time constant in steps.
      train_tau: whether the time constants are trained within their range (parameter `k_u`); otherwise they are drawn
        uniformly from it once, and kept in the collection "constants" as `tau`.

    Example:
      >>> readout = LeakyReadout(2, tau=(3.0, 3.0))
      >>> potentials, variables = readout.init_with_output(jax.random.key(0), jnp.ones((3, 10, 8)))
      >>> potentials.shape, variables["constants"]["tau"].tolist()
      ((3, 10, 2), [3.0, 3.0])
    """

    features: int
    tau: Range = (15.0, 15.0)
    train_tau: bool = False

    @nn.compact
    def bind_parameters(self, channels: int) -> Layer:
        """The layer with its parameters bound, for functions of `unroll`."""
        dtype = jnp.result_type(float)
        weights = functools.partial(symmetric_uniform, fan_in=channels)
        kernel = self.param("kernel", weights, (channels, self.features), dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), dtype)
        params = neurons.LIParams(neurons.decay(self._tau(dtype)))
        return Layer(neurons.LEAKY_INTEGRATOR, params, kernel, bias)

    def initial_state(self, batch: int) -> neurons.LIState:
        """The state before the first step, `[batch, class]`."""
        return neurons.zero_state(neurons.LIState, (batch, self.features))

    def __call__(self, inputs: Num[Array, "batch time neuron"]) -> Float[Array, "batch time class"]:
        """The membrane potentials for a batch of sequences, from zero."""
        return batch_major(outputs((self.bind_parameters(inputs.shape[-1]),), time_major(inputs)))

    def _tau(self, dtype: Any) -> Float[Array, " class"]:
        shape = (self.features,)
        if self.train_tau:
            return interpolate(self.param("k_u", nn.initializers.uniform(1.0), shape, dtype), self.tau)

        def draw():
            return interpolate(jax.random.uniform(self.make_rng("params"), shape, dtype), self.tau)

        return self.variable("constants", "tau", draw).value


class Network(nn.Module):
    """Hidden layers with dropout on their spikes, then the readout.

    Attributes:
      layers: the hidden layers, from input to output.
      readout: the readout layer.
      dropout: probability that a spike is dropped (the others are scaled up to keep the mean), with a new mask every
        step; None for none. May be traced. Recurrent connections see all spikes. Applies where a key is given, as
        `dropout_key` (one for the batch, or one for each sample) or as `rngs={"dropout": key}`.

    Example:
      >>> network = Network(layers=(RecurrentLayer(8),), readout=LeakyReadout(2))
      >>> inputs = jnp.ones((3, 10, 4))
      >>> outputs, variables = network.init_with_output(jax.random.key(0), inputs)
      >>> outputs.shape
      (3, 10, 2)
    """

    layers: tuple[RecurrentLayer, ...]
    readout: LeakyReadout
    dropout: Scalar | None = None

    def __call__(
        self, inputs: Num[Array, "batch time channel"], dropout_key: Key[Array, "*samples"] | None = None
    ) -> Float[Array, "batch time class"]:
        """The readout of every step, from the zero state. A dropout key makes it a training pass."""
        dropout_keys = self._dropout_keys(dropout_key, len(inputs))
        layers = self.bind_parameters(inputs.shape[-1])

        def drop(index, spikes, steps):
            return self._drop_all(spikes, dropout_keys, index, steps)

        return batch_major(outputs(layers, time_major(inputs), between=drop))

    def trace(
        self, inputs: Num[Array, "batch time channel"], dropout_key: Key[Array, "*samples"] | None = None
    ) -> tuple[Float[Array, "batch time class"], tuple[Any, ...]]:
        """The readout of every step, and the states of each hidden layer, every field `[batch, time, neuron]`.

        For looking inside: slower than a call, and far slower to differentiate.
        """
        dropout_keys = self._dropout_keys(dropout_key, len(inputs))
        *hidden, readout = self.bind_parameters(inputs.shape[-1])
        x = time_major(inputs)
        traces = []
        for index, layer in enumerate(hidden):
            states = unroll(layer, x)
            traces.append(jax.tree.map(batch_major, states))
            x = self._drop_all(states.output, dropout_keys, index, jnp.arange(len(x)))
        return batch_major(unroll(readout, x).output), tuple(traces)

    def with_activity(
        self, inputs: Num[Array, "batch time channel"], feedback_from: int | None = None
    ) -> tuple[Float[Array, "batch time class"], tuple[Float[Array, "batch time"], ...]]:
        """The readout of every step, and the part of each hidden layer's neurons that spike in it (LSTMs: no layer).

        From the zero state and without dropout; with `feedback_from`, as in `forecast`.
        """
        layers = self.bind_parameters(inputs.shape[-1])
        if feedback_from is None:
            readouts, found = outputs_with_activity(layers, time_major(inputs))
        else:
            readouts, found = self._forecast(layers, inputs, feedback_from, None)
        return batch_major(readouts), tuple(map(batch_major, found))

    def bind_parameters(self, channels: int) -> tuple[Layer, ...]:
        """All layers with their parameters bound, the readout last, for functions of `unroll`."""
        widths = (channels, *(layer.features for layer in self.layers))
        modules = (*self.layers, self.readout)
        return tuple(module.bind_parameters(width) for module, width in zip(modules, widths, strict=True))

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        """The state before the first step, for `step`: one entry a layer, the readout's last."""
        return tuple(layer.initial_state(batch) for layer in (*self.layers, self.readout))

    def step(
        self, state: tuple[Any, ...], x: Num[Array, "batch channel"]
    ) -> tuple[tuple[Any, ...], Float[Array, "batch class"]]:
        """One step of streaming: `(state, x_t) -> (state, y_t)`."""
        return self._step(self.bind_parameters(x.shape[-1]), state, x, None, 0)

    def forecast(
        self,
        inputs: Num[Array, "batch time channel"],
        feedback_from: int,
        dropout_key: Key[Array, "*samples"] | None = None,
    ) -> Float[Array, "batch time channel"]:
        """Predictions of every step; from step `feedback_from` on, the input is the network's own, detached output."""
        dropout_keys = self._dropout_keys(dropout_key, len(inputs))
        return batch_major(
            self._forecast(self.bind_parameters(inputs.shape[-1]), inputs, feedback_from, dropout_keys)[0]
        )

    def _dropout_keys(self, key: Key[Array, "*samples"] | None, batch: int) -> Key[Array, " batch"] | None:
        """A key for each sample, from the key given, or from that of Flax's `rngs={"dropout": key}`; or None."""
        if key is None and self.has_rng("dropout"):
            key = self.make_rng("dropout")
        if key is not None and not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.wrap_key_data(key)  # of the older kind, `jax.random.PRNGKey`
        return jax.random.split(key, batch) if key is not None and key.ndim == 0 else key

    def _forecast(self, layers, inputs, feedback_from, dropout_keys):
        """The predictions, and the activity of the hidden layers; both time-major."""
        return unroll_steps(
            lambda state, x, t: self._step(layers, state, x, dropout_keys, t),
            self.initial_state(len(inputs)),
            time_major(inputs).astype(layers[0].kernel.dtype),
            feedback_from,
            watch=lambda state: activity(layers, [of_layer.output for of_layer in state]),
        )

    def _step(self, layers, state, x, dropout_keys, t):
        *hidden, readout = layers
        new_state = []
        for index, layer in enumerate(hidden):
            new_state.append(advance(layer, state[index], x))
            x = self._drop(new_state[-1].output, dropout_keys, index, t)
        new_state.append(advance(readout, state[-1], x))
        return tuple(new_state), new_state[-1].output

    def _drop_all(self, x, keys, layer_index, steps):
        """Dropout for several steps, `x [step, batch, neuron]`."""
        return jax.vmap(self._drop, in_axes=(0, None, None, 0))(x, keys, layer_index, steps)

    def _drop(self, x, keys, layer_index, t):
        """Dropout with a mask of its own for every sample, layer and step, the same on all ways through time."""
        if keys is None or self.dropout is None:
            return x
        probability = 1 - self.dropout

        def mask(key):
            key = jax.random.fold_in(jax.random.fold_in(key, layer_index), t)
            return random_mask(key, probability, x.shape[-1])

        return jnp.where(keep(jax.vmap(mask)(keys)), x / probability, 0)
