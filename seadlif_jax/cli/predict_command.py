"""Classify recordings with the network of a run.

    seadlif predict --workdir=DIR FILE ... [--steps=FIRST:LAST] [--output=predictions.csv]

writes a line for each recording: its file, its number there, its class, and the probability of every class. With
--per_step, it writes a line for each step of each recording, with its class; so it does without being asked where the
run's loader gives every step a label of its own, as that of the ECG data. In place of `--workdir=DIR`,
`--pretrained=ecg` or `--pretrained=bsd` is a network that comes with the library.

Files are .npy with an array [recording, time, channel], .npz with one such array, or with one named `inputs`; or files
that the run's loader reads, such as .h5 for SHD, .mat for ECG, or .npz with other arrays. Of these, the steps that
count are known; of arrays, all count, unless --steps names those in which the network was trained to answer, or a file
.npz has an array `block_index` [recording, time], which is 1 there.
"""

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seadlif_jax.cli.environment import prepare_jax
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.parsers import MOVABLE, Parser, add_network, chosen_network, moved_data
from seadlif_jax.config import ConfigError
from seadlif_jax.data.dataset import DataError, Split
from seadlif_jax.data.loader import find_loader
from seadlif_jax.inference import TrainedModel
from seadlif_jax.inference.batching import unlabelled
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.files import write_table
from seadlif_jax.utils.arrays import as_native, value_problem
from seadlif_jax.utils.paths import local_path


def main(arguments: Sequence[str]) -> None:
    """Run `seadlif predict`."""
    options = _parse(arguments)
    prepare_jax()
    with errors_in_one_line("nothing was written"):
        trained, folder = chosen_network(options)
        if not trained.classifies:
            raise RunError("this network was not trained for classification")
        output = folder / "predictions.csv" if options.output is None else local_path(options.output, "--output")
        if output.is_dir() or not output.absolute().parent.is_dir():
            raise RunError(f"--output: {output} is a folder, or in one that does not exist")
        recordings = [
            (name, _select(_read(name, trained, moved_data(options)), options.steps, name)) for name in options.files
        ]
        per_step = options.per_step or any(split.block_index.max() > 1 for _, split in recordings)
        columns: dict[str, list[Any]] = {}
        for name, split in recordings:
            table = _steps(trained, split) if per_step else _classes(trained, split, name)
            file = [name] * len(next(iter(table.values())))
            for column, values in {"file": file, **table}.items():
                columns.setdefault(column, []).extend(values)
        write_table(output, columns)
    count = len(set(zip(columns["file"], columns["recording"], strict=True)))
    print(f"{count} recordings: {output}")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("predict", __doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of recordings")
    add_network(parser)
    parser.add_argument("--steps", type=_range, metavar="FIRST:LAST", help="steps that count, from 0, without LAST")
    parser.add_argument("--per_step", action="store_true", help="give every step a class")
    parser.add_argument(
        "--output", metavar="FILE", help="file to write (default: predictions.csv, in the run's folder)"
    )
    for field, meaning in MOVABLE.items():
        parser.add_argument(f"--config.data.{field}", metavar="DIR", help=f"{meaning}, if it is no longer the run's")
    return parser.parse_args(arguments)


def _range(text: str) -> slice:
    first, colon, last = text.partition(":")
    if not colon or not all(part == "" or part.isdecimal() for part in (first, last)):
        raise argparse.ArgumentTypeError(f"{text!r} must be like 160:200, or 160:")
    return slice(int(first or 0), int(last) if last else None)


def _select(split: Split, steps: slice | None, name: str) -> Split:
    """Return recordings of which only these steps count."""
    if steps is None:
        return split
    counts = np.zeros_like(split.block_index, np.int32)
    counts[:, steps] = 1
    if not counts.any():
        raise DataError(f"--steps: {name} has {len(counts[0])} steps, of which none is among them")
    return split._replace(block_index=counts)


def _read(name: str, trained: TrainedModel, moved: dict[str, str]) -> Split:
    """Return the recordings of a file; of arrays, all steps are in block 1."""
    path = local_path(name, "FILE")
    if path.suffix not in (".npy", ".npz") or _is_for_the_loader(path, trained):
        try:
            return trained.read(path, **moved)
        except ConfigError as error:
            raise DataError(f"{path} can only be read by the run's loader: {error}; or give .npy or .npz") from error
    inputs, block_index = _load_arrays(path)
    array = as_native(inputs, f"the array of {path}")
    if problem := value_problem(array):
        raise DataError(f"{path}: its values are {problem}")
    if array.ndim != 3 or 0 in array.shape or array.shape[2] != trained.num_channels:
        raise DataError(
            f"{path} has an array of shape {array.shape}; it must be [recording, time, {trained.num_channels} channels]"
        )
    recordings, steps = len(array), len(array[0])
    if block_index is not None and block_index.shape != (recordings, steps):
        raise DataError(f"{path}: block_index has shape {block_index.shape}; it must be {(recordings, steps)}")
    return unlabelled(array, None if block_index is None else block_index.astype(np.int32))


def _is_for_the_loader(path: Path, trained: TrainedModel) -> bool:
    """Return whether a file .npz has several arrays, none of them `inputs`, and the run's loader reads files."""
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if len(names) == 1 or "inputs.npy" in names:  # these need no loader
        return False
    return hasattr(find_loader(trained.config.data).module, "read")


def _load_arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the recordings of a file, and the block of each step, or None."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content, None
        with content:
            names = content.files
            if "inputs" in names or len(names) == 1:
                block_index = content["block_index"] if "block_index" in names else None
                return content["inputs" if "inputs" in names else names[0]], block_index
    except Exception as error:  # NumPy and zipfile raise many types
        raise DataError(f"{path} is no file of NumPy arrays, or damaged") from error
    raise DataError(f"{path} has the arrays {', '.join(names)}; name the one to classify `inputs`")


def _classes(trained: TrainedModel, split: Split, name: str) -> dict[str, list[Any]]:
    """Return the classes of the recordings of a file, but of those of which no step counts."""
    counts = split.block_index == 1
    numbers = np.flatnonzero(counts.any(axis=1))
    if not len(numbers):
        raise DataError(f"{name}: no step of its recordings counts; choose some with --steps")
    for number in np.flatnonzero(~counts.any(axis=1)):
        print(f"{name}: recording {number} has no step that counts, and so no class", flush=True)
    probabilities = trained.probabilities(split.inputs[numbers], counts[numbers])
    by_class = {f"probability_{number}": column.tolist() for number, column in enumerate(probabilities.T)}
    return {
        "recording": numbers.tolist(),
        "class": probabilities.argmax(axis=1).tolist(),
        **by_class,
    }


def _steps(trained: TrainedModel, split: Split) -> dict[str, list[Any]]:
    labels = trained.predict_steps(split.inputs)
    recordings, steps = np.indices(labels.shape)
    return {"recording": recordings.ravel().tolist(), "step": steps.ravel().tolist(), "class": labels.ravel().tolist()}
