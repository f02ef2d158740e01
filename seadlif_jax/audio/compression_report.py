"""What is left of a network that compresses sound: quality and bit rate of whole recordings, pictures, sound files."""

import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from seadlif_jax.audio.a_law import expected_sound
from seadlif_jax.audio.codec import Codec
from seadlif_jax.audio.compression import Compression
from seadlif_jax.audio.panels import save_compression
from seadlif_jax.audio.quality import MEASURES, bits_per_second, si_snr
from seadlif_jax.audio.spectrum import decibels, mel_filters, mel_spectrogram
from seadlif_jax.data.loader import find_loader
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.inference.trained_model import trace_network
from seadlif_jax.reports.evaluation import report_evaluation, save_audio
from seadlif_jax.reports.inspection import save_sample
from seadlif_jax.reports.pictures import save_task_pictures
from seadlif_jax.runs.files import write_table
from seadlif_jax.utils.progress import bar
from seadlif_jax.utils.tables import table_lines

AT_ONCE = 16  # recordings that are worked on side by side
PADDED = 4096  # steps that a recording is padded to a multiple of
TO_LISTEN_TO = 10  # recordings of `--save_audio`


class Restored(NamedTuple):
    """A recording, its spikes, and what is restored from them."""

    name: str
    sound: Float[np.ndarray, " time"]
    spikes: Bool[np.ndarray, "time neuron"]
    restored: Float[np.ndarray, " time"]


def restore(codec: Codec, recordings: Sequence[tuple[str, np.ndarray]]) -> Iterator[Restored]:
    """Yield each of some recordings with its spikes and what is restored from them."""
    for start in range(0, len(recordings), AT_ONCE):
        names, sounds = zip(*recordings[start : start + AT_ONCE], strict=True)
        spikes = codec.encode_all(sounds)
        yield from map(Restored, names, sounds, spikes, codec.decode_all(spikes))


def score(one: Restored, sample_rate: int, measures: Mapping[str, Callable[..., float]]) -> dict[str, Any]:
    """Return the row of a recording: its quality, and what its spikes cost."""
    length = len(one.sound)
    padding = (0, -length % PADDED)  # few lengths, of which each is compiled
    arrays = (one.restored, one.sound, np.ones(length, bool))
    restored, sound, counted = (jnp.asarray(np.pad(array, padding))[None] for array in arrays)
    quality = {measure.__name__: measure(one.restored, one.sound, sample_rate) for measure in measures.values()}
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
    codec, recordings = Codec(trained), find_loader(trained.config.data).recordings(trained.config, name)
    measures = _available()
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
        "": list(numbers),
        "mean": [f"{values.mean():.4g}" if len(values) else "" for values in numbers.values()],
        "std": [f"{values.std():.2g}" if len(values) else "" for values in numbers.values()],
        "recordings": [len(values) for values in numbers.values()],
    }
    print(f"{name}: {len(rows)} recordings of {codec.sample_rate} Hz, by the spikes of {codec.num_neurons} neurons")
    print("\n".join(table_lines(table)), flush=True)
    write_table(Path(f"{stem}_quality.csv"), {**table, "": list(numbers)})


@save_audio.register
def _(task: Compression, trained, name, stem):
    """Leave some recordings, and what is restored of them, as files of 16 bits."""
    codec, recordings = Codec(trained), find_loader(trained.config.data).recordings(trained.config, name)
    folder = Path(f"{stem}_audio")
    folder.mkdir(exist_ok=True)
    chosen = recordings[:: max(1, len(recordings) // TO_LISTEN_TO)][:TO_LISTEN_TO]
    for one in restore(codec, chosen):
        file = Path(one.name).with_suffix("").as_posix().replace("/", "-")
        for suffix, sound in (("", one.sound), ("-restored", one.restored)):
            write_wave(folder / f"{file}{suffix}.wav", sound, codec.sample_rate)
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
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def _available() -> dict[str, Callable[..., float]]:
    """Return the names of the measures whose packages are installed; say which are not."""
    available = {name: measure for name, measure in MEASURES.items() if find_spec(name) is not None}
    for name in (name for name in MEASURES if name not in available):
        print(f"(without {MEASURES[name].__name__.upper()}, which needs the package {name})")
    return available


def _draw(task: Compression, network: Any, sample: Samples, outputs: Any, states: Any, path: Path) -> None:
    target = np.asarray(task.prepare(sample).targets)[0, task.skip :, 0]
    restored = np.asarray(expected_sound(jnp.asarray(outputs)))[0, task.skip :]
    bottleneck = next(i for i, layer in enumerate(network.layers) if layer.outputs < layer.features)
    spikes = np.asarray(states[bottleneck].output)[0, :, : network.layers[bottleneck].outputs] > 0
    window = task.windows[len(task.windows) // 2]
    filters = mel_filters(task.num_mels, max(task.windows), task.sample_rate, task.sample_rate / window)
    spectrograms = [
        np.asarray(decibels(mel_spectrogram(jnp.asarray(x)[None], window, max(task.windows), filters)[0])).T
        for x in (target, restored)
    ]
    save_compression((target, restored), spectrograms, spikes, task.skip, 1000 / task.sample_rate, path)
