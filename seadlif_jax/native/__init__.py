"""Networks on a CPU by a compiled kernel, which makes use of sparse events and spikes."""

from seadlif_jax.native.compiler import NativeError
from seadlif_jax.native.kernels import check_usable, run_layers

__all__ = ["NativeError", "check_usable", "run_layers"]
