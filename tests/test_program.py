from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import bsd
from seadlif_jax import losses as readout
from seadlif_jax.build import build_network
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.samples import to_device
from seadlif_jax.training.state import Hyperparameters
from seadlif_jax.training.trainer import Trainer, no_sums
from seadlif_jax.utils.keys import Purpose, key_for


@pytest.fixture
def setup(tiny_config):
    dataset = bsd.load(tiny_config)
    program, hyper = Trainer(tiny_config), Hyperparameters.from_config(tiny_config)
    train, validation = to_device(dataset.train), to_device(dataset.validation)
    state = jax.jit(program.init)(0, hyper, train)
    return program, hyper, train, validation, state


def assert_equal(first, second):
    def same(a, b):
        if jnp.issubdtype(jnp.asarray(a).dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)

    jax.tree.map(same, first, second)


def test_an_epoch_keeps_the_type_of_the_state_so_that_it_compiles_once(setup):
    program, hyper, train, validation, state = setup
    train_epoch = jax.jit(program.train_epoch)
    for _ in range(3):
        state, _ = train_epoch(state, hyper, train, validation)
    assert train_epoch._cache_size() == 1
    assert int(state.epoch) == 3


def test_an_epoch_may_be_cut_anywhere_with_the_same_bits(setup):
    """The one compiled program gives them; an epoch in one call is another, which may round otherwise."""
    program, hyper, train, validation, state = setup
    train_steps = jax.jit(program.train_steps)

    def cut(*cuts):
        cut_state, sums = state, no_sums()
        for first, stop in pairwise(cuts):
            cut_state, sums = train_steps(cut_state, sums, hyper, train, first, stop)
        return cut_state, sums

    whole = cut(0, 4)
    for cuts in ((0, 1, 4), (0, 1, 2, 3, 4)):
        assert_equal(cut(*cuts), whole)
    found = jax.jit(program.end_epoch)(*whole, hyper, validation)
    expected = jax.jit(program.train_epoch)(state, hyper, train, validation)
    assert int(found[0].epoch) == int(expected[0].epoch) == 1
    for one, other in zip(jax.tree.leaves(found[0].params), jax.tree.leaves(expected[0].params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_training_learns(setup):
    program, hyper, train, validation, state = setup
    train_epoch = jax.jit(program.train_epoch)
    losses = []
    for _ in range(15):
        state, metrics = train_epoch(state, hyper._replace(learning_rate=jnp.asarray(0.05)), train, validation)
        losses.append(float(metrics["train_loss"]))
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_seed_gives_the_same_bits_and_another_others(setup):
    program, hyper, train, validation, state = setup
    train_epoch = jax.jit(program.train_epoch)
    once, again = (train_epoch(state, hyper, train, validation) for _ in range(2))
    assert_equal(once, again)
    other, _ = train_epoch(jax.jit(program.init)(1, hyper, train), hyper, train, validation)
    assert not jnp.array_equal(once[0].params["layers_0"]["kernel"], other.params["layers_0"]["kernel"])


def test_runs_can_be_mapped_over_seed_and_hyperparameters(setup):
    program, hyper, train, validation, _ = setup
    seeds = jnp.array([0, 5])
    hypers = jax.tree.map(lambda value: value * jnp.array([1.0, 0.5]), hyper)
    states = jax.vmap(program.init, in_axes=(0, 0, None))(seeds, hypers, train)
    epoch = jax.jit(jax.vmap(program.train_epoch, in_axes=(0, 0, None, None)))
    _, mapped = epoch(states, hypers, train, validation)
    for index in range(2):
        single = jax.tree.map(lambda value, i=index: value[i], hypers)
        state = jax.jit(program.init)(seeds[index], single, train)
        _, metrics = jax.jit(program.train_epoch)(state, single, train, validation)
        for name, value in metrics.items():
            assert float(mapped[name][index]) == pytest.approx(float(value), rel=2e-3), name


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 64])
def test_evaluation_weighs_every_target_the_same_whatever_the_batch(setup, tiny_config, batch_size):
    _, hyper, _, validation, state = setup
    tiny_config.batch_size = batch_size
    program = Trainer(tiny_config)
    found = jax.jit(program.evaluate)(state.params, state.constants, hyper, validation)

    network = build_network(program.config, hyper)
    outputs = network.apply({"params": state.params, "constants": state.constants}, validation.inputs)
    whole = validation.take(jnp.arange(validation.size))
    sums = readout.classification(outputs, whole.block_index, whole.targets, "softmax")
    assert float(found["loss"]) == pytest.approx(float(sums.mean_loss()), rel=1e-5)
    assert float(found["accuracy"]) == pytest.approx(float(sums.mean_score()), rel=1e-6)


def test_inputs_may_be_changed_for_evaluation_and_those_that_fill_up_a_batch_do_not_count(setup, tiny_config):
    _, hyper, _, validation, state = setup
    tiny_config.batch_size = 3  # 10 samples: the last of four batches holds one, and two seen before
    program = Trainer(tiny_config)

    @jax.jit
    def evaluate(first_row):
        def change(inputs, batch):
            changed = (batch == 3) & (jnp.arange(3) >= first_row)
            return jnp.where(changed[:, None, None], 9, inputs)

        return program.evaluate(state.params, state.constants, hyper, validation, change_inputs=change)

    found = jax.jit(program.evaluate)(state.params, state.constants, hyper, validation)
    assert_equal(evaluate(1), found)
    assert float(evaluate(0)["loss"]) != float(found["loss"])


def test_samples_with_more_targets_weigh_more(setup, tiny_config):
    _, hyper, _, _, state = setup
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, (5, 4))
    targets[:, 0], targets[0, 1:] = -1, -1
    targets[1, 2:] = -1
    samples = to_device(
        Split(
            rng.integers(0, 2, (5, 200, 10)).astype(np.uint8),
            targets.astype(np.int8),
            rng.integers(0, 4, (5, 200)).astype(np.uint8),
        )
    )
    results = []
    for batch_size in (2, 5):
        tiny_config.batch_size = batch_size
        program = Trainer(tiny_config)
        results.append(jax.jit(program.evaluate)(state.params, state.constants, hyper, samples))
    assert float(results[0]["loss"]) == pytest.approx(float(results[1]["loss"]), rel=1e-5)


def test_the_best_epoch_is_the_first_of_the_best(setup):
    program, _, _, _, state = setup
    best = state.best
    history = [0.5, 0.7, 0.7, 0.6, 0.8, 0.8]
    for epoch, accuracy in enumerate(history, 1):
        params = jax.tree.map(lambda leaf, e=epoch: jnp.full_like(leaf, e), state.params)
        best = program._best(best, jnp.asarray(epoch), {"validation_accuracy": jnp.asarray(accuracy)}, params)
        expected = 1 + int(np.argmax(history[:epoch]))
        assert int(best.epoch) == expected
        assert all((leaf == expected).all() for leaf in jax.tree.leaves(best.params))


def test_a_nan_never_becomes_the_best(setup):
    program, _, _, _, state = setup
    best = program._best(state.best, jnp.asarray(1), {"validation_accuracy": jnp.asarray(jnp.nan)}, state.params)
    assert int(best.epoch) == 0


def test_the_plateau_schedule_scales_the_learning_rate(tiny_config):
    tiny_config.optimizer.plateau_factor = 0.5
    tiny_config.optimizer.plateau_patience = 0
    tiny_config.optimizer.learning_rate = 1e-12  # no progress: the loss stalls from the second epoch on
    dataset = bsd.load(tiny_config)
    program, hyper = Trainer(tiny_config), Hyperparameters.from_config(tiny_config)
    train, validation = to_device(dataset.train), to_device(dataset.validation)
    state, rates = program.init(0, hyper, train), []
    train_epoch = jax.jit(program.train_epoch)
    for _ in range(4):
        state, metrics = train_epoch(state, hyper, train, validation)
        rates.append(float(metrics["learning_rate"]))
    np.testing.assert_allclose(rates, [1e-12, 1e-12, 0.5e-12, 0.25e-12], rtol=1e-5)


def test_fixed_readout_time_constants_are_not_touched_by_training(setup):
    program, hyper, train, validation, state = setup
    trained, _ = jax.jit(program.train_epoch)(state, hyper, train, validation)
    assert_equal(trained.constants, state.constants)
    assert "tau" not in str(jax.tree.structure(trained.opt_state))


def test_forecasting_trains_on_its_own_loss(tiny_config):
    tiny_config.model.aggregation = "forecast"
    tiny_config.model.tau_out = (1.0, 2.0)
    tiny_config.model.hidden = (24,)
    tiny_config.optimizer.learning_rate = 0.03
    tiny_config.data.num_classes = 2
    rng = np.random.default_rng(0)
    time = np.arange(41) / 4 + rng.uniform(0, 6, (40, 1))
    waves = np.stack([np.sin(time), np.cos(time)], axis=-1).astype(np.float32)
    dummy = np.full((40, 1, 2), -1, np.float32)
    samples = to_device(
        Split(waves[:, :-1], np.concatenate([dummy, waves[:, 1:]], axis=1), np.ones((40, 40), np.uint8))
    )
    program, hyper = Trainer(tiny_config), Hyperparameters.from_config(tiny_config)
    state, losses = program.init(0, hyper, samples), []
    train_epoch = jax.jit(program.train_epoch)
    for _ in range(30):
        state, metrics = train_epoch(state, hyper, samples, samples)
        losses.append(float(metrics["validation_loss"]))
    assert {"train_mse", "validation_mse"} <= set(metrics)
    assert losses[-1] < 0.8 * losses[0]
    assert float(state.best.score) == pytest.approx(-min(losses))


def test_keys_differ_by_purpose_epoch_and_step():
    key = jax.random.key(0)
    keys = [
        key_for(key, Purpose.PARAMETERS),
        *(key_for(key, Purpose.ORDER, epoch) for epoch in range(3)),
        *(key_for(key, Purpose.DROPOUT, epoch, step) for epoch in range(3) for step in range(3)),
    ]
    assert len({jax.random.key_data(key).tobytes() for key in keys}) == len(keys)
