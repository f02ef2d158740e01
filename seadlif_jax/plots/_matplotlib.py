"""The first import of matplotlib, which fails if `MPLBACKEND` names a missing backend; files need none.

The shell of a notebook passes on a backend that other environments do not have.
"""

import contextlib
import os
import sys


def _import() -> None:
    """Import matplotlib, with the user's backend if it exists."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


_import()
