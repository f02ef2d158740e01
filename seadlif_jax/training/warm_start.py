"""Training that starts from the parameters of another run, `config.init_from`."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from seadlif_jax.config import ConfigError, build_neuron, differing
from seadlif_jax.inference import TrainedModel, load_run
from seadlif_jax.members import Member
from seadlif_jax.parallel import broadcast, device_put_global, member_sharded
from seadlif_jax.runs.checkpoint import Checkpoints, Variables, checksum
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.training.optimizer import replace_average
from seadlif_jax.training.state import TrainState
from seadlif_jax.utils.paths import local_path

# Fields on which the meaning of the parameters depends, beside the neuron's hyperparameters; but for those that only
# bound or scale what the neuron does.
SAME_FIELDS = (
    "neuron", "hidden", "recurrent", "num_outputs", "self_connections", "batch_norm", "tau_out", "train_tau_out",
)  # fmt: skip
MAY_DIFFER = ("q", "a", "b", "surrogate", "forget_bias")


class Start(NamedTuple):
    """Variables to start from, and the folder of the run that they are from."""

    folder: str
    variables: Variables

    def fingerprint(self) -> dict[str, int]:
        """Return a checksum, by which a run recognises the parameters that it was started from."""
        return {"parameters": checksum(self.variables)}


def load_start(folder: RunFolder, members: Sequence[Member]) -> Start | None:
    """Return what a run starts from; None if its parameters are random, or it has been saved already.

    Raises:
      ConfigError: the network is another one, or has couplings outside of the ranges of this config.
      RunError, CheckpointError, PathError: as `load_run`.
    """
    source = folder.config.init_from
    if not source:
        return None
    with Checkpoints(folder.checkpoints, folder.config) as checkpoints:
        if broadcast(checkpoints.any_saved()):
            return None
    trained = load_run(local_path(source, "config.init_from ="))
    for member in members:
        _check_member(source, trained, member)
    return Start(source, jax.tree.map(np.asarray, trained.variables))


def replace_parameters(initial: TrainState, start: Start, mesh: jax.sharding.Mesh) -> TrainState:
    """Return initial states with the variables of `start` for every member.

    Raises:
      ConfigError: parameters have other names or shapes, as with another number of channels or classes.
    """
    here, there = (_shapes(tree, skip) for tree, skip in ((initial.variables, 1), (start.variables, 0)))
    differences = [
        f"{name} is {other} there and {shape} here" for name, (other, shape) in differing(there, here).items()
    ]
    if differences:
        raise ConfigError(f"config.init_from = {start.folder!r}: other parameters: {'; '.join(differences)}")

    def place(old: jax.Array, new: np.ndarray) -> jax.Array:
        return device_put_global(np.broadcast_to(np.asarray(new, old.dtype), old.shape), member_sharded(mesh))

    # Three copies: training reuses the buffers of each array.
    variables, best, average = (jax.tree.map(place, initial.variables, start.variables) for _ in range(3))
    return initial._replace(
        variables=variables,
        opt_state=replace_average(initial.opt_state, average["params"]),
        best=initial.best._replace(variables=best),
    )


def _shapes(tree: PyTree, skip: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array by name, without the first `skip` axes."""
    return {
        jax.tree_util.keystr(path[1:], simple=True, separator="/"): array.shape[skip:]
        for path, array in jax.tree.leaves_with_path(tree)
    }


def _check_member(folder: str, trained: TrainedModel, member: Member) -> None:
    model, other = member.config.model, trained.config.model
    neuron = build_neuron(member.config)
    parameters = neuron.named_parameters()
    of_neuron = [field.name for field in dataclasses.fields(neuron) if field.name in model]
    for name in (*SAME_FIELDS, *(name for name in of_neuron if name not in MAY_DIFFER)):
        if model[name] != other[name]:
            raise ConfigError(
                f"config.init_from = {folder!r}: config.model.{name} is {other[name]!r} there and {model[name]!r} "
                "here; it must be the same"
            )
    for index in range(len(model.hidden)):
        for name, parameter in parameters.items():
            low, high = map(np.float32, parameter.bounds)
            values = np.asarray(trained.variables["params"][f"layers_{index}"][name])
            if values.min() < low or values.max() > high:
                raise ConfigError(
                    f"config.init_from = {folder!r}: {name} of layers_{index} reaches {values.min():.4g}.."
                    f"{values.max():.4g}, outside of the bounds of this config, {low:.4g}..{high:.4g}"
                )
