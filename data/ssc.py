"""Spiking Speech Commands (SSC): spoken words as events of 700 cochlear channels, 35 classes.

75,466 training, 9,981 validation and 20,382 test recordings of many speakers, from Google's Speech Commands. (Cramer,
Stradmann, Schemmel & Zenke, IEEE Trans. Neural Netw. Learn. Syst. 33, 2022.)
"""

from typing import Any

import numpy as np

from seadlif_jax.data import heidelberg
from seadlif_jax.data.dataset import Dataset

FIELDS, OPTIONAL = heidelberg.FIELDS, heidelberg.OPTIONAL
read = heidelberg.read
FILES = {"train": "ssc_train.h5", "valid": "ssc_valid.h5", "test": "ssc_test.h5"}


def load(config: Any) -> Dataset:
    """Return the data of `SSC/ssc_{train,valid,test}.h5` in `config.data.dir`: see `heidelberg.load`."""
    return heidelberg.load(config, "SSC", FILES)


def groups(config: Any) -> np.ndarray:
    """Return the speaker of every training recording."""
    return heidelberg.groups(config, "SSC", FILES)


def parts(config: Any, split: str) -> dict[str, np.ndarray]:
    """Return masks of a split's recordings of speakers who were trained on, and of others: see `heidelberg.parts`."""
    return heidelberg.parts(config, split, "SSC", FILES)
