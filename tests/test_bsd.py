import numpy as np
import pytest

from data import bsd
from seadlif_jax.data.dataset import DataError


def test_a_seed_gives_one_data_set():
    first, again, other = (bsd.generate(50, 4, seed) for seed in (0, 0, 1))
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(first.inputs, other.inputs)


def test_spike_probability_is_a_gaussian_burst_between_5_and_80_percent():
    probability = bsd.spike_probability(np.array([0.5]))[:, 0]
    assert probability.shape == (200,)
    assert probability[100] == pytest.approx(0.8)
    assert probability[0] == pytest.approx(0.05)
    # One standard deviation, sqrt(0.1), is 3.16 steps.
    away = 0.05 + 0.75 * np.exp(-((0.1 * 3) ** 2) / 0.2)
    np.testing.assert_allclose(probability[[97, 103]], away)


def test_spikes_follow_the_probability():
    """Averaged over many samples of one class, three channels burst at fixed times; the others nowhere."""
    split = bsd.generate(3000, 1, seed=3)
    rate = split.inputs.mean(axis=0)
    bursts = np.flatnonzero(rate.max(axis=0) > 0.6)
    assert len(bursts) == 3
    others = np.delete(np.arange(10), bursts)
    assert rate[:, others].max() < 0.25
    peaks = rate[:, bursts].argmax(axis=0)
    assert (peaks >= 18).all()
    assert (peaks <= 172).all()
    np.testing.assert_allclose(rate[:10].mean(), 0.05, atol=0.01)


def test_the_last_fifth_of_the_steps_is_the_block_that_counts():
    split = bsd.generate(20, 4, seed=0)
    np.testing.assert_array_equal(np.unique(split.block_index[:, :160]), [0])
    np.testing.assert_array_equal(np.unique(split.block_index[:, 160:]), [1])
    assert (split.targets[:, 0] == -1).all()
    assert set(split.targets[:, 1]) <= {0, 1, 2, 3}


def test_splits_are_70_10_20(tiny_config):
    dataset = bsd.load(tiny_config)
    assert [len(split.inputs) for split in dataset[:3]] == [70, 10, 20]
    assert dataset.train.inputs.dtype == np.uint8


@pytest.mark.parametrize("value", [9, 4e3, True, "20"])
def test_a_number_of_samples_that_makes_no_three_splits_is_refused(tiny_config, value):
    with tiny_config.ignore_type():
        tiny_config.data.num_samples = value
    with pytest.raises(DataError, match=rf"num_samples = {value!r}: it must be a whole number of at least 10"):
        bsd.load(tiny_config)


def test_a_protocol_that_there_is_not_is_refused(tiny_config):
    tiny_config.data.validation = "test"
    with pytest.raises(DataError, match=r"config.data.validation = 'test': it must be one of held_out, last"):
        bsd.load(tiny_config)
