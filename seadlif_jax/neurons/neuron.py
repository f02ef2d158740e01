"""The contract of a neuron: parameters, coefficients, state, step, and the gradient that is computed from the step.

A neuron is a value: a frozen, hashable set of hyperparameters, such as `SEAdLIF(tau_u=(5.0, 25.0), q=120.0)`. It is
also a pytree of its numbers, so that a sweep can pass traced ones. A layer of `[neuron]` of them is advanced by

    state = neuron.step(coefficients, state, current)      # one time step, dt = 1

This step is what runs in training, evaluation, streaming and export. Its gradient is found through the neuron: every
neuron inherits one that differentiates the step, and can replace it by one written by hand.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from flax.linen import initializers
from jaxtyping import Array, Float

from seadlif_jax.neurons.surrogate import Number
from seadlif_jax.utils.errors import SeadlifError

Range = tuple[Number, Number]
PerNeuron = Float[Array, " neuron"]
PerSample = Float[Array, "*batch neuron"]
Initializer = Callable[..., Array]


class Parameter(NamedTuple):
    """A trained parameter of which each neuron has one value.

    Attributes:
      initial: range of the initial values, which are uniform.
      bounds: lowest and highest value; after every update of the optimizer, values are projected back between them.
    """

    initial: Range
    bounds: Range = (-math.inf, math.inf)


class Neuron(struct.PyTreeNode):
    """Base class of all neurons. A subclass declares hyperparameters as fields, and defines the methods below.

    The step must be elementwise: neurons influence each other only through the weights of their layer.

    Class attributes:
      State: a NamedTuple of arrays `[batch, neuron]`, with a property `output`: the values that the neurons send on.
      spiking: whether the outputs are binary spikes.
      gates: number of input currents of each neuron.
      kernel: name of a kernel in `seadlif_jax.native` that computes the same, if there is one.

    Example:
      A leaky integrate-and-fire neuron:

      >>> from typing import NamedTuple
      >>> from seadlif_jax.neurons import Surrogate, decay, interpolate
      >>> class State(NamedTuple):
      ...     u: Array
      ...     z: Array
      ...     output = property(lambda self: self.z)
      >>> class MyLIF(Neuron):
      ...     tau: Range = (5.0, 25.0)
      ...     surrogate: Surrogate = Surrogate()
      ...     State = State
      ...     def parameters(self):
      ...         return {"k": (0.0, 1.0)}
      ...     def coefficients(self, params):
      ...         return decay(interpolate(params["k"], self.tau))
      ...     def step(self, alpha, state, current):
      ...         u = alpha * state.u + (1 - alpha) * current
      ...         z = self.surrogate(u - 1.0)
      ...         return State(u * (1 - jax.lax.stop_gradient(z)), z)
      >>> from seadlif_jax import RecurrentLayer
      >>> spikes, _ = RecurrentLayer(8, MyLIF()).init_with_output(jax.random.key(0), jnp.ones((3, 10, 4)))
      >>> spikes.shape
      (3, 10, 8)
    """

    State: ClassVar[Any]
    spiking: ClassVar[bool] = True
    gates: ClassVar[int] = 1
    kernel: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        annotated = inspect.get_annotations(cls)
        for base in filter(dataclasses.is_dataclass, cls.__mro__[1:]):
            for name in (field.name for field in dataclasses.fields(base)):
                if name in vars(cls) and name not in annotated:
                    value = vars(cls)[name]
                    raise TypeError(
                        f"{cls.__name__}.{name} = {value!r} has no type annotation, and would have no effect; write "
                        f"{name}: {type(value).__name__} = {value!r}"
                    )
        if "step" in vars(cls) and "backward" not in vars(cls) and (alone := set(GRADIENT) & set(vars(cls))):
            raise TypeError(f"{cls.__name__} defines {alone.pop()} without backward: they are one gradient by hand")
        super().__init_subclass__(**kwargs)
        # A kernel belongs to the class that names it; carry and gradient belong to a step and an initial state. Where
        # these are of a class nearer than the gradient by hand, the methods of this class take its place.
        if "kernel" not in vars(cls):
            cls.kernel = None
        nearest = min(_place(cls, "step"), _place(cls, "initial_state"))
        if _place(cls, "backward") > nearest:
            for name in (*GRADIENT, *OF_STEP):
                if name in GRADIENT or _place(cls, name) > nearest:
                    setattr(cls, name, getattr(Neuron, name))

    @property
    def constant_threshold(self) -> float | None:
        """The threshold, for pictures; None if it is not the same for all neurons and steps."""
        return None

    def parameters(self) -> Mapping[str, Range | Parameter]:
        """Return the trained parameters by name, one value a neuron.

        A pair is both the range of the initial values and their bounds; otherwise, see `Parameter`.
        """
        return {}

    def named_parameters(self) -> dict[str, Parameter]:
        """Return the trained parameters of `parameters`, each as a `Parameter`.

        Raises:
          SeadlifError: a name is taken by the weights of a layer, a value is no pair, or initial values are not within
            their bounds.
        """
        parameters: dict[str, Parameter] = {}
        for name, value in self.parameters().items():
            if name in WEIGHTS:
                raise SeadlifError(
                    f"{type(self).__name__}: {name} is the name of weights of a layer; rename the parameter"
                )
            if not isinstance(value, Parameter):
                try:
                    low, high = value
                except (TypeError, ValueError):
                    raise SeadlifError(
                        f"{type(self).__name__}: the parameter {name} is {value!r}; it must be the pair of numbers "
                        "between which its values are, or a Parameter"
                    ) from None
                value = Parameter((low, high), (low, high))
            parameters[name] = value
            initial, bounds = value
            numbers = (bounds[0], *initial, bounds[1])
            if _are_known(*numbers) and sorted(map(float, numbers)) != list(map(float, numbers)):
                raise SeadlifError(
                    f"{type(self).__name__}: the initial {name} of {initial[0]:.4g} to {initial[1]:.4g} is not within "
                    f"its bounds, {bounds[0]:.4g} to {bounds[1]:.4g}"
                )
        return parameters

    def coefficients(self, params: Mapping[str, PerNeuron]) -> Any:
        """Return a pytree of what `step` needs of the trained parameters, such as decays from time constants."""
        return dict(params)

    def step(self, coefficients: Any, state: Any, current: Float[Array, "*batch current"]) -> Any:
        """Return the state after one time step.

        Args:
          coefficients: of `coefficients`; arrays `[neuron]`.
          state: before the step; arrays `[batch, neuron]`, or `[neuron]` for a single sample, as in the gradient.
          current: all input of this step, feed-forward and recurrent, `[batch, gates * neuron]`, or without `batch`.
        """
        raise NotImplementedError

    def initial_state(self, shape: tuple[int, ...]) -> Any:
        """Return the state before the first step: zeros of `shape` (`[batch, neuron]`) in every field."""
        return self.State(*(jnp.zeros(shape) for _ in self.State._fields))

    def initial_weights(self, channels: int, features: int) -> Mapping[str, Initializer]:
        """Return the initializers of a layer's weights.

        `kernel` is uniform in +-1/sqrt(channels), `bias` zero, `recurrent_kernel` orthogonal.
        """
        del features
        return {
            "kernel": symmetric_uniform(channels),
            "bias": initializers.zeros,
            "recurrent_kernel": initializers.orthogonal(),
        }

    # The loop over a chunk of time steps, and its gradient. Time-major: arrays are `[time, batch, ...]`. A neuron need
    # not define any of these. A carry that is less than the state, with which the loop is faster, is `unpack` and
    # `pack`; a gradient by hand is `residual`, `replay`, `outputs` and `backward`.

    def initial_carry(self, coefficients: Any, shape: tuple[int, ...]) -> Any:
        """Return the carry of the loop that stands for the initial state, as if a step had led from it to itself."""
        del coefficients
        state = self.initial_state(shape)
        return self.pack(state, state)

    def unpack(self, coefficients: Any, carry: Any) -> Any:
        """Return the state that a carry of the loop stands for; by default, the carry is the state."""
        del coefficients
        return carry

    def pack(self, before: Any, after: Any) -> Any:
        """Return the carry of the loop for the state after a step: as much as the rest follows from.

        Args:
          before: state before the step.
          after: state after the step.
        """
        del before
        return after

    def residual(self, carry: Any, current: Array) -> Array:
        """Return the array that the backward pass keeps of a step, from the carry after the step and the current.

        By default the current: from it and the first state, all states are computed again without any product.
        """
        del carry
        return current

    def replay(self, coefficients: Any, first: Any, residuals: Array) -> Any:
        """Return what `outputs` and `backward` need, from the residuals of all steps and the carry before the first.

        By default the carry after the last step, and the carries before each step; for a gradient by hand, often the
        residuals themselves.
        """

        def step(carry, current):
            return self._advance(coefficients, carry, current), carry

        return jax.lax.scan(step, first, residuals)

    def outputs(self, coefficients: Any, replayed: Any) -> Array:
        """Return the outputs of all steps, from what `replay` returns."""
        last, before = (self.unpack(coefficients, carry).output for carry in replayed)
        return jnp.concatenate([before[1:], last[None]])

    def backward(
        self,
        coefficients: Any,
        first: Any,
        residuals: Array,
        replayed: Any,
        last_bar: Any,
        output_bars: Array,
        recur: Callable[[Array], Array],
    ) -> tuple[Array, Any, Any]:
        """Return the gradients of a chunk of steps; by default through the vector-Jacobian product of `step`.

        In the names, `x_bar` is the gradient of the loss with respect to `x`.

        Args:
          coefficients: as for `step`.
          first: carry before the first step.
          residuals: of all steps.
          replayed: what `replay` returns.
          last_bar: for the carry after the last step.
          output_bars: for the outputs of all steps, from outside of the layer.
          recur: from the gradient for the current of a step to that for the output of the step before, through the
            recurrent weights.

        Returns:
          the gradients for the currents of all steps, for the coefficients, and for `first`.
        """
        last, before = replayed

        def advance(shift, carry, current):
            return self._advance(jax.tree.map(jnp.add, coefficients, shift), carry, current)

        def output(shift, carry):
            return self.unpack(jax.tree.map(jnp.add, coefficients, shift), carry).output

        def add(*trees):
            return jax.tree.map(lambda *arrays: sum(arrays[1:], arrays[0]), *trees)

        def step_back(bars, step):
            """Go back from the carry after step t, with the gradient through its output, to that before."""
            carry_bar, sums = bars
            carry, current, output_bar = step  # of t - 1, but for the current
            _, through_step = jax.vjp(jax.vmap(advance), no_shifts, carry, current)
            from_step, carry_bar, current_bar = through_step(carry_bar)
            _, through_output = jax.vjp(jax.vmap(output), no_shifts, carry)
            from_output, bar = through_output(output_bar + recur(current_bar))
            return (add(carry_bar, bar), add(sums, from_step, from_output)), current_bar

        # The gradients for the coefficients are those for a shift of each sample's own: they are summed over the batch
        # once, not in every step, and a shift of zero is never computed.
        batch = residuals.shape[1]
        no_shifts = jax.tree.map(lambda array: jnp.zeros((batch, *jnp.shape(array)), array.dtype), coefficients)
        sums, bar = jax.vjp(jax.vmap(output), no_shifts, last)[1](output_bars[-1])
        steps = (before, residuals, before_each(jnp.zeros_like(output_bars[0]), output_bars))
        (first_bar, sums), current_bars = jax.lax.scan(step_back, (add(last_bar, bar), sums), steps, reverse=True)
        return current_bars, jax.tree.map(lambda sums: sums.sum(0), sums), first_bar

    def _advance(self, coefficients: Any, carry: Any, current: Array) -> Any:
        """Return the carry after a step."""
        state = self.unpack(coefficients, carry)
        return self.pack(state, self.step(coefficients, state, current))


def _place(cls: type, name: str) -> int:
    """Return how far from a class the class is that defines a name."""
    return next(place for place, owner in enumerate(cls.__mro__) if name in vars(owner))


WEIGHTS = ("kernel", "bias", "recurrent_kernel")  # of a layer, beside the parameters
# What a subclass with a step of its own does not inherit: a gradient by hand; and what belongs to a step.
GRADIENT = ("residual", "replay", "outputs", "backward")
OF_STEP = ("initial_carry", "unpack", "pack", "constant_threshold")


@jax.custom_jvp
def first_order(array: Array) -> Array:
    """Return the array itself, which must not be differentiated: a gradient by hand has taken it for constant."""
    return array


@first_order.defjvp
def _refuse_higher(primals: Any, tangents: Any) -> Any:
    raise NotImplementedError("higher derivatives of recurrent layers need Execution(plain_scan=True)")


def refuse_negative(neuron: Any, name: str) -> None:
    """Raise a `SeadlifError` for a negative threshold, above which the initial state already is."""
    value = getattr(neuron, name)
    if _are_known(value) and float(value) < 0:
        raise SeadlifError(f"{type(neuron).__name__}: {name} = {value}, but a threshold must be at least 0")


def refuse_nonpositive(owner: Any, *names: str) -> None:
    """Raise a `SeadlifError` for a range, such as one of time constants, that is not positive or not in order."""
    for name in names:
        values = getattr(owner, name)
        if not isinstance(values, tuple | list) or not _are_known(*values):  # a number, in a subclass of the user's own
            continue
        low, high = map(float, values)
        if not 0 < low <= high:
            raise SeadlifError(
                f"{type(owner).__name__}: {name} = ({low}, {high}), but it must be positive, the lower first"
            )


def _are_known(*numbers: Any) -> bool:
    """Return whether numbers are no traced ones. Comparisons of arrays are traced; those of `float` of them are not."""
    return not any(isinstance(number, jax.core.Tracer) for number in numbers)


def before_each(first: Array, after: Array) -> Array:
    """Return the values before each step, from the value before the first step and those after each step."""
    return jnp.concatenate([first[None], after[:-1]])


def decay(tau: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return `exp(-1 / tau)`: the factor by which a potential with time constant `tau` (steps) shrinks in a step."""
    return jnp.exp(-1 / tau)


def interpolate(k: Float[Array, " neuron"], bounds: Range) -> Float[Array, " neuron"]:
    """Return `low + k (high - low)`: the value in a range at the position `k` in [0, 1]."""
    low, high = bounds
    return low + k * (high - low)


def symmetric_uniform(fan_in: float) -> Initializer:
    """Return an initializer that draws uniformly from +-1/sqrt(fan_in)."""

    def init(key: Array, shape: tuple[int, ...], dtype: Any = float) -> Array:
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return init
