"""What a training recipe may have besides the paper's: schedules, weight decay, averages, smoothing, augmentation."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data import bsd, oscillation
from seadlif_jax.build import build_network
from seadlif_jax.config import SWEPT, ConfigError
from seadlif_jax.data.dataset import DataError, Dataset, Split
from seadlif_jax.data.loading import DatasetError
from seadlif_jax.data.on_device.samples import to_device
from seadlif_jax.inference import evaluate, load_run
from seadlif_jax.losses import classification
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.training import fit, optimizer
from seadlif_jax.training.state import TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer
from seadlif_jax.utils.keys import Purpose, key_for
from seadlif_jax.utils.signals import Interrupted
from tests.helpers import make_tiny_config
from tests.test_many_devices import assert_same
from tests.test_native import needs_compiler
from tests.training_helpers import assert_close, assert_same_network, interrupt_at, rows_of

pytestmark = pytest.mark.usefixtures("without_pictures")
RECIPE = {
    "optimizer.warmup_epochs": 1.0,
    "optimizer.weight_decay": 0.05,
    "optimizer.ema": 0.9,
    "optimizer.label_smoothing": 0.1,
    "model.rate_penalty": 0.5,
    "augment.drop_events": 0.1,
    "augment.drop_channels": 0.1,
    "augment.shift_channels": 1.0,
    "augment.jitter_channels": 0.5,
    "augment.shift_time": 5.0,
    "augment.stretch_time": 0.1,
    "augment.mix": 0.5,
}


def config_with(**fields):
    """The tiny config with fields such as `optimizer__ema`."""
    config = make_tiny_config().unlock()
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config.lock()


def full_recipe(**fields):
    """All at once, with rates at which the tiny network learns."""
    config = config_with(optimizer__schedule="cosine", optimizer__learning_rate=0.05, model__dropout=0.1, **fields)
    config.update_from_flattened_dict({**RECIPE, "model.rate_bounds": (0.05, 0.1)})
    return config


def steps_one_by_one(config, epochs=1):
    """The parameters after each step, and the values after the last; of the training alone."""
    trainer, hyper = Trainer(config), TrainingHyperparameters.from_config(config)
    dataset = bsd.load(config)
    train, validation = to_device(dataset.train), to_device(dataset.validation)
    state = jax.jit(trainer.init)(0, hyper, train)
    train_steps, params = jax.jit(trainer.train_steps), []
    for _ in range(epochs):
        running = trainer.start_epoch(state)
        for step in range(trainer.steps_per_epoch(train)):
            running = train_steps(state, running, hyper, train, step, step + 1)
            params.append(running.variables["params"])
        state, outcome = jax.jit(trainer.end_epoch)(state, running, hyper, validation, state.epoch)
    return params, state, outcome.metrics, functools.partial(trainer.evaluate, hyper=hyper, split=validation)


def test_the_average_is_that_of_the_parameters_after_all_steps_and_is_what_is_selected(x64):
    config = config_with(optimizer__ema=0.8, optimizer__learning_rate=0.05, data__validation="last")
    params, state, metrics, evaluate = steps_one_by_one(config, epochs=2)
    weights = 0.8 ** np.arange(len(params))[::-1]

    def mean(*arrays):
        return jnp.asarray(np.tensordot(weights / weights.sum(), np.stack(arrays), axes=1))

    average = jax.tree.map(mean, *params)
    assert_same_network(state.best.variables["params"], average)
    assert_same_network(state.variables["params"], params[-1])  # from which training goes on
    expected = evaluate(state.variables | {"params": average})
    assert float(metrics["validation_loss"]) == pytest.approx(float(expected["loss"]), rel=1e-9)


def test_the_average_stays_within_the_bounds():
    transformation = optimizer.parameter_average(0.9, lambda params: jax.tree.map(lambda p: jnp.clip(p, 0, 1), params))
    params = {"a": jnp.linspace(0, 1, 7)}
    state = transformation.init(params)
    for _ in range(50):
        updates, state = transformation.update({"a": jnp.ones(7)}, state, params)
    assert (updates["a"] == 1).all()
    np.testing.assert_array_equal(state.average["a"], 1)


def test_a_neuron_may_have_a_parameter_of_any_name():
    params = {"average": jnp.ones(3)}
    state = optimizer.clipped_adam(0.1, 1.0).init(params)
    assert optimizer.averaged_parameters(state) is None
    state = optimizer.clipped_adam(0.1, 1.0, None, optimizer.parameter_average(0.9, lambda p: p)).init(params)
    assert optimizer.averaged_parameters(state) == params


def test_the_run_is_tested_and_loaded_with_the_average(tmp_path):
    config = config_with(optimizer__ema=0.9, optimizer__learning_rate=0.05)
    result = fit(config, tmp_path / "run")
    found = evaluate(load_run(tmp_path / "run"), bsd.load(config).test)
    assert found.accuracy == pytest.approx(result["test"]["accuracy"], abs=1e-6)
    assert found.loss == pytest.approx(result["test"]["loss"], rel=1e-4)


@pytest.mark.slow
def test_an_average_with_decay_0_is_the_last_parameters(x64, tmp_path):
    """In a sweep, where 0 stands beside another decay."""
    fit(config_with(), tmp_path / "single")
    fit(config_with(sweep__ema=(0.0, 0.9)), tmp_path / "sweep")
    rows = (rows_of(tmp_path / name, 0) for name in ("sweep", "single"))
    for row, expected in zip(*rows, strict=True):
        assert_close(row, expected)
    assert (
        rows_of(tmp_path / "sweep", 1)[-1]["validation_loss"] != rows_of(tmp_path / "sweep", 0)[-1]["validation_loss"]
    )


def test_the_initial_updates_have_a_higher_learning_rate(tmp_path):
    config = config_with(num_epochs=3, optimizer__learning_rate=0.01, optimizer__initial_factor=10.0)
    steps = 70 // config.batch_size  # of an epoch
    config.optimizer.initial_updates = steps + 1  # the rows have the learning rate of the last update of an epoch
    fit(config, tmp_path / "run")
    assert [row["learning_rate"] for row in rows_of(tmp_path / "run")] == pytest.approx([0.1, 0.01, 0.01])
    config.optimizer.initial_updates = 2 * steps
    fit(config, tmp_path / "longer")
    assert [row["learning_rate"] for row in rows_of(tmp_path / "longer")] == pytest.approx([0.1, 0.1, 0.01])


def test_the_cosine_falls_to_0_and_the_warmup_multiplies_it():
    of_step = [float(optimizer.cosine_factor(jnp.asarray(step), 16)) for step in range(16)]
    assert of_step == pytest.approx([(1 + math.cos(math.pi * step / 16)) / 2 for step in range(16)], rel=1e-5)
    warmup = [float(optimizer.warmup_factor(jnp.asarray(step), 6.0)) for step in range(8)]
    assert warmup == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1])


def test_the_learning_rate_of_the_last_step_of_each_epoch_is_in_the_metrics(tmp_path):
    fit(config_with(num_epochs=3, optimizer__schedule="cosine", optimizer__warmup_epochs=1.25), tmp_path / "run")
    rates = [row["learning_rate"] for row in MetricsLog(tmp_path / "run" / "metrics.csv").read()]
    cosine = [(1 + math.cos(math.pi * step / 12)) / 2 for step in (3, 7, 11)]
    assert rates == pytest.approx([0.01 * cosine[0] * 4 / 5, 0.01 * cosine[1], 0.01 * cosine[2]], rel=1e-5)


def test_weight_decay_shrinks_the_weights_and_nothing_else():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "a": jnp.ones(3)}
    adam = optimizer.clipped_adam(0.1, clip_norm=1.5, weight_decay=0.2)
    updates, _ = adam.update(jax.tree.map(jnp.zeros_like, params), adam.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.2, rtol=1e-6)
    assert not updates["bias"].any()
    assert not updates["a"].any()


def test_a_run_with_a_cosine_cannot_be_given_more_epochs(tmp_path):
    config = config_with(num_epochs=1, optimizer__schedule="cosine")
    fit(config, tmp_path / "run")
    config.num_epochs = 2
    with pytest.raises(RunError, match=r"another config \(config\.num_epochs: 1 -> 2\)"):
        fit(config, tmp_path / "run")


def test_members_with_other_options_than_the_old_ones_are_not_added_to_a_sweep(tmp_path):
    """The old members were trained by a program without the average."""
    config = config_with(num_epochs=1, sweep__seed=(0,))
    fit(config, tmp_path / "run")
    config.sweep.ema = (0.0, 0.9)
    with pytest.raises(RunError, match=r"another config \(config\.sweep\.ema: \[\] -> \[0\.0, 0\.9\]\)"):
        fit(config, tmp_path / "run")


@pytest.mark.slow
def test_members_without_an_option_are_added_to_a_sweep_with_it(tmp_path):
    added = {"ema": (0.0, 0.9), "weight_decay": (0.0, 0.1), "label_smoothing": (0.0, 0.1), "mix": (0.0, 0.5)}
    config = config_with(num_epochs=2, **{f"sweep__{name}": values[1:] for name, values in added.items()})
    fit(config, tmp_path / "grown")
    config.update_from_flattened_dict({f"sweep.{name}": values for name, values in added.items()})
    fit(config, tmp_path / "grown")
    fit(config, tmp_path / "whole")
    for member in range(15):  # the last is the old one
        assert rows_of(tmp_path / "grown", member) == rows_of(tmp_path / "whole", member)


def test_members_with_and_without_an_option_are_runs_of_their_own(tmp_path):
    """Whose training can be continued."""
    config = config_with(num_epochs=1, sweep__ema=(0.0, 0.9), optimizer__weight_decay=0.1)
    fit(config, tmp_path / "run")
    for member, ema in enumerate((0.0, 0.9)):
        single = config_with(num_epochs=2, optimizer__ema=ema, optimizer__weight_decay=0.1)
        assert fit(single, tmp_path / "run" / "members" / str(member))["best_epoch"] >= 1


@pytest.mark.parametrize("moment", [pytest.param(3, marks=pytest.mark.slow), 7])
def test_an_interrupted_run_continues_to_the_same_numbers(tmp_path, monkeypatch, moment):
    config = full_recipe()
    whole = fit(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, moment)
        with pytest.raises(Interrupted):
            fit(config, tmp_path / "cut")
    resumed = fit(config, tmp_path / "cut")
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    assert resumed["test"] == whole["test"]


@pytest.mark.slow
def test_a_member_of_a_sweep_over_all_of_it_is_the_run_with_its_numbers(tmp_path, x64):
    config = full_recipe(devices__width=2)
    for name, value in RECIPE.items():
        swept = next(short for short, field in SWEPT.items() if field == name)
        config.sweep[swept] = (0.0, value) if swept == "mix" else (value,)
    fit(config, tmp_path / "sweep")
    for member, mix in enumerate((0.0, RECIPE["augment.mix"])):
        single = full_recipe()
        single.augment.mix = mix
        fit(single, tmp_path / f"single{member}")
        rows = (
            rows_of(folder, number)
            for folder, number in ((tmp_path / "sweep", member), (tmp_path / f"single{member}", 0))
        )
        for row, expected in zip(*rows, strict=True):
            assert_close(row, expected)


@pytest.mark.parametrize("data", [pytest.param("replicated", marks=pytest.mark.slow), "sharded"])
def test_two_devices_are_one(tmp_path, x64, data):
    fit(full_recipe(devices__mesh=(1, 1)), tmp_path / "one")
    fit(full_recipe(devices__mesh=(1, 2), devices__data=data), tmp_path / "two")
    assert_same(tmp_path / "two", tmp_path / "one")


def test_all_of_it_learns(tmp_path):
    config = full_recipe(num_epochs=15)
    config.augment.shift_channels = config.augment.jitter_channels = 0.0  # the channels are what tells classes apart
    fit(config, tmp_path / "run")
    losses = [row["train_loss"] for row in rows_of(tmp_path / "run")]
    assert np.mean(losses[-5:]) < 0.98 * np.mean(losses[:5])


def test_the_last_epoch_is_the_one_tested(tmp_path, capsys):
    config = config_with(data__validation="last", optimizer__learning_rate=0.05)
    result = fit(config, tmp_path / "run")
    assert result["best_epoch"] == 3
    assert result["protocol"].startswith("last epoch, trained on all samples but those of the test")
    assert "best so far" not in capsys.readouterr().out
    assert result["validation"]["loss"] == pytest.approx(rows_of(tmp_path / "run")[-1]["validation_loss"], rel=1e-6)
    more = config.copy_and_resolve_references()
    with more.unlocked():
        more.num_epochs = 4
    assert fit(more, tmp_path / "run")["best_epoch"] == 4


@pytest.mark.parametrize(
    ("load", "fields"),
    [
        (bsd.load, {}),
        (
            oscillation.load,
            {
                "num_masses": 2, "mass": (1.0, 1.0), "spring": (500, 1000), "damping": (0.0, 0.0),
                "initial_velocity": 0.0, "num_steps": 20, "ignore_first_steps": 0, "step_ms": 2.5, "num_samples": 50,
            },
        ),
    ],
)  # fmt: skip
def test_with_the_protocol_last_the_validation_split_is_trained_on(load, fields):
    config = config_with().unlock()
    config.data.update(fields)
    held_out = load(config)
    config.data.validation = "last"
    last = load(config)
    parts = zip(held_out.train, held_out.validation, strict=True)
    for part, array in zip(parts, last.train, strict=True):
        np.testing.assert_array_equal(np.concatenate(part), array)
    for name in ("validation", "test"):
        for array, other in zip(getattr(last, name), getattr(held_out, name), strict=True):
            np.testing.assert_array_equal(array, other)
    config.data.validation = "best"
    with pytest.raises(DataError, match=r"config\.data\.validation = 'best': it must be one of held_out, last"):
        load(config)


@pytest.mark.parametrize(
    ("field", "value", "requirement"),
    [
        ("optimizer.schedule", "plateau", "constant or cosine"),
        ("optimizer.warmup_epochs", -1.0, "at least 0"),
        ("optimizer.initial_updates", -1, "at least 0"),
        ("optimizer.initial_factor", 0.0, "above 0"),
        ("optimizer.initial_factor", 2.0, "without effect; set both, or neither"),
        ("optimizer.weight_decay", -0.1, "at least 0"),
        ("optimizer.ema", 1.0, r"in \[0, 1\)"),
        ("optimizer.ema", 0.9999999999, r"in \[0, 1\)"),
        ("optimizer.warmup_epochs", 3.0, r"less than config\.num_epochs = 3"),
        ("optimizer.label_smoothing", 1.0, r"in \[0, 1\)"),
        ("augment.drop_events", 1.0, r"in \[0, 1\)"),
        ("augment.mix", 1.5, r"in \[0, 1\]"),
        ("augment.shift_time", float("nan"), "at least 0"),
        ("augment.shift_channels", 0.4, "that is whole"),
        ("augment.shift_time", 200.0, "must be less than 200"),
        ("augment.shift_channels", 10.0, "must be less than 10"),
        ("sweep.stretch_time", (0.1, 1.0), r"in \[0, 1\)"),
    ],
)
def test_what_is_out_of_range_is_refused(field, value, requirement, tmp_path):
    config = config_with(**{field.replace(".", "__"): value})
    with pytest.raises(ConfigError, match=rf"config\.{field} (=|with) .*{requirement}"):
        fit(config, tmp_path / "run")


PENALISED = {"model.rate_penalty": 20.0, "model.rate_bounds": ((0.05, 0.06), (0.02, 0.03)), "model.hidden": (16, 8)}


@pytest.mark.parametrize(
    ("engine", "batch_norm"),
    [
        ("xla", False),
        pytest.param("xla", True, marks=pytest.mark.slow),
        pytest.param("native", False, marks=needs_compiler),
    ],
)
def test_the_penalty_is_in_the_gradient_of_what_exceeds_the_bounds(x64, engine, batch_norm):
    """The first step of plain gradient descent against that on the loss written out."""
    config = config_with(**{name.replace(".", "__"): value for name, value in PENALISED.items()})
    with config.unlocked():
        config.compute.engine, config.model.batch_norm, config.model.dropout = engine, batch_norm, 0.2
        config.model.q = 10.0
    trainer, hyper = Trainer(config), TrainingHyperparameters.from_config(config)
    train = to_device(bsd.load(config).train)
    state = jax.jit(trainer.init)(0, hyper, train)
    after = jax.jit(trainer.train_steps)(state, trainer.start_epoch(state), hyper, train, 0, 1)

    network, positions = build_network(config, 10), jnp.arange(16)
    batch = train.take(jax.random.permutation(key_for(state.key, Purpose.ORDER, 0), train.size)[:16])
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key_for(state.key, Purpose.DROPOUT, 0, 0), positions)

    def loss(params):
        variables = state.variables | {"params": params}
        (outputs, activity), _ = network.apply(
            variables, batch.inputs, keys, hyper.network, return_activity=True, mutable=["batch_stats"]
        )
        total = classification(outputs, batch.block_index, batch.targets, "softmax").mean_loss()
        for fractions, (low, high) in zip(activity, ((0.05, 0.06), (0.02, 0.03)), strict=True):
            rate = fractions[:, -40:].mean(axis=1)
            total += 20.0 * jnp.mean(jax.nn.relu(rate - high) + jax.nn.relu(low - rate))
        return total

    norm = optax.tree.norm(jax.grad(loss)(state.variables["params"]))
    assert float(after.sums.gradient_norm) == pytest.approx(float(norm), rel=1e-8)


def test_firing_rates_move_into_their_bounds(tmp_path):
    config = config_with(num_epochs=30, optimizer__learning_rate=0.05, model__q=10.0)
    config.sweep.rate_penalty = (0.0, 10.0)
    with config.unlocked():
        config.model.rate_bounds = (0.2, 0.25)
    fit(config, tmp_path / "run")
    free, bound = (rows_of(tmp_path / "run", member)[-1]["validation_spike_rate_1"] for member in (0, 1))
    assert not 0.18 < free < 0.27
    assert 0.18 < bound < 0.27


def test_bounds_of_rates_that_do_not_fit_are_refused(tmp_path):
    for bounds, problem in (
        ((0.2, 0.1), "0 <= min <= max <= 1"),
        ((0.1, 1.5), "0 <= min <= max <= 1"),
        ((), "0 <= min <= max <= 1"),
        (((0.1, 0.2), (0.1, 0.2)), "one for each of the 1 hidden layers"),
    ):
        with pytest.raises(ConfigError, match=rf"config\.model\.rate_bounds = .*{problem}"):
            fit(config_with(model__rate_bounds=bounds), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"config\.model\.rate_penalty: without effect"):
        fit(config_with(model__rate_penalty=1.0), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"config\.model\.rate_penalty: lstm neurons do not spike"):
        fit(config_with(model__neuron="lstm", model__rate_penalty=1.0, model__rate_bounds=(0.0, 0.1)), tmp_path / "run")


def in_memory(inputs, protocol="best epoch on the same samples"):
    rng = np.random.default_rng(0)
    targets = np.stack([np.full(40, -1), rng.integers(0, 3, 40)], axis=1)
    split = Split(inputs, targets, np.ones(inputs.shape[:2], int))
    return Dataset(split, split, split, protocol)


def test_what_adds_up_events_is_refused_for_inputs_that_are_no_counts(tmp_path):
    inputs = np.random.default_rng(0).random((40, 30, 4))
    for name in ("stretch_time", "jitter_channels"):
        with pytest.raises(ConfigError, match=rf"config\.augment\.{name} with 0\.5: it sums counts of events"):
            fit(config_with(**{f"augment__{name}": 0.5}), tmp_path / "run", in_memory(inputs))


def test_the_protocol_of_a_loader_says_whether_an_epoch_is_selected(tmp_path):
    inputs = np.random.default_rng(0).integers(0, 2, (40, 30, 4))
    for validation, protocol in (("last", "best epoch on all"), ("held_out", "last epoch")):
        with pytest.raises(DatasetError, match=f"config.data.validation = '{validation}', but the protocol of"):
            fit(config_with(data__validation=validation), tmp_path / "run", in_memory(inputs, protocol))


def test_augmented_samples_of_several_lengths_are_cut_to_their_own(tmp_path):
    """Training with batches cut to few lengths computes what training with whole batches does."""
    rng = np.random.default_rng(0)
    dataset = in_memory(rng.poisson(0.3, (40, 60, 4)))
    lengths = np.where(np.arange(40) < 36, 20, 60)[:, None]
    block_index = (np.arange(60) < lengths).astype(int)
    split = dataset.train._replace(block_index=block_index, inputs=dataset.train.inputs * block_index[:, :, None])
    config = config_with(augment__shift_time=5.0, augment__drop_events=0.1, batch_size=4)
    train, results = to_device(split), []
    for lengths in ((), (30, 60)):
        trainer, hyper = Trainer(config, lengths), TrainingHyperparameters.from_config(config)
        state = jax.jit(trainer.init)(0, hyper, train)
        results.append(jax.jit(trainer.train_steps)(state, trainer.start_epoch(state), hyper, train, 0, 10))
    whole, cut = results
    assert float(cut.sums.targets.loss) == pytest.approx(float(whole.sums.targets.loss), rel=1e-5)
    assert_same_network(cut.variables["constants"], whole.variables["constants"])
