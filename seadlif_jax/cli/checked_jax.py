"""The first import of JAX, which reads its settings from the environment: one that is impossible gets one line."""

import sys

try:
    import jax
except (ValueError, AssertionError, RuntimeError) as error:
    sys.exit(f"error: JAX cannot start: {error}; correct or unset this environment variable")

__all__ = ["jax"]
