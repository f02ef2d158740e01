"""Recurrent LIF neurons in sparx (package `sparxml`): its Flax layers, in a compiled step with our loss and prediction.

Without dropout. The time constant is one number for all neurons and not trained, the default of the library.
"""

from typing import Any

from benchmarks.shapes import Shape
from benchmarks.workers import Subject

REQUIRES = ("jax", "flax", "optax", "sparx")
TAU = 15.0  # in steps


def build(shape: Shape) -> Subject:
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax
    import sparx

    from benchmarks.peers import jax_device
    from seadlif_jax import losses as readout
    from seadlif_jax.data.on_device.samples import Samples

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):  # [time, batch, channel]
            for neurons in shape.hidden:
                x = sparx.nn.Recurrent(neuron=sparx.nn.LIF(tau=TAU))(nn.Dense(neurons)(x))
            return sparx.nn.LI(tau=TAU)(nn.Dense(shape.num_classes)(x))

    config, model = shape.config, Net()
    batch = jax_device.samples(shape, shape.batch_size).take(jnp.arange(shape.batch_size))
    optimizer = optax.chain(
        optax.clip_by_global_norm(config.optimizer.clip_norm), optax.adam(config.optimizer.learning_rate)
    )
    params = model.init(jax.random.key(0), jnp.swapaxes(jnp.asarray(batch.inputs[:1], jnp.float32), 0, 1))
    state = optimizer.init(params)

    def sums(params, batch: Samples):
        outputs: Any = model.apply(params, jnp.swapaxes(jnp.asarray(batch.inputs, jnp.float32), 0, 1))
        outputs = jnp.swapaxes(outputs, 0, 1)
        return readout.classification(outputs, batch.block_index, batch.targets, config.model.aggregation)

    def update(params, state, batch):
        gradient = jax.grad(lambda params: sums(params, batch).mean_loss())(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(update, donate_argnums=(0, 1)).lower(params, state, batch).compile()
    evaluate = jax.jit(sums)

    def train_step(count):
        nonlocal params, state
        for _ in range(count):
            params, state = step(params, state, batch)
        jax.block_until_ready(params)

    def inference(count):
        for _ in range(count):
            metrics = evaluate(params, batch)
        jax.block_until_ready(metrics)

    return jax_device.subject(train_step, inference, epoch=None, compiled=step)
