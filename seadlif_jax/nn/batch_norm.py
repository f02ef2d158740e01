"""Batch normalisation of the feed-forward current, folded into the weights.

Over all samples and steps of a batch, the current `x W` of each neuron gets the same mean and variance:

    I = norm_scale (x W - m) / sqrt(v + epsilon) + bias + (recurrent current)
    m = mean(x) W        v_n = W_n^T cov(x) W_n

Mean and variance of the currents follow from those of the inputs, and the normalised current is `x W' + bias'`. So the
scan over time, its gradient, the native kernel and code for devices are those of a layer without normalisation.

Sources: Ioffe & Szegedy (2015, "Batch normalization"); for recurrent spiking neurons, Bittar & Garner (2022).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from seadlif_jax.nn.layer import Weights


class Moments(NamedTuple):
    """Mean and (population) variance of the current of each neuron."""

    mean: Float[Array, " current"]
    variance: Float[Array, " current"]


class BatchNorm(NamedTuple):
    """Settings of batch normalisation.

    Attributes:
      momentum: fraction of the running mean and variance that is kept in a training step; outside of training, these
        are used.
      epsilon: added to the variance.
      axis_name: axis of devices, or of `jax.vmap`, that a batch is divided along; None if it is not.

    Example:
      >>> from seadlif_jax import RecurrentLayer
      >>> layer, inputs = RecurrentLayer(8, batch_norm=BatchNorm()), jnp.ones((3, 10, 4))
      >>> variables = layer.init(jax.random.key(0), inputs)
      >>> spikes, updated = layer.apply(variables, inputs, mutable=["batch_stats"])  # in training
      >>> spikes = layer.apply(variables | updated, inputs)
    """

    momentum: float = 0.95
    epsilon: float = 1e-5
    axis_name: str | None = None

    def moments(self, inputs: Num[Array, "time batch channel"], kernel: Float[Array, "channel current"]) -> Moments:
        """Return the moments of `inputs kernel` over all samples and steps of a batch, padding included."""
        dtype = jnp.promote_types(kernel.dtype, jnp.float32)
        x, kernel = inputs.reshape(-1, inputs.shape[-1]).astype(dtype), kernel.astype(dtype)
        mean = self._over_devices(x.mean(0))
        x = x - mean  # before the product, which would otherwise lose the digits of a small variance
        covariance = self._over_devices(jnp.dot(x.T, x, precision="highest") / len(x))
        variance = jnp.sum(kernel * jnp.dot(covariance, kernel, precision="highest"), axis=0)
        return Moments(jnp.dot(mean, kernel, precision="highest"), jnp.maximum(variance, 0))

    def update(self, running: Moments, new: Moments) -> Moments:
        """Return the running moments after a training step."""
        return Moments(
            *(self.momentum * old + (1 - self.momentum) * now for old, now in zip(running, new, strict=True))
        )

    def fold(self, weights: Weights, scale: Float[Array, " current"], moments: Moments) -> Weights:
        """Return the weights of the normalised layer."""
        factor = scale * jax.lax.rsqrt(moments.variance + self.epsilon)
        kernel, bias = weights.kernel * factor, weights.bias - moments.mean * factor
        return weights._replace(kernel=kernel.astype(weights.kernel.dtype), bias=bias.astype(weights.bias.dtype))

    def _over_devices(self, array: Array) -> Array:
        """Return the mean over the devices of a batch.

        Of all exchanges between the devices in a training step, each needs the result of the one before: in the order
        of the layers forward, then backward, then for the gradients. On a CPU, exchanges at the same time could wait
        for each other for ever (see `parallel.Parallelized`).
        """
        return array if self.axis_name is None else jax.lax.pmean(array, self.axis_name)
