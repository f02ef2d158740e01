"""The spikes of a layer over a chunk of steps, with a hand-written gradient.

What the step functions of `neurons` compute, but the gradient keeps only the membrane potential, and computes the
gradients of the weights outside the loop over time.

**Normal form.** With its current and its adaptation scaled by `1 - alpha`, `I = (1 - alpha)(x W + bias)`,
`R = (1 - alpha) W_rec` and `v = (1 - alpha) w`, every spiking neuron of `neurons` is

    u^_t = alpha u_{t-1} - v_{t-1} + I_t + z_{t-1} R      z_t = H(u^_t - threshold)      u_t = u^_t (1 - sg(z_t))
    v_t  = beta v_{t-1} + a u_s + b z_s                   s = t for SE, t - 1 for EF;  v = 0 for LIF

with `a` standing for `(1 - alpha)(1 - beta) q a`, and `b` likewise. The scaling is left to automatic differentiation.
SE's adaptation is brought up to date a step late, when it is needed: with `v` of that meaning, the step is

    v_t  = beta v_{t-1} + a u_{t-1} + b z_{t-1}
    u^_t = alpha u_{t-1} + I_t + z_{t-1} R - v_s          s = t for SE, t - 1 for EF

**Backward.** With `d = dL/du^`, `l = dL/dv`, and the gradient `g` that reaches `z` from above, from step t to t - 1:

    SE: l_t -= d_t
    d_{t-1} = (1 - z_{t-1}) (alpha d_t + a l_t) + H'(u^_{t-1} - threshold) (g_{t-1} + d_t R^T + b l_t)
    l_{t-1} = beta l_t                                    EF: l_{t-1} -= d_t

`u^` is all that this takes from the forward pass. The gradient for beta, `sum_t l_t v_{t-1}`, seems to need the
adaptation too. But `v` is a filter of `a u + b z`; with the filter turned around, onto `l`, the sum becomes

    v_0 p_0 + sum_t p_t (a u_{t-1} + b z_{t-1})           p_{t-1} = l_t + beta p_t,  p = 0 behind the last step

It is carried along the backward loop, like the sums for alpha, a and b.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from seadlif_jax import neurons
from seadlif_jax.neurons.surrogate import SpikeFn
from seadlif_jax.nn.execution import Compute, keep


class Weights(NamedTuple):
    """`kernel [channel, neuron]`, `bias [neuron]`, and `recurrent_kernel [neuron, neuron]` or None."""

    kernel: Array
    bias: Array
    recurrent_kernel: Array | None


class State(NamedTuple):
    """Membrane potential before the reset, and scaled adaptation as of the step before for SE (None for LIF).

    Both `[batch, neuron]`, in the full type whatever that of the weights.
    """

    u_hat: Array
    v: Array | None


class _Coefficients(NamedTuple):
    """Those of the normal form, each `[neuron]`; `beta`, `a` and `b` are None for LIF."""

    alpha: Array
    beta: Array | None
    a: Array | None
    b: Array | None


class _How(NamedTuple):
    """What is fixed when compiling: whether the current adaptation acts on the membrane (SE), and how to compute."""

    symplectic: bool
    compute: Compute


def has_gradient(neuron: neurons.Neuron) -> bool:
    """Whether `spikes` knows the neuron."""
    return neuron.step in (neurons.lif, neurons.ef_adlif, neurons.se_adlif)


def zero_state(neuron: neurons.Neuron, batch: int, width: int) -> State:
    """The state before the first step, `[batch, neuron]`."""
    zero = jnp.zeros((batch, width))
    return State(zero, None if neuron.step is neurons.lif else zero)


def prepare(
    neuron: neurons.Neuron,
    params: neurons.LIFParams | neurons.AdLIFParams,
    spike: SpikeFn,
    weights: Weights,
    compute: Compute,
) -> Callable[[State, Num[Array, "time batch channel"]], tuple[State, Float[Array, "time batch neuron"]]]:
    """Brings a layer of LIF or adLIF neurons into the normal form.

    Args:
      neuron: an entry of `neurons.NEURONS` that `has_gradient`.
      params: its parameters.
      spike: a spike function of `surrogate.spike_function`.
      weights: as in `unroll.Layer`.
      compute: how to compute.

    Returns:
      a function that advances the layer by some steps: from the state before them and the inputs to the state after
      them and the spikes. Integer inputs, such as event counts, need no conversion and get no gradient. To
      differentiate the gradient once more raises a `NotImplementedError`.
    """
    scale = 1 - params.alpha
    beta = a = b = None
    if isinstance(params, neurons.AdLIFParams):
        beta = params.beta
        a, b = (scale * (1 - beta) * params.q * coupling for coupling in (params.a, params.b))
    how = _How(neuron.step is neurons.se_adlif, compute)
    coefficients = _Coefficients(params.alpha, beta, a, b)
    scaled = jax.tree.map(lambda weight: weight * scale, weights)

    def some_steps(state, inputs):
        # The loop is run out of sight of automatic differentiation, and its gradient attached afterwards. So a
        # `jax.checkpoint` around it can keep the membrane potential, and need not run the loop again.
        arguments = (coefficients, spike, params.threshold, scaled, state, inputs)
        potentials = keep(_forward(how, *jax.lax.stop_gradient(arguments)))
        return _attach_gradient(how, *arguments, potentials)

    return some_steps


class _Potentials(NamedTuple):
    """Membrane potentials before each step, `[time, batch, neuron]`, and the state after the last."""

    u_hat: Array
    last: State


def _forward(how, coefficients, spike, threshold, weights, state, inputs) -> _Potentials:
    alpha, beta, a, b = coefficients
    matmul = how.compute.matmul

    def step(state, current):
        u_hat, v = state
        z = spike(u_hat - threshold)
        u = u_hat * (1 - z)
        if weights.recurrent_kernel is not None:
            current = current + matmul(z, weights.recurrent_kernel)
        new = alpha * u + (current + weights.bias)
        if beta is not None:
            v, v_before = beta * v + (a * u + b * z), v
            new = new - (v if how.symplectic else v_before)
        return State(new, v), u_hat

    currents = matmul(inputs.astype(weights.kernel.dtype), weights.kernel)
    last, u_hat = jax.lax.scan(step, state, currents, unroll=how.compute.unroll)
    return _Potentials(u_hat, last)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attach_gradient(how, coefficients, spike, threshold, weights, state, inputs, potentials):
    del how, coefficients, weights, state, inputs
    u_hat, last = potentials
    return last, spike(jnp.concatenate([u_hat[1:], last.u_hat[None]]) - threshold)


def _attached(how, *arguments):
    return _attach_gradient(how, *arguments), arguments


def _backward(how, residuals, gradients):
    coefficients, spike, threshold, weights, state, inputs, (u_hats, last) = residuals
    alpha, beta, a, b = coefficients
    g_last, g_z = gradients
    compute = how.compute

    def step(carry, before):
        d, l, p, sums = carry
        u_hat, g_z = before
        z, surrogate = _with_derivative(spike, u_hat - threshold)
        u = u_hat * (1 - z)
        sums = sums._replace(alpha=sums.alpha + d * u)
        g_u = alpha * d
        if weights.recurrent_kernel is not None:
            g_z = g_z + compute.matmul(d, weights.recurrent_kernel.T)
        if beta is not None:
            l_t = l - d if how.symplectic else l
            sums = sums._replace(beta=sums.beta + p * (a * u + b * z), a=sums.a + l_t * u, b=sums.b + l_t * z)
            p = l_t + beta * p
            g_u = g_u + a * l_t
            g_z = g_z + b * l_t
            l = beta * l_t if how.symplectic else beta * l_t - d
        return (g_u * (1 - z) + g_z * surrogate, l, p, sums), d

    through_last_spike = g_z[-1] * _with_derivative(spike, last.u_hat - threshold)[1]
    zero = jnp.zeros_like(last.u_hat)
    adaptive_zero = None if beta is None else zero
    sums = _Coefficients(zero, adaptive_zero, adaptive_zero, adaptive_zero)
    carry = (g_last.u_hat + through_last_spike, g_last.v, adaptive_zero, sums)
    # The spikes of step 0 are the output of the chunk before.
    g_before = jnp.concatenate([zero[None], g_z[:-1]])
    (d_0, l_0, p_0, sums), d = jax.lax.scan(step, carry, (u_hats, g_before), reverse=True, unroll=compute.unroll)
    if beta is not None:
        sums = sums._replace(beta=sums.beta + p_0 * state.v)

    # One product for all weights: side by side, what enters the neurons takes one transposition of d.
    sources = [inputs.astype(d.dtype)]
    if weights.recurrent_kernel is not None:
        sources.append(spike(u_hats - threshold))
    g_kernels = compute.sum_of_outer_products(d, jnp.concatenate(sources, axis=-1)).T
    g_kernel, g_recurrent = g_kernels[: inputs.shape[-1]], None
    if weights.recurrent_kernel is not None:
        g_recurrent = g_kernels[inputs.shape[-1] :]
    g_inputs = None
    if jnp.issubdtype(inputs.dtype, jnp.inexact):
        g_inputs = compute.matmul(d, weights.kernel.T).astype(inputs.dtype)
    g_coefficients = jax.tree.map(lambda per_sample: per_sample.sum(0), sums)
    found = (g_coefficients, Weights(g_kernel, d.sum((0, 1)), g_recurrent), State(d_0, l_0))
    # Weights may be of a narrower type than potentials.
    found = jax.tree.map(lambda g, primal: _only_once(g).astype(primal.dtype), found, (coefficients, weights, state))
    return (
        found[0],
        None,  # the surrogate's own settings are not trained,
        None,  # and the threshold is a constant
        *found[1:],
        None if g_inputs is None else _only_once(g_inputs),
        None,  # the potentials follow from the rest
    )


_attach_gradient.defvjp(_attached, _backward)


@jax.custom_jvp
def _only_once(gradient: Array) -> Array:
    """The gradient itself, which takes the potentials for constants and must not be differentiated."""
    return gradient


@_only_once.defjvp
def _refuse(primals, tangents):
    raise NotImplementedError("higher derivatives of spiking layers need Compute(plain_scan=True)")


def _with_derivative(spike: SpikeFn, v: Array) -> tuple[Array, Array]:
    return jax.jvp(spike, (v,), (jnp.ones_like(v),))
