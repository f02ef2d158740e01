"""Burst sequence detection (BSD): tell classes of spatio-temporal burst patterns apart; generated, by seed.

Ten input channels fire sparsely for 200 steps, each with one burst. A class is a set of three channels and the times of
their bursts; the bursts of the other seven channels come at random times, a new draw for every sample. The network must
answer from the last fifth of the steps, after the bursts. (Baronig et al., section "Burst sequence detection".)
"""

from typing import Any

import numpy as np

from seadlif_jax.data.dataset import LAST, Dataset, Split, check_protocol, divide_generated
from seadlif_jax.data.fields import check_fields, is_whole

FIELDS = ("num_samples",)  # fields of `config.data` beyond those that all tasks share
NUM_CHANNELS = 10
NUM_STEPS = 200
CHANNELS_PER_CLASS = 3
CENTRE_RANGE = (0.1, 0.85)  # of a burst's centre, as a fraction of the sample
TIME_PER_STEP = 0.1  # unit of the burst's variance: steps times this
BURST_VARIANCE = 0.1
SPIKE_PROBABILITY = (0.05, 0.8)  # far from a burst's centre, and at it
ANSWER_STEPS = NUM_STEPS // 5


def load(config: Any) -> Dataset:
    """Return a data set generated with `num_samples`, `num_classes` and `seed` of `config.data`.

    70 % of the samples are for training, 10 % for validation, and 20 % for the test. With the protocol "last", those
    for validation are trained on, too.

    Raises:
      DataError: fewer than ten samples, or another protocol than "held_out" and "last".
    """
    check_protocol(config.data.validation, ("held_out", LAST))
    count = config.data.num_samples
    check_fields(config.data, {"num_samples": (is_whole(count, 10), "a whole number of at least 10, for three splits")})
    samples = generate(config.data.num_samples, config.data.num_classes, config.data.seed)
    return divide_generated(samples, config.data.validation, train=0.7, test=0.2)


def generate(num_samples: int, num_classes: int, seed: int) -> Split:
    """Return samples of random class patterns, classes drawn uniformly; inputs are uint8 spikes `[sample, 200, 10]`."""
    rng = np.random.default_rng(seed)
    class_channels, class_centres = _draw_patterns(num_classes, rng)

    labels = rng.integers(num_classes, size=num_samples)
    centres = rng.uniform(*CENTRE_RANGE, (num_samples, NUM_CHANNELS))
    np.put_along_axis(centres, class_channels[labels], class_centres[labels], axis=1)

    spikes = np.empty((num_samples, NUM_STEPS, NUM_CHANNELS), np.uint8)
    for sample in range(num_samples):
        spikes[sample] = rng.random((NUM_STEPS, NUM_CHANNELS)) < spike_probability(centres[sample])

    block_index = (np.arange(NUM_STEPS) >= NUM_STEPS - ANSWER_STEPS).astype(np.uint8)
    return Split(
        inputs=spikes,
        targets=np.stack([np.full(num_samples, -1), labels], axis=1).astype(np.int16),
        block_index=np.broadcast_to(block_index, (num_samples, NUM_STEPS)),
    )


def class_patterns(num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bursts that define the classes of `generate`, `[class, 3]`: channels, and centres as fractions."""
    return _draw_patterns(num_classes, np.random.default_rng(seed))


def _draw_patterns(num_classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    channels = np.stack([rng.choice(NUM_CHANNELS, CHANNELS_PER_CLASS, replace=False) for _ in range(num_classes)])
    return channels, rng.uniform(*CENTRE_RANGE, channels.shape)


def spike_probability(centres: np.ndarray) -> np.ndarray:
    """Return spike probabilities `[time, channel]` for a burst a channel, centred at these fractions of the sample."""
    time = TIME_PER_STEP * np.arange(NUM_STEPS)
    distance = time[:, None] - TIME_PER_STEP * NUM_STEPS * centres
    low, high = SPIKE_PROBABILITY
    return low + (high - low) * np.exp(-(distance**2) / (2 * BURST_VARIANCE))
