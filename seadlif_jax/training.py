"""Training from a config to a finished run: the loop around the compiled functions of `program`."""

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from seadlif_jax import devices, forecast, plots
from seadlif_jax.checkpoint import Checkpoints, Variables
from seadlif_jax.config import validate
from seadlif_jax.dataset import Dataset, Samples, fingerprint, load_dataset, to_device
from seadlif_jax.interrupt import deferred_interrupt
from seadlif_jax.network import Network
from seadlif_jax.program import Hyperparameters, Program, TrainState, build_network, no_sums
from seadlif_jax.progress import Progress
from seadlif_jax.readout import IGNORED, aggregate
from seadlif_jax.run import Run, RunError, read_config, write_table
from seadlif_jax.trim import choose_lengths

RASTER_CANDIDATES = 16


class DivergenceError(RuntimeError):
    """The loss became NaN or infinite."""


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> dict[str, Any]:
    """Trains as the config says, selects the best epoch on validation, tests once; returns what is in `result.json`.

    Everything is left in `workdir` (see `run.Run`). Called again with the same config, it goes on after the last epoch
    saved there, to the same numbers as if never interrupted; a finished run is not run again.

    Raises:
      ConfigError: a field is unknown, missing or out of range.
      DatasetError: the loader's data breaks the contract (and what the loader itself raises).
      RunError: `workdir` holds another run, or one on other data, or files that are none; or another process uses it.
      CheckpointError: the checkpoint in it is damaged.
      DivergenceError: the loss is not finite; the checkpoints before it are kept.
    """
    validate(config)
    run = Run(workdir, config)
    result = run.result()
    if result is not None:
        return result
    dataset = load_dataset(config)
    with run.held(), deferred_interrupt() as check_interrupt:
        run.check_data(fingerprint(dataset))
        return _train_and_test(config, run, dataset, check_interrupt)


def load_network(workdir: str | Path) -> tuple[Network, Variables]:
    """The network of a run with the variables of its best epoch so far: `network.apply(variables, inputs)`.

    Raises:
      RunError: `workdir` holds no run, or one without a saved epoch.
      CheckpointError: its checkpoint is damaged.
    """
    folder = Path(workdir).expanduser().resolve()
    config = read_config(folder)
    network = build_network(config, Hyperparameters.from_config(config))
    with Checkpoints(folder / "checkpoints", config) as checkpoints:
        channels = checkpoints.channels()
        if channels is None:
            raise RunError(f"{folder} has no checkpoint yet; run at least one epoch")
        like = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 1, channels)))
        return network, checkpoints.restore_best({"constants": {}, **like})


def _train_and_test(
    config: ConfigDict, run: Run, dataset: Dataset, check_interrupt: Callable[[], None]
) -> dict[str, Any]:
    lengths = choose_lengths(dataset.train.block_index, config.batch_size)
    mesh = devices.mesh_for(config.batch_size)
    program = Program(config, lengths, devices.Share(mesh.size))
    everywhere = devices.everywhere(mesh)
    hyper = jax.device_put(Hyperparameters.from_config(config), everywhere)
    train, validation = to_device(dataset.train, everywhere), to_device(dataset.validation, everywhere)
    test = validation if dataset.test is dataset.validation else to_device(dataset.test, everywhere)
    sizes = f"{train.size} training, {validation.size} validation and {test.size} test samples"
    print(f"{sizes} of {train.inputs.shape[1]} steps and {train.inputs.shape[2]} channels", flush=True)
    with Checkpoints(run.folder / "checkpoints", config) as checkpoints:
        state = checkpoints.restore_last(jax.jit(program.init)(config.seed, hyper, train))
        run.metrics.keep(int(state.epoch))
        if 0 < state.epoch < config.num_epochs:
            print(f"continuing after epoch {state.epoch}", flush=True)
        state = _train(program, mesh, state, hyper, train, validation, run, checkpoints, check_interrupt)

    evaluate = devices.spread(program.evaluate, mesh)
    best = state.best
    metrics = {
        name: {key: float(value) for key, value in evaluate(best.params, state.constants, hyper, split).items()}
        for name, split in (("validation", validation), ("test", test))
    }
    rows = run.metrics.read()
    plots.save_curves(rows, int(best.epoch), program.score_name, run.folder / "curves.png")
    if program.forecasting:
        _save_forecast(config, hyper, state, test, run.folder)
    else:
        _save_raster(config, hyper, state, test, run.folder / "raster.png")
    # The last file: a run that has it is complete.
    return run.finish(
        **metrics,
        protocol=dataset.protocol,
        best_epoch=int(best.epoch),
        wall_seconds=sum(row["seconds"] for row in rows),
    )


def _train(
    program: Program,
    mesh: jax.sharding.Mesh,
    state: TrainState,
    hyper: Hyperparameters,
    train: Samples,
    validation: Samples,
    run: Run,
    checkpoints: Checkpoints,
    check_interrupt: Callable[[], None],
) -> TrainState:
    """Runs the epochs that are left, each with a row of metrics, a checkpoint and a line of output."""
    train_steps, end_epoch = devices.spread(program.train_steps, mesh), devices.spread(program.end_epoch, mesh)
    num_epochs, num_steps = program.config.num_epochs, program.steps_per_epoch(train)
    calls = CallLength()
    with Progress(num_epochs, num_steps, program.score_name) as progress:
        while int(state.epoch) < num_epochs:
            start = time.perf_counter()
            new_state, sums = state, no_sums()
            progress.start_epoch(int(state.epoch) + 1)
            for first, stop in calls.cut(num_steps):
                new_state, sums = train_steps(new_state, sums, hyper, train, first, stop)
                progress.steps_done(stop - first)
                check_interrupt()
            new_state, metrics = end_epoch(new_state, sums, hyper, validation)
            values = {name: float(value) for name, value in metrics.items()}
            epoch = int(new_state.epoch)
            _refuse_divergence(epoch, values)
            state = new_state
            row = {"epoch": epoch, **values, "seconds": time.perf_counter() - start}
            # The row first: a row without its checkpoint is dropped on resuming, the reverse could not be mended.
            run.metrics.append(row)
            checkpoints.save(state)
            progress.epoch_done(row, int(state.best.epoch))
    return state


class CallLength:
    """How many steps one compiled call makes: about a second's worth, so that a progress bar can move.

    A short epoch is one call. The cut does not change the numbers.
    """

    SECONDS = 1.0

    def __init__(self) -> None:
        self._steps = 1

    def cut(self, num_steps: int) -> Iterator[tuple[int, int]]:
        """Cuts the steps of an epoch into `(first, stop)`; the time between two pieces is that of the call."""
        first = 0
        while first < num_steps:
            stop = min(first + self._steps, num_steps)
            start = time.perf_counter()
            yield first, stop
            seconds = time.perf_counter() - start
            # At most four times longer than the last: the first call is slow, since it compiles.
            steps = (stop - first) * self.SECONDS / seconds
            self._steps = max(1, min(int(steps), 4 * self._steps))
            first = stop


def _refuse_divergence(epoch: int, metrics: dict[str, float]) -> None:
    for name in ("train_loss", "validation_loss", "gradient_norm"):
        if not np.isfinite(metrics[name]):
            raise DivergenceError(
                f"{name} is {metrics[name]} in epoch {epoch}; the run's folder keeps the state of epoch {epoch - 1}. "
                "Try a smaller config.optimizer.learning_rate in another --workdir"
            )


def _save_raster(config: ConfigDict, hyper: Hyperparameters, state: TrainState, test: Samples, path: Path) -> None:
    """A picture of the best network at work: on the first test sample it gets right, or else on the first of all."""
    network = build_network(config, hyper)
    variables = {"params": state.best.params, "constants": state.constants}
    samples = test.take(jnp.arange(min(RASTER_CANDIDATES, test.size)))
    outputs, states = jax.jit(lambda inputs: network.apply(variables, inputs, method="trace"))(samples.inputs)
    scores = aggregate(outputs, samples.block_index, samples.targets.shape[1] - 1, config.model.aggregation)
    right = (scores.argmax(axis=-1) == samples.targets) | (samples.targets == IGNORED)
    chosen = int(right.all(axis=1).argmax())
    samples, outputs, states = jax.tree.map(lambda array: array[chosen : chosen + 1], (samples, outputs, states))
    plots.save_raster(samples, outputs, states, config.model.aggregation, path)


def _save_forecast(config: ConfigDict, hyper: Hyperparameters, state: TrainState, test: Samples, folder: Path) -> None:
    """The best network's forecast of the first test sample, and its error in the course of all of them."""
    predict = functools.partial(forecast.predict, build_network(config, hyper))
    outputs = jax.jit(predict)({"params": state.best.params, "constants": state.constants}, test.inputs)
    network, zero = (jax.jit(forecast.errors)(y, test) for y in (outputs, jnp.zeros_like(outputs)))
    windows = forecast.cut(outputs.shape[1], config.data.step_ms)
    write_table(
        folder / "forecast_error.csv",
        {
            f"from_{windows.unit}": windows.edges[:-1],
            f"to_{windows.unit}": windows.edges[1:],
            "network_mse": windows.mean(network.steps),
            "zero_mse": windows.mean(zero.steps),
        },
    )
    plots.save_forecast(test, outputs, config.data.step_ms, folder / "forecast.png")
    plots.save_forecast_error(windows, network, zero, config.data.step_ms, folder / "forecast_error.png")
