import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.data.on_device.bucketing import MAX_LENGTHS, MIN_SAVING, choose_bucket_lengths, in_bucket
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.training.state import TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer


def block_index_of(own_lengths, num_steps):
    """Samples that count from step 2 to their own length."""
    steps = np.arange(num_steps)
    return ((steps >= 2) & (steps < np.asarray(own_lengths)[:, None])).astype(np.uint8)


def random_samples(own_lengths, num_steps, seed=0):
    """Samples with events also behind their own length, which must not matter."""
    rng = np.random.default_rng(seed)
    num_samples = len(own_lengths)
    targets = np.stack([np.full(num_samples, -1), rng.integers(0, 3, num_samples)], axis=1)
    inputs = rng.poisson(0.3, (num_samples, num_steps, 4)).astype(np.uint8)
    return Samples(jnp.asarray(inputs), jnp.asarray(targets), jnp.asarray(block_index_of(own_lengths, num_steps)))


def test_samples_of_one_length_are_not_trimmed():
    assert choose_bucket_lengths(block_index_of([50] * 20, 50), batch_size=4) == (50,)


def test_a_rare_long_sample_makes_the_common_length_another():
    own = [30] * 199 + [60]
    assert choose_bucket_lengths(block_index_of(own, 60), batch_size=4) == (30, 60)
    # Nearly every larger batch has it, and one of all samples always: nothing to save.
    assert choose_bucket_lengths(block_index_of(own, 60), batch_size=190) == (60,)
    assert choose_bucket_lengths(block_index_of([30] * 9 + [60], 60), batch_size=10) == (60,)


def test_steps_that_no_sample_counts_are_always_left_out():
    assert choose_bucket_lengths(block_index_of([30] * 20, 60), batch_size=4) == (30, 60)


def test_there_are_at_most_three_lengths():
    own = [10] * 50 + [20] * 20 + [40] * 20 + [100] * 10
    assert choose_bucket_lengths(block_index_of(own, 100), batch_size=1) == (20, 40, 100)


def test_a_small_saving_is_not_worth_another_length():
    """As with SHD padded to 250 steps, in batches of 256."""
    own = [250] * 1438 + [291] * 2
    assert choose_bucket_lengths(block_index_of(own, 291), batch_size=256) == (291,)
    assert choose_bucket_lengths(block_index_of(own, 291), batch_size=16) == (250, 291)


@pytest.mark.parametrize(
    ("own", "expected"), [([12, 5], 20), ([20, 3], 20), ([21, 3], 30), ([50, 3], 60), ([60, 60], 60)]
)
def test_a_batch_gets_the_smallest_length_that_holds_it(own, expected):
    batch = random_samples(own, 60)

    def steps(batch):
        assert batch.inputs.shape[1] == batch.block_index.shape[1]
        return jnp.asarray(batch.inputs.shape[1])

    assert int(jax.jit(lambda batch: in_bucket(steps, batch, (20, 30, 60)))(batch)) == expected


@pytest.mark.parametrize(("neuron", "aggregation"), [("lif", "mean"), ("se_adlif", "softmax")])
def test_training_on_trimmed_batches_gives_the_same_parameters(tiny_config, x64, neuron, aggregation):
    """With dropout; equal to the rounding of float64."""
    tiny_config.model.neuron = neuron
    tiny_config.model.aggregation = aggregation
    tiny_config.model.dropout = 0.2
    tiny_config.batch_size = 2
    own = np.random.default_rng(1).integers(10, 60, 24)
    samples = random_samples(own, 60)
    hyper = TrainingHyperparameters.from_config(tiny_config)

    def trained(lengths):
        trainer = Trainer(tiny_config, lengths)
        return jax.jit(trainer.train_epoch)(trainer.init(0, hyper, samples), hyper, samples, samples)

    (whole, whole_metrics), (trimmed, metrics) = trained(()), trained((25, 40, 60))
    for ours, theirs in zip(
        jax.tree.leaves(trimmed.variables["params"]), jax.tree.leaves(whole.variables["params"]), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert float(metrics["train_loss"]) == pytest.approx(float(whole_metrics["train_loss"]), rel=1e-12)


def direct_choice(own, num_steps, batch_size):
    """By exact binomial coefficients, for every pair of lengths."""

    def mean_length(lengths):
        ratio = [math.comb(sum(own <= length), batch_size) / math.comb(len(own), batch_size) for length in lengths]
        return sum(length * (p - q) for length, p, q in zip(lengths, ratio, [0, *ratio], strict=False))

    possible = [length for length in np.unique(own).tolist() if sum(own <= length) >= batch_size]
    lengths = (num_steps,)
    while len(lengths) < MAX_LENGTHS:
        best = min((tuple(sorted({*lengths, length})) for length in possible), key=mean_length)
        if mean_length(lengths) - mean_length(best) < MIN_SAVING * num_steps:
            break
        lengths = best
    return lengths


@pytest.mark.parametrize("seed", range(12))
def test_the_choice_is_that_of_exact_probabilities(seed):
    rng = np.random.default_rng(seed)
    own = np.minimum(10 + rng.gamma(1 + seed % 3, 9, 150), 80).astype(int)
    for batch_size in (1, 3, 20, 149, 150):
        block_index = block_index_of(own, 80)
        assert choose_bucket_lengths(block_index, batch_size) == direct_choice(own, 80, batch_size)
