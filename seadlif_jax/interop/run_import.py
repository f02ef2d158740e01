"""A run made of a checkpoint of the authors' program: its settings as a config, its network in a run's folder."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from seadlif_jax.config import validate
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.interop.lightning import ReferenceCheckpoint
from seadlif_jax.interop.reference import from_reference
from seadlif_jax.interop.settings import ConversionError, convert_settings, data_warnings
from seadlif_jax.runs.checkpoint import Checkpoints, Variables
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.files import timestamp, versions
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.training.state import Best, Position, TrainingHyperparameters, TrainState
from seadlif_jax.training.trainer import Trainer


class ImportedRun(NamedTuple):
    """Result of `import_checkpoint`: config of the run, epoch of its parameters, and warnings to show."""

    config: ConfigDict
    epoch: int
    warnings: list[str]


def import_checkpoint(
    path: Path, checkpoint: ReferenceCheckpoint, base: ConfigDict, workdir: str | Path, dataset: str | None
) -> ImportedRun:
    """Make a run of a checkpoint, in a new folder.

    Args:
      path: the checkpoint's file.
      checkpoint: its content.
      base: config whose network and training are replaced by those of the checkpoint.
      workdir: folder of the run.
      dataset: name in `REFERENCE_DATASETS` whose settings are taken from the checkpoint too; None to keep those of
        `base`.

    Raises:
      ConversionError: a setting has no counterpart, or the parameters do not fit the settings.
      ConfigError: a setting is out of range.
      RunError, PathError: `workdir` holds something else already, or cannot hold a run.
    """
    try:
        network, variables = from_reference(checkpoint.arrays, checkpoint.settings)
        config = convert_settings(checkpoint, base, [layer.features for layer in network.layers], dataset)
    except KeyError as error:
        raise ConversionError(f"{path}: the setting cfg.{error.args[0]} is missing") from error
    except (TypeError, ValueError) as error:
        raise ConversionError(f"{path}: {' '.join(str(error).split())}") from error
    validate(config)
    run = RunFolder(workdir, config)
    if (run.path / "config.json").exists():
        raise RunError(f"{run.path} holds a run already; choose another --workdir")
    states = _states(config, variables, checkpoint.epoch)
    origin = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "epoch": checkpoint.epoch,
        "settings": checkpoint.settings,
        "imported": timestamp(),
        "versions": versions(),
    }
    with run.lock():
        # Before the checkpoint: a folder that is cut off here must not be trained on.
        run.write_origin(json.loads(json.dumps(origin, default=str)))
        with Checkpoints(run.checkpoints, config, writing=True) as checkpoints:
            Position(states).save(checkpoints)
    return ImportedRun(config, checkpoint.epoch, data_warnings(config, dataset))


def _states(config: ConfigDict, variables: Variables, epoch: int) -> TrainState:
    """Return the state of a run whose best epoch has these variables, with a leading axis of one member."""
    inputs = jnp.zeros((1, 1, len(variables["params"]["layers_0"]["kernel"])))
    samples = Samples(inputs, jnp.zeros((1, 2), int), jnp.zeros((1, 1), int))
    state = Trainer(config).init(config.seed, TrainingHyperparameters.from_config(config), samples)
    number = jnp.asarray(epoch, jnp.int32)
    variables = state.variables | variables
    state = state._replace(epoch=number, variables=variables, best=Best(number, state.best.score, variables))
    return jax.tree.map(lambda array: array[None], state)
