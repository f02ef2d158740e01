"""Lines and progress bars for the user, by the first of several processes."""

import sys
from collections.abc import Iterable
from typing import Any

import jax
from tqdm import tqdm


def bar(items: Iterable[Any] | None = None, **settings: Any) -> tqdm:
    """Return a progress bar, which is shown on a terminal only."""
    disable = None if jax.process_index() == 0 else True  # None: unless it is a terminal
    return tqdm(items, disable=disable, dynamic_ncols=True, leave=False, **settings)


def say(text: str) -> None:
    """Print a line above the bars that are shown."""
    if jax.process_index() == 0:
        tqdm.write(text)
        sys.stdout.flush()  # for those who watch a file
