"""Tasks: how a network is run, its loss, its metric, and the targets that it needs.

A task is an immutable value, made of a config by `build.build_task`; whatever depends on the kind of task asks it. A
new kind is a subclass of `Task`, in any module: `config.task` names it as "module:Class". What its pictures and tables
are is registered with the functions of `seadlif_jax.reports`.
"""

import abc
import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num
from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax.config import ConfigError
from seadlif_jax.losses import IGNORED, SpikeSums, Sums, classification, count_spikes, feedback_start, forecast
from seadlif_jax.neurons import Scalar
from seadlif_jax.utils.arrays import value_problem

Variables = Mapping[str, Any]
Inputs = Num[Array, "sample time channel"]
Outputs = Float[Array, "sample time output"]
Activity = tuple[Float[Array, "sample time"], ...]


class Selection(NamedTuple):
    """Metric of the validation split that the best epoch is selected by.

    Attributes:
      metric: "loss", or the task's metric.
      sign: 1 if greater is better, -1 if less is.
    """

    metric: str
    sign: int


class Task(abc.ABC):
    """Kind of task.

    Attributes:
      metric: name of the metric beside the loss.
      metric_sign: 1 if a greater metric is better, -1 if a smaller one is.
      selection: metric that selects the best epoch.
      curves: metrics to draw over the epochs.
      variable_length: whether steps behind a sample's last block change nothing, so that they may be left out.
      fields: names of the task's own fields, in the section `loss` of a config.
      feeds_back: whether the network is fed its own outputs, from the step `feedback_from` on.
    """

    metric: ClassVar[str]
    metric_sign: ClassVar[int]
    selection: ClassVar[Selection]
    curves: ClassVar[tuple[str, ...]]
    variable_length: ClassVar[bool]
    fields: ClassVar[tuple[str, ...]] = ()
    feeds_back: ClassVar[bool] = False

    @classmethod
    @abc.abstractmethod
    def from_config(cls, config: ConfigDict | FrozenConfigDict) -> "Task":
        """Return the task of a config; raises a `ConfigError` for fields that do not fit it."""

    @abc.abstractmethod
    def num_outputs(self, channels: int) -> int:
        """Return the number of the network's outputs for inputs with this number of channels."""

    def feedback_from(self, num_steps: int) -> int | None:
        """Return the step from which the network is fed its own outputs; None for a network that never is."""
        return None

    def prepare(self, batch: Any) -> Any:
        """Return a batch of `Samples` as network and loss take them, from how the data set holds them.

        It is part of training and evaluation. Methods of a `TrainedModel` take inputs that are prepared already.
        """
        return batch

    @abc.abstractmethod
    def sums(self, outputs: Outputs, block_index: Array, targets: Array) -> Sums:
        """Return loss and score of outputs, summed over the targets of a batch.

        The last batch of a split is filled up with samples whose block is 0 in all steps, and whose targets are -1, or
        0 if they are not whole numbers: these must add nothing, nor count as terms.
        """

    @abc.abstractmethod
    def loss_terms(self, block_index: Array, targets: Array) -> Int[Array, " sample"]:
        """Return how many terms each sample has in the loss of `sums`: its targets; of a forecast, its steps."""

    def training_sums(
        self,
        outputs: Outputs,
        block_index: Array,
        targets: Array,
        label_smoothing: Scalar | None,
        update: Int[Array, ""],
    ) -> Sums:
        """Return `sums` for an update of the parameters, with what the loss has in training only.

        Args:
          outputs: of the network.
          block_index: block of each step.
          targets: of the samples.
          label_smoothing: share of each target that is spread over all classes; None for no smoothing.
          update: number of updates before.
        """
        return self.sums(outputs, block_index, targets)

    @abc.abstractmethod
    def target_problem(self, inputs: np.ndarray, targets: np.ndarray, block_index: np.ndarray) -> str | None:
        """Return what is wrong with the targets of a split, or None."""

    def target_warning(self, targets: np.ndarray) -> str | None:
        """Return warning text about training targets that can be used but hardly are meant, or None."""
        return None

    def evaluate(self, network: Any, variables: Variables, batch: Any, **settings: Any) -> tuple[Sums, SpikeSums]:
        """Return the sums of a batch, without dropout, and the spikes of the hidden layers in it."""
        batch = self.prepare(batch)
        feedback_from = self.feedback_from(batch.inputs.shape[1])
        outputs, activity = network.apply(
            variables, batch.inputs, feedback_from=feedback_from, return_activity=True, **settings
        )
        return self.sums(outputs, batch.block_index, batch.targets), count_spikes(activity, batch.block_index)

    def selection_score(self, validation_metrics: Mapping[str, Any]) -> Any:
        """Return the number whose maximum is the best epoch, from metrics of the validation split by name."""
        return self.selection.sign * validation_metrics[self.selection.metric]


@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """Classes of the blocks of a sample: cross-entropy, accuracy; the best epoch is that with the best accuracy.

    Attributes:
      num_classes: number of classes, and of the network's outputs.
      aggregation: from the outputs of a block's steps to its scores, a name in `losses.AGGREGATIONS`.
      class_weights: factor of the loss for each class; None for 1.
    """

    num_classes: int
    aggregation: str = "softmax"
    class_weights: tuple[float, ...] | None = None

    metric = "accuracy"
    metric_sign = 1
    selection = Selection("accuracy", 1)
    curves = ("loss", "accuracy")
    variable_length = True

    @classmethod
    def from_config(cls, config: ConfigDict | FrozenConfigDict) -> "Classification":
        weights, classes = config.data.class_weights, config.data.num_classes
        if weights is not None and len(weights) != classes:
            raise ConfigError(
                f"config.data.class_weights = {weights!r}: it must have one number for each of the {classes} classes"
            )
        return cls(classes, config.model.aggregation, None if weights is None else tuple(weights))

    def num_outputs(self, channels: int) -> int:
        return self.num_classes

    def sums(self, outputs: Outputs, block_index: Array, targets: Array) -> Sums:
        return classification(outputs, block_index, targets, self.aggregation, self.class_weights)

    def loss_terms(self, block_index: Array, targets: Array) -> Int[Array, " sample"]:
        return jnp.sum(targets != IGNORED, axis=1)

    def training_sums(
        self,
        outputs: Outputs,
        block_index: Array,
        targets: Array,
        label_smoothing: Scalar | None,
        update: Int[Array, ""],
    ) -> Sums:
        if label_smoothing is None:
            return self.sums(outputs, block_index, targets)
        return classification(
            outputs, block_index, targets, self.aggregation, self.class_weights, label_smoothing=label_smoothing
        )

    def target_problem(self, inputs: np.ndarray, targets: np.ndarray, block_index: np.ndarray) -> str | None:
        if targets.ndim != 2 or len(targets) != len(inputs) or not np.issubdtype(targets.dtype, np.integer):
            return (
                f"targets are {targets.dtype} {targets.shape}; they must be integers [{len(inputs)} samples, "
                "num_blocks + 1]"
            )
        num_blocks = targets.shape[1] - 1
        if block_index.max() > num_blocks:
            return f"block_index reaches {block_index.max()}, but there are targets for 0..{num_blocks}"
        if (targets[:, 0] != IGNORED).any():
            return f"targets[:, 0] must be {IGNORED}: block 0 is ignored"
        wrong = (targets < IGNORED) | (targets >= self.num_classes)
        if wrong.any():
            return (
                f"targets reach {targets.min()}..{targets.max()}; with config.data.num_classes = {self.num_classes} "
                f"they must be {IGNORED}..{self.num_classes - 1} (first in sample {np.argmax(wrong.any(axis=1))} of "
                "the split)"
            )
        if (targets == IGNORED).all():
            return "there is no target at all"
        sample, block = np.nonzero((targets != IGNORED) & (_steps_per_block(block_index, num_blocks) == 0))
        if len(sample):
            return f"sample {sample[0]} has a target for block {block[0]}, but no step of that block"
        return None

    def target_warning(self, targets: np.ndarray) -> str | None:
        classes = np.unique(targets[targets != IGNORED])
        if self.num_classes == 1 or len(classes) > 1:
            return None
        return f"all training targets are of class {classes[0]}: accuracy says nothing"


@dataclasses.dataclass(frozen=True)
class Forecast(Task):
    """The next input, from step `ceil(T / 2)` on from the network's own outputs: squared error.

    The loss is over all steps, the metric "mse" over those of the second half; the best epoch is that with the least
    loss. There are as many outputs as input channels.
    """

    metric = "mse"
    metric_sign = -1
    feeds_back = True
    selection = Selection("loss", -1)
    curves = ("loss",)
    variable_length = False  # the step from which the network is fed its own output depends on the length

    @classmethod
    def from_config(cls, config: ConfigDict | FrozenConfigDict) -> "Forecast":
        refuse_classification_fields(config)
        if config.model.batch_norm:
            raise ConfigError(
                "config.model.batch_norm = True: a forecast is fed with its own outputs, whose mean and variance are "
                "not known before; it must be False"
            )
        return cls()

    def num_outputs(self, channels: int) -> int:
        return channels

    def feedback_from(self, num_steps: int) -> int:
        return feedback_start(num_steps)

    def sums(self, outputs: Outputs, block_index: Array, targets: Array) -> Sums:
        return forecast(outputs, block_index, targets)

    def loss_terms(self, block_index: Array, targets: Array) -> Int[Array, " sample"]:
        return jnp.sum(block_index != 0, axis=1)

    def target_problem(self, inputs: np.ndarray, targets: np.ndarray, block_index: np.ndarray) -> str | None:
        samples, steps, channels = inputs.shape
        if steps < 2:
            return "inputs have a single step; a forecast needs a second one, to be fed its own output"
        if targets.shape != (samples, steps + 1, channels):
            return f"targets have shape {targets.shape}; to forecast they must be {(samples, steps + 1, channels)}"
        if problem := value_problem(targets):
            return f"targets are {problem}"
        return None


def refuse_classification_fields(config: ConfigDict | FrozenConfigDict) -> None:
    """Raise a `ConfigError` if a config of another task has fields that are for classification only."""
    weights = config.data.class_weights
    if weights is not None:
        raise ConfigError(f"config.data.class_weights = {weights!r}: for classification only; it must be None")
    for field in ("optimizer.label_smoothing", *(f"augment.{name}" for name in config.augment)):
        section, _, name = field.partition(".")
        if config[section][name] or config.sweep[name]:
            raise ConfigError(f"config.{field}: for classification only; leave it out")


TASKS: Mapping[str, type[Task]] = MappingProxyType({"classification": Classification, "forecast": Forecast})


def _steps_per_block(block_index: np.ndarray, num_blocks: int) -> np.ndarray:
    """Return numbers of steps, `[sample, num_blocks + 1]`."""
    samples, width = len(block_index), num_blocks + 1
    flat = block_index.astype(np.int64) + width * np.arange(samples)[:, None]
    return np.bincount(flat.ravel(), minlength=samples * width).reshape(samples, width)
