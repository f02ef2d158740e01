"""The fields every run has, and the check that a config is one that can be run."""

from seadlif_jax.config.checks import CHECKS, TASK_NAMES, is_range
from seadlif_jax.config.fields import SWEPT, ConfigError, base_config, is_sweep, swept_fields
from seadlif_jax.config.neuron import add_neuron_fields, build_neuron, configured_neuron, set_neuron
from seadlif_jax.config.normalization import flatten, normalize, to_json
from seadlif_jax.config.stored import (
    LENGTH,
    MAY_CHANGE,
    MAY_MOVE,
    changed_fields,
    complete_config,
    differences,
    differing,
)
from seadlif_jax.config.unknown_fields import SYNONYMS, unknown_field
from seadlif_jax.config.validation import validate

__all__ = [
    "CHECKS",
    "LENGTH",
    "MAY_CHANGE",
    "MAY_MOVE",
    "SWEPT",
    "SYNONYMS",
    "TASK_NAMES",
    "ConfigError",
    "add_neuron_fields",
    "base_config",
    "build_neuron",
    "changed_fields",
    "complete_config",
    "configured_neuron",
    "differences",
    "differing",
    "flatten",
    "is_range",
    "is_sweep",
    "normalize",
    "set_neuron",
    "swept_fields",
    "to_json",
    "unknown_field",
    "validate",
]
