"""Spiking Heidelberg Digits (SHD): spoken digits as events of 700 cochlear channels, 20 classes.

The digits 0 to 9 in English and German, 8,156 training and 2,264 test recordings; two of the twelve speakers are heard
only in the test file. (Cramer, Stradmann, Schemmel & Zenke, IEEE Trans. Neural Netw. Learn. Syst. 33, 2022.)
"""

from typing import Any

import numpy as np

from seadlif_jax.data import heidelberg
from seadlif_jax.data.dataset import Dataset

FIELDS, OPTIONAL = heidelberg.FIELDS, heidelberg.OPTIONAL
read = heidelberg.read
FILES = {"train": "shd_train.h5", "test": "shd_test.h5"}


def load(config: Any) -> Dataset:
    """Return the data of `SHD/shd_train.h5` and `shd_test.h5` in `config.data.dir`: see `heidelberg.load`."""
    return heidelberg.load(config, "SHD", FILES)


def groups(config: Any) -> np.ndarray:
    """Return the speaker of every training recording."""
    return heidelberg.groups(config, "SHD", FILES)


def parts(config: Any, split: str) -> dict[str, np.ndarray]:
    """Return masks of a split's recordings of speakers who were trained on, and of others: see `heidelberg.parts`."""
    return heidelberg.parts(config, split, "SHD", FILES)
