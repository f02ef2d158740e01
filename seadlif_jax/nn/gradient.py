"""A layer over a chunk of steps, with a gradient that is computed neuron by neuron, and the weights' all at once.

Differentiating a plain scan keeps every intermediate value of every step, and adds up the gradients of the weights step
by step. Here

- the forward pass runs the neuron's own `step`, and keeps one array a step: the neuron's `residual`;
- the backward pass computes from it what is elementwise (`Neuron.backward`, by hand or from `step`), with a single
  product a step, that with the recurrent weights;
- the gradients of all weights are one product over the chunk, outside of the loop.

The wiring of `jax.custom_vjp`:

    run_chunk(layer, state, inputs) -> (last state, outputs)
    forward:   the same, and the residuals, marked by `save_residual`; under `remat_unsaved` all else is computed again
    backward:  (gradients of last state and outputs) -> gradients of coefficients, weights, state and inputs
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from seadlif_jax.neurons import Neuron
from seadlif_jax.nn.execution import Execution, save_residual
from seadlif_jax.nn.layer import Layer, Weights


def run_chunk(
    layer: Layer, state: Any, inputs: Num[Array, "time batch channel"]
) -> tuple[Any, Float[Array, "time batch neuron"]]:
    """Advance a layer by some steps; return the state after them, and the outputs of all of them.

    Integer inputs, such as event counts, need no conversion and get no gradient.

    Raises:
      NotImplementedError: the gradient is differentiated once more.
    """
    return _run(layer.execution, layer.neuron, layer.coefficients, layer.weights, state, inputs)


def _forward(execution, neuron, coefficients, weights, state, inputs):
    """Return the last state, the outputs, and the residuals."""
    layer = Layer(neuron, coefficients, weights, execution)

    def step(state, projected):
        current = layer.current(projected, state)
        return neuron.step(coefficients, state, current), neuron.residual(coefficients, state, current)

    last, residuals = jax.lax.scan(step, state, layer.project(inputs), unroll=execution.unroll)
    residuals = save_residual(residuals)
    return (last, neuron.outputs(coefficients, state, residuals)), residuals


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(execution, neuron, coefficients, weights, state, inputs):
    return _forward(execution, neuron, coefficients, weights, state, inputs)[0]


def _run_forward(execution, neuron, coefficients, weights, state, inputs):
    result, residuals = _forward(execution, neuron, coefficients, weights, state, inputs)
    return result, (neuron, coefficients, weights, state, inputs, residuals)


def _run_backward(execution: Execution, saved: Any, bars: Any) -> tuple[Any, ...]:
    neuron: Neuron
    weights: Weights
    neuron, coefficients, weights, state, inputs, residuals = saved
    last_bar, output_bars = bars
    recurrent = weights.recurrent_kernel

    def recur(current_bar):
        if recurrent is None:
            return jnp.zeros_like(output_bars[0])
        return execution.matmul(current_bar, recurrent.T)

    current_bars, coefficients_bar, state_bar = neuron.backward(
        coefficients, state, residuals, last_bar, output_bars, recur
    )

    # One product for all weights: side by side, the sources of the currents take one transposition of `current_bars`.
    sources = [inputs.astype(current_bars.dtype)]
    if recurrent is not None:
        outputs = neuron.outputs(coefficients, state, residuals)
        sources.append(jnp.concatenate([state.output[None], outputs[:-1]]))
    kernels_bar = execution.sum_of_outer_products(current_bars, jnp.concatenate(sources, axis=-1)).T
    channels = inputs.shape[-1]
    weights_bar = Weights(
        kernels_bar[:channels], current_bars.sum((0, 1)), None if recurrent is None else kernels_bar[channels:]
    )
    inputs_bar = None
    if jnp.issubdtype(inputs.dtype, jnp.inexact):
        inputs_bar = _first_order(execution.matmul(current_bars, weights.kernel.T).astype(inputs.dtype))
    # Weights may be of a narrower type than states.
    primals, primals_bar = (coefficients, weights, state), (coefficients_bar, weights_bar, state_bar)
    primals_bar = jax.tree.map(lambda bar, primal: _first_order(bar).astype(primal.dtype), primals_bar, primals)
    # Hyperparameters of the neuron, such as the slope of its surrogate gradient, are not trained.
    return None, *primals_bar, inputs_bar


_run.defvjp(_run_forward, _run_backward)


@jax.custom_jvp
def _first_order(gradient: Array) -> Array:
    """Return the gradient itself, which takes the residuals for constants and must not be differentiated again."""
    return gradient


@_first_order.defjvp
def _refuse(primals, tangents):
    raise NotImplementedError("higher derivatives of recurrent layers need Execution(plain_scan=True)")
