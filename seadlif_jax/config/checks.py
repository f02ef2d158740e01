"""The check of every field: what it accepts, and the requirement that an error names."""

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from seadlif_jax.config.fields import SWEPT
from seadlif_jax.losses import AGGREGATIONS
from seadlif_jax.neurons import NEURONS, SURROGATES
from seadlif_jax.nn.execution import ENGINES, PRECISIONS

MIN_NUMBER, MAX_NUMBER = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
TASK_NAMES = ("classification", "forecast")
RANGES = ("uniform", "log_uniform")  # distributions that values can be drawn from


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
    "task": Check(
        lambda v: isinstance(v, str) and (v in TASK_NAMES or all(v.partition(":"))),
        f"one of {', '.join(TASK_NAMES)}, or module:Class of your own",
    ),
    "task_dir": _TEXT,
    "task_checksum": _TEXT,
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
    "model.recurrent": Check(
        lambda v: isinstance(v, bool) or (isinstance(v, tuple | list) and all(isinstance(one, bool) for one in v)),
        "True, False, or a tuple of these, one for each hidden layer",
    ),
    "model.num_outputs": Check(
        lambda v: v is None or (isinstance(v, tuple | list) and all(map(_integer(1).accepts, v))),
        "a tuple of whole numbers of at least 1, one for each hidden layer; or None",
    ),
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
    "optimizer.initial_updates": _integer(0),
    "optimizer.initial_factor": _POSITIVE,
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


def check_of(name: str, default: Any) -> Check:
    """Return the check of a hyperparameter of a neuron that is not one of the paper."""
    positive = name.startswith(("tau_", "rate_")) or name == "dt"
    if isinstance(default, tuple | list):
        return _TAU_RANGE if positive else _COUPLING_RANGE
    return _POSITIVE if positive else _NUMBER


def is_range(values: Any) -> bool:
    """Return whether values of a sweep are a range to draw from, such as `("uniform", 0, 1)`."""
    return len(values) == 3 and values[0] in RANGES and _is_pair(values[1:]) and values[1] < values[2]


def values_of(check: Check) -> Check:
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
    **{f"sweep.{name}": values_of(_RUN_CHECKS[field]) for name, field in SWEPT.items()},
    "sweep.samples": _integer(0),
}
