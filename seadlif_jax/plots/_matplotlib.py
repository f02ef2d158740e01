"""The first import of matplotlib, which fails on a `MPLBACKEND` that is not there; pictures in files need none.

The shell of a notebook hands on a backend that other environments do not have.
"""

import contextlib
import os
import sys


def _import() -> None:
    """Import matplotlib, with the backend that the user has set where there is one."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


_import()
