"""The network of a run's folder, with the parameters of its best epoch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from seadlif_jax.build import build_network, check_engine, find_task, init_variables
from seadlif_jax.config import configured_neuron, is_sweep
from seadlif_jax.data.loading import Dataset, fingerprint
from seadlif_jax.inference.trained_model import TrainedModel
from seadlif_jax.members import expand_sweep
from seadlif_jax.native import NativeError
from seadlif_jax.nn import Network
from seadlif_jax.runs.checkpoint import Checkpoints, Variables
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder, path_of_member, read_config
from seadlif_jax.utils.paths import workdir_path
from seadlif_jax.utils.processes import refuse_fork
from seadlif_jax.utils.progress import say


def load_run(workdir: str | Path, member: int | None = None) -> TrainedModel:
    """Return the network of a run with the parameters of its best epoch so far.

    Args:
      workdir: the run's folder.
      member: number of the member, for a sweep.

    Raises:
      RunError: `workdir` holds no run, or one without a saved epoch or without such a member.
      CheckpointError: its checkpoint is damaged.

    Example:
      >>> model = load_run("runs/bsd-quick-seed0")  # doctest: +SKIP
      >>> model.predict(model.dataset().test.inputs)  # doctest: +SKIP
    """
    refuse_fork()
    folder = workdir_path(workdir)
    config = read_config(folder)
    members = expand_sweep(config)
    if member is None and is_sweep(config):
        last = len(members) - 1
        raise RunError(
            f"{folder} holds a sweep; choose one of its members 0..{last}, by --member={last} or member={last}"
        )
    member = member or 0
    if not 0 <= member < len(members):
        raise RunError(f"{folder} has no member {member}; its members are 0..{len(members) - 1}")
    config_of_member = members[member].config
    modules = {
        f"config.model.neuron = {config.model.neuron!r}": (
            configured_neuron(config.model).checksum,
            config.model.neuron_checksum,
        ),
        f"config.task = {config.task!r}": (find_task(config).checksum, config.task_checksum),
    }
    for name, (checksum, recorded) in modules.items():
        if checksum != recorded:
            say(
                f"warning: the module of {name} has changed since {folder} was trained; what this network computes may "
                "differ from the run's results"
            )

    try:
        check_engine(config_of_member)
    except NativeError as error:
        say(f"warning: {error}; XLA computes the network instead, to the same up to rounding")
        config_of_member = ConfigDict(config_of_member.to_dict())
        config_of_member.compute.engine = "xla"

    def templates(metadata: Mapping[str, Any]) -> dict[str, Variables]:
        """Return the shapes of the variables that the checkpoint with this metadata holds."""
        if metadata["best_epochs"][member] == 0:
            name = f"member {member} of {folder}" if is_sweep(config) else f"{folder}"
            raise RunError(f"{name} has no finished epoch; let it run on, unless it has diverged")
        network = build_network(config_of_member, metadata["channels"])
        variables = jax.eval_shape(lambda key: init_variables(network, key, metadata["channels"]), jax.random.key(0))
        shapes = jax.tree.map(lambda one: jax.ShapeDtypeStruct((len(members), *one.shape), one.dtype), variables)
        return {"best": shapes}

    with Checkpoints(folder / "checkpoints", config) as checkpoints:
        checkpoint = checkpoints.restore(templates, to_continue=False)
    if checkpoint is None:
        raise RunError(f"{folder} has no checkpoint yet; run at least one epoch")
    variables = jax.tree.map(lambda array: jnp.asarray(array[member], float), checkpoint.trees["best"])
    return TrainedModel(config_of_member, build_network(config_of_member, checkpoint.metadata["channels"]), variables)


def load_network(workdir: str | Path, member: int | None = None) -> tuple[Network, Variables]:
    """Return the network and variables of `load_run`.

    Example:
      >>> network, variables = load_network("runs/bsd-quick-seed0")  # doctest: +SKIP
      >>> outputs = network.apply(variables, inputs)  # doctest: +SKIP
    """
    model = load_run(workdir, member)
    return model.network, model.variables


def open_run(workdir: str | Path, moved: Mapping[str, str]) -> tuple[TrainedModel, Dataset]:
    """Return the network of a single run, and its data, which may have `moved` (see `TrainedModel.dataset`).

    Raises:
      RunError: as `load_run`; or it is a sweep; or the data are not those of the run.
      DatasetError, ConfigError: the data cannot be loaded (and what the loader itself raises).
    """
    folder = workdir_path(workdir)
    config = read_config(folder)
    if is_sweep(config):
        first = path_of_member(folder, 0)
        hint = f"choose one of its members, such as {first}" if first.exists() else "its members are there at its end"
        raise RunError(f"{folder} holds a sweep; {hint}")
    model = load_run(folder)
    dataset = model.dataset(**moved)
    RunFolder(folder, config).check_data(fingerprint(dataset))
    return model.with_data(**moved), dataset
