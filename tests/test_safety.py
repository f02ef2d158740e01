"""What comes from files of others is data, never code; and nothing is written where it does not belong."""

import json
import os
import pickle
import subprocess
import sys
import zlib

import numpy as np
import pytest

from seadlif_jax.data import recordings
from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.events import Binning
from seadlif_jax.inference import load_network
from seadlif_jax.training import fit
from tests import recordings_file
from tests.helpers import ROOT


def test_nothing_is_unpickled(tmp_path, tiny_config, monkeypatch):
    """In a run, in resuming it, and in loading its network."""

    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    tiny_config.num_epochs = 2
    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
    fit(tiny_config, tmp_path)
    (tmp_path / "result.json").unlink()
    fit(tiny_config, tmp_path)
    load_network(tmp_path)


def test_objects_in_a_cache_are_not_loaded(tmp_path):
    """Even with checksums that are right."""
    path, binning = tmp_path / "shd_train.h5", Binning(700, 140, 4)
    recordings_file.write(path)
    recordings.frames(path, binning, 0, tmp_path / "cache")
    (entry,) = (folder for folder in (tmp_path / "cache").iterdir() if folder.is_dir())
    np.save(entry / recordings.NUM_STEPS, np.array([{}]), allow_pickle=True)
    manifest = json.loads((entry / "manifest.json").read_text())
    manifest["checksums"][recordings.NUM_STEPS] = zlib.crc32((entry / recordings.NUM_STEPS).read_bytes())
    (entry / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="is damaged; delete it"):
        recordings.frames(path, binning, 0, tmp_path / "cache")


def listing(folder):
    skipped = {".git", ".venv", "__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache"}
    found = set()
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in skipped]
        found |= {os.path.join(path, name) for name in names}
    return found


def test_a_run_writes_to_its_folder_and_the_caches_alone(tmp_path):
    for number, split in enumerate(("train", "test")):
        recordings_file.write(tmp_path / "data" / f"shd_{split}.h5", recordings=20, seed=number)
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    before = {folder: listing(folder) for folder in (ROOT, tmp_path)}
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"} | {
        "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary"), "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": str(tmp_path / "home" / "caches"), "XDG_CONFIG_HOME": str(tmp_path / "home" / "settings"),
    }  # fmt: skip
    arguments = (
        "--config=configs/shd.py:small", f"--config.data.dir={tmp_path / 'data'}", "--config.batch_size=4",
        "--config.data.num_classes=3", f"--config.data.cache_dir={tmp_path / 'cache'}", "--config.num_epochs=1",
        "--config.model.hidden=(4,)", f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    subprocess.run([sys.executable, "train.py", *arguments], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert listing(ROOT) == before[ROOT]
    new = {os.path.relpath(path, tmp_path).split(os.sep)[0] for path in listing(tmp_path) - before[tmp_path]}
    assert new - {"home"} == {"run", "cache"}
    at_home = {os.path.relpath(path, tmp_path / "home").split(os.sep)[1] for path in listing(tmp_path / "home")}
    assert at_home <= {"seadlif-jax", "matplotlib"}  # compiled programs, and the list of fonts
