"""SE-adLIF of this library."""

import functools

import jax
import jax.numpy as jnp

from benchmarks.peers import jax_device
from benchmarks.shapes import Shape
from benchmarks.workers import Subject
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.training.task import repeat
from seadlif_jax.training.trainer import Hyperparameters, Program, no_sums

REQUIRES = ("jax", "jaxlib", "flax", "optax")


def build(shape: Shape, plain: bool = False, cores_apart: bool = True, neuron: str | None = None) -> Subject:
    """Return the measured functions.

    Args:
      shape: network and sizes.
      plain: use a plain `jax.lax.scan` with automatic differentiation instead of our gradient.
      cores_apart: make every core a device, as `train.py` does; otherwise all cores are one device, the default of JAX.
      neuron: overrides the neuron of the shape and removes dropout, for comparison with other libraries.
    """
    if cores_apart:
        devices.one_per_core()
    config = shape.config.copy_and_resolve_references()
    config.compute.plain_scan = plain
    if neuron is not None:
        config.model.neuron, config.model.dropout = neuron, 0.0

    mesh = devices.mesh_for(config.batch_size)
    everywhere = devices.everywhere(mesh)
    program = Program(config, share=devices.Share.of(mesh))
    # A run is a sweep of one member.
    zero, hyper, seed = repeat((no_sums(), Hyperparameters.from_config(config), jnp.asarray(config.seed)), 1)

    batch = jax_device.samples(shape, shape.batch_size, everywhere)
    state = devices.spread(program.init, mesh, mapped=2)(seed, hyper, batch)
    steps = devices.program(program.train_steps, mesh, mapped=3).lower((state, zero, hyper), (batch, 0, 1)).compile()
    evaluate, train_epoch = (
        devices.spread(function, mesh, mapped) for function, mapped in ((program.evaluate, 3), (program.train_epoch, 2))
    )
    zero, hyper = jax.device_put((zero, hyper), devices.by_member(mesh))
    one_step = batch, *jax.device_put((0, 1), everywhere)

    @functools.cache
    def splits():
        return tuple(jax_device.samples(shape, count, everywhere) for count in (shape.train, shape.validation))

    def train_step(count):
        nonlocal state
        for _ in range(count):
            state, _ = jax.block_until_ready(steps((state, zero, hyper), one_step))

    def inference(count):
        for _ in range(count):
            evaluate(state.params, state.constants, hyper, batch)

    def epoch(count):
        nonlocal state
        for _ in range(count):
            state, _ = train_epoch(state, hyper, *splits())

    return Subject(
        train_step,
        inference,
        epoch if shape.whole_epochs else None,
        device=jax_device.name(),
        device_peak_mib=jax_device.peak_mib,
        compiler_mib=devices.temporary_bytes(steps) / 2**20,
    )
