"""Records as the columns of a table."""

from collections.abc import Sequence
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
