"""Layers on a CPU by a compiled kernel, which makes use of sparse events and spikes."""

from seadlif_jax.native.compiler import NativeError
from seadlif_jax.native.kernels import backward, check_usable, forward, sum_outer_products

__all__ = ["NativeError", "backward", "check_usable", "forward", "sum_outer_products"]
