"""Several processes as one run: collectives on the host, and arrays of all processes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, PyTree


def is_first_process() -> bool:
    """Return whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Return once all processes have called this with the same name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def broadcast(values: Any) -> np.ndarray:
    """Return the first process's values, in all processes: where they branch, they must agree."""
    return np.asarray(multihost_utils.broadcast_one_to_all(np.asarray(values)))


def allgather(values: np.ndarray) -> np.ndarray:
    """Return the values of each process, along a new first axis."""
    return np.asarray(multihost_utils.process_allgather(values, tiled=False)).reshape(-1, *values.shape)


def to_host(values: PyTree[Array]) -> PyTree[np.ndarray]:
    """Return arrays of all devices and processes as NumPy arrays; of random keys, their data."""

    def array_to_host(value: Array) -> np.ndarray:
        return np.asarray(multihost_utils.process_allgather(key_data(value), tiled=True))

    return jax.tree.map(array_to_host, values)


def is_key(array: Any) -> bool:
    """Return whether an array holds random keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def key_data(array: Any) -> Any:
    """Return the data of random keys; other arrays as they are."""
    return jax.random.key_data(array) if is_key(array) else array
