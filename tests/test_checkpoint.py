import gc
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.checkpoint import CheckpointError, Checkpoints
from seadlif_jax.dataset import Samples
from seadlif_jax.program import Hyperparameters, Program
from seadlif_jax.task import repeat

# Orbax drops coroutines of its own when a restore fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SAMPLES = Samples(jnp.ones((2, 3, 4)), jnp.ones((2, 2), int), jnp.ones((2, 3), int))


@pytest.fixture(autouse=True)
def _collect_within_the_test():
    yield
    gc.collect()


def initial(config, seed=0):
    """The states of a sweep of one, as a run is."""
    return repeat(jax.jit(Program(config).init)(seed, Hyperparameters.from_config(config), SAMPLES), 1)


def assert_same(found, expected):
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.fixture
def saved(tmp_path, tiny_config):
    """A folder with the checkpoint of epoch 7, and the state in it."""
    state = initial(tiny_config)._replace(epoch=jnp.asarray([7], jnp.int32))
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder, tiny_config) as checkpoints:
        checkpoints.save(state)
    return folder, state


def test_a_state_is_restored_to_the_last_bit(saved, tiny_config):
    folder, state = saved
    with Checkpoints(folder, tiny_config) as checkpoints:
        assert_same(checkpoints.restore_last(initial(tiny_config, seed=1)), state)


def test_an_empty_folder_gives_the_state_itself(tmp_path, tiny_config):
    state = initial(tiny_config)
    with Checkpoints(tmp_path / "checkpoints", tiny_config) as checkpoints:
        assert checkpoints.restore_last(state) is state


def test_only_the_newest_checkpoint_is_kept(saved, tiny_config):
    folder, state = saved
    with Checkpoints(folder, tiny_config) as checkpoints:
        for epoch in (8, 9):
            checkpoints.save(state._replace(epoch=jnp.asarray([epoch], jnp.int32)))
    assert [path.name for path in folder.iterdir()] == ["9"]
    assert {"last", "best", "metadata"} <= {path.name for path in (folder / "9").iterdir()}


def test_a_checkpoint_says_what_it_holds(saved):
    folder, _ = saved
    metadata = json.loads((folder / "7" / "metadata" / "metadata").read_text())
    assert metadata["epoch"] == [7]
    assert (metadata["members"], metadata["channels"]) == (1, 4)
    assert metadata["config"]["model"]["hidden"] == [8]


def test_a_checkpoint_of_another_architecture_is_refused(saved, tiny_config):
    folder, _ = saved
    tiny_config.model.hidden = (9,)
    with (
        Checkpoints(folder, tiny_config) as checkpoints,
        pytest.raises(CheckpointError, match=r"checkpoints/7 is damaged or of another architecture \("),
    ):
        checkpoints.restore_last(initial(tiny_config))


def test_a_checkpoint_of_another_depth_is_refused(saved, tiny_config):
    folder, _ = saved
    tiny_config.model.hidden = (8, 8)
    with Checkpoints(folder, tiny_config) as checkpoints, pytest.raises(CheckpointError, match="another architecture"):
        checkpoints.restore_last(initial(tiny_config))


def test_a_damaged_checkpoint_is_refused_and_left_alone(saved, tiny_config):
    folder, _ = saved
    arrays = max((folder / "7" / "last").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    arrays.write_bytes(arrays.read_bytes()[:100])
    with Checkpoints(folder, tiny_config) as checkpoints, pytest.raises(CheckpointError, match="is damaged"):
        checkpoints.restore_last(initial(tiny_config))
    assert arrays.stat().st_size == 100


def test_a_save_that_was_cut_off_is_not_seen(saved, tiny_config):
    folder, state = saved
    shutil.copytree(folder / "7", folder / "8.orbax-checkpoint-tmp")
    with Checkpoints(folder, tiny_config) as checkpoints:
        assert_same(checkpoints.restore_last(initial(tiny_config)), state)
        checkpoints.save(state._replace(epoch=jnp.asarray([8], jnp.int32)))
    assert "8" in os.listdir(folder)
