import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.build import build_task
from seadlif_jax.config import ConfigError
from seadlif_jax.data.on_device.augmentation import Augmentation, ByClass, augment
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.losses import classification
from seadlif_jax.training import fit

BATCH, STEPS, CHANNELS = 64, 40, 12


@pytest.fixture
def batch():
    """Event counts; the first steps of a sample and those behind its end are block 0."""
    rng = np.random.default_rng(0)
    step, length = np.arange(STEPS), rng.integers(20, STEPS + 1, BATCH)[:, None]
    return Samples(
        jnp.asarray(rng.poisson(0.5, (BATCH, STEPS, CHANNELS)).astype(np.uint8)),
        jnp.asarray(np.stack([np.full(BATCH, -1), rng.integers(0, 4, BATCH)], axis=1).astype(np.int32)),
        jnp.asarray(((step >= 3) & (step < length)).astype(np.int32)),
    )


@pytest.fixture
def keys():
    return jax.random.split(jax.random.key(1), BATCH)


def augmented(batch, keys, partners=None, **amounts):
    amounts = {name: jnp.asarray(amount, float) for name, amount in amounts.items()}
    return jax.jit(augment)(batch, partners, keys, Augmentation(**amounts))


def labelled_steps():
    """Three samples with a class for every step, which also is the number of the step."""
    steps = np.arange(STEPS)
    return Samples(
        jnp.asarray(np.broadcast_to(steps[:, None], (3, STEPS, 2)).astype(np.int8)),
        jnp.asarray(np.broadcast_to(np.r_[-1, steps], (3, STEPS + 1)).astype(np.int32)),
        jnp.asarray(np.broadcast_to(steps + 1, (3, STEPS)).astype(np.int32)),
    )


@pytest.mark.parametrize("name", [name for name in Augmentation._fields if name != "mix"])
def test_an_amount_of_0_changes_nothing(name, batch, keys):
    same = augmented(batch, keys, **{name: 0.0})
    jax.tree.map(np.testing.assert_array_equal, same, batch)


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("drop_events", 0.3),
        ("drop_channels", 0.3),
        ("shift_channels", 4.0),
        ("jitter_channels", 2.0),
        ("shift_time", 6.0),
        ("stretch_time", 0.3),
        ("mix", 1.0),
    ],
)
def test_classes_shapes_and_whole_numbers_are_kept_and_samples_change(name, amount, batch, keys):
    partners = jax.tree.map(lambda array: array[::-1], batch)
    changed = augmented(batch, keys, partners, **{name: amount})
    np.testing.assert_array_equal(changed.targets, batch.targets)
    assert changed.inputs.shape == batch.inputs.shape
    assert changed.inputs.dtype == jnp.int16
    assert changed.inputs.min() >= 0
    same = (changed.inputs == batch.inputs).all(axis=(1, 2))
    assert same.mean() < 0.35  # with a shift of at most 4 or 6 steps, 0 is drawn now and then
    again, other = (augmented(batch, key, partners, **{name: amount}) for key in (keys, keys[::-1]))
    np.testing.assert_array_equal(again.inputs, changed.inputs)
    assert (other.inputs != changed.inputs).any()


def test_what_is_added_to_an_augmentation_leaves_the_draws_of_the_others(batch, keys):
    both = augmented(batch, keys, drop_channels=0.5, shift_time=5.0)
    one_after_the_other = augmented(augmented(batch, keys, drop_channels=0.5), keys, shift_time=5.0)
    jax.tree.map(np.testing.assert_array_equal, both, one_after_the_other)


def test_what_a_sample_becomes_depends_on_its_key_alone(batch, keys):
    amounts = {"drop_events": 0.2, "shift_channels": 3.0, "stretch_time": 0.2}
    whole = augmented(batch, keys, **amounts)
    part = augmented(jax.tree.map(lambda array: array[5:8], batch), keys[5:8], **amounts)
    jax.tree.map(lambda array, other: np.testing.assert_array_equal(array[5:8], other), whole, part)


def test_events_are_dropped_with_the_probability_given(batch, keys):
    changed = augmented(batch, keys, drop_events=0.3)
    kept = np.asarray(changed.inputs)[np.asarray(batch.inputs) > 0] > 0
    assert kept.mean() == pytest.approx(0.7, abs=0.02)
    assert ((changed.inputs == batch.inputs) | (changed.inputs == 0)).all()


def test_channels_are_silenced_for_a_whole_sample(batch, keys):
    changed = augmented(batch, keys, drop_channels=0.3)
    silent = (changed.inputs == 0).all(axis=1)
    assert float(silent.mean()) == pytest.approx(0.3, abs=0.06)
    assert ((changed.inputs == batch.inputs) | silent[:, None]).all()


def test_channels_are_shifted_together_by_at_most_the_amount(batch, keys):
    changed = augmented(batch, keys, shift_channels=4.0)
    shifts = set()
    for before, after in zip(np.asarray(batch.inputs), np.asarray(changed.inputs), strict=True):
        shift = next(s for s in range(-4, 5) if np.array_equal(shifted(before.T, s).T, after))
        shifts.add(shift)
    assert shifts == set(range(-4, 5))


def shifted(rows, shift):
    """The rows moved by a number of places, zeros in their place."""
    moved = np.roll(rows, shift, axis=0)
    if shift > 0:
        moved[:shift] = 0
    elif shift:
        moved[shift:] = 0
    return moved


def test_jitter_moves_each_channel_on_its_own_and_adds_what_meets(keys):
    inputs = jnp.zeros((BATCH, 1, 101), jnp.int8).at[:, 0, 50].set(1).at[:, 0, 51].set(1)
    sample = Samples(inputs, jnp.zeros((BATCH, 2), jnp.int32), jnp.ones((BATCH, 1), jnp.int32))
    changed = np.asarray(augmented(sample, keys, jitter_channels=3.0).inputs)[:, 0]
    assert (changed.sum(axis=1) == 2).all()
    assert (changed == 2).any()
    positions = np.repeat(np.nonzero(changed)[1], changed[np.nonzero(changed)])
    assert (positions - 50.5).std() == pytest.approx(3.0, abs=0.7)


def test_targets_move_with_their_steps(keys):
    samples = labelled_steps()
    changed = augmented(samples, keys[:3], shift_time=5.0)
    for before, x, targets, block_index in zip(samples.inputs, *changed, strict=True):
        shift = next(s for s in range(-5, 6) if np.array_equal(shifted(np.asarray(before), s), np.asarray(x)))
        for step in range(STEPS):
            inside = 0 <= step - shift < STEPS
            assert int(block_index[step]) == (step - shift + 1 if inside else 0)
        gone = {step for step in range(STEPS) if not 0 <= step + shift < STEPS}
        assert {step for step in range(STEPS) if targets[1 + step] == -1} == gone
    assert (changed.targets[:, 0] == -1).all()


def test_a_block_that_has_lost_its_steps_does_not_count_in_the_loss(keys):
    changed = augmented(labelled_steps(), keys[:3], shift_time=5.0)
    sums = classification(jnp.zeros((3, STEPS, STEPS)), changed.block_index, changed.targets, "mean")
    assert int(sums.loss_terms) == int((changed.block_index != 0).sum())


def test_stretching_leaves_events_in_the_blocks_of_their_steps():
    """Where several steps become one, its block is that of the first of them."""
    samples = labelled_steps()
    event = jnp.zeros((BATCH, STEPS, 1), jnp.int8).at[:, 20].set(1)
    targets, block_index = (jnp.broadcast_to(array[0], (BATCH, *array.shape[1:])) for array in samples[1:])
    keys = jax.random.split(jax.random.key(2), BATCH)
    stretched = augmented(Samples(event, targets, block_index), keys, stretch_time=0.4)
    steps = np.asarray(stretched.inputs[:, :, 0].argmax(axis=1))
    assert steps.min() < 15
    assert steps.max() > 25
    of_event = np.asarray(stretched.block_index)[np.arange(BATCH), steps] - 1
    assert set(of_event) == {19, 20}
    for blocks in np.asarray(stretched.block_index):
        assert (np.diff(blocks[blocks != 0]) >= 0).all()


def test_stretching_loses_no_event_that_stays_inside(batch, keys):
    inside = batch._replace(inputs=batch.inputs.at[:, 25:].set(0))
    changed = augmented(inside, keys, stretch_time=0.3)
    np.testing.assert_array_equal(changed.inputs.sum(axis=(1, 2)), inside.inputs.sum(axis=(1, 2), dtype=int))


def test_mixing_takes_half_of_the_entries_of_another_sample_and_the_steps_of_both(batch, keys):
    ones, twos = (jax.tree.map(lambda array: array, batch)._replace(inputs=batch.inputs * 0 + n) for n in (1, 2))
    twos = twos._replace(block_index=jnp.ones_like(batch.block_index))
    changed = augmented(ones, keys, twos, mix=0.4)
    of_other = np.asarray((changed.inputs == 2).mean(axis=(1, 2)))
    is_mixed = of_other > 0
    assert is_mixed.mean() == pytest.approx(0.4, abs=0.15)
    np.testing.assert_allclose(of_other[is_mixed], 0.5, atol=0.1)
    np.testing.assert_array_equal(changed.block_index[is_mixed], 1)
    np.testing.assert_array_equal(changed.block_index[~is_mixed], batch.block_index[~is_mixed])


def test_partners_are_of_the_same_class_and_all_are_drawn(keys):
    labels = jnp.array([2, 0, 1, 0, 2, 2, 3, 0])
    indices = jnp.arange(BATCH) % 8
    partners = np.asarray(
        jax.jit(lambda *given: ByClass.of(given[0]).choose_partners(*given[1:]))(labels, indices, keys)
    )
    np.testing.assert_array_equal(labels[partners], labels[indices])
    assert (partners[indices == 6] == 6).all()  # alone in its class
    assert set(partners[labels[indices] == 0]) == {1, 3, 7}


def test_a_forecast_is_not_augmented(tiny_config):
    tiny_config.task, tiny_config.augment.shift_time = "forecast", 3.0
    with pytest.raises(ConfigError, match=r"config\.augment\.shift_time: for classification only"):
        build_task(tiny_config)


def test_samples_with_several_classes_are_not_mixed(tiny_config, tmp_path):
    from seadlif_jax.data.dataset import Dataset, Split

    samples = labelled_steps()
    split = Split(*(np.concatenate([np.asarray(array)] * 10) for array in samples))
    tiny_config.data.num_classes, tiny_config.augment.mix = STEPS, 0.5
    with pytest.raises(
        ConfigError, match=r"config\.augment\.mix with 0\.5: samples can be mixed if each has one class"
    ):
        fit(tiny_config, tmp_path / "run", Dataset(split, split, split, "same"))
