"""A status line on a terminal; no output elsewhere."""

import sys


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<79.79}", end="\r", file=sys.stderr, flush=True)
