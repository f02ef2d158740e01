import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict, FrozenConfigDict

from configs import ecg
from seadlif_jax import config as config_module
from seadlif_jax.config import (
    CHECKS,
    ConfigError,
    base_config,
    differences,
    flatten,
    normalize,
    to_json,
    unknown_field,
    validate,
)


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
        ("task", "regression"),
        ("seed", -1),
        ("seed", 1.5),
        ("seed", True),
        ("num_epochs", 0),
        ("batch_size", 0),
        ("data.loader", "data.bsd"),
        ("data.num_classes", 0),
        ("data.step_ms", 0.0),
        ("data.step_ms", "4"),
        ("model.neuron", "adlif"),
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
        ("model.aggregation", "forecast"),
        ("divergence.max_weight", 0.0),
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
    with pytest.raises(ConfigError, match=r"config.sweep.tau_w: not a parameter of lif neurons"):
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
    ("value", "meaning"),
    [
        ((), ()),
        ([], ()),
        ([1, (2.5, ["a"])], (1, (2.5, ("a",)))),
        (np.int8(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.arange(3), (0, 1, 2)),
        (np.array(2.0), 2.0),
        (np.eye(2), ((1.0, 0.0), (0.0, 1.0))),
        (jnp.arange(2), (0, 1)),
        ([np.int64(1), Path("a") / "b"], (1, "a/b")),
        (Path("a"), "a"),
        (None, None),
        (-(2**62), -(2**62)),
    ],
)
def test_a_value_with_one_meaning_is_converted(tiny_config, value, meaning):
    normal = normalize(changed(tiny_config, "data.own", value))
    assert normal.data.own == meaning
    assert type(normal.data.own) is type(meaning)
    assert normal.is_locked
    plain = changed(tiny_config, "data.own", meaning)
    assert to_json(normal) == to_json(plain)
    assert hash(FrozenConfigDict(normal)) == hash(FrozenConfigDict(normalize(plain)))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([{"a": 1}], "a mapping within a tuple; give it as a section"),
        ([ConfigDict({"a": 1})], "a mapping within a tuple"),
        ({1, 2}, "a set, which has no order"),
        (frozenset(), "a set, which has no order"),
        (float("nan"), "nan, which is not a finite number"),
        (np.array([1.0, np.inf]), "inf, which is not a finite number"),
        (1j, "a value of type complex"),
        (np.complex64(1), "a value of type complex"),
        (np.datetime64("2024-01-01"), "a value of type date"),
        (b"a", "a value of type bytes"),
        (len, "a value of type builtin_function_or_method"),
        (lambda: 0, "a value of type function"),
        (int, "a value of type type"),
        (range(3), "a value of type range"),
        ([10**5000], "a whole number beyond 64 bits"),
        ({1: 2}, "the field 1 is named by a int"),
    ],
)
def test_a_value_without_one_meaning_is_refused_by_name(tiny_config, value, problem):
    config = ConfigDict(tiny_config.to_dict())
    config.data.own = value if not isinstance(value, dict) else ConfigDict(value)
    for use in (normalize, validate, to_json):
        with pytest.raises(ConfigError) as error:
            use(config)
        assert str(error.value).startswith("config.data.own: ")
        assert problem in str(error.value)


def test_sections_and_references_to_fields_are_kept(tiny_config):
    config = changed(tiny_config, "data.own", {"deep": {"er": [1]}})
    config.data.twice = config.get_ref("batch_size") * 2
    normal = normalize(config)
    assert normal.data.own.deep.er == (1,)
    assert normal.data.twice == 2 * config.batch_size


def test_a_section_within_itself_is_refused(tiny_config):
    config = changed(tiny_config, "data.own", {})
    config.data.own.self = config.data.own
    with pytest.raises(ConfigError, match=r"config.data.own.self.*: sections within each other more than"):
        validate(config)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("optimizer.lr", "optimizer.learning_rate"),
        ("lr", "optimizer.learning_rate"),
        ("sweep.lr", "sweep.learning_rate"),
        ("learning_rate", "optimizer.learning_rate"),
        ("epochs", "num_epochs"),
        ("optimizer.num_epochs", "num_epochs"),
        ("batch", "batch_size"),
        ("model.batch_size", "batch_size"),
        ("n_hidden", "model.hidden"),
        ("model.hidden_size", "model.hidden"),
        ("model.width", "model.hidden"),
        ("model.data", "devices.data"),
        ("dropout", "model.dropout"),
        ("model.surrogate.dropout", "model.dropout"),
        ("neuron", "model.neuron"),
        ("model.nueron", "model.neuron"),
        ("optimiser.clip_norm", "optimizer.clip_norm"),
        ("data_dir", "data.dir"),
        ("surrogate_slope", "model.surrogate.slope"),
        ("data.seeds", "data.seed"),
        ("data.num_sample", "data.num_samples"),
    ],
)
def test_an_unknown_field_gets_the_one_that_is_meant(name, field):
    assert str(unknown_field(name, ["data.num_samples"])) == (
        f"config.{name}: unknown field; did you mean config.{field}?"
    )


def test_a_field_that_cannot_be_swept_is_not_suggested_again():
    assert str(unknown_field("sweep.hidden")) == (
        "config.sweep.hidden: config.model.hidden cannot be swept; train a separate run for each of its values"
    )


def test_a_number_in_place_of_the_values_of_a_sweep_is_refused():
    config = ecg.get_config("alif,one_layer").unlock()
    config.sweep = ConfigDict(config.sweep.to_dict() | {"beta": 1.8})
    with pytest.raises(ConfigError, match=r"config.sweep.beta = 1.8: it must be a tuple of values"):
        validate(config)


def test_what_there_is_no_field_for_gets_no_false_hint():
    assert str(unknown_field("model.xyzzy")) == "config.model.xyzzy: unknown field"
    names = [*config_module.SYNONYMS.values()]
    assert {name.rpartition(".")[2] for name in CHECKS} >= set(names)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0,) * 9 + (-1.0,), "numbers of at least 0"),
        ((0.0,) * 10, "not all 0"),
        ((), "not all 0"),
    ],
)
def test_class_weights_that_are_none_are_refused(weights, message):
    config = base_config()
    config.data.loader = "data.bsd:load"
    config.data.class_weights = weights
    with pytest.raises(ConfigError, match=rf"config.data.class_weights = .*{message}"):
        validate(config)
