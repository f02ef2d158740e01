"""What a run, or a sweep, is trained with: its program, and all that is placed on the devices before the first step."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree
from ml_collections import ConfigDict

from seadlif_jax.config import ConfigError, is_sweep
from seadlif_jax.data.bucketing import choose_lengths
from seadlif_jax.data.loading import Dataset, to_device
from seadlif_jax.data.sharded_samples import divide
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.training import sweep
from seadlif_jax.training.trainer import EpochSums, Hyperparameters, Program, Split, TrainState, no_sums
from seadlif_jax.utils.progress import say

LARGEST_SHARE = 0.25  # of a device's memory for the data; more is divided among the devices


class Task(NamedTuple):
    """What does not change in training.

    Attributes:
      program: the functions for one member.
      mesh: the devices.
      width: how many members each of them computes at a time.
      initial: the states before the first epoch, with an axis of members, like all that is a member's own.
      no_sums: the sums before the first step of an epoch.
      hyper: the hyperparameters.
      train, validation, test: the splits.
    """

    program: Program
    mesh: jax.sharding.Mesh
    width: int
    initial: TrainState
    no_sums: EpochSums
    hyper: Hyperparameters
    train: Split
    validation: Split
    test: Split

    @classmethod
    def prepare(
        cls,
        config: ConfigDict,
        members: Sequence[sweep.Member],
        dataset: Dataset,
        mesh: jax.sharding.Mesh | None = None,
    ) -> "Task":
        """Place all that is needed to train these members, on `mesh` or else the devices that suit their number.

        Raises:
          ConfigError: the devices cannot share the work as `config.devices.mesh` says.
        """
        mesh = mesh or mesh_for(config, len(members))
        share = devices.Share.of(mesh)
        if _is_divided(config, dataset, mesh):
            place: Callable[..., Split] = functools.partial(divide, mesh=mesh)
        else:
            place = functools.partial(to_device, where=devices.everywhere(mesh))
        train, validation = place(dataset.train), place(dataset.validation)
        test = validation if dataset.test is dataset.validation else place(dataset.test)
        each = devices.by_member(mesh)
        seeds, hyper = devices.put(sweep.stack([member.config for member in members]), each)
        sums = devices.put(repeat(no_sums(), len(members)), each)
        initial = devices.spread(Program(config).init, mesh, mapped=2)(seeds, hyper, train)
        width = _width(config, share, mesh, (initial, sums, hyper), train)
        # With several members at a time, each would compute all lengths.
        lengths = choose_lengths(dataset.train.block_index, config.batch_size) if width == 1 else ()
        sizes = f"{train.size} training, {validation.size} validation and {test.size} test samples"
        say(f"{sizes} of {train.inputs.shape[1]} steps and {train.inputs.shape[2]} channels")
        if is_sweep(config):
            by_member, by_batch = mesh.devices.shape
            say(f"{len(members)} members on {by_member} x {by_batch} devices (by member and by sample)")
        program = Program(config, lengths, share)
        return cls(program, mesh, width, initial, sums, hyper, train, validation, test)

    def spread(self, function: Callable, mapped: int = 3) -> Callable:
        """A function of the program for all members, whose own are its first arguments, compiled."""
        return devices.spread(function, self.mesh, mapped, self.width)

    def measure(self, states: TrainState) -> dict[str, dict[str, np.ndarray]]:
        """The metrics of the best epochs, by split and name, one of each member."""
        evaluate = self.spread(self.program.evaluate)
        return {
            name: devices.to_host(evaluate(states.best.params, states.constants, self.hyper, split))
            for name, split in (("validation", self.validation), ("test", self.test))
        }


def _is_divided(config: ConfigDict, dataset: Dataset, mesh: jax.sharding.Mesh) -> bool:
    """Whether each device is to hold a part of the data only: as the config says, or by size."""
    if config.devices.data is not None:
        return config.devices.data == "divided"
    free = devices.free_bytes()
    splits = (dataset.train, dataset.validation, dataset.test)
    needed = sum(array.nbytes for split in splits for array in (split.inputs, split.targets, split.block_index))
    return free is not None and mesh.size > 1 and needed > LARGEST_SHARE * free


def mesh_for(config: ConfigDict, members: int) -> jax.sharding.Mesh:
    """Return the devices for so many members, as the config says; raises a `ConfigError` if they cannot share them."""
    if config.devices.mesh is None:
        mesh = devices.mesh_for(config.batch_size, members)
    else:
        by_member, by_batch = config.devices.mesh
        problem = None
        if by_member * by_batch > jax.device_count():
            problem = f"there are {jax.device_count()} devices"
        elif members % by_member:
            problem = f"{members} members cannot be divided by {by_member}"
        elif config.batch_size % by_batch:
            problem = f"a batch of {config.batch_size} samples cannot be divided by {by_batch}"
        if problem:
            raise ConfigError(f"config.devices.mesh = {(by_member, by_batch)}: {problem}")
        mesh = devices.make_mesh(by_member, by_batch)
    if len({device.process_index for device in mesh.devices.flat}) < jax.process_count():
        by_member, by_batch = mesh.devices.shape
        raise ConfigError(
            f"{members} members and config.batch_size = {config.batch_size} on {by_member} x {by_batch} devices (by "
            f"member and by sample) leave some of the {jax.process_count()} processes without work; choose sizes, or a "
            f"config.devices.mesh, for all {jax.device_count()} devices"
        )
    return mesh


def _width(
    config: ConfigDict,
    share: devices.Share,
    mesh: jax.sharding.Mesh,
    own: tuple[TrainState, EpochSums, Hyperparameters],
    train: Split,
) -> int:
    """How many members each device computes at a time: on a CPU one, elsewhere as many as fit into its memory."""
    members = len(own[0].epoch) // mesh.shape[devices.MEMBER]
    if config.devices.width or jax.default_backend() == "cpu":
        return min(config.devices.width or 1, members)  # see benchmarks/README.md

    def needed(width: int) -> int:
        steps = devices.program(Program(config, share=share).train_steps, mesh, mapped=3, width=width)
        compiled = steps.lower(own, (train, 0, 1)).compile()
        # Old states, new ones, and those of the two that are kept are there at the same time.
        states = sum(array.nbytes for array in jax.tree.leaves(own)) // mesh.shape[devices.MEMBER]
        return devices.temporary_bytes(compiled) + 2 * states

    width = devices.widest(members, needed, devices.free_bytes())
    if width < members:
        say(f"{width} of {members} members at a time, for all do not fit into the memory of a device")
    return width


def repeat(tree: PyTree[Array], count: int) -> PyTree[Array]:
    """The arrays of a single run with an axis of so many members in front."""
    return jax.tree.map(lambda array: jnp.broadcast_to(array, (count, *array.shape)), tree)
