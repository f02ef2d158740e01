"""Leaky integrate-and-fire (LIF) neurons.

    u^_t = alpha u_{t-1} + (1 - alpha) I_t        alpha = exp(-1 / tau_u)
    z_t  = H(u^_t - threshold)
    u_t  = u^_t (1 - sg(z_t))                     reset to zero; sg stops the gradient

Source: Baronig, Ferrand, Sabathiel & Legenstein (arXiv 2408.07517), "The leaky integrate-and-fire neuron".
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from seadlif_jax.neurons.neuron import Neuron, PerNeuron, PerSample, Range, before_each, decay, interpolate
from seadlif_jax.neurons.surrogate import Number, Surrogate


class LIFCoefficients(NamedTuple):
    """Decay of the membrane potential in a step."""

    alpha: PerNeuron


class LIFState(NamedTuple):
    """Membrane potential `u_hat` before the reset, and spikes `z`, after step t.

    `u` is the membrane potential after the reset.
    """

    u_hat: PerSample
    z: PerSample

    @property
    def u(self) -> PerSample:
        return reset(self.u_hat, self.z)

    @property
    def output(self) -> PerSample:
        return self.z


class LIF(Neuron):
    """Leaky integrate-and-fire neurons.

    Attributes:
      tau_u: range in steps of the membrane time constants; each neuron's is trained, as its position `k_u` in [0, 1].
      threshold: the membrane potential above which a neuron spikes.
      surrogate: the spike function and its surrogate gradient.

    Example:
      >>> LIF(tau_u=(5.0, 50.0)).parameters()
      {'k_u': (0.0, 1.0)}
    """

    tau_u: Range = (5.0, 25.0)
    threshold: Number = 1.0
    surrogate: Surrogate = Surrogate()

    State = LIFState
    kernel = "lif"

    def parameters(self) -> Mapping[str, Range]:
        return {"k_u": (0.0, 1.0)}

    def coefficients(self, params: Mapping[str, PerNeuron]) -> LIFCoefficients:
        return LIFCoefficients(decay(interpolate(params["k_u"], self.tau_u)))

    def step(self, coefficients: LIFCoefficients, state: LIFState, current: PerSample) -> LIFState:
        """Return the state after step t."""
        u_hat = membrane(coefficients.alpha, state.u, current)
        return LIFState(u_hat, spikes(self, u_hat))

    # The carry of the loop is `u^_t`, and so is the residual: `z_t` and `u_t` follow from it.

    def initial_carry(self, shape: tuple[int, ...]) -> PerSample:
        return jnp.zeros(shape)

    def unpack(self, coefficients: LIFCoefficients, carry: PerSample) -> LIFState:
        return LIFState(carry, spikes(self, carry))

    def pack(self, before: LIFState, after: LIFState) -> PerSample:
        return after.u_hat

    def residual(self, carry: PerSample, current: PerSample) -> PerSample:
        return carry

    def outputs(self, coefficients: LIFCoefficients, first: PerSample, residuals: Array) -> Array:
        return spikes(self, residuals)

    def backward(
        self,
        coefficients: LIFCoefficients,
        first: PerSample,
        residuals: Array,
        last_bar: PerSample,
        output_bars: Array,
        recur: Callable[[Array], Array],
    ) -> tuple[Array, LIFCoefficients, PerSample]:
        """Return the gradients of a chunk of steps (see `Neuron.backward`), by hand: from `u^_t` alone."""
        alpha = coefficients.alpha

        def step_back(carry: tuple[PerSample, PerSample], step: tuple[Array, Array]) -> tuple[Any, Array]:
            """Go back from `u^_t` to `u^_{t-1}`."""
            u_hat_bar, alpha_sum = carry
            u_hat, output_bar = step  # of t - 1
            v = u_hat - self.threshold
            z = self.surrogate(v)
            current_bar = (1 - alpha) * u_hat_bar
            alpha_sum = alpha_sum + current_bar * u_hat * (1 - z)
            u_bar, z_bar = alpha * u_hat_bar, output_bar + recur(current_bar)
            u_hat_bar = u_bar * (1 - z) + z_bar * self.surrogate.derivative(v)
            return (u_hat_bar, alpha_sum - (1 - alpha) * u_hat_bar * u_hat), current_bar

        last = residuals[-1]
        last_bar = last_bar + output_bars[-1] * self.surrogate.derivative(last - self.threshold)
        carry = (last_bar, -(1 - alpha) * last_bar * last)
        steps = (before_each(first, residuals), before_each(jnp.zeros_like(first), output_bars))
        (first_bar, alpha_sum), current_bars = jax.lax.scan(step_back, carry, steps, reverse=True)
        alpha_sum = alpha_sum + (1 - alpha) * first_bar * first
        return current_bars, LIFCoefficients(alpha_bar(alpha, alpha_sum.sum(0))), first_bar


def membrane(alpha: PerNeuron, u: PerSample, drive: PerSample) -> PerSample:
    """Return `u^_t = alpha u_{t-1} + (1 - alpha) drive_t`."""
    return alpha * u + (1 - alpha) * drive


def spikes(neuron: Any, u_hat: PerSample) -> PerSample:
    """Return `z = H(u^ - threshold)`. The threshold is not trained."""
    return neuron.surrogate(u_hat - jax.lax.stop_gradient(neuron.threshold))


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
