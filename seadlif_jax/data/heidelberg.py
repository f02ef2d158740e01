"""The loader of the Heidelberg data sets: SHD (spoken digits) and SSC (speech commands)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seadlif_jax.data import recordings
from seadlif_jax.data.dataset import LAST, DataError, Dataset, Split, draw_groups, draw_validation
from seadlif_jax.data.download import download_file
from seadlif_jax.data.events import MAX_TIME, Binning
from seadlif_jax.data.fields import check_fields, is_number, is_whole

# Fields of `config.data` beyond those that all tasks share.
OPTIONAL = ("max_seconds", "num_units", "skip_empty")  # may be missing, as in configs of earlier versions, or None
FIELDS = (
    *("cache_dir", "ignore_first_steps", "num_channels", "pad_to", "validation_fraction", "validation_speakers"),
    *OPTIONAL,
)
TRAIN = "{}_train.h5"
MAX_STEPS = 100_000
MAX_UNITS = 2**20
MAX_NAMES = 5  # of speakers, in the protocol


def load(config: Any, name: str, files: Mapping[str, str]) -> Dataset:
    """Return the data set of files, downloaded if need be, with events binned, split by `config.data.validation`.

    - "official": the best epoch is selected on the official validation file, where there is one;
    - "held_out": on a random `validation_fraction` of the training recordings;
    - "last": no epoch is selected, and all training recordings are trained on (see `draw_validation`; where there is an
      official validation file, it is the validation split);
    - "held_out_speakers": on all training recordings of `validation_speakers` speakers, drawn at random;
    - "test": on the test set itself, as in the authors' default: its accuracy is then not that of unseen data.

    Args:
      config: of its `data`, the fields `dir`, `seed`, `step_ms` (width of a bin), `validation`, and `FIELDS`.
      name: of the data set, as tonic has it.
      files: of the splits "train", "test", and "valid" if there is an official one.

    Raises:
      DataError: a file is missing and cannot be downloaded, damaged or foreign; or a field is out of range.
    """
    source = _read_files(config.data, name, files)
    binned = {split: _bin(file, config.data) for split, file in source.files.items()}
    for file, (_, used) in zip(source.files.values(), binned.values(), strict=True):
        _report(file, used)
    splits = {split: _select(*binned[file], chosen) for split, (file, chosen) in source.splits.items()}
    if source.splits["validation"][0] == "test":
        splits["validation"] = splits["test"]  # once on the device
    return Dataset(**splits, protocol=source.protocol)


def parts(config: Any, split: str, name: str, files: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Return boolean masks over the `targets` of a split, `[recording, 2]`: by whether the speaker was trained on.

    "speakers of training" are the recordings of speakers who are in the training split, "other speakers" those of
    all others. There are no parts if a file has no speakers.
    """
    source = _read_files(config.data, name, files)
    speakers = {}
    for needed in ("train", split):
        file, chosen = source.splits[needed]
        of_file = source.files[file].speakers
        if of_file is None:
            return {}
        _, used = _bin(source.files[file], config.data)
        speakers[needed] = of_file[_indices(used, chosen)]
    known = np.isin(speakers[split], speakers["train"])
    return {"speakers of training": _of_block(known), "other speakers": _of_block(~known)}


def read(path: Path, config: Any) -> Split:
    """Return all recordings of a file, binned with the settings in `config.data`; one without events has no block 1.

    Raises:
      DataError: the file is missing, damaged or foreign.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}; pass the path of a .h5 file of event recordings")
    _check_fields(config.data, official=True)
    file = _read_file(path, config.data)
    split, used = _bin(file, config.data)
    _report(file, used)
    return split


def groups(config: Any, name: str, files: Mapping[str, str]) -> np.ndarray:
    """Return the speaker of every training recording, in the order of the training split of the protocol "last".

    Raises:
      DataError: as `load`; or the file has no speakers.
    """
    _check_fields(config.data, official="valid" in files)
    train = _read_file(find(config.data.dir, name, "train", files["train"]), config.data)
    _, used = _bin(train, config.data)
    if train.speakers is None:
        raise DataError(f"{train.path} has no speakers (extra/speaker), so that it has no groups; leave out --by_group")
    return train.speakers[used]


class _Source(NamedTuple):
    """The files that are needed, without their events, and what each split holds of them."""

    files: Mapping[str, recordings.Recordings]
    splits: Mapping[str, tuple[str, Any]]  # file, and which of its recordings
    protocol: str


def _read_files(data: Any, name: str, files: Mapping[str, str]) -> _Source:
    _check_fields(data, official="valid" in files)
    uses_official = data.validation == "official" or (data.validation == LAST and "valid" in files)
    needed = ("train", "valid", "test") if uses_official else ("train", "test")
    paths = {split: find(data.dir, name, split, files[split]) for split in needed}  # before any of them is read
    files_read = {split: _read_file(path, data) for split, path in paths.items()}
    kept, held_out, protocol = _protocol(data, files_read["train"], uses_official)
    test = ("test", slice(None))
    validation = ("train", held_out) if held_out is not None else ("valid", slice(None)) if uses_official else test
    return _Source(files_read, {"train": ("train", kept), "validation": validation, "test": test}, protocol)


def _read_file(path: Path, data: Any) -> recordings.Recordings:
    recordings.check(path, Path(data.cache_dir).expanduser())
    return recordings.read(path)


def find(folder: str, name: str, split: str, file: str) -> Path:
    """Return the path of a file: `folder/name/file`, `folder/file`, or beside `folder` if that is a file itself.

    A missing file is downloaded to the first of these, where tonic keeps it.
    """
    given = Path(folder).expanduser()
    if given.suffix == ".h5":
        if given.name != TRAIN.format(name.lower()):
            raise DataError(
                f"config.data.dir = {folder!r}: it must be the folder of the files, or "
                f"{TRAIN.format(name.lower())} itself"
            )
        path = given.with_name(file)
    else:
        path = given / file if (given / file).is_file() else given / name / file
    if not path.is_file():
        download_file(path, name, split)
    return path


def _protocol(data: Any, train: recordings.Recordings, official: bool) -> tuple[Any, np.ndarray | None, str]:
    """Return the recordings to train on, those of the training file for validation (if any), and the protocol."""
    if data.validation == LAST and official:
        return slice(None), None, "last epoch, trained on all training recordings; validation is the official file"
    if data.validation == "official":
        return slice(None), None, "best epoch on the official validation file"
    if data.validation == "test":
        return slice(None), None, "best epoch on the test set itself, as the authors select it"
    if data.validation in ("held_out", LAST):
        return draw_validation(data, len(train.labels))
    if train.speakers is None:
        raise DataError(f"{train.path} has no speakers (extra/speaker); choose another config.data.validation")
    kept, held_out = draw_groups(
        train.speakers,
        data.validation_speakers,
        data.seed,
        "config.data.validation_speakers",
        "speakers in the training file",
    )
    speakers = np.unique(train.speakers[held_out])
    names = f" ({', '.join(map(str, speakers))})" if len(speakers) <= MAX_NAMES else ""
    of_speakers = f"the training recordings of {len(speakers)} speakers{names}"
    return kept, held_out, f"best epoch on {of_speakers}, held out at random"


def _bin(file: recordings.Recordings, data: Any) -> tuple[Split, np.ndarray]:
    """Return all recordings of a file, and a mask of those in use, see `config.data.skip_empty`.

    Each recording has one block, its steps after the first `config.data.ignore_first_steps`; padding is block 0.
    """
    binning = Binning(_num_units(data), data.num_channels, int(data.step_ms))
    counts, num_steps = recordings.frames(
        file.path,
        binning,
        data.pad_to,
        Path(data.cache_dir).expanduser(),
        data.get("max_seconds") or recordings.MAX_SECONDS,
        bool(data.get("skip_empty")),
    )
    used = num_steps > 0
    if not used.any():
        raise DataError(f"{file.path}: no recording has events")
    if data.ignore_first_steps >= num_steps[used].min():
        raise DataError(
            f"config.data.ignore_first_steps = {data.ignore_first_steps} ignores the whole shortest recording of "
            f"{file.path}, which has {num_steps[used].min()} steps; choose fewer"
        )
    step = np.arange(counts.shape[1])
    block_index = (step >= data.ignore_first_steps) & (step < num_steps[:, None])
    labels = np.where(used, file.labels.astype(np.int32), -1)
    split = Split(
        inputs=counts,
        targets=np.stack([np.full_like(labels, -1), labels], axis=1),
        block_index=block_index.astype(np.uint8),
    )
    return split, used


def _report(file: recordings.Recordings, used: np.ndarray) -> None:
    """Print how many recordings of a file are not used, and why."""
    if not used.all():
        _say(f"{file.path}: {np.sum(~used)} of {len(used)} recordings have no events, and are skipped")
    if (file.labels == -1).any():
        _say(
            f"warning: {file.path}: {np.sum(file.labels == -1)} of {len(used)} recordings have the label -1, which "
            "is not a class: they are used neither in training nor in evaluation"
        )


def _select(split: Split, used: np.ndarray, chosen: Any = slice(None)) -> Split:
    """Return those of the samples that are in use: a view, or a copy if some are not."""
    return split.take(chosen if used.all() else _indices(used, chosen))


def _indices(used: np.ndarray, chosen: Any) -> np.ndarray:
    """Return the indices of those of the chosen samples that are in use."""
    indices = np.arange(len(used))[chosen]
    return indices[used[indices]]


def _of_block(mask: np.ndarray) -> np.ndarray:
    """Return a mask over targets, of which there are two per recording: none for block 0."""
    return np.stack([np.zeros_like(mask), mask], axis=1)


def _num_units(data: Any) -> Any:
    return recordings.NUM_UNITS if data.get("num_units") is None else data.num_units


def _say(text: str) -> None:
    print(text, flush=True)


def _check_fields(data: Any, official: bool) -> None:
    num_units, max_seconds = _num_units(data), data.get("max_seconds")
    step_ms = int(data.step_ms) if isinstance(data.step_ms, float) and data.step_ms % 1 == 0 else data.step_ms
    protocols = (*(("official",) if official else ()), "held_out", "held_out_speakers", LAST, "test")
    requirements = {
        "step_ms": (is_whole(step_ms, 1, 1000), "a whole number of milliseconds in 1..1000, the width of a bin"),
        "num_units": (is_whole(num_units, 1, MAX_UNITS), f"in 1..{MAX_UNITS}, or None for {recordings.NUM_UNITS}"),
        "num_channels": (is_whole(data.num_channels, 1, num_units), f"in 1..{num_units}, the number of units"),
        "max_seconds": (
            max_seconds is None or (is_number(max_seconds, high=MAX_TIME) and max_seconds > 0),
            "a number of seconds above 0, or None",
        ),
        "skip_empty": (data.get("skip_empty") in (None, False, True), "True or False"),
        "pad_to": (is_whole(data.pad_to, 0, MAX_STEPS), f"a number of steps in 0..{MAX_STEPS}"),
        "ignore_first_steps": (is_whole(data.ignore_first_steps, 0, MAX_STEPS), "a number of steps"),
        "validation_speakers": (
            data.validation != "held_out_speakers" or is_whole(data.validation_speakers, 1),
            "a whole number of at least 1",
        ),
        "cache_dir": (isinstance(data.cache_dir, str) and data.cache_dir != "", "a folder"),
        "validation": (data.validation in protocols, f"one of {', '.join(protocols)}"),
    }
    check_fields(data, requirements)
