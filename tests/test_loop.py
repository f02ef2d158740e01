"""The loop of training: interrupted within an epoch, saving now and then, and what it does about divergence."""

import gc
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from data import bsd
from seadlif_jax.data.dataset import Dataset, Split
from seadlif_jax.inference import load_network
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.folder import RunError
from seadlif_jax.training.divergence import DivergenceError
from seadlif_jax.training.fit import train_and_evaluate
from seadlif_jax.training.pace import Now, Pace
from seadlif_jax.training.trainer import Program
from seadlif_jax.utils.signals import Interrupted
from tests.test_sweep import assert_same_network, rows_of


class AtCall:
    """In place of `Pace`: calls of one step; at some of them it is time to save or to stop."""

    def __init__(self, save=(), stop=()):
        self.steps, self._save, self._stop, self._calls = 1, save, stop, 0

    def __call__(self, *_):  # what makes one
        return self

    def called(self, *_):
        pass

    def now(self):
        self._calls += 1
        return Now(self._calls in (*self._save, *self._stop), self._calls in self._stop)

    def saved(self):
        pass


@pytest.mark.parametrize("swept", [False, True])
def test_a_run_interrupted_within_an_epoch_goes_on_at_that_step(tmp_path, tiny_config, monkeypatch, capsys, swept):
    """Four steps an epoch, and its end: the seventh moment is within the second epoch, the third from there its end."""
    tiny_config.model.dropout = 0.1
    tiny_config.optimizer.plateau_factor = 0.5
    if swept:
        tiny_config.sweep.learning_rate = (0.01, 1e6, 0.02)
    whole = train_and_evaluate(tiny_config, tmp_path / "whole")
    said = []
    for moment in (7, 3):
        with monkeypatch.context() as patch:
            patch.setattr("seadlif_jax.training.loop.Pace", AtCall(stop=(moment,)))
            with pytest.raises(Interrupted):
                train_and_evaluate(tiny_config, tmp_path / "stopped")
        said.append(capsys.readouterr().out)
    resumed = train_and_evaluate(tiny_config, tmp_path / "stopped")
    assert "continuing after epoch 1, step 2/4 of the next\n" in said[1]
    assert "continuing after epoch 2\n" in capsys.readouterr().out
    for member in range(3 if swept else 1):
        assert rows_of(tmp_path / "stopped", member) == rows_of(tmp_path / "whole", member)
        if member != 1:  # which has diverged in the first epoch
            assert_same_network(*(load_network(tmp_path / name, member)[1] for name in ("whole", "stopped")))
    for name in ("test", "validation", "summary"):
        assert resumed.get(name) == whole.get(name)


# Orbax drops coroutines of its own when a restore fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_from_a_damaged_checkpoint_a_sweep_goes_back_and_ends_with_the_same_bits(tmp_path, tiny_config, monkeypatch):
    tiny_config.num_epochs = 6
    tiny_config.checkpoint.every_epochs = 2
    tiny_config.sweep.learning_rate = (0.01, 1e6, 0.02)
    whole = train_and_evaluate(tiny_config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("seadlif_jax.training.loop.Pace", AtCall(stop=(27,)))  # the second step of the sixth epoch
        with pytest.raises(Interrupted):
            train_and_evaluate(tiny_config, tmp_path / "stopped")
    newest = max((tmp_path / "stopped" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    (newest / "last" / "manifest.ocdbt").write_bytes(b"")
    resumed = train_and_evaluate(tiny_config, tmp_path / "stopped")
    assert (newest.parent / f"damaged-{newest.name}").exists()
    for member in range(3):
        assert rows_of(tmp_path / "stopped", member) == rows_of(tmp_path / "whole", member)
    assert resumed["summary"] == whole["summary"]
    gc.collect()


def test_a_run_without_a_finished_epoch_has_no_network(tmp_path, tiny_config, monkeypatch):
    monkeypatch.setattr("seadlif_jax.training.loop.Pace", AtCall(stop=(2,)))
    with pytest.raises(Interrupted):
        train_and_evaluate(tiny_config, tmp_path)
    with pytest.raises(RunError, match="no finished epoch"):
        load_network(tmp_path)


def test_saves_are_made_when_they_are_due(tmp_path, tiny_config, monkeypatch):
    saved = []
    save = Checkpoints.save

    def noted(self, position):
        saved.append((int(position.states.epoch[0]), position.step))
        save(self, position)

    tiny_config.num_epochs = 5
    tiny_config.checkpoint.every_epochs = 2
    monkeypatch.setattr(Checkpoints, "save", noted)
    monkeypatch.setattr("seadlif_jax.training.loop.Pace", AtCall(save=(3, 15)))
    train_and_evaluate(tiny_config, tmp_path)
    assert saved == [(0, 3), (2, 0), (3, 0), (4, 0), (5, 0)]


def test_how_often_to_save_may_change(tmp_path, tiny_config, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("seadlif_jax.training.loop.Pace", AtCall(save=(2,), stop=(23,)))
        patch.setattr(Checkpoints, "__exit__", lambda *_: None)
        patch.setattr(Checkpoints, "save", save_only_the_first(Checkpoints.save))
        tiny_config.checkpoint.every_epochs = 100
        tiny_config.num_epochs = 6
        with pytest.raises(Interrupted):
            train_and_evaluate(tiny_config, tmp_path)
    tiny_config.checkpoint.every_epochs = 1
    assert train_and_evaluate(tiny_config, tmp_path)["test"]


def save_only_the_first(save):
    """As if the process had been killed before the others."""
    calls = []

    def saving(self, position):
        calls.append(position)
        if len(calls) == 1:
            save(self, position)
            self._manager.wait_until_finished()

    return saving


@pytest.fixture
def poisoned_config(tiny_config, monkeypatch):
    """The config of a run on data with one training sample whose loss, and so its gradient, is NaN."""

    def load(config):
        dataset = bsd.load(config)
        inputs = dataset.train.inputs.astype(np.float32)
        inputs[5, 0, 0] = 1000
        train = Split(inputs, dataset.train.targets, dataset.train.block_index)
        return Dataset(train, dataset.validation, dataset.test, dataset.protocol)

    compare = Program._compare

    def poisoned(self, outputs, batch):
        sums = compare(self, outputs, batch)
        return sums._replace(loss=sums.loss * jnp.where(batch.inputs.max() == 1000, jnp.nan, 1))

    module = types.ModuleType("poisoned")
    module.load = load
    monkeypatch.setitem(sys.modules, "poisoned", module)
    monkeypatch.setattr(Program, "_compare", poisoned)
    tiny_config.data.loader = "poisoned:load"
    return tiny_config


def test_a_gradient_that_is_not_finite_is_told_with_its_step_and_parameter(tmp_path, poisoned_config):
    message = r"train_loss is nan in epoch 1, from step [1-4] on; the first gradient affected is that of layers_0/a\. "
    with pytest.raises(DivergenceError, match=message):
        train_and_evaluate(poisoned_config, tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_the_rest_of_an_epoch_is_not_run_once_it_is_hopeless(tmp_path, poisoned_config, monkeypatch):
    poisoned_config.batch_size = 7
    calls = []
    monkeypatch.setattr(Pace, "called", lambda self, steps, seconds: calls.append(steps))
    with pytest.raises(DivergenceError, match=r"from step (\d+) on") as error:
        train_and_evaluate(poisoned_config, tmp_path)
    assert f"from step {len(calls)} on" in str(error.value)
    assert len(calls) < 10


def test_steps_that_are_not_finite_can_be_skipped(tmp_path, poisoned_config):
    poisoned_config.divergence.action = "skip"
    train_and_evaluate(poisoned_config, tmp_path)
    rows = rows_of(tmp_path)
    assert max(row["skipped_steps"] for row in rows) == 1
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_a_run_that_skips_nothing_is_the_same(tmp_path, tiny_config):
    for action in ("stop", "skip", "back"):
        tiny_config.divergence.action = action
        train_and_evaluate(tiny_config, tmp_path / action)
    skipping = rows_of(tmp_path / "skip")
    assert {row.pop("skipped_steps") for row in skipping} == {0}
    assert skipping == rows_of(tmp_path / "stop") == rows_of(tmp_path / "back")


def test_a_member_that_diverges_can_go_back_with_a_smaller_learning_rate(tmp_path, tiny_config, capsys, monkeypatch):
    """It tries the epoch again, and so do the others, to the same bits; also when interrupted there."""
    tiny_config.divergence.action = "back"
    tiny_config.divergence.factor = 0.01
    tiny_config.sweep.learning_rate = (0.01, 2e5)
    result = train_and_evaluate(tiny_config, tmp_path / "whole")
    said = capsys.readouterr().out
    assert "member 1 (learning_rate 200000) goes back to the end of epoch 0, and on with a smaller" in said
    assert [member["diverged"] for member in result["members"]] == [None, None]
    assert rows_of(tmp_path / "whole", 1)[0]["learning_rate"] == pytest.approx(2000)

    with monkeypatch.context() as patch:
        patch.setattr("seadlif_jax.training.loop.Pace", AtCall(stop=(6,)))  # the second step of the second try
        with pytest.raises(Interrupted):
            train_and_evaluate(tiny_config, tmp_path / "stopped")
    train_and_evaluate(tiny_config, tmp_path / "stopped")
    for member in (0, 1):
        assert rows_of(tmp_path / "stopped", member) == rows_of(tmp_path / "whole", member)

    tiny_config.sweep.learning_rate = ()
    tiny_config.divergence.action = "stop"
    train_and_evaluate(tiny_config, tmp_path / "alone")
    for row, alone in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / "alone"), strict=True):
        assert {**row, "member": 0} == pytest.approx({**alone, "member": 0}, rel=1e-4)


def test_going_back_has_an_end(tmp_path, poisoned_config, capsys):
    poisoned_config.divergence.action = "back"
    with pytest.raises(DivergenceError):
        train_and_evaluate(poisoned_config, tmp_path)
    assert capsys.readouterr().out.count("goes back to the end of epoch 0") == 5


@pytest.mark.parametrize(("rate", "what"), [(0.0, "is silent: 0 "), (0.95, "spikes nearly all the time: 0.95 ")])
def test_silent_and_saturated_layers_are_told_once(tmp_path, tiny_config, monkeypatch, capsys, rate, what):
    original = Program.end_epoch

    def end_epoch(self, *arguments):
        state, metrics = original(self, *arguments)
        return state, metrics | {"validation_spike_rate_1": metrics["validation_loss"] * 0 + rate}

    monkeypatch.setattr(Program, "end_epoch", end_epoch)
    train_and_evaluate(tiny_config, tmp_path)
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert f"hidden layer 1 {what}spikes of a neuron in a step" in warnings[0]


def test_rows_whose_checkpoints_are_gone_are_kept(tmp_path, tiny_config, monkeypatch):
    tiny_config.num_epochs = 4
    with monkeypatch.context() as patch:
        patch.setattr("seadlif_jax.training.loop.Pace", AtCall(stop=(16,)))
        with pytest.raises(Interrupted):
            train_and_evaluate(tiny_config, tmp_path)
    (tmp_path / "checkpoints").rename(tmp_path / "gone")
    before = rows_of(tmp_path)
    with pytest.raises(RunError, match="has 3 rows, but there is no checkpoint"):
        train_and_evaluate(tiny_config, tmp_path)
    assert rows_of(tmp_path) == before
