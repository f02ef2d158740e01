"""Meshes of devices, and the placement of arrays on them.

A mesh has two axes. Along `MEMBER`, each device computes members of a sweep of its own and exchanges nothing. Along
`BATCH`, each computes its part of the samples of every batch, and their sums are added up once a training step.
"""

import math
import os

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, PyTree

from seadlif_jax.utils.processes import available_cores

MEMBER, BATCH = "member", "batch"
MIN_SAMPLES = 16  # of a batch for each device; with fewer a device has too little to do


def use_all_cpu_cores() -> None:
    """Make every core of the CPU a device of JAX, unless the user has set the number of devices.

    To JAX, a CPU is one device whose cores share single operations. Those of a time step are too small for that: in
    recurrent networks the second core hardly helps. As a device of its own, a core runs through all time steps alone;
    the devices wait for each other once a training step, not once an operation.

    To be called before JAX has looked for devices. Users set the number by JAX's own environment variables,
    `JAX_NUM_CPU_DEVICES` or `XLA_FLAGS=--xla_force_host_platform_device_count=...`.
    """
    is_set = jax.config.values["jax_num_cpu_devices"] > 0
    if not is_set and "xla_force_host_platform_device_count" not in os.getenv("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", available_cores())


def choose_mesh(batch_size: int, num_members: int = 1) -> Mesh:
    """Return the largest mesh that divides the work evenly, sharding members before samples.

    Args:
      batch_size: number of samples of a batch; each device along the batch gets at least `MIN_SAMPLES` of them.
      num_members: number of members of a sweep; 1 for a single run.
    """
    return make_mesh(*mesh_shape(jax.device_count(), batch_size, num_members))


def mesh_shape(num_devices: int, batch_size: int, num_members: int) -> tuple[int, int]:
    """Return the numbers of devices along members and batch that `choose_mesh` takes of `num_devices`."""

    def along_batch(along_members: int) -> int:
        limit = max(1, min(num_devices // along_members, batch_size // MIN_SAMPLES))
        return max(count for count in range(1, limit + 1) if batch_size % count == 0)

    divisors = [count for count in range(1, min(num_devices, num_members) + 1) if num_members % count == 0]
    return max(((count, along_batch(count)) for count in divisors), key=lambda shape: (math.prod(shape), shape))


def make_mesh(along_members: int, along_batch: int) -> Mesh:
    """Return a mesh of the first devices of all processes."""
    devices = jax.devices()[: along_members * along_batch]
    axis_types = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((along_members, along_batch), (MEMBER, BATCH), axis_types, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays that every device of the mesh holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def member_sharded(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays whose first axis is that of the members."""
    return NamedSharding(mesh, PartitionSpec(MEMBER))


def device_put_global(values: PyTree, sharding: Sharding) -> PyTree[Array]:
    """Return arrays that every process has in full, placed on the devices of all processes."""

    def put(value) -> Array:
        array = np.asarray(value)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, values)
