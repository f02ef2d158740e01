"""Augmentation: random changes of the training samples, new ones in every epoch.

Use only changes that preserve the class of a sample. Which ones do depends on the data: spoken words may be shifted
along the channels, classes that differ in their channels may not.

The changes are part of the compiled training step. They depend only on the step's key and the sample's position in the
batch, not on how the batch is divided among devices.

Block indices move with their steps, and so do the targets; a block that loses all its steps loses its target. The
numbers of steps and channels do not change: what is moved out of range is dropped, and vacated entries are 0. Vacated
steps are in block 0, but for those between the steps of a recording that became slower: they belong to the next one.
"""

import enum
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num

from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.losses import IGNORED
from seadlif_jax.neurons import Scalar
from seadlif_jax.nn.dropout import random_mask

Inputs = Num[Array, "time channel"]


class Draw(enum.IntEnum):
    """Random draws of a sample. Each has its own key, so that enabling one change leaves the others as they are.

    Numbers are never reused.
    """

    IS_MIXED = 0
    PARTNER = 1
    ENTRIES_OF_PARTNER = 2
    CHANNELS = 3
    ENTRIES = 4
    CHANNEL_SHIFT = 5
    CHANNEL_JITTER = 6
    STRETCH = 7
    TIME_SHIFT = 8


class Augmentation(NamedTuple):
    """Amounts of all changes, in the order in which they are applied; None for no change.

    An entry is the number of events of a channel in a step.

    Attributes:
      mix: probability that a sample is mixed with a random one of its class, possibly itself: each entry is replaced by
        that of the other with probability 1/2. The block index of each step is the larger of the two.
      drop_channels: probability that a channel is silenced.
      drop_events: probability that an entry becomes 0.
      shift_channels: largest shift along the channels, a whole number drawn uniformly from `-amount..amount`.
      jitter_channels: standard deviation of a further shift of each channel on its own, normal and rounded. Channels
        moved to the same one are summed.
      stretch_time: largest relative change of the duration: step `t` becomes step `floor(f t)`, with `f` drawn
        uniformly from `1 - amount..1 + amount`. Steps moved to the same one are summed.
      shift_time: largest shift in time, a whole number of steps drawn uniformly from `-amount..amount`.
    """

    mix: Scalar | None = None
    drop_channels: Scalar | None = None
    drop_events: Scalar | None = None
    shift_channels: Scalar | None = None
    jitter_channels: Scalar | None = None
    stretch_time: Scalar | None = None
    shift_time: Scalar | None = None


def augment(
    batch: Samples, partners: Samples | None, keys: Key[Array, " batch"], augmentation: Augmentation
) -> Samples:
    """Return the augmented batch. Integer inputs stay integer, widened to at least 16 bits.

    Args:
      batch: the samples: inputs `[sample, time, channel]`.
      partners: what each of them may be mixed with, of `ByClass.choose_partners`; None without mixing.
      keys: one a sample.
      augmentation: amounts of the changes.
    """
    dtype = batch.inputs.dtype
    if jnp.issubdtype(dtype, jnp.integer):  # for sums of entries
        dtype = jnp.promote_types(dtype, jnp.int16)
    batch = batch._replace(inputs=batch.inputs.astype(dtype))
    return jax.vmap(functools.partial(_augment_sample, augmentation=augmentation))(batch, partners, keys)


class ByClass(NamedTuple):
    """The samples of a split in the order of their classes.

    Attributes:
      labels: class of each sample, `[sample]`.
      indices: of the samples, ordered by class.
      sorted_labels: their classes.
    """

    labels: Int[Array, " sample"]
    indices: Int[Array, " sample"]
    sorted_labels: Int[Array, " sample"]

    @classmethod
    def of(cls, labels: Int[Array, " sample"]) -> "ByClass":
        """Return the order for the classes of all samples."""
        indices = jnp.argsort(labels)
        return cls(labels, indices, labels[indices])

    def choose_partners(self, batch: Int[Array, " batch"], keys: Key[Array, " batch"]) -> Int[Array, " batch"]:
        """Return for each sample of a batch the index of one of the same class, drawn uniformly, possibly itself.

        Args:
          batch: indices of the samples of the batch.
          keys: of each sample, as in `augment`.
        """
        label = self.labels[batch]
        start, stop = (jnp.searchsorted(self.sorted_labels, label, side=side) for side in ("left", "right"))
        uniform = jax.vmap(lambda key: jax.random.uniform(_key(key, Draw.PARTNER)))(keys)
        return self.indices[jnp.minimum(start + (uniform * (stop - start)).astype(start.dtype), stop - 1)]


def _key(key: Key[Array, ""], draw: Draw) -> Key[Array, ""]:
    return jax.random.fold_in(key, draw)


def _augment_sample(
    sample: Samples, partner: Samples | None, key: Key[Array, ""], augmentation: Augmentation
) -> Samples:
    amounts = augmentation
    x, targets, block_index = sample
    if amounts.mix is not None and partner is not None:
        x, block_index = _mixed(sample, partner, amounts.mix, key)
    if amounts.drop_channels is not None:
        x = jnp.where(random_mask(_key(key, Draw.CHANNELS), 1 - amounts.drop_channels, x.shape[1]), x, 0)
    if amounts.drop_events is not None:
        kept = random_mask(_key(key, Draw.ENTRIES), 1 - amounts.drop_events, x.size)
        x = jnp.where(kept.reshape(x.shape), x, 0)
    if amounts.shift_channels is not None or amounts.jitter_channels is not None:
        x = _move(x.T, jnp.arange(x.shape[1]) + _channel_shifts(x.shape[1], amounts, key)).T
    if amounts.stretch_time is not None or amounts.shift_time is not None:
        factor, shift = _time_map(amounts, key)
        step = jnp.arange(len(x))
        x = _move(x, jnp.floor(factor * step).astype(int) + shift)
        source = jnp.ceil((step - shift) / factor).astype(int)  # the first of those that come to be in this step
        inside = (source >= 0) & (source < len(x))
        block_index = jnp.where(inside, block_index[jnp.clip(source, 0, len(x) - 1)], 0)
        num_blocks = targets.shape[0]
        has_steps = jnp.zeros(num_blocks, bool).at[block_index].set(True)
        targets = jnp.where(has_steps, targets, IGNORED)
    return Samples(x, targets, block_index)


def _mixed(
    sample: Samples, partner: Samples, probability: Scalar, key: Key[Array, ""]
) -> tuple[Inputs, Int[Array, " time"]]:
    """Return inputs and block index of a sample mixed with its partner, or of the sample itself."""
    x, is_mixed = sample.inputs, jax.random.uniform(_key(key, Draw.IS_MIXED)) < probability
    of_partner = random_mask(_key(key, Draw.ENTRIES_OF_PARTNER), 0.5, x.size).reshape(x.shape) & is_mixed
    block_index = jnp.where(is_mixed, jnp.maximum(sample.block_index, partner.block_index), sample.block_index)
    return jnp.where(of_partner, partner.inputs.astype(x.dtype), x), block_index


def _channel_shifts(channels: int, amounts: Augmentation, key: Key[Array, ""]) -> Int[Array, " channel"]:
    shifts = jnp.zeros(channels, int)
    if amounts.shift_channels is not None:
        shifts += _whole_number(_key(key, Draw.CHANNEL_SHIFT), amounts.shift_channels)
    if amounts.jitter_channels is not None:
        normal = jax.random.normal(_key(key, Draw.CHANNEL_JITTER), (channels,))
        shifts += jnp.round(amounts.jitter_channels * normal).astype(int)
    return shifts


def _time_map(amounts: Augmentation, key: Key[Array, ""]) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """Return the factor and the shift in steps of a sample's times."""
    factor, shift = jnp.ones(()), jnp.zeros((), int)
    if amounts.stretch_time is not None:
        factor += amounts.stretch_time * jax.random.uniform(_key(key, Draw.STRETCH), minval=-1, maxval=1)
    if amounts.shift_time is not None:
        shift = _whole_number(_key(key, Draw.TIME_SHIFT), amounts.shift_time)
    return factor, shift


def _whole_number(key: Key[Array, ""], amount: Scalar) -> Int[Array, ""]:
    """Return a whole number drawn uniformly from `-amount..amount`, with the amount rounded."""
    largest = jnp.round(amount)
    return (jnp.floor(jax.random.uniform(key) * (2 * largest + 1)) - largest).astype(int)


def _move(rows: Num[Array, "row column"], positions: Int[Array, " row"]) -> Num[Array, "row column"]:
    """Return the rows moved to their positions; rows at the same one are summed, rows out of range dropped."""
    count = len(rows)
    inside = (positions >= 0) & (positions < count)
    return jax.ops.segment_sum(rows, jnp.where(inside, positions, count), num_segments=count + 1)[:count]
