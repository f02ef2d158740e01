import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import losses
from seadlif_jax.build import build_network, build_task
from seadlif_jax.config import TASK_NAMES, ConfigError, base_config
from seadlif_jax.tasks import TASKS, Classification, Forecast


def test_the_names_in_a_config_are_those_of_the_tasks():
    assert set(TASK_NAMES) == set(TASKS)


def test_a_task_is_an_immutable_value_that_a_config_selects():
    config = base_config()
    assert build_task(config) == Classification(10, "softmax")
    assert hash(build_task(config)) == hash(Classification(10, "softmax"))
    config.model.aggregation = "mean"
    config.data.class_weights = (1.0,) * 10
    assert build_task(config) == Classification(10, "mean", (1.0,) * 10)
    config.data.class_weights = None
    config.task = "forecast"
    assert build_task(config) == Forecast()


@pytest.mark.parametrize(("name", "outputs"), [("classification", 10), ("forecast", 4)])
def test_a_forecast_has_an_output_for_each_channel_and_a_classification_for_each_class(name, outputs):
    config = base_config()
    config.task = name
    assert build_task(config).num_outputs(channels=4) == outputs
    assert build_network(config, channels=4).readout.features == outputs


def test_class_weights_are_one_number_for_each_class():
    config = base_config()
    config.data.class_weights = (1.0, 2.0)
    with pytest.raises(ConfigError, match=r"config.data.class_weights = .*one number for each of the 10 classes"):
        build_task(config)
    config.task = "forecast"
    with pytest.raises(ConfigError, match="for classification only; it must be None"):
        build_task(config)


def test_the_best_epoch_has_the_greatest_accuracy_or_the_least_loss():
    metrics = [{"loss": 0.5, "accuracy": 0.6, "mse": 0.1}, {"loss": 0.4, "accuracy": 0.5, "mse": 0.2}]
    for task, best in ((Classification(3), 0), (Forecast(), 1)):
        scores = [task.selection_score(of_epoch) for of_epoch in metrics]
        assert np.argmax(scores) == best
        assert task.metric in metrics[0]


def test_sums_are_those_of_the_losses():
    rng = np.random.default_rng(0)
    outputs, blocks = jnp.asarray(rng.normal(size=(2, 5, 3))), jnp.ones((2, 5), int)
    labels, signal = jnp.asarray([[-1, 2], [-1, 0]]), jnp.asarray(rng.normal(size=(2, 6, 3)))
    weights = (1.0, 2.0, 3.0)
    for task, found, expected in (
        (
            Classification(3, "mean", weights),
            labels,
            losses.classification(outputs, blocks, labels, "mean", weights),
        ),
        (Forecast(), signal, losses.forecast(outputs, blocks, signal)),
    ):
        assert task.sums(outputs, blocks, found) == expected


def test_training_targets_of_a_single_class_are_worth_a_warning():
    targets = np.tile([-1, 2], (5, 1))
    assert Classification(3).target_warning(targets) == "all training targets are of class 2: accuracy says nothing"
    assert Classification(1).target_warning(targets) is None
    targets[0, 1] = 0
    assert Classification(3).target_warning(targets) is None
    assert Forecast().target_warning(np.zeros((5, 9, 2))) is None


def test_targets_of_a_forecast_are_the_inputs_one_step_later():
    inputs, blocks = np.zeros((20, 9, 4)), np.ones((20, 9), int)
    assert Forecast().target_problem(inputs, np.zeros((20, 10, 4)), blocks) is None
    assert "to forecast they must be (20, 10, 4)" in Forecast().target_problem(inputs, np.zeros((20, 2)), blocks)
