"""From a config to the objects that it describes: the task, the network, and its hyperparameters."""

from collections.abc import Sequence
from inspect import get_annotations
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax import native
from seadlif_jax.config import ConfigError, build_neuron, unknown_field
from seadlif_jax.neurons import NEURONS
from seadlif_jax.nn import BatchNorm, Execution, Hyperparameters, LeakyReadout, Network, RecurrentLayer
from seadlif_jax.tasks import TASKS, Task
from seadlif_jax.testing import check_step
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.modules import find_object, module_checksum


class FoundTask(NamedTuple):
    """The class of a task, the folder and the checksum of its module; no folder if the module is installed."""

    task_class: type[Task]
    folder: Path | None = None
    checksum: str = ""


def find_task(config: ConfigDict | FrozenConfigDict, folders: Sequence[Path] = ()) -> FoundTask:
    """Return the class that `config.task` names.

    Args:
      config: the config.
      folders: searched for its module after `config.task_dir`, and before the current folder.

    Raises:
      ConfigError: there is no such module or class, or it is no subclass of `Task`.
    """
    if config.task in TASKS:
        return FoundTask(TASKS[config.task])
    recorded = [Path(config.task_dir)] if config.task_dir else []
    try:
        found = find_object(config.task, [*recorded, *folders], "config.task")
    except SeadlifError as error:
        raise ConfigError(str(error)) from error
    if not (isinstance(found.value, type) and issubclass(found.value, Task)):
        raise ConfigError(f"config.task = {config.task!r}: it must be a subclass of seadlif_jax.tasks.Task")
    is_own = not found.value.__module__.startswith("seadlif_jax.")
    return FoundTask(found.value, found.folder, module_checksum(found.module) if is_own else "")


def build_task(config: ConfigDict | FrozenConfigDict) -> Task:
    """Return the task of a config; raises a `ConfigError` as `find_task`, or for fields that do not fit it."""
    task_class = find_task(config).task_class
    for name in config.loss:
        if name not in task_class.fields:
            raise unknown_field(f"loss.{name}", [f"loss.{field}" for field in task_class.fields])
    for name in task_class.fields:
        if name not in config.loss:
            raise ConfigError(f"config.loss.{name}: missing; it is a field of config.task = {config.task!r}")
    return task_class.from_config(config)


def check_own_classes(config: ConfigDict | FrozenConfigDict) -> None:
    """Raise a `ConfigError` if a task, or the step of a neuron, of the user's own is not what training expects."""
    if config.task not in TASKS:
        _check_names(build_task(config))
    if config.model.neuron not in NEURONS:
        neuron = build_neuron(config)
        try:
            for width in set(config.model.hidden):
                check_step(neuron, width)
        except (AssertionError, SeadlifError) as error:
            raise ConfigError(f"config.model.neuron = {config.model.neuron!r}: {error}") from error


def _check_names(task: Task) -> None:
    """Raise a `ConfigError` unless a task has all attributes, and these name metrics that it has."""
    name = type(task).__name__
    missing = [attribute for attribute in get_annotations(Task) if not hasattr(task, attribute)]
    if missing:
        raise ConfigError(f"config.task: {name} has no {missing[0]}; see seadlif_jax.tasks.Task")
    for attribute, metrics in (("selection", task.selection[:1]), ("curves", task.curves)):
        for metric in metrics:
            if metric not in ("loss", task.metric) and not metric.startswith("spike_rate_"):
                raise ConfigError(
                    f"config.task: {name}.{attribute} names {metric!r}; it must be loss, {task.metric} or spike_rate_1"
                )


def build_hyperparameters(config: ConfigDict | FrozenConfigDict) -> Hyperparameters:
    """Return the numbers of a config's network that a sweep may vary, as arrays."""
    values = Hyperparameters((build_neuron(config),) * len(config.model.hidden), config.model.dropout or None)
    return jax.tree.map(lambda value: jnp.asarray(value, float), values)


def check_native(config: ConfigDict | FrozenConfigDict) -> None:
    """Raise a `NativeError` if the native engine cannot compute the config's network on this machine."""
    if build_task(config).feeds_back:
        raise native.NativeError("a forecast, which is fed with its own output, is a plain scan")
    compute, all_have_outputs = config.compute, not any(_num_outputs(config))
    native.check_usable(build_neuron(config), compute.precision, compute.plain_scan, all_have_outputs)


def check_engine(config: ConfigDict | FrozenConfigDict) -> None:
    """Raise a `NativeError` if `config.compute.engine` cannot compute the config's network on this machine."""
    if config.compute.engine == "native":
        try:
            check_native(config)
        except native.NativeError as error:
            raise native.NativeError(f"config.compute.engine = 'native': {error}") from error


def choose_engine(config: ConfigDict | FrozenConfigDict) -> tuple[str, str]:
    """Return the engine that `config.compute.engine = "auto"` stands for on this machine, and why."""
    try:
        check_native(config)
    except native.NativeError as error:
        return "xla", str(error)
    return "native", "it makes use of sparse spikes"


def rate_bounds(config: ConfigDict | FrozenConfigDict) -> tuple[tuple[float, float], ...]:
    """Return the lowest and the highest firing rate of each hidden layer, from one pair for all or one for each."""
    bounds = tuple(config.model.rate_bounds)
    return bounds if isinstance(bounds[0], tuple) else (bounds,) * len(config.model.hidden)


def _num_outputs(config: ConfigDict | FrozenConfigDict) -> list[int | None]:
    """Return the number of neurons with outputs of each hidden layer; None for all."""
    widths = config.model.hidden
    numbers = config.model.num_outputs or widths
    return [number if number < width else None for number, width in zip(numbers, widths, strict=True)]


def build_network(config: ConfigDict | FrozenConfigDict, channels: int, batch_axis: str | None = None) -> Network:
    """Return the network of a config for inputs with this number of channels.

    For the engine "auto", which `fit` replaces by its choice, XLA computes it: on every device.

    Args:
      config: the config.
      channels: number of input channels.
      batch_axis: axis of the devices that a batch is divided along, for batch normalisation; None if it is not.
    """
    model, neuron, compute = config.model, build_neuron(config), dict(config.compute)
    if compute["engine"] == "auto":
        compute["engine"] = "xla"
    execution = Execution(**compute)
    batch_norm = BatchNorm(axis_name=batch_axis) if model.batch_norm else None
    round_weights = model.quantize == "int8"
    recurrent = model.recurrent if isinstance(model.recurrent, tuple) else (model.recurrent,) * len(model.hidden)
    layers = tuple(
        RecurrentLayer(
            features,
            neuron,
            is_recurrent,
            execution,
            model.self_connections,
            batch_norm,
            round_weights,
            num_outputs,
        )
        for features, is_recurrent, num_outputs in zip(model.hidden, recurrent, _num_outputs(config), strict=True)
    )
    outputs = build_task(config).num_outputs(channels)
    readout = LeakyReadout(outputs, tuple(model.tau_out), model.train_tau_out, round_weights=round_weights)
    return Network(layers, readout, model.dropout)


def init_variables(network: Network, key: Any, channels: int, hyper: Hyperparameters | None = None) -> dict[str, Any]:
    """Return a network's initial variables for inputs with this number of channels, by collection.

    There are "params", "constants" and "batch_stats", also where they are empty.
    """
    return {"constants": {}, "batch_stats": {}, **network.init(key, jnp.zeros((1, 1, channels)), hyper=hyper)}
