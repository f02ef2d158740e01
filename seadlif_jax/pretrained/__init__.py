"""Trained networks that come with the library, each as arrays (.npz) and a model card (.json).

They are written by `python -m studies.pretrained` from the folders of finished runs.
"""

import importlib.resources
import json
from typing import Any

import jax.numpy as jnp
import numpy as np

from seadlif_jax.build import build_network
from seadlif_jax.config import complete_config
from seadlif_jax.inference.trained_model import TrainedModel
from seadlif_jax.utils.errors import SeadlifError

__all__ = ["NAMES", "load_pretrained", "model_card"]

NAMES = ("bsd", "ecg")
FOLDER = importlib.resources.files("seadlif_jax.pretrained")


def load_pretrained(name: str) -> TrainedModel:
    """Return a trained network that comes with the library.

    Args:
      name: "ecg", which labels each step of a heart recording of 4 channels with one of 6 wave classes; or "bsd", which
        recognises 10 classes of generated burst sequences of 10 channels.

    Raises:
      SeadlifError: there is no network of this name.

    Example:
      >>> model = load_pretrained("ecg")
      >>> model
      TrainedModel(se_adlif, hidden=(36, 36), 4 channels)
      >>> model.predict_steps(np.zeros((1, 20, 4))).shape
      (1, 20)
    """
    config = complete_config(_read_json(name)["config"])
    variables: dict[str, Any] = {}
    with (FOLDER / f"{name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        for path, array in arrays.items():
            *folders, last = path.split("/")
            part = variables
            for folder in folders:
                part = part.setdefault(folder, {})
            part[last] = jnp.asarray(array)
    network = build_network(config, len(variables["params"]["layers_0"]["kernel"]))
    return TrainedModel(config, network, variables)


def model_card(name: str) -> dict[str, str]:
    """Return what is to be known of a network: data, protocol, seed, accuracy, the command that trained it, licence.

    Raises:
      SeadlifError: there is no network of this name.

    Example:
      >>> model_card("ecg")["data"][:11]
      'QT Database'
    """
    card: dict[str, str] = _read_json(name)["card"]
    return card


def _read_json(name: str) -> dict[str, Any]:
    if name not in NAMES:
        raise SeadlifError(f"there is no pretrained network {name!r}; there are {' and '.join(map(repr, NAMES))}")
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return content
