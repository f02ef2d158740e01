"""Leaving out the steps at the end of a batch that none of its samples counts.

Samples of different lengths are padded to the longest of their split. What is behind a sample's last step of a block
does not reach its prediction; a batch without the longest samples needs fewer steps. Shapes are static, so it is
trimmed to the next of a few lengths, each of which is compiled: only where that saves time. Not under `vmap`, where all
lengths would be computed and one selected: a mapped program is given none.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from seadlif_jax.data.loading import Samples

MOST_LENGTHS = 3
LEAST_SAVING = 0.1  # of the steps, for another length; the choice itself takes up to 6 % of a step on CPU


def choose_lengths(block_index: np.ndarray, batch_size: int) -> tuple[int, ...]:
    """The lengths to trim random batches to, ascending; the last is that of the split.

    `block_index [sample, time]` is the split's; the first choice is the length that saves most steps on average, then
    the next, as long as each saves a tenth of the steps.
    """
    num_samples, num_steps = block_index.shape
    own = num_steps - np.argmax(block_index[:, ::-1] != 0, axis=1)  # up to the last step that counts

    candidates, counts = np.unique(own, return_counts=True)
    drawn = np.arange(batch_size)
    # That no sample of a batch, drawn without repetition, is longer: of each sample drawn, after those before it.
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
    while len(lengths) < MOST_LENGTHS:
        best = min((tuple(sorted({*lengths, length})) for length in probability), key=mean_length)
        if mean_length(lengths) - mean_length(best) < LEAST_SAVING * num_steps:
            break
        lengths = best
    return lengths


def at_own_length(compute: Callable[[Samples], Any], batch: Samples, lengths: tuple[int, ...]) -> Any:
    """`compute(batch)` on the batch trimmed to the smallest of these lengths that holds all steps that count."""
    if len(lengths) < 2:
        return compute(batch)

    def trimmed(length: int) -> Callable[[Samples], Any]:
        return lambda batch: compute(
            batch._replace(inputs=batch.inputs[:, :length], block_index=batch.block_index[:, :length])
        )

    choice = jnp.searchsorted(jnp.asarray(lengths), _longest(batch.block_index))
    return jax.lax.switch(choice, [trimmed(length) for length in lengths], batch)


def _longest(block_index: Integer[Array, "batch time"]) -> Int[Array, ""]:
    steps = jnp.arange(1, block_index.shape[1] + 1)
    return jnp.max(jnp.where(block_index != 0, steps, 0))
