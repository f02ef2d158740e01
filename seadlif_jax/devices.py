"""Several devices at work on every batch: each takes its share of the samples, and their sums are added up.

To JAX, a CPU is one device, and its cores share single operations. Those of a time step are too small for that: in
recurrent networks the second core hardly helps. `one_per_core` makes every core a device, which runs through all time
steps on its own; the devices wait for each other once a training step, not once an operation.
"""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

AXIS = "batch"
LEAST_SHARE = 16  # samples; with fewer a device has too little to do


def one_per_core() -> None:
    """Makes every core of the CPU a device of JAX, unless the user has said how many there are to be.

    To be called before JAX has looked for devices. Users say it by JAX's own environment variables,
    `JAX_NUM_CPU_DEVICES` or `XLA_FLAGS=--xla_force_host_platform_device_count=...`.
    """
    said = jax.config.jax_num_cpu_devices > 0  # type: ignore[attr-defined]
    if not said and "xla_force_host_platform_device_count" not in os.getenv("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", _cores())


def _cores() -> int:
    """Those this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mesh_for(batch_size: int) -> Mesh:
    """The devices for batches of this size: as many as can have equal shares that are worth it."""
    devices = jax.local_devices()
    most = max(1, min(len(devices), batch_size // LEAST_SHARE))
    count = max(count for count in range(1, most + 1) if batch_size % count == 0)
    return Mesh(devices[:count], (AXIS,))


def everywhere(mesh: Mesh) -> NamedSharding:
    """The placement of what every device of the mesh holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def program(function: Callable, mesh: Mesh) -> jax.stages.Wrapped:
    """A function that runs on every device of a mesh, with the same arguments and the same results, to be compiled.

    Where the devices differ, and what they exchange, is the function's own affair: it uses the mesh's `Share`.
    """
    one = PartitionSpec()
    # What is equal on all devices is so by the functions' construction; checking it would need marks all over.
    each = jax.shard_map(function, mesh=mesh, in_specs=one, out_specs=one, check_vma=False)
    return jax.jit(each, in_shardings=everywhere(mesh), out_shardings=everywhere(mesh))


def spread(function: Callable, mesh: Mesh) -> Callable:
    """Compiles a `program`; a call returns when it is done.

    The devices of a CPU share a pool of threads, one a core. In an exchange a device holds one of them until all
    devices take part; with several programs under way, one device could hold all, and wait for another that is left
    without.
    """
    compiled = program(function, mesh)

    @functools.wraps(function)
    def run(*arguments):
        return jax.block_until_ready(compiled(*arguments))

    return run


class Share(NamedTuple):
    """The part of a batch that is a device's own, in a `program` on `devices` of them."""

    devices: int = 1

    def number(self) -> Int[Array, ""] | int:
        """That of this device."""
        return jax.lax.axis_index(AXIS) if self.devices > 1 else 0

    def positions(self, batch_size: int) -> Int[Array, " share"]:
        """Where in a batch the samples of this device are; a batch that cannot be shared equally is filled up."""
        share = -(-batch_size // self.devices)
        return share * self.number() + jnp.arange(share)

    def total(self, parts: PyTree[Array]) -> PyTree[Array]:
        """The sum over the devices; of whole numbers too large for a float, rounded.

        It is a single exchange, whatever the number of arrays: see `spread`.
        """
        if self.devices == 1:
            return parts
        flat, restore = ravel_pytree(jax.tree.map(lambda part: part.astype(float), parts))
        total = restore(jax.lax.psum(flat, AXIS))
        return jax.tree.map(lambda whole, part: whole.astype(part.dtype), total, parts)
