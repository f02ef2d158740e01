"""Data sets by the loader that the config names, checked against the contract between loaders and training.

A loader is any function from the config to a value with the splits `train`, `validation` and `test`, each with
`inputs [sample, time, channel]`, `targets [sample, num_blocks + 1]` and `block_index [sample, time]`, and with a text
`protocol` that says how the best epoch is selected: a `Dataset`.
"""

import zlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from seadlif_jax.build import build_task
from seadlif_jax.config import ConfigError, base_config, unknown_field
from seadlif_jax.data.dataset import LAST, SPLITS, Dataset, Split, is_of_last_epoch
from seadlif_jax.data.in_memory import LOADER
from seadlif_jax.data.loader import find_loader
from seadlif_jax.tasks import Task
from seadlif_jax.utils.arrays import ArrayError, as_native, value_problem
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.paths import local_path
from seadlif_jax.utils.progress import say

CHECKED_SAMPLES = 4096  # at a time


class DatasetError(SeadlifError):
    """Data set that breaks the contract; the message names the split and what is wrong with it."""


def load_dataset(config: ConfigDict, given: Any = None) -> Dataset:
    """Return the data set of the loader that `config.data.loader` names, or a given one, checked.

    The loader's module may list the fields under `config.data` that it adds in `FIELDS`, and those that may be missing
    in `OPTIONAL`; others are then refused. The loader returns a `Dataset`, or any object with the same attributes.

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
    dataset = loader.load(config) if given is None else given
    for name in (*SPLITS, "protocol"):
        if not hasattr(dataset, name):
            raise DatasetError(f"{_source(config)}: a value without {name!r}; it must be a Dataset")
    dataset = _native(dataset, _source(config))
    check_dataset(dataset, config)
    warnings = _silent_channels(dataset, config), build_task(config).target_warning(dataset.train.targets)
    for warning in filter(None, warnings):
        say(f"warning: {warning}")
    return dataset


def _source(config: ConfigDict) -> str:
    """Return where the data come from, for errors."""
    return "the data set given to fit" if config.data.loader == LOADER else str(config.data.loader)


def _silent_channels(dataset: Dataset, config: ConfigDict) -> str | None:
    """Return warning text if some channels of the training samples are always 0."""
    active = np.zeros(dataset.train.inputs.shape[2], bool)
    for start in range(0, len(dataset.train.inputs), 256):  # usually, the first samples are enough
        active |= (dataset.train.inputs[start : start + 256] != 0).any(axis=(0, 1))
        if active.all():
            return None
    hint = "; is config.data.num_units that of the files?" if "num_units" in config.data else ""
    channels = f"{np.sum(~active)} of {len(active)} channels"
    return f"{channels} are 0 in all training samples, the first of them channel {np.argmin(active)}{hint}"


def _native(dataset: Any, loader: str) -> Dataset:
    """Return the same data in NumPy arrays that JAX can use; a split that serves twice is converted once."""
    converted: dict[int, Split] = {}
    for name in SPLITS:
        split = getattr(dataset, name)
        if id(split) in converted:
            continue
        try:
            converted[id(split)] = native_split(split)
        except (AttributeError, ArrayError) as error:
            raise DatasetError(f"the {name} split of {loader}: {error}") from error
    train, validation, test = (converted[id(getattr(dataset, name))] for name in SPLITS)
    return Dataset(train, validation, test, dataset.protocol)


def native_split(split: Any) -> Split:
    """Return the same samples in NumPy arrays that JAX can use.

    Raises:
      ArrayError: an array has values that are not numbers, or ambiguous ones.
    """
    return Split(*(as_native(getattr(split, name), name) for name in Split._fields))


def fingerprint(dataset: Dataset) -> dict[str, int]:
    """Return a checksum of each split, by which a run recognises the data that it was started with."""
    checksums = {}
    for name in SPLITS:
        split, checksum = getattr(dataset, name), 0
        for array in (split.inputs, split.targets, split.block_index):
            for start in range(0, len(array), CHECKED_SAMPLES):  # a part of another array has to be copied
                part = np.ascontiguousarray(array[start : start + CHECKED_SAMPLES])
                checksum = zlib.crc32(part.data.cast("B"), checksum)
        checksums[name] = checksum
    return checksums


def check_dataset(dataset: Dataset, config: ConfigDict) -> None:
    """Raise a `DatasetError` unless every split can be trained on or evaluated with this config."""
    task = build_task(config)
    for name in SPLITS:
        split, problem = getattr(dataset, name), split_problem(getattr(dataset, name), task)
        channels, train_channels = np.shape(split.inputs)[-1:], np.shape(dataset.train.inputs)[-1:]
        if problem is None and channels != train_channels:
            problem = f"inputs have {channels[0]} channels, those of the train split {train_channels[0]}"
        if problem:
            raise DatasetError(f"the {name} split of {_source(config)}: {problem}")
    _check_augmentation(dataset.train, config)
    if len(dataset.train.inputs) < config.batch_size:
        raise ConfigError(
            f"config.batch_size = {config.batch_size}: the train split has only {len(dataset.train.inputs)} samples, "
            "and training drops partial batches"
        )
    if is_of_last_epoch(dataset.protocol) != (config.data.validation == LAST):
        raise DatasetError(
            f"config.data.validation = {config.data.validation!r}, but the protocol of {_source(config)} is "
            f"{dataset.protocol!r}: it must begin with 'last epoch' if, and only if, the validation is 'last'"
        )


def _check_augmentation(train: Split, config: ConfigDict) -> None:
    """Raise a `ConfigError` for augmentation that the training samples do not support."""

    def largest(name: str) -> float:
        return max([config.augment[name], *(value for value in config.sweep[name] if not isinstance(value, str))])

    def refuse(name: str, problem: str) -> ConfigError:
        section = "augment" if config.augment[name] == largest(name) else "sweep"
        return ConfigError(f"config.{section}.{name} with {largest(name):g}: {problem}")

    _, num_steps, num_channels = train.inputs.shape
    if largest("mix") and train.targets.shape[1:] != (2,):
        shape = train.targets.shape
        raise refuse(
            "mix", f"samples can be mixed if each has one class; their targets have shape {shape}, not [sample, 2]"
        )
    for name in ("stretch_time", "jitter_channels"):
        if largest(name) and not np.issubdtype(train.inputs.dtype, np.integer):
            raise refuse(name, "it sums counts of events, and the inputs are not whole numbers; set it to 0")
    for name, size, noun in (("shift_time", num_steps, "steps"), ("shift_channels", num_channels, "channels")):
        if largest(name) >= size:
            raise refuse(name, f"it must be less than {size}, the number of {noun}")


def split_problem(split: Split, task: Task) -> str | None:
    """Return what keeps a split from being trained on or evaluated for a task, or None."""
    inputs, targets, block_index = split.inputs, split.targets, split.block_index
    for name, array in (("inputs", inputs), ("targets", targets), ("block_index", block_index)):
        if not isinstance(array, np.ndarray):
            return f"{name} are of type {type(array).__name__}; they must be one NumPy array"
    if inputs.ndim != 3 or 0 in inputs.shape:
        return f"inputs have shape {inputs.shape}; they must be [sample, time, channel], none of them empty"
    if problem := value_problem(inputs):
        return f"inputs are {problem}"
    if block_index.shape != inputs.shape[:2] or not np.issubdtype(block_index.dtype, np.integer):
        return f"block_index is {block_index.dtype} {block_index.shape}; it must be integers {inputs.shape[:2]}"
    if block_index.min() < 0:
        return f"block_index reaches {block_index.min()}; blocks are 0 (ignored), 1, 2 and so on"
    if problem := task.target_problem(inputs, targets, block_index):
        return problem
    batches = (slice(start, start + CHECKED_SAMPLES) for start in range(0, len(inputs), CHECKED_SAMPLES))
    if not any(np.any(task.loss_terms(jnp.asarray(block_index[i]), jnp.asarray(targets[i]))) for i in batches):
        return "nothing in it counts in the loss: all steps are in block 0, or there is no target"
    return None
