"""SE-adLIF of this library."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.peers import jax_device
from benchmarks.shapes import Shape, random_samples
from benchmarks.workers import Subject
from configs import variants
from seadlif_jax import parallel
from seadlif_jax.build import build_network, choose_engine
from seadlif_jax.config import set_neuron
from seadlif_jax.parallel import add_member_axis
from seadlif_jax.training.state import TrainingHyperparameters, TrainState
from seadlif_jax.training.trainer import Trainer

REQUIRES = ("jax", "jaxlib", "flax", "optax")


def build(
    shape: Shape,
    plain: bool = False,
    cores_apart: bool = True,
    neuron: str | None = None,
    engine: str = "auto",
    firing_rate: float = 0.1,
) -> Subject:
    """Return the measured functions.

    Args:
      shape: network and sizes.
      plain: use a plain `jax.lax.scan` with automatic differentiation instead of our gradient.
      cores_apart: make every core a device, as `train.py` does; otherwise all cores are one device, the default of JAX.
      neuron: overrides the neuron of the shape, without dropout and normalisation, for comparison with other libraries.
      engine: what computes the network.
      firing_rate: share of the neurons of each hidden layer that spike in a step. It stays: nothing is learned.
    """
    if cores_apart:
        parallel.use_all_cpu_cores()
    config = shape.config.copy_and_resolve_references()
    config.compute.plain_scan = plain
    config.compute.engine = choose_engine(config)[0] if engine == "auto" else engine
    config.optimizer.learning_rate = 1e-12
    if neuron is not None:
        set_neuron(config, neuron)
        config.update_from_flattened_dict(variants.LAYERS.get(neuron, {}))
        config.model.batch_norm = False
        config.model.dropout = 0.0

    mesh = parallel.choose_mesh(config.batch_size)
    everywhere = parallel.replicated(mesh)
    program = Trainer(config, shard=parallel.BatchShard.on(mesh))
    # A run is a sweep of one member.
    hyper, seed = add_member_axis((TrainingHyperparameters.from_config(config), jnp.asarray(config.seed)), 1)

    batch = jax_device.samples(shape, shape.batch_size, everywhere)
    state = parallel.parallelize(program.init, mesh, per_member=2)(seed, hyper, batch)
    state = _with_firing_rate(config, shape, state, firing_rate)
    running = parallel.parallelize(program.start_epoch, mesh, per_member=1)(state)
    steps = (
        parallel.parallelize(program.train_steps, mesh, per_member=3, donate=[1])
        .lower(state, running, hyper, batch, 0, 1)
        .compile()
    )
    evaluate, train_epoch = (
        parallel.parallelize(function, mesh, per_member=2) for function in (program.evaluate, program.train_epoch)
    )
    hyper = jax.device_put(hyper, parallel.member_sharded(mesh))
    one_step = batch, *jax.device_put((0, 1), everywhere)

    @functools.cache
    def splits():
        return tuple(jax_device.samples(shape, count, everywhere) for count in (shape.train, shape.validation))

    def train_step(count):
        nonlocal running
        for _ in range(count):
            running = jax.block_until_ready(steps(state, running, hyper, *one_step))

    def inference(count):
        for _ in range(count):
            jax.block_until_ready(evaluate(state.variables, hyper, batch))

    def epoch(count):
        nonlocal state
        for _ in range(count):
            state, _ = jax.block_until_ready(train_epoch(state, hyper, *splits()))

    return jax_device.subject(train_step, inference, epoch if shape.whole_epochs else None, compiled=steps)


def _with_firing_rate(config: ConfigDict, shape: Shape, state: TrainState, rate: float) -> TrainState:
    """Return a state in which the input weights of the hidden layers are scaled, one layer after the other."""
    network = build_network(config, shape.channels)
    inputs = jnp.asarray(random_samples(shape, 16).inputs)
    variables = jax.tree.map(lambda x: jnp.asarray(np.asarray(x[0])), state.variables)
    params = variables["params"]

    def scaled(params, layer, factor):
        weights = params[layer]
        return params | {layer: weights | {"kernel": factor * weights["kernel"]}}

    @jax.jit
    def rates(params):
        result: Any = network.apply(variables | {"params": params}, inputs, return_activity=True)
        return jnp.stack([jnp.mean(activity) for activity in result[1]])

    for index in range(len(shape.hidden) if rate > 0 else 0):
        layer, low, high = f"layers_{index}", 0.0, 12.0  # powers of two
        for _ in range(10):
            middle = (low + high) / 2
            low, high = (middle, high) if rates(scaled(params, layer, 2**middle))[index] < rate else (low, middle)
        params = scaled(params, layer, 2**high)
    variables |= {"params": params}
    return state._replace(
        variables=jax.tree.map(lambda new, old: jax.device_put(new[None], old.sharding), variables, state.variables)
    )
