"""The first import of matplotlib, which reads `MPLBACKEND`: pictures here are files, and need no backend.

The shell of a notebook hands on a backend that other environments do not have; matplotlib then cannot be imported.
"""

import os

try:
    import matplotlib
except ValueError:
    os.environ.pop("MPLBACKEND", None)
    import matplotlib

__all__ = ["matplotlib"]
