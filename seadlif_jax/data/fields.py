"""Checks of the fields that a loader adds to `config.data`."""

import math
from collections.abc import Mapping
from typing import Any

from seadlif_jax.data.dataset import DataError


def is_whole(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Return whether a value is a whole number in `low..high`.

    >>> is_whole(3, low=1), is_whole(3.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Return whether a value is a finite number in `low..high`.

    >>> is_number(3), is_number(0.5, low=1), is_number(float("nan")), is_number("3")
    (True, False, False, False)
    """
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value) and low <= value <= high


def check_fields(data: Any, requirements: Mapping[str, tuple[bool, str]]) -> None:
    """Raise a `DataError` for the first field that does not meet its requirement.

    Args:
      data: the section `data` of a config.
      requirements: by field, whether its value meets the requirement, and the requirement in words.

    >>> check_fields({"step": 0}, {"step": (False, "a whole number of at least 1")})
    Traceback (most recent call last):
    ...
    seadlif_jax.data.dataset.DataError: config.data.step = 0: it must be a whole number of at least 1
    """
    for name, (is_met, requirement) in requirements.items():
        if not is_met:
            raise DataError(f"config.data.{name} = {data.get(name)!r}: it must be {requirement}")
