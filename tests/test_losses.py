import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import losses

RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(size=(2, 7, 3))
BLOCKS = np.array([[0, 1, 1, 2, 2, 2, 0], [0, 0, 1, 1, 1, 1, 4]])
TARGETS = np.array([[-1, 2, 0, -1, 1], [-1, 0, -1, 1, 2]])
ARRAYS = tuple(map(jnp.asarray, (OUTPUTS, BLOCKS, TARGETS)))


def by_hand(aggregation):
    """Loops over samples and blocks."""
    scores = np.zeros((2, 5, 3))
    for sample in range(2):
        for block in range(5):
            y = OUTPUTS[sample, BLOCKS[sample] == block]
            if aggregation == "softmax":
                scores[sample, block] = (np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)).sum(axis=0)
            elif len(y):
                scores[sample, block] = y.mean(axis=0)
    return scores


@pytest.mark.parametrize("aggregation", losses.AGGREGATIONS)
def test_aggregation_gathers_the_steps_of_each_block(aggregation, x64):
    found = losses.aggregate(jnp.asarray(OUTPUTS), jnp.asarray(BLOCKS), 4, aggregation)
    np.testing.assert_allclose(found, by_hand(aggregation), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("aggregation", losses.AGGREGATIONS)
def test_loss_and_accuracy_average_over_targets_that_are_given(aggregation, x64):
    sums = losses.classification(*map(jnp.asarray, (OUTPUTS, BLOCKS, TARGETS)), aggregation)
    scores, terms, correct = by_hand(aggregation), [], []
    for sample in range(2):
        for block in range(5):
            target = TARGETS[sample, block]
            if target != -1:
                logits = scores[sample, block]
                terms.append(np.log(np.exp(logits).sum()) - logits[target])
                correct.append(logits.argmax() == target)
    assert float(sums.mean_loss()) == pytest.approx(np.mean(terms), rel=1e-12)
    assert float(sums.mean_score()) == pytest.approx(np.mean(correct), rel=1e-12)
    assert int(sums.loss_terms) == len(terms) == 6


def test_sums_of_parts_are_the_sum_of_the_whole(x64):
    arrays = tuple(map(jnp.asarray, (OUTPUTS, BLOCKS, TARGETS)))
    whole = losses.classification(*arrays, "mean")
    parts = [losses.classification(*(array[i : i + 1] for array in arrays), "mean") for i in range(2)]
    np.testing.assert_allclose(np.add(*map(np.asarray, parts)), np.asarray(whole), rtol=1e-12)


def test_no_target_at_all_gives_zero_not_nan():
    sums = losses.classification(jnp.asarray(OUTPUTS), jnp.asarray(BLOCKS), jnp.full((2, 5), -1), "softmax")
    assert float(sums.mean_loss()) == float(sums.mean_score()) == 0.0


def test_forecast_loss_skips_block_0_and_mse_is_of_the_second_half(x64):
    targets = RNG.normal(size=(2, 8, 3))
    blocks = np.array([[0, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 0]])
    sums = losses.forecast(*map(jnp.asarray, (OUTPUTS, blocks, targets)))
    errors = ((OUTPUTS - targets[:, 1:]) ** 2).mean(axis=-1)
    assert float(sums.mean_loss()) == pytest.approx(errors[blocks == 1].mean(), rel=1e-12)
    # ceil(7 / 2) = 4
    assert float(sums.mean_score()) == pytest.approx(errors[:, 4:][blocks[:, 4:] == 1].mean(), rel=1e-12)


@pytest.mark.parametrize(("steps", "start"), [(1, 1), (2, 1), (7, 4), (200, 100), (201, 101)])
def test_feedback_starts_at_half_the_steps_rounded_up(steps, start):
    assert losses.feedback_start(steps) == start


def test_an_unknown_aggregation_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown aggregation 'max'; choose one of softmax, mean"):
        losses.aggregate(jnp.asarray(OUTPUTS), jnp.asarray(BLOCKS), 4, "max")


@pytest.mark.parametrize("aggregation", ["softmax", "mean"])
def test_class_weights_multiply_the_loss_of_each_target_and_nothing_else(aggregation):
    outputs, blocks, targets = map(jnp.asarray, (OUTPUTS, BLOCKS, TARGETS))
    weights = tuple(float(weight) for weight in range(2, 2 + outputs.shape[-1]))
    plain = losses.classification(outputs, blocks, targets, aggregation)
    weighted = losses.classification(outputs, blocks, targets, aggregation, weights)
    expected = 0.0
    for label, weight in enumerate(weights):
        of_class = jnp.where(targets == label, targets, losses.IGNORED)
        expected += weight * float(losses.classification(outputs, blocks, of_class, aggregation).loss)
    assert float(weighted.loss) == pytest.approx(expected, rel=1e-6)
    assert float(weighted.loss) != pytest.approx(float(plain.loss))
    assert weighted[1:] == plain[1:]
    ones = losses.classification(outputs, blocks, targets, aggregation, (1.0,) * outputs.shape[-1])
    assert float(ones.loss) == float(plain.loss)


@pytest.mark.parametrize("aggregation", losses.AGGREGATIONS)
def test_label_smoothing_mixes_the_loss_with_the_mean_of_the_losses_of_all_classes(aggregation, x64):
    outputs, blocks, targets = map(jnp.asarray, (OUTPUTS, BLOCKS, TARGETS))
    smoothed = losses.classification(outputs, blocks, targets, aggregation, label_smoothing=0.3)
    plain = losses.classification(outputs, blocks, targets, aggregation)
    of_classes = [
        losses.classification(outputs, blocks, jnp.where(targets == -1, -1, label), aggregation).loss
        for label in range(outputs.shape[-1])
    ]
    assert float(smoothed.loss) == pytest.approx(0.7 * float(plain.loss) + 0.3 * np.mean(of_classes), rel=1e-12)
    assert smoothed[1:] == plain[1:]


def test_labels_without_the_column_of_block_0_are_refused():
    with pytest.raises(ValueError, match=r"targets have shape \(3, 1\); .* jnp.stack\("):
        losses.classification(jnp.zeros((3, 5, 2)), jnp.ones((3, 5), int), jnp.zeros((3, 1), int), "softmax")


@pytest.mark.parametrize("weights", [(1.0, 5.0), (1.0, 5.0, 1.0, 1.0), ()])
def test_another_number_of_class_weights_is_refused(weights):
    with pytest.raises(ValueError, match=f"there are {len(weights)} class_weights for 3 classes"):
        losses.classification(*ARRAYS, "mean", weights)


def test_class_weights_may_be_an_array():
    expected = losses.classification(*ARRAYS, "mean", (1.0, 2.0, 3.0))
    assert losses.classification(*ARRAYS, "mean", jnp.array([1.0, 2.0, 3.0])) == expected


@pytest.mark.parametrize("smoothing", [None, 0.1])
def test_a_target_that_is_no_class_gives_no_loss_that_could_be_true(smoothing):
    sums = losses.classification(*ARRAYS[:2], jnp.where(ARRAYS[2] == 2, 7, ARRAYS[2]), "mean", None, smoothing)
    assert np.isnan(sums.loss)


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 2, 3), (1, 8, 3), (2, 8, 1), (2, 8)])
def test_targets_of_a_forecast_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"they must be \[batch, time \+ 1, channel\], \(2, 8, 3\)"):
        losses.forecast(*ARRAYS[:2], jnp.zeros(shape))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("aggregation", losses.AGGREGATIONS)
def test_many_steps_of_a_narrow_type_are_summed_in_float32(aggregation, dtype):
    outputs = jnp.arange(1000)[None, :, None] * jnp.array([1.0, 1.0])
    exact = outputs.astype(dtype).astype(jnp.float32)
    blocks = jnp.ones((1, 1000), int)
    expected = losses.aggregate(exact, blocks, 1, aggregation)
    found = losses.aggregate(outputs.astype(dtype), blocks, 1, aggregation)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, expected)
