"""Training on your own event recordings: a loader and a config in one file.

seadlif train --config=examples/own_data.py
"""

import numpy as np

from seadlif_jax.config import base_config
from seadlif_jax.data import Dataset, Split, draw_validation
from seadlif_jax.data.events import Binning, bin_events, count_bins

FIELDS = ("validation_fraction",)  # of config.data, beyond those of every config
NUM_TRAIN = 500
BINNING = Binning(num_units=20, num_channels=20, bin_ms=4)


def load(config):
    """Return recordings of 20 units: in class 0, spikes move from unit 0 to unit 19, in class 1 the other way."""
    # Replace these lines by lines that read your files.
    rng = np.random.default_rng(config.data.seed)
    labels = rng.integers(config.data.num_classes, size=600)
    times = [np.sort(rng.uniform(0, 0.4, 200)) for _ in labels]  # seconds
    positions = [np.where(label == 0, time, 0.4 - time) * 50 for time, label in zip(times, labels, strict=True)]
    units = [np.clip(position + rng.normal(0, 6, 200), 0, 19).astype(int) for position in positions]

    frames = bin_events(times, units, BINNING, num_steps=max(count_bins(times, BINNING)))
    targets = np.stack([np.full(600, -1), labels], axis=1)  # block 0 has no target, block 1 the label
    block_index = np.ones(frames.shape[:2], np.uint8)  # every step counts for block 1
    samples = Split(frames, targets, block_index)
    train, test = samples.take(slice(NUM_TRAIN)), samples.take(slice(NUM_TRAIN, None))
    # With config.data.validation = "held_out", a part of the training recordings; with "last", none of them.
    kept, held_out, protocol = draw_validation(config.data, NUM_TRAIN)
    return Dataset(train.take(kept), train.take(held_out), test, protocol)


def groups(config):
    """Return who each training recording is of, for `studies.cross_validate --by_group`: ten people, 50 each."""
    return np.arange(NUM_TRAIN) // 50


def parts(config, split):
    """Return parts of the targets of a split, whose accuracy `seadlif evaluate` reports, too."""
    if split != "test":
        return {}
    first_half = np.zeros((100, 2), bool)  # in the shape of the targets
    first_half[:50] = True
    return {"first half": first_half, "second half": ~first_half}


def get_config():
    config = base_config().unlock()
    config.num_epochs = 5
    config.batch_size = 20
    config.data.loader = "own_data:load"
    config.data.num_classes = 2
    config.data.validation_fraction = 0.2
    config.model.hidden = (32,)
    return config.lock()
