"""A network that a run has trained, for use: predictions, streaming, export."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax.config import is_sweep
from seadlif_jax.data.loader import find_loader
from seadlif_jax.data.loading import Dataset, Split, fingerprint, load_dataset
from seadlif_jax.inference import compiled as inference
from seadlif_jax.inference import export as portable
from seadlif_jax.nn.network import Network
from seadlif_jax.runs.checkpoint import Checkpoints, Variables
from seadlif_jax.runs.folder import Run, RunError, read_config
from seadlif_jax.training import sweep
from seadlif_jax.training.trainer import Hyperparameters, build_network
from seadlif_jax.utils.arrays import as_native, value_problem
from seadlif_jax.utils.paths import local_path, workdir_path
from seadlif_jax.utils.progress import bar

Inputs = Any  # [sample, time, channel]


_process: int | None = None  # that has used JAX here


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """The network of a run, with the parameters of its best epoch.

    Everything takes arrays of any library (see `arrays.as_native`), of any number of samples, of any number of steps;
    in batches of the run's size, so that as many fit into memory as did in training. For other uses,
    `network.apply(variables, inputs)` is the whole of it.

    Attributes:
      config: that of the run.
      network: the Flax module.
      variables: its parameters and constants.

    Example:
      >>> trained = load_run("runs/bsd-quick-seed0")  # doctest: +SKIP

      Or, untrained:

      >>> from seadlif_jax.config import base_config
      >>> config, inputs = base_config(), jnp.ones((3, 20, 10))
      >>> network = build_network(config, Hyperparameters.from_config(config))
      >>> trained = TrainedNetwork(config, network, network.init(jax.random.key(0), inputs))
      >>> trained.probabilities(inputs).shape
      (3, 10)
    """

    config: ConfigDict
    network: Network
    variables: Variables

    @property
    def num_channels(self) -> int:
        """How many the inputs must have."""
        return self.variables["params"]["layers_0"]["kernel"].shape[0]

    @property
    def forecasts(self) -> bool:
        """Whether it predicts its next input, and no classes."""
        return self.config.model.aggregation == "forecast"

    def outputs(self, inputs: Inputs) -> Float[np.ndarray, "sample time class"]:
        """The readout's potential `y_t` of every step; of a run that forecasts, its predictions of the next input.

        Raises:
          ValueError: inputs of another shape, with NaN or infinite values, or that are not numbers; all methods do.
        """
        return self._in_batches(inference.outputs, self._checked(inputs))

    def predict(self, inputs: Inputs, counted: Any | None = None) -> Int[np.ndarray, " sample"]:
        """The class of each sample.

        Args:
          inputs: counts of events, or any numbers, `[sample, time, channel]`.
          counted: bool `[sample, time]`, the steps that say it; None for all. A network does best on those that it was
            trained to answer in: `block_index == 1`, in its data set.

        Raises:
          ValueError: also for a sample without a counted step, and for networks that forecast.
        """
        return self.probabilities(inputs, counted).argmax(axis=-1)

    def probabilities(self, inputs: Inputs, counted: Any | None = None) -> Float[np.ndarray, "sample class"]:
        """The probability of every class: the softmax of the scores that the loss is of. Arguments as in `predict`."""
        self._refuse_forecast("a class")
        inputs = self._checked(inputs)
        counted = np.ones(inputs.shape[:2], bool) if counted is None else as_native(counted, "counted") != 0
        if counted.shape != inputs.shape[:2]:
            raise ValueError(f"counted has shape {counted.shape}; for these inputs it must be {inputs.shape[:2]}")
        uncounted = np.flatnonzero(~counted.any(axis=1))
        if len(uncounted):
            raise ValueError(f"no step of sample {uncounted[0]} is counted: nothing says its class")
        return self._in_batches(inference.probabilities, inputs, counted.astype(np.int32))

    def predict_steps(self, inputs: Inputs) -> Int[np.ndarray, "sample time"]:
        """The class of each step, for networks that label steps."""
        self._refuse_forecast("a class")
        return self.outputs(inputs).argmax(axis=-1)

    def initial_state(self, batch: int = 1) -> tuple[Any, ...]:
        """The state before the first step, for `step`: one entry a layer, the readout's last."""
        return self.network.initial_state(batch)

    def step(self, state: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Float[Array, "batch class"]]:
        """One step of streaming, `(state, x_t) -> (state, y_t)`: the same `y_t` as from `outputs`.

        Unless it forecasts: what it is fed is then yours to choose.
        """
        if np.ndim(x) != 2 or np.shape(x)[1] != self.num_channels:
            raise ValueError(f"x has shape {np.shape(x)}; it must be [batch, {self.num_channels} channels]")
        if not isinstance(x, jax.Array):  # which may be traced, and need not leave the device
            x = _converted(x, "x")
        _refuse_fork()
        return inference.step(self._frozen, self._hyper, self.variables, state, x)

    def trace(self, inputs: Inputs) -> tuple[Float[Array, "sample time class"], tuple[Any, ...]]:
        """The readout of every step, and the states `u`, `w`, `z` of each hidden layer, `[sample, time, neuron]`.

        Of all samples at once: it is for looking at a few. A network that forecasts is fed its inputs in all steps.
        """
        _refuse_fork()
        return inference.trace(self._frozen, self._hyper, self.variables, self._checked(inputs))

    def dataset(self, **moved: str) -> Dataset:
        """The splits that it was trained, selected and tested on.

        Args:
          moved: `dir` and `cache_dir` if the data are elsewhere now, `loader_dir` if the loader is.
        """
        return load_dataset(self._config(moved))

    def read(self, path: str | Path, **moved: str) -> Split:
        """A file of recordings as the network wants them: its `inputs` and `block_index`, and what targets it has.

        By the function `read(path, config)` that the module of the run's loader has, if it reads files; `moved` as in
        `dataset`.
        """
        config = self._config(moved)
        return find_loader(config.data).read(local_path(path, "path"), config)

    def export(self, path: str | Path) -> Path:
        """Writes `outputs` to a file that runs without this library: parameters included, for any batch and time.

        It takes `float32 [batch, time, channel]`. Elsewhere, it needs JAX, and flatbuffers for `jax.export`:

            exported = jax.export.deserialize(open(path, "rb").read())
            outputs = exported.call(inputs)

        Raises:
          ValueError: the network forecasts; when it is fed its own output depends on the length there.
        """
        self._refuse_forecast("what does not depend on their length")
        path = local_path(path, "path")
        path.write_bytes(portable.serialize(self.network, self.variables, self.num_channels))
        return path

    def _config(self, moved: Mapping[str, str]) -> ConfigDict:
        config = ConfigDict(self.config.to_dict())
        config.data.update(moved)
        return config.lock()

    @functools.cached_property
    def _frozen(self) -> FrozenConfigDict:
        return FrozenConfigDict(self.config)

    @functools.cached_property
    def _hyper(self) -> Hyperparameters:
        return Hyperparameters.from_config(self.config)

    def _refuse_forecast(self, what: str) -> None:
        if self.forecasts:
            raise ValueError(f"this network forecasts its inputs and does not predict {what}; use outputs")

    def _checked(self, inputs: Any) -> np.ndarray:
        inputs = _converted(inputs, "inputs")
        if inputs.shape[:1] == (0,):
            raise ValueError("there is no sample in the inputs")
        if inputs.ndim != 3 or 0 in inputs.shape or inputs.shape[2] != self.num_channels:
            raise ValueError(
                f"inputs have shape {inputs.shape}; they must be [sample, time, {self.num_channels} channels]"
            )
        return inputs

    def _in_batches(self, function: Callable[..., Array], *arrays: np.ndarray) -> np.ndarray:
        _refuse_fork()
        size = min(self.config.batch_size, len(arrays[0]))
        found = [
            np.asarray(function(self._frozen, self._hyper, self.variables, *batch)) for batch in batches(arrays, size)
        ]
        return np.concatenate(found)[: len(arrays[0])]


def _refuse_fork() -> None:
    """Raise a `RuntimeError` in a fork of a process that has used JAX: its threads are missing, and JAX would wait."""
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise RuntimeError(
            "this process is a fork of one that has used JAX, and would hang; start workers by "
            "multiprocessing.get_context('spawn')"
        )


def load_run(workdir: str | Path, member: int | None = None) -> TrainedNetwork:
    """The network of a run with the parameters of its best epoch so far.

    Args:
      workdir: the run's folder.
      member: of a sweep, the number of the member.

    Raises:
      RunError: `workdir` holds no run, or one without a saved epoch or without such a member.
      CheckpointError: its checkpoint is damaged.

    Example:
      >>> trained = load_run("runs/bsd-quick-seed0")  # doctest: +SKIP
      >>> trained.predict(trained.dataset().test.inputs)  # doctest: +SKIP
    """
    _refuse_fork()
    folder = workdir_path(workdir)
    config = read_config(folder)
    members = sweep.members(config)
    if member is None and is_sweep(config):
        raise RunError(f"{folder} holds a sweep; say which member, 0..{len(members) - 1}")
    member = member or 0
    if not 0 <= member < len(members):
        raise RunError(f"{folder} has no member {member}; its members are 0..{len(members) - 1}")
    own = members[member].config
    network = build_network(own, Hyperparameters.from_config(own))

    def like(metadata: Mapping[str, Any]) -> Variables:
        if metadata["best_epochs"][member] == 0:
            who = f"member {member} of {folder}" if is_sweep(config) else f"{folder}"
            raise RunError(f"{who} has no finished epoch; let it run on, unless it has diverged")
        variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 1, metadata["channels"])))
        return jax.tree.map(
            lambda one: jax.ShapeDtypeStruct((len(members), *one.shape), one.dtype), {"constants": {}, **variables}
        )

    with Checkpoints(folder / "checkpoints", config) as checkpoints:
        best = checkpoints.restore_best(like)
    if best is None:
        raise RunError(f"{folder} has no checkpoint yet; run at least one epoch")
    return TrainedNetwork(own, network, jax.tree.map(lambda array: jnp.asarray(array[member], float), best))


def open_run(workdir: str | Path, moved: Mapping[str, str]) -> tuple[TrainedNetwork, Dataset]:
    """The network of a run, and its data, which may have `moved` (see `TrainedNetwork.dataset`).

    Raises:
      RunError: as `load_run`; or it is a sweep; or the data are not those of the run.
      DatasetError, ConfigError: the data cannot be loaded (and what the loader itself raises).
    """
    folder = workdir_path(workdir)
    config = read_config(folder)
    if is_sweep(config):
        first = folder / "members" / "0"
        how = f"choose one of its members, such as {first}" if first.exists() else "its members are there at its end"
        raise RunError(f"{folder} holds a sweep; {how}")
    trained = load_run(folder)
    dataset = trained.dataset(**moved)
    Run(folder, config).check_data(fingerprint(dataset))
    return trained, dataset


def load_network(workdir: str | Path, member: int | None = None) -> tuple[Network, Variables]:
    """Network and variables of `load_run`.

    Example:
      >>> network, variables = load_network("runs/bsd-quick-seed0")  # doctest: +SKIP
      >>> outputs = network.apply(variables, inputs)  # doctest: +SKIP
    """
    trained = load_run(workdir, member)
    return trained.network, trained.variables


def _converted(values: Any, name: str) -> np.ndarray:
    """Numbers that JAX has, all of them finite."""
    array = as_native(values, name)
    problem = value_problem(array)
    if problem:
        raise ValueError(f"{name} are {problem}")
    return array.astype(jnp.result_type(float)) if array.dtype.itemsize > 4 else array


def batches(arrays: tuple[np.ndarray, ...], size: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Batches of one size, with a progress bar; the last is filled up with zeros."""
    for start in bar(range(0, len(arrays[0]), size), unit="batch"):
        batch = [array[start : start + size] for array in arrays]
        missing = size - len(batch[0])
        yield tuple(np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)]) for array in batch)
