"""The spikes of a layer over a whole sequence, with a hand-written gradient.

The same function as `unroll(...).output`, but its gradient keeps a single array of the size of the sequence, and
computes the gradients of the weights outside the loop over time.

**Normal form.** With its current and its adaptation scaled by `1 - alpha`, `I = (1 - alpha)(x W + bias)`,
`R = (1 - alpha) W_rec` and `v = (1 - alpha) w`, every spiking neuron of `neurons` is

    u^_t = alpha u_{t-1} - v_{t-1} + I_t + z_{t-1} R      z_t = H(u^_t - threshold)      u_t = u^_t (1 - sg(z_t))
    v_t  = beta v_{t-1} + a u_s + b z_s                   s = t for SE, t - 1 for EF;  v = 0 for LIF

with `a` standing for `(1 - alpha)(1 - beta) q a`, and `b` likewise. The scaling is left to automatic differentiation.

**Backward.** With `d_t = dL/du^_t`, `l_t = dL/dv_t` and the gradient `g_t` that reaches `z_t` from above,

    l_t = beta l_{t+1} - d_{t+1}
    d_t = (1 - z_t)(alpha d_{t+1} + a l_s) + H'(u^_t - threshold)(g_t + d_{t+1} R^T + b l_s)    s = t SE, t + 1 EF

The membrane potential before the reset, `u^`, is all that is kept from the forward pass: spikes and reset follow from
it. The gradient for beta seems to need the adaptation too: it is `sum_t l_t v_{t-1}`. But `v` is a filter of
`a u + b z`; with the filter turned around, onto `l`, the sum becomes

    dL/dbeta = sum_t p_s (a u_t + b z_t)      p_t = beta p_{t+1} + l_{t+1}      s = t SE, t + 1 EF

It is carried along the backward loop, like the sums for alpha, a, b and the threshold.

**Chunks.** Both passes go through the sequence in chunks of some steps. What is not sequential is done for a chunk at
a time, while it is in the cache: the input projection before it, the gradients of weights and inputs after it, each as
one matmul. So neither the currents nor their gradients are ever held for the whole sequence.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from seadlif_jax import neurons
from seadlif_jax.compute import Compute
from seadlif_jax.surrogate import SpikeFn


class Coefficients(NamedTuple):
    """Those of the normal form, each `[neuron]`; `beta`, `a` and `b` are None for LIF."""

    alpha: Array
    beta: Array | None
    a: Array | None
    b: Array | None
    threshold: Array


class Weights(NamedTuple):
    """Those of the normal form: `[channel, neuron]`, `[neuron]`, and `[neuron, neuron]` or None."""

    kernel: Array
    bias: Array
    recurrent_kernel: Array | None


class How(NamedTuple):
    """What is fixed when compiling: whether the adaptation follows the new membrane potential (SE); how to compute."""

    symplectic: bool
    compute: Compute


class _State(NamedTuple):
    """Membrane potential before reset, adaptation and spikes of the last step; the adaptation is one step behind."""

    u_hat: Array
    v: Array | None
    z: Array


class _Adjoint(NamedTuple):
    """`d`, `l` and `p` of the step after, and the sums for the coefficients of all steps after (per sample)."""

    d: Array
    l: Array | None
    p: Array | None
    sums: Coefficients


def spikes(
    neuron: neurons.Neuron,
    params: neurons.LIFParams | neurons.AdLIFParams,
    spike: SpikeFn,
    weights: Weights,
    compute: Compute,
    inputs: Num[Array, "time batch channel"],
) -> Float[Array, "time batch neuron"]:
    """The spikes of a layer of LIF or adLIF neurons, from the zero state, with the gradient described above.

    Args:
      neuron: an entry of `neurons.NEURONS` that `has_gradient`.
      params: its parameters; `weights` are as in `unroll.Layer`, before scaling.
      spike: a spike function of `surrogate.spike_function`.
      weights: of the inputs, the bias, and the recurrent ones.
      compute: how to compute.
      inputs: of every step. Integers, such as event counts, need no conversion and get no gradient.
    """
    scale = 1 - params.alpha
    beta = a = b = None
    if isinstance(params, neurons.AdLIFParams):
        beta = params.beta
        a, b = (scale * (1 - beta) * params.q * coupling for coupling in (params.a, params.b))
    threshold = jnp.broadcast_to(jnp.asarray(params.threshold, scale.dtype), scale.shape)
    return _spikes(
        How(neuron.step is neurons.se_adlif, compute),
        Coefficients(params.alpha, beta, a, b, threshold),
        spike,
        jax.tree.map(lambda weight: weight * scale, weights),
        inputs,
    )


def has_gradient(neuron: neurons.Neuron) -> bool:
    """Whether `spikes` knows the neuron."""
    return neuron.step in (neurons.lif, neurons.ef_adlif, neurons.se_adlif)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _spikes(how: How, coefficients: Coefficients, spike: SpikeFn, weights: Weights, inputs: Array) -> Array:
    return _forward(how, coefficients, spike, weights, inputs)[0]


def _forward(how, coefficients, spike, weights, inputs):
    alpha, beta, a, b, threshold = coefficients
    compute = how.compute
    dtype = weights.kernel.dtype

    def step(state, current):
        u_hat, v, z = state
        if weights.recurrent_kernel is not None:
            current = current + compute.matmul(z, weights.recurrent_kernel)
        u = u_hat * (1 - z)
        u_hat = alpha * u + (current + weights.bias)
        if beta is not None:
            # v is brought up to date a step late, when u and z are at hand anyway: one pass over memory less.
            before, v = v, beta * v + (a * u + b * z)
            u_hat = u_hat - (v if how.symplectic else before)
        return _State(u_hat, v, spike(u_hat - threshold)), u_hat

    def chunk(state, x):
        currents = compute.matmul(x.astype(dtype), weights.kernel)
        return jax.lax.scan(step, state, currents, unroll=compute.unroll)

    num_steps, batch = inputs.shape[:2]
    width = weights.bias.shape[-1]
    chunk_steps = compute.chunk_steps(num_steps, step_bytes=batch * width * dtype.itemsize)
    zero = jnp.zeros((batch, width), dtype)
    state = _State(zero, None if beta is None else zero, zero)
    _, u_hat = jax.lax.scan(chunk, state, _cut(inputs, chunk_steps))
    z = spike(_join(u_hat, num_steps) - threshold)
    return z, (coefficients, spike, weights, inputs, u_hat)


def _backward(how, residuals, gradient):
    (alpha, beta, a, b, threshold), spike, weights, inputs, u_hats = residuals
    compute = how.compute
    chunk_steps, batch, width = u_hats.shape[1:]
    dtype = u_hats.dtype
    recurrent = weights.recurrent_kernel is not None

    def step(after, saved):
        d, l, p, sums = after
        u_hat, g_z = saved
        z, surrogate = jax.jvp(spike, (u_hat - threshold,), (jnp.ones_like(u_hat),))
        u = u_hat * (1 - z)
        sums = sums._replace(alpha=sums.alpha + d * u)
        g_u = alpha * d
        if recurrent:
            g_z = g_z + compute.matmul(d, weights.recurrent_kernel.T)
        if beta is not None:
            l, l_after = beta * l - d, l
            p, p_after = beta * p + l_after, p
            l_s, p_s = (l, p) if how.symplectic else (l_after, p_after)
            g_u = g_u + a * l_s
            g_z = g_z + b * l_s
            sums = sums._replace(beta=sums.beta + p_s * (a * u + b * z), a=sums.a + l_s * u, b=sums.b + l_s * z)
        through_spike = g_z * surrogate
        sums = sums._replace(threshold=sums.threshold - through_spike)
        d = g_u * (1 - z) + through_spike
        return _Adjoint(d, l, p, sums), d

    def chunk(carry, saved):
        after, g_weights = carry
        x, u_hat, g_z = saved
        adjoint, d = jax.lax.scan(step, after, (u_hat, g_z), reverse=True, unroll=compute.unroll)
        g_kernel = compute.sum_of_outer_products(x.astype(dtype), d)
        g_recurrent = None
        if recurrent:
            d_after = jnp.concatenate([d[1:], after.d[None]])
            g_recurrent = compute.sum_of_outer_products(spike(u_hat - threshold), d_after)
        g_weights = jax.tree.map(jnp.add, g_weights, Weights(g_kernel, d.sum((0, 1)), g_recurrent))
        g_x = compute.matmul(d, weights.kernel.T) if has_input_gradient else None
        return (adjoint, g_weights), g_x

    has_input_gradient = jnp.issubdtype(inputs.dtype, jnp.inexact)
    zero = jnp.zeros((batch, width), dtype)
    zero_if_adaptive = None if beta is None else zero
    sums = Coefficients(zero, zero_if_adaptive, zero_if_adaptive, zero_if_adaptive, zero)
    last = _Adjoint(zero, zero_if_adaptive, zero_if_adaptive, sums)
    (first, g_weights), g_inputs = jax.lax.scan(
        chunk,
        (last, jax.tree.map(jnp.zeros_like, weights)),
        (_cut(inputs, chunk_steps), u_hats, _cut(gradient, chunk_steps)),
        reverse=True,
    )
    if has_input_gradient:
        g_inputs = _join(g_inputs, len(inputs)).astype(inputs.dtype)
    # The surrogate's own settings are not trained.
    return jax.tree.map(lambda per_sample: per_sample.sum(0), first.sums), None, g_weights, g_inputs


_spikes.defvjp(_forward, _backward)


def _cut(sequence: Any, chunk_steps: int) -> Any:
    """`[time, ...] -> [chunk, step, ...]`, padded with zeros, which are without effect on what is before."""
    missing = -len(sequence) % chunk_steps
    if missing:
        sequence = jnp.pad(sequence, [(0, missing)] + [(0, 0)] * (sequence.ndim - 1))
    return sequence.reshape(-1, chunk_steps, *sequence.shape[1:])


def _join(chunks: Any, num_steps: int) -> Any:
    """The inverse of `_cut`."""
    return chunks.reshape(-1, *chunks.shape[2:])[:num_steps]
