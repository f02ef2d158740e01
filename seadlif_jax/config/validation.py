"""The check that a config is one that can be run."""

import dataclasses
import math

from ml_collections import ConfigDict

from seadlif_jax.config.checks import CHECKS, check_of, is_range, values_of
from seadlif_jax.config.fields import SWEPT, ConfigError, swept_fields
from seadlif_jax.config.neuron import build_neuron, configured_neuron, neuron_hyperparameters
from seadlif_jax.config.normalization import flatten, normalize
from seadlif_jax.config.unknown_fields import unknown_field
from seadlif_jax.neurons import NEURONS
from seadlif_jax.neurons.registry import PAPER
from seadlif_jax.utils.errors import SeadlifError

MAX_MEMBERS = 10_000


def validate(config: ConfigDict) -> None:
    """Raise a `ConfigError` unless every shared field is there and in range, and no field is unknown.

    A loader may add fields under `data`, which `data.loading.load_dataset` checks; the task checks its own. A neuron
    may add its fields under `model`, and under `sweep` those that are numbers or ranges.
    """
    config = normalize(config)
    fields = flatten(config)
    for name in fields:
        if name not in CHECKS and not name.startswith(("data.", "loss.", "model.", "sweep.")):
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
        check = check_of(field, own[field])
        check = values_of(check) if section == "sweep" else check
        # A number in place of a range, or the reverse, has an error of its own below.
        is_of_kind = section == "sweep" or isinstance(value, tuple | list) == isinstance(own[field], tuple | list)
        if is_of_kind and not check.accepts(value):
            raise ConfigError(f"config.{name} = {value!r}: it must be {check.requirement}")
    of_library = config.model.neuron in NEURONS and config.model.neuron not in PAPER
    missing = (
        [name for name in neuron_hyperparameters(config.model.neuron) if name not in config.model] if of_library else []
    )
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
    _check_layers(config.model)
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
    initial_factor, initial_updates = config.optimizer.initial_factor, config.optimizer.initial_updates
    if (initial_factor != 1) != (initial_updates > 0):
        raise ConfigError(
            f"config.optimizer.initial_factor = {initial_factor} and config.optimizer.initial_updates = "
            f"{initial_updates}: without effect; set both, or neither"
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


def _check_layers(model: ConfigDict) -> None:
    """Raise a `ConfigError` for fields of the hidden layers that do not fit their number, or their widths."""
    widths, bounds, num_outputs = model.hidden, model.rate_bounds, model.num_outputs
    by_layer = {
        "recurrent": (isinstance(model.recurrent, tuple), "True or False, for all or one"),
        "num_outputs": (num_outputs is not None, "one number"),
        "rate_bounds": (isinstance(bounds[0], tuple), "one pair, or one"),
    }
    for name, (is_by_layer, values) in by_layer.items():
        if is_by_layer and len(model[name]) != len(widths):
            raise ConfigError(
                f"config.model.{name} = {model[name]!r}: it must be {values} for each of the {len(widths)} hidden "
                "layers"
            )
    if num_outputs is not None and any(number > width for number, width in zip(num_outputs, widths, strict=True)):
        raise ConfigError(
            f"config.model.num_outputs = {num_outputs!r}: it must be at most the widths in config.model.hidden, "
            f"{widths!r}"
        )
