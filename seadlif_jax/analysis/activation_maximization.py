"""Activation maximisation: inputs that a trained network answers to with a class, by gradient ascent from noise.

The network is frozen; an input `x` in [0, 1], like the probability of a spike in each step, climbs for some hundred
iterations of Adam towards the maximum of

    mean over the masked steps of log softmax(y_t)[class]  -  penalty * sum of x^2

along a gradient that is smoothed over time. The penalty removes what the class does not need, and smoothing removes
patterns of single steps that a network also answers to, but that no data has. (After Simonyan, Vedaldi & Zisserman,
2014, who have the penalty, and Fig. 6c of Baronig et al., who descend the loss itself: the loss of a sum of softmaxes
hardly has a gradient any more once a few steps are right.)
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from seadlif_jax.nn import Network
from seadlif_jax.utils.errors import InputError

NARROW = 1e-6  # a width in steps at which neighbours have no weight
NOISE_RANGE = (0.0, 0.1)  # low, and alike at all times


class MaximizingInputs(NamedTuple):
    """One input for each class, and the network's answers on the way to it.

    Attributes:
      inputs: in [0, 1].
      log_probability: mean over the masked steps, before each iteration and after the last.
    """

    inputs: Float[Array, "class time channel"]
    log_probability: Float[Array, "evaluation class"]


class Peaks(NamedTuple):
    """Maximum of each channel of an input.

    Attributes:
      step: its time, in steps.
      height: the smoothed input there, above the channel's mean.
    """

    step: Int[Array, "*batch channel"]
    height: Float[Array, "*batch channel"]


def draw_noise(key: Key[Array, ""], shape: tuple[int, int, int]) -> Float[Array, "class time channel"]:
    """Return a start for `maximize_activation`, uniform in 0..0.1."""
    return jax.random.uniform(key, shape, minval=NOISE_RANGE[0], maxval=NOISE_RANGE[1])


def maximize_activation(
    network: Network,
    variables: Mapping[str, Any],
    start: Float[Array, "class time channel"],
    step_mask: Bool[np.ndarray, " steps"],
    *,
    iterations: int = 400,
    learning_rate: float = 0.05,
    penalty: float = 0.003,
    smoothing: float = 3.0,
) -> MaximizingInputs:
    """Return an input for every class, all found at once; may be compiled with `network` and `step_mask` bound.

    Args:
      network: a classifier.
      variables: its variables, by collection.
      start: input for each class to start from, such as `draw_noise`.
      step_mask: the steps in which the network answers: `block_index == 1`, in its data set.
      iterations: number of iterations of Adam.
      learning_rate: its step, in units of the input.
      penalty: factor of the sum of squares over time and channels; the default is for some 2,000 entries.
      smoothing: standard deviation in steps of the Gaussian that smooths the gradient; 0 for none.

    Raises:
      InputError: there is not one start for each class, the mask is not one of bools, is all False or has another
        length, or the smoothing is negative.
    """
    classes = network.readout.features
    if len(start) != classes:
        raise InputError(f"start has {len(start)} inputs; it must have one for each of the {classes} classes")
    if smoothing < 0:
        raise InputError(f"smoothing = {smoothing}: a standard deviation, it must be at least 0")
    step_mask = np.asarray(step_mask)
    if step_mask.dtype != bool or step_mask.shape != start.shape[1:2] or not step_mask.any():
        raise InputError(
            f"step_mask must be bools that choose at least one of the {start.shape[1]} steps of the inputs"
        )

    def log_probability(inputs):
        outputs: Any = network.apply(variables, inputs)
        return jnp.diagonal(jax.nn.log_softmax(outputs[:, step_mask]).mean(axis=1))

    def objective(inputs):
        answers = log_probability(inputs)
        # A sum over classes: no input has a part in the gradient of another.
        return jnp.sum(answers) - penalty * jnp.sum(inputs**2), answers

    optimizer = optax.adam(learning_rate)

    def iterate(carry, _):
        inputs, state = carry
        gradient, answers = jax.grad(objective, has_aux=True)(inputs)
        updates, state = optimizer.update(-smooth(gradient, smoothing), state)
        inputs = optax.projections.projection_box(optax.apply_updates(inputs, updates), 0.0, 1.0)
        return (inputs, state), answers

    (inputs, _), before = jax.lax.scan(iterate, (start, optimizer.init(start)), length=iterations)
    return MaximizingInputs(inputs, jnp.concatenate([before, log_probability(inputs)[None]]))


def smooth(x: Float[Array, "*batch time channel"], width: float) -> Float[Array, "*batch time channel"]:
    """Return means over time, weighted by a Gaussian of this standard deviation in steps, cut off at the ends.

    >>> smooth(jnp.ones((4, 1)), 2.0).ravel()
    Array([1., 1., 1., 1.], dtype=float32)
    """
    time = jnp.arange(x.shape[-2])
    weights = jax.nn.softmax(-((time[:, None] - time) ** 2) / (2 * jnp.maximum(width, NARROW) ** 2), axis=-1)
    return weights @ x


def find_peaks(inputs: Float[Array, "*batch time channel"], width: float) -> Peaks:
    """Return the peak of every channel, smoothed with a Gaussian of this width in steps."""
    smoothed = smooth(inputs, width)
    return Peaks(smoothed.argmax(axis=-2), smoothed.max(axis=-2) - smoothed.mean(axis=-2))
