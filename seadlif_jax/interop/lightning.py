"""Checkpoints of the authors' program, as PyTorch Lightning saves them.

The hyper-parameters of such a file hold an OmegaConf object: `torch.load(..., weights_only=True)` refuses it, and
without that option runs whatever code the file names. Reading it here runs none, and needs neither torch nor OmegaConf.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seadlif_jax.interop.torch_file import Placeholder, TorchFileError, read_torch_file

_INTERPOLATION = re.compile(r"\$\{([\w.]+)\}")
MAX_INTERPOLATIONS = 8  # from one setting to another: more is a circle
DEFAULTS = {"alpha": 5.0, "c": 0.4}  # of the reference program, for settings that a config leaves out


class ReferenceCheckpoint(NamedTuple):
    """The network in a checkpoint of the reference program.

    Attributes:
      arrays: parameters by the reference's names.
      settings: its configuration, as plain dictionaries, lists and numbers.
      epoch: number of epochs completed.
    """

    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    epoch: int


def read_reference_checkpoint(path: str | Path) -> ReferenceCheckpoint:
    """Return the network of a Lightning checkpoint; no code of the file is run.

    Raises:
      TorchFileError: the file is damaged, of another kind or of another program.
      OSError: it cannot be opened.
    """
    content = read_torch_file(path)

    def refuse(reason: str) -> TorchFileError:
        return TorchFileError(f"{path} is not a checkpoint of the authors' program: {reason}")

    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        raise refuse("there is no state_dict; give the file that Lightning saved (ckpt/*.ckpt)")
    hyper_parameters = content.get("hyper_parameters")
    cfg = _plain(hyper_parameters.get("cfg")) if isinstance(hyper_parameters, Mapping) else None
    if not isinstance(cfg, dict):
        raise refuse('hyper_parameters["cfg"], the settings, is missing')
    for name, array in content["state_dict"].items():
        if not isinstance(array, np.ndarray):
            raise refuse(f"{name} is not stored as a plain tensor of numbers")
        if not np.isfinite(array.astype(np.float64)).all():
            raise TorchFileError(f"{path}: {name} holds NaN or infinite values; give a checkpoint of an earlier epoch")
    epoch = content.get("epoch")
    settings = DEFAULTS | _resolve(cfg, cfg)
    return ReferenceCheckpoint(dict(content["state_dict"]), settings, epoch + 1 if isinstance(epoch, int) else 1)


def _plain(node: Any) -> Any:
    """Return the settings in an OmegaConf object, or one that holds such objects, as plain Python values."""
    if isinstance(node, Placeholder):
        state = node.state if isinstance(node.state, Mapping) else {}
        return _plain(state.get("_content", state.get("_val")))
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return node


def _resolve(value: Any, root: Mapping[str, Any]) -> Any:
    """Replace texts such as `${dataset.n_dof}` by the setting that they name, where there is one."""
    if isinstance(value, Mapping):
        return {name: _resolve(item, root) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, root) for item in value]
    for _ in range(MAX_INTERPOLATIONS):
        match = _INTERPOLATION.fullmatch(value) if isinstance(value, str) else None
        if not match:
            break
        target: Any = root
        for name in match[1].split("."):
            target = target.get(name) if isinstance(target, Mapping) else None
        value = value if target is None else target
    return value
