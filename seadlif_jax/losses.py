"""The block readout: from the readout layer's potentials to predictions, losses and accuracies.

Each time step carries a block number. The steps of block 0 are ignored (padding, warm-up); those of block i are
gathered and compared with `targets[:, i]`, where -1 stands for "no target". Classification has one block a sample,
per-step labelling one block a step, and anything between works too.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from seadlif_jax.neurons import Scalar
from seadlif_jax.utils.errors import InputError

IGNORED = -1  # target of a block that does not count


def _in_full(outputs: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return outputs in float32, or their own type if it is wider: sums over many steps need its digits."""
    return outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))


def _block_sum(
    values: Float[Array, "batch time *class"], block_index: Int[Array, "batch time"], num_blocks: int
) -> Array:
    def one_sample(values, block_index):
        return jax.ops.segment_sum(values, block_index, num_segments=num_blocks + 1)

    return jax.vmap(one_sample)(values, block_index)


def softmax_sum(
    outputs: Float[Array, "batch time class"], block_index: Int[Array, "batch time"], num_blocks: int
) -> Float[Array, "batch blocks class"]:
    """Return the sum over each block's steps of `softmax(y_t)`."""
    return _block_sum(jax.nn.softmax(_in_full(outputs)), block_index, num_blocks)


def block_mean(
    outputs: Float[Array, "batch time class"], block_index: Int[Array, "batch time"], num_blocks: int
) -> Float[Array, "batch blocks class"]:
    """Return the mean over each block's steps of `y_t`; zero for a block without steps."""
    outputs = _in_full(outputs)
    steps = _block_sum(jnp.ones_like(outputs[..., 0]), block_index, num_blocks)
    return _block_sum(outputs, block_index, num_blocks) / jnp.maximum(steps, 1)[..., None]


AGGREGATIONS: Mapping[str, Callable] = MappingProxyType({"softmax": softmax_sum, "mean": block_mean})


def aggregate(
    outputs: Float[Array, "batch time class"], block_index: Int[Array, "batch time"], num_blocks: int, aggregation: str
) -> Float[Array, "batch blocks class"]:
    """Return one score a class for each of the blocks 0..num_blocks: the aggregation of the block's steps.

    The scores are used as logits. A block index beyond `num_blocks` is dropped; the trainer refuses such data.

    Raises:
      InputError: `aggregation` is not in `AGGREGATIONS`.

    Example:
      >>> outputs = jnp.array([[[9.0, 9.0], [1.0, 0.0], [3.0, 2.0], [0.0, 5.0]]])  # one sample of four steps
      >>> block_index = jnp.array([[0, 1, 1, 2]])
      >>> aggregate(outputs, block_index, num_blocks=2, aggregation="mean").tolist()
      [[[9.0, 9.0], [2.0, 1.0], [0.0, 5.0]]]
    """
    if aggregation not in AGGREGATIONS:
        raise InputError(f"unknown aggregation {aggregation!r}; choose one of {', '.join(AGGREGATIONS)}")
    return AGGREGATIONS[aggregation](outputs, block_index, num_blocks)


class Sums(NamedTuple):
    """Sums over targets, which add up over batches of any size and are averaged only at the end.

    Attributes:
      loss: sum of the losses.
      loss_terms: number of its terms.
      score: number of correct predictions (classification), or squared error of the second half (forecast).
      score_terms: number of its terms.
    """

    loss: Float[Array, ""]
    loss_terms: Int[Array, ""]
    score: Float[Array, ""]
    score_terms: Int[Array, ""]

    @classmethod
    def zero(cls) -> "Sums":
        """Return the sums over no target."""
        nothing, no_terms = jnp.zeros(()), jnp.zeros((), int)
        return cls(nothing, no_terms, nothing, no_terms)

    def mean_loss(self) -> Float[Array, ""]:
        """Return the mean loss of a target; 0 without targets."""
        return self.loss / jnp.maximum(self.loss_terms, 1)

    def mean_score(self) -> Float[Array, ""]:
        """Return the accuracy, or the mean squared error; 0 without targets."""
        return self.score / jnp.maximum(self.score_terms, 1)


class SpikeSums(NamedTuple):
    """Sums over steps of samples of the fraction of each hidden layer's neurons with outputs that spike in the step."""

    spikes: Float[Array, " layer"]
    steps: Int[Array, ""]

    def mean_rate(self) -> Float[Array, " layer"]:
        """Return the spikes per neuron and step of each hidden layer."""
        return self.spikes / jnp.maximum(self.steps, 1)


def count_spikes(activity: Sequence[Float[Array, "batch time"]], block_index: Int[Array, "batch time"]) -> SpikeSums:
    """Return the sums over the steps whose block is not 0.

    Args:
      activity: for each hidden layer, the fraction of the neurons with outputs that spike (see `Network`).
      block_index: block of each step.
    """
    counted = block_index != 0
    spikes = [jnp.sum(jnp.where(counted, fractions, 0)) for fractions in activity]
    return SpikeSums(jnp.stack(spikes) if spikes else jnp.zeros(0), jnp.sum(counted))


def rate_excess(
    activity: Sequence[Float[Array, "batch time"]],
    block_index: Int[Array, "batch time"],
    bounds: Sequence[tuple[float, float]],
) -> Float[Array, " batch"]:
    """Return how far the firing rates of each sample lie outside their bounds, summed over the hidden layers.

    `sum_l max(0, r_l - high_l) + max(0, low_l - r_l)`, with the firing rate `r_l` of layer `l` in spikes per neuron and
    step, over the steps whose block is not 0.

    Args:
      activity: for each hidden layer, the fraction of the neurons with outputs that spike (see `Network`).
      block_index: block of each step.
      bounds: lowest and highest rate of each hidden layer.

    Example:
      >>> activity = jnp.array([[0.5, 0.1, 0.3], [0.0, 0.0, 0.0]])  # two samples of three steps
      >>> block_index = jnp.array([[0, 1, 1], [1, 1, 0]])
      >>> excess = rate_excess([activity], block_index, [(0.05, 0.15)])  # of the rates 0.2 and 0
      >>> [round(float(value), 2) for value in excess]
      [0.05, 0.05]
    """
    counted = block_index != 0
    num_steps = jnp.maximum(jnp.sum(counted, axis=1), 1)
    excess = jnp.zeros(len(block_index))
    for fractions, (low, high) in zip(activity, bounds, strict=True):
        rate = jnp.sum(jnp.where(counted, fractions, 0), axis=1) / num_steps
        excess += jnp.maximum(rate - high, 0) + jnp.maximum(low - rate, 0)
    return excess


def classification(
    outputs: Float[Array, "batch time class"],
    block_index: Int[Array, "batch time"],
    targets: Int[Array, "batch blocks"],
    aggregation: str,
    class_weights: Sequence[float] | Float[Array, " class"] | None = None,
    label_smoothing: Scalar | None = None,
) -> Sums:
    """Return cross-entropy and number of correct predictions over all blocks whose target is not -1.

    With `class_weights`, one a class, the cross-entropy of each target is multiplied by the weight of its class; the
    numbers of terms and the score are those without. With `label_smoothing`, it is the cross-entropy with a target that
    spreads this share over all classes, the correct one included; its weight is that of the correct class.

    Raises:
      InputError: `targets` has no column besides that of block 0, which has none; or there is not one weight for each
        class.

    Example:
      >>> outputs = jnp.array([[[9.0, 9.0], [1.0, 0.0], [3.0, 2.0], [0.0, 5.0]]])  # one sample of four steps
      >>> block_index = jnp.array([[0, 1, 1, 2]])
      >>> sums = classification(outputs, block_index, targets=jnp.array([[-1, 0, 0]]), aggregation="mean")
      >>> float(sums.score), int(sums.score_terms)  # block 1 is right, block 2 wrong, block 0 has no target
      (1.0, 2)
    """
    if targets.ndim != 2 or targets.shape[1] < 2:
        raise InputError(
            f"targets have shape {targets.shape}; they must be [batch, num_blocks + 1] with -1 in column 0: for one "
            "class per sample, jnp.stack([jnp.full_like(labels, -1), labels], axis=1)"
        )
    scores = aggregate(outputs, block_index, targets.shape[1] - 1, aggregation)
    counted = targets != IGNORED
    labels = jnp.where(counted, targets, 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
    if label_smoothing is not None:
        of_all_classes = -jnp.mean(jax.nn.log_softmax(scores), axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * of_all_classes
    if class_weights is not None:
        if len(class_weights) != scores.shape[-1]:
            raise InputError(f"there are {len(class_weights)} class_weights for {scores.shape[-1]} classes")
        losses = losses * jnp.asarray(class_weights, losses.dtype)[labels]
    correct = jnp.argmax(scores, axis=-1) == targets
    terms = jnp.sum(counted)
    return Sums(
        loss=jnp.sum(jnp.where(counted, losses, 0)),
        loss_terms=terms,
        score=jnp.sum(correct & counted, dtype=losses.dtype),
        score_terms=terms,
    )


def feedback_start(num_steps: int) -> int:
    """Return the step from which a forecasting network is fed its own output: `ceil(T / 2)`."""
    return -(-num_steps // 2)


def forecast(
    outputs: Float[Array, "batch time channel"],
    block_index: Int[Array, "batch time"],
    targets: Float[Array, "batch time+1 channel"],
) -> Sums:
    """Return the squared error of `y_t` against the next input `targets[:, t + 1]`, a mean over channels.

    The loss counts the steps whose block is not 0; the score those of the second half, where the network is fed its
    own output.

    Raises:
      InputError: `targets` has not one step more than `outputs`, or differs from it in other axes.
    """
    batch, num_steps, channels = outputs.shape
    needed = (batch, num_steps + 1, channels)
    if targets.shape != needed:
        raise InputError(f"targets have shape {targets.shape}; they must be [batch, time + 1, channel], {needed}")
    errors = jnp.mean((_in_full(outputs) - targets[:, 1:]) ** 2, axis=-1)
    counted = block_index != 0
    second_half = counted & (jnp.arange(num_steps) >= feedback_start(num_steps))
    return Sums(
        loss=jnp.sum(jnp.where(counted, errors, 0)),
        loss_terms=jnp.sum(counted),
        score=jnp.sum(jnp.where(second_half, errors, 0)),
        score_terms=jnp.sum(second_half),
    )
