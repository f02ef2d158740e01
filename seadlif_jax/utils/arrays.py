"""Conversion of arrays of any library to NumPy arrays that JAX takes unchanged.

JAX's compiled functions ignore the byte order of their arguments, cast values that do not fit, and know neither masks
nor objects. Everything that comes from a user's code therefore passes through `as_native`.
"""

import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seadlif_jax.utils.errors import SeadlifError


class ArrayError(SeadlifError):
    """Values that are not an array of numbers, or an ambiguous one; the message begins with the name of the array."""


def as_native(values: Any, name: str) -> np.ndarray:
    """Return numbers as a NumPy array in the machine's byte order, of a dtype of NumPy's own; bool becomes uint8.

    Copies only where necessary: views and memory maps stay what they are.

    Args:
      values: an array of NumPy, JAX, h5py, SciPy, PyTorch, pandas, or anything else with `__array__`; or sequences of
        such arrays or numbers.
      name: the name of the array, for errors.

    Raises:
      ArrayError: values are masked, complex, or not numbers; or the samples have different shapes.

    Example:
      >>> as_native(np.ma.masked_array([1, 2]).astype(">f4"), "inputs").dtype == np.float32
      True
    """
    if type(values) is np.ndarray and values.dtype.kind in "iuf" and values.dtype.isnative and values.itemsize <= 8:
        return values  # at once: streaming does this in every step
    if isinstance(values, list | tuple) and not _is_plain(values):
        return _stacked(list(values), name)
    array = _to_numpy(values, name)
    if array.dtype.kind == "O":
        return _from_objects(array, name)
    _refuse_dtype(array.dtype, name)
    if array.dtype == bool:
        return array.view(np.uint8)
    if array.dtype.kind == "V":  # bfloat16 and the other types that JAX adds
        return array.astype(np.float32 if jnp.issubdtype(array.dtype, jnp.floating) else np.int8)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):
            return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def value_problem(array: np.ndarray) -> str | None:
    """Return the problem with an array's values as floats of the device, or None if there is none."""
    if array.dtype.kind not in "biuf":
        return f"of type {array.dtype}; they must be numbers"
    if array.dtype in (np.float16, np.float32) and math.isfinite(np.vdot(array, array)):
        return None  # all are finite: a sum of squares is the fastest way to know
    device_float = jnp.finfo(jnp.result_type(float))
    if array.dtype.kind == "f":
        wrong = ~(np.abs(array) <= device_float.max)
        problem = "NaN or infinite"
        if wrong.any() and np.isfinite(array).all():
            problem = f"beyond the largest {device_float.dtype}, {float(device_float.max):.4g}"
    elif array.dtype.itemsize > 2:
        largest = 2 ** (device_float.nmant + 1)
        wrong = (array > largest) | (array < -largest if array.dtype.kind == "i" else False)
        problem = f"whole numbers beyond {largest:,}, which {device_float.dtype} does not hold exactly (scale them)"
    else:
        return None
    return f"{problem}, first in sample {np.argwhere(wrong)[0][0]}" if wrong.any() else None


def _is_plain(values: Any) -> bool:
    """Return whether these are nested lists of Python numbers and NumPy scalars, judged by their first elements."""
    while isinstance(values, list | tuple) and values:
        values = values[0]
    return isinstance(values, list | tuple | numbers.Number | np.generic | str | bytes)


def _to_numpy(values: Any, name: str) -> np.ndarray:
    if np.ma.isMaskedArray(values):
        if np.ma.is_masked(values):
            sample = np.argwhere(np.ma.getmaskarray(values))[0][:1]
            where = f", first in sample {sample[0]}" if len(sample) else ""
            raise ArrayError(f"{name} have masked values{where}; fill them (numpy.ma.filled) or leave the samples out")
        values = np.ma.getdata(values)
    try:
        for method in ("detach", "cpu", "to_dense", "todense"):  # of PyTorch's tensors, and of sparse arrays
            if not isinstance(values, np.ndarray | jax.Array) and hasattr(values, method):
                values = getattr(values, method)()
        try:
            return np.asarray(values)
        except TypeError:
            if not hasattr(values, "float"):
                raise
            return np.asarray(values.float())  # PyTorch's bfloat16, which NumPy does not have
    except Exception as error:  # of any type: the values may be of any library
        if isinstance(values, list | tuple):
            return np.asarray(_stacked(list(values), name))
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ArrayError(
            f"{name} are of type {type(values).__name__}, which is not an array of numbers ({reason})"
        ) from error


def _stacked(samples: list[Any], name: str) -> np.ndarray:
    arrays = [as_native(sample, f"{name}[{number}]") for number, sample in enumerate(samples)]
    for number, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise ArrayError(
                f"{name} have samples of different shapes, {arrays[0].shape} in sample 0 and {array.shape} in sample "
                f"{number}; pad them with zeros to one length"
            )
    return np.stack(arrays)


def _from_objects(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array of arrays as one array, and an array of number objects as numbers."""
    elements = array.ravel().tolist()
    if array.ndim and elements and not isinstance(elements[0], numbers.Number | str | bytes | None):
        stacked = _stacked(elements, name)
        return stacked.reshape(array.shape + stacked.shape[1:])
    for index, element in enumerate(elements):
        if not isinstance(element, numbers.Number):
            sample = np.unravel_index(index, array.shape)[:1]
            where = f", first in sample {sample[0]}" if sample else ""
            raise ArrayError(f"{name} hold objects of type {type(element).__name__}{where}; they must be numbers")
    converted = np.asarray(elements).reshape(array.shape)
    if converted.dtype.kind == "O":
        try:
            converted = converted.astype(np.float64)
        except (TypeError, OverflowError) as error:
            raise ArrayError(f"{name} hold numbers that fit no array ({error}); convert them to float") from error
    return as_native(converted, name)


def _refuse_dtype(dtype: np.dtype, name: str) -> None:
    remedies = {
        "c": "take their absolute values, or real and imaginary parts as channels",
        "M": "convert them to numbers, such as seconds since the first",
        "m": "convert them to numbers, such as seconds: values / numpy.timedelta64(1, 's')",
        "V": "take the fields that are numbers; events (t, x, p) are binned by seadlif_jax.data.events.bin_events",
    }
    known_by_jax = dtype.kind == "V" and dtype.names is None and jnp.issubdtype(dtype, jnp.number)
    if dtype.kind not in "biuf" and not known_by_jax:
        remedy = remedies.get(dtype.kind, "convert them to numbers")
        raise ArrayError(f"{name} are of type {dtype}; they must be numbers ({remedy})")
