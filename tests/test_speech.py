"""The loader of speech: files, chunks, held-out speakers, and clear errors."""

import numpy as np
import pytest
import soundfile

from configs import audio
from data import speech
from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.loader import find_loader
from seadlif_jax.data.loading import load_dataset
from tests.helpers import ROOT

RATE = 8000


def ramp(length):
    """A sound each of whose samples tells where it is."""
    return (1 + np.arange(length)) / length


def write(path, sound, rate=RATE, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, **settings)


@pytest.fixture
def folder(tmp_path):
    for speaker, lengths in (("anna", (250, 90)), ("bert", (100,)), ("carl", (230,)), ("dora", (100, 200))):
        for take, length in enumerate(lengths):
            write(tmp_path / "speech" / "train" / speaker / f"{take}.wav", ramp(length))
    write(tmp_path / "speech" / "test" / "eve" / "0.flac", ramp(150))
    return tmp_path


@pytest.fixture
def config(folder):
    config = audio.get_config("quick")
    with config.unlocked():
        config.data.update(dir=str(folder / "speech"), cache_dir=str(folder / "cache"))
        config.data.update(chunk=100, delay=10, ignore_first_steps=20)
        config.loss.windows, config.loss.num_mels, config.batch_size = (16,), 2, 2
    return config


def full_scale(sound):
    return np.round(np.asarray(sound) * speech.FULL_SCALE)


def test_recordings_are_cut_into_chunks_of_which_the_last_ends_with_them(config):
    folder = speech.find_folder(config.data, "train")
    chunks, recording = speech.read_chunks(folder, config.data)
    # anna has 250 and 90 samples, bert 100, carl 230, dora 100 and 200.
    assert recording.tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 4, 5, 5]
    first = full_scale(ramp(250))
    for chunk, start in zip(chunks.inputs[:3, :, 0], (0, 100, 150), strict=True):
        np.testing.assert_allclose(chunk, first[start : start + 100], atol=1)  # the file has 16 bits, too
    short = chunks.inputs[3, :, 0]
    np.testing.assert_allclose(short[:90], full_scale(ramp(90)), atol=1)
    assert not short[90:].any()
    assert chunks.inputs.dtype == chunks.targets.dtype == np.int16


def test_targets_are_the_inputs_some_steps_before(config):
    dataset = load_dataset(config)
    for split in (dataset.train, dataset.validation, dataset.test):
        np.testing.assert_array_equal(split.targets[:, 10:], split.inputs[:, :-10])
        assert not split.targets[:, :10].any()
        assert not split.block_index[:, :30].any()


def test_padding_does_not_count(config):
    config.data.validation = "last"
    steps = np.arange(100)
    block_index = load_dataset(config).train.block_index
    np.testing.assert_array_equal(block_index[0], steps >= 30)
    np.testing.assert_array_equal(block_index[3], (steps >= 30) & (steps < 90))


def test_speakers_are_held_out_whole(config):
    config.data.validation_fraction = 0.5
    dataset, groups = load_dataset(config), speech.groups(config)
    assert dataset.protocol.startswith("best epoch on 2 of the 4 speakers of train (")
    assert len(groups) == len(dataset.train.inputs)
    assert len(set(groups)) == 2
    assert not any(speaker in dataset.protocol for speaker in groups)
    counts = {"anna": 4, "bert": 1, "carl": 3, "dora": 3}
    assert len(dataset.validation.inputs) == sum(counts[name] for name in counts if name in dataset.protocol)


def test_at_least_one_speaker_is_held_out_and_one_kept(config):
    for fraction in (0.01, 0.99):
        config.data.validation_fraction = fraction
        of_train, of_validation = (set(part) for part in (speech.groups(config), held_out_speakers(config)))
        assert min(len(of_train), len(of_validation)) == 1
        assert not of_train & of_validation


def held_out_speakers(config):
    return {name.split("/")[0] for name, _ in speech.recordings(config, "validation")}


def test_recordings_of_a_single_speaker_are_held_out_at_random(config, folder):
    for number in range(4):
        write(folder / "speech" / "single" / "anna" / f"{number}.wav", ramp(100))
    config.data.train_dir = "single"
    dataset = load_dataset(config)
    assert (len(dataset.train.inputs), len(dataset.validation.inputs)) == (3, 1)


def test_hidden_files_and_folders_are_no_recordings(config, folder):
    (folder / "speech" / "test" / "eve" / "._0.wav").write_bytes(b"of a Mac")
    (folder / "speech" / "test" / "old.wav").mkdir()
    assert [name for name, _ in speech.recordings(config, "test")] == ["eve/0.flac"]


def test_the_last_epoch_trains_on_all(config):
    config.data.validation = "last"
    dataset = load_dataset(config)
    assert len(dataset.train.inputs) == 11
    assert dataset.protocol.startswith("last epoch, trained on all recordings of train; validation is on 1 of the 4")
    assert set(speech.groups(config)) == {"anna", "bert", "carl", "dora"}


def test_a_folder_for_validation_is_used_as_it_is(config, folder):
    write(folder / "speech" / "dev" / "eve.wav", ramp(300))
    config.data.validation_dir = "dev"
    dataset = load_dataset(config)
    assert (len(dataset.train.inputs), len(dataset.validation.inputs)) == (11, 3)
    assert dataset.protocol == "best epoch on the recordings of dev, held out"
    assert [name for name, _ in speech.recordings(config, "validation")] == ["eve.wav"]


def test_names_of_libritts_tell_the_speaker(tmp_path):
    names = ("84_121123_000007_000001.wav", "84_121550_000002_000000.wav", "174-168635-0000.flac", "0_george_12.wav")
    folder = speech.Folder(tmp_path, tuple(tmp_path / name for name in names))
    assert folder.speakers().tolist() == ["84", "84", "174", "0_george_12.wav"]
    nested = speech.Folder(tmp_path, (tmp_path / "84" / "121123" / "84_121123_000007.wav",))
    assert nested.speakers().tolist() == ["84"]


def test_recordings_without_speakers_are_held_out_at_random(config, folder):
    for number in range(8):
        write(folder / "speech" / "flat" / f"{number}_word.wav", ramp(100))
    config.data.train_dir = "flat"
    dataset = load_dataset(config)
    assert (len(dataset.train.inputs), len(dataset.validation.inputs)) == (6, 2)
    assert dataset.protocol == "best epoch on 25 % of the recordings of flat, held out"


def test_whole_recordings_are_those_of_the_split(config):
    names = {split: [name for name, _ in speech.recordings(config, split)] for split in ("train", "validation", "test")}
    assert names["test"] == ["eve/0.flac"]
    assert len(names["train"]) + len(names["validation"]) == 6
    assert not set(names["train"]) & set(names["validation"])
    name, sound = find_loader(config.data).recordings(config, "test")[0]
    assert (name, sound.shape, float(sound.max())) == ("eve/0.flac", (150,), 1.0)
    assert len(speech.recordings(config, "train")[0:2]) == 2


def test_sounds_are_mono_at_the_sample_rate_with_a_peak_of_one(tmp_path):
    t = np.arange(4800) / 24_000
    tone = 0.2 * np.sin(2 * np.pi * 440 * t)
    write(tmp_path / "stereo.wav", np.stack([tone, np.zeros_like(tone)], axis=1), rate=24_000)
    sound = speech.read_sound(tmp_path / "stereo.wav", RATE)
    assert sound.shape == (1600,)
    assert np.abs(sound.astype(int)).max() == speech.FULL_SCALE
    expected = np.sin(2 * np.pi * 440 * np.arange(1600) / RATE)
    assert np.corrcoef(sound[100:-100], expected[100:-100])[0, 1] > 0.999


def test_chunks_come_from_the_cache_until_a_file_changes(config, folder, monkeypatch):
    load_dataset(config)
    monkeypatch.setattr(speech, "read_sound", None)
    load_dataset(config)
    monkeypatch.undo()
    write(folder / "speech" / "test" / "eve" / "0.flac", ramp(400))
    assert len(load_dataset(config).test.inputs) == 4


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"RIFF", "is damaged, or not a sound file"),
        (b"", "is damaged, or not a sound file"),
        (np.zeros(100), "is silent: it has no speech; remove it"),
        (np.zeros(0), "is empty: it has no speech; remove it"),
        (np.array([0.1, np.nan, 0.2]), "has values that are NaN or infinite"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(content, problem, config, folder):
    path = folder / "speech" / "test" / "eve" / "1.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content, subtype="FLOAT")
    with pytest.raises(DataError, match=rf"1\.wav {problem}"):
        load_dataset(config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dir": "nowhere"}, r"speech not found: there is no folder nowhere/train; set --config\.data\.dir"),
        ({"train_dir": "nothing"}, "there is no folder .*nothing"),
        ({"train_dir": ""}, r"config\.data\.train_dir = '': it must be the name of a folder"),
        ({"sample_rate": 0}, r"config\.data\.sample_rate = 0: it must be a whole number of at least 1000"),
        ({"chunk": 30}, r"config\.data\.chunk = 30: it must be more than delay \+ ignore_first_steps, 30"),
        ({"delay": -1}, r"config\.data\.delay = -1: it must be a whole number of at least 0"),
        ({"validation_fraction": 0.0}, r"config\.data\.validation_fraction = 0\.0: it must be above 0 and below 1"),
        ({"validation": "select_on_test"}, r"config\.data\.validation = 'select_on_test': it must be one of"),
    ],
)
def test_fields_that_cannot_work_are_refused(fields, message, config):
    config.data.update(fields)
    with pytest.raises(DataError, match=message):
        load_dataset(config)


def test_a_folder_without_recordings_is_named(config, folder):
    (folder / "speech" / "empty").mkdir()
    (folder / "speech" / "empty" / "notes.txt").write_text("nothing to hear")
    config.data.train_dir = "empty"
    with pytest.raises(DataError, match=r"empty has no recordings: no file below it ends with \.wav or \.flac"):
        load_dataset(config)


def test_real_speech_has_four_speakers_to_train_on():
    folder = ROOT.parent / "shared" / "data" / "speech"
    if not folder.is_dir():
        pytest.skip("the recordings of spoken digits are not there")
    config = audio.get_config("quick")
    config.data.dir = str(folder)
    assert len(set(speech.find_folder(config.data, "train").speakers())) == 4
    _, sound = speech.recordings(config, "test")[0]
    assert 0.1 < len(sound) / RATE < 2
