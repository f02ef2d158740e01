"""The configs hold the values of the published experiments."""

import dataclasses
import itertools

import pytest
from ml_collections import ConfigDict

from configs import bsd, ecg, oscillation, shd, smnist, ssc, variants
from seadlif_jax.config import ConfigError, set_neuron, validate
from seadlif_jax.neurons import ALIF, BRF

ALL = [
    (module, ",".join(words))
    for module in (bsd, ecg, oscillation, shd, smnist, ssc)
    for words in itertools.product(*module.CHOICES.values())
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
        "task": config.task,
        "hidden": model.hidden,
        "q": model.q,
        "tau_u": model.tau_u,
        "tau_w": model.tau_w,
        "tau_out": model.tau_out,
        "surrogate": (model.surrogate.shape, model.surrogate.slope, model.surrogate.c),
        "dropout": model.dropout,
        "batch, epochs": (config.batch_size, config.num_epochs),
        "learning rate, clip": (config.optimizer.learning_rate, config.optimizer.clip_norm),
        "plateau": (config.optimizer.plateau_factor, config.optimizer.plateau_patience),
        "aggregation": model.aggregation,
        "samples": config.data.get("num_samples"),
        "frames": tuple(config.data.get(name) for name in ("step_ms", "num_channels", "pad_to", "ignore_first_steps")),
        "classes": config.data.num_classes,
        "validation": (config.data.validation, config.data.get("validation_fraction")),
    }


def test_a_neuron_of_another_paper_has_the_numbers_of_its_source():
    of_bsd, of_ecg = bsd.get_config("alif,quick").model, ecg.get_config("alif,one_layer").model
    assert (of_bsd.tau_u, of_bsd.tau_a, of_bsd.beta) == (ALIF().tau_u, ALIF().tau_a, 1.8)
    assert (of_ecg.tau_u, of_ecg.tau_a, of_ecg.beta) == ((20.0, 20.0), (7.0, 7.0), 0.0)
    assert of_bsd.surrogate.to_dict() == dataclasses.asdict(ALIF().surrogate)
    assert bsd.get_config("lif,quick").model.tau_u == (5.0, 50.0)  # one of the paper has those of the config


def test_radlif_and_silif_have_the_layers_of_their_sources():
    radlif, silif = (shd.get_config(f"{name},small").model for name in ("radlif", "silif"))
    assert (radlif.recurrent, radlif.self_connections, radlif.batch_norm) == (True, False, True)
    assert (silif.recurrent, silif.batch_norm) == (False, True)
    assert not oscillation.get_config("radlif").model.batch_norm  # a forecast


BSD = {
    "task": "classification",
    "hidden": (510,),
    "q": 120.0,
    "tau_u": (5.0, 25.0),
    "tau_w": (60.0, 300.0),
    "tau_out": (15.0, 15.0),
    "surrogate": ("exponential", 5.0, 0.4),
    "dropout": 0.0,
    "batch, epochs": (128, 400),
    "learning rate, clip": (0.01, 1.5),
    "plateau": (1.0, 0),
    "aggregation": "softmax",
    "samples": 8000,
    "frames": (None, None, None, None),
    "classes": 10,
    "validation": ("held_out", None),
}
ECG = BSD | {
    "hidden": (36, 36),
    "tau_out": (3.0, 3.0),
    "surrogate": ("exponential", 5.0, 0.2),
    "dropout": 0.15,
    "batch, epochs": (64, 400),
    "aggregation": "mean",
    "samples": None,
    "frames": (4.0, None, None, None),
    "classes": 6,
    "validation": ("held_out", 0.05),
}
SHD = BSD | {
    "hidden": (360, 360),
    "dropout": 0.15,
    "batch, epochs": (256, 300),
    "samples": None,
    "frames": (4.0, 140, 250, 10),
    "classes": 20,
    "validation": ("held_out", 0.2),
}
SSC = SHD | {
    "hidden": (720, 720),
    "batch, epochs": (256, 40),
    "learning rate, clip": (0.006, 1.5),
    "aggregation": "mean",
    "frames": (4.0, 140, 300, 10),
    "classes": 35,
    "validation": ("official", 0.2),
}
OSCILLATION = BSD | {
    "hidden": (200,),
    "q": 228.0,
    "tau_out": (1.0, 20.0),
    "batch, epochs": (256, 200),
    "task": "forecast",
    "plateau": (0.5, 15),
    "samples": 4096,
    "frames": (1000 / 402, None, None, 0),
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
        (shd, "", SHD),
        (shd, "lif", SHD),
        (shd, "ef_adlif", SHD | {"q": 60.0}),
        (shd, "small", SHD | {"hidden": (128,)}),
        (shd, "select_on_test", SHD | {"validation": ("test", 0.2)}),
        (ssc, "", SSC),
        (ssc, "ef_adlif", SSC | {"q": 60.0}),
        (ssc, "lif", SSC | {"surrogate": ("exponential", 5.0, 0.1)}),
        (oscillation, "", OSCILLATION),
        (oscillation, "ef_adlif", OSCILLATION | {"q": 65.0}),
        (
            oscillation,
            "lif",
            OSCILLATION | {"tau_u": (1.0, 25.0), "surrogate": ("exponential", 10.0, 0.5), "plateau": (0.8, 8)},
        ),
        (
            oscillation,
            "lstm",
            OSCILLATION | {"hidden": (100,), "learning rate, clip": (0.001, 1.5), "plateau": (0.4, 3)},
        ),
    ],
)
def test_configs_are_those_of_the_paper(module, variant, expected):
    assert published(module.get_config(variant)) == expected


def test_the_spring_system_is_that_of_the_paper():
    config = oscillation.get_config()
    data = config.data
    assert data.num_masses == 4
    assert (data.mass, data.spring, data.damping) == ((1.0, 1.0), (500, 10_000), (0.0, 0.0))
    assert (data.initial_velocity, data.ignore_first_steps) == (0.0, 0)
    assert data.step_ms == pytest.approx(1000 / 402)
    assert round(data.num_steps * data.step_ms) == 498  # 0.5 s with the last target
    assert config.model.train_tau_out


@pytest.mark.parametrize(("neuron", "patience"), [("se_adlif", 3), ("ef_adlif", 3), ("lif", 2), ("lstm", 1)])
def test_quick_oscillation_is_a_fifth_of_the_epochs_and_of_the_patience(neuron, patience):
    full, quick = (oscillation.get_config(f"{neuron},{size}") for size in ("full", "quick"))
    assert (quick.num_epochs, quick.optimizer.plateau_patience) == (40, patience)
    quick.num_epochs = full.num_epochs
    quick.optimizer.plateau_patience = full.optimizer.plateau_patience
    assert quick == full


def test_words_of_a_variant_may_come_in_any_order():
    choices = {"neuron": ("se_adlif", "lif"), "size": ("full", "quick")}
    assert variants.parse("quick,lif", choices) == variants.parse("lif,quick", choices)
    assert variants.parse("", choices) == {"neuron": "se_adlif", "size": "full"}


def test_unknown_and_contradicting_words_are_refused():
    with pytest.raises(ConfigError, match="unknown variant 'one_layer'"):
        bsd.get_config("one_layer")
    with pytest.raises(ConfigError, match="two values for neuron"):
        ecg.get_config("lif,se_adlif")


def test_another_neuron_takes_nothing_from_the_one_before():
    config = shd.get_config("radlif,small")
    set_neuron(config, "brf")
    validate(config)
    assert config.model.omega == BRF().omega
    set_neuron(config, "alif")
    validate(config)
    assert "omega" not in config.model
    assert (config.model.tau_u, config.model.surrogate.shape) == (ALIF().tau_u, "multi_gaussian")


def test_the_numbers_of_another_neuron_are_not_for_one_of_the_paper():
    with pytest.raises(ConfigError, match="the numbers of this config are for radlif"):
        set_neuron(shd.get_config("radlif,small"), "se_adlif")


def test_a_name_without_the_numbers_of_the_neuron_is_refused():
    config = bsd.get_config("quick").unlock()
    config.model.neuron = "alif"
    with pytest.raises(ConfigError, match=r"config.model.tau_a: missing; .* set_neuron\(config, 'alif'\)"):
        validate(config)


@pytest.mark.parametrize(
    ("neuron", "field", "value"),
    [
        ("alif", "tau_a", (7.0,)),
        ("synaptic_lif", "tau_syn", (-5.0, 10.0)),
        ("silif", "rate_u", (0.0, 250.0)),
        ("brf", "dt", 0.0),
    ],
)
def test_a_number_of_a_neuron_that_cannot_be_is_refused(neuron, field, value):
    config = bsd.get_config("quick").unlock()
    set_neuron(config, neuron)
    fields = config.to_dict()
    fields["model"][field] = value
    with pytest.raises(ConfigError, match=f"config.model.{field} = "):
        validate(ConfigDict(fields))
