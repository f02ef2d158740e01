"""Long short-term memory (Hochreiter & Schmidhuber, 1997): the baseline that does not spike.

i, f, g, o = I_t                              four currents a neuron
c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
h_t = sigmoid(o) tanh(c_t)
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from seadlif_jax.neurons.neuron import Initializer, Neuron, PerSample, symmetric_uniform


class LSTMState(NamedTuple):
    """Cell state `c` and hidden state `h`."""

    c: PerSample
    h: PerSample

    @property
    def output(self) -> PerSample:
        return self.h


class LSTM(Neuron):
    """Long short-term memory. Its currents are side by side in the order input, forget, cell, output gate.

    Attributes:
      forget_bias: initial bias of the forget gate; None draws it like those of the other gates.

    Example:
      >>> LSTM().spiking, LSTM().gates
      (False, 4)
    """

    forget_bias: float | None = struct.field(pytree_node=False, default=None)

    State = LSTMState
    spiking = False
    gates = 4

    def step(self, coefficients: Any, state: LSTMState, current: Float[Array, "*batch gates"]) -> LSTMState:
        """Return `c_t` and `h_t`."""
        del coefficients
        i, f, g, o = jnp.split(current, 4, axis=-1)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return LSTMState(c, jax.nn.sigmoid(o) * jnp.tanh(c))

    def initial_weights(self, channels: int, features: int) -> Mapping[str, Initializer]:
        """Return the initializers of a layer's weights: all uniform in +-1/sqrt(features), but for `forget_bias`.

        `recurrent_bias` is redundant with `bias`, but Adam moves the sum of two biases faster than one: kept for parity
        with the reference.
        """
        del channels
        uniform = symmetric_uniform(features)

        def bias(forget_bias: float | None) -> Initializer:
            def init(key: Array, shape: tuple[int, ...], dtype: Any = float) -> Array:
                values = uniform(key, shape, dtype)
                return values if forget_bias is None else values.at[features : 2 * features].set(forget_bias)

            return init

        second = None if self.forget_bias is None else 0.0
        return {
            "kernel": uniform,
            "bias": bias(self.forget_bias),
            "recurrent_kernel": uniform,
            "recurrent_bias": bias(second),
        }
