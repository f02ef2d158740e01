"""Compressing sound: the A-law, spectrograms, quality, the codec, the task, its tables, pictures and sound files."""

import csv
import json
import shutil
import sys
import wave

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from configs import audio
from seadlif_jax import load_run
from seadlif_jax.audio import AudioError, Codec, Compression, bits_per_second, pesq, si_snr, stoi
from seadlif_jax.audio.a_law import compress, expand, expected_sound, level_of
from seadlif_jax.audio.spectrum import mel_filters, mel_spectrogram, spectral_distance
from seadlif_jax.build import build_network, build_task, init_variables
from seadlif_jax.cli import main
from seadlif_jax.config import ConfigError
from seadlif_jax.inference import TrainedModel
from seadlif_jax.training import fit
from seadlif_jax.utils.signals import Interrupted
from tests.helpers import is_drawn
from tests.training_helpers import assert_close, interrupt_at, rows_of

RATE = 8000
TINY = {
    "loss.spectral_weight": 1.0,
    "num_epochs": 2,
    "batch_size": 4,
    "data.chunk": 200,
    "data.delay": 5,
    "data.ignore_first_steps": 10,
    "data.validation_fraction": 0.5,
    "model.hidden": (12, 10, 8, 9),
    "model.num_outputs": (12, 3, 8, 9),
    "loss.levels": 16,
    "loss.windows": (16, 32),
    "loss.num_mels": 4,
    "compute.engine": "xla",
}


def speech(seconds, seed, rate=RATE):
    """Something like a voice: a vibrating tone and its harmonics, in syllables, with noise."""
    t = np.arange(int(seconds * rate)) / rate
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * (120 + 10 * seed) * t + 0.3 * np.sin(2 * np.pi * 4 * t)
    voice = sum(np.sin(n * phase) / n for n in range(1, 8))
    return 0.1 * voice * np.sin(np.pi * 3 * t) ** 2 + 0.002 * rng.normal(size=len(t))


def save_recordings(folder):
    for split, speakers in (("train", ("anna", "bert")), ("test", ("carl",))):
        for number, speaker in enumerate(speakers):
            path = folder / split / speaker
            path.mkdir(parents=True)
            for take in range(2):
                sound = speech(0.11 + 0.03 * take, seed=2 * number + take)
                soundfile.write(path / f"{take}.wav", sound, RATE)


@pytest.fixture
def config(tmp_path):
    """A tiny network for four short recordings of two speakers, and two of another one for the test."""
    save_recordings(tmp_path / "speech")
    config = audio.get_config("quick")
    with config.unlocked():
        config.update_from_flattened_dict(TINY)
        config.data.dir, config.data.cache_dir = str(tmp_path / "speech"), str(tmp_path / "cache")
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of `config` in a folder."""
    folder = tmp_path_factory.mktemp("audio")
    save_recordings(folder / "speech")
    config = audio.get_config("quick")
    with config.unlocked():
        config.update_from_flattened_dict(TINY)
        config.data.dir, config.data.cache_dir = str(folder / "speech"), str(folder / "cache")
    fit(config, folder / "run")
    return folder / "run"


def test_the_a_law_is_that_of_the_standard():
    """The first values from the segments of G.711, in which a level is twice as wide as in the one below."""
    x = np.linspace(-1, 1, 2001)
    np.testing.assert_allclose(expand(compress(jnp.asarray(x))), x, atol=1e-6)
    np.testing.assert_allclose(compress(jnp.array([1.0, 1 / 87.6])), [1, 1 / (1 + np.log(87.6))], rtol=1e-6)
    quiet = float(compress(jnp.float32(0.001))) * (1 + np.log(87.6))
    assert quiet == pytest.approx(0.0876, rel=1e-5)
    for value in (0.0, 1e-4, 0.3, -0.3):
        assert np.isfinite(jax.grad(lambda v: expand(compress(v)))(value))
        assert jax.grad(compress)(value) > 0


def test_levels_are_restored_to_their_sound(x64):
    x = jnp.linspace(-1, 1, 500)
    for num_levels in (16, 256):
        levels = level_of(x, num_levels)
        assert (int(levels.min()), int(levels.max())) == (0, num_levels - 1)
        restored = expected_sound(1e4 * jax.nn.one_hot(levels, num_levels))
        assert jnp.abs(compress(restored) - compress(x)).max() <= 1.0001 / (num_levels - 1)


def test_a_high_temperature_blurs_the_level():
    logits = 3 * jax.nn.one_hot(jnp.array([12]), 16)
    assert 0 < float(expected_sound(logits, 10.0)[0]) < float(expected_sound(logits, 1.0)[0])


def test_a_tone_is_in_the_mel_filter_of_its_frequency():
    filters = mel_filters(num_mels=32, transform=512, sample_rate=RATE, min_hz=RATE / 512)
    frequencies = np.linspace(0, RATE / 2, 257)
    for hz in (300, 1000, 3000):
        tone = jnp.sin(2 * jnp.pi * hz * jnp.arange(2000) / RATE)[None]
        loudest = int(mel_spectrogram(tone, 512, 512, filters)[0].mean(axis=0).argmax())
        assert abs(frequencies[filters[:, loudest].argmax()] - hz) < 0.1 * hz


def test_spectrograms_have_a_frame_each_quarter_of_a_window():
    filters = mel_filters(4, 64, RATE, RATE / 64)
    assert mel_spectrogram(jnp.ones((2, 160)), 64, 64, filters).shape == (2, 1 + 160 // 16, 4)


def test_too_many_mel_filters_are_refused():
    with pytest.raises(ValueError, match="64 mel filters are too many for a transform of 64 samples at 8000 Hz"):
        mel_filters(64, 64, RATE, 125.0)


def test_the_spectral_distance_has_a_gradient_everywhere():
    silence, tone = jnp.zeros((1, 200)), jnp.sin(jnp.arange(200.0))[None]
    for sound, target in ((silence, tone), (tone, silence), (silence, silence), (tone, tone)):
        gradient = jax.grad(lambda x, y: spectral_distance(x, y, (16, 64), 4, RATE).sum())(sound, target)
        assert jnp.isfinite(gradient).all()


def test_si_snr_ignores_scale_mean_and_steps_that_do_not_count():
    rng = np.random.default_rng(0)
    target = jnp.asarray(rng.normal(size=(1, 300)))
    noisy = target + 0.1 * jnp.asarray(rng.normal(size=(1, 300)))
    counted = jnp.arange(300)[None] < 200
    expected = si_snr(noisy[:, :200], target[:, :200], jnp.ones((1, 200), bool))
    assert float(expected[0]) == pytest.approx(20, abs=1)
    np.testing.assert_allclose(si_snr(5 * noisy + 2, target - 1, counted), expected, rtol=1e-3)


def test_si_snr_of_a_constant_sound_is_the_lowest_and_that_of_the_target_the_highest():
    target = jax.random.normal(jax.random.key(0), (1, 300))
    counted = jnp.ones((1, 300), bool)
    found = [float(si_snr(sound, target, counted)[0]) for sound in (0 * target, 0 * target + 0.3, target, 3 * target)]
    np.testing.assert_allclose(found, [-60, -60, 60, 60], atol=1e-4)
    assert float(si_snr(target, 0 * target, counted)[0]) == pytest.approx(-60)  # a silent target, too, has no NaN


def test_bits_are_the_entropy_of_the_spikes():
    spikes = np.random.default_rng(0).random((100_000, 2)) < [0.25, 0.01]
    entropy = sum(-p * np.log2(p) - (1 - p) * np.log2(1 - p) for p in (0.25, 0.01))
    assert bits_per_second(spikes, 100.0) == pytest.approx(100 * entropy, rel=0.02)
    assert bits_per_second(np.zeros((10, 2), bool), 100.0) == 0
    assert bits_per_second(np.ones((10, 2), bool), 100.0) == 0


def test_stoi_and_pesq_are_high_for_the_sound_itself_and_low_for_noise():
    sound = speech(2.0, seed=0)
    noise = np.random.default_rng(0).normal(size=len(sound)) * 0.1
    assert stoi(sound, sound, RATE) > 0.99
    assert stoi(noise, sound, RATE) < 0.7
    pytest.importorskip("pesq", reason="pesq is not installed: it needs a C compiler")
    assert pesq(sound, sound, RATE) > 4
    assert pesq(noise, sound, RATE) < 2
    high = speech(2.0, seed=0, rate=24_000)
    assert pesq(high, high, 24_000) > 4


@pytest.mark.filterwarnings("ignore:Not enough STFT frames")
def test_what_is_too_short_or_silent_has_no_stoi_and_pesq():
    assert np.isnan(stoi(np.zeros(100), speech(0.1, 0)[:100], RATE))
    pytest.importorskip("pesq", reason="pesq is not installed: it needs a C compiler")
    assert np.isnan(pesq(np.zeros(4000), np.zeros(4000), RATE))


def untrained(config):
    """The network of a config with weights at which all layers spike."""
    network = build_network(config, 1)
    variables = init_variables(network, jax.random.key(0), 1)
    variables = jax.tree.map(lambda array: jnp.asarray(array, float), variables)
    for index, scale in enumerate((100, 60, 60, 60)):
        variables["params"][f"layers_{index}"]["kernel"] *= scale
        variables["params"][f"layers_{index}"]["bias"] += 0.5
        if index:  # less, for fewer of the spikes that depend on the rounding of the ones before
            variables["params"][f"layers_{index}"]["recurrent_kernel"] *= 0.2
    return TrainedModel(config, network, variables)


@pytest.mark.parametrize("neuron", ["se_adlif", "ef_adlif", "lif"])
def test_encoder_and_decoder_are_the_network_whole_or_in_parts(neuron, config, x64):
    config = audio.get_config(f"quick,{neuron}")
    with config.unlocked():
        config.update_from_flattened_dict(TINY)
    model = untrained(config)
    codec, sound = Codec(model), speech(0.1, seed=1)
    padded = np.pad(sound, (0, codec.delay))
    outputs, states = model.trace(padded[None, :, None])
    spikes = codec.encode(sound)
    np.testing.assert_array_equal(spikes, np.asarray(states[1].z[0, :, :3]) > 0)
    assert 0.01 < spikes.mean() < 0.9
    restored = codec.decode(spikes)
    assert restored.shape == sound.shape
    np.testing.assert_allclose(restored, expected_sound(outputs)[0, codec.delay :], rtol=1e-12, atol=1e-12)

    state, parts = codec.encoder_state(), []
    for part in np.split(padded, [1, 100, 333]):
        state, of_part = codec.encode_next(state, part)
        parts.append(of_part)
    np.testing.assert_array_equal(np.concatenate(parts), spikes)
    state, sounds = codec.decoder_state(), []
    for part in np.split(spikes, [7, 200]):
        state, of_part = codec.decode_next(state, part)
        sounds.append(of_part)
    np.testing.assert_allclose(np.concatenate(sounds)[codec.delay :], restored, rtol=1e-12, atol=1e-12)


def test_sounds_of_several_lengths_are_worked_on_as_each_alone(config, x64):
    codec = Codec(untrained(config))
    sounds = [speech(seconds, seed) for seed, seconds in enumerate((0.05, 0.02, 0.08))]
    for sound, spikes in zip(sounds, codec.encode_all(sounds), strict=True):
        np.testing.assert_array_equal(spikes, codec.encode(sound))
    spikes = codec.encode_all(sounds)
    for one, restored, sound in zip(spikes, codec.decode_all(spikes), sounds, strict=True):
        np.testing.assert_allclose(restored, codec.decode(one), rtol=1e-12, atol=1e-12)
        assert restored.shape == sound.shape


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.zeros((2, 100)), r"the sound has shape \(2, 100\); it must be \[time\]"),
        (np.zeros(0), r"the sound has shape \(0,\)"),
        (np.array([0.0, np.nan]), "the values of the sound are NaN"),
        (np.array([0.0, 1.5]), r"the sound reaches 1\.5; scale it to \[-1, 1\]"),
        (np.array([0, 3000], np.int16), r"the sound reaches 3000; scale it"),
    ],
)
def test_what_is_no_sound_is_refused(sound, message, config):
    with pytest.raises(AudioError, match=message):
        Codec(untrained(config)).encode(sound)


@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        (np.zeros((10, 4)), r"spikes have shape \(10, 4\); it must be \[time, 3\]"),
        (np.full((10, 3), 0.5), "spikes have values other than 0 and 1"),
        (np.zeros((5, 3)), "spikes of 5 steps: a whole sound has more than 5, the delay"),
    ],
)
def test_what_are_no_spikes_is_refused(spikes, message, config):
    with pytest.raises(AudioError, match=message):
        Codec(untrained(config)).decode(spikes)


def test_no_sounds_at_all_are_none(config):
    codec = Codec(untrained(config))
    assert codec.encode_all([]) == codec.decode_all([]) == []


def test_a_network_of_another_task_is_no_codec(tiny_config):
    network = build_network(tiny_config, 10)
    with pytest.raises(AudioError, match=r"was trained for config\.task = 'classification', not to compress sound"):
        Codec(TrainedModel(tiny_config, network, init_variables(network, jax.random.key(0), 10)))


def test_the_temperature_falls_as_documented(config):
    with config.unlocked():
        config.loss.update(temperature=(10.0, 1.0), temperature_decay=0.95)
        config.loss.update(temperature_from=5000, temperature_every=2000)
    task = build_task(config)
    for update, expected in ((0, 10), (5000, 10), (7000, 9.5), (9000, 9.025), (10**6, 1)):
        assert float(task.temperature_at(update)) == pytest.approx(expected, rel=1e-5)


def test_silent_sounds_and_padding_do_not_count(config):
    task = build_task(config)
    outputs = jax.random.normal(jax.random.key(0), (3, 200, 16))
    loud = 0.5 * jnp.sin(jnp.arange(200.0))[None, :, None]
    targets = jnp.concatenate([loud, 1e-4 * loud, loud])
    block_index = jnp.ones((3, 200), int).at[:, : task.skip].set(0).at[2].set(0)
    sums_of = jax.jit(task.sums)
    sums = sums_of(outputs, block_index, targets)
    assert (int(sums.loss_terms), int(sums.score_terms)) == (2, 1)
    first = sums_of(outputs[:1], block_index[:1], targets[:1])
    np.testing.assert_allclose(sums.score, first.score, rtol=1e-6)
    both = sums_of(outputs[:2], block_index[:2], targets[:2])
    np.testing.assert_allclose(sums.loss, both.loss, rtol=1e-6)
    assert task.loss_terms(block_index, targets).tolist() == [1, 1, 0]


def test_a_run_leaves_a_picture_and_its_metric(trained):
    result = load_run(trained)
    assert isinstance(result.task, Compression)
    assert is_drawn(trained / "restored.png")
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    assert all(np.isfinite(float(row["validation_si_snr"])) for row in rows)


def test_evaluation_reports_whole_recordings_and_leaves_sound(trained, capsys):
    main(["evaluate", f"--workdir={trained}", "--save_audio"])
    printed = capsys.readouterr().out
    assert "test: 2 recordings of 8000 Hz, by the spikes of 3 neurons" in printed
    rows = list(csv.DictReader((trained / "test_recordings.csv").read_text().splitlines()))
    assert sorted(row["recording"] for row in rows) == ["carl/0.wav", "carl/1.wav"]
    assert {"si_snr", "stoi", "spikes_per_second", "bits_per_second", "firing_rate"} <= rows[0].keys()
    codec = Codec(load_run(trained))
    sound, _ = soundfile.read(trained.parent / "speech" / "test" / "carl" / "1.wav")
    sound = sound / np.abs(sound).max()
    row = next(row for row in rows if row["recording"] == "carl/1.wav")
    counted = jnp.ones((1, len(sound)), bool)
    expected = si_snr(jnp.asarray(codec.decode(codec.encode(sound)))[None], jnp.asarray(sound)[None], counted)
    assert float(row["si_snr"]) == pytest.approx(float(expected[0]), abs=0.05)
    with wave.open(str(trained / "test_audio" / "1-carl-1-restored.wav")) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (RATE, len(sound), 1)


def test_inspection_draws_spectrograms_and_spikes(trained):
    main(["inspect", f"--workdir={trained}"])
    for name in ("sample", "parameters", "training", "gradients"):
        assert is_drawn(trained / "inspect" / f"{name}.png")


def test_other_tasks_have_no_sound_and_are_refused_before_anything_is_written(own_run):
    before = sorted(own_run.rglob("*"))
    with pytest.raises(SystemExit, match=r"--save_audio: config\.task = 'classification' has no sound to listen to"):
        main(["evaluate", f"--workdir={own_run}", "--save_audio"])
    assert sorted(own_run.rglob("*")) == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss.levels": 1}, r"config\.loss\.levels = 1: it must be a whole number of at least 2"),
        ({"loss.spectral_weight": -1.0}, r"config\.loss\.spectral_weight = -1\.0: it must be a number of at least 0"),
        ({"loss.windows": ()}, r"config\.loss\.windows = \(\): it must be a tuple of whole numbers"),
        ({"loss.num_mels": 100}, r"config\.loss\.num_mels = 100: 100 mel filters are too many"),
        ({"loss.temperature": (1.0, 0.0)}, r"config\.loss\.temperature = .*pair \(first, last\) of numbers above 0"),
        ({"loss.temperature_decay": 1.5}, r"config\.loss\.temperature_decay = 1\.5: it must be a number in \(0, 1\]"),
        ({"loss.temperature_every": 0}, r"config\.loss\.temperature_every = 0: it must be a whole number"),
        ({"model.num_outputs": None}, r"config\.model\.num_outputs = None: it must be less"),
        ({"model.num_outputs": (12, 10, 8, 9)}, r"config\.model\.num_outputs = .*: it must be less"),
        ({"model.num_outputs": (12, 3, 2, 9)}, r"config\.model\.num_outputs = .*for one layer, and no other"),
        ({"loss.temperature": (1.0, 2.0)}, r"config\.loss\.temperature = .*the last no greater than the first"),
        ({"data.sample_rate": 0}, r"config\.data\.sample_rate = 0: it must be a whole number of at least 1000"),
        ({"data.delay": -1}, r"config\.data\.delay = -1: it must be a whole number of at least 0"),
        ({"model.batch_norm": True}, r"config\.model\.batch_norm = True: encoder and decoder run on their own"),
        ({"augment.drop_events": 0.1}, r"config\.augment\.drop_events: for classification only"),
    ],
)
def test_a_config_that_cannot_work_is_refused_before_the_data_are_read(fields, message, config, tmp_path):
    with config.unlocked():
        config.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError, match=message):
        fit(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache").exists()


def test_a_window_longer_than_a_chunk_is_refused(config, tmp_path):
    config.loss.windows = (16, 512)
    with pytest.raises(Exception, match=r"185 steps of a sample count, too few for a window of 512 samples"):
        fit(config, tmp_path / "run")


def test_a_loader_without_whole_recordings_is_evaluated_on_chunks(trained, monkeypatch, capsys):
    monkeypatch.delattr(sys.modules["data.speech"], "recordings")
    main(["evaluate", f"--workdir={trained}", f"--output_dir={trained.parent}"])
    result = json.loads((trained / "result.json").read_text())
    assert f"si_snr {result['test']['si_snr']:.4f}" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"--save_audio: data\.speech:load cannot read whole recordings"):
        main(["evaluate", f"--workdir={trained}", f"--output_dir={trained.parent}", "--save_audio"])


def test_recordings_that_have_moved_are_evaluated(trained, tmp_path, capsys):
    moved = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((moved / "config.json").read_text())
    config["data"]["dir"] = "nowhere"
    (moved / "config.json").write_text(json.dumps(config))
    main(["evaluate", f"--workdir={moved}", f"--config.data.dir={trained.parent / 'speech'}"])
    assert "test: 2 recordings" in capsys.readouterr().out


def test_devices_sweeps_and_interruptions_make_no_difference(config, tmp_path, x64, monkeypatch, without_pictures):
    """11 training chunks in batches of 4, and a last batch of validation that is filled up."""
    one, sweep, cut = (ConfigDict(config.to_dict()) for _ in range(3))
    one.devices.mesh, sweep.devices.mesh, sweep.sweep.seed = (1, 1), (1, 2), (0, 1)
    result, member = fit(one, tmp_path / "one"), fit(sweep, tmp_path / "sweep")["members"][0]
    for split in ("validation", "test"):
        assert_close(member[split], result[split])
    cut.devices.mesh = (1, 1)
    interrupt_at(monkeypatch, 3)
    with pytest.raises(Interrupted):
        fit(cut, tmp_path / "cut")
    monkeypatch.undo()
    assert_close(fit(cut, tmp_path / "cut")["test"], result["test"])
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "one")
