import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import load_run
from seadlif_jax.data.loading import DatasetError
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.device import device_layers, quantize
from seadlif_jax.inference import Evaluation, TrainedModel, evaluate
from seadlif_jax.inference.evaluation import measure
from seadlif_jax.tasks import Classification
from seadlif_jax.training import fit
from seadlif_jax.training.state import TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer


@pytest.mark.parametrize("split", ["validation", "test"])
def test_it_is_the_result_of_the_run(finished_run, split):
    trained = load_run(finished_run)
    samples = getattr(trained.dataset(), split)
    evaluation = evaluate(trained, samples)
    expected = json.loads((finished_run / "result.json").read_text())[split]
    assert evaluation.accuracy == pytest.approx(expected["accuracy"])
    assert evaluation.loss == pytest.approx(expected["loss"], rel=1e-5)
    rates = [expected[f"spike_rate_{layer}"] for layer in (1, 2)]
    assert evaluation.firing_rates == pytest.approx(rates, rel=1e-5)
    np.testing.assert_array_equal(evaluation.confusion.sum(axis=1), np.bincount(samples.targets[:, 1], minlength=3))
    predicted = trained.predict(samples.inputs, samples.block_index == 1)
    np.testing.assert_array_equal(evaluation.confusion.sum(axis=0), np.bincount(predicted, minlength=3))


def test_metrics_of_the_classes():
    """3 of 4 targets of class 0 are predicted, and one of class 1 as class 0; there is no target of class 2."""
    evaluation = Evaluation(0.5, np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]]), ())
    assert evaluation.accuracy == 0.8
    table = evaluation.by_class()
    assert table["targets"].tolist() == [4, 6, 0]
    np.testing.assert_allclose(table["recall"], [3 / 4, 5 / 6, np.nan])
    np.testing.assert_allclose(table["precision"], [3 / 4, 5 / 6, np.nan])
    np.testing.assert_allclose(table["f1"], [3 / 4, 5 / 6, np.nan])


def test_steps_without_target_do_not_count(tmp_path, finished_run):
    trained = load_run(finished_run)
    samples = trained.dataset().test
    hidden = samples.targets.copy()
    hidden[::2, 1] = -1
    evaluation = evaluate(trained, samples._replace(targets=hidden))
    assert evaluation.confusion.sum() == 10


@pytest.mark.parametrize("function", [evaluate, measure])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": np.tile([-1, 3], (20, 1))}, "targets reach -1..3"),
        ({"targets": np.tile([-1, -2], (20, 1))}, "targets reach -2"),
        ({"targets": np.full((20, 2), -1)}, "no target at all"),
        ({"targets": np.full((20, 1), -1)}, "block_index reaches 1"),
        ({"inputs": np.full((20, 200, 10), np.nan)}, "NaN or infinite"),
        ({"inputs": np.ones((20, 200, 11))}, "inputs have 11 channels, the network takes 10"),
        ({"block_index": np.full((20, 200), 2)}, "block_index reaches 2"),
        ({"inputs": np.ones((0, 200, 10))}, "no sample to evaluate on"),
    ],
)
def test_a_split_that_does_not_fit_is_refused_instead_of_scored(finished_run, function, changes, message):
    """Labels of 1 to 3, for example, would drop all targets of class 3, and leave the rest."""
    trained = load_run(finished_run)
    split = trained.dataset().test
    with pytest.raises(DatasetError, match=message):
        function(trained, split._replace(**changes))


class Silencing(Classification):
    """Classification of what no input is left of."""

    def prepare(self, batch):
        return batch._replace(inputs=0 * batch.inputs)


def test_changed_inputs_and_preparation_are_what_the_network_in_fixed_point_sees(finished_run, monkeypatch):
    trained = load_run(finished_run)
    test, fixed_point = trained.dataset().test, quantize(device_layers(trained.network, trained.variables))
    silent = evaluate(trained, test._replace(inputs=np.zeros_like(test.inputs)), fixed_point=fixed_point)
    changed = evaluate(trained, test, jax.tree_util.Partial(lambda inputs, _: 0 * inputs), fixed_point)
    np.testing.assert_array_equal(changed.confusion, silent.confusion)
    assert (evaluate(trained, test, fixed_point=fixed_point).confusion != silent.confusion).any()
    monkeypatch.setattr(TrainedModel, "task", Silencing(3))
    prepared = evaluate(trained, test, fixed_point=fixed_point)
    np.testing.assert_array_equal(prepared.confusion, silent.confusion)


def test_class_weights_are_in_the_losses_of_training_and_evaluation_but_not_in_accuracy(tiny_config, tmp_path):
    tiny_config.num_epochs = 1
    tiny_config.data.class_weights = (0.0, 1.0, 2.5)
    result = fit(tiny_config, tmp_path / "weighted")
    trained = load_run(tmp_path / "weighted")
    test = trained.dataset().test
    weighted = evaluate(trained, test)
    assert weighted.loss == pytest.approx(result["test"]["loss"], rel=1e-5)
    assert weighted.accuracy == pytest.approx(result["test"]["accuracy"])
    of_class = [test.take(test.targets[:, 1] == label) for label in range(3)]
    trained.config.unlock().data.class_weights = None
    plain = dataclasses.replace(trained)
    by_hand = sum(
        weight * len(split.inputs) * evaluate(plain, split).loss
        for weight, split in zip((0.0, 1.0, 2.5), of_class, strict=True)
    )
    assert weighted.loss == pytest.approx(by_hand / len(test.inputs), rel=1e-5)


def test_without_a_weight_a_class_is_not_learnt(tiny_config):
    """Its samples, with their labels, have no influence on the parameters."""
    tiny_config.data.class_weights = (1.0, 1.0, 0.0)
    tiny_config.batch_size = 8
    trainer, hyper = Trainer(tiny_config), TrainingHyperparameters.from_config(tiny_config)
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.integers(0, 3, (8, 20, 4)), jnp.float32)
    labels = np.arange(8) % 3
    changed = jnp.where(jnp.asarray(labels == 2)[:, None, None], 0, inputs)

    def gradients(inputs):
        samples = Samples(inputs, jnp.asarray(np.stack([np.full(8, -1), labels], 1)), jnp.ones((8, 20), jnp.int32))
        state = trainer.init(0, hyper, samples)
        return jax.jit(trainer.train_steps)(state, trainer.start_epoch(state), hyper, samples, 0, 1).variables["params"]

    for of_all, of_others in zip(*(jax.tree.leaves(gradients(x)) for x in (inputs, changed)), strict=True):
        np.testing.assert_allclose(of_all, of_others, rtol=1e-5, atol=1e-7)
