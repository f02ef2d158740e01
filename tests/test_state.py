import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.parallel import add_member_axis
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.training.state import EpochSums, Position, Running, TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer

SAMPLES = Samples(jnp.ones((2, 3, 4)), jnp.ones((2, 2), int), jnp.ones((2, 3), int))


def states_of(config, seed):
    state = jax.jit(Trainer(config).init)(seed, TrainingHyperparameters.from_config(config), SAMPLES)
    state = state._replace(epoch=jnp.asarray(seed, jnp.int32))
    running = Running(state.variables, state.opt_state, EpochSums.zero())
    return add_member_axis((state, jax.tree.map(lambda array: array + 1, running)), 1)


@pytest.mark.parametrize("step", [0, 5])
def test_a_position_is_restored_to_the_last_bit(tmp_path, tiny_config, step):
    """Between epochs, or within one."""
    tiny_config.optimizer.plateau_factor = 0.5
    state, running = states_of(tiny_config, seed=3)
    position = Position(state, running if step else None, step, 0.75 if step else 0.0, metrics_checksum=7)
    with Checkpoints(tmp_path, tiny_config, writing=True) as checkpoints:
        assert Position.restore(checkpoints, *states_of(tiny_config, seed=0)) is None
        position.save(checkpoints)
    with Checkpoints(tmp_path, tiny_config) as checkpoints:
        restored = Position.restore(checkpoints, *states_of(tiny_config, seed=0))
    assert jax.tree.structure(restored) == jax.tree.structure(position)
    for array, original in zip(jax.tree.leaves(restored), jax.tree.leaves(position), strict=True):
        if isinstance(original, jax.Array) and jnp.issubdtype(original.dtype, jax.dtypes.prng_key):
            array, original = jax.random.key_data(array), jax.random.key_data(original)
        np.testing.assert_array_equal(array, original)
        assert type(array) is type(original)
