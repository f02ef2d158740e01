"""`train.py` as a user runs it: in a process of its own, from the command line."""

import json
import os
import signal
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

from configs.bsd import get_config
from seadlif_jax.cli.errors import EXIT_RESUMABLE
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.parallel import add_member_axis
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.training.state import TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer
from tests.helpers import QUICK, ROOT, TINY, command, metrics_without_time, run

EPOCHS = 40  # so many that a signal comes before the end


def own_compiler():
    """The environment of a process that compiles for itself, as a user's does after an interruption."""
    return {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}


def interrupt(number, epochs, *arguments):
    """Starts a run and sends it a signal once it has reported some epochs; returns its exit status."""
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        reports = (line for line in process.stdout if line.startswith("epoch "))
        for _ in zip(range(epochs), reports, strict=False):
            pass
        process.send_signal(number)
        process.stdout.read()
    return process.returncode


def final_arrays(workdir):
    """Every array of the last checkpoint, by name."""
    config = get_config("quick")
    config.num_epochs, config.batch_size, config.data.num_samples = EPOCHS, 32, 100
    config.model.hidden = (8,)
    config.model.dropout = 0.1
    config.compute.engine = "xla"
    samples = Samples(jnp.ones((1, 1, 10)), jnp.ones((1, 2), int), jnp.ones((1, 1), int))
    template = add_member_axis(
        jax.jit(Trainer(config).init)(0, TrainingHyperparameters.from_config(config), samples), 1
    )
    with Checkpoints(workdir / "checkpoints", config) as checkpoints:
        state = checkpoints.restore(lambda metadata: {"last": template}).trees["last"]
    assert state.epoch.tolist() == [EPOCHS]
    state = state._replace(key=jax.random.key_data(state.key))
    return {jax.tree_util.keystr(name): np.asarray(leaf) for name, leaf in jax.tree_util.tree_leaves_with_path(state)}


def test_an_interrupted_run_continues_to_the_same_bits(tmp_path):
    tiny = (QUICK, *TINY, f"--config.num_epochs={EPOCHS}")
    assert run(*tiny, f"--workdir={tmp_path / 'whole'}").returncode == 0

    interrupted = f"--workdir={tmp_path / 'interrupted'}"
    assert interrupt(signal.SIGKILL, 3, *tiny, interrupted) == -signal.SIGKILL
    assert interrupt(signal.SIGINT, 3, *tiny, interrupted) == EXIT_RESUMABLE
    assert interrupt(signal.SIGTERM, 2, *tiny, interrupted) == EXIT_RESUMABLE
    finished = run(*tiny, interrupted)
    assert finished.returncode == 0
    assert "continuing after epoch" in finished.stdout

    assert metrics_without_time(tmp_path / "whole") == metrics_without_time(tmp_path / "interrupted")
    whole, resumed = (final_arrays(tmp_path / name) for name in ("whole", "interrupted"))
    assert whole.keys() == resumed.keys()
    assert any("best" in name for name in whole)
    assert any("opt_state" in name for name in whole)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "interrupted")]
    assert all(results[0][key] == results[1][key] for key in ("test", "validation", "best_epoch"))

    # Once more, now that it is finished: the same result at once, nothing trained.
    again = run(*tiny, interrupted)
    assert again.stdout.startswith("already finished on ")
    assert again.stdout.splitlines()[1:] == finished.stdout.splitlines()[-2:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--config is missing"),
        ((QUICK, "--config.optimizer.lr=1"), "did you mean config.optimizer.learning_rate?"),
        (
            (QUICK, "--config.data.num_samples=5"),
            "config.data.num_samples = 5: it must be a whole number of at least 10",
        ),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(tmp_path, arguments, message):
    """All messages are in `test_command_line`."""
    result = run(*arguments, f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 1
    assert result.stdout == ""
    (error,) = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["NaN", "truncated"])
def test_damaged_data_gets_one_line_and_leaves_nothing(tmp_path, damage):
    (tmp_path / "QTDB").mkdir()
    for name in ("train", "test"):
        arrays = {"x": np.full((24, 40, 4), np.nan), "y": np.zeros((24, 40, 6))}
        path = tmp_path / "QTDB" / f"QTDB_{name}.mat"
        scipy.io.savemat(path, arrays)
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:300])
    result = run("--config=configs/ecg.py", f"--config.data.dir={tmp_path}", f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert "QTDB_train.mat" in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_workdir_of_another_run_is_left_alone(tmp_path):
    tiny = (QUICK, *TINY, "--config.num_epochs=1", f"--workdir={tmp_path}")
    assert run(*tiny).returncode == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused = run(*tiny, "--config.seed=1")
    assert refused.returncode == 1
    assert "another config (config.seed: 0 -> 1); choose another --workdir" in refused.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_compiled_programs_are_kept_in_the_users_folder_for_caches(tmp_path):
    environment = own_compiler() | {"XDG_CACHE_HOME": str(tmp_path / "caches")}
    kept = []
    for seed in (0, 1):
        workdir = f"--workdir={tmp_path / str(seed)}"
        done = run(QUICK, *TINY, "--config.num_epochs=1", f"--config.seed={seed}", workdir, env=environment)
        assert done.returncode == 0
        (folder,) = (tmp_path / "caches" / "seadlif-jax" / "compiled").iterdir()
        kept.append({path.name for path in folder.glob("*train_steps*-cache")})
    assert len(kept[0]) == 1
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("JAX_NUM_CPU_DEVICES=abc", 'JAX cannot start: Invalid value "abc" for JAX flag jax_num_cpu_devices'),
        ("JAX_ENABLE_X64=maybe", "JAX cannot start: invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'"),
        ("JAX_PLATFORMS=bogus", "JAX cannot use a device (JAX_PLATFORMS=bogus: "),
    ],
)
def test_a_setting_of_jax_that_cannot_be_gets_one_line(tmp_path, variable, message):
    name, _, value = variable.partition("=")
    result = run(QUICK, f"--workdir={tmp_path / 'run'}", env={**os.environ, name: value})
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert "unset" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_training_works_under_the_checks_of_those_who_write_jax_code(tmp_path):
    checks = {
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_TRANSFER_GUARD": "disallow",
        "JAX_DEBUG_INFS": "1",
        "PYTHONWARNINGS": "error",
    }
    tiny = (QUICK, *TINY, "--config.num_epochs=1", f"--workdir={tmp_path / 'run'}")
    result = run(*tiny, env={**os.environ, **checks})
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "result.json").exists()
