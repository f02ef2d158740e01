"""SE-adLIF as this repository trains it."""

import functools

import jax
from ml_collections import ConfigDict

from benchmarks.peers import jax_device
from benchmarks.shapes import Shape
from benchmarks.workers import Subject
from seadlif_jax.program import Hyperparameters, Program, no_sums

REQUIRES = ("jax", "jaxlib", "flax", "optax")


def program(config: ConfigDict, plain: bool) -> Program:
    """The program measured: ours, or with `plain` a plain `jax.lax.scan` that is differentiated automatically."""
    config = config.copy_and_resolve_references()
    config.compute.plain_scan = plain
    return Program(config)


def build(shape: Shape, plain: bool) -> Subject:
    compute, hyper = program(shape.config, plain), Hyperparameters.from_config(shape.config)
    batch = jax_device.samples(shape, shape.batch_size)
    state = jax.jit(compute.init)(shape.config.seed, hyper, batch)
    steps = jax.jit(compute.train_steps).lower(state, no_sums(), hyper, batch, 0, 1).compile()
    evaluate, train_epoch = jax.jit(compute.evaluate), jax.jit(compute.train_epoch)

    @functools.cache
    def splits():
        return tuple(jax_device.samples(shape, count) for count in (shape.train, shape.validation))

    def train_step(count):
        nonlocal state
        # Of samples that are one batch, every step takes all.
        state, sums = steps(state, no_sums(), hyper, batch, 0, count)
        jax.block_until_ready((state, sums))

    def inference(count):
        for _ in range(count):
            metrics = evaluate(state.params, state.constants, hyper, batch)
        jax.block_until_ready(metrics)

    def epoch(count):
        nonlocal state
        for _ in range(count):
            state, metrics = train_epoch(state, hyper, *splits())
        jax.block_until_ready((state, metrics))

    return Subject(
        train_step,
        inference,
        epoch if shape.whole_epochs else None,
        device=jax_device.name(),
        device_peak_mib=jax_device.peak_mib,
        compiler_mib=jax_device.temporary_mib(steps),
    )
