"""The check of a neuron of one's own: it accepts the neurons of the library, and says what is wrong with others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from flax import struct

from seadlif_jax.neurons import LIF, NEURONS, Neuron, Parameter, Surrogate, SynapticLIF
from seadlif_jax.testing import check_neuron, check_step
from tests.alif import ALIF

SETTINGS = {"brf": {"dt": 0.2, "omega": (1.0, 3.0), "b_offset": (0.1, 1.0)}}  # spikes within some steps


@pytest.mark.parametrize("name", NEURONS)
def test_the_neurons_of_the_library_pass(name):
    check_neuron(NEURONS[name](**SETTINGS.get(name, {})))


@pytest.mark.parametrize("neuron", [ALIF(), LIF(train_threshold=True, train_rest=True)])
def test_other_neurons_pass(neuron):
    check_neuron(neuron)


class State(NamedTuple):
    u: jax.Array
    z: jax.Array
    output = property(lambda self: self.z)


class Own(Neuron):
    """A neuron without a fault: those below have one each."""

    threshold: float = 1.0
    surrogate: Surrogate = Surrogate()
    State = State

    def parameters(self):
        return {"alpha": (0.5, 0.9)}

    def step(self, coefficients, state, current):
        alpha = coefficients["alpha"]
        u = alpha * state.u * (1 - state.z) + (1 - alpha) * current
        return State(u, self.surrogate(u - self.threshold))


class Unhashable(Own):
    names: list = struct.field(pytree_node=False, default_factory=list)


class OutsideOfBounds(Own):
    def parameters(self):
        return {"alpha": Parameter((0.5, 0.9), (0.0, 0.8))}


class Reshaping(Own):
    def step(self, coefficients, state, current):
        state = super().step(coefficients, state, current)
        return state._replace(u=state.u.sum(-1, keepdims=True))


class Competing(Own):
    def step(self, coefficients, state, current):
        return super().step(coefficients, state, current - current.mean(-1, keepdims=True))


class Averaging(Own):
    def step(self, coefficients, state, current):
        return super().step(coefficients, state, current - state.z.mean(0))


class Rounding(Own):
    def step(self, coefficients, state, current):
        state = super().step(coefficients, state, current)
        return state._replace(u=state.u.astype(jnp.float32))


class WithoutSurrogate(Own):
    def step(self, coefficients, state, current):
        state = super().step(coefficients, state, current)
        return state._replace(z=(state.z > 0).astype(state.u.dtype))


class Graded(Own):
    def step(self, coefficients, state, current):
        state = super().step(coefficients, state, current)
        return state._replace(z=0.5 * state.z)


class Silent(Own):
    threshold: float = 1e9


class WrongCarry(Own):
    def step(self, coefficients, state, current):
        return super().step(coefficients, state, current)

    def initial_carry(self, coefficients, shape):
        return jnp.zeros(shape)

    def unpack(self, coefficients, carry):
        return State(carry, self.surrogate(carry - 0.5))

    def pack(self, before, after):
        return after.u


class WrongGradient(SynapticLIF):
    def backward(self, *arguments):
        current_bars, coefficients_bar, first_bar = super().backward(*arguments)
        return 1.01 * current_bars, coefficients_bar, first_bar


class Unused(Own):
    def parameters(self):
        return {**super().parameters(), "beta": (0.0, 1.0)}


class CountingAxes(Own):
    def step(self, coefficients, state, current):
        part, rest = jnp.split(current, [2], axis=1)
        return super().step(coefficients, state, jnp.concatenate([part, rest], axis=1))


class Branching(Own):
    def step(self, coefficients, state, current):
        state = super().step(coefficients, state, current)
        return state if float(self.threshold) > 0 else state._replace(u=-state.u)


@pytest.mark.parametrize(
    ("neuron", "message"),
    [
        (Unhashable(), "cannot be hashed"),
        (OutsideOfBounds(), "the initial alpha of 0.5 to 0.9 is not within its bounds, 0 to 0.8"),
        (Reshaping(), "step changes the shapes of the state"),
        (Competing(), "step is not elementwise: the current of one neuron in one sample changes the state of others"),
        (Averaging(), "step is not elementwise: the state.z of one neuron in one sample changes the state of others"),
        (Rounding(), "step changes the types of numbers of the state"),
        (WithoutSurrogate(), "no gradient goes through the outputs; compute spikes by the surrogate gradient"),
        (Graded(), "outputs of a spiking neuron are other than 0 and 1"),
        (Silent(), "neurons spike in 0.0% of the steps"),
        (WrongCarry(), "a whole sequence gives other outputs than its steps"),
        (WrongGradient(), "the gradient for bias differs by 0.01 of its largest entry"),
        (Unused(), "the gradient for beta is zero"),
        (CountingAxes(), r"step for a single sample, arrays \[neuron\], .* fails \(IndexError"),
        (Branching(), "cannot be computed with traced hyperparameters"),
    ],
)
def test_a_fault_is_named(neuron, message):
    with pytest.raises((AssertionError, ValueError), match=message):
        check_neuron(neuron)


def test_a_default_without_type_annotation_is_refused():
    with pytest.raises(TypeError, match=r"Forgetful.threshold = 2.0 has no type annotation, .* threshold: float = 2.0"):

        class Forgetful(Own):
            threshold = 2.0


def test_the_neuron_without_a_fault_passes():
    check_neuron(Own())


class StateWithMemory(NamedTuple):
    u: jax.Array
    memory: jax.Array
    z: jax.Array
    output = property(lambda self: self.z)


class Compartments(Own):
    """A state with several values a neuron."""

    State = StateWithMemory

    def initial_state(self, shape):
        return self.State(jnp.zeros(shape), jnp.zeros((*shape, 4)), jnp.zeros(shape))

    def step(self, coefficients, state, current):
        memory = 0.9 * state.memory + 0.1 * current[..., None]
        after = super().step(coefficients, state, memory.mean(-1))
        return self.State(after.u, memory, after.z)


class Constants(Own):
    """For a layer of eight neurons only."""

    def step(self, coefficients, state, current):
        return super().step(coefficients, state, current * jnp.linspace(1, 2, 8))


class Refractory(Own):
    """A state that is no number."""

    State = StateWithMemory

    def initial_state(self, shape):
        return self.State(jnp.zeros(shape), jnp.zeros(shape, bool), jnp.zeros(shape))

    def step(self, coefficients, state, current):
        after = super().step(coefficients, state, jnp.where(state.memory, 0, current))
        return self.State(after.u, after.z > 0, after.z)


class Lists(Own):
    def parameters(self):
        return {"alpha": [0.5, 0.9]}


@pytest.mark.parametrize(
    ("neuron", "features"), [(Compartments(), 5), (Constants(), 8), (Refractory(), 5), (Lists(), 3)]
)
def test_unusual_neurons_may_be_trained(neuron, features):
    check_step(neuron, features)
