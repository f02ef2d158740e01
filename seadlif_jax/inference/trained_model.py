"""A trained network for use: predictions, streaming, states, export."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num
from ml_collections import ConfigDict

from seadlif_jax.build import build_task
from seadlif_jax.config import MAY_MOVE
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.loader import find_loader
from seadlif_jax.data.loading import Dataset, load_dataset
from seadlif_jax.device import CodeSize, DeviceError, device_layers, draw_test_inputs, quantize, write_c
from seadlif_jax.inference.batching import count_batches, masked_batches, unlabelled
from seadlif_jax.inference.streaming import serialize_network
from seadlif_jax.losses import aggregate
from seadlif_jax.nn import Hyperparameters, Network
from seadlif_jax.nn.layers import batch_major, time_major
from seadlif_jax.runs.files import write_atomically
from seadlif_jax.tasks import Classification, Task
from seadlif_jax.utils.arrays import as_native, value_problem
from seadlif_jax.utils.errors import InputError
from seadlif_jax.utils.paths import local_path
from seadlif_jax.utils.processes import refuse_fork
from seadlif_jax.utils.progress import bar

Inputs = Any  # [sample, time, channel], an array of any library


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """The network of a run, with the parameters of its best epoch.

    Every method takes arrays of any library (see `utils.arrays.as_native`), with any number of samples and steps, as
    the network takes them (see `tasks.Task.prepare`). They are worked on in batches of the run's size, which fit into
    memory as in training. For other uses, there is `network.apply(variables, inputs)`.

    Attributes:
      config: config of the run.
      network: the Flax module.
      variables: its variables, by collection.

    Example:
      >>> model = load_run("runs/bsd-quick-seed0")  # doctest: +SKIP

      Or, untrained:

      >>> from seadlif_jax.build import build_network
      >>> from seadlif_jax.config import base_config
      >>> config, inputs = base_config(), jnp.ones((3, 20, 10))
      >>> network = build_network(config, channels=10)
      >>> model = TrainedModel(config, network, network.init(jax.random.key(0), inputs))
      >>> model.probabilities(inputs).shape
      (3, 10)
    """

    config: ConfigDict
    network: Network
    variables: dict[str, Any]

    def __repr__(self) -> str:
        model = self.config.model
        return f"TrainedModel({model.neuron}, hidden={tuple(model.hidden)}, {self.num_channels} channels)"

    @property
    def num_channels(self) -> int:
        """Number of input channels."""
        return self.variables["params"]["layers_0"]["kernel"].shape[0]

    @property
    def classifies(self) -> bool:
        """Whether it was trained for classification, of samples or of steps."""
        return isinstance(self.task, Classification)

    @property
    def task(self) -> Task:
        """Task that it was trained on: how it is run, its loss and its metric."""
        return build_task(self.config)

    def outputs(self, inputs: Inputs) -> Float[np.ndarray, "sample time class"]:
        """Return the readout `y_t` of every step; for a network that forecasts, its predictions of the next input.

        Raises:
          InputError: inputs of another shape, with NaN or infinite values, or that are not numbers (all methods).
        """
        function = functools.partial(run_network, self.network, self.task, self.variables)
        return self._in_batches(lambda samples: function(samples.inputs), unlabelled(self._checked(inputs)))

    def predict(self, inputs: Inputs, step_mask: Any | None = None) -> Int[np.ndarray, " sample"]:
        """Return the class of each sample.

        Args:
          inputs: counts of events, or any numbers, `[sample, time, channel]`.
          step_mask: bool `[sample, time]`, the time steps used for the prediction; None for all, padding included. Best
            are those that the network was trained to answer in: `block_index == 1`, in its data set.

        Raises:
          InputError: also for a sample whose mask is all False, and for networks of other tasks.
        """
        return self.probabilities(inputs, step_mask).argmax(axis=-1)

    def probabilities(self, inputs: Inputs, step_mask: Any | None = None) -> Float[np.ndarray, "sample class"]:
        """Return the class probabilities: softmax of the scores that enter the loss. Arguments as for `predict`."""
        task = self._classification()
        inputs = self._checked(inputs)
        mask = np.ones(inputs.shape[:2], bool) if step_mask is None else as_native(step_mask, "step_mask") != 0
        if mask.shape != inputs.shape[:2]:
            raise InputError(f"step_mask has shape {mask.shape}; for these inputs it must be {inputs.shape[:2]}")
        empty = np.flatnonzero(~mask.any(axis=1))
        if len(empty):
            raise InputError(f"step_mask is False in all steps of sample {empty[0]}; it needs at least one step")
        function = functools.partial(_class_probabilities, self.network, task, self.variables)
        return self._in_batches(
            lambda samples: function(samples.inputs, samples.block_index), unlabelled(inputs, mask.astype(np.int32))
        )

    def predict_steps(self, inputs: Inputs) -> Int[np.ndarray, "sample time"]:
        """Return the class of each step, for networks that label steps."""
        self._classification()
        return self.outputs(inputs).argmax(axis=-1)

    def initial_state(self, batch: int = 1) -> tuple[Any, ...]:
        """Return the state before the first step, for `step`: one entry per layer, the readout's last."""
        return self.network.initial_state(batch)

    def step(self, state: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Float[Array, "batch class"]]:
        """Advance a stream by one step, `(state, x_t) -> (state, y_t)`, with the same `y_t` as from `outputs`.

        The same up to rounding, as XLA always computes it; so a spike at the very threshold may differ.

        A network that forecasts is fed what the caller chooses, here in all steps.

        Raises:
          InputError: the state is not one of `initial_state`, or of another number of streams than `x`; or `x` has
            another shape.
        """
        _refuse_no_state(state)
        if np.ndim(x) != 2 or np.shape(x)[1] != self.num_channels:
            raise InputError(f"x has shape {np.shape(x)}; it must be [batch, {self.num_channels} channels]")
        if not isinstance(x, jax.Array):  # which may be traced, and need not leave the device
            x = _converted(x, "x")
        refuse_fork()
        return self._step(self.variables, state, x)

    def steps(self, state: tuple[Any, ...], inputs: Inputs) -> tuple[tuple[Any, ...], Float[Array, "batch time class"]]:
        """Advance a stream by several steps in one call, `(state, x_t..) -> (state, y_t..)`: faster than one by one."""
        _refuse_no_state(state)
        inputs = self._checked(inputs)
        refuse_fork()
        return self._steps(self.variables, state, inputs)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: compiled functions cannot be pickled."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    # Compiled for each model: to look a network up among the arguments of a compiled function takes time.

    @functools.cached_property
    def _step(self) -> Callable[..., Any]:
        return jax.jit(functools.partial(_apply_step, self.network))

    @functools.cached_property
    def _steps(self) -> Callable[..., Any]:
        def steps(variables: Mapping[str, Any], state: Any, inputs: Num[Any, "batch time channel"]) -> Any:
            step = functools.partial(_apply_step, self.network, variables)
            state, outputs = jax.lax.scan(step, state, time_major(inputs))
            return state, batch_major(outputs)

        return jax.jit(steps)

    def trace(self, inputs: Inputs) -> tuple[Float[Array, "sample time class"], tuple[Any, ...]]:
        """Return the readout of every step, and the states `u`, `w`, `z` of each hidden layer `[sample, time, neuron]`.

        All samples are worked on at once: meant for a few. A network that forecasts is fed its inputs in all steps.
        """
        refuse_fork()
        return trace_network(self.network, self.variables, self._checked(inputs))

    def dataset(self, **moved: str | Path) -> Dataset:
        """Return the splits that the network was trained, selected and tested on.

        Args:
          moved: `dir` and `cache_dir` if the data are elsewhere now, `loader_dir` if the loader is.

        Raises:
          InputError: another name is given.
        """
        return load_dataset(self._config(moved))

    def with_data(self, **moved: str | Path) -> "TrainedModel":
        """Return the same network, with a config that says where the data are now; `moved` as for `dataset`."""
        return replace(self, config=self._config(moved))

    def read(self, path: str | Path, **moved: str | Path) -> Split:
        """Return a file of recordings as in training: `inputs` and `block_index`, and the targets that it has.

        Read by the function `read(path, config)` of the run's loader, if it reads files; `moved` as for `dataset`.
        """
        config = self._config(moved)
        return find_loader(config.data).read(local_path(path, "path"), config)

    def export(self, path: str | Path) -> Path:
        """Write `outputs` to a file that runs without this library: parameters included, for any batch and time.

        It takes `float32 [batch, time, channel]`. Elsewhere, it needs JAX, and flatbuffers for `jax.export`:

            exported = jax.export.deserialize(open(path, "rb").read())
            outputs = exported.call(inputs)

        Raises:
          InputError: the network forecasts; the step from which it is fed its own output depends on the length.
        """
        if self.task.feeds_back:
            raise InputError("this network forecasts: from which step on depends on the length; use outputs")
        path = local_path(path, "path")
        path.write_bytes(serialize_network(self.network, self.variables, self.num_channels))
        return path

    def export_c(self, folder: str | Path, dtype: str = "float32", name: str = "network") -> CodeSize:
        """Write the network as C code, with an example and a test vector (see `seadlif_jax.device`).

        Args:
          folder: where to; it must exist.
          dtype: "float32", or "int8" for fixed point with weights of 8 bits.
          name: of the files, and prefix of all names in them.

        Raises:
          DeviceError: the network forecasts, or its neurons have no code; or another `dtype` or `name`.
        """
        if self.task.feeds_back:
            raise DeviceError("this network forecasts: it is fed with its own outputs, for which there is no C code")
        if dtype not in ("float32", "int8"):
            raise DeviceError(f"dtype = {dtype!r}: it must be 'float32' or 'int8'")
        folder = local_path(folder, "folder")
        layers = device_layers(self.network, self.variables)
        fixed_point = quantize(layers) if dtype == "int8" else None
        model, step_ms = self.config.model, self.config.data.step_ms
        description = [
            f"{model.neuron} neurons {tuple(model.hidden)}, {self.num_channels} channels, {dtype}",
            f"trained for {self.config.data.loader}, seed {self.config.seed}",
            f"a step is {step_ms:g} ms" if step_ms else "a step has no duration of its own",
        ]
        size = write_c(layers if fixed_point is None else fixed_point, folder, description, name)
        inputs = draw_test_inputs(self.network, self.variables)
        outputs = self.outputs(inputs) if fixed_point is None else fixed_point.run(inputs)[0]
        rows = np.concatenate([inputs[0], outputs[0]], axis=1)
        lines = (" ".join(f"{number:.10g}" for number in row) for row in rows)
        write_atomically(folder / "test_vector.txt", "\n".join(lines) + "\n")
        return size

    def _config(self, moved: Mapping[str, str | Path]) -> ConfigDict:
        movable = [name.removeprefix("data.") for name in MAY_MOVE if name.startswith("data.")]
        for name in moved:
            if name not in movable:
                raise InputError(f"{name}: it must be one of {', '.join(movable)}, the folders that may have moved")
        config = ConfigDict(self.config.to_dict())
        config.data.update({name: str(folder) for name, folder in moved.items()})
        return config.lock()

    def _classification(self) -> Classification:
        if not isinstance(self.task, Classification):
            raise InputError("this network was not trained for classification; use outputs")
        return self.task

    def _checked(self, inputs: Any) -> np.ndarray:
        inputs = _converted(inputs, "inputs")
        if inputs.shape[:1] == (0,):
            raise InputError("there is no sample in the inputs")
        if inputs.ndim != 3 or 0 in inputs.shape or inputs.shape[2] != self.num_channels:
            raise InputError(
                f"inputs have shape {inputs.shape}; they must be [sample, time, {self.num_channels} channels]"
            )
        return inputs

    def _in_batches(self, function: Callable[..., Array], split: Split) -> np.ndarray:
        """Return a function of the samples of a batch, for all samples of a split."""
        refuse_fork()
        batch_size = min(self.config.batch_size, len(split.inputs))
        num_batches = count_batches(len(split.inputs), batch_size)
        batches = bar(masked_batches(split, batch_size), total=num_batches, unit="batch")
        return np.concatenate([np.asarray(function(batch.samples))[batch.is_sample] for batch in batches])


@functools.partial(jax.jit, static_argnums=(0, 1))
def run_network(
    network: Network,
    task: Task,
    variables: Mapping[str, Any],
    inputs: Num[Any, "sample time channel"],
    hyper: Hyperparameters | None = None,
) -> Float[Array, "sample time output"]:
    """Return the outputs of all steps, compiled once per network, task and shape.

    `hyper` overrides the network's own numbers, so that all members of a sweep share one compiled function.
    """
    outputs: Any = network.apply(variables, inputs, hyper=hyper, feedback_from=task.feedback_from(inputs.shape[1]))
    return outputs


@functools.partial(jax.jit, static_argnums=(0, 1))
def _class_probabilities(
    network: Network,
    task: Classification,
    variables: Mapping[str, Any],
    inputs: Num[Any, "sample time channel"],
    block_index: Int[Any, "sample time"],
) -> Float[Array, "sample class"]:
    """Return the softmax of the scores of block 1."""
    outputs: Any = network.apply(variables, inputs)
    scores = aggregate(outputs, block_index, 1, task.aggregation)
    return jax.nn.softmax(scores[:, 1])


@functools.partial(jax.jit, static_argnums=0)
def trace_network(
    network: Network,
    variables: Mapping[str, Any],
    inputs: Num[Any, "sample time channel"],
    hyper: Hyperparameters | None = None,
) -> Any:
    """Return `Network.trace`, compiled as `run_network`."""
    return network.apply(variables, inputs, hyper=hyper, method="trace")


def _apply_step(network: Network, variables: Mapping[str, Any], state: Any, x: Num[Any, "batch channel"]) -> Any:
    first = jax.tree.leaves(state)[0]  # compiled with the step: this is checked once for each shape
    if first.shape[:1] != x.shape[:1]:
        raise InputError(f"the state has {first.shape[0]} streams, and the inputs have {x.shape[0]}")
    return network.apply(variables, state, jnp.asarray(x), method="step")


def _converted(values: Any, name: str) -> np.ndarray:
    """Return finite numbers, of a dtype that JAX has."""
    array = as_native(values, name)
    problem = value_problem(array)
    if problem:
        raise InputError(f"{name} are {problem}")
    return array.astype(jnp.result_type(float)) if array.dtype.itemsize > 4 else array


def _refuse_no_state(state: Any) -> None:
    if not isinstance(state, tuple | list):
        raise InputError(
            f"the state is a {type(state).__name__}; it must be that of initial_state(batch), the first argument"
        )
