"""Making a run of a checkpoint of the authors' program: its settings as a config, its network in a run's folder."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from seadlif_jax.config import is_sweep, validate
from seadlif_jax.data.loading import Samples
from seadlif_jax.interop.reference import ReferenceCheckpoint, from_reference
from seadlif_jax.runs.checkpoint import Checkpoints, Position, Variables
from seadlif_jax.runs.folder import Run, RunError, timestamp, versions
from seadlif_jax.training.trainer import Best, Hyperparameters, Program, TrainState, no_sums
from seadlif_jax.utils.errors import SeadlifError


class ConversionError(SeadlifError):
    """A checkpoint whose settings have no counterpart here: the message names the setting and the remedy."""


class DataFields(NamedTuple):
    """How the reference's settings of a data set correspond to fields of `config.data`.

    Attributes:
      renamed: the reference's name to the field.
      fixed: settings that the data here have only one value for.
      unused: settings that do not change the data, or are taken from elsewhere.
      warning: what differs in the data all the same.
    """

    renamed: Mapping[str, str]
    fixed: Mapping[str, Any]
    unused: tuple[str, ...]
    warning: str = ""


UNUSED = ("_target_", "batch_size", "data_path", "name", "num_classes", "num_workers", "random_seed")
OTHER_RECORDINGS = (
    "the recordings held out for validation are drawn anew and can be among those that the network was trained on; "
    "the test set is the same"
)
OTHER_NUMBERS = (
    "the data are generated, here from other random numbers than in the authors' program, and differ from those that "
    "the network was trained on: scores on them say nothing about it"
)
_EVENTS = DataFields(
    {"window_size": "step_ms", "pad_to_min_size": "pad_to", "ignore_first_timesteps": "ignore_first_steps"},
    {"time_factor": 0.001, "bias_for_test_set": 0},
    ("additional_test_set_validation", "spatial_factor", "split_percent", "test_bias_variant", "validate_on"),
)
TASKS: Mapping[str, DataFields] = MappingProxyType(
    {
        "shd": _EVENTS,
        "ssc": _EVENTS,
        "ecg": DataFields(
            {"valid_fraction": "validation_fraction"}, {"burn_in_time": 0}, ("cache_root",), OTHER_RECORDINGS
        ),
        "bsd": DataFields(
            {"num_sample_per_epoch": "num_samples"},
            {
                "S": 200, "n_channels": 10, "n_common_channels": 3, "t": 20, "dt": 0.1, "spike_prob_min": 0.05,
                "spike_prob_max": 0.8, "val_split": 0.1, "test_split": 0.2,
            },
            ("delay_between_sample", "max_num_sample", "min_num_sample", "sample_len", "sampling_freq"),
            OTHER_NUMBERS,
        ),
        "oscillation": DataFields(
            {
                "n_dof": "num_masses", "mass_range": "mass", "spring_range": "spring", "damping_range": "damping",
                "num_sample": "num_samples",
            },
            {"max_freq": 200, "duration": 0.5, "random_initial_velocity": False, "mask_first_n_percent": 0},
            ("fits_into_ram", "required_model_size"),
            OTHER_NUMBERS,
        ),
    }
)  # fmt: skip
NUM_UNITS = 700  # of the event recordings' cochlea
CLIP_NORM = 1.5
WORDS: Mapping[Any, str] = {float: "real", int: "whole"}


class Imported(NamedTuple):
    """What `import_checkpoint` made: the config of the run, the epoch of its parameters, and warnings to show."""

    config: ConfigDict
    epoch: int
    warnings: list[str]


def find_task(checkpoint: ReferenceCheckpoint) -> str | None:
    """Return the task whose data a checkpoint's network was trained on, or None for data of another kind."""
    dataset = checkpoint.settings.get("dataset")
    target = dataset.get("_target_") if isinstance(dataset, Mapping) else None
    match = re.fullmatch(r"datasets\.(\w+)\.\w+", str(target))
    return match[1] if match and match[1] in TASKS else None


def import_checkpoint(
    path: Path, checkpoint: ReferenceCheckpoint, base: ConfigDict, workdir: str | Path, task: str | None
) -> Imported:
    """Make a run of a checkpoint, in a new folder.

    Args:
      path: of the checkpoint's file.
      checkpoint: its content.
      base: config of the task; all that the checkpoint says of network and training replaces what it has.
      workdir: folder of the run.
      task: name in `TASKS` whose settings of the data are taken from the checkpoint too; None to leave those of `base`.

    Raises:
      ConversionError: a setting has no counterpart, or the parameters do not fit the settings.
      ConfigError: a setting is out of range.
      RunError, PathError: `workdir` holds something else already, or cannot hold a run.
    """
    try:
        network, variables = from_reference(checkpoint.arrays, checkpoint.settings)
        config = _config(checkpoint, base, [layer.features for layer in network.layers], task)
    except KeyError as error:
        raise ConversionError(f"{path}: the setting cfg.{error.args[0]} is missing") from error
    except (TypeError, ValueError) as error:
        raise ConversionError(f"{path}: {' '.join(str(error).split())}") from error
    validate(config)
    run = Run(workdir, config)
    if (run.folder / "config.json").exists():
        raise RunError(f"{run.folder} holds a run already; choose another --workdir")
    states = _states(config, variables, checkpoint.epoch)
    origin = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "epoch": checkpoint.epoch,
        "settings": checkpoint.settings,
        "imported": timestamp(),
        "versions": versions(),
    }
    with run.held():
        # Before the checkpoint: a folder that is cut off here must not be trained on.
        run.write_origin(json.loads(json.dumps(origin, default=str)))
        with Checkpoints(run.folder / "checkpoints", config, writing=True) as checkpoints:
            checkpoints.save(Position(states, states, no_sums()))
    return Imported(config, checkpoint.epoch, _warnings(config, task))


def _config(checkpoint: ReferenceCheckpoint, base: ConfigDict, hidden: list[int], task: str | None) -> ConfigDict:
    settings, arrays = checkpoint.settings, checkpoint.arrays
    if is_sweep(base):
        raise ConversionError("the --config is of a sweep; give one of a single run")
    config = ConfigDict(base.to_dict())
    if "random_seed" in settings:
        config.seed = _number(settings, "random_seed", int)
    config.num_epochs = _number(settings, "n_epochs", int)
    config.batch_size = _number(settings, "dataset.batch_size", int)

    num_classes = len(arrays["out_layer.weight"])
    if task is None and num_classes != config.data.num_classes:
        raise ConversionError(
            f"the network has {num_classes} outputs, config.data.num_classes = {base.data.num_classes}"
        )
    config.data.num_classes = num_classes

    model = config.model
    model.neuron = settings["cell"]
    model.hidden = tuple(hidden)
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

    if task is not None:
        config.data.update(_data_fields(task, settings["dataset"], _channels(arrays), config))
    return config.lock()


def _aggregation(settings: Mapping[str, Any]) -> str:
    """Return the block readout; the reference takes all names but "softmax" for the mean."""
    if settings.get("auto_regression", False):
        return "forecast"
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
    """Return two numbers, whole ones as they are."""
    pair = settings[name]
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(end, int | float) for end in pair):
        raise ConversionError(f"the setting {name} is {pair!r}; it must be two numbers")
    return pair[0], pair[1]


def _channels(arrays: Mapping[str, Any]) -> int:
    return (arrays["l1.weight"] if "l1.weight" in arrays else arrays["l1.weight_ih"]).shape[1]


def _data_fields(task: str, dataset: Mapping[str, Any], channels: int, config: ConfigDict) -> dict[str, Any]:
    """Return fields of `config.data` as the reference's settings of its data set say."""
    fields, remedy = TASKS[task], "pass --config=FILE, a config with data of your own"
    for name, value in dataset.items():
        if name in fields.fixed and value != fields.fixed[name]:
            raise ConversionError(f"cfg.dataset.{name} is {value!r}; the data here have {fields.fixed[name]}: {remedy}")
        if not any(name in names for names in (fields.renamed, fields.fixed, fields.unused, UNUSED)):
            raise ConversionError(f"cfg.dataset.{name} = {value!r} is not known here; {remedy}")
    converted: dict[str, Any] = {}
    for name, field in fields.renamed.items():
        if name not in dataset:
            raise ConversionError(f"the setting cfg.dataset.{name} is missing; {remedy}")
        kind = type(config.data[field])
        if kind is not tuple:
            converted[field] = _number({"dataset": dataset}, f"dataset.{name}", kind)
        else:
            converted[field] = _pair(dataset, name)
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


def _states(config: ConfigDict, variables: Variables, epoch: int) -> TrainState:
    """Return the state of a run whose best epoch has these variables, with an axis of one member in front."""
    inputs = jnp.zeros((1, 1, len(variables["params"]["layers_0"]["kernel"])))
    samples = Samples(inputs, jnp.zeros((1, 2), int), jnp.zeros((1, 1), int))
    state = Program(config).init(config.seed, Hyperparameters.from_config(config), samples)
    number = jnp.asarray(epoch, jnp.int32)
    state = state._replace(
        epoch=number,
        params=variables["params"],
        constants=variables.get("constants", {}),
        best=Best(number, state.best.score, variables["params"]),
    )
    return jax.tree.map(lambda array: array[None], state)


def _warnings(config: ConfigDict, task: str | None) -> list[str]:
    if task is None:
        return []
    drawn = config.data.validation.startswith("held_out") and OTHER_RECORDINGS
    return [text for text in (TASKS[task].warning or drawn,) if text]
