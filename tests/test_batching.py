"""Batches of one shape, and a network through time by its step alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.data.dataset import Split
from seadlif_jax.inference.batching import count_batches, masked_batches, unlabelled
from seadlif_jax.inference.streaming import stream
from seadlif_jax.losses import IGNORED
from seadlif_jax.nn import LeakyReadout, Network, RecurrentLayer

COUNTS = np.arange(7 * 5 * 3, dtype=np.uint8).reshape(7, 5, 3)
SPLIT = Split(COUNTS, np.arange(14, dtype=np.int8).reshape(7, 2), np.ones((7, 5), np.uint8))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 9])
def test_every_sample_is_in_one_batch_and_all_batches_have_one_shape(batch_size):
    batches = list(masked_batches(SPLIT, batch_size))
    assert len(batches) == count_batches(7, batch_size)
    assert {batch.samples.inputs.shape for batch in batches} == {(batch_size, 5, 3)}
    for name in Split._fields:
        samples = [np.asarray(getattr(batch.samples, name))[batch.is_sample] for batch in batches]
        np.testing.assert_array_equal(np.concatenate(samples), getattr(SPLIT, name))


def test_padding_has_no_target_and_no_step_that_counts():
    *_, last = masked_batches(SPLIT, 4)
    np.testing.assert_array_equal(last.is_sample, [True, True, True, False])
    assert (last.samples.targets[3] == IGNORED).all()
    assert not last.samples.block_index[3].any()
    assert not last.samples.inputs[3].any()


def test_targets_of_a_forecast_stay_real_numbers():
    split = Split(COUNTS, np.full((7, 6, 3), 0.5, np.float32), SPLIT.block_index)
    *_, last = masked_batches(split, 4)
    assert last.samples.targets.dtype == np.float32
    assert not last.samples.block_index[3].any()


def test_samples_without_targets_have_block_1_or_the_blocks_given():
    assert (unlabelled(COUNTS).block_index == 1).all()
    assert (unlabelled(COUNTS).targets == IGNORED).all()
    np.testing.assert_array_equal(unlabelled(COUNTS, SPLIT.block_index).block_index, SPLIT.block_index)


@pytest.mark.parametrize("feedback_from", [None, 3])
def test_streaming_is_the_network(x64, feedback_from):
    network = Network(layers=(RecurrentLayer(6),), readout=LeakyReadout(3))
    inputs = jax.random.normal(jax.random.key(1), (2, 7, 3))
    variables = jax.jit(network.init)(jax.random.key(0), inputs)
    outputs = stream(network, variables, inputs, lambda x, before, after: after[-1].output, feedback_from)
    if feedback_from is None:
        expected = network.apply(variables, inputs)
    else:
        expected = network.apply(variables, inputs, feedback_from=feedback_from)
    np.testing.assert_allclose(jnp.swapaxes(outputs, 0, 1), expected, rtol=1e-10, atol=1e-12)
