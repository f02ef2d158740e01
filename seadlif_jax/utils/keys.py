"""Random keys: all randomness of a run comes from (seed, purpose, epoch, step), so that it can be resumed anywhere."""

import enum

import jax
from jaxtyping import Array, Int, Key


class Purpose(enum.IntEnum):
    """Use of random numbers; part of every key. Numbers are never reused."""

    PARAMETERS = 0
    ORDER = 1
    DROPOUT = 2
    SHIFT = 3
    AUGMENTATION = 4


def key_for(key: Key[Array, ""], purpose: Purpose, *indices: Int[Array, ""] | int) -> Key[Array, ""]:
    """Return the key for a purpose at (epoch, step, ...)."""
    for index in (purpose, *indices):
        key = jax.random.fold_in(key, index)
    return key
