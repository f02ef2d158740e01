import dataclasses
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.bsd import get_config
from seadlif_jax.analysis import robustness
from seadlif_jax.analysis.robustness import (
    SHIFTS,
    Shift,
    ShiftError,
    ShiftScore,
    add_constant,
    add_events,
    measure_robustness,
    shift_batches,
)
from seadlif_jax.inference import open_run
from seadlif_jax.runs.files import write_table
from seadlif_jax.training import fit
from seadlif_jax.utils.tables import as_columns

pytestmark = pytest.mark.slow
KEY = jax.random.key(0)
INPUTS = jnp.asarray(np.random.default_rng(0).integers(0, 3, (50, 60, 20)), jnp.uint8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that has learned: 63 test samples, in four batches of 16, the last filled up."""
    config = get_config("quick")
    config.num_epochs = 12
    config.batch_size = 16
    config.data.num_classes = 3
    config.data.num_samples = 315
    config.model.hidden = (24,)
    config.optimizer.learning_rate = 0.03
    folder = tmp_path_factory.mktemp("run")
    assert fit(config, folder)["test"]["accuracy"] > 0.6
    return folder


def measure(folder, levels, draws=3):
    trained, dataset = open_run(folder, {})
    return measure_robustness(trained, dataset.test, dataset.protocol, levels, draws)


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("level", [0.02, 0.3])
def test_events_are_poisson_numbers_of_mean_and_variance_level(level):
    added = np.asarray(jax.jit(add_events)(INPUTS, jnp.asarray(level), KEY)) - np.asarray(INPUTS)
    assert (added == np.round(added)).all()
    assert added.min() == 0
    error = math.sqrt(level / added.size)
    assert added.mean() == pytest.approx(level, abs=4 * error)
    assert added.var() == pytest.approx(level, rel=0.1)
    # Every channel alike: none is spared, as most are in the reference program.
    np.testing.assert_allclose(added.mean(axis=(0, 1)), level, atol=4 * error * math.sqrt(20))


def test_events_are_independent_between_samples_steps_and_channels():
    added = np.asarray(add_events(jnp.zeros((50, 60, 20)), jnp.asarray(0.5), KEY))
    for axis in range(3):
        shifted = np.roll(added, 1, axis)
        assert abs(np.corrcoef(added.ravel(), shifted.ravel())[0, 1]) < 4 / math.sqrt(added.size)


def test_a_constant_is_added_to_every_channel_and_step():
    found = add_constant(INPUTS, jnp.asarray(0.25), KEY)
    np.testing.assert_array_equal(found, np.asarray(INPUTS) + np.float32(0.25))


@pytest.mark.parametrize("shift", SHIFTS)
def test_level_0_changes_nothing(shift):
    np.testing.assert_array_equal(SHIFTS[shift].apply(INPUTS, jnp.asarray(0.0), KEY), INPUTS)


def test_level_0_is_the_run_s_own_test(finished):
    result = json.loads((finished / "result.json").read_text())
    accuracy, loss = (pytest.approx(result["test"][name], rel=1e-6) for name in ("accuracy", "loss"))  # of float32
    constant, events = measure(finished, [0])
    assert constant == ShiftScore("constant", 0.0, 1, accuracy, None, loss, result["protocol"])
    assert events == ShiftScore("events", 0.0, 3, accuracy, 0.0, loss, result["protocol"])


def test_every_shift_has_a_row_for_every_level_and_for_none(finished):
    rows = measure(finished, [0.5, 0.1, 0.5], draws=2)
    assert [row[:3] for row in rows] == [
        *(("constant", level, 1) for level in (0, 0.1, 0.5)),
        *(("events", level, 2) for level in (0, 0.1, 0.5)),
    ]
    assert len({row.loss for row in rows}) == 5  # those at level 0 are equal
    assert all((row.accuracy_std is None) == (row.shift == "constant") for row in rows)


def test_a_call_gives_the_same_numbers_again_whatever_the_other_levels(finished):
    rows = measure(finished, [0.1, 0.3], draws=2)
    assert rows == measure(finished, [0.1, 0.3], draws=2)
    assert rows[-1] == measure(finished, [0.3], draws=2)[-1]
    assert rows[-1].loss != measure(finished, [0.3], draws=1)[-1].loss


def test_every_batch_is_drawn_separately():
    change = shift_batches(SHIFTS["events"], jnp.asarray(0.5), KEY)
    first, second, again = (change(INPUTS, jnp.asarray(batch)) for batch in (0, 1, 0))
    np.testing.assert_array_equal(first, again)
    assert (first != second).mean() > 0.3


def test_all_levels_and_draws_of_a_shift_are_compiled_once(finished, monkeypatch):
    traced = []

    def counting(shift):
        def apply(*arguments):
            traced.append(shift)
            return shift.apply(*arguments)

        return Shift(apply, shift.random)

    monkeypatch.setattr(robustness, "SHIFTS", {name: counting(shift) for name, shift in SHIFTS.items()})
    measure(finished, [0.1, 0.2, 0.3])
    assert traced == list(SHIFTS.values())


def test_measuring_changes_nothing_in_the_folder(finished):
    before = contents(finished)
    measure(finished, [0.1], draws=1)
    assert contents(finished) == before


@pytest.mark.parametrize("level", [-0.1, math.nan, math.inf, 1e7])
def test_a_level_that_is_no_rate_is_refused(finished, level):
    with pytest.raises(ShiftError, match=rf"level {re.escape(str(level))}: it must be a number of events in 0\.\."):
        measure(finished, [0, level])


def test_no_draw_is_refused(finished):
    with pytest.raises(ShiftError, match="0 draws: at least 1"):
        measure(finished, [0], draws=0)


def test_a_forecast_is_refused(finished):
    trained, dataset = open_run(finished, {})
    config = ConfigDict(trained.config.to_dict())
    config.task = "forecast"
    with pytest.raises(ShiftError, match="this network has no accuracy under shifts"):
        measure_robustness(dataclasses.replace(trained, config=config), dataset.test, "", [0])


def test_the_table_is_written_in_full(tmp_path):
    rows = [
        ShiftScore("constant", 0.1, 1, 1 / 3, None, 0.5, "a, b"),
        ShiftScore("events", 0.1, 2, 0.25, 0.01, 0.5, "a, b"),
    ]
    write_table(tmp_path / "table.csv", as_columns(rows))
    assert (tmp_path / "table.csv").read_text().splitlines() == [
        "shift,level,draws,accuracy,accuracy_std,loss,protocol",
        f'constant,0.1,1,{1 / 3},,0.5,"a, b"',
        'events,0.1,2,0.25,0.01,0.5,"a, b"',
    ]
