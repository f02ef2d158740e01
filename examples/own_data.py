"""Training on your own event recordings: a loader and a config in one file.

seadlif train --config=examples/own_data.py
"""

import numpy as np

from seadlif_jax.config import base_config
from seadlif_jax.data import Dataset, Split
from seadlif_jax.data.events import Binning, bin_events, count_bins

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
    parts = (slice(0, 400), slice(400, 500), slice(500, 600))
    return Dataset(*map(samples.take, parts), protocol="best epoch on 100 recordings held out")


def get_config():
    config = base_config().unlock()
    config.num_epochs = 5
    config.batch_size = 20
    config.data.loader = "own_data:load"
    config.data.num_classes = 2
    config.model.hidden = (32,)
    return config.lock()
