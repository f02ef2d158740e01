import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import parallel
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.on_device.sharded_samples import ShardedSamples, shard_samples
from seadlif_jax.training import fit
from tests.test_many_devices import assert_same


def split_of(inputs, targets, blocks, size=7):
    rng = np.random.default_rng(0)
    return Split(
        rng.integers(0, 200, (size, 5, 3)).astype(inputs),
        rng.integers(-1, 100, (size, 4)).astype(targets),
        rng.integers(0, 100, (size, 5)).astype(blocks),
    )


@pytest.mark.parametrize(
    "dtypes", [("uint8", "int8", "uint8"), ("uint8", "int16", "int16"), ("float32", "float32", "int32")]
)
def test_every_device_gets_the_samples_it_asks_for_wherever_they_are(dtypes):
    mesh = parallel.make_mesh(1, 2)
    split = split_of(*dtypes)
    samples = shard_samples(split, mesh)
    assert samples.size == 7
    assert [shard.data.shape[0] for shard in samples.inputs.addressable_shards] == [4, 4]

    def taken(samples: ShardedSamples):
        requested = jnp.array([[6, 0, 3], [2, 2, 5]])[jax.lax.axis_index(parallel.BATCH)]
        return jax.tree.map(lambda array: jax.lax.all_gather(array, parallel.BATCH), samples.take(requested))

    found = parallel.parallelize(taken, mesh)(samples)
    for array, original in zip(found, split, strict=True):
        np.testing.assert_array_equal(array, original[np.array([[6, 0, 3], [2, 2, 5]])])


@pytest.mark.slow
def test_training_on_sharded_data_is_the_same(tmp_path, tiny_config, x64):
    """With samples that fill up the parts, which no epoch may see."""
    tiny_config.data.num_samples = 110  # 77 are for training
    tiny_config.model.dropout = 0.1
    tiny_config.sweep.seed = (0, 1)
    tiny_config.devices.mesh = (2, 1)
    for data in ("replicated", "sharded"):
        tiny_config.devices.data = data
        fit(tiny_config, tmp_path / data)
    assert_same(tmp_path / "sharded", tmp_path / "replicated", members=2)
