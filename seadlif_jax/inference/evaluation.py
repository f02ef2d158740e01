"""How a trained network does on a split: loss and accuracy, class by class, and what it takes for what."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import FrozenConfigDict

from seadlif_jax.data.loading import Samples, native_split
from seadlif_jax.inference import compiled as inference
from seadlif_jax.inference.model import TrainedNetwork, batches
from seadlif_jax.losses import IGNORED, Sums, aggregate, classification
from seadlif_jax.runs.checkpoint import Variables
from seadlif_jax.training.trainer import Hyperparameters, class_weights


class Evaluation(NamedTuple):
    """What a network does on a split.

    Attributes:
      loss: the mean cross-entropy of a target, weighted by `config.data.class_weights` as in training.
      confusion: `[true class, predicted class]`, how many targets were taken for what.

    Example:
      >>> found = Evaluation(loss=0.5, confusion=np.array([[3, 1], [0, 4]]))
      >>> found.accuracy
      0.875
      >>> found.by_class()["recall"].tolist()
      [0.75, 1.0]
    """

    loss: float
    confusion: Int[np.ndarray, "true predicted"]

    @property
    def accuracy(self) -> float:
        """The part of the targets that is predicted; NaN if there is none."""
        with np.errstate(invalid="ignore"):
            return float(np.trace(self.confusion) / self.confusion.sum())

    def by_class(self) -> dict[str, np.ndarray]:
        """Columns of a table with a row a class.

        `targets` is how many there are, `recall` the part of them that is predicted, `precision` the part of the
        predictions that is right, `f1` their harmonic mean. NaN where there is nothing to take a part of.
        """
        right, true, predicted = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        with np.errstate(invalid="ignore"):
            return {
                "class": np.arange(len(right)),
                "targets": true,
                "recall": right / true,
                "precision": right / predicted,
                "f1": 2 * right / (true + predicted),
            }


def evaluate(trained: TrainedNetwork, split: Any) -> Evaluation:
    """Compares the network's predictions with all targets of a split of its data set.

    Raises:
      ValueError: the network forecasts, and does not predict classes; or there is no sample; or the split's arrays are
        not arrays of numbers.

    Example:
      >>> trained = load_run("runs/bsd-quick-seed0")  # doctest: +SKIP
      >>> evaluate(trained, trained.dataset().test).accuracy  # doctest: +SKIP

      Or, untrained, on three samples of one class each:

      >>> from seadlif_jax.config import base_config
      >>> from seadlif_jax.training.trainer import build_network
      >>> config, inputs = base_config(), jnp.ones((3, 20, 10))
      >>> network = build_network(config, Hyperparameters.from_config(config))
      >>> trained = TrainedNetwork(config, network, network.init(jax.random.key(0), inputs))
      >>> split = Samples(np.asarray(inputs), np.array([[-1, 0], [-1, 1], [-1, 1]]), np.ones((3, 20), int))
      >>> evaluate(trained, split).by_class()["targets"].tolist()
      [1, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    config = FrozenConfigDict(trained.config)
    if trained.forecasts:
        raise ValueError("this network forecasts its inputs: there are no classes to compare")
    hyper = Hyperparameters.from_config(trained.config)
    if not len(split.inputs):
        raise ValueError("there is no sample to evaluate on")
    split = native_split(split)
    size = min(config.batch_size, len(split.inputs))
    classes = config.data.num_classes
    sums, confusion = Sums.zero(), np.zeros((classes, classes), np.int64)
    # Targets counted from 1, so that the zeros that fill up the last batch are none.
    arrays = (split.inputs, split.targets.astype(np.int32) + 1, split.block_index)
    for inputs, targets, block_index in batches(arrays, size):
        batch = Samples(jnp.asarray(inputs), jnp.asarray(targets - 1), jnp.asarray(block_index, jnp.int32))
        of_batch, pairs = _compare(config, hyper, trained.variables, batch)
        sums = jax.tree.map(jnp.add, sums, of_batch)
        confusion += np.asarray(pairs)
    return Evaluation(float(sums.loss / sums.loss_terms), confusion)


@functools.partial(jax.jit, static_argnums=0)
def _compare(
    config: FrozenConfigDict, hyper: Hyperparameters, variables: Variables, batch: Samples
) -> tuple[Sums, Int[Array, "class class"]]:
    outputs = inference.outputs(config, hyper, variables, batch.inputs)
    how = config.model.aggregation
    sums = classification(outputs, batch.block_index, batch.targets, how, class_weights(config))
    scores = aggregate(outputs, batch.block_index, batch.targets.shape[1] - 1, how)
    return sums, _confusion(scores, batch.targets)


def _confusion(
    scores: Float[Array, "sample block class"], targets: Int[Array, "sample block"]
) -> Int[Array, "class class"]:
    counted = targets != IGNORED
    classes = scores.shape[-1]
    counts = jnp.zeros((classes, classes), int)
    return counts.at[jnp.where(counted, targets, 0), scores.argmax(axis=-1)].add(counted.astype(int))
