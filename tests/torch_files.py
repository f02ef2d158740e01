"""Writing files as `torch.save` does, Lightning's checkpoints among them, without torch."""

import io
import pickle
import zipfile
from typing import NamedTuple

import numpy as np

KINDS = {"float64": "Double", "float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
         "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool"}  # fmt: skip


def foreign(module, name):
    """A class or function of a package that need not be installed."""
    return type(name, (), {"__module__": module})


class Storage:
    """Numbers that tensors share."""

    def __init__(self, numbers, location="cpu", kind=None):
        self.numbers = np.asarray(numbers)
        self.location = location
        self.kind = foreign("torch", f"{kind or KINDS[str(self.numbers.dtype)]}Storage")


class Tensor(NamedTuple):
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple  # in numbers


def tensor(array, location="cpu"):
    array = np.asarray(array)
    strides = tuple(stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides)
    return Tensor(Storage(array.ravel(), location), 0, array.shape, strides)


class Call(NamedTuple):
    """A call that reading the file asks for."""

    function: type
    arguments: tuple


class _Pickler(pickle._Pickler):
    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages = []

    def save_global(self, obj, name=None):
        self.write(pickle.GLOBAL + f"{obj.__module__}\n{name or obj.__name__}\n".encode())
        self.memoize(obj)

    def save(self, obj, save_persistent_id=True):
        # Before the types are looked at: a named tuple is a tuple.
        if isinstance(obj, Call):
            self.save_reduce(*obj)
        elif isinstance(obj, Tensor):
            self.save_reduce(foreign("torch._utils", "_rebuild_tensor_v2"), (*obj, False, {}))
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        return ("storage", obj.kind, str(self.storages.index(obj)), obj.location, len(obj.numbers))


def save(path, content, order="little"):
    """Write a file of torch.save."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", file.getvalue())
        archive.writestr("archive/byteorder", order)
        for number, storage in enumerate(pickler.storages):
            words = storage.numbers.view(f"u{storage.numbers.itemsize}")
            archive.writestr(f"archive/data/{number}", words.astype(words.dtype.newbyteorder(order)).tobytes())
        archive.writestr("archive/version", "3\n")
    return path


def omegaconf(value, parent=None):
    """An OmegaConf object as it is pickled: containers and leaves are nodes that know their parents."""
    if isinstance(value, dict):
        node = foreign("omegaconf.dictconfig", "DictConfig")()
    elif isinstance(value, list):
        node = foreign("omegaconf.listconfig", "ListConfig")()
    else:
        node = foreign("omegaconf.nodes", "AnyNode")()
    metadata = foreign("omegaconf.base", "ContainerMetadata")()
    metadata.__dict__.update(ref_type=foreign("typing", "Any"), object_type=foreign("__builtin__", "dict"), key=None)
    node.__dict__.update(_metadata=metadata, _parent=parent)
    if isinstance(value, dict):
        node._content = {name: omegaconf(item, node) for name, item in value.items()}
    elif isinstance(value, list):
        node._content = [omegaconf(item, node) for item in value]
    else:
        node._val = value
    return node


def lightning(arrays, cfg):
    """What Lightning saves of the authors' program; where it trained on a GPU, tensors say so."""
    state_dict = {name: tensor(array, "cuda:0") for name, array in arrays.items()}
    scheduler = foreign("torch.optim.lr_scheduler", "ReduceLROnPlateau")()
    return {
        "epoch": 11,
        "global_step": 48,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": state_dict,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_acc'}": {"best_model_score": tensor(np.float32(0.5), "cuda:0")}},
        "optimizer_states": [{"state": {0: {"step": tensor(np.float32(4))}}, "param_groups": [{"lr": 0.01}]}],
        "lr_schedulers": [scheduler],
        "hparams_name": "kwargs",
        "hyper_parameters": {"cfg": omegaconf(cfg)},
    }
