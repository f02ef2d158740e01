import json

import pytest
from ml_collections import ConfigDict

from seadlif_jax import config as config_module
from seadlif_jax.config import CHECKS, ConfigError, base_config, differences, flatten, to_json, validate


def changed(config, name, value):
    """The config with one field set, without the type checks of the command line."""
    fields = config.to_dict()
    *path, last = name.split(".")
    folder = fields
    for part in path:
        folder = folder[part]
    folder[last] = value
    return ConfigDict(fields)


def test_every_field_has_a_check_and_the_base_config_has_every_field():
    assert set(flatten(base_config())) == set(CHECKS)


def test_a_config_of_a_task_is_accepted(tiny_config):
    validate(tiny_config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 1.5),
        ("seed", True),
        ("num_epochs", 0),
        ("batch_size", 0),
        ("data.loader", "data.bsd"),
        ("data.num_classes", 0),
        ("data.step_ms", 0.0),
        ("data.step_ms", "4"),
        ("model.neuron", "alif"),
        ("model.hidden", ()),
        ("model.hidden", (8, 0)),
        ("model.hidden", 8),
        ("model.recurrent", 1),
        ("model.tau_u", (-5.0, 25.0)),
        ("model.tau_u", (25.0, 5.0)),
        ("model.tau_u", (0.0, 5.0)),
        ("model.tau_u", (5.0, float("inf"))),
        ("model.tau_w", (60.0,)),
        ("model.tau_out", 15.0),
        ("model.q", -1.0),
        ("model.q", float("nan")),
        ("model.forget_bias", "1"),
        ("model.dropout", 1.0),
        ("model.dropout", -0.1),
        ("model.aggregation", "max"),
        ("model.surrogate.shape", "relu"),
        ("model.surrogate.slope", 0.0),
        ("model.surrogate.c", float("inf")),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.clip_norm", -1.0),
        ("optimizer.plateau_factor", 1.5),
        ("optimizer.plateau_patience", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(tiny_config, name, value):
    with pytest.raises(ConfigError) as error:
        validate(changed(tiny_config, name, value))
    assert f"config.{name} = {value!r}" in str(error.value)
    assert CHECKS[name].requirement in str(error.value)


def test_a_misspelt_field_is_refused_with_a_suggestion(tiny_config):
    with pytest.raises(ConfigError, match=r"config.model.neurn: unknown field; did you mean config.model.neuron\?"):
        validate(changed(tiny_config, "model.neurn", "lif"))


def test_a_sweep_of_what_the_neuron_does_not_have_is_refused(tiny_config):
    lif = changed(tiny_config, "model.neuron", "lif")
    with pytest.raises(ConfigError, match=r"config.sweep.tau_w: lif neurons do not have it"):
        validate(changed(lif, "sweep.tau_w", ((60.0, 300.0), (30.0, 300.0))))
    validate(changed(lif, "sweep.tau_u", ((5.0, 25.0), (5.0, 50.0))))


def test_a_missing_field_is_refused(tiny_config):
    fields = tiny_config.to_dict()
    del fields["optimizer"]["clip_norm"]
    with pytest.raises(ConfigError, match=r"config.optimizer.clip_norm: missing"):
        validate(ConfigDict(fields))


def test_configs_are_locked(tiny_config):
    with pytest.raises(AttributeError, match="learning_rate"):
        tiny_config.optimizer.learning_rat = 0.1


def test_json_keeps_every_field(tiny_config):
    read = json.loads(to_json(tiny_config))
    assert differences(read, json.loads(to_json(changed(tiny_config, "model.q", 60.0)))) == [
        "config.model.q: 120.0 -> 60.0"
    ]
    assert config_module.flatten(read)["model.hidden"] == [8]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, 2.0), "one number for each of the 10 classes"),
        ((1.0,) * 9 + (-1.0,), "numbers of at least 0"),
        ((0.0,) * 10, "not all 0"),
        ((1.0,) * 9 + (float("nan"),), "numbers of at least 0"),
        ((), "not all 0"),
    ],
)
def test_class_weights_that_do_not_fit_are_refused(weights, message):
    config = base_config()
    config.data.loader = "data.bsd:load"
    config.data.class_weights = weights
    with pytest.raises(ConfigError, match=rf"config.data.class_weights = .*{message}"):
        validate(config)


def test_a_forecast_has_no_class_weights():
    config = base_config()
    config.data.loader = "data.oscillation:load"
    config.model.aggregation = "forecast"
    config.data.class_weights = (1.0,) * 10
    with pytest.raises(ConfigError, match="a forecast has no classes"):
        validate(config)
