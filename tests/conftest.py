from pathlib import Path

import jax
import pytest

from seadlif_jax.config import base_config

ROOT = Path(__file__).parent.parent


@pytest.fixture
def x64():
    """Float64 for the tests that compare numbers."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def tiny_config():
    """A config that trains in about a second: 100 BSD samples of 3 classes, 8 neurons."""
    config = base_config().unlock()
    config.num_epochs = 3
    config.batch_size = 16
    config.data.loader = "data.bsd:load"
    config.data.num_classes = 3
    config.data.num_samples = 100
    config.model.hidden = (8,)
    return config.lock()
