"""Tables, pictures and sound files of a network that compresses sound."""

import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from seadlif_jax import plots
from seadlif_jax.audio.a_law import expected_sound
from seadlif_jax.audio.codec import Codec
from seadlif_jax.audio.compression import FULL_SCALE, Compression, last_encoder_layer
from seadlif_jax.audio.quality import MEASURES, bits_per_second, si_snr
from seadlif_jax.audio.spectrum import decibels, mel_filters, mel_spectrogram
from seadlif_jax.data.loader import find_loader
from seadlif_jax.data.loading import DatasetError
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.inference.trained_model import trace_network
from seadlif_jax.reports.evaluation import report_evaluation, save_audio
from seadlif_jax.reports.inspection import save_sample
from seadlif_jax.reports.pictures import save_task_pictures
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.files import write_table
from seadlif_jax.tasks import Task
from seadlif_jax.utils.progress import bar
from seadlif_jax.utils.tables import table_lines

RECORDINGS_PER_BATCH = 16
PAD_MULTIPLE = 4096  # steps; so that few lengths have to be compiled
MAX_SAVED_RECORDINGS = 10  # by `--save_audio`


class Restored(NamedTuple):
    """A recording, its spikes, and what is restored from them."""

    name: str
    sound: Float[np.ndarray, " time"]
    spikes: Bool[np.ndarray, "time neuron"]
    restored: Float[np.ndarray, " time"]


def restore(codec: Codec, recordings: Sequence[tuple[str, np.ndarray]]) -> Iterator[Restored]:
    """Yield each of some recordings, pairs of name and sound, with its spikes and what is restored from them."""
    for start in range(0, len(recordings), RECORDINGS_PER_BATCH):
        names, sounds = zip(*recordings[start : start + RECORDINGS_PER_BATCH], strict=True)
        spikes = codec.encode_all(sounds)
        yield from map(Restored, names, sounds, spikes, codec.decode_all(spikes))


def score(one: Restored, sample_rate: int, measures: Mapping[str, Callable[..., float]]) -> dict[str, Any]:
    """Return the row of a recording in the table of all.

    Args:
      one: the recording.
      sample_rate: samples per second.
      measures: functions of `(restored, sound, sample_rate)`, by name.

    Returns:
      `recording` (its name), `seconds`, `si_snr` (dB), a column for each of the measures, `firing_rate` (spikes per
      neuron and step), `spikes_per_second` and `bits_per_second`.
    """
    length = len(one.sound)
    padding = (0, -length % PAD_MULTIPLE)  # few lengths, of which each is compiled
    arrays = (one.restored, one.sound, np.ones(length, bool))
    restored, sound, counted = (jnp.asarray(np.pad(array, padding))[None] for array in arrays)
    quality = {name: measure(one.restored, one.sound, sample_rate) for name, measure in measures.items()}
    return {
        "recording": one.name,
        "seconds": length / sample_rate,
        "si_snr": float(si_snr(restored, sound, counted)[0]),
        **quality,
        "firing_rate": float(one.spikes.mean()),
        "spikes_per_second": float(one.spikes.sum() * sample_rate / len(one.spikes)),
        "bits_per_second": bits_per_second(one.spikes, sample_rate),
    }


@report_evaluation.register
def _(task: Compression, trained, split, name, stem):
    """Report quality and bit rate, a mean over the whole recordings of the split."""
    codec, recordings = Codec(trained), _recordings(trained, name)
    if recordings is None:
        report_evaluation.dispatch(Task)(task, trained, split, name, stem)
        return
    measures = _available_measures()
    rows = [
        score(one, codec.sample_rate, measures)
        for one in bar(restore(codec, recordings), total=len(recordings), unit="recording")
    ]
    write_table(Path(f"{stem}_recordings.csv"), {column: [row[column] for row in rows] for column in rows[0]})
    numbers = {
        column: np.array([row[column] for row in rows if np.isfinite(row[column])])
        for column in rows[0]
        if column != "recording"
    }
    table: dict[str, list[Any]] = {
        "measure": list(numbers),
        "mean": [f"{values.mean():.4g}" if len(values) else "" for values in numbers.values()],
        "std": [f"{values.std():.2g}" if len(values) else "" for values in numbers.values()],
        "recordings": [len(values) for values in numbers.values()],
    }
    print(f"{name}: {len(rows)} recordings of {codec.sample_rate} Hz, by the spikes of {codec.num_neurons} neurons")
    print("\n".join(table_lines(table)), flush=True)
    write_table(Path(f"{stem}_quality.csv"), table)


@save_audio.register
def _(task: Compression, trained, name, stem):
    """Leave some recordings, and what is restored of them, as files of 16 bits."""
    codec, recordings = Codec(trained), _recordings(trained, name)
    if recordings is None:
        raise RunError(f"--save_audio: {trained.config.data.loader} cannot read whole recordings; leave it out")
    folder = Path(f"{stem}_audio")
    folder.mkdir(exist_ok=True)
    numbers = np.unique(np.linspace(0, len(recordings) - 1, MAX_SAVED_RECORDINGS).round().astype(int))
    for number, one in zip(numbers, restore(codec, [recordings[index] for index in numbers]), strict=True):
        file = Path(one.name).with_suffix("").as_posix().replace("/", "-")
        for suffix, sound in (("", one.sound), ("-restored", one.restored)):
            write_wave(folder / f"{number}-{file}{suffix}.wav", sound, codec.sample_rate)
    print(f"sound: {folder}/*.wav")


@save_sample.register
def _(task: Compression, trained, sample, path):
    outputs, states = trained.trace(task.prepare(sample).inputs)
    _draw(task, trained.network, sample, outputs, states, path)


@save_task_pictures.register
def _(task: Compression, network, hyper, variables, test, step_ms, folder):
    """Draw the network at work on the loudest of the first test samples."""
    sample = Samples.of(test, 0, 64)
    loudest = int(np.argmax(np.abs(np.asarray(sample.inputs, float)).mean(axis=(1, 2))))
    sample = Samples.of(test, loudest, loudest + 1)
    outputs, states = trace_network(network, variables, task.prepare(sample).inputs, hyper)
    _draw(task, network, sample, outputs, states, folder / "restored.png")


def write_wave(path: Path, sound: Float[np.ndarray, " time"], sample_rate: int) -> None:
    """Write a sound in [-1, 1] as a WAV file of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.round(np.clip(sound, -1, 1) * FULL_SCALE).astype("<i2").tobytes())


def _recordings(trained: Any, split: str) -> Sequence[tuple[str, np.ndarray]] | None:
    """Return the whole recordings of a split, if the loader can read them."""
    recordings = find_loader(trained.config.data).recordings(trained.config, split)
    if recordings is not None and not len(recordings):
        raise DatasetError(f"recordings(config, {split!r}) of {trained.config.data.loader} returned none")
    return recordings


def _available_measures() -> dict[str, Callable[..., float]]:
    """Return the measures whose packages are installed, by name; say which are not."""
    available = {}
    for name, (measure, package) in MEASURES.items():
        if find_spec(package) is None:
            print(f"(without {name}, which needs the package {package})")
        else:
            available[name] = measure
    return available


def _draw(task: Compression, network: Any, sample: Samples, outputs: Any, states: Any, path: Path) -> None:
    target = np.asarray(task.prepare(sample).targets)[0, task.skip :, 0]
    restored = np.asarray(expected_sound(jnp.asarray(outputs)))[0, task.skip :]
    last = last_encoder_layer(network)
    spikes = np.asarray(states[last].output)[0, :, : network.layers[last].num_outputs] > 0
    window = task.windows[len(task.windows) // 2]
    filters = mel_filters(task.num_mels, max(task.windows), task.sample_rate, task.sample_rate / window)
    spectrograms = [
        np.asarray(decibels(mel_spectrogram(jnp.asarray(x)[None], window, max(task.windows), filters)[0])).T
        for x in (target, restored)
    ]
    plots.save_compression((target, restored), spectrograms, spikes, task.skip, 1000 / task.sample_rate, path)
