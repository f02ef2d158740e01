"""The compiled programs leave this machine: for GPUs and TPUs, without having one."""

import jax
import jax.export
import numpy as np
import pytest

from configs import ecg, shd
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.on_device.samples import to_device
from seadlif_jax.training.state import TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer


def one_batch(config, steps, channels, blocks):
    """Samples of zeros, of which only the shapes count."""
    size = config.batch_size
    return to_device(
        Split(
            np.zeros((size, steps, channels), np.uint8),
            np.zeros((size, blocks + 1), np.int8),
            np.ones((size, steps), np.uint8),
        )
    )


@pytest.mark.parametrize(
    ("config", "shape"), [(shd.get_config("small"), (250, 140, 1)), (ecg.get_config("ef_adlif"), (1301, 4, 1301))]
)
def test_training_and_evaluation_can_be_exported_to_gpus_and_tpus(config, shape):
    samples = one_batch(config, *shape)
    trainer, hyper = Trainer(config), TrainingHyperparameters.from_config(config)
    state = jax.eval_shape(trainer.init, 0, hyper, samples)
    running = jax.eval_shape(trainer.start_epoch, state)
    for function, arguments in (
        (trainer.train_steps, (state, running, hyper, samples, 0, 1)),
        (trainer.evaluate, (state.variables, hyper, samples)),
    ):
        exported = jax.export.export(jax.jit(function), platforms=("cuda", "tpu"))(*arguments)
        assert exported.platforms == ("cuda", "tpu")
        assert exported.mlir_module_serialized
