import gc
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.runs import checkpoint
from seadlif_jax.runs.checkpoint import LAYOUT, Checkpoint, Checkpoints
from seadlif_jax.runs.errors import CheckpointError

# Orbax drops coroutines of its own when a restore fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collect_within_the_test():
    yield
    gc.collect()


def at(epoch, seed=0):
    """The content of a checkpoint after an epoch: trees of arrays of several types, random keys too, and metadata."""
    first, second, third = jax.random.split(jax.random.key(seed), 3)
    params = {"layers_0": {"kernel": jax.random.normal(first, (1, 4, 300)), "a": jax.random.uniform(second, (1, 300))}}
    state = {"key": third[None], "epoch": jnp.asarray([epoch], jnp.int32), "params": params, "plateau": None}
    best = {"params": params, "constants": {"tau": jnp.full((1, 3), 15.0)}}
    return Checkpoint({"last": state, "best": best}, {"epochs": [epoch], "step": 0})


def assert_same(trees, expected):
    for ours, theirs in zip(jax.tree.leaves(trees), jax.tree.leaves(expected), strict=True):
        if isinstance(ours, jax.Array) and jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_array_equal(ours, theirs)
        assert type(ours) is type(theirs)
        assert not isinstance(ours, jax.Array) or ours.dtype == theirs.dtype


@pytest.fixture
def saved(tmp_path, tiny_config):
    """A folder with two checkpoints, of the epochs 6 and 7, and these positions."""
    folder, positions = tmp_path / "checkpoints", [at(6), at(7, seed=2)]
    with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
        for position in positions:
            checkpoints.save(*position)
    return folder, positions


def restore(checkpoints):
    """The trees in the newest checkpoint, by templates with other values."""
    templates = at(0, seed=1).trees
    checkpoint = checkpoints.restore(lambda metadata: templates)
    return checkpoint.trees


def restored(folder, config):
    with Checkpoints(folder, config, writing=True) as checkpoints:
        return restore(checkpoints)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def largest_file(folder):
    """With arrays in it, of a saved item."""
    return max((path for path in folder.glob("d/*")), key=lambda path: path.stat().st_size)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def test_trees_are_restored_to_the_last_bit(saved, tiny_config):
    folder, (_, last) = saved
    assert_same(restored(folder, tiny_config), last.trees)


def test_only_the_trees_that_are_asked_for_are_read(saved, tiny_config):
    """By templates for what the metadata say."""
    folder, (_, last) = saved
    with Checkpoints(folder, tiny_config) as checkpoints:
        checkpoint = checkpoints.restore(lambda metadata: {"best": last.trees["best"]} if metadata["epochs"] else {})
    assert checkpoint.trees.keys() == {"best"}
    assert_same(checkpoint.trees["best"], last.trees["best"])
    assert checkpoint.metadata["epochs"] == [7]


def test_an_empty_folder_has_none(tmp_path, tiny_config):
    with Checkpoints(tmp_path / "checkpoints", tiny_config) as checkpoints:
        assert checkpoints.restore(lambda metadata: {}) is None
        assert not checkpoints.any_saved()
    assert not (tmp_path / "checkpoints").exists()


def test_the_newest_two_are_kept(saved, tiny_config):
    folder, _ = saved
    with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
        for epoch in (8, 9):
            checkpoints.save(*at(epoch))
    assert sorted(os.listdir(folder)) == ["3", "4"]
    assert {"last", "best", "metadata"} <= set(os.listdir(folder / "4"))


def test_metadata_is_readable_and_names_the_config(saved):
    folder, _ = saved
    metadata = json.loads((folder / "2" / "metadata" / "metadata").read_text())
    assert (metadata["epochs"], metadata["step"]) == ([7], 0)
    assert metadata["config"]["model"]["hidden"] == [8]


def test_a_checkpoint_of_another_config_is_refused_and_left_alone(saved, tiny_config):
    folder, _ = saved
    before = files(folder)
    tiny_config.model.hidden = (8, 8)
    with pytest.raises(
        CheckpointError, match=r"checkpoints/2 is of another .*\(config.model.hidden: \[8\] -> \[8, 8\]"
    ):
        restored(folder, tiny_config)
    assert files(folder) == before


def test_a_checkpoint_of_another_version_is_refused_and_left_alone(saved, tiny_config, monkeypatch):
    folder, _ = saved
    before = files(folder)
    theirs, ours = LAYOUT, LAYOUT + 1
    monkeypatch.setattr(checkpoint, "LAYOUT", ours)
    message = f"checkpoints/2 has layout {theirs}; this version of the library reads layout {ours} only"
    with pytest.raises(CheckpointError, match=message):
        restored(folder, tiny_config)
    assert files(folder) == before


def test_damaged_checkpoints_are_refused_and_left_alone(saved, tiny_config):
    folder, _ = saved
    for number in ("1", "2"):
        cut(largest_file(folder / number / "last"))
    before = files(folder)
    with pytest.raises(CheckpointError, match=r"checkpoints/2 is damaged .* Nothing was changed; choose another"):
        restored(folder, tiny_config)
    assert files(folder) == before


def test_arrays_that_can_be_read_but_are_not_those_that_were_written_are_damaged(saved, tiny_config, monkeypatch):
    folder, (_, last) = saved
    checksum = checkpoint.checksum
    with monkeypatch.context() as patch, Checkpoints(folder, tiny_config, writing=True) as checkpoints:
        patch.setattr(checkpoint, "checksum", lambda tree: checksum(tree) ^ 1)
        checkpoints.save(*at(8))
    assert_same(restored(folder, tiny_config), last.trees)
    assert (folder / "damaged-3").exists()


def test_a_number_is_not_used_again_for_one_that_was_damaged(saved, tiny_config):
    folder, (first, _) = saved
    for number in ("2", "3"):
        cut(largest_file(folder / number / "last"))
        with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
            assert_same(restore(checkpoints), first.trees)
        with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
            checkpoints.save(*at(7))
    assert sorted(os.listdir(folder)) == ["1", "4", "damaged-2", "damaged-3"]


def test_a_reader_renames_nothing(saved, tiny_config):
    folder, (before, _) = saved
    cut(largest_file(folder / "2" / "last"))
    with Checkpoints(folder, tiny_config) as checkpoints:
        assert_same(restore(checkpoints), before.trees)
    assert sorted(os.listdir(folder)) == ["1", "2"]


def test_a_newer_version_s_checkpoint_is_not_put_aside(saved, tiny_config, monkeypatch):
    folder, _ = saved
    with monkeypatch.context() as patch, Checkpoints(folder, tiny_config, writing=True) as checkpoints:
        patch.setattr(checkpoint, "LAYOUT", LAYOUT + 1)
        checkpoints.save(*at(8))
    before = files(folder)
    with pytest.raises(CheckpointError, match=f"checkpoints/3 has layout {LAYOUT + 1}"):
        restored(folder, tiny_config)
    assert files(folder) == before


@pytest.mark.parametrize("damage", ["cut", "changed", "metadata", "missing"])
def test_from_a_damaged_checkpoint_training_goes_back_to_the_one_before(saved, tiny_config, damage, capsys):
    folder, (before, _) = saved
    file = largest_file(folder / "2" / "last")
    if damage == "cut":
        cut(file)
    elif damage == "changed":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    elif damage == "metadata":
        file = folder / "2" / "metadata" / "metadata"
        file.write_text(file.read_text().replace("[7]", "[6]"))
    else:
        shutil.rmtree(folder / "2" / "last")
    damaged = files(folder / "2")
    with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
        assert_same(restore(checkpoints), before.trees)
        checkpoints.save(*at(7))
    assert "checkpoints/2 is damaged" in (printed := capsys.readouterr().out)
    assert f"using the one saved before, {folder / '1'}" in printed
    assert sorted(os.listdir(folder)) == ["1", "3", "damaged-2"]
    assert files(folder / "damaged-2") == damaged


def test_a_save_that_was_cut_off_is_not_seen_and_removed(saved, tiny_config):
    folder, (_, last) = saved
    with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
        checkpoints.save(*at(8))
    (folder / "3").rename(folder / "3.orbax-checkpoint-tmp")
    cut(largest_file(folder / "3.orbax-checkpoint-tmp" / "last"))
    with Checkpoints(folder, tiny_config) as checkpoints:  # who only reads leaves it alone
        assert_same(restore(checkpoints), last.trees)
    assert "3.orbax-checkpoint-tmp" in os.listdir(folder)
    with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
        assert_same(restore(checkpoints), last.trees)
        checkpoints.save(*at(8))  # waits until orbax has removed it, which it does in another thread
    assert "3.orbax-checkpoint-tmp" not in os.listdir(folder)


def test_a_save_that_fails_is_reported_and_leaves_the_others_alone(saved, tiny_config, monkeypatch):
    folder, (_, last) = saved

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(CheckpointError, match=r"cannot save to .*No space left on device"):
            checkpoints.save(*at(8))
    assert_same(restored(folder, tiny_config), last.trees)


@pytest.mark.parametrize(
    "name",
    ["a [b]", "a]b[c", "x{y}", "a*b", "a?b", "100 %20", "a#b", "a:b", "it's", 'q"', " -a ", "ünï 日本"],
)
def test_a_folder_s_name_is_never_taken_for_a_pattern_or_an_address(tmp_path, tiny_config, name):
    (tmp_path / "axb" / "1" / "last").mkdir(parents=True)  # which some of the names, as patterns, would match
    folder, position = tmp_path / name / "checkpoints", at(3)
    with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
        checkpoints.save(*position)
    assert_same(restored(folder, tiny_config), position.trees)


def test_a_run_may_move_to_a_folder_of_any_name(saved, tiny_config, tmp_path):
    folder, (_, last) = saved
    (moved := tmp_path / "m [o] *").mkdir()
    folder.rename(moved / "checkpoints")
    assert_same(restored(moved / "checkpoints", tiny_config), last.trees)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("jax_enable_x64", True, "JAX_ENABLE_X64 was False, and is True"),
        ("jax_default_prng_impl", "rbg", "JAX_DEFAULT_PRNG_IMPL was threefry2x32, and is rbg"),
        ("jax_threefry_partitionable", False, "JAX_THREEFRY_PARTITIONABLE was True, and is False"),
    ],
)
def test_other_settings_of_jax_are_named_and_nothing_is_called_damaged(saved, tiny_config, setting, value, message):
    folder, (_, last) = saved
    before, original = files(folder), getattr(jax.config, setting)
    jax.config.update(setting, value)
    try:
        with pytest.raises(CheckpointError, match=f"saved under other settings of JAX .{message}") as refusal:
            restored(folder, tiny_config)
    finally:
        jax.config.update(setting, original)
    assert "damaged" not in str(refusal.value)
    assert files(folder) == before
    assert_same(restored(folder, tiny_config), last.trees)


def test_another_number_of_devices_is_reported_and_the_run_goes_on(saved, tiny_config, monkeypatch, capsys):
    folder, (_, last) = saved
    monkeypatch.setattr(jax, "device_count", lambda *_: 7)
    assert_same(restored(folder, tiny_config), last.trees)
    assert "another environment (devices 2 -> 7); numbers may be rounded differently" in capsys.readouterr().out


def test_parameters_saved_in_float64_are_read_in_float32_and_the_reverse(tmp_path, tiny_config):
    for saving, reading in ((True, False), (False, True)):
        folder = tmp_path / str(saving)
        with jax.enable_x64(saving):
            saved = at(3)
            with Checkpoints(folder, tiny_config, writing=True) as checkpoints:
                checkpoints.save(*saved)
            expected = jax.tree.map(np.asarray, saved.trees["best"])
        assert expected["params"]["layers_0"]["a"].dtype == (np.float64 if saving else np.float32)
        with jax.enable_x64(reading), Checkpoints(folder, tiny_config) as checkpoints:
            templates = {"best": expected}
            best = checkpoints.restore(lambda _, templates=templates: templates, to_continue=False).trees["best"]
        for array, original in zip(jax.tree.leaves(best), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(array, original)


@pytest.mark.parametrize(
    "error",
    [
        OSError(116, "Stale file handle"),
        OSError(5, "Input/output error"),
        OSError(24, "Too many open files"),
        MemoryError(),
        ValueError("INTERNAL: Error reading local file [OS error 5: EIO Input/output error] [tensorstore_spec={}]"),
    ],
)
def test_an_error_of_the_storage_is_no_damage_and_changes_nothing(saved, tiny_config, monkeypatch, error):
    folder, (_, last) = saved
    before = files(folder)

    def fail(*_, **__):
        raise error

    with Checkpoints(folder, tiny_config, writing=True) as checkpoints, monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, "restore", fail)
        with pytest.raises(CheckpointError, match=r"2 cannot be read now .* Nothing was changed; try the same command"):
            restore(checkpoints)
    assert files(folder) == before
    assert_same(restored(folder, tiny_config), last.trees)


@pytest.mark.parametrize("name", ["damaged-1.bak", "damaged-1 (copy)", "damaged-", "2.bak", ".DS_Store", "notes.txt"])
def test_other_files_beside_checkpoints_are_ignored(saved, tiny_config, name):
    folder, (_, last) = saved
    (folder / name).mkdir()
    assert_same(restored(folder, tiny_config), last.trees)
