from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import bsd
from seadlif_jax import losses, parallel
from seadlif_jax.build import build_network
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.on_device.samples import to_device
from seadlif_jax.training.state import Best, TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer, better
from seadlif_jax.utils.keys import Purpose, key_for


@pytest.fixture
def setup(tiny_config):
    dataset = bsd.load(tiny_config)
    trainer, hyper = Trainer(tiny_config), TrainingHyperparameters.from_config(tiny_config)
    train, validation = to_device(dataset.train), to_device(dataset.validation)
    state = jax.jit(trainer.init)(0, hyper, train)
    return trainer, hyper, train, validation, state


def assert_equal(first, second):
    def same(a, b):
        if jnp.issubdtype(jnp.asarray(a).dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)

    jax.tree.map(same, first, second)


def test_an_epoch_keeps_the_type_of_the_state_so_that_it_compiles_once(setup):
    trainer, hyper, train, validation, state = setup
    train_epoch = jax.jit(trainer.train_epoch)
    for _ in range(3):
        state, _ = train_epoch(state, hyper, train, validation)
    assert train_epoch._cache_size() == 1
    assert int(state.epoch) == 3


def test_an_epoch_may_be_cut_anywhere_with_the_same_bits(setup):
    """The one compiled trainer gives them; an epoch in one call is another, which may round otherwise."""
    trainer, hyper, train, validation, state = setup
    train_steps = jax.jit(trainer.train_steps)

    def cut(*cuts):
        running = trainer.start_epoch(state)
        for first, stop in pairwise(cuts):
            running = train_steps(state, running, hyper, train, first, stop)
        return running

    whole = cut(0, 4)
    for cuts in ((0, 1, 4), (0, 1, 2, 3, 4)):
        assert_equal(cut(*cuts), whole)
    ended, outcome = jax.jit(trainer.end_epoch)(state, whole, hyper, validation, 0)
    expected, metrics = jax.jit(trainer.train_epoch)(state, hyper, train, validation)
    assert int(ended.epoch) == int(expected.epoch) == 1
    assert outcome.metrics.keys() == metrics.keys()
    for array, other in zip(jax.tree.leaves(ended.variables), jax.tree.leaves(expected.variables), strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-4, atol=1e-6)


def test_training_learns(setup):
    trainer, hyper, train, validation, state = setup
    train_epoch = jax.jit(trainer.train_epoch)
    train_losses = []
    for _ in range(15):
        state, metrics = train_epoch(state, hyper._replace(learning_rate=jnp.asarray(0.05)), train, validation)
        train_losses.append(float(metrics["train_loss"]))
    assert train_losses[-1] < 0.8 * train_losses[0]


def test_the_same_seed_gives_the_same_bits_and_another_others(setup):
    trainer, hyper, train, validation, state = setup
    train_epoch = jax.jit(trainer.train_epoch)
    once, again = (train_epoch(state, hyper, train, validation) for _ in range(2))
    assert_equal(once, again)
    other, _ = train_epoch(jax.jit(trainer.init)(1, hyper, train), hyper, train, validation)
    assert not jnp.array_equal(
        once[0].variables["params"]["layers_0"]["kernel"], other.variables["params"]["layers_0"]["kernel"]
    )


@pytest.mark.slow
def test_runs_can_be_mapped_over_seed_and_hyperparameters(setup):
    trainer, hyper, train, validation, _ = setup
    seeds = jnp.array([0, 5])
    hypers = jax.tree.map(lambda value: value * jnp.array([1.0, 0.5]), hyper)
    states = jax.vmap(trainer.init, in_axes=(0, 0, None))(seeds, hypers, train)
    epoch = jax.jit(jax.vmap(trainer.train_epoch, in_axes=(0, 0, None, None)))
    _, mapped = epoch(states, hypers, train, validation)
    for index in range(2):
        single = jax.tree.map(lambda value, i=index: value[i], hypers)
        state = jax.jit(trainer.init)(seeds[index], single, train)
        _, metrics = jax.jit(trainer.train_epoch)(state, single, train, validation)
        for name, value in metrics.items():
            assert float(mapped[name][index]) == pytest.approx(float(value), rel=2e-3), name


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 64])
def test_evaluation_weighs_every_target_the_same_whatever_the_batch(setup, tiny_config, batch_size):
    _, hyper, _, validation, state = setup
    tiny_config.batch_size = batch_size
    trainer = Trainer(tiny_config)
    found = jax.jit(trainer.evaluate)(state.variables, hyper, validation)

    network = build_network(trainer.config, validation.inputs.shape[-1])
    outputs = network.apply(state.variables, validation.inputs)
    whole = validation.take(jnp.arange(validation.size))
    sums = losses.classification(outputs, whole.block_index, whole.targets, "softmax")
    assert float(found["loss"]) == pytest.approx(float(sums.mean_loss()), rel=1e-5)
    assert float(found["accuracy"]) == pytest.approx(float(sums.mean_score()), rel=1e-6)


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
        trainer = Trainer(tiny_config)
        results.append(jax.jit(trainer.evaluate)(state.variables, hyper, samples))
    assert float(results[0]["loss"]) == pytest.approx(float(results[1]["loss"]), rel=1e-5)


def test_the_best_epoch_is_the_first_of_the_best(setup):
    _, _, _, _, state = setup
    best, history = state.best, [0.5, 0.7, 0.7, 0.6, 0.8, 0.8]
    for epoch, score in enumerate(history, 1):
        variables = jax.tree.map(lambda leaf, e=epoch: jnp.full_like(leaf, e), state.variables)
        best = better(Best(jnp.asarray(epoch), jnp.asarray(score), variables), best)
        expected = 1 + int(np.argmax(history[:epoch]))
        assert int(best.epoch) == expected
        assert all((leaf == expected).all() for leaf in jax.tree.leaves(best.variables))


def test_a_nan_never_becomes_the_best(setup):
    _, _, _, _, state = setup
    assert int(better(Best(jnp.asarray(1), jnp.asarray(jnp.nan), state.variables), state.best).epoch) == 0


def test_the_plateau_schedule_scales_the_learning_rate(tiny_config):
    tiny_config.optimizer.plateau_factor = 0.5
    tiny_config.optimizer.plateau_patience = 0
    tiny_config.optimizer.learning_rate = 1e-12  # no progress: the loss stalls from the second epoch on
    dataset = bsd.load(tiny_config)
    trainer, hyper = Trainer(tiny_config), TrainingHyperparameters.from_config(tiny_config)
    train, validation = to_device(dataset.train), to_device(dataset.validation)
    state, rates = trainer.init(0, hyper, train), []
    train_epoch = jax.jit(trainer.train_epoch)
    for _ in range(4):
        state, metrics = train_epoch(state, hyper, train, validation)
        rates.append(float(metrics["learning_rate"]))
    np.testing.assert_allclose(rates, [1e-12, 1e-12, 0.5e-12, 0.25e-12], rtol=1e-5)


def test_fixed_readout_time_constants_are_not_touched_by_training(setup):
    trainer, hyper, train, validation, state = setup
    trained, _ = jax.jit(trainer.train_epoch)(state, hyper, train, validation)
    assert_equal(trained.variables["constants"], state.variables["constants"])
    assert "tau" not in str(jax.tree.structure(trained.opt_state))


def test_forecasting_trains_on_its_own_loss(tiny_config):
    tiny_config.task = "forecast"
    tiny_config.model.tau_out = (1.0, 2.0)
    tiny_config.model.hidden = (24,)
    tiny_config.optimizer.learning_rate = 0.03
    rng = np.random.default_rng(0)
    time = np.arange(41) / 4 + rng.uniform(0, 6, (40, 1))
    waves = np.stack([np.sin(time), np.cos(time)], axis=-1).astype(np.float32)
    dummy = np.full((40, 1, 2), -1, np.float32)
    samples = to_device(
        Split(waves[:, :-1], np.concatenate([dummy, waves[:, 1:]], axis=1), np.ones((40, 40), np.uint8))
    )
    trainer, hyper = Trainer(tiny_config), TrainingHyperparameters.from_config(tiny_config)
    state, validation_losses = trainer.init(0, hyper, samples), []
    train_epoch = jax.jit(trainer.train_epoch)
    for _ in range(30):
        state, metrics = train_epoch(state, hyper, samples, samples)
        validation_losses.append(float(metrics["validation_loss"]))
    assert {"train_mse", "validation_mse"} <= set(metrics)
    assert state.variables["params"]["readout"]["bias"].shape == (2,)  # one output a channel
    assert validation_losses[-1] < 0.8 * validation_losses[0]
    assert float(state.best.score) == pytest.approx(-min(validation_losses))


def test_the_buffers_before_an_epoch_survive_its_steps(setup):
    """Which may have to be repeated from them; those of the steps are reused from call to call."""
    trainer, hyper, train, _, state = setup
    mesh = parallel.make_mesh(1, 2)
    states, hypers = parallel.add_member_axis((state, hyper), 1)
    steps = parallel.parallelize(trainer.train_steps, mesh, per_member=3, donate=[1])
    before = jax.tree.map(np.array, states.variables)
    running = first = parallel.parallelize(trainer.start_epoch, mesh, per_member=1)(states)
    for number in range(2):
        running = steps(states, running, hypers, train, number, number + 1)
    assert_equal(states.variables, before)
    assert all(array.is_deleted() for array in jax.tree.leaves(first.variables))


def test_keys_differ_by_purpose_epoch_and_step():
    key = jax.random.key(0)
    keys = [
        key_for(key, Purpose.PARAMETERS),
        *(key_for(key, Purpose.ORDER, epoch) for epoch in range(3)),
        *(key_for(key, Purpose.DROPOUT, epoch, step) for epoch in range(3) for step in range(3)),
    ]
    assert len({jax.random.key_data(key).tobytes() for key in keys}) == len(keys)
