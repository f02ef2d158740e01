"""One line of a terminal that shows what is under way; nothing elsewhere."""

import sys


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<79.79}", end="\r", file=sys.stderr, flush=True)
