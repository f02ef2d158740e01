"""Leaky integrate-and-fire (LIF) neurons.

    u^_t = alpha u_{t-1} + (1 - alpha) I_t        alpha = exp(-1 / tau_u)
    z_t  = H(u^_t - threshold)
    u_t  = u^_t (1 - sg(z_t))                     reset to zero; sg stops the gradient

Source: Baronig, Ferrand, Sabathiel & Legenstein (arXiv 2408.07517), "The leaky integrate-and-fire neuron".

With a resting potential `r`, which each neuron starts from and is reset to, `u_t = u^_t (1 - sg(z_t)) + r sg(z_t)` and
`u_0 = r`; the leak still goes to zero. The states below hold potentials relative to `r`, so that they start at zero:

    u^_t - r = alpha (u_{t-1} - r) + (1 - alpha) (I_t - r)
    z_t      = H((u^_t - r) - (threshold - r))
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array

from seadlif_jax.neurons.neuron import (
    Neuron,
    Parameter,
    PerNeuron,
    PerSample,
    Range,
    before_each,
    decay,
    interpolate,
    refuse_negative,
    refuse_nonpositive,
)
from seadlif_jax.neurons.surrogate import Number, Surrogate


class LIFCoefficients(NamedTuple):
    """Decay `alpha` of the membrane potential in a step; trained threshold and resting potential, or None.

    `gap` is the threshold minus the resting potential.
    """

    alpha: PerNeuron
    gap: PerNeuron | None = None
    rest: PerNeuron | None = None


class LIFState(NamedTuple):
    """Membrane potential `u_hat` before the reset, and spikes `z`, after step t.

    `u` is the membrane potential after the reset. Both are relative to the resting potential.
    """

    u_hat: PerSample
    z: PerSample

    @property
    def u(self) -> PerSample:
        return reset(self.u_hat, self.z)

    @property
    def output(self) -> PerSample:
        return self.z


class UntrainedThreshold(Neuron):
    """What neurons share whose gradient by hand, `backward`, is for thresholds that are not trained.

    Its residual is `u^_t`. For others, the gradient is that of `Neuron`.
    """

    if TYPE_CHECKING:
        threshold: Number

    @property
    def constant_threshold(self) -> Any:
        return None if trains_threshold(self) else self.threshold

    def residual(self, carry: Any, current: PerSample) -> PerSample:
        return super().residual(carry, current) if trains_threshold(self) else carry.u_hat

    def replay(self, coefficients: Any, first: Any, residuals: Array) -> Any:
        return super().replay(coefficients, first, residuals) if trains_threshold(self) else residuals

    def outputs(self, coefficients: Any, replayed: Any) -> Array:
        if trains_threshold(self):
            return super().outputs(coefficients, replayed)
        return spikes(self, coefficients, replayed)


class LIF(UntrainedThreshold):
    """Leaky integrate-and-fire neurons.

    Attributes:
      tau_u: range in steps of the membrane time constants; each neuron's is trained, as its position `k_u` in [0, 1].
      threshold: the membrane potential above which a neuron spikes.
      surrogate: the spike function and its surrogate gradient.
      train_threshold: whether each neuron's threshold is trained, from the value of `threshold`.
      train_rest: whether each neuron's resting potential is trained, as a fraction `k_rest` of its threshold, initially
        in [0, 1]; otherwise it is 0.

    Example:
      >>> LIF(tau_u=(5.0, 50.0)).parameters()
      {'k_u': (0.0, 1.0)}
    """

    tau_u: Range = (5.0, 25.0)
    threshold: Number = 1.0
    surrogate: Surrogate = Surrogate()
    train_threshold: bool = struct.field(pytree_node=False, default=False)
    train_rest: bool = struct.field(pytree_node=False, default=False)

    State = LIFState
    kernel = "lif"

    def parameters(self) -> Mapping[str, Range | Parameter]:
        refuse_nonpositive(self, "tau_u")
        return {"k_u": (0.0, 1.0), **threshold_parameters(self)}

    def coefficients(self, params: Mapping[str, PerNeuron]) -> LIFCoefficients:
        return LIFCoefficients(decay(interpolate(params["k_u"], self.tau_u)), *gap_and_rest(self, params))

    def step(self, coefficients: LIFCoefficients, state: LIFState, current: PerSample) -> LIFState:
        """Return the state after step t."""
        u_hat = membrane(coefficients.alpha, state.u, from_rest(coefficients, current))
        return LIFState(u_hat, spikes(self, coefficients, u_hat))

    # The carry of the loop is `u^_t`: `z_t` and `u_t` follow from it. If the threshold is trained, `z_t` is in the
    # carry, too, since the spikes of the initial state do not depend on the threshold.

    def unpack(self, coefficients: LIFCoefficients, carry: "LIFCarry") -> LIFState:
        return LIFState(carry.u_hat, spikes(self, coefficients, carry.u_hat) if carry.z is None else carry.z)

    def pack(self, before: LIFState, after: LIFState) -> "LIFCarry":
        return LIFCarry(after.u_hat, after.z if trains_threshold(self) else None)

    def backward(
        self,
        coefficients: LIFCoefficients,
        first: "LIFCarry",
        residuals: Array,
        replayed: Any,
        last_bar: "LIFCarry",
        output_bars: Array,
        recur: Callable[[Array], Array],
    ) -> tuple[Array, LIFCoefficients, "LIFCarry"]:
        """Return the gradients of a chunk of steps (see `Neuron.backward`), by hand: from `u^_t` alone."""
        if trains_threshold(self):
            return super().backward(coefficients, first, residuals, replayed, last_bar, output_bars, recur)
        alpha = coefficients.alpha

        def step_back(carry: tuple[Array, Array], step: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
            """Go back from `u^_t` to `u^_{t-1}`."""
            u_hat_bar, alpha_sum = carry
            u_hat, output_bar = step  # of t - 1
            v = above_threshold(self, coefficients, u_hat)
            z = self.surrogate(v)
            current_bar = (1 - alpha) * u_hat_bar
            alpha_sum = alpha_sum + current_bar * u_hat * (1 - z)
            u_bar, z_bar = alpha * u_hat_bar, output_bar + recur(current_bar)
            u_hat_bar = u_bar * (1 - z) + z_bar * self.surrogate.derivative(v)
            alpha_sum = alpha_sum - (1 - alpha) * u_hat_bar * u_hat
            return (u_hat_bar, alpha_sum), current_bar

        last, zeros = residuals[-1], jnp.zeros_like(first.u_hat)
        u_hat_bar = last_bar.u_hat + through_spikes(self, coefficients, last, output_bars[-1])
        steps = (before_each(first.u_hat, residuals), before_each(zeros, output_bars))
        carry = (u_hat_bar, -(1 - alpha) * u_hat_bar * last)
        (u_hat_bar, alpha_sum), current_bars = jax.lax.scan(step_back, carry, steps, reverse=True)
        alpha_sum = alpha_sum + (1 - alpha) * u_hat_bar * first.u_hat
        return current_bars, LIFCoefficients(alpha_bar(alpha, alpha_sum.sum(0))), LIFCarry(u_hat_bar)


class LIFCarry(NamedTuple):
    """Carry of the loop: `u^_t`; and `z_t`, if the threshold is trained."""

    u_hat: PerSample
    z: PerSample | None = None


def membrane(alpha: PerNeuron, u: PerSample, drive: PerSample) -> PerSample:
    """Return `u^_t = alpha u_{t-1} + (1 - alpha) drive_t`."""
    return alpha * u + (1 - alpha) * drive


def trains_threshold(neuron: Any) -> bool:
    """Return whether the distance between resting potential and threshold is trained."""
    return neuron.train_threshold or neuron.train_rest


def threshold_parameters(neuron: Any) -> Mapping[str, Parameter]:
    """Return the parameters of a neuron that trains its threshold, its resting potential, or both.

    Raises:
      SeadlifError: the threshold is negative.
    """
    refuse_negative(neuron, "threshold")
    parameters = {}
    if neuron.train_threshold:
        parameters["threshold"] = Parameter((neuron.threshold, neuron.threshold), (0.0, math.inf))
    if neuron.train_rest:
        parameters["k_rest"] = Parameter((0.0, 1.0), (-1.0, 1.0))
    return parameters


def gap_and_rest(neuron: Any, params: Mapping[str, PerNeuron]) -> tuple[PerNeuron | None, PerNeuron | None]:
    """Return the threshold minus the resting potential, and the resting potential; None for what is not trained."""
    if not neuron.train_rest:
        return params.get("threshold"), None
    threshold = params["threshold"] if neuron.train_threshold else jax.lax.stop_gradient(neuron.threshold)
    rest = params["k_rest"] * threshold
    return threshold - rest, rest


def from_rest(coefficients: Any, current: PerSample) -> PerSample:
    """Return the current minus the resting potential."""
    return current if coefficients.rest is None else current - coefficients.rest


def above_threshold(neuron: Any, coefficients: Any, u_hat: PerSample) -> PerSample:
    """Return `u^ - threshold`, of a potential relative to the resting potential."""
    gap = jax.lax.stop_gradient(neuron.threshold) if coefficients.gap is None else coefficients.gap
    return u_hat - gap


def spikes(neuron: Any, coefficients: Any, u_hat: PerSample) -> PerSample:
    """Return `z = H(u^ - threshold)`."""
    return neuron.surrogate(above_threshold(neuron, coefficients, u_hat))


def through_spikes(neuron: Any, coefficients: Any, u_hat: PerSample, z_bar: PerSample) -> PerSample:
    """Return the gradient for `u^` of the one for its spikes."""
    return z_bar * neuron.surrogate.derivative(above_threshold(neuron, coefficients, u_hat))


def reset(u_hat: PerSample, z: PerSample) -> PerSample:
    """Return `u = u^ (1 - sg(z))`. No gradient goes through the reset: it would oppose the one through the spike."""
    return u_hat * (1 - jax.lax.stop_gradient(z))


def alpha_bar(alpha: PerNeuron, total: PerNeuron) -> PerNeuron:
    """Return the gradient for `alpha` of steps `v_t = alpha u_{t-1} + (1 - alpha) drive_t`.

    It is `sum_t v_bar_t (u_{t-1} - drive_t)`. The drive is not stored, but it follows from the rest:
    `u_{t-1} - drive_t = (u_{t-1} - v_t) / (1 - alpha)`. Likewise, `v_bar_t = current_bar_t / (1 - alpha)`.

    Args:
      alpha: decays.
      total: `sum_t current_bar_t (u_{t-1} - v_t)`.
    """
    scale = (1 - alpha) ** 2
    # A time constant so long that alpha is rounded to 1 cannot be trained.
    return jnp.where(scale > 0, total / jnp.where(scale > 0, scale, 1), 0)
