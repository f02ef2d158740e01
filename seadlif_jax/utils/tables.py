"""Records as the columns of a table, and tables as text."""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def as_columns(records: Sequence[Any]) -> dict[str, list[Any]]:
    """Return named tuples of one kind as columns, by field name; no columns for no records.

    Example:
      >>> from typing import NamedTuple
      >>> class Point(NamedTuple):
      ...     x: int
      ...     y: int
      >>> as_columns([Point(1, 2), Point(3, 4)])
      {'x': [1, 3], 'y': [2, 4]}
    """
    return {name: [getattr(record, name) for record in records] for name in (records[0]._fields if records else ())}


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
