import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from seadlif_jax.config import ConfigError
from seadlif_jax.data.dataset import DataError, Dataset, Split, draw_groups, draw_samples
from seadlif_jax.data.loading import DatasetError, fingerprint, load_dataset
from seadlif_jax.data.on_device.samples import to_device


def good_split():
    rng = np.random.default_rng(0)
    return Split(
        inputs=rng.integers(0, 2, (20, 9, 4)).astype(np.float32),
        targets=np.stack([np.full(20, -1), rng.integers(0, 3, 20)], axis=1),
        block_index=np.ones((20, 9), np.uint8),
    )


@pytest.fixture
def load(tiny_config, monkeypatch):
    """Loads a data set with one array of one split changed, through a loader of its own module."""

    def load_changed(split="train", **changes):
        splits = {name: good_split() for name in ("train", "validation", "test")}
        splits[split] = splits[split]._replace(**changes)
        module = types.ModuleType("own_loader")
        module.load = lambda config: Dataset(**splits, protocol="none")
        monkeypatch.setitem(sys.modules, "own_loader", module)
        tiny_config.data.loader = "own_loader:load"
        return load_dataset(tiny_config)

    return load_changed


def nan_at(index):
    inputs = good_split().inputs
    inputs[index] = np.nan
    return inputs


def test_a_loader_of_ones_own_is_found_by_name(load):
    assert load().protocol == "none"


def test_arrays_of_other_libraries_and_byte_orders_become_native(load):
    native, good = load(), good_split()
    for convert in (np.ndarray.tolist, np.ma.masked_array, lambda array: array.astype(array.dtype.newbyteorder(">"))):
        dataset = load(**{name: convert(array) for name, array in good._asdict().items()})
        for array, expected in zip(dataset.train, good, strict=True):
            assert type(array) is np.ndarray
            assert array.dtype.isnative
            np.testing.assert_array_equal(array, expected)
    big_endian = good._replace(inputs=good.inputs.astype(">f4"))
    assert fingerprint(load(inputs=big_endian.inputs)) == fingerprint(native)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": nan_at((7, 3, 2))}, "NaN or infinite, first in sample 7"),
        ({"inputs": np.zeros((20, 9))}, r"inputs have shape \(20, 9\)"),
        ({"inputs": np.zeros((0, 9, 4))}, "none of them empty"),
        ({"block_index": np.full((20, 9), 2)}, r"block_index reaches 2, but there are targets for 0..1"),
        ({"block_index": np.full((20, 9), -1)}, "block_index reaches -1"),
        ({"block_index": np.ones((20, 8), int)}, r"must be integers \(20, 9\)"),
        ({"block_index": np.ones((20, 9))}, "block_index is float64"),
        ({"targets": np.zeros((20, 2), int)}, r"targets\[:, 0\] must be -1"),
        ({"targets": np.tile([-1, 3], (20, 1))}, "targets reach -1..3; with config.data.num_classes = 3"),
        ({"targets": np.tile([-1, -2], (20, 1))}, "targets reach -2"),
        ({"targets": np.full((20, 2), -1)}, "no target at all"),
        ({"inputs": [[[0.0]], [[0.0, 1.0]]]}, r"inputs have samples of different shapes, \(1, 1\) in sample 0"),
        ({"inputs": np.ma.masked_equal(good_split().inputs, 1)}, "inputs have masked values, first in sample"),
        ({"inputs": np.full((20, 9, 4), 1e300)}, "inputs are beyond the largest float32"),
        ({"inputs": np.full((20, 9, 4), 2**40)}, "inputs are whole numbers beyond 16,777,216"),
        ({"targets": np.tile([-1, 1], (20, 1)).astype(str)}, "targets are of type <U"),
        ({"block_index": None}, "block_index hold objects of type NoneType"),
        (
            {"block_index": np.repeat([1, 0], (19 * 9, 9)).reshape(20, 9)},
            "sample 19 has a target for block 1, but no step",
        ),
        ({"targets": np.zeros((20, 2))}, "targets are float64"),
        ({"targets": np.zeros((19, 2), int)}, "targets are int64"),
    ],
)
def test_data_that_breaks_the_contract_is_refused(load, split, changes, message):
    with pytest.raises(DatasetError, match=f"the {split} split of own_loader:load: .*{message}"):
        load(split, **changes)


def test_splits_must_have_the_same_channels(load):
    with pytest.raises(DatasetError, match=r"the test split .* inputs have 5 channels, those of the train split 4"):
        load("test", inputs=np.zeros((20, 9, 5)))


def test_a_forecast_needs_the_next_inputs_as_targets(load, tiny_config):
    tiny_config.task = "forecast"
    with pytest.raises(DatasetError, match=r"to forecast they must be \(20, 10, 4\)"):
        load()
    with pytest.raises(DatasetError, match="targets are NaN"):
        load(targets=np.full((20, 10, 4), np.nan))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("block", "message"), [(0, "nothing in it counts in the loss: all steps are in block 0"), (-1, "reaches -1")]
)
def test_a_forecast_that_counts_nowhere_is_refused_instead_of_being_perfect(load, tiny_config, split, block, message):
    tiny_config.task = "forecast"
    others = {name: good_split()._replace(targets=np.zeros((20, 10, 4))) for name in ("train", "validation", "test")}
    others[split] = others[split]._replace(block_index=np.full((20, 9), block))
    with pytest.raises(DatasetError, match=f"the {split} split .*{message}"):
        load_dataset(tiny_config, Dataset(**others, protocol="none"))


def test_a_forecast_of_a_single_step_is_refused(load, tiny_config):
    tiny_config.task = "forecast"
    with pytest.raises(DatasetError, match="a single step; a forecast needs a second one"):
        load(inputs=np.zeros((20, 1, 4)), targets=np.zeros((20, 2, 4)), block_index=np.ones((20, 1), int))


def test_a_batch_larger_than_the_data_is_refused(load, tiny_config):
    tiny_config.batch_size = 21
    with pytest.raises(ConfigError, match=r"config.batch_size = 21: the train split has only 20 samples"):
        load()


def test_fields_that_the_loader_does_not_know_or_lacks_are_refused(tiny_config):
    for data, message in (
        ({"num_sampels": 3}, "config.data.num_sampels: unknown field"),
        ({"num_samples": None}, "config.data.num_samples: missing"),
    ):
        fields = tiny_config.to_dict()
        fields["data"] = {name: value for name, value in (fields["data"] | data).items() if value is not None}
        with pytest.raises(ConfigError, match=message):
            load_dataset(ConfigDict(fields))


def test_a_loader_that_returns_something_else_is_refused(tiny_config):
    tiny_config.data.loader = "builtins:repr"
    with pytest.raises(DatasetError, match="builtins:repr: a value without 'train'; it must be a Dataset"):
        load_dataset(tiny_config)


@pytest.mark.parametrize(
    "name", ["no_such_module:load", "data.bsd:no_such_function", ".bsd:load", "data.bsd:NUM_STEPS"]
)
def test_an_unknown_loader_is_refused(tiny_config, name):
    tiny_config.data.loader = name
    with pytest.raises(ConfigError, match=f"config.data.loader = '{name}'"):
        load_dataset(tiny_config)


def test_data_stays_compact_on_the_device_and_batches_are_int32():
    split = good_split()
    split = split._replace(inputs=split.inputs.astype(np.uint8), targets=split.targets.astype(np.int8))
    samples = to_device(split)
    assert samples.inputs.dtype == np.uint8
    assert samples.targets.dtype == np.int8
    batch = samples.take(jnp.array([3, 1]))
    assert batch.targets.dtype == batch.block_index.dtype == np.int32
    np.testing.assert_array_equal(batch.inputs, split.inputs[[3, 1]])


def test_samples_are_held_out_without_overlap_and_by_seed():
    kept, held_out = draw_samples(20, 0.2, seed=1)
    assert len(held_out) == 4
    assert sorted([*kept, *held_out]) == list(range(20))
    assert np.array_equal(held_out, draw_samples(20, 0.2, seed=1)[1])
    assert not np.array_equal(held_out, draw_samples(20, 0.2, seed=2)[1])


def test_groups_are_held_out_whole_and_by_seed():
    speakers = np.tile([0, 3, 4, 7, 11], 6)
    kept, held_out = draw_groups(speakers, 2, seed=1)
    assert sorted([*kept, *held_out]) == list(range(30))
    assert len(set(speakers[held_out])) == 2
    assert set(speakers[kept]).isdisjoint(speakers[held_out])
    assert len({tuple(draw_groups(speakers, 2, seed)[1]) for seed in range(10)}) > 1


@pytest.mark.parametrize("count", [0, 5, 6, -1])
def test_a_part_without_groups_is_refused(count):
    with pytest.raises(DataError, match=f"^count = {count}: there are 5 groups"):
        draw_groups(np.arange(5), count, seed=0)
