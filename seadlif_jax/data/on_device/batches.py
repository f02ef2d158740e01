"""Batches of a split on the devices, the last of which may have fewer samples: the samples that fill it are masked."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.data.on_device.sharded_samples import ShardedSamples
from seadlif_jax.losses import IGNORED
from seadlif_jax.parallel import BatchShard

SplitOnDevices = Samples | ShardedSamples


def sum_over_batches(
    function: Callable[[Samples, Int[Array, ""]], PyTree[Array]],
    split: SplitOnDevices,
    batch_size: int,
    shard: BatchShard = BatchShard(),  # noqa: B008  it is immutable
) -> PyTree[Array]:
    """Return the sum of `function(batch, number)` over all batches of a split, and over the devices along the batch.

    To be compiled. Every sample is in one batch; samples that fill the last batch have neither targets nor steps that
    count.

    Args:
      function: from a batch, and its number among those of all devices, to what is summed.
      split: the samples.
      batch_size: the largest number of samples of a batch, of all devices together.
      shard: this device's part of each batch.
    """
    num_batches = -(-split.size // batch_size)
    positions = shard.positions(-(-split.size // num_batches))

    def term(number: Int[Array, ""]) -> PyTree[Array]:
        indices = number * len(positions) * shard.num_devices + positions
        batch = _mask(split.take(indices % split.size), indices >= split.size)
        return function(batch, number * shard.num_devices + shard.index())

    def add(total, number):
        return jax.tree.map(jnp.add, total, term(number)), None

    zero = jax.tree.map(lambda array: jnp.zeros(array.shape, array.dtype), jax.eval_shape(term, jnp.asarray(0)))
    total, _ = jax.lax.scan(add, zero, jnp.arange(num_batches))
    return shard.sum(total)


def _mask(batch: Samples, masked: Bool[Array, " sample"]) -> Samples:
    """Return a batch without the targets and blocks of the samples that are masked."""
    in_shape = masked.reshape(masked.shape + (1,) * (batch.targets.ndim - 1))
    return batch._replace(
        targets=jnp.where(in_shape, IGNORED, batch.targets),
        block_index=jnp.where(masked[:, None], 0, batch.block_index),
    )
