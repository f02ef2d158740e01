"""Speech, to be compressed and restored: folders of .wav or .flac files, such as LibriTTS, cut into chunks.

A step is a sample of the sound. A network sees a chunk, and has to restore it `config.data.delay` steps later.
"""

import re
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import resample_poly
from tqdm import tqdm

from seadlif_jax.data.dataset import (
    FRACTION,
    LAST,
    DataError,
    Dataset,
    Split,
    check_fraction,
    check_protocol,
    draw_groups,
    draw_samples,
)
from seadlif_jax.data.fields import check_fields, is_whole
from seadlif_jax.data.file_cache import cached_from_files, file_identity
from seadlif_jax.utils.errors import storage_error

# Fields of `config.data` beyond those that all tasks share.
FIELDS = (
    "sample_rate", "chunk", "delay", "ignore_first_steps", "train_dir", "validation_dir", "test_dir",
    "validation_fraction", "cache_dir",
)  # fmt: skip
SUFFIXES = (".wav", ".flac")
FULL_SCALE = np.iinfo(np.int16).max  # sounds are held in 16 bits
CACHE_VERSION = 1  # a new number invalidates all caches
CHUNKS, LENGTHS = "chunks.raw", "lengths.npy"
SAMPLE = "<i2"  # type of the samples in the file of chunks
MAX_NAMED = 3  # speakers, in the protocol
REMEDY = "replace the file, or remove it"


class Folder(NamedTuple):
    """The recordings of a split: their files, sorted, and the folder that they are below."""

    path: Path
    files: tuple[Path, ...]

    def name_of(self, file: Path) -> str:
        """Return the name of a recording: its path below the folder."""
        return file.relative_to(self.path).as_posix()

    def speakers(self) -> np.ndarray:
        """Return the speaker of each recording.

        Files in folders, such as `84/121123/84_121123_000007.flac`, are of the speaker that the first folder is named
        after; others of the number before the chapter, as in `84_121123_000007.wav`. Without either, each recording is
        taken for a speaker of its own.
        """
        names = [self.name_of(file) for file in self.files]
        matches = [re.match(r"(\d+)[_-]\d+[_-]", name) for name in names]
        return np.array(
            [
                name.split("/")[0] if "/" in name else match.group(1) if match else name
                for name, match in zip(names, matches, strict=True)
            ]
        )


def load(config: Any) -> Dataset:
    """Return the chunks of the recordings in the folders `train_dir`, `validation_dir` and `test_dir` of `data.dir`.

    Recordings become mono, have `sample_rate` samples per second, and a peak of 1. They are cut into chunks of `chunk`
    steps; the last one of a recording ends with it, and overlaps the one before. Shorter recordings are padded with
    zeros, in block 0. Inputs and targets are int16 `[chunk, time, 1]`; the targets are the inputs `delay` steps before.
    Block 1 is the steps from `delay + ignore_first_steps` on. `config.data.validation` is "held_out" or "last". With no
    `validation_dir`, `validation_fraction` of the speakers of `train_dir` are held out, or, where names tell no
    speakers, of its recordings.

    Raises:
      DataError: a folder is missing or has no recordings; a file is damaged; the cache cannot be written; or a field of
        `config.data` is out of range.
    """
    data = config.data
    _check_fields(data)
    train = find_folder(data, data.train_dir)
    chunks, recording = read_chunks(train, data)
    test, _ = read_chunks(find_folder(data, data.test_dir), data)
    if data.validation_dir:
        validation, _ = read_chunks(find_folder(data, data.validation_dir), data)
        of_what = f"the recordings of {data.validation_dir}"
        return Dataset(chunks, validation, test, _protocol(data, of_what, data.train_dir))
    kept, held_out, of_what = _hold_out(train.speakers(), data)
    validation = chunks.take(np.flatnonzero(np.isin(recording, held_out)))
    if data.validation != LAST:
        chunks = chunks.take(np.flatnonzero(np.isin(recording, kept)))
    return Dataset(chunks, validation, test, _protocol(data, of_what, data.train_dir))


def recordings(config: Any, split: str) -> "Recordings":
    """Return the whole recordings of a split, "train", "validation" or "test", with their names."""
    data = config.data
    _check_fields(data)
    if split == "test":
        return Recordings(find_folder(data, data.test_dir), data.sample_rate)
    if split == "validation" and data.validation_dir:
        return Recordings(find_folder(data, data.validation_dir), data.sample_rate)
    train = find_folder(data, data.train_dir)
    if not data.validation_dir:
        kept, held_out, _ = _hold_out(train.speakers(), data)
        if split == "validation" or data.validation != LAST:
            indices = held_out if split == "validation" else kept
            train = Folder(train.path, tuple(train.files[index] for index in indices))
    return Recordings(train, data.sample_rate)


def groups(config: Any) -> np.ndarray:
    """Return the speaker of each chunk of the training recordings, for cross-validation with `--by_group`."""
    data = config.data
    train = find_folder(data, data.train_dir)
    _, recording = read_chunks(train, data)
    if data.validation != LAST and not data.validation_dir:
        recording = recording[np.isin(recording, _hold_out(train.speakers(), data)[0])]
    return train.speakers()[recording]


class Recordings(Sequence[tuple[str, np.ndarray]]):
    """Whole recordings, read when they are used: pairs of name and sound, in [-1, 1] with a peak of 1, `[time]`."""

    def __init__(self, folder: Folder, sample_rate: int):
        self._folder, self._sample_rate = folder, sample_rate

    def __len__(self) -> int:
        return len(self._folder.files)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        file = self._folder.files[index]
        return self._folder.name_of(file), read_sound(file, self._sample_rate).astype(np.float32) / FULL_SCALE


def find_folder(data: Any, name: str) -> Folder:
    """Return the folder `name` of `data.dir`, or of LibriTTS in it, and its recordings.

    Raises:
      DataError: it is not there, or has no recordings.
    """
    given = Path(data.dir).expanduser()
    path = next((folder / name for folder in (given, given / "LibriTTS") if (folder / name).is_dir()), None)
    if path is None:
        raise DataError(
            f"speech not found: there is no folder {given / name}; set --config.data.dir to the folder that holds it, "
            "such as LibriTTS (https://www.openslr.org/60), and config.data.train_dir, validation_dir and test_dir to "
            "the names of its parts"
        )
    files = tuple(sorted(file for file in path.rglob("*") if _is_recording(file)))
    if not files:
        raise DataError(f"{path} has no recordings: no file below it ends with {' or '.join(SUFFIXES)}")
    return Folder(path, files)


def _is_recording(file: Path) -> bool:
    """Return whether a file is a recording, by its name; hidden ones are not."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def read_chunks(folder: Folder, data: Any) -> tuple[Split, np.ndarray]:
    """Return the chunks of all recordings of a folder, and the number of the recording of each.

    They are memory-mapped from the cache, to which they are first written, a recording at a time.
    """
    names = ("sample_rate", "chunk", "delay")
    key = {
        "version": CACHE_VERSION,
        **{name: data[name] for name in names},
        "files": [file_identity(file) for file in folder.files],
    }
    cache = Path(data.cache_dir).expanduser()
    entry = cached_from_files(cache, folder.path.name, key, lambda entry: _write_chunks(folder, data, entry))
    lengths = np.load(entry / LENGTHS)
    chunks = np.memmap(entry / CHUNKS, SAMPLE, "r", shape=(len(lengths), data.delay + data.chunk, 1))
    block_index = np.zeros((len(lengths), data.chunk), np.uint8)
    block_index[:, data.delay + data.ignore_first_steps :] = 1
    for number in np.flatnonzero(lengths[:, 1] < data.chunk):
        block_index[number, lengths[number, 1] :] = 0
    return Split(chunks[:, data.delay :], chunks[:, : data.chunk], block_index), lengths[:, 0]


def read_sound(file: Path, sample_rate: int) -> np.ndarray:
    """Return a recording as int16 `[time]`: mono, with `sample_rate` samples per second, and a peak of full scale.

    Raises:
      DataError: the file is damaged, silent, or empty.
    """
    sound_file = _sound_file()
    try:
        sound, rate = sound_file.read(file, dtype="float64", always_2d=True)
    except (OSError, RuntimeError) as error:  # of soundfile
        if reason := storage_error(error):
            raise DataError(f"{file} cannot be read at the moment ({reason}); try again") from error
        raise DataError(f"{file} is damaged, or not a sound file ({error}); {REMEDY}") from error
    sound = sound.mean(axis=1)
    if not np.isfinite(sound).all():
        raise DataError(f"{file} has values that are NaN or infinite; {REMEDY}")
    if rate != sample_rate and len(sound):
        divisor = gcd(rate, sample_rate)
        sound = resample_poly(sound, sample_rate // divisor, rate // divisor)
    peak = np.abs(sound).max(initial=0)
    if peak == 0:
        raise DataError(f"{file} is {'silent' if len(sound) else 'empty'}: it has no speech; remove it")
    return np.round(sound / peak * FULL_SCALE).astype(np.int16)


def _write_chunks(folder: Folder, data: Any, entry: Path) -> None:
    """Write the chunks of all recordings, each with `delay` zeros before it; and recording and length of each chunk."""
    lengths = []
    # Written as a stream: a memory map would abort the process when the disk is full.
    with (entry / CHUNKS).open("wb") as output:
        progress = tqdm(folder.files, desc=f"reading {folder.path.name}", unit="recording", disable=None, leave=False)
        for number, file in enumerate(progress):
            sound = read_sound(file, data.sample_rate)
            for start in _starts(len(sound), data.chunk):
                chunk = sound[start : start + data.chunk]
                padded = np.zeros(data.delay + data.chunk, SAMPLE)
                padded[data.delay : data.delay + len(chunk)] = chunk
                output.write(padded.data)
                lengths.append((number, len(chunk)))
    np.save(entry / LENGTHS, np.array(lengths))


def _starts(length: int, chunk: int) -> list[int]:
    """Return where the chunks of a recording start."""
    starts = list(range(0, length - chunk + 1, chunk))
    if not starts or starts[-1] + chunk < length:
        starts.append(max(0, length - chunk))
    return starts


def _hold_out(speakers: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the recordings to train on, those held out, and what is held out, in words."""
    names = np.unique(speakers)
    if len(names) in (1, len(speakers)):
        kept, held_out = draw_samples(len(speakers), data.validation_fraction, data.seed, FRACTION)
        return kept, held_out, f"{100 * data.validation_fraction:g} % of the recordings of {data.train_dir}"
    count = min(max(1, round(data.validation_fraction * len(names))), len(names) - 1)
    kept, held_out = draw_groups(speakers, count, data.seed)
    named = f" ({', '.join(np.unique(speakers[held_out]))})" if count <= MAX_NAMED else ""
    return kept, held_out, f"{count} of the {len(names)} speakers of {data.train_dir}{named}"


def _protocol(data: Any, validated_on: str, trained_on: str) -> str:
    if data.validation == LAST:
        return f"last epoch, trained on all recordings of {trained_on}; validation is on {validated_on}"
    return f"best epoch on {validated_on}, held out"


def _check_fields(data: Any) -> None:
    check_protocol(data.validation, ("held_out", LAST))
    lows = {"sample_rate": 1000, "chunk": 1, "delay": 0, "ignore_first_steps": 0}
    folders = {"train_dir": True, "test_dir": True, "validation_dir": False}  # whether it is needed
    requirements = {
        **{name: (is_whole(data[name], low), f"a whole number of at least {low}") for name, low in lows.items()},
        **{
            name: (isinstance(data[name], str) and (data[name] != "" or not is_needed), "the name of a folder")
            for name, is_needed in folders.items()
        },
    }
    check_fields(data, requirements)
    check_fraction(data.validation_fraction)
    if data.delay + data.ignore_first_steps >= data.chunk:
        raise DataError(
            f"config.data.chunk = {data.chunk}: it must be more than delay + ignore_first_steps, "
            f"{data.delay + data.ignore_first_steps}, the steps of a chunk that do not count"
        )


def _sound_file() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without the library libsndfile
        raise DataError(f"reading sound files needs the package soundfile: pip install soundfile ({error})") from error
    return soundfile
