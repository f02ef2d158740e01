"""The wheel serves without a clone: built, installed in a new environment, and used from an empty folder.

    python tests/check_wheel.py

It installs from the package index and trains, so it is a program of its own, run by `make check-wheel`, and not a test.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOADER = """
import numpy as np
from seadlif_jax.data import Dataset, Split

def load(config):
    rng = np.random.default_rng(config.data.seed)
    labels = rng.integers(2, size=60)
    inputs = rng.random((60, 40, 6)) < 0.1 + 0.3 * labels[:, None, None]
    targets = np.stack([np.full(60, -1), labels], axis=1)
    samples = Split(inputs, targets, np.ones((60, 40), np.uint8))
    parts = (slice(0, 32), slice(32, 44), slice(44, 60))
    return Dataset(*map(samples.take, parts), protocol="best epoch on 12 samples held out")
"""
CONFIG = """
from seadlif_jax.config import base_config

def get_config():
    config = base_config().unlock()
    config.num_epochs = 2
    config.batch_size = 16
    config.data.loader = "data.mine:load"
    config.data.num_classes = 2
    config.model.hidden = (8,)
    return config.lock()
"""
USE = """
import numpy as np
import seadlif_jax
trained = seadlif_jax.load_run("../project/runs/mine-seed0")
dataset = trained.dataset()
print(trained.predict(dataset.test.inputs))
np.save("recording.npy", dataset.test.inputs)
for name in ("ecg", "bsd"):
    model = seadlif_jax.load_pretrained(name)
    print(model, model.predict(np.ones((1, 50, model.num_channels))))
"""
MAX_MIB = 1  # of the wheel


def run(*command: str | Path, cwd: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=1800
    )
    print("$", " ".join(map(str, command)), done.stdout, done.stderr, sep="\n", flush=True)
    if done.returncode:
        sys.exit(f"error: status {done.returncode}")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"  # setuptools leaves a folder build/ beside what it builds
        shutil.copytree(ROOT / "seadlif_jax", source / "seadlif_jax", ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, source)
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
        (wheel,) = folder.glob("*.whl")
        if wheel.stat().st_size > MAX_MIB * 2**20:
            sys.exit(f"error: the wheel has {wheel.stat().st_size:,} bytes")
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes", flush=True)
        venv.create(folder / "venv", with_pip=True)
        binaries = folder / "venv" / "bin"
        run(binaries / "pip", "install", "--quiet", f"{wheel}[all]", cwd=folder)

        project, elsewhere = folder / "project", folder / "elsewhere"
        (project / "data").mkdir(parents=True)
        elsewhere.mkdir()
        (project / "data" / "mine.py").write_text(LOADER)
        (project / "mine.py").write_text(CONFIG)
        seadlif = binaries / "seadlif"
        run(seadlif, "train", "--config=mine.py", cwd=project)
        workdir = "--workdir=../project/runs/mine-seed0"
        run(seadlif, "evaluate", workdir, cwd=elsewhere)
        run(seadlif, "inspect", workdir, cwd=elsewhere)
        run(seadlif, "compare", "../project/runs/mine-seed0", cwd=elsewhere)
        run(binaries / "python", "-c", USE, cwd=elsewhere)
        run(seadlif, "predict", workdir, "recording.npy", cwd=elsewhere)
        run(seadlif, "export", workdir, "--format=c", "--dtype=int8", "--output_dir=firmware", cwd=elsewhere)
        run(seadlif, "export", workdir, "--format=nir", "--nir_metadata", "--output_dir=nir", cwd=elsewhere)
        left = {path.name for path in (project / "runs" / "mine-seed0").iterdir()}
        expected = {"result.json", "curves.png", "raster.png", "test_classes.csv", "inspect"}
        if not expected <= left:
            sys.exit(f"error: the run lacks {expected - left}")
    print("the wheel serves without a clone")


if __name__ == "__main__":
    main()
