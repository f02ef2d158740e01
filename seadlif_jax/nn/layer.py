"""A layer with its arrays: what is advanced through time."""

from typing import Any, NamedTuple

from flax import struct
from jaxtyping import Array, Float, Num

from seadlif_jax.neurons import Neuron
from seadlif_jax.nn.execution import Execution


class Weights(NamedTuple):
    """The weights of a layer: `I_t = x_t kernel + bias + output_{t-1} recurrent_kernel`.

    `kernel` is `[channel, current]`, `bias` `[current]`, and `recurrent_kernel` `[neuron, current]`, or None for a
    layer without recurrence. There are as many currents as neurons, or as gates of all neurons.
    """

    kernel: Float[Array, "channel current"]
    bias: Float[Array, " current"]
    recurrent_kernel: Float[Array, "neuron current"] | None = None


class Layer(struct.PyTreeNode):
    """A neuron, the coefficients of its step, and the weights of a layer of them. Everything is time-major.

    Attributes:
      neuron: the neuron.
      coefficients: of `neuron.coefficients`.
      weights: the weights.
      execution: how to compute.
      num_outputs: number of neurons, from the first, whose outputs leave the layer; None for all.
    """

    neuron: Neuron
    coefficients: Any
    weights: Weights
    execution: Execution = struct.field(pytree_node=False, default=Execution())
    num_outputs: int | None = struct.field(pytree_node=False, default=None)

    @property
    def features(self) -> int:
        """Number of neurons."""
        return len(self.weights.bias) // self.neuron.gates

    def initial_state(self, batch: int) -> Any:
        """Return the state before the first step, `[batch, neuron]`."""
        return self.neuron.initial_state((batch, self.features))

    def project(self, x: Num[Array, "*shape channel"]) -> Float[Array, "*shape current"]:
        """Return the feed-forward current without the bias, of one step or of all at once."""
        return self.execution.matmul(x.astype(self.weights.kernel.dtype), self.weights.kernel)

    def current(self, projected: Float[Array, "batch current"], state: Any) -> Float[Array, "batch current"]:
        """Return all of the current of a step, from its projected inputs and the state before it."""
        current = projected + self.weights.bias
        if self.weights.recurrent_kernel is None:
            return current
        return current + self.execution.matmul(state.output, self.weights.recurrent_kernel)

    def outgoing(self, outputs: Num[Array, "*shape neuron"]) -> Num[Array, "*shape output"]:
        """Return those of all neurons' outputs that leave the layer."""
        return outputs[..., : self.num_outputs]

    def step(self, state: Any, projected: Float[Array, "batch current"]) -> Any:
        """Return the state after one step, from its projected inputs."""
        return self.neuron.step(self.coefficients, state, self.current(projected, state))
