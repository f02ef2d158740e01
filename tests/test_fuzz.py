"""Damaged and senseless input of every kind: refused with one of our errors, or without effect.

The errors are those that `train.py` tells in one line. There are some 600 examples; with SEADLIF_FUZZ=4 in the
environment, four times as many.
"""

import gc
import json
import math
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import shd
from data import ecg
from data import shd as shd_data
from seadlif_jax.cli.errors import USER_ERRORS
from seadlif_jax.config import CHECKS, ConfigError, base_config, to_json, validate
from seadlif_jax.data import probe
from seadlif_jax.data.dataset import Dataset, Split
from seadlif_jax.data.loading import DatasetError, check_dataset
from seadlif_jax.members import expand_sweep
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.errors import CheckpointError, RunError
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.training.state import TrainingHyperparameters
from seadlif_jax.training.sweep import stack_members
from seadlif_jax.utils.arrays import ArrayError, as_native
from seadlif_jax.utils.cache import cached
from seadlif_jax.utils.paths import PathError
from tests import recordings_file
from tests.test_checkpoint import assert_same, at, files, restore

# Orbax drops coroutines of its own when a restore fails.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]
FACTOR = int(os.getenv("SEADLIF_FUZZ", "1"))


@pytest.fixture(autouse=True)
def _impatience(monkeypatch):
    monkeypatch.setattr(probe, "TIMEOUT", 10)
    yield
    gc.collect()  # what orbax drops, before the warnings about it count


def examples(count):
    return settings(
        max_examples=FACTOR * count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


SEEDS = st.integers(0, 2**32 - 1)


def damaged(content, rng):
    """Bytes that are cut off, overwritten in part, or have some bits changed."""
    changed = bytearray(content)
    while bytes(changed) == content:
        at, other = rng.integers(0, len(content), 2).tolist()
        how = rng.choice(("cut", "bits", "zeros", "moved"))
        if how == "cut":
            return content[:at]
        if how == "bits":
            for position in rng.integers(0, len(content), rng.integers(1, 9)).tolist():
                changed[position] ^= 1 << int(rng.integers(0, 8))
        else:
            block = bytes(64) if how == "zeros" else content[other : other + 64]
            changed[at : at + len(block)] = block[: len(content) - at]
    return bytes(changed)


def told(refusal, what):
    """The error names what is wrong, in one line."""
    assert what in str(refusal)
    assert "\n" not in str(refusal)


def plausible(found):
    """Whether a loader's data has the contract's shapes and numbers."""
    for split in (found.train, found.validation, found.test):
        assert split.inputs.ndim == 3
        assert len(split.inputs) == len(split.targets) == len(split.block_index)
        assert np.isfinite(split.inputs).all()


NUMBERS = st.one_of(st.integers(-(10**12), 10**12), st.floats(), st.booleans())
VALUES = st.one_of(
    NUMBERS,
    st.none(),
    st.text(max_size=8),
    st.sampled_from(("se_adlif", "softmax", "uniform", "log_uniform", "nan", "../x")),
    st.lists(st.one_of(NUMBERS, st.text(max_size=3), st.lists(NUMBERS, max_size=3)), max_size=4).map(tuple),
    st.tuples(st.sampled_from(("uniform", "log_uniform")), NUMBERS, NUMBERS),
)


@examples(200)
@given(st.dictionaries(st.sampled_from([*CHECKS, "model.neurons", "data.extra"]), VALUES, min_size=1, max_size=3))
def test_configs(changes):
    fields = base_config().to_dict() | {"seed": 3}
    fields["data"]["loader"] = "data.bsd:load"
    for name, value in changes.items():
        *section, field = name.split(".")
        (fields[section[0]] if len(section) == 1 else fields["model"]["surrogate"] if section else fields)[field] = (
            value
        )
    config = ConfigDict(fields)
    try:
        validate(config)
        members = expand_sweep(config)
    except ConfigError as refusal:
        told(refusal, "config.")
        return
    assert set(changes) <= {*CHECKS, "data.extra"}  # fields of `data` are the loader's affair
    hypers = stack_members([member.config for member in members], config)[1]
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(hypers))
    assert json.loads(to_json(config))["model"]["tau_u"][0] > 0
    assert all(math.isfinite(leaf) for leaf in jax.tree.leaves(TrainingHyperparameters.from_config(members[-1].config)))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder with recordings in SHD's format."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, split in enumerate(("train", "test")):
        recordings_file.write(folder / f"shd_{split}.h5", recordings=8, seed=number)
    return folder


@examples(20)
@given(SEEDS)
def test_event_recordings(recordings, tmp_path_factory, seed):
    rng, work = np.random.default_rng(seed), tmp_path_factory.mktemp("damaged")
    shutil.copytree(recordings, work, dirs_exist_ok=True)
    file = work / f"shd_{rng.choice(('train', 'test'))}.h5"
    file.write_bytes(damaged(file.read_bytes(), rng))
    config = shd.get_config().unlock()
    config.data.num_classes, config.batch_size = 3, 4
    config.data.dir, config.data.cache_dir = str(work), str(work / "cache")
    try:
        dataset = shd_data.load(config)
        check_dataset(dataset, config)
    except USER_ERRORS:
        return
    plausible(dataset)


@pytest.fixture(scope="module")
def heart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("QTDB")
    rng = np.random.default_rng(0)
    arrays = {"x": rng.integers(-1, 2, (12, 20, 4)), "y": np.eye(6)[rng.integers(0, 6, (12, 20))]}
    for compressed in (False, True):
        scipy.io.savemat(folder / f"{compressed}.mat", arrays, do_compression=compressed)
    return folder


@examples(20)
@given(SEEDS)
def test_heart_recordings(heart, seed):
    rng = np.random.default_rng(seed)
    content = (heart / f"{rng.choice((False, True))}.mat").read_bytes()
    (heart / "damaged.mat").write_bytes(damaged(content, rng))
    try:
        split = ecg.read(heart / "damaged.mat")
    except USER_ERRORS as refusal:
        told(refusal, "damaged.mat")
        return
    plausible(Dataset(split, split, split, ""))


@examples(40)
@given(SEEDS)
def test_caches(tmp_path_factory, seed):
    """What is damaged is made anew."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("cache")

    def make(partial: Path) -> None:
        np.save(partial / "counts.npy", np.arange(50))
        (partial / "notes.txt").write_text("as they were")

    entry = cached(folder, "entry", {"key": 1}, make)
    before = files(entry)
    file = entry / rng.choice(sorted(before))
    file.write_bytes(damaged(file.read_bytes(), rng))
    found = files(cached(folder, "entry", {"key": 1}, make))
    kept = {path: content for path, content in found.items() if path.name != "manifest.json"}
    assert kept == {path: content for path, content in before.items() if path.name != "manifest.json"}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Two checkpoints, their contents and config."""
    folder, config = tmp_path_factory.mktemp("checkpoints"), base_config().unlock()
    config.model.hidden = (4,)
    contents = [at(6), at(7, seed=2)]
    with Checkpoints(folder, config, writing=True) as saving:
        for content in contents:
            saving.save(*content)
    return folder, contents, config


@examples(20)
@given(SEEDS)
def test_checkpoints(checkpoints, tmp_path_factory, seed):
    """What is restored is one of the two, to the bit; of the one before only if the last is damaged."""
    folder, (before, last), config = checkpoints
    rng, work = np.random.default_rng(seed), tmp_path_factory.mktemp("damaged")
    shutil.copytree(folder, work, dirs_exist_ok=True)
    file = work / rng.choice(sorted(path for path in files(folder) if path.parts[0] == "2"))
    content = file.read_bytes()
    if content and rng.integers(0, 9):
        file.write_bytes(damaged(content, rng))
    else:
        file.unlink()
    with Checkpoints(work, config, writing=True) as reading:
        restored = restore(reading)
    epoch = int(restored["last"]["epoch"][0])
    assert epoch in (6, 7)
    assert_same(restored, (last if epoch == 7 else before).trees)
    assert (work / "damaged-2").exists() == (epoch == 6)


@examples(60)
@given(SEEDS)
def test_files_of_a_run(tmp_path_factory, seed):
    """What is read is what was written, or refused."""
    rng = np.random.default_rng(seed)
    config = base_config().unlock()
    config.data.loader = "data.bsd:load"
    run = RunFolder(tmp_path_factory.mktemp("run"), config)
    rows = [{"epoch": epoch, "train_loss": 1 / epoch, "seconds": 0.5} for epoch in (1, 2, 3)]
    with run.lock():
        run.check_data({"train": 1, "validation": 2, "test": 3})
        for row in rows:
            run.metrics.append([row])
    checksum = run.metrics.checksum
    file = run.path / rng.choice(("config.json", "data.json", "metrics.csv"))
    file.write_bytes(damaged(file.read_bytes(), rng))
    try:
        again = RunFolder(run.path, config)
        again.check_data({"train": 1, "validation": 2, "test": 3})
        again.metrics.rewind([3], checksum)
    except RunError as refusal:
        told(refusal, str(run.path))
        return
    assert again.metrics.read() == rows


NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12),
    st.lists(
        st.sampled_from([*"[]{}*?%#:,'\"\\ -~$!&|;<>@=+^()\n\t", "a", "..", "gs:", "\u65e5", "\udcff"]), min_size=1
    ).map("".join),
)


@examples(40)
@given(NAMES)
def test_paths(checkpoints, tmp_path_factory, name):
    """A run is saved and restored under any name, or the name is refused before anything is written."""
    _, (content, _), config = checkpoints
    parent = tmp_path_factory.mktemp("parent")
    (parent / "decoy").mkdir()
    try:
        folder = RunFolder(os.path.join(parent, "decoy", name), config).path
    except (PathError, RunError) as refusal:
        told(refusal, "")
        str(refusal).encode()
        assert [path.name for path in parent.rglob("*")] == ["decoy"]
        return
    folder = folder / "checkpoints"
    with Checkpoints(folder, config, writing=True) as saving:
        saving.save(*content)
    with Checkpoints(folder, config) as reading:
        assert_same(restore(reading), content.trees)


SETTINGS = {
    "jax_enable_x64": (False, True),
    "jax_default_prng_impl": ("threefry2x32", "rbg", "unsafe_rbg"),
    "jax_threefry_partitionable": (True, False),
    "jax_numpy_rank_promotion": ("allow", "raise"),
    "jax_numpy_dtype_promotion": ("standard", "strict"),
    "jax_transfer_guard": ("allow", "disallow"),
    "jax_debug_nans": (False, True),
}
STATE_SETTINGS = ("jax_enable_x64", "jax_default_prng_impl", "jax_threefry_partitionable")


@examples(12)
@given(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in SETTINGS.items()}))
def test_settings_of_jax(checkpoints, changes):
    """Under other settings, checkpoints are restored to the bit, or the settings are named; none is called damaged."""
    folder, (_, last), config = checkpoints
    templates = at(0, seed=1).trees
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    try:
        for name, value in changes.items():
            jax.config.update(name, value)
        with Checkpoints(folder, config) as reading:
            restored = reading.restore(lambda metadata: templates).trees
    except CheckpointError as refusal:
        assert any(changes[name] != before[name] for name in STATE_SETTINGS)
        told(refusal, "saved under other settings of JAX")
        return
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    assert_same(restored, last.trees)
    assert all(changes[name] == before[name] for name in STATE_SETTINGS)


NATIVE = ("?", "i1", "u1", "f2", "f4", "f8", "i2", "u4", "i8", "u8", "g")
FOREIGN = (">f2", ">f4", ">f8", ">i2", ">i4", ">u8", "bfloat16", "float8_e4m3fn", "int4")
NO_NUMBERS = ("c8", "c16", ">c8", "O", "S3", "U3", "M8[us]", "m8[ms]", "V4")
ELEMENTS = st.sampled_from((*NATIVE, *FOREIGN, *NO_NUMBERS))
FORMS = st.sampled_from((np.asarray, np.asfortranarray, np.flip, np.ndarray.tolist, np.ma.masked_array, list, np.ravel))


@examples(80)
@given(ELEMENTS, FORMS, st.sampled_from((0, 1, 2, 7)))
def test_types_of_arrays(dtype, form, fill):
    """An array has the same numbers in a type of JAX's, or is refused in one line."""
    element = np.dtype(getattr(ml_dtypes, dtype)) if hasattr(ml_dtypes, dtype) else np.dtype(dtype)
    array = form(np.full((2, 3, 4), fill).astype(element))
    try:
        native = as_native(array, "inputs")
    except ArrayError as refusal:
        told(refusal, "inputs")
        assert element.kind not in "?iuf"
        return
    assert native.dtype.isnative
    assert native.dtype.kind in "biuf"
    assert np.array_equal(np.asarray(native, float), np.asarray(np.asarray(array), float))
    assert np.array_equal(np.asarray(jnp.asarray(native), float), np.asarray(native, float))


SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)
DTYPES = st.sampled_from((np.int8, np.int32, np.uint8, np.float32, np.float64, bool, object, "U3"))


@st.composite
def arrays(draw, shape, dtype):
    """An array that is often as it must be."""
    if draw(st.integers(0, 3)) == 0:
        shape, dtype = draw(SHAPES), draw(DTYPES)
    fill = draw(st.sampled_from((0, 1, -1, 2, 100, -2, float("nan"), float("inf"))))
    with np.errstate(invalid="ignore"):
        return np.full(shape, fill).astype(dtype)


@examples(60)
@given(st.data())
def test_arrays_of_a_loader(data):
    config = base_config().unlock()
    config.batch_size, config.data.num_classes = 2, 2
    config.model.aggregation = data.draw(st.sampled_from(("softmax", "forecast")))

    def split():
        targets = ((3, 6, 2), np.float32) if config.model.aggregation == "forecast" else ((3, 2), np.int8)
        split = Split(
            data.draw(arrays((3, 5, 2), np.uint8)), data.draw(arrays(*targets)), data.draw(arrays((3, 5), np.int8))
        )
        if (
            split.targets.ndim == 2
            and split.targets.size
            and split.targets.dtype == np.int8
            and data.draw(st.booleans())
        ):
            split.targets[:, 0] = -1
        return split

    dataset = Dataset(split(), split(), split(), "as drawn")
    try:
        check_dataset(dataset, config)
    except (DatasetError, ConfigError) as refusal:
        told(refusal, "split")
        return
    plausible(dataset)
