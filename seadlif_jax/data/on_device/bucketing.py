"""Length bucketing: batches are cut to the next of a few lengths that holds all steps of their samples that count.

Samples of different lengths are padded to the longest of their split. Steps behind a sample's last block do not reach
its prediction, so a batch without the longest samples needs fewer steps. Shapes are static, and each length is
compiled: there are only lengths that save time. None under `vmap`, where all lengths would be computed and one
selected.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from seadlif_jax.data.on_device.samples import Samples

MAX_LENGTHS = 3
MIN_SAVING = 0.1  # of the steps, for another length; the choice itself takes up to 6 % of a step on CPU


def choose_bucket_lengths(block_index: np.ndarray, batch_size: int) -> tuple[int, ...]:
    """Return the lengths to cut random batches to, ascending; the last is that of the split.

    Lengths are added one by one, each that which saves most steps on average, as long as it saves a tenth of the steps.

    Args:
      block_index: `[sample, time]` of the split.
      batch_size: number of samples of a batch.
    """
    num_samples, num_steps = block_index.shape
    sample_lengths = num_steps - np.argmax(block_index[:, ::-1] != 0, axis=1)  # up to the last step that counts

    candidates, counts = np.unique(sample_lengths, return_counts=True)
    drawn = np.arange(batch_size)
    # Probability that every sample of a random batch, drawn without repetition, fits in `length`.
    probability = {
        length: float(np.prod((shorter - drawn) / (num_samples - drawn)))
        for length, shorter in zip(candidates.tolist(), np.cumsum(counts).tolist(), strict=True)
        if shorter >= batch_size
    }

    def mean_length(lengths: tuple[int, ...]) -> float:
        return sum(
            length * (probability.get(length, 1.0) - (probability[shorter] if shorter else 0))
            for shorter, length in zip((0, *lengths), lengths, strict=False)
        )

    lengths = (num_steps,)
    while len(lengths) < MAX_LENGTHS:
        best = min((tuple(sorted({*lengths, length})) for length in probability), key=mean_length)
        if mean_length(lengths) - mean_length(best) < MIN_SAVING * num_steps:
            break
        lengths = best
    return lengths


def in_bucket(compute: Callable[[Samples], Any], batch: Samples, lengths: tuple[int, ...]) -> Any:
    """Return `compute(batch)` of the batch cut to the smallest of these lengths that holds all steps that count."""
    if len(lengths) < 2:
        return compute(batch)

    def cut_to(length: int) -> Callable[[Samples], Any]:
        return lambda batch: compute(
            batch._replace(inputs=batch.inputs[:, :length], block_index=batch.block_index[:, :length])
        )

    choice = jnp.searchsorted(jnp.asarray(lengths), _max_length(batch.block_index))
    return jax.lax.switch(choice, [cut_to(length) for length in lengths], batch)


def _max_length(block_index: Integer[Array, "batch time"]) -> Int[Array, ""]:
    steps = jnp.arange(1, block_index.shape[1] + 1)
    return jnp.max(jnp.where(block_index != 0, steps, 0))
