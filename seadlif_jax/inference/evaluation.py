"""Loss, accuracy, confusion matrix and firing rates of a trained network on a split."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from seadlif_jax.data.dataset import Split
from seadlif_jax.data.loading import DatasetError, native_split, split_problem
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.device import FixedPointNetwork
from seadlif_jax.inference.batching import count_batches, masked_batches
from seadlif_jax.inference.trained_model import TrainedModel
from seadlif_jax.losses import IGNORED, SpikeSums, Sums, aggregate, count_spikes
from seadlif_jax.nn import Network
from seadlif_jax.tasks import Classification, Task
from seadlif_jax.utils.errors import InputError
from seadlif_jax.utils.processes import refuse_fork
from seadlif_jax.utils.progress import bar

# From the inputs of a batch and its number to the inputs that the network sees: a pytree, as `jax.tree_util.Partial`.
ChangeInputs = Callable[[Num[Array, "sample time channel"], Int[Array, ""]], Num[Array, "sample time channel"]]


class Evaluation(NamedTuple):
    """Metrics of a classifier on a split.

    Attributes:
      loss: mean cross-entropy of a target, weighted by `config.data.class_weights` as in training.
      confusion: number of targets of each true class that were predicted as each class.
      firing_rates: spikes of a neuron in a step, by hidden layer, over the steps whose block is not 0; of LSTMs, none.

    Example:
      >>> evaluation = Evaluation(loss=0.5, confusion=np.array([[3, 1], [0, 4]]), firing_rates=(0.1,))
      >>> evaluation.accuracy
      0.875
      >>> evaluation.by_class()["recall"].tolist()
      [0.75, 1.0]
    """

    loss: float
    confusion: Int[np.ndarray, "true predicted"]
    firing_rates: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Fraction of the targets that are predicted correctly; NaN without targets."""
        with np.errstate(invalid="ignore"):
            return float(np.trace(self.confusion) / self.confusion.sum())

    def by_class(self) -> dict[str, np.ndarray]:
        """Return the columns of a table with one row per class.

        `targets` is the number of targets, `recall` the fraction of them that is predicted, `precision` the fraction of
        the predictions that is correct, `f1` their harmonic mean. NaN where there is nothing to divide by.
        """
        correct, true, predicted = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        with np.errstate(invalid="ignore"):
            return {
                "class": np.arange(len(correct)),
                "targets": true,
                "recall": correct / true,
                "precision": correct / predicted,
                "f1": 2 * correct / (true + predicted),
            }


def measure(model: TrainedModel, split: Any) -> dict[str, float]:
    """Return the mean loss of a network on a split, and the metric of its task, by name.

    Args:
      model: the network.
      split: samples with targets: any object with the attributes of a `Split`.

    Raises:
      DatasetError: the split does not fit the network or its task.
      ArrayError: its arrays are not arrays of numbers.
    """
    task = model.task
    total = _sum_over_batches(
        model, split, lambda samples, _: _task_sums(model.network, task, model.variables, samples)
    )
    return {"loss": float(total.mean_loss()), task.metric: float(total.mean_score())}


def evaluate(
    model: TrainedModel,
    split: Any,
    change_inputs: ChangeInputs | None = None,
    fixed_point: FixedPointNetwork | None = None,
) -> Evaluation:
    """Compare the predictions of a classifier with all targets of a split.

    Args:
      model: the classifier.
      split: samples with targets, such as a split of its data set: any object with the attributes of a `Split`.
      change_inputs: perturbation of the inputs of each batch (see `analysis.robustness`), as the network would take
        them; None for none.
      fixed_point: of `device.quantize`: the model's network in integers, which is evaluated instead.

    Raises:
      DeviceError: the inputs are not for fixed point.
      DatasetError: the split does not fit the network or its task.
      ArrayError: its arrays are not arrays of numbers.
      InputError: the network was trained for another task.

    Example:
      >>> model = load_run("runs/bsd-quick-seed0")  # doctest: +SKIP
      >>> evaluate(model, model.dataset().test).accuracy  # doctest: +SKIP

      Or, untrained, on three samples of one class each:

      >>> from seadlif_jax.build import build_network
      >>> from seadlif_jax.config import base_config
      >>> config, inputs = base_config(), jnp.ones((3, 20, 10))
      >>> network = build_network(config, channels=10)
      >>> model = TrainedModel(config, network, network.init(jax.random.key(0), inputs))
      >>> split = Split(np.asarray(inputs), np.array([[-1, 0], [-1, 1], [-1, 1]]), np.ones((3, 20), int))
      >>> evaluate(model, split).by_class()["targets"].tolist()
      [1, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    task = model.task
    if not isinstance(task, Classification):
        raise InputError("this network was not trained for classification: there are no classes to compare")

    def function(samples: Samples, number: int) -> Any:
        if fixed_point is None:
            return _evaluate_batch(model.network, task, model.variables, samples, change_inputs, number)
        samples = _as_seen(task, samples, change_inputs, number)
        outputs, spikes = fixed_point.outputs_and_spikes(samples.inputs)
        return _measure(task, outputs, tuple(z.mean(-1) for z in spikes), samples)

    sums, counts, confusion = _sum_over_batches(model, split, function)
    return Evaluation(float(sums.loss / sums.loss_terms), confusion, tuple(map(float, counts.mean_rate())))


def _sum_over_batches(model: TrainedModel, split: Any, function: Callable[[Samples, int], Any]) -> Any:
    """Return the sum of a function of each batch of a split and its number, in NumPy arrays."""
    split = _checked(model, split)
    # As few batches as the run's size allows, and as little padding.
    num_batches = count_batches(len(split.inputs), model.config.batch_size)
    batches = masked_batches(split, -(-len(split.inputs) // num_batches))
    total: Any = None
    for number, batch in enumerate(bar(batches, total=num_batches, unit="batch")):
        metrics = jax.tree.map(np.asarray, function(batch.samples, number))
        total = metrics if total is None else jax.tree.map(np.add, total, metrics)
    return total


def _checked(model: TrainedModel, split: Any) -> Split:
    """Return the split in NumPy arrays, if the network and its task can be evaluated on it."""
    if not len(split.inputs):
        raise DatasetError("there is no sample to evaluate on")
    refuse_fork()
    split = native_split(split)
    if problem := split_problem(split, model.task):
        raise DatasetError(f"the split to evaluate on: {problem}")
    channels = jax.eval_shape(model.task.prepare, Samples.of(split, 0, 1)).inputs.shape[-1]
    if channels != model.num_channels:
        raise DatasetError(
            f"the split to evaluate on: inputs have {channels} channels, the network takes {model.num_channels}"
        )
    return split


@functools.partial(jax.jit, static_argnums=(0, 1))
def _task_sums(network: Network, task: Task, variables: Any, batch: Samples) -> Sums:
    """Return the sums of one batch, of any task."""
    return task.evaluate(network, variables, batch)[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluate_batch(
    network: Network,
    task: Classification,
    variables: Any,
    batch: Samples,
    change_inputs: ChangeInputs | None,
    number: Int[Array, ""] | int,
) -> tuple[Sums, SpikeSums, Int[Array, "class class"]]:
    """Return the sums of one batch, which add up over batches."""
    batch = _as_seen(task, batch, change_inputs, number)
    result: Any = network.apply(variables, batch.inputs, return_activity=True)
    return _measure(task, *result, batch)


@functools.partial(jax.jit, static_argnums=0)
def _as_seen(
    task: Classification, batch: Samples, change_inputs: ChangeInputs | None, number: Int[Array, ""] | int
) -> Samples:
    """Return a batch as the network sees it."""
    batch = task.prepare(batch)
    if change_inputs is None:
        return batch
    return batch._replace(inputs=change_inputs(batch.inputs, jnp.asarray(number)))


@functools.partial(jax.jit, static_argnums=0)
def _measure(
    task: Classification, outputs: Any, activity: Any, batch: Samples
) -> tuple[Sums, SpikeSums, Int[Array, "class class"]]:
    """Return the sums of the outputs of a batch."""
    sums = task.sums(outputs, batch.block_index, batch.targets)
    scores = aggregate(outputs, batch.block_index, batch.targets.shape[1] - 1, task.aggregation)
    return sums, count_spikes(activity, batch.block_index), _confusion(scores, batch.targets)


def _confusion(
    scores: Float[Array, "sample block class"], targets: Int[Array, "sample block"]
) -> Int[Array, "class class"]:
    has_target = targets != IGNORED
    classes = scores.shape[-1]
    counts = jnp.zeros((classes, classes), int)
    return counts.at[jnp.where(has_target, targets, 0), scores.argmax(axis=-1)].add(has_target.astype(int))
