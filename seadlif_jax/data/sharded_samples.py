"""A split that is too large for every device to hold in full: each holds a part of its samples.

Which samples make up a batch is drawn at random, so most of them are somewhere else. In one exchange all devices say
what they need, in a second one each gets it from those that have it.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Num, UInt8

from seadlif_jax.data.loading import Samples, Split, to_device
from seadlif_jax.parallel.mesh import BATCH, MEMBER

AXES = (MEMBER, BATCH)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["samples"], meta_fields=["size"])
@dataclasses.dataclass(frozen=True)
class Divided:
    """A split of `size` samples, of which each device has a part; takes the place of `Samples` in a `devices.program`.

    Outside of a program, `samples` are all, filled up to equal parts.
    """

    samples: Samples
    size: int
    placement: ClassVar[PartitionSpec] = PartitionSpec(AXES)

    @property
    def inputs(self) -> Num[Array, "part time channel"]:
        return self.samples.inputs

    def take(self, indices: Int[Array, " share"]) -> Samples:
        """The samples at these indices, for this device; all devices must take equally many at the same time."""
        asked = jax.lax.all_gather(indices, AXES)
        own = asked - jax.lax.axis_index(AXES) * len(self.inputs)
        is_here = (own >= 0) & (own < len(self.inputs))

        def answer(array: Array) -> UInt8[Array, "device share bytes"]:
            mask = is_here.reshape(*own.shape, *(1,) * (array.ndim - 1))
            return _to_bytes(jnp.where(mask, array[own], jnp.zeros((), array.dtype)), 2)

        parts = [answer(array) for array in self.samples]
        # A sum of which all terms but one are 0; of all arrays together, see `devices.spread`.
        received = jax.lax.psum_scatter(jnp.concatenate(parts, axis=-1), AXES)
        received = jnp.split(received, np.cumsum([part.shape[-1] for part in parts])[:-1], axis=-1)
        found = Samples(*map(_from_bytes, received, self.samples))
        return found.take(jnp.arange(len(indices)))


def divide(split: Split, mesh: Mesh) -> Divided:
    """Gives every device of a mesh its part of a split; a process only what its own devices need."""
    samples = to_device(split, NamedSharding(mesh, Divided.placement), multiple=mesh.size)
    return Divided(samples, len(split.inputs))


def _to_bytes(array: Array, leading: int) -> UInt8[Array, "..."]:
    """The bytes of an array behind its first axes."""
    content = jax.lax.bitcast_convert_type(array, jnp.uint8)
    return content.reshape(*array.shape[:leading], -1)


def _from_bytes(content: UInt8[Array, "share bytes"], like: Array) -> Array:
    """What `_to_bytes` made bytes of."""
    item = (like.dtype.itemsize,) if like.dtype.itemsize > 1 else ()
    return jax.lax.bitcast_convert_type(content.reshape(len(content), *like.shape[1:], *item), like.dtype)
