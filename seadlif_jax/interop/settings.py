"""Settings of the authors' program as a config of this one."""

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from seadlif_jax.config import is_sweep
from seadlif_jax.interop.lightning import ReferenceCheckpoint
from seadlif_jax.utils.errors import SeadlifError


class ConversionError(SeadlifError):
    """A checkpoint whose settings have no counterpart here: the message names the setting and the remedy."""


class DataFields(NamedTuple):
    """Correspondence of the reference's settings of a data set to fields of `config.data`.

    Attributes:
      renamed: from the reference's name to the field.
      fixed: settings that have a single value here.
      unused: settings that do not change the data, or are taken from elsewhere.
      warning: difference of the data that remains.
    """

    renamed: Mapping[str, str]
    fixed: Mapping[str, Any]
    unused: tuple[str, ...]
    warning: str = ""


UNUSED_SETTINGS = ("_target_", "batch_size", "data_path", "name", "num_classes", "num_workers", "random_seed")
REDRAWN_VALIDATION = (
    "the recordings held out for validation are drawn again and can be among those that the network was trained on; "
    "the test set is the same"
)
REGENERATED_DATA = (
    "the data are generated, here from other random numbers than in the authors' program, and differ from those that "
    "the network was trained on: scores on them say nothing about it"
)
_EVENTS = DataFields(
    {"window_size": "step_ms", "pad_to_min_size": "pad_to", "ignore_first_timesteps": "ignore_first_steps"},
    {"time_factor": 0.001, "bias_for_test_set": 0},
    ("additional_test_set_validation", "spatial_factor", "split_percent", "test_bias_variant", "validate_on"),
)
REFERENCE_DATASETS: Mapping[str, DataFields] = MappingProxyType(
    {
        "shd": _EVENTS,
        "ssc": _EVENTS,
        "ecg": DataFields(
            {"valid_fraction": "validation_fraction"}, {"burn_in_time": 0}, ("cache_root",), REDRAWN_VALIDATION
        ),
        "bsd": DataFields(
            {"num_sample_per_epoch": "num_samples"},
            {
                "S": 200, "n_channels": 10, "n_common_channels": 3, "t": 20, "dt": 0.1, "spike_prob_min": 0.05,
                "spike_prob_max": 0.8, "val_split": 0.1, "test_split": 0.2,
            },
            ("delay_between_sample", "max_num_sample", "min_num_sample", "sample_len", "sampling_freq"),
            REGENERATED_DATA,
        ),
        "oscillation": DataFields(
            {
                "n_dof": "num_masses", "mass_range": "mass", "spring_range": "spring", "damping_range": "damping",
                "num_sample": "num_samples",
            },
            {"max_freq": 200, "duration": 0.5, "random_initial_velocity": False, "mask_first_n_percent": 0},
            ("fits_into_ram", "required_model_size"),
            REGENERATED_DATA,
        ),
    }
)  # fmt: skip
NUM_UNITS = 700  # of the event recordings' cochlea
CLIP_NORM = 1.5
WORDS: Mapping[Any, str] = {float: "real", int: "whole"}


def find_dataset(checkpoint: ReferenceCheckpoint) -> str | None:
    """Return the name in `REFERENCE_DATASETS` of the data that a network was trained on, or None for other data."""
    settings = checkpoint.settings.get("dataset")
    target = settings.get("_target_") if isinstance(settings, Mapping) else None
    match = re.fullmatch(r"datasets\.(\w+)\.\w+", str(target))
    return match[1] if match and match[1] in REFERENCE_DATASETS else None


def convert_settings(
    checkpoint: ReferenceCheckpoint, base: ConfigDict, hidden: list[int], dataset: str | None
) -> ConfigDict:
    """Return the config of a checkpoint's network and training.

    Args:
      checkpoint: the checkpoint.
      base: config whose other fields are kept.
      hidden: width of each hidden layer.
      dataset: name in `REFERENCE_DATASETS` whose settings are converted too; None to keep the data of `base`.

    Raises:
      ConversionError: a setting has no counterpart.
      KeyError: a setting is missing.
    """
    settings, arrays = checkpoint.settings, checkpoint.arrays
    if is_sweep(base):
        raise ConversionError("the --config is a sweep; give the config of a single run")
    config = ConfigDict(base.to_dict())
    config.compute.engine = "xla"  # it is not trained here, and used on any machine
    if "random_seed" in settings:
        config.seed = _number(settings, "random_seed", int)
    config.num_epochs = _number(settings, "n_epochs", int)
    config.batch_size = _number(settings, "dataset.batch_size", int)

    config.task = "forecast" if settings.get("auto_regression", False) else "classification"
    if config.task == "classification":
        num_classes = len(arrays["out_layer.weight"])
        if dataset is None and num_classes != config.data.num_classes:
            raise ConversionError(
                f"the network has {num_classes} outputs, config.data.num_classes = {base.data.num_classes}"
            )
        config.data.num_classes = num_classes

    model = config.model
    model.neuron = settings["cell"]
    model.hidden = tuple(hidden)
    model.self_connections, model.batch_norm, model.quantize = True, False, ""
    model.train_threshold, model.train_rest = False, False
    if model.neuron != "lstm":
        model.recurrent = "l1.recurrent" in arrays
        model.tau_u = tuple(map(float, _pair(settings, "tau_u_range")))
        model.surrogate.shape = "exponential"
        model.surrogate.slope, model.surrogate.c = _number(settings, "alpha"), _number(settings, "c")
    if model.neuron.endswith("adlif"):
        model.tau_w = tuple(map(float, _pair(settings, "tau_w_range")))
        model.q, model.a, model.b = _number(settings, "q"), (0.0, 1.0), (0.0, 2.0)
    model.forget_bias = settings.get("forget_bias_init")
    model.dropout = _number(settings, "dropout")
    model.tau_out = tuple(map(float, _pair(settings, "tau_out_range")))
    model.train_tau_out = settings.get("train_tau_out_method", "fixed") == "interpolation"
    model.aggregation = _aggregation(settings)

    optimizer = config.optimizer
    optimizer.learning_rate, optimizer.clip_norm = _number(settings, "lr"), CLIP_NORM
    # The reference turns the schedule off by a patience longer than the training.
    patience = _number(settings, "patience", int)
    never = patience >= config.num_epochs
    optimizer.plateau_factor = 1.0 if never else _number(settings, "factor")
    optimizer.plateau_patience = 0 if never else patience

    if dataset is not None:
        config.data.update(_data_fields(dataset, settings["dataset"], _channels(arrays), config))
    return config.lock()


def _aggregation(settings: Mapping[str, Any]) -> str:
    """Return the block readout; the reference takes all names but "softmax" for the mean."""
    return "softmax" if settings.get("loss_agg", "softmax") == "softmax" else "mean"


def _number(settings: Mapping[str, Any], name: str, kind: Callable[[Any], Any] = float) -> Any:
    """Return the setting with this name, `group.name` in a group, as a float or an int; a fraction is no int."""
    value: Any = settings
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise KeyError(name)
        value = value[part]
    try:
        number = kind(value)
    except (TypeError, ValueError):
        number = None
    if number is None or number != float(value):
        raise ConversionError(f"the setting cfg.{name} is {value!r}; it must be a {WORDS[kind]} number")
    return number


def _pair(settings: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    """Return a setting of two numbers; whole ones stay whole."""
    pair = settings[name]
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(end, int | float) for end in pair):
        raise ConversionError(f"the setting {name} is {pair!r}; it must be two numbers")
    return pair[0], pair[1]


def _channels(arrays: Mapping[str, Any]) -> int:
    return (arrays["l1.weight"] if "l1.weight" in arrays else arrays["l1.weight_ih"]).shape[1]


def _data_fields(name: str, dataset: Mapping[str, Any], channels: int, config: ConfigDict) -> dict[str, Any]:
    """Return the fields of `config.data` that correspond to the reference's settings of its data set."""
    fields, remedy = REFERENCE_DATASETS[name], "pass --config=FILE, a config with data of your own"
    for setting, value in dataset.items():
        if setting in fields.fixed and value != fields.fixed[setting]:
            raise ConversionError(
                f"cfg.dataset.{setting} is {value!r}; the data here have {fields.fixed[setting]}: {remedy}"
            )
        if not any(setting in names for names in (fields.renamed, fields.fixed, fields.unused, UNUSED_SETTINGS)):
            raise ConversionError(f"cfg.dataset.{setting} = {value!r} is not known here; {remedy}")
    converted: dict[str, Any] = {}
    for setting, field in fields.renamed.items():
        if setting not in dataset:
            raise ConversionError(f"the setting cfg.dataset.{setting} is missing; {remedy}")
        kind = type(config.data[field])
        if kind is not tuple:
            converted[field] = _number({"dataset": dataset}, f"dataset.{setting}", kind)
        else:
            converted[field] = _pair(dataset, setting)
    if fields is _EVENTS:
        factor = _number({"dataset": dataset}, "dataset.spatial_factor")
        if channels != math.ceil(NUM_UNITS * factor - 1e-9):
            raise ConversionError(
                f"cfg.dataset.spatial_factor is {factor} of {NUM_UNITS} units, but l1 has {channels} inputs; {remedy}"
            )
        converted["num_channels"] = channels
        if isinstance(dataset.get("validate_on"), float):
            converted |= {"validation": "held_out", "validation_fraction": dataset["validate_on"]}
        elif dataset.get("validate_on") == "test":
            converted["validation"] = "test"
        elif "validate_on" in dataset:
            raise ConversionError(
                f"cfg.dataset.validate_on is {dataset['validate_on']!r}; it must be test or a fraction"
            )
    return converted


def data_warnings(config: ConfigDict, dataset: str | None) -> list[str]:
    """Return warnings about differences between the data of a config and those that the network was trained on."""
    if dataset is None:
        return []
    redrawn = config.data.validation.startswith("held_out") and REDRAWN_VALIDATION
    return [text for text in (REFERENCE_DATASETS[dataset].warning or redrawn,) if text]
