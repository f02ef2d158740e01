"""The loaders of SHD and SSC."""

import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import shd as shd_config
from configs import ssc as ssc_config
from data import shd, ssc
from seadlif_jax.config import differences
from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.events import Binning, count_bins
from seadlif_jax.data.loading import DatasetError, check_dataset, load_dataset
from tests.recordings_file import random_events, write


@pytest.fixture
def config(tmp_path):
    """SHD with 40 training recordings of four speakers, and 12 test recordings."""
    config = shd_config.get_config()
    config.batch_size = 8
    config.data.dir = str(tmp_path)
    config.data.cache_dir = str(tmp_path / "cache")
    write(tmp_path / "SHD" / "shd_train.h5", recordings=40, classes=5)
    write(tmp_path / "SHD" / "shd_test.h5", recordings=12, classes=4, seed=1)
    return config


@pytest.fixture
def no_download(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.setattr("tonic.download_utils.download_url", refuse)


def test_shd_is_loaded_from_its_files_alone(config, no_download):
    dataset = load_dataset(config)
    assert dataset.protocol == "best epoch on 20 % of the training recordings, held out at random"
    sizes = [len(split.inputs) for split in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [32, 8, 12]
    assert dataset.train.inputs.shape[2] == 140
    assert dataset.train.inputs.dtype == np.uint8
    assert dataset.test.targets.tolist() == [[-1, number % 4] for number in range(12)]


def test_the_block_is_the_recording_with_its_padding_but_without_its_first_steps(config, tmp_path):
    times, _ = write(tmp_path / "SHD" / "shd_test.h5", recordings=12, seed=1)
    bins = count_bins(times, Binning(700, 140, 4))
    assert bins.min() < 150 < bins.max()
    config.data.pad_to = 150
    block_index = shd.load(config).test.block_index
    assert block_index.shape == (12, bins.max())
    for row, num_bins in zip(block_index, bins, strict=True):
        assert np.flatnonzero(row).tolist() == list(range(10, max(num_bins, 150)))


def test_held_out_speakers_are_not_trained_on(config):
    config.data.validation = "held_out_speakers"
    config.data.validation_speakers = 1
    dataset = shd.load(config)
    speakers = np.arange(40) // 5 % 4
    assert dataset.protocol.startswith("best epoch on the training recordings of 1 speakers (")
    held_out = int(dataset.protocol.split("(")[1].split(")")[0])
    assert len(dataset.validation.inputs) == (speakers == held_out).sum()
    assert len(dataset.train.inputs) == 40 - len(dataset.validation.inputs)
    config.data.validation = "test"
    whole = shd.load(config).train.inputs
    np.testing.assert_array_equal(dataset.validation.inputs, whole[speakers == held_out])
    np.testing.assert_array_equal(dataset.train.inputs, whole[speakers != held_out])


def test_with_the_protocol_last_all_recordings_are_trained_on_and_have_a_group(config):
    config.data.validation = "last"
    dataset = shd.load(config)
    assert len(dataset.train.inputs) == 40
    assert len(dataset.validation.inputs) == 8
    assert dataset.protocol.startswith("last epoch, trained on all training recordings; validation is on 20 %")
    np.testing.assert_array_equal(shd.groups(config), np.arange(40) // 5 % 4)


def test_the_parts_are_the_speakers_of_training_and_others(config, tmp_path):
    """Test speakers 0 to 5; 0 to 3 are in the training file, of whom one is held out."""
    write(tmp_path / "SHD" / "shd_test.h5", recordings=12, classes=2, speakers=6)
    config.data.validation, config.data.validation_speakers = "held_out_speakers", 1
    dataset = shd.load(config)
    parts = {split: shd.parts(config, split) for split in ("train", "validation", "test")}
    held_out = int(dataset.protocol.partition("(")[2].partition(")")[0])
    of_test = np.arange(12) // 2 % 6
    for name, mask in (("speakers of training", of_test < 4), ("other speakers", of_test >= 4)):
        expected = mask ^ (of_test == held_out)
        np.testing.assert_array_equal(parts["test"][name], np.stack([0 * expected, expected], axis=1))
    assert [int(parts[split]["other speakers"].sum()) for split in ("train", "validation")] == [0, 10]
    assert all(mask.shape == dataset.validation.targets.shape for mask in parts["validation"].values())

    write(tmp_path / "SHD" / "shd_test.h5", recordings=12, classes=2, **{"extra/speaker": None})
    assert shd.parts(config, "test") == {}


def test_selection_on_test_says_so(config):
    config.data.validation = "test"
    dataset = shd.load(config)
    assert dataset.protocol == "best epoch on the test set itself, as the authors select it"
    assert dataset.validation is dataset.test
    assert len(dataset.train.inputs) == 40


def test_ssc_is_selected_on_its_official_validation_file(tmp_path):
    config = ssc_config.get_config()
    config.batch_size = 8
    config.data.dir = str(tmp_path)
    config.data.cache_dir = str(tmp_path / "cache")
    for split, recordings in (("train", 40), ("valid", 11), ("test", 12)):
        write(tmp_path / "SSC" / f"ssc_{split}.h5", recordings, seed=recordings)
    dataset = load_dataset(config)
    assert dataset.protocol == "best epoch on the official validation file"
    assert [len(split.inputs) for split in (dataset.train, dataset.validation, dataset.test)] == [40, 11, 12]
    assert dataset.train.inputs.shape[1:] == (300, 140)

    (tmp_path / "SSC" / "ssc_valid.h5").unlink()
    config.data.validation = "held_out"
    assert len(ssc.load(config).validation.inputs) == 8  # the file is not needed then


@pytest.mark.parametrize("given", ["root", "folder", "file"])
def test_the_files_are_found_wherever_data_dir_may_point(config, tmp_path, given, no_download):
    places = {"root": tmp_path, "folder": tmp_path / "SHD", "file": tmp_path / "SHD" / "shd_train.h5"}
    config.data.dir = str(places[given])
    check_dataset(shd.load(config), config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("validation", "official", "one of held_out, held_out_speakers, last, test"),
        ("validation_fraction", 0.001, "holds out 0 of 40 training samples"),
        ("validation_fraction", 1.5, "above 0 and below 1"),
        ("validation_fraction", float("nan"), "above 0 and below 1"),
        ("validation_fraction", None, "above 0 and below 1"),
        ("step_ms", None, "a whole number of milliseconds"),
        ("step_ms", 2.5, "a whole number of milliseconds"),
        ("step_ms", 1e10, "a whole number of milliseconds"),
        ("num_channels", 140.0, r"in 1\.\.700"),
        ("num_channels", 0, r"in 1\.\.700"),
        ("pad_to", 10**9, r"a number of steps in 0\.\.100000"),
        ("num_channels", 701, r"in 1\.\.700"),
        ("num_units", 64, r"in 1\.\.64, the number of units"),
        ("num_units", 0, r"in 1\.\."),
        ("num_units", 64.0, r"in 1\.\."),
        ("max_seconds", 0, "a number of seconds above 0"),
        ("max_seconds", float("nan"), "a number of seconds above 0"),
        ("skip_empty", "no", "True or False"),
        ("pad_to", -1, "a number of steps"),
        ("ignore_first_steps", -1, "a number of steps"),
        ("ignore_first_steps", 250, "ignores the whole shortest recording"),
        ("cache_dir", "", "a folder"),
    ],
)
def test_fields_out_of_range_are_refused(config, field, value, message):
    config.data = {**config.data, field: value}
    # With too few units, the channels are too many.
    with pytest.raises(DataError, match=rf"config\.data\.(num_channels|{field}) = .*{message}"):
        shd.load(config)


def test_what_is_wrong_shows_before_anything_is_binned(config, tmp_path):
    config.data.validation = "held_out_speakers"
    config.data.validation_speakers = 4
    with pytest.raises(DataError, match=r"config.data.validation_speakers = 4: there are 4 speakers"):
        shd.load(config)
    write(tmp_path / "SHD" / "shd_train.h5", **{"extra/speaker": None})
    with pytest.raises(DataError, match=r"shd_train.h5 has no speakers"):
        shd.load(config)
    config.data = {**config.data, "validation_speakers": 1.5}
    with pytest.raises(DataError, match=r"config.data.validation_speakers = 1.5: it must be a whole number"):
        shd.load(config)
    assert not list((tmp_path / "cache").glob("**/counts.npy"))


def test_without_files_and_network_the_error_says_what_to_fetch_and_where_to_put_it(config, tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("tonic.download_utils.urllib.request.urlopen", no_network)
    shutil.rmtree(tmp_path / "SHD")
    with pytest.raises(DataError) as error:
        shd.load(config)
    message = str(error.value)
    assert f"there is no {tmp_path}/SHD/shd_train.h5, and it could not be downloaded (Name or service not" in message
    assert "shd_train.h5.zip by other means and extract shd_train.h5 to" in message
    assert "--config.data.dir" in message
    # Nothing is left of a folder that may have been misspelt.
    config.data.dir = str(tmp_path / "misspelt")
    with pytest.raises(DataError):
        shd.load(config)
    assert not (tmp_path / "misspelt").exists()
    assert not (tmp_path / "SHD").exists()


def test_another_file_than_the_training_file_is_refused_as_data_dir(config, tmp_path, no_download):
    config.data.dir = str(tmp_path / "SHD" / "my_train.h5")
    with pytest.raises(DataError, match=r"it must be the folder of the files, or shd_train.h5 itself"):
        shd.load(config)


def test_many_speakers_are_counted_not_named(config, tmp_path):
    write(tmp_path / "SHD" / "shd_train.h5", recordings=40, classes=2, speakers=20)
    config.data.validation = "held_out_speakers"
    config.data.validation_speakers = 8
    assert shd.load(config).protocol == "best epoch on the training recordings of 8 speakers, held out at random"


def with_few_units(folder, num_units=64):
    for name, recordings in (("shd_train.h5", 40), ("shd_test.h5", 12)):
        times, units = random_events(np.random.default_rng(recordings), recordings)
        few = [unit % num_units for unit in units]
        write(folder / name, recordings, **{"spikes/times": times, "spikes/units": few})


def test_the_number_of_units_is_a_field_and_channels_without_events_are_reported(config, tmp_path, capsys):
    with_few_units(tmp_path / "SHD")
    load_dataset(config)
    message = (
        "warning: 127 of 140 channels are 0 in all training samples, the first of them channel 13; is config.data."
    )
    assert message + "num_units that of the files?" in capsys.readouterr().out
    config.data.num_units = 64
    config.data.num_channels = 32
    assert load_dataset(config).train.inputs.any(axis=(0, 1)).all()
    assert "warning" not in capsys.readouterr().out


def test_units_beyond_their_number_name_the_field(config):
    config.data.num_units = 300
    with pytest.raises(DataError, match=r"of unit \d+; they must be in 0..299.*config.data.num_units does not fit it"):
        shd.load(config)


def test_recordings_without_events_are_skipped_and_counted(config, tmp_path, capsys):
    times, units = random_events(np.random.default_rng(0), 40)
    for number in (3, 17, 30):
        times[number], units[number] = times[number][:0], units[number][:0]
    write(tmp_path / "SHD" / "shd_train.h5", 40, **{"spikes/times": times, "spikes/units": units})
    with pytest.raises(DataError, match="recording 3: it has no events"):
        shd.load(config)
    config.data.skip_empty = True
    dataset = load_dataset(config)
    assert f"{tmp_path}/SHD/shd_train.h5: 3 of 40 recordings have no events, and are skipped" in capsys.readouterr().out
    assert len(dataset.train.inputs) + len(dataset.validation.inputs) == 37
    assert dataset.train.inputs.any(axis=(1, 2)).all()
    of_file = shd.read(tmp_path / "SHD" / "shd_train.h5", config)  # of all, by their numbers in the file
    assert np.flatnonzero(~of_file.block_index.any(axis=1)).tolist() == [3, 17, 30]
    assert np.flatnonzero(of_file.targets[:, 1] == -1).tolist() == [3, 17, 30]


def test_labels_of_no_class_and_of_one_class_are_reported(config, tmp_path, capsys):
    labels = np.arange(40) % 3
    labels[[4, 9]] = -1
    write(tmp_path / "SHD" / "shd_train.h5", 40, labels=labels)
    load_dataset(config)
    assert "shd_train.h5: 2 of 40 recordings have the label -1, which is not a class" in capsys.readouterr().out
    write(tmp_path / "SHD" / "shd_train.h5", 40, labels=np.full(40, 7))
    load_dataset(config)
    assert "warning: all training targets are of class 7: accuracy says nothing" in capsys.readouterr().out
    write(tmp_path / "SHD" / "shd_train.h5", 40, labels=labels - 1)
    with pytest.raises(DatasetError, match=r"targets reach -2"):
        load_dataset(config)


def test_a_config_of_an_earlier_version_is_still_read(config):
    fields = {name: value for name, value in config.data.to_dict().items() if name not in shd.OPTIONAL}
    new = config.to_dict()
    assert not differences(new | {"data": fields}, new)
    earlier = ConfigDict(new | {"data": fields})
    assert len(load_dataset(earlier).test.inputs) == 12
