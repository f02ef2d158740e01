"""The configs hold the values of the published experiments."""

import pytest

from configs import bsd, ecg, variants
from seadlif_jax.config import ConfigError, validate

ALL = [
    *((bsd, ",".join((neuron, size))) for neuron in variants.NEURONS for size in ("full", "quick")),
    *((ecg, ",".join((neuron, depth))) for neuron in variants.NEURONS for depth in ("one_layer", "two_layers")),
]


@pytest.mark.parametrize(("module", "variant"), ALL)
def test_every_variant_is_valid_and_locked(module, variant):
    config = module.get_config(variant)
    validate(config)
    assert config.is_locked
    assert config.model.neuron == variant.split(",")[0]


def published(config):
    model = config.model
    return {
        "hidden": model.hidden,
        "q": model.q,
        "tau_u": model.tau_u,
        "tau_w": model.tau_w,
        "tau_out": model.tau_out,
        "surrogate": (model.surrogate.shape, model.surrogate.slope, model.surrogate.c),
        "dropout": model.dropout,
        "batch, epochs": (config.batch_size, config.num_epochs),
        "learning rate, clip": (config.optimizer.learning_rate, config.optimizer.clip_norm),
        "plateau": config.optimizer.plateau_factor,
        "aggregation": model.aggregation,
        "samples": config.data.get("num_samples"),
    }


BSD = {
    "hidden": (510,),
    "q": 120.0,
    "tau_u": (5.0, 25.0),
    "tau_w": (60.0, 300.0),
    "tau_out": (15.0, 15.0),
    "surrogate": ("exponential", 5.0, 0.4),
    "dropout": 0.0,
    "batch, epochs": (128, 400),
    "learning rate, clip": (0.01, 1.5),
    "plateau": 1.0,
    "aggregation": "softmax",
    "samples": 8000,
}
ECG = BSD | {
    "hidden": (36, 36),
    "tau_out": (3.0, 3.0),
    "surrogate": ("exponential", 5.0, 0.2),
    "dropout": 0.15,
    "batch, epochs": (64, 400),
    "aggregation": "mean",
    "samples": None,
}


@pytest.mark.parametrize(
    ("module", "variant", "expected"),
    [
        (bsd, "", BSD),
        (bsd, "lif", BSD | {"hidden": (512,), "tau_u": (5.0, 50.0), "surrogate": ("exponential", 5.0, 0.2)}),
        (ecg, "", ECG),
        (ecg, "one_layer", ECG | {"hidden": (36,)}),
        (ecg, "ef_adlif", ECG | {"q": 60.0}),
        (ecg, "lif", ECG),
    ],
)
def test_configs_are_those_of_the_paper(module, variant, expected):
    assert published(module.get_config(variant)) == expected


def test_words_of_a_variant_may_come_in_any_order():
    choices = {"neuron": ("se_adlif", "lif"), "size": ("full", "quick")}
    assert variants.parse("quick,lif", choices) == variants.parse("lif,quick", choices)
    assert variants.parse("", choices) == {"neuron": "se_adlif", "size": "full"}


def test_unknown_and_contradicting_words_are_refused():
    with pytest.raises(ConfigError, match="unknown variant 'one_layer'"):
        bsd.get_config("one_layer")
    with pytest.raises(ConfigError, match="two values for neuron"):
        ecg.get_config("lif,se_adlif")
