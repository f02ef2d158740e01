"""Sequential MNIST: handwritten digits, pixel by pixel or row by row, 10 classes.

60,000 training and 10,000 test images of 28 x 28 pixels (LeCun, Cortes & Burges), from the official files in the IDX
format. The brightness of pixels is scaled to 0..1. A step has one pixel, or, with `order = "rows"`, one row of them.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from seadlif_jax.data.dataset import LAST, DataError, Dataset, Split, check_protocol, draw_validation
from seadlif_jax.data.fields import check_fields, is_number, is_whole
from seadlif_jax.utils.errors import storage_error

# Fields of `config.data` beyond those that all tasks share.
FIELDS = ("order", "permutation_seed", "answer_from", "validation_fraction")
ORDERS = ("sequential", "permuted", "rows")
SIDE, NUM_CLASSES = 28, 10
IMAGES, LABELS = "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"
PREFIXES = {"train": "train", "test": "t10k"}
FOLDERS = ("", "mnist", "MNIST", "MNIST/raw")  # below `config.data.dir`; the last is torchvision's
REMEDY = (
    "torchvision.datasets.MNIST(DIR, download=True) downloads the four files, such as train-images-idx3-ubyte.gz; then "
    "set --config.data.dir to DIR"
)
MAGIC = 0x0800  # of unsigned bytes; the number of dimensions is added


def load(config: Any) -> Dataset:
    """Return the images of `config.data.dir` as sequences, with `validation_fraction` of train for validation.

    `config.data.order` is "sequential" (784 steps of one channel, row by row), "permuted" (the same in a random order,
    drawn by `permutation_seed`, and the same for all images), or "rows" (28 steps of 28 channels). Block 1 is the steps
    from `floor(answer_from * num_steps)` on, block 0 those before. `config.data.validation` is "held_out" or "last"
    (see `draw_validation`).

    Raises:
      DataError: a file is missing, damaged or not what it should be; or a field of `config.data` is out of range.
    """
    data = config.data
    _check_fields(data)
    folder = find_folder(data.dir)
    train, test = (sequences(*read_images(folder, split), data) for split in PREFIXES)
    kept, validation, protocol = draw_validation(data, len(train.inputs), "images")
    return Dataset(train.take(kept), train.take(validation), test, protocol)


def sequences(images: np.ndarray, labels: np.ndarray, data: Any) -> Split:
    """Return images, `[sample, 28, 28]` of 0..255, as sequences in the order of `data`."""
    inputs = images.astype(np.float32) / 255
    if data.order != "rows":
        inputs = inputs.reshape(len(images), -1, 1)
    if data.order == "permuted":
        inputs = inputs[:, np.random.default_rng(data.permutation_seed).permutation(inputs.shape[1])]
    num_steps = inputs.shape[1]
    block_index = (np.arange(num_steps) >= math.floor(data.answer_from * num_steps)).astype(np.uint8)
    return Split(
        inputs=inputs,
        targets=np.stack([np.full(len(labels), -1), labels], axis=1).astype(np.int8),
        block_index=np.broadcast_to(block_index, (len(images), num_steps)),
    )


def find_folder(folder: str) -> Path:
    """Return the folder of the files: one of `FOLDERS` below `folder`, or `folder` itself."""
    given, name = Path(folder).expanduser(), IMAGES.format(PREFIXES["train"])
    return next((given / below for below in FOLDERS if _existing(given / below, name)), given)


def read_images(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images `[sample, 28, 28]` and labels `[sample]` of a split, as bytes."""
    paths = [_find(folder, name.format(PREFIXES[split])) for name in (IMAGES, LABELS)]
    images, labels = map(read_idx, paths)
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"{paths[0]}: its shape is {images.shape}; it must be [image, {SIDE}, {SIDE}]. Replace it: {REMEDY}"
        )
    if labels.shape != images.shape[:1]:
        shape = labels.shape
        raise DataError(
            f"{paths[1]} has labels of shape {shape}, but {paths[0]} {len(images)} images; replace both: {REMEDY}"
        )
    if not len(labels) or labels.max() >= NUM_CLASSES:
        raise DataError(f"{paths[1]}: it must hold labels from 0 to {NUM_CLASSES - 1}; replace it: {REMEDY}")
    return images, labels


def read_idx(path: Path) -> np.ndarray:
    """Return the array of bytes in a file of the IDX format, compressed by gzip or not.

    Raises:
      DataError: the file is cut off, damaged, or of another format.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        if reason := storage_error(error):
            raise DataError(f"{path} cannot be read at the moment ({reason}); try again") from error
        raise DataError(f"{path} is damaged ({error}); replace it: {REMEDY}") from error
    num_dimensions = int.from_bytes(content[:4], "big") - MAGIC
    header = 4 + 4 * num_dimensions
    if not 1 <= num_dimensions <= 3 or len(content) < header:
        raise DataError(f"{path} is not a file of bytes in the IDX format; replace it: {REMEDY}")
    shape = tuple(np.frombuffer(content[4:header], ">u4").tolist())
    if math.prod(shape) != len(content) - header:
        raise DataError(
            f"{path} is damaged: it has {len(content)} bytes, which are not an array of shape {shape}; replace it: "
            f"{REMEDY}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _existing(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _find(folder: Path, name: str) -> Path:
    path = _existing(folder, name)
    if path is None:
        raise DataError(f"MNIST not found: there is no {folder / name}.gz; {REMEDY}")
    return path


def _check_fields(data: Any) -> None:
    check_protocol(data.validation, ("held_out", LAST))
    answer_from, seed = data.answer_from, data.permutation_seed
    requirements = {
        "order": (data.order in ORDERS, f"one of {', '.join(ORDERS)}"),
        "permutation_seed": (is_whole(seed, 0), "a whole number of at least 0"),
        "answer_from": (is_number(answer_from, 0) and answer_from < 1, "a number in [0, 1)"),
        "num_classes": (data.num_classes == NUM_CLASSES, str(NUM_CLASSES)),
    }
    check_fields(data, requirements)
