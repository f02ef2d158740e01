"""The fields every run has, and the check that a config is one that can be run.

`base_config()` lists and explains the fields; a file in `configs/` starts from it and sets what its task needs.
"""

import dataclasses
import difflib
import json
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict, config_dict

from seadlif_jax.losses import AGGREGATIONS
from seadlif_jax.neurons import NEURONS, SURROGATES, Neuron, Surrogate, find_neuron
from seadlif_jax.neurons.registry import PAPER, FoundNeuron
from seadlif_jax.nn.execution import ENGINES, PRECISIONS
from seadlif_jax.utils.errors import SeadlifError


class ConfigError(SeadlifError):
    """Config that cannot be run; the message names the field and what it must be."""


def base_config() -> ConfigDict:
    """Return the fields that all configs share, with the settings common to most of the paper's experiments."""
    config = ConfigDict()
    config.task = "classification"  # or forecast: predict the next input (see tasks.py)
    config.seed = 0  # initial parameters, order of the samples, dropout
    config.num_epochs = 100
    config.batch_size = 128  # training drops the last partial batch, evaluation never does

    config.init_from = ""  # folder of a run whose best parameters are the initial ones (unset: random)

    config.data = data = ConfigDict()
    data.loader = ""  # "module:function", from the config to a Dataset (see seadlif_jax/data/dataset.py)
    data.loader_dir = ""  # folder of the loader's module (unset: near the config file, or the current one)
    data.dir = ""  # folder of the data files; unused by generated data
    data.seed = 0  # generation and split of the data, apart from the seed of the run
    data.num_classes = 10  # classification: number of classes
    data.validation = "held_out"  # protocol: what the best epoch is selected on; or last: no selection
    data.class_weights = config_dict.placeholder(tuple)  # classification: factor of the loss for each class (unset: 1)
    data.step_ms = config_dict.placeholder(float)  # milliseconds a step stands for (unset: no time of its own)

    config.model = model = ConfigDict()
    model.neuron = "se_adlif"  # name of a neuron (see docs/neurons.md), or module:Class of one's own
    model.neuron_dir = ""  # folder of the neuron's module (unset: near the config file, or the current one)
    model.neuron_checksum = ""  # of the neuron's module, recorded by the run; another one does not continue it
    model.hidden = (128,)  # neurons in each hidden layer
    model.recurrent = True  # recurrent connections within each hidden layer
    model.self_connections = True  # also from each neuron to itself
    model.quantize = ""  # int8: compute with weights of 8 bits, for a device in fixed point
    model.batch_norm = False  # normalise the feed-forward currents of each hidden layer over a batch
    model.tau_u = (5.0, 25.0)  # range of the membrane time constants, steps
    model.tau_w = (60.0, 300.0)  # range of the adaptation time constants, steps
    model.q = 120.0  # scale of the adaptation
    model.a = (0.0, 1.0)  # range of its couplings to the membrane potential
    model.b = (0.0, 2.0)  # range of its couplings to the spikes
    model.train_threshold = False  # train each neuron's threshold
    model.train_rest = False  # train each neuron's resting potential, from which it starts and to which it is reset
    model.forget_bias = config_dict.placeholder(float)  # LSTM: initial bias of the forget gate (unset: random)
    model.dropout = 0.0  # probability that a hidden layer's spike is dropped, in training
    model.rate_bounds = (0.0, 1.0)  # of the firing rate, spikes per neuron and step: one pair, or one a hidden layer
    model.rate_penalty = 0.0  # weight in the loss of how far the firing rates are outside of these bounds (0: none)
    model.tau_out = (15.0, 15.0)  # range of the readout's time constants, steps
    model.train_tau_out = False  # train them within the range; otherwise they are drawn once
    model.aggregation = "softmax"  # classification, scores of a block: softmax, mean

    model.surrogate = surrogate = ConfigDict()
    surrogate.shape = "exponential"  # fast_sigmoid, arctan, triangular, boxcar, double_gaussian, multi_gaussian
    surrogate.slope = 5.0  # steepness
    surrogate.c = 0.4  # area, scales the gradient

    # For classification only: random changes of the training samples, drawn anew in every epoch (0: none).
    config.augment = augment = ConfigDict()
    augment.drop_events = 0.0  # probability that the events of a channel in a step are dropped
    augment.drop_channels = 0.0  # probability that a channel of a sample is silenced
    augment.shift_channels = 0.0  # largest shift of a sample along the channels, up or down, channels
    augment.jitter_channels = 0.0  # standard deviation of a further shift of each channel of a sample, channels
    augment.shift_time = 0.0  # largest shift of a sample in time, earlier or later, steps
    augment.stretch_time = 0.0  # largest relative change of a sample's duration: 0.1 for 0.9 to 1.1
    augment.mix = 0.0  # probability that a sample is mixed with another one of its class

    config.optimizer = optimizer = ConfigDict()
    optimizer.learning_rate = 0.01  # of Adam
    optimizer.schedule = (
        "constant"  # of the learning rate: constant, or cosine, which decays to 0 at the end of the run
    )
    optimizer.warmup_epochs = 0.0  # linear warm-up of the learning rate; multiplies any schedule
    optimizer.clip_norm = 1.5  # largest global norm of the gradients, clipped before Adam
    optimizer.weight_decay = 0.0  # as in AdamW; of weight matrices, not of biases and neuron parameters
    optimizer.ema = 0.0  # decay per step of the moving average of the parameters that is validated and tested (0: none)
    optimizer.label_smoothing = 0.0  # classification: share of the target that training spreads over all classes
    optimizer.plateau_factor = 1.0  # learning-rate factor once the validation loss stalls; 1 for none
    optimizer.plateau_patience = 0  # epochs without a better validation loss before that

    config.divergence = divergence = ConfigDict()
    divergence.action = "stop"  # when loss or gradient are NaN or infinite: stop, skip the step, or go back an epoch
    divergence.factor = 0.5  # back: of the learning rate, from then on; five times at most
    divergence.max_weight = 1e5  # a run with a larger parameter has diverged, too

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every_epochs = 1  # how often to save: after so many epochs,
    checkpoint.every_minutes = 10.0  # and when so much time has passed, within an epoch too

    config.tensorboard = False  # write event files for TensorBoard, too

    config.compute = compute = ConfigDict()
    compute.precision = "highest"  # rounding of the operands of matrix products: highest, tensorfloat32 (GPU), bfloat16
    compute.chunk_mib = config_dict.placeholder(float)  # working set of a chunk of steps (unset: the backend's default)
    compute.unroll = 1  # steps in one iteration of a compiled loop
    compute.engine = "auto"  # xla; native, a kernel for CPUs that makes use of sparse spikes; auto: native if possible
    compute.plain_scan = False  # differentiate a plain scan: slow, the reference

    config.devices = devices = ConfigDict()
    devices.mesh = config_dict.placeholder(tuple)  # numbers along members and samples (unset: all of use)
    devices.data = config_dict.placeholder(str)  # replicated, or sharded over the devices (unset: by size)
    devices.width = config_dict.placeholder(int)  # members a device computes at a time (unset: the backend's default)

    # Values to be trained in one program, such as (0, 1, 2); or ("uniform", low, high), ("log_uniform", low, high).
    config.sweep = sweep = ConfigDict()
    for name in SWEPT:
        sweep[name] = ()
    sweep.samples = 0  # settings to draw, each to be trained with every seed; 0: all combinations of the values
    return config.lock()


# What a sweep can vary besides hyperparameters of a neuron of one's own: name in `config.sweep`, and the field.
SWEPT: Mapping[str, str] = MappingProxyType(
    {
        "seed": "seed",
        "learning_rate": "optimizer.learning_rate",
        "q": "model.q",
        "a": "model.a",
        "b": "model.b",
        "tau_u": "model.tau_u",
        "tau_w": "model.tau_w",
        "dropout": "model.dropout",
        "slope": "model.surrogate.slope",
        "c": "model.surrogate.c",
        "warmup_epochs": "optimizer.warmup_epochs",
        "weight_decay": "optimizer.weight_decay",
        "rate_penalty": "model.rate_penalty",
        "ema": "optimizer.ema",
        "label_smoothing": "optimizer.label_smoothing",
        "drop_events": "augment.drop_events",
        "drop_channels": "augment.drop_channels",
        "shift_channels": "augment.shift_channels",
        "jitter_channels": "augment.jitter_channels",
        "shift_time": "augment.shift_time",
        "stretch_time": "augment.stretch_time",
        "mix": "augment.mix",
    }
)
MAX_MEMBERS = 10_000
MIN_NUMBER, MAX_NUMBER = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
TASK_NAMES = ("classification", "forecast")
MAX_DEPTH = 20  # of sections, and of tuples, within each other: a section may contain itself
RANGES = ("uniform", "log_uniform")  # distributions that values can be drawn from

# Names that other programs have for fields, by the last part of the name.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("lr", "learningrate", "step_size", "eta"), "learning_rate"),
        **dict.fromkeys(("epochs", "n_epochs", "max_epochs", "epoch", "num_epoch"), "num_epochs"),
        **dict.fromkeys(("batch", "bs", "batchsize", "minibatch_size"), "batch_size"),
        **dict.fromkeys(
            ("n_hidden", "num_hidden", "hidden_size", "hidden_sizes", "hidden_dim", "n_neurons", "num_neurons"),
            "hidden",
        ),
        **dict.fromkeys(("units", "width", "widths", "layers", "n_layers", "num_layers"), "hidden"),
        **dict.fromkeys(("cell", "model_type", "neuron_type", "neuron_model"), "neuron"),
        **dict.fromkeys(("classes", "n_classes", "num_outputs", "output_size"), "num_classes"),
        **dict.fromkeys(("drop", "p_drop", "dropout_rate", "dropout_p"), "dropout"),
        **dict.fromkeys(("grad_clip", "clip", "max_grad_norm", "gradient_clip", "gradient_clip_val"), "clip_norm"),
        **dict.fromkeys(("random_seed", "rng_seed", "seeds"), "seed"),
        **dict.fromkeys(("data_dir", "datadir", "data_path", "root", "path"), "dir"),
        **dict.fromkeys(("dataset", "loader_fn"), "loader"),
        **dict.fromkeys(("dt", "timestep", "step"), "step_ms"),
        **dict.fromkeys(("patience",), "plateau_patience"),
        **dict.fromkeys(("wd", "weightdecay", "l2"), "weight_decay"),
        **dict.fromkeys(("scheduler", "lr_schedule", "lr_scheduler"), "schedule"),
        **dict.fromkeys(("warmup", "warm_up"), "warmup_epochs"),
        **dict.fromkeys(("ema_decay", "polyak", "averaging"), "ema"),
        **dict.fromkeys(("smoothing",), "label_smoothing"),
        **dict.fromkeys(("gamma", "lr_decay"), "plateau_factor"),
        **dict.fromkeys(("alpha", "surrogate_slope"), "slope"),
        **dict.fromkeys(("loss_agg", "readout"), "aggregation"),
        **dict.fromkeys(("pretrained", "checkpoint_path", "ckpt", "resume_from", "load_from"), "init_from"),
    }
)


class Check(NamedTuple):
    """A field's predicate, and the text of the error when it fails."""

    accepts: Callable[[Any], bool]
    requirement: str


def _integer(low: int, high: float = math.inf) -> Check:
    text = f"a whole number of at least {low}" if high == math.inf else f"a whole number in {low}..{high}"
    return Check(lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high, text)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that float32 can hold; others would become infinite, or 0."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    return value == 0 or MIN_NUMBER <= abs(value) <= MAX_NUMBER  # type: ignore[operator]


def _number(requirement: str, accepts: Callable[[float], bool]) -> Check:
    return Check(lambda v: _is_number(v) and accepts(v), f"a number {requirement}")


def _one_of(names: Any) -> Check:
    names = tuple(names)
    return Check(lambda v: isinstance(v, str) and v in names, f"one of {', '.join(names)}")


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_number, value))


_WHOLE = _number("that is whole and at least 0", lambda v: v >= 0 and v == math.floor(v))


def _is_rate_range(value: Any) -> bool:
    return _is_pair(value) and 0 <= value[0] <= value[1] <= 1


_BOOL = Check(lambda v: isinstance(v, bool), "True or False")
_TEXT = Check(lambda v: isinstance(v, str), "a text")
_POSITIVE = _number("above 0", lambda v: v > 0)
_PROBABILITY = _number("in [0, 1)", lambda v: v >= 0 and float(np.float32(v)) < 1)
_NON_NEGATIVE = _number("of at least 0", lambda v: v >= 0)
_TAU_RANGE = Check(
    lambda v: _is_pair(v) and 0 < v[0] <= v[1], "a pair (min, max) of steps with 0 < min <= max, such as (5.0, 25.0)"
)
_COUPLING_RANGE = Check(lambda v: _is_pair(v) and v[0] <= v[1], "a pair (min, max) with min <= max, such as (0.0, 1.0)")

_NUMBER = Check(_is_number, "a number")

_RUN_CHECKS: Mapping[str, Check] = {
    "task": _one_of(TASK_NAMES),
    "seed": _integer(0, 2**31 - 1),
    "num_epochs": _integer(1),
    "batch_size": _integer(1),
    "init_from": _TEXT,
    "data.loader": Check(
        lambda v: isinstance(v, str) and all(v.partition(":")), "a loader as 'module:function', such as 'data.bsd:load'"
    ),
    "data.loader_dir": _TEXT,
    "data.dir": _TEXT,
    "data.seed": _integer(0, 2**31 - 1),
    "data.num_classes": _integer(1),
    "data.class_weights": Check(
        lambda v: v is None or (isinstance(v, tuple | list) and all(map(_NON_NEGATIVE.accepts, v)) and any(v)),
        "a tuple of numbers of at least 0, one a class, not all 0, such as (1.0, 3.5); or None",
    ),
    "data.step_ms": Check(lambda v: v is None or _POSITIVE.accepts(v), "a number above 0, or None"),
    "data.validation": _TEXT,
    "model.neuron": Check(
        lambda v: isinstance(v, str) and (v in NEURONS or all(v.partition(":"))),
        f"one of {', '.join(NEURONS)}, or module:Class of your own",
    ),
    "model.neuron_dir": _TEXT,
    "model.neuron_checksum": _TEXT,
    "model.hidden": Check(
        lambda v: isinstance(v, tuple | list) and len(v) > 0 and all(map(_integer(1).accepts, v)),
        "a tuple of layer widths, such as (360, 360)",
    ),
    "model.recurrent": _BOOL,
    "model.self_connections": _BOOL,
    "model.batch_norm": _BOOL,
    "model.quantize": _one_of(("", "int8")),
    "model.tau_u": _TAU_RANGE,
    "model.tau_w": _TAU_RANGE,
    "model.q": _NON_NEGATIVE,
    "model.a": _COUPLING_RANGE,
    "model.b": _COUPLING_RANGE,
    "model.train_threshold": _BOOL,
    "model.train_rest": _BOOL,
    "model.forget_bias": Check(lambda v: v is None or _is_number(v), "a number, or None"),
    "model.dropout": _PROBABILITY,
    "model.rate_bounds": Check(
        lambda v: _is_rate_range(v) or (isinstance(v, tuple | list) and len(v) > 0 and all(map(_is_rate_range, v))),
        "a pair (min, max) with 0 <= min <= max <= 1, or a tuple of such pairs, one for each hidden layer",
    ),
    "model.rate_penalty": _NON_NEGATIVE,
    "model.tau_out": _TAU_RANGE,
    "model.train_tau_out": _BOOL,
    "model.aggregation": _one_of(AGGREGATIONS),
    "model.surrogate.shape": _one_of(SURROGATES),
    "model.surrogate.slope": _POSITIVE,
    "model.surrogate.c": _POSITIVE,
    "augment.drop_events": _PROBABILITY,
    "augment.drop_channels": _PROBABILITY,
    "augment.shift_channels": _WHOLE,
    "augment.jitter_channels": _NON_NEGATIVE,
    "augment.shift_time": _WHOLE,
    "augment.stretch_time": _PROBABILITY,
    "augment.mix": _number("in [0, 1]", lambda v: 0 <= v <= 1),
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.schedule": Check(
        lambda v: v in ("constant", "cosine"),
        "constant or cosine; config.optimizer.plateau_factor and config.optimizer.warmup_epochs multiply it",
    ),
    "optimizer.warmup_epochs": _NON_NEGATIVE,
    "optimizer.weight_decay": _NON_NEGATIVE,
    "optimizer.ema": _PROBABILITY,
    "optimizer.label_smoothing": _PROBABILITY,
    "optimizer.clip_norm": _POSITIVE,
    "optimizer.plateau_factor": _number("in (0, 1]", lambda v: 0 < v <= 1),
    "optimizer.plateau_patience": _integer(0),
    "divergence.action": _one_of(("stop", "skip", "back")),
    "divergence.factor": _number("in (0, 1)", lambda v: 0 < v < 1),
    "divergence.max_weight": _POSITIVE,
    "checkpoint.every_epochs": _integer(1),
    "checkpoint.every_minutes": _POSITIVE,
    "tensorboard": _BOOL,
    "compute.precision": _one_of(PRECISIONS),
    "compute.chunk_mib": Check(lambda v: v is None or _POSITIVE.accepts(v), "a number above 0, or None"),
    "compute.unroll": _integer(1),
    "compute.plain_scan": _BOOL,
    "compute.engine": _one_of((*ENGINES, "auto")),
    "devices.mesh": Check(
        lambda v: v is None or (_is_pair(v) and all(map(_integer(1).accepts, v))),
        "two numbers of devices, along the members of a sweep and the samples of a batch, such as (4, 2); or None",
    ),
    "devices.data": Check(lambda v: v is None or v in ("replicated", "sharded"), "one of replicated, sharded; or None"),
    "devices.width": Check(lambda v: v is None or _integer(1).accepts(v), "a whole number of at least 1, or None"),
}


def _check_of(name: str, default: Any) -> Check:
    """Return the check of a hyperparameter of a neuron that is not one of the paper."""
    positive = name.startswith(("tau_", "rate_")) or name == "dt"
    if isinstance(default, tuple | list):
        return _TAU_RANGE if positive else _COUPLING_RANGE
    return _POSITIVE if positive else _NUMBER


def swept_fields(config: ConfigDict) -> dict[str, str]:
    """Return what the sweep of a config can vary: name in `config.sweep`, and the field."""
    own = (name for name in config.sweep if name not in SWEPT and name != "samples")
    return {**SWEPT, **{name: f"model.{name}" for name in own}}


def is_sweep(config: ConfigDict) -> bool:
    """Return whether `config.sweep` varies anything, if only over a single value."""
    return any(len(config.sweep[name]) for name in swept_fields(config))


def is_range(values: Any) -> bool:
    """Return whether values of a sweep are a range to draw from, such as `("uniform", 0, 1)`."""
    return len(values) == 3 and values[0] in RANGES and _is_pair(values[1:]) and values[1] < values[2]


def _values(check: Check) -> Check:
    """Return the check of the values that a sweep gives a field with this check."""

    def accepts(values: Any) -> bool:
        if not isinstance(values, tuple | list):
            return False
        if is_range(values):
            ends = map(float, values[1:])
            return all(map(check.accepts, ends)) and (values[0] == "uniform" or values[1] > 0)
        return all(map(check.accepts, values)) and all(v not in values[:n] for n, v in enumerate(values))

    drawn = ', or a range to draw from, such as ("log_uniform", 0.001, 0.1)' if check.accepts(0.5) else ""
    return Check(accepts, f"a tuple of values, all different, each {check.requirement}{drawn}")


CHECKS: Mapping[str, Check] = {
    **_RUN_CHECKS,
    **{f"sweep.{name}": _values(_RUN_CHECKS[field]) for name, field in SWEPT.items()},
    "sweep.samples": _integer(0),
}


def flatten(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Return all fields by their full names: `{"model": {"q": 1}}` -> `{"model.q": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict | Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def normalize(config: ConfigDict) -> ConfigDict:
    """Return the config with values that JSON and static arguments of `jax.jit` can hold.

    Lists and arrays become tuples, NumPy's scalars Python's, and paths texts.

    Raises:
      ConfigError: a value has no such form; the message names its field.
    """
    return ConfigDict(_normalize_section(config, "config")).lock()


def _normalize_section(section: Mapping[str, Any] | ConfigDict, name: str) -> dict[str, Any]:
    if name.count(".") > MAX_DEPTH:
        raise ConfigError(f"{name}: sections within each other more than {MAX_DEPTH} deep")
    for key in section:
        if not isinstance(key, str):
            raise ConfigError(f"{name}: the field {key!r} is named by a {type(key).__name__}; name it by a text")
    return {
        key: _normalize_section(value, f"{name}.{key}")
        if isinstance(value, ConfigDict | Mapping)
        else _normalize_value(value, f"{name}.{key}")
        for key, value in section.items()
    }


def _normalize_value(value: Any, name: str, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ConfigError(f"{name}: tuples within each other more than {MAX_DEPTH} deep")
    if hasattr(value, "tolist"):  # scalars and arrays of NumPy, JAX and PyTorch
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, tuple | list):
        return tuple(_normalize_value(item, name, depth + 1) for item in value)
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    # For a known field, `validate` gives the requirement.
    if isinstance(value, float) and (math.isfinite(value) or name.removeprefix("config.") in CHECKS):
        return float(value)
    if isinstance(value, int):
        problem = "a whole number beyond 64 bits"
    elif isinstance(value, float):
        problem = f"{value}, which is not a finite number"
    elif isinstance(value, Mapping | ConfigDict):
        problem = "a mapping within a tuple; give it as a section, with a name"
    elif isinstance(value, set | frozenset):
        problem = "a set, which has no order; give a tuple"
    else:
        problem = f"a value of type {type(value).__name__}"
    raise ConfigError(f"{name}: {problem}. It must be a number, a text, True, False, None, or a tuple of these")


def unknown_field(name: str, known: Iterable[str] = ()) -> ConfigError:
    """Return the error for an unknown field, with a suggestion.

    Args:
      name: the field, or the last part of its name.
      known: fields that are known besides those of every config.
    """
    fields = list(dict.fromkeys((*CHECKS, *known)))
    section, _, last = name.rpartition(".")
    fields.sort(key=lambda field: field.rpartition(".")[0] != section)  # those of the same section first
    fields.sort(key=lambda field: field.startswith("sweep.") and section != "sweep")
    by_last = {field.rpartition(".")[2]: field for field in reversed(fields)}
    word = last.lower()
    close = difflib.get_close_matches(name, fields, n=1, cutoff=0.8)
    close_last = difflib.get_close_matches(word, by_last, n=1, cutoff=0.7)
    if word in by_last:
        field = by_last[word]
    elif word in SYNONYMS:
        field = by_last[SYNONYMS[word]]
    elif close or close_last:
        field = close[0] if close else by_last[close_last[0]]
    else:
        return ConfigError(f"config.{name}: unknown field")
    return ConfigError(f"config.{name}: unknown field; did you mean config.{field}?")


def validate(config: ConfigDict) -> None:
    """Raise a `ConfigError` unless every shared field is there and in range, and no field is unknown.

    A loader may add fields under `data`, which `data.loading.load_dataset` checks; the task checks its own. A neuron
    may add its fields under `model`, and under `sweep` those that are numbers or ranges.
    """
    config = normalize(config)
    fields = flatten(config)
    for name in fields:
        if name not in CHECKS and not name.startswith(("data.", "model.", "sweep.")):
            raise unknown_field(name)
    for name, check in CHECKS.items():
        if name not in fields:
            raise ConfigError(f"config.{name}: missing; it must be {check.requirement}")
        if not check.accepts(fields[name]):
            raise ConfigError(f"config.{name} = {fields[name]!r}: it must be {check.requirement}")
    own = {field.name: field.default for field in dataclasses.fields(configured_neuron(config.model).neuron)}
    for name, value in fields.items():
        section, _, field = name.partition(".")
        if name in CHECKS or section not in ("model", "sweep"):
            continue
        if field not in own:
            raise unknown_field(name, [f"{section}.{field}" for field in own])
        check = _check_of(field, own[field])
        check = _values(check) if section == "sweep" else check
        is_of_kind = isinstance(value, tuple | list) == (section == "sweep" or isinstance(own[field], tuple | list))
        if is_of_kind and not check.accepts(value):
            raise ConfigError(f"config.{name} = {value!r}: it must be {check.requirement}")
    of_library = config.model.neuron in NEURONS and config.model.neuron not in PAPER
    missing = [name for name in _hyperparameters(config.model.neuron) if name not in config.model] if of_library else []
    if missing:
        raise ConfigError(
            f"config.model.{missing[0]}: missing; set the neuron of a config by set_neuron(config, "
            f"{config.model.neuron!r}) of seadlif_jax.config"
        )
    for name, default in own.items():
        field = SWEPT.get(name, f"model.{name}")
        if not field.startswith("model.") or name in ("rate_penalty", "rate_bounds"):
            raise ConfigError(
                f"config.model.{name}: the name is reserved for config.{field}; rename the hyperparameter of your "
                "neuron"
            )
        if name in config.model and isinstance(default, tuple | list) != isinstance(config.model[name], tuple | list):
            raise ConfigError(
                f"config.model.{name} = {config.model[name]!r}, but {name} of {config.model.neuron} is {default!r}; "
                "give the hyperparameter of your neuron another name"
            )
    for name in ("train_threshold", "train_rest"):
        if config.model[name] and name not in own:
            raise ConfigError(f"config.model.{name} = True: not a setting of {config.model.neuron} neurons")
    bounds = config.model.rate_bounds
    penalises = config.model.rate_penalty or any(config.sweep.rate_penalty)
    if penalises and tuple(bounds) == (0.0, 1.0):
        raise ConfigError(
            "config.model.rate_penalty: without effect, since config.model.rate_bounds allows all rates; set these"
        )
    if isinstance(bounds[0], tuple) and len(bounds) != len(config.model.hidden):
        raise ConfigError(
            f"config.model.rate_bounds = {bounds!r}: it must be one pair, or one for each of the "
            f"{len(config.model.hidden)} hidden layers"
        )
    if penalises and not configured_neuron(config.model).neuron.spiking:
        raise ConfigError(f"config.model.rate_penalty: {config.model.neuron} neurons do not spike; leave it out")
    try:
        build_neuron(config).named_parameters()
    except SeadlifError as error:
        raise ConfigError(f"config.model: {error}") from error
    for name, field in SWEPT.items():
        part = field.removeprefix("model.").partition(".")[0]
        if len(config.sweep[name]) and field.startswith("model.") and part not in {*own, "dropout", "rate_penalty"}:
            raise ConfigError(f"config.sweep.{name}: not a parameter of {config.model.neuron} neurons; leave it out")
    swept = swept_fields(config)
    ranges = [name for name in swept if is_range(config.sweep[name])]
    if ranges and not config.sweep.samples:
        raise ConfigError(
            f"config.sweep.samples = 0: it must be the number of settings to draw from config.sweep.{ranges[0]}"
        )
    if config.optimizer.warmup_epochs >= config.num_epochs:
        raise ConfigError(
            f"config.optimizer.warmup_epochs = {config.optimizer.warmup_epochs}: it must be less than "
            f"config.num_epochs = {config.num_epochs}, or the learning rate never reaches "
            "config.optimizer.learning_rate"
        )
    settings = math.prod(len(config.sweep[name]) or 1 for name in swept if name != "seed")
    if config.sweep.samples and not ranges and config.sweep.samples > settings:
        raise ConfigError(f"config.sweep.samples = {config.sweep.samples}: there are only {settings} combinations")
    members = (config.sweep.samples or settings) * (len(config.sweep.seed) or 1)
    if members > MAX_MEMBERS:
        raise ConfigError(f"config.sweep: {members} members; at most {MAX_MEMBERS} are possible")


def configured_neuron(model: ConfigDict | FrozenConfigDict, folders: Sequence[Path] = ()) -> FoundNeuron:
    """Return the neuron that the section `model` of a config names.

    Args:
      model: the section.
      folders: searched for the neuron's module after `model.neuron_dir`.

    Raises:
      ConfigError: there is no such neuron.
    """
    recorded = [Path(model.neuron_dir)] if model.neuron_dir else []
    try:
        return find_neuron(model.neuron, [*recorded, *folders])
    except SeadlifError as error:
        raise ConfigError(str(error)) from error


def build_neuron(config: ConfigDict | FrozenConfigDict) -> Neuron:
    """Return the neuron that `config.model` describes."""
    model, neuron = config.model, configured_neuron(config.model).neuron
    fields = {field.name for field in dataclasses.fields(neuron)} & set(model)
    values = {name: tuple(model[name]) if isinstance(model[name], list | tuple) else model[name] for name in fields}
    values.pop("surrogate", None)
    if type(getattr(neuron, "surrogate", None)) is Surrogate:  # not one of the user's own
        values["surrogate"] = Surrogate(**model.surrogate)
    return neuron(**values)


def set_neuron(config: ConfigDict, neuron: str, folders: Sequence[Path] = ()) -> None:
    """Name the neuron of a config, and set its hyperparameters to the defaults of its class.

    The neurons of the paper share the fields of every config: between them, these are left as they are.

    Args:
      config: the config.
      neuron: as in `config.model.neuron`.
      folders: searched for the neuron's module.

    Raises:
      SeadlifError: there is no such neuron.
      ConfigError: it is one of the paper, and the config has the numbers of another one.
    """
    before, base = config.model.neuron, base_config()
    if neuron in PAPER and before not in PAPER:
        raise ConfigError(
            f"config.model.neuron = {neuron!r}: the numbers of this config are for {before}; start from a config for a "
            "neuron of the paper, such as the variant of this name"
        )
    with config.unlocked():
        config.model.neuron = neuron
        if neuron in PAPER:
            return
        for section in ("model", "sweep"):
            for name in set(config[section]) - set(base[section]):  # of the neuron before
                del config[section][name]
        for name, value in _hyperparameters(neuron, folders).items():
            if isinstance(config.model.get(name, value), tuple) == isinstance(value, tuple):  # `validate` says why not
                config.model[name] = value
        found = find_neuron(neuron, folders).neuron
        for name in ("train_threshold", "train_rest"):
            config.model[name] = getattr(found, name, False)
        surrogate = getattr(found, "surrogate", None)
        if isinstance(surrogate, Surrogate):
            config.model.surrogate.update(shape=surrogate.shape, slope=surrogate.slope, c=surrogate.c)
    add_neuron_fields(config, neuron, folders)


def add_neuron_fields(config: ConfigDict, neuron: str, folders: Sequence[Path] = ()) -> None:
    """Add the hyperparameters of a neuron that a config lacks, and what can be swept of them."""
    if neuron in PAPER:
        return
    with config.unlocked():
        for name, value in _hyperparameters(neuron, folders).items():
            config.model[name] = config.model.get(name, value)
            config.sweep[name] = config.sweep.get(name, ())


def _hyperparameters(neuron: str, folders: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the numbers and ranges that are hyperparameters of a neuron, with the defaults of its class."""
    return {
        field.name: field.default
        for field in dataclasses.fields(find_neuron(neuron, folders).neuron)
        if isinstance(field.default, int | float | tuple) and not isinstance(field.default, bool)
    }


def to_json(config: ConfigDict) -> str:
    """Return the config as JSON text, the same for equal configs."""
    return json.dumps(normalize(config).to_dict(), indent=2, sort_keys=True)


# What does not change the numbers. Data may move between machines, and be elsewhere for another process.
MAY_MOVE = ("data.dir", "data.cache_dir", "data.loader_dir", "model.neuron_dir")
MAY_CHANGE = (*MAY_MOVE, "checkpoint.every_epochs", "checkpoint.every_minutes", "tensorboard")
LENGTH = "num_epochs"  # only decides where training ends, except with the cosine schedule


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the pairs of values in which two mappings differ; a name that one lacks is "absent" there, as if None."""
    return {
        name: (old.get(name, "absent"), new.get(name, "absent"))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }


def older_defaults() -> ConfigDict:
    """Return what a run has where it is older than a field: its default, except for fields that changed the results."""
    config = base_config().copy_and_resolve_references().unlock()
    config.compute.engine = "xla"
    return config


def complete_config(stored: dict[str, Any]) -> ConfigDict:
    """Return a stored config with the fields that it lacks, since it is older than them."""
    return normalize(ConfigDict(_merge(older_defaults().to_dict(), stored)))


def _merge(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = {
        name: _merge(defaults.get(name, {}), value) if isinstance(value, dict) else value
        for name, value in values.items()
    }
    return defaults | merged


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two configs (as read back from JSON) differ, with both values; not those that may.

    A field that one of them does not have is taken as in `older_defaults`, or as unset: it may be of another version.
    """
    defaults = flatten(json.loads(to_json(older_defaults())))
    changed = differing(defaults | flatten(old), defaults | flatten(new))
    return {name: pair for name, pair in changed.items() if name not in MAY_CHANGE}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the fields in which two configs differ, as `field: old -> new`.

    The number of epochs is left out, because a run can be extended; not with the cosine schedule, which depends on it.
    """
    fields = changed_fields(old, new)
    may_continue = new["optimizer"].get("schedule") != "cosine"
    return [
        f"config.{name}: {before!r} -> {now!r}"
        for name, (before, now) in fields.items()
        if name != LENGTH or not may_continue
    ]
