import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import jax
import jaxtyping
import pytest

from seadlif_jax.training import fit
from tests.helpers import make_tiny_config

CACHE = "JAX_COMPILATION_CACHE_DIR"
SETTINGS = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
}


# Compiles in less than half of the time; on tiny data, the speed of the machine code does not matter.
COMPILER_FLAGS = "--xla_cpu_use_fusion_emitters=false"


# A job that a shell starts in the background ignores SIGINT, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As on a machine of two cores, in this process and in its children.
os.environ["JAX_NUM_CPU_DEVICES"] = "2"
jax.config.update("jax_num_cpu_devices", 2)


def knows(flags):
    """Whether the compiler knows flags: one that it does not know aborts the process."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return not subprocess.run(
        command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, check=False
    ).returncode


def compile_little():
    """Let all processes of a test session share compiled programs, and compile with few optimizations."""
    if CACHE not in os.environ:
        folder = tempfile.mkdtemp(prefix="seadlif-jax-tests-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ |= {CACHE: folder, **SETTINGS}
        if "XLA_FLAGS" not in os.environ and knows(COMPILER_FLAGS):
            os.environ["XLA_FLAGS"] = COMPILER_FLAGS
    for name in (CACHE, *SETTINGS):
        value = os.environ[name]
        jax.config.update(name.lower(), value if name == CACHE else int(value))


compile_little()


@pytest.fixture
def without_pictures(monkeypatch, request):
    """For tests that train many runs and look at none of their pictures: files are not drawn, which takes a second."""
    if request.node.get_closest_marker("pictures"):
        return
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


@pytest.fixture
def x64():
    """Float64, for tests that compare numbers."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def as_for_users():
    """Without the check of annotated shapes, which only tests have, and which comes before that of the library."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def tiny_config():
    """A config that trains in about a second: 100 BSD samples of 3 classes, 8 neurons."""
    return make_tiny_config()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a run of two layers that both spike; not to be written to."""
    config = make_tiny_config()
    with config.unlocked():
        config.num_epochs = 8
        config.model.hidden = (32, 16)
        config.model.q = 10.0
        config.optimizer.learning_rate = 0.05
        config.data.step_ms = 5.0
    folder = tmp_path_factory.mktemp("finished") / "run"
    fit(config, folder)
    return folder


@pytest.fixture
def own_run(finished_run, tmp_path):
    """A copy of `finished_run`, to be written to."""
    return shutil.copytree(finished_run, tmp_path / "run")
