"""Execution of a layer: precision, chunks, unrolling. Results are the same up to rounding."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, PyTree

from seadlif_jax.utils.errors import InputError

# Types to which the operands of matrix products are rounded; sums and states keep the full type.
# tensorfloat32 is that of GPUs; a TPU takes three bfloat16 products for it, and six for highest; a CPU is always exact.
PRECISIONS: Mapping[str, jax.lax.Precision] = MappingProxyType(
    {
        "highest": jax.lax.Precision.HIGHEST,
        "tensorfloat32": jax.lax.Precision.HIGH,
        "bfloat16": jax.lax.Precision.DEFAULT,
    }
)


RESIDUAL = "seadlif_jax residual"


def save_residual(arrays: PyTree[Array]) -> PyTree[Array]:
    """Mark arrays that the backward pass of a function under `remat_unsaved` takes from the forward pass."""
    return checkpoint_name(arrays, RESIDUAL)


def remat_unsaved(function: Callable) -> Callable:
    """Make the backward pass of a function compute everything again that is not marked by `save_residual`."""
    policy = jax.checkpoint_policies.save_only_these_names(RESIDUAL)
    return jax.checkpoint(function, policy=policy, prevent_cse=False)  # for use in a scan, which is safe without


ENGINES = ("xla", "native")


@dataclasses.dataclass(frozen=True)
class Execution:
    """How to compute a layer.

    Attributes:
      precision: a name in `PRECISIONS`.
      chunk_mib: a long sequence is worked on in chunks of steps, such that an array of a layer over a chunk takes about
        this many MiB, for each network under `jax.vmap`; None for the backend's default.
      unroll: number of steps in one iteration of the compiled loop of the forward pass.
      plain_scan: differentiate a plain `jax.lax.scan` instead of using the neurons' own gradients: slow, but also for
        forward-mode and higher derivatives.
      engine: "xla"; or "native", a kernel for CPUs that makes use of sparse spikes (see `seadlif_jax.native`).

    Raises:
      InputError: precision or engine is unknown, `unroll` is less than 1, or `chunk_mib` not positive.

    Example:
      >>> Execution(chunk_mib=1.0).chunk_steps(num_steps=1000, step_bytes=2**14)
      50
    """

    precision: str = "highest"
    chunk_mib: float | None = None
    unroll: int = 1
    plain_scan: bool = False
    engine: str = "xla"

    def __post_init__(self) -> None:
        for name, known in (("precision", tuple(PRECISIONS)), ("engine", ENGINES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} = {getattr(self, name)!r}: it must be one of {', '.join(known)}")
        if self.unroll < 1:
            raise InputError(f"unroll = {self.unroll}: it must be at least 1")
        if self.chunk_mib is not None and not self.chunk_mib > 0:
            raise InputError(f"chunk_mib = {self.chunk_mib}: it must be positive, or None for the backend's default")

    def in_network(self, first: "Execution") -> "Execution":
        """Return what holds in a network whose first layer has another execution, which decides for all layers."""
        return dataclasses.replace(self, engine=first.engine, plain_scan=first.plain_scan, chunk_mib=first.chunk_mib)

    def chunk_steps(self, num_steps: int, step_bytes: int) -> int:
        """Return the number of steps in a chunk: near `chunk_mib`, with little padding of the last one."""
        mib = CHUNK_MIB.get(jax.default_backend(), CHUNK_MIB["gpu"]) if self.chunk_mib is None else self.chunk_mib
        target = max(1, round(mib * 2**20 / max(1, step_bytes)))
        if num_steps <= target:
            return num_steps
        candidates = range(max(1, target // 2), min(2 * target, num_steps) + 1)
        return min(candidates, key=lambda steps: (-num_steps % steps, abs(math.log(steps / target))))

    def matmul(self, x: Float[Array, "*shape k"], w: Float[Array, "k n"]) -> Float[Array, "*shape n"]:
        """Return `x w`, of the type of `w`."""
        return self._dot(x, w, (((x.ndim - 1,), (0,)), ((), ())))

    def sum_of_outer_products(self, x: Float[Array, "t b m"], y: Float[Array, "t b n"]) -> Float[Array, "m n"]:
        """Return `sum_tb x_tb y_tb^T`, of the type of `y`."""
        return self._dot(x, y, (((0, 1), (0, 1)), ((), ())))

    def _dot(self, x, y, dimensions):
        x, dtype = x.astype(y.dtype), y.dtype

        def product(x, y):
            precision = PRECISIONS[self.precision]
            return jax.lax.dot_general(x, y, dimensions, precision=precision, preferred_element_type=dtype)

        if self.precision != "bfloat16":
            return product(x, y)
        # A CPU has no such product for all shapes: there, the rounded operands are multiplied in the full type.
        return jax.lax.platform_dependent(
            x,
            y,
            cpu=lambda x, y: product(jax.lax.reduce_precision(x, 8, 7), jax.lax.reduce_precision(y, 8, 7)),
            default=lambda x, y: product(x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)),
        )


# Measured on CPU (see benchmarks/README.md); elsewhere a guess: large enough to keep the device busy.
CHUNK_MIB: Mapping[str, float] = MappingProxyType({"cpu": 0.5, "gpu": 64.0, "tpu": 16.0})
