"""Loading the data set of a config, and refusing one that breaks the contract.

A loader is any function from the config to a value with the splits `train`, `validation` and `test`, each with
`inputs [sample, time, channel]`, `targets [sample, num_blocks + 1]` and `block_index [sample, time]`, and with a text
`protocol` that says how the best epoch is selected: a `Dataset`.
"""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Num
from ml_collections import ConfigDict

from seadlif_jax.config import ConfigError, base_config, unknown_field
from seadlif_jax.data.dataset import SPLITS, Dataset, Split
from seadlif_jax.data.loader import find_loader
from seadlif_jax.losses import IGNORED
from seadlif_jax.utils.arrays import ArrayError, as_native, value_problem
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.paths import local_path
from seadlif_jax.utils.progress import say


class DatasetError(SeadlifError):
    """A data set that breaks the contract: the message names the split and what is wrong with it."""


class Samples(NamedTuple):
    """Samples on the device: a whole split, kept compact, or one batch of it."""

    inputs: Num[Array, "sample time channel"]
    targets: Num[Array, "sample targets ..."]
    block_index: Int[Array, "sample time"]

    @classmethod
    def of(cls, split: Split, start: int = 0, stop: int | None = None) -> "Samples":
        """Some samples of a split, or all."""
        samples = cls(*(jnp.asarray(array[start:stop]) for array in (split.inputs, split.targets, split.block_index)))
        return samples.take(jnp.arange(samples.size))

    @property
    def size(self) -> int:
        return len(self.inputs)

    def take(self, indices: Int[Array, " batch"]) -> "Samples":
        """The samples at these indices, with block index and class targets as int32."""
        inputs, targets, block_index = (array[indices] for array in self)
        if jnp.issubdtype(targets.dtype, jnp.integer):
            targets = targets.astype(jnp.int32)
        return Samples(inputs, targets, block_index.astype(jnp.int32))


def to_device(split: Split, where: jax.sharding.Sharding | None = None, multiple: int = 1) -> Samples:
    """Puts a split on the device, or on those of a sharding. The cores of a CPU share one copy.

    Samples of zeros fill it up to a `multiple`.
    """
    on_cpu = jax.default_backend() == "cpu"

    def put(array: np.ndarray) -> Array:
        array = array.astype(np.uint8) if array.dtype == bool else array
        missing = -len(array) % multiple
        if missing:
            array = np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)])
        array = _aligned(array) if on_cpu else array
        if where is None:
            return jax.device_put(array, may_alias=on_cpu)
        parts = [
            jax.device_put(array[part], device, may_alias=on_cpu)
            for device, part in where.addressable_devices_indices_map(array.shape).items()
        ]
        return jax.make_array_from_single_device_arrays(array.shape, where, parts)

    return Samples(*map(put, (split.inputs, split.targets, split.block_index)))


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy at an address from which a CPU device can use it as it is."""
    buffer = np.empty(array.nbytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def load_dataset(config: ConfigDict) -> Dataset:
    """Call the loader that `config.data.loader` names, and check what it returns.

    A loader's module names its fields of `config.data` in `FIELDS`, and those that may be missing in `OPTIONAL`. The
    loader returns a `Dataset`, or any object with the same attributes.

    Raises:
      ConfigError: there is no such loader; or a field of `config.data` is missing or unknown to it.
      DatasetError: the data breaks the contract.
    """
    loader = find_loader(config.data)
    if hasattr(loader.module, "FIELDS"):
        optional = {"class_weights", *getattr(loader.module, "OPTIONAL", ())}
        known = {*base_config().data, *loader.module.FIELDS, *optional}
        for name in sorted(set(config.data) - known):
            raise unknown_field(f"data.{name}", [f"data.{field}" for field in known])
        for name in sorted(known - optional - set(config.data)):
            raise ConfigError(f"config.data.{name}: missing")
    for name in ("dir", "cache_dir"):
        if name in config.data and isinstance(config.data[name], str):
            local_path(config.data[name], f"config.data.{name} =")
    dataset = loader.load(config)
    for name in (*SPLITS, "protocol"):
        if not hasattr(dataset, name):
            raise DatasetError(f"{config.data.loader} returned a value without {name!r}; return a Dataset")
    dataset = _native(dataset, config.data.loader)
    check_dataset(dataset, config)
    for warning in filter(None, (_silent_channels(dataset, config), _single_class(dataset, config))):
        say(f"warning: {warning}")
    return dataset


def _silent_channels(dataset: Dataset, config: ConfigDict) -> str | None:
    """Warning text if some channels of the training samples are always 0."""
    active = np.zeros(dataset.train.inputs.shape[2], bool)
    for start in range(0, len(dataset.train.inputs), 256):  # usually, the first samples are enough
        active |= (dataset.train.inputs[start : start + 256] != 0).any(axis=(0, 1))
        if active.all():
            return None
    hint = "; is config.data.num_units that of the files?" if "num_units" in config.data else ""
    channels = f"{np.sum(~active)} of {len(active)} channels"
    return f"{channels} are 0 in all training samples, the first of them channel {np.argmin(active)}{hint}"


def _single_class(dataset: Dataset, config: ConfigDict) -> str | None:
    """Warning text if there is nothing to tell apart."""
    targets = dataset.train.targets
    if config.model.aggregation == "forecast" or config.data.num_classes == 1:
        return None
    classes = np.unique(targets[targets != IGNORED])
    return f"all training targets are of class {classes[0]}: accuracy says nothing" if len(classes) == 1 else None


def _native(dataset: Any, loader: str) -> Dataset:
    """The same data in NumPy arrays that JAX takes as they are; a split that serves twice is converted once."""
    of_split: dict[int, Split] = {}
    for name in SPLITS:
        split = getattr(dataset, name)
        if id(split) in of_split:
            continue
        try:
            of_split[id(split)] = native_split(split)
        except (AttributeError, ArrayError) as error:
            raise DatasetError(f"the {name} split of {loader}: {error}") from error
    train, validation, test = (of_split[id(getattr(dataset, name))] for name in SPLITS)
    return Dataset(train, validation, test, dataset.protocol)


def native_split(split: Any) -> Split:
    """The same samples in NumPy arrays that JAX takes as they are.

    Raises:
      ArrayError: an array has values that are not numbers, or without one meaning.
    """
    return Split(*(as_native(getattr(split, name), name) for name in Split._fields))


def fingerprint(dataset: Dataset) -> dict[str, int]:
    """A checksum of each split, to tell whether a run is continued on the data it was started with."""
    checksums = {}
    for name in SPLITS:
        split, checksum = getattr(dataset, name), 0
        for array in (split.inputs, split.targets, split.block_index):
            checksum = zlib.crc32(np.ascontiguousarray(array).data.cast("B"), checksum)
        checksums[name] = checksum
    return checksums


def check_dataset(dataset: Dataset, config: ConfigDict) -> None:
    """Raises a `DatasetError` unless every split can be trained on or evaluated with this config."""
    channels = np.shape(dataset.train.inputs)[-1:]  # which of a number has none
    for name in SPLITS:
        split = getattr(dataset, name)
        problem = _problem(split, channels, config)
        if problem:
            raise DatasetError(f"the {name} split of {config.data.loader}: {problem}")
    if len(dataset.train.inputs) < config.batch_size:
        raise ConfigError(
            f"config.batch_size = {config.batch_size}: the train split has only {len(dataset.train.inputs)} samples, "
            "and training drops partial batches"
        )


def _problem(split: Split, channels: tuple[int, ...], config: ConfigDict) -> str | None:
    inputs, targets, block_index = split.inputs, split.targets, split.block_index
    for name, array in (("inputs", inputs), ("targets", targets), ("block_index", block_index)):
        if not isinstance(array, np.ndarray):
            return f"{name} are of type {type(array).__name__}; they must be one NumPy array"
    if inputs.ndim != 3 or 0 in inputs.shape:
        return f"inputs have shape {inputs.shape}; they must be [sample, time, channel], none of them empty"
    if inputs.shape[2:] != channels:
        return f"inputs have {inputs.shape[2]} channels, those of the train split {channels[0]}"
    if problem := value_problem(inputs):
        return f"inputs are {problem}"
    if block_index.shape != inputs.shape[:2] or not np.issubdtype(block_index.dtype, np.integer):
        return f"block_index is {block_index.dtype} {block_index.shape}; it must be integers {inputs.shape[:2]}"
    if config.model.aggregation == "forecast":
        return _forecast_problem(inputs, targets, config.data.num_classes)
    return _label_problem(inputs, targets, block_index, config.data.num_classes)


def _forecast_problem(inputs: np.ndarray, targets: np.ndarray, num_classes: int) -> str | None:
    samples, steps, channels = inputs.shape
    if targets.shape != (samples, steps + 1, channels):
        return f"targets have shape {targets.shape}; to forecast they must be {(samples, steps + 1, channels)}"
    if problem := value_problem(targets):
        return f"targets are {problem}"
    if num_classes != channels:
        return f"config.data.num_classes = {num_classes}, but a forecast has the {channels} channels of the input"
    return None


def _label_problem(inputs: np.ndarray, targets: np.ndarray, block_index: np.ndarray, num_classes: int) -> str | None:
    if targets.ndim != 2 or len(targets) != len(inputs) or not np.issubdtype(targets.dtype, np.integer):
        return f"targets are {targets.dtype} {targets.shape}; they must be integers [sample, num_blocks + 1]"
    num_blocks = targets.shape[1] - 1
    if block_index.min() < 0 or block_index.max() > num_blocks:
        return (
            f"block_index reaches {block_index.min()}..{block_index.max()}, but there are targets for 0..{num_blocks}"
        )
    if (targets[:, 0] != IGNORED).any():
        return f"targets[:, 0] must be {IGNORED}: block 0 is ignored"
    wrong = (targets < IGNORED) | (targets >= num_classes)
    if wrong.any():
        return (
            f"targets reach {targets.min()}..{targets.max()}; with config.data.num_classes = {num_classes} "
            f"they must be {IGNORED}..{num_classes - 1} (first in sample {np.argmax(wrong.any(axis=1))} of the split)"
        )
    if (targets == IGNORED).all():
        return "there is no target at all"
    sample, block = np.nonzero((targets != IGNORED) & (_steps_per_block(block_index, num_blocks) == 0))
    if len(sample):
        return f"sample {sample[0]} has a target for block {block[0]}, but no step of that block"
    return None


def _steps_per_block(block_index: np.ndarray, num_blocks: int) -> np.ndarray:
    """`[sample, num_blocks + 1]` numbers of steps."""
    samples, width = len(block_index), num_blocks + 1
    of_all = block_index.astype(np.int64) + width * np.arange(samples)[:, None]
    return np.bincount(of_all.ravel(), minlength=samples * width).reshape(samples, width)
