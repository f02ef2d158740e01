import json

import numpy as np
import pytest

from seadlif_jax import load_run
from seadlif_jax.evaluation import Evaluation, evaluate


@pytest.mark.parametrize("split", ["validation", "test"])
def test_it_is_what_the_run_found(finished_run, split):
    trained = load_run(finished_run)
    samples = getattr(trained.dataset(), split)
    found = evaluate(trained, samples)
    expected = json.loads((finished_run / "result.json").read_text())[split]
    assert found.accuracy == pytest.approx(expected["accuracy"])
    assert found.loss == pytest.approx(expected["loss"], rel=1e-5)
    np.testing.assert_array_equal(found.confusion.sum(axis=1), np.bincount(samples.targets[:, 1], minlength=3))
    predicted = trained.predict(samples.inputs, samples.block_index == 1)
    np.testing.assert_array_equal(found.confusion.sum(axis=0), np.bincount(predicted, minlength=3))


def test_figures_of_the_classes():
    """Of class 0, 3 of 4 targets are found, and one of class 1 is taken for it; there is no target of class 2."""
    found = Evaluation(0.5, np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]]))
    assert found.accuracy == 0.8
    table = found.by_class()
    assert table["targets"].tolist() == [4, 6, 0]
    np.testing.assert_allclose(table["recall"], [3 / 4, 5 / 6, np.nan])
    np.testing.assert_allclose(table["precision"], [3 / 4, 5 / 6, np.nan])
    np.testing.assert_allclose(table["f1"], [3 / 4, 5 / 6, np.nan])


def test_steps_without_target_do_not_count(tmp_path, finished_run):
    trained = load_run(finished_run)
    samples = trained.dataset().test
    hidden = samples.targets.copy()
    hidden[::2, 1] = -1
    found = evaluate(trained, samples._replace(targets=hidden))
    assert found.confusion.sum() == 10
