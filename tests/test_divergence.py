"""Training that diverges: a run stops, a member of a sweep is frozen, and either can retry or skip steps."""

import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from data import bsd
from seadlif_jax import build
from seadlif_jax.data.dataset import Dataset
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.tasks import Classification
from seadlif_jax.training import fit, fitting
from seadlif_jax.training.divergence import DivergenceError, LayerMonitor, learning_rate_scale
from seadlif_jax.utils.signals import Interrupted
from tests.training_helpers import assert_close, interrupt_at, rows_of

pytestmark = pytest.mark.usefixtures("without_pictures")


class Poisoned(Classification):
    """Outputs are NaN for batches with a target of class 2."""

    def sums(self, outputs, block_index, targets):
        return super().sums(outputs * jnp.where((targets == 2).any(), jnp.nan, 1), block_index, targets)


@pytest.fixture
def poisoned_config(tiny_config, monkeypatch):
    """The config of a run on data with one training sample whose loss, and so its gradient, is NaN."""

    def load(config):
        dataset = bsd.load(config)
        train, validation, test = (
            split._replace(targets=np.minimum(split.targets, 1))
            for split in (dataset.train, dataset.validation, dataset.test)
        )
        train.targets[5, 1] = 2
        return Dataset(train, validation, test, dataset.protocol)

    module = types.ModuleType("poisoned")
    module.load = load
    monkeypatch.setitem(sys.modules, "poisoned", module)
    monkeypatch.setattr(build, "TASKS", {"classification": Poisoned})
    tiny_config.data.loader = "poisoned:load"
    return tiny_config


def test_a_gradient_that_is_not_finite_is_reported_with_its_step_and_parameter(tmp_path, poisoned_config):
    message = r"train_loss is nan in epoch 1, from step [1-4] on; the first gradient affected is that of layers_0/a\. "
    with pytest.raises(DivergenceError, match=message):
        fit(poisoned_config, tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_a_run_that_diverges_later_keeps_its_last_finite_state(tmp_path, tiny_config, monkeypatch):
    """By a weight beyond a limit between those of the second and the third epoch."""
    tiny_config.optimizer.learning_rate = 0.3
    fit(tiny_config, tmp_path / "whole")
    largest = [row["max_weight"] for row in rows_of(tmp_path / "whole")]
    assert largest[1] < largest[2]
    tiny_config.divergence.max_weight = (largest[1] + largest[2]) / 2
    saved, save = [], Checkpoints.save

    def noted(self, trees, metadata):
        saved.append((metadata["epochs"], metadata["step"]))
        save(self, trees, metadata)

    monkeypatch.setattr(Checkpoints, "save", noted)
    with pytest.raises(DivergenceError, match=r"a weight is .*, more than .*, in epoch 3. .* keeps the state before"):
        fit(tiny_config, tmp_path / "run")
    assert saved[-1] == ([2], 0)
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")[:2]
    assert not (tmp_path / "run" / "result.json").exists()


def test_the_rest_of_an_epoch_is_left_out_once_all_members_have_diverged(tmp_path, poisoned_config, monkeypatch):
    poisoned_config.batch_size = 7
    calls = []
    monkeypatch.setattr(fitting, "next_call_steps", lambda steps, seconds: calls.append(steps) or 1)
    with pytest.raises(DivergenceError, match=r"from step (\d+) on") as error:
        fit(poisoned_config, tmp_path)
    assert f"from step {len(calls)} on" in str(error.value)
    assert len(calls) < 10


def test_steps_that_are_not_finite_can_be_skipped(tmp_path, poisoned_config):
    poisoned_config.divergence.action = "skip"
    fit(poisoned_config, tmp_path)
    rows = rows_of(tmp_path)
    assert max(row["skipped_steps"] for row in rows) == 1
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


@pytest.mark.slow
def test_without_divergence_all_actions_give_the_same_numbers(tmp_path, tiny_config):
    tiny_config.num_epochs = 2
    for action in ("stop", "skip", "back"):
        tiny_config.divergence.action = action
        fit(tiny_config, tmp_path / action)
    skipping = rows_of(tmp_path / "skip")
    assert {row.pop("skipped_steps") for row in skipping} == {0}
    assert skipping == rows_of(tmp_path / "stop") == rows_of(tmp_path / "back")


def test_a_diverging_member_is_reported_and_affects_no_other(tmp_path, tiny_config, x64, capsys):
    tiny_config.sweep.learning_rate = (0.01, 1e6, 0.02)
    result = fit(tiny_config, tmp_path / "with")
    assert [member["diverged"] for member in result["members"]] == [None, 1, None]
    assert "test" not in result["members"][1]
    reports = [line for line in capsys.readouterr().out.splitlines() if "diverged" in line]
    assert len(reports) == 1
    assert reports[0].startswith(
        "member 1 (learning_rate 1000000): diverged; frozen at its last finite state: a weight is"
    )
    assert [setting["diverged"] for setting in result["summary"]] == [0, 1, 0]
    assert result["summary"][1]["test"] == {}
    assert not (tmp_path / "with" / "members" / "1").exists()

    tiny_config.sweep.learning_rate = (0.01, 0.02)
    without = fit(tiny_config, tmp_path / "without")
    for number, other in ((0, 0), (2, 1)):
        for name in ("test", "validation"):
            assert_close(result["members"][number][name], without["members"][other][name])
        rows, expected = rows_of(tmp_path / "with", number), rows_of(tmp_path / "without", other)
        for row, expected_row in zip(rows, expected, strict=True):
            assert_close(row, expected_row)


@pytest.mark.slow
def test_a_member_that_diverges_can_retry_with_a_smaller_learning_rate(tmp_path, tiny_config, capsys, monkeypatch):
    """It repeats the epoch, and so do the others, to the same bits; also when interrupted there."""
    tiny_config.divergence.action = "back"
    tiny_config.divergence.factor = 0.01
    tiny_config.sweep.learning_rate = (0.01, 2e5)
    result = fit(tiny_config, tmp_path / "whole")
    report = "member 1 (learning_rate 200000): rolled back to epoch 0; retrying with learning rate x 0.01: a weight is"
    assert report in capsys.readouterr().out
    assert [member["diverged"] for member in result["members"]] == [None, None]
    assert rows_of(tmp_path / "whole", 1)[0]["learning_rate"] == pytest.approx(2000)

    with monkeypatch.context() as patch:
        interrupt_at(patch, 6)  # the second step of the second try
        with pytest.raises(Interrupted):
            fit(tiny_config, tmp_path / "stopped")
    fit(tiny_config, tmp_path / "stopped")
    for member in (0, 1):
        assert rows_of(tmp_path / "stopped", member) == rows_of(tmp_path / "whole", member)

    tiny_config.sweep.learning_rate = ()
    tiny_config.divergence.action = "stop"
    fit(tiny_config, tmp_path / "alone")
    for row, alone in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / "alone"), strict=True):
        assert row == pytest.approx(alone, rel=1e-4)


def test_a_run_retries_five_times_at_most(tmp_path, poisoned_config, capsys):
    poisoned_config.divergence.action = "back"
    with pytest.raises(DivergenceError):
        fit(poisoned_config, tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rolled back to epoch 0; ")]
    assert [line.partition(" rate x ")[2].partition(":")[0] for line in lines] == [
        "0.5", "0.25", "0.125", "0.0625", "0.03125",
    ]  # fmt: skip
    assert MetricsLog(tmp_path / "metrics.csv").read() == []


def test_the_learning_rate_is_scaled_by_the_factor_once_a_retry():
    scales = [float(learning_rate_scale(jnp.asarray(retries), 0.3)) for retries in range(6)]
    assert scales == pytest.approx([0.3**retries for retries in range(6)])


@pytest.mark.parametrize(("rate", "state"), [(0.0, "silent"), (0.95, "saturated")])
def test_layers_that_stay_silent_or_saturated_are_reported_once_until_they_recover(capsys, rate, state):
    monitor = LayerMonitor(["q 1", "q 2"], num_epochs=10)

    def warnings(rate, epoch=1):
        rates = {"validation_spike_rate_1": 0.5, "validation_spike_rate_2": rate}
        monitor.check({"member": 1, "epoch": epoch, **rates})
        return capsys.readouterr().out.splitlines()

    assert warnings(rate) == warnings(rate) == []  # as at first in many runs
    (warning,) = warnings(rate)
    assert warning.startswith(
        f"warning: hidden layer 2 of member 1 (q 2) is {state}: on validation, a mean of {rate:g} spikes per neuron "
        "and step; if it stays so, scale the inputs "
    )
    assert warnings(rate) == []
    assert warnings(0.5) == warnings(rate) == warnings(rate) == []
    assert len(warnings(rate)) == 1
    assert warnings(rate, epoch=10) == []
    LayerMonitor([], num_epochs=1).check({"member": 0, "epoch": 1, "validation_spike_rate_1": rate})  # the last one
    assert f"hidden layer 1 is {state}" in capsys.readouterr().out
