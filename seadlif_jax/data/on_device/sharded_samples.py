"""Splits too large for every device to hold in full: each device holds a shard of the samples.

The samples of a batch are drawn at random, so most of them are on other devices. In one exchange all devices announce
the samples that they need, in a second one each receives them from the devices that hold them.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Num, UInt8

from seadlif_jax.data.loading import Split
from seadlif_jax.data.on_device.samples import Samples, to_device
from seadlif_jax.parallel import BATCH, MEMBER

AXES = (MEMBER, BATCH)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["samples"], meta_fields=["size"])
@dataclasses.dataclass(frozen=True)
class ShardedSamples:
    """Split whose samples are sharded over all devices; in a function under `parallelize`, in place of `Samples`.

    Attributes:
      samples: this device's shard; outside of such a function all samples, padded to equal shards.
      size: number of samples of the split.
    """

    samples: Samples
    size: int
    partition_spec: ClassVar[PartitionSpec] = PartitionSpec(AXES)

    @property
    def inputs(self) -> Num[Array, "part time channel"]:
        """Inputs of `samples`."""
        return self.samples.inputs

    def labels(self) -> Int[Array, " sample"]:
        """Return the target of the first block of each sample of all devices."""
        return jax.lax.all_gather(self.samples.labels(), AXES, tiled=True)[: self.size]

    def take(self, indices: Int[Array, " share"]) -> Samples:
        """Return the samples at these indices, for this device; all devices must take equally many at the same time."""
        requested = jax.lax.all_gather(indices, AXES)
        local = requested - jax.lax.axis_index(AXES) * len(self.inputs)
        is_here = (local >= 0) & (local < len(self.inputs))

        def answer(array: Array) -> UInt8[Array, "device share bytes"]:
            mask = is_here.reshape(*local.shape, *(1,) * (array.ndim - 1))
            return _to_bytes(jnp.where(mask, array[local], jnp.zeros((), array.dtype)), 2)

        parts = [answer(array) for array in self.samples]
        # A sum of which all terms but one are 0; of all arrays in one exchange, see `parallel.Parallelized`.
        received = jax.lax.psum_scatter(jnp.concatenate(parts, axis=-1), AXES)
        received = jnp.split(received, np.cumsum([part.shape[-1] for part in parts])[:-1], axis=-1)
        samples = Samples(*map(_from_bytes, received, self.samples))
        return samples.take(jnp.arange(len(indices)))


def shard_samples(split: Split, mesh: Mesh) -> ShardedSamples:
    """Return a split with a shard on every device of a mesh; a process places those of its own devices only."""
    samples = to_device(split, NamedSharding(mesh, ShardedSamples.partition_spec), multiple=mesh.size)
    return ShardedSamples(samples, len(split.inputs))


def _to_bytes(array: Array, leading: int) -> UInt8[Array, "..."]:
    """Return the bytes of an array behind its first axes."""
    content = jax.lax.bitcast_convert_type(array, jnp.uint8)
    return content.reshape(*array.shape[:leading], -1)


def _from_bytes(content: UInt8[Array, "share bytes"], like: Array) -> Array:
    """Return the array that `_to_bytes` made bytes of."""
    item = (like.dtype.itemsize,) if like.dtype.itemsize > 1 else ()
    return jax.lax.bitcast_convert_type(content.reshape(len(content), *like.shape[1:], *item), like.dtype)
