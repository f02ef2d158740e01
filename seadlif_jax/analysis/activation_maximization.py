"""Feature visualisation: what a trained network takes for a class, as inputs found by gradient ascent from noise.

The network is frozen; an input `x` in [0, 1], like the probability of a spike in each step, climbs for some hundred
iterations of Adam towards the greatest

    mean over the counted steps of log softmax(y_t)[class]  -  penalty * sum of x^2

by a gradient that is smoothed over time. The penalty keeps out what the class does not need, and smoothing the patterns
of single steps that a network also answers to, but that no data has. (After Simonyan, Vedaldi & Zisserman, 2014, who
have the penalty, and Fig. 6c of Baronig et al., who descend the loss itself: that of a sum of softmaxes hardly has a
gradient any more once a few steps are right.)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from seadlif_jax.nn.network import Network
from seadlif_jax.runs.checkpoint import Variables

NOISE = (0.0, 0.1)  # the range of the start: low, and alike at all times


class Features(NamedTuple):
    """One input for each class, and how the network came to answer to it.

    Attributes:
      inputs: in [0, 1].
      log_probability: before each iteration and after the last, the mean over the counted steps.
    """

    inputs: Float[Array, "class time channel"]
    log_probability: Float[Array, "evaluation class"]


class Peaks(NamedTuple):
    """Where each channel of an input is greatest.

    Attributes:
      step: the time, in steps.
      height: the smoothed input there, above the channel's mean.
    """

    step: Int[Array, "*batch channel"]
    height: Float[Array, "*batch channel"]


def noise(key: Key[Array, ""], shape: tuple[int, int, int]) -> Float[Array, "class time channel"]:
    """A start of this shape, uniform in 0..0.1."""
    return jax.random.uniform(key, shape, minval=NOISE[0], maxval=NOISE[1])


def visualise(
    network: Network,
    variables: Variables,
    start: Float[Array, "class time channel"],
    counted: Bool[np.ndarray, " steps"],
    *,
    iterations: int = 400,
    learning_rate: float = 0.05,
    penalty: float = 0.003,
    smoothing: float = 3.0,
) -> Features:
    """Finds an input for every class, all at once; may be compiled with `network` and `counted` bound.

    Args:
      network: a classifier.
      variables: what it has been trained to.
      start: an input for each class to set out from, such as `noise`.
      counted: the steps in which the network answers: `block_index == 1`, in its data set.
      iterations: of Adam.
      learning_rate: its step, in units of the input.
      penalty: of the sum of squares over time and channels; the default is for some 2,000 entries.
      smoothing: standard deviation in steps of the Gaussian that smooths the gradient.

    Raises:
      ValueError: there is not one start for each class, or no step is counted, or `counted` has another length.
    """
    classes = network.readout.features
    if len(start) != classes:
        raise ValueError(f"start has {len(start)} inputs; it must have one for each of the {classes} classes")
    if len(counted) != start.shape[1] or not counted.any():
        raise ValueError(f"counted must choose at least one of the {start.shape[1]} steps of the inputs")

    def log_probability(inputs):
        outputs: Any = network.apply(variables, inputs)
        return jnp.diagonal(jax.nn.log_softmax(outputs[:, counted]).mean(axis=1))

    def objective(inputs):
        found = log_probability(inputs)
        # A sum over classes: none of the inputs has a part in the gradient of another.
        return jnp.sum(found) - penalty * jnp.sum(inputs**2), found

    optimizer = optax.adam(learning_rate)

    def iterate(carry, _):
        inputs, state = carry
        gradient, found = jax.grad(objective, has_aux=True)(inputs)
        updates, state = optimizer.update(-smooth(gradient, smoothing), state)
        inputs = optax.projections.projection_box(optax.apply_updates(inputs, updates), 0.0, 1.0)
        return (inputs, state), found

    (inputs, _), before = jax.lax.scan(iterate, (start, optimizer.init(start)), length=iterations)
    return Features(inputs, jnp.concatenate([before, log_probability(inputs)[None]]))


def smooth(x: Float[Array, "*batch time channel"], width: float) -> Float[Array, "*batch time channel"]:
    """Means over time, weighted by a Gaussian of this standard deviation in steps; at the ends, by what is left of it.

    >>> smooth(jnp.ones((4, 1)), 2.0).ravel()
    Array([1., 1., 1., 1.], dtype=float32)
    """
    time = jnp.arange(x.shape[-2])
    weights = jax.nn.softmax(-((time[:, None] - time) ** 2) / (2 * width**2), axis=-1)
    return weights @ x


def peaks(inputs: Float[Array, "*batch time channel"], width: float) -> Peaks:
    """The peak of every channel, once smoothed with a Gaussian of this width in steps."""
    smoothed = smooth(inputs, width)
    return Peaks(smoothed.argmax(axis=-2), smoothed.max(axis=-2) - smoothed.mean(axis=-2))
