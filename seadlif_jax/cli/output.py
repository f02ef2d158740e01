"""Printing: tables, and streams that cannot end a program."""

import contextlib
import numbers
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def table_lines(table: Mapping[str, Iterable[Any]]) -> list[str]:
    r"""Return the lines of a table with aligned columns: four digits for floats, "-" for None.

    Example:
      >>> print("\n".join(table_lines({"class": [0, 1], "recall": [0.75, None]})))
      class  recall
      0      0.75
      1      -
    """

    def text(value: Any) -> str:
        if value is None:
            return "-"
        is_float = isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral)
        return f"{value:.4g}" if is_float else str(value)

    columns = [[name, *map(text, values)] for name, values in table.items()]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]


def protect_output() -> None:
    """Let no failed print end the program: a closed pipe, a lost terminal, a character that cannot be encoded."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # descriptors 0 to 2, if closed, would be given to the next files that are opened
    os.close(descriptor)
    sys.stdout, sys.stderr = (_Output(stream or open(os.devnull, "w")) for stream in (sys.stdout, sys.stderr))  # noqa: SIM115


class _Output:
    """A text stream that discards its output after an error."""

    def __init__(self, stream: Any):
        self._stream = stream
        stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        with self._discarding():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._discarding():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: the stream is closed
            # What is buffered, and what follows, goes to the null device.
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
