"""Reading files of `torch.save`, without torch and without running code of the file.

Such a file is a zip archive: `<name>/data.pkl` holds a pickle, in which tensors refer to the raw numbers in
`<name>/data/<key>`. A pickle may name any function for its reader to call, so nothing that it names is imported here:
the few functions that rebuild tensors and dictionaries are replaced by those below, and every other class or function
by a `Placeholder`, which only keeps what it is given.
"""

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from seadlif_jax.utils.errors import SeadlifError

LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # of files before PyTorch 1.6: a pickled number
DTYPES: Mapping[str, Any] = {
    "torch.DoubleStorage": np.float64,
    "torch.FloatStorage": np.float32,
    "torch.HalfStorage": np.float16,
    "torch.BFloat16Storage": jnp.bfloat16,
    "torch.LongStorage": np.int64,
    "torch.IntStorage": np.int32,
    "torch.ShortStorage": np.int16,
    "torch.CharStorage": np.int8,
    "torch.ByteStorage": np.uint8,
    "torch.BoolStorage": np.bool_,
}


class TorchFileError(SeadlifError):
    """A file that cannot be read: the message names it and the remedy."""


class Placeholder(dict):
    """Stands for an object of any class, and keeps its state: `type_name`, `args` and, as attributes, what was set."""

    type_name = ""
    args: tuple[Any, ...] = ()
    state: Any = None
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, *args: Any):
        super().__init__()
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Accept an item of a list of another class."""

    def extend(self, items: Iterable[Any]) -> None:
        """Accept items of a list of another class."""

    def add(self, item: Any) -> None:
        """Accept an item of a set of another class."""


class _Dict(dict):
    """A dictionary that attributes may be set on, as on PyTorch's ordered ones."""


class _Storage(NamedTuple):
    numbers: np.ndarray  # of one axis


def read(path: str | Path) -> Any:
    """Return what was saved, with NumPy arrays in place of tensors, wherever these were (`cuda:0` and others too).

    Raises:
      TorchFileError: the file is damaged, or none of `torch.save`, or of a version before PyTorch 1.6.
      OSError: it cannot be opened.
    """
    path = Path(path).expanduser()
    with path.open("rb") as file:
        start = file.read(len(LEGACY_START))
        if start == LEGACY_START:
            raise TorchFileError(
                f"{path} is in the format of PyTorch before 1.6; save it anew with a later PyTorch: "
                "torch.save(torch.load(path, weights_only=False), new_path)"
            )
        if not start.startswith(b"PK"):
            raise TorchFileError(f"{path} is not a file of torch.save (no zip archive); give a checkpoint, *.ckpt")
        try:
            with zipfile.ZipFile(file) as archive:
                return _read(archive)
        except _NoPickleError:
            raise TorchFileError(f"{path} is a zip archive, but none of torch.save: it holds no data.pkl") from None
        except Exception as error:  # pickle, zipfile and NumPy raise many kinds for damaged bytes
            reason = " ".join(str(error).split()) or type(error).__name__
            raise TorchFileError(f"{path} is damaged ({reason}); copy or download it again") from error


class _NoPickleError(Exception):
    pass


def _read(archive: zipfile.ZipFile) -> Any:
    names = set(archive.namelist())
    root = next((name.removesuffix("data.pkl") for name in names if name.count("/") == 1 and "/data.pkl" in name), None)
    if root is None:
        raise _NoPickleError
    order = ">" if f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big" else "<"

    def storage(reference: tuple[Any, ...]) -> Any:
        _, kind, key, _, count = reference
        if getattr(kind, "type_name", None) not in DTYPES:
            return Placeholder()
        dtype = np.dtype(DTYPES[kind.type_name])
        raw = archive.read(f"{root}data/{key}")
        if len(raw) != count * dtype.itemsize:
            raise ValueError(f"{root}data/{key} has {len(raw)} bytes, needed {count * dtype.itemsize}")
        words = np.frombuffer(raw, f"{order}u{dtype.itemsize}")
        return _Storage(words.astype(words.dtype.newbyteorder("=")).view(dtype))

    return _Unpickler(archive.read(f"{root}data.pkl"), storage).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, storage: Callable[[tuple[Any, ...]], Any]):
        super().__init__(io.BytesIO(content))
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        return KNOWN.get(full_name) or type(name, (Placeholder,), {"type_name": full_name})

    def persistent_load(self, reference: Any) -> Any:
        return self._storage(reference)


def _rebuild_tensor(storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Any:
    """Return a copy of the numbers of a tensor, which may share them with others, in any order."""
    if not isinstance(storage, _Storage):
        return Placeholder()
    numbers = storage.numbers
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ValueError(f"a tensor has shape {shape}, strides {strides} and offset {offset}")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) == 0:
        return np.zeros(shape, numbers.dtype)
    if last >= len(numbers):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its {len(numbers)} numbers")
    in_bytes = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, in_bytes).copy()


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


KNOWN: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}
