import atexit
import os
import shutil
import tempfile

import jax
import pytest

from seadlif_jax import plots, results
from seadlif_jax.config import base_config

CACHE = "JAX_COMPILATION_CACHE_DIR"
CACHE_SETTINGS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
}


# As on a machine of two cores, in this process and in those of `train.py`.
os.environ["JAX_NUM_CPU_DEVICES"] = "2"
jax.config.update("jax_num_cpu_devices", 2)


def share_compiled_programs():
    """Lets all processes of a test session, `train.py`'s too, compile each program only once: it halves the time."""
    if CACHE not in os.environ:
        folder = tempfile.mkdtemp(prefix="seadlif-jax-tests-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ |= {CACHE: folder, **CACHE_SETTINGS}
    for name in (CACHE, *CACHE_SETTINGS):
        value = os.environ[name]
        jax.config.update(name.lower(), value if name == CACHE else int(value))


share_compiled_programs()


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


@pytest.fixture
def no_pictures(monkeypatch):
    """Of the runs: they take longer than the training here."""
    for name in ("save_curves", "save_raster"):
        monkeypatch.setattr(plots, name, lambda *_: None)
    monkeypatch.setattr(results, "_save_raster", lambda *_: None)
