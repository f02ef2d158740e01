import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import parallel
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.on_device.batches import sum_over_batches
from seadlif_jax.data.on_device.samples import to_device
from seadlif_jax.losses import IGNORED

SIZE = 7


@pytest.fixture
def split():
    """Samples whose inputs are their numbers."""
    numbers = np.arange(SIZE, dtype=np.uint8)
    inputs = np.broadcast_to(numbers[:, None, None], (SIZE, 4, 2)).copy()
    return Split(inputs, np.stack([np.full(SIZE, -1), numbers], axis=1).astype(np.int8), np.ones((SIZE, 4), np.uint8))


def seen(batch, number):
    """How often each sample counts, and in which batches."""
    counts = (batch.targets[:, 1] != IGNORED) & (batch.block_index != 0).all(axis=1)
    ones = jnp.zeros(SIZE, int).at[batch.inputs[:, 0, 0]].add(counts.astype(int))
    return ones, jnp.zeros(8, int).at[number].add(1)


@pytest.mark.parametrize(("batch_size", "num_batches"), [(1, 7), (2, 4), (3, 3), (6, 2), (7, 1), (64, 1)])
def test_every_sample_counts_once_whatever_the_batch(split, batch_size, num_batches):
    counts, batches = jax.jit(lambda samples: sum_over_batches(seen, samples, batch_size))(to_device(split))
    assert counts.tolist() == [1] * SIZE
    assert batches.tolist() == [1] * num_batches + [0] * (8 - num_batches)


@pytest.mark.parametrize("batch_size", [2, 4, 5])
def test_every_sample_counts_once_on_several_devices_which_number_their_batches(split, batch_size):
    mesh = parallel.make_mesh(1, 2)
    samples = to_device(split, parallel.replicated(mesh))

    def count(samples):
        return sum_over_batches(seen, samples, batch_size, parallel.BatchShard.on(mesh))

    counts, batches = parallel.parallelize(count, mesh)(samples)
    assert counts.tolist() == [1] * SIZE
    assert batches.tolist() == [1] * (2 * -(-SIZE // batch_size)) + [0] * (8 - 2 * -(-SIZE // batch_size))


def test_samples_that_fill_a_batch_neither_have_targets_of_several_blocks_nor_of_a_forecast():
    for targets in (np.ones((5, 3), np.int8), np.ones((5, 9, 2), np.float32)):
        samples = to_device(Split(np.ones((5, 8, 2), np.float32), targets, np.ones((5, 8), np.uint8)))

        def counted(batch, _):
            return jnp.sum(jnp.where(batch.block_index.any(axis=1), 1, 0)), jnp.sum(batch.targets != IGNORED)

        samples_counted, targets_counted = sum_over_batches(counted, samples, 4)
        assert (int(samples_counted), int(targets_counted)) == (5, targets.size)
