"""Shared by test modules: the clone's folder, commands in child processes, tiny configs, and checks of files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from seadlif_jax.config import base_config

ROOT = Path(__file__).parent.parent
QUICK = "--config=configs/bsd.py:quick"
TINY = (
    "--config.data.num_samples=100",
    "--config.model.hidden=(8,)",
    "--config.batch_size=32",  # shared by two devices
    "--config.model.dropout=0.1",
    "--config.compute.engine=xla",
)


def command(*arguments):
    """The command line of `train.py`."""
    return [sys.executable, "train.py", *arguments]


def run(*arguments, **options):
    """Run `train.py` in a process of its own."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, **options
    )


def seadlif(*arguments, cwd=ROOT, **options):
    """Run `python -m seadlif_jax` in a process of its own, from any folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "seadlif_jax", *map(str, arguments)],
        cwd=cwd,
        env=options.pop("env", environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


def make_tiny_config():
    """A config that trains in about a second: 100 BSD samples of 3 classes, 8 neurons."""
    config = base_config().unlock()
    config.num_epochs = 3
    config.batch_size = 16
    config.compute.engine = "xla"  # the same on every machine
    config.data.loader = "data.bsd:load"
    config.data.num_classes = 3
    config.data.num_samples = 100
    config.model.hidden = (8,)
    return config.lock()


def metrics_without_time(workdir):
    """The lines of a run's metrics.csv, without the seconds."""
    lines = (workdir / "metrics.csv").read_text().splitlines()
    assert lines[0].endswith(",seconds")
    return [line.rsplit(",", 1)[0] for line in lines]


def is_drawn(path):
    """Whether there is more in a picture than an empty page."""
    return np.asarray(Image.open(path).convert("L")).std() > 10
