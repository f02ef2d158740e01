"""Recurrent LIF neurons in Spyx: its train step, compiled, its `run` over time; loss and prediction are ours.

Without dropout. Time constants are trained, one per neuron, the default of the library.
"""

import itertools

from benchmarks.shapes import Shape
from benchmarks.workers import Subject

REQUIRES = ("jax", "flax", "optax", "spyx")


def build(shape: Shape) -> Subject:
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx
    from spyx import nn, optimize

    from benchmarks.peers import jax_device
    from seadlif_jax import losses as readout
    from seadlif_jax.data.on_device.samples import Samples

    config, rngs = shape.config, nnx.Rngs(0)
    layers: list = []
    for channels, neurons in itertools.pairwise((shape.channels, *shape.hidden)):
        layers += [nnx.Linear(channels, neurons, use_bias=False, rngs=rngs), nn.RLIF((neurons,), rngs=rngs)]
    layers += [
        nnx.Linear(shape.hidden[-1], shape.num_classes, use_bias=False, rngs=rngs),
        nn.LI((shape.num_classes,), rngs=rngs),
    ]
    model = nn.Sequential(*layers)
    adam = optax.chain(
        optax.clip_by_global_norm(config.optimizer.clip_norm), optax.adam(config.optimizer.learning_rate)
    )
    optimizer = nnx.Optimizer(model, adam, wrt=nnx.Param)

    def sums(model, batch: Samples):
        inputs = jnp.asarray(batch.inputs, jnp.float32)
        outputs, _ = nn.run(model, inputs, batch_major=True)
        return readout.classification(outputs, batch.block_index, batch.targets, config.model.aggregation)

    batch = jax_device.samples(shape, shape.batch_size).take(jnp.arange(shape.batch_size))
    step = optimize.make_train_step(lambda model, batch: sums(model, batch).mean_loss())
    step = step.lower(model, optimizer, batch).compile()
    evaluate = optimize.make_eval_step(sums)

    def train_step(count):
        for _ in range(count):
            loss = step(model, optimizer, batch)
        jax.block_until_ready((loss, nnx.state(model)))

    def inference(count):
        for _ in range(count):
            metrics = evaluate(model, batch)
        jax.block_until_ready(metrics)

    return jax_device.subject(train_step, inference, epoch=None, compiled=step)
