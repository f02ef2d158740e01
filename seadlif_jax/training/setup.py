"""What a run, or a sweep, is trained with: compiled functions, and all that is on the devices before the first step."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from seadlif_jax.config import ConfigError, is_sweep
from seadlif_jax.data.loading import Dataset
from seadlif_jax.data.on_device.batches import SplitOnDevices
from seadlif_jax.data.on_device.bucketing import choose_bucket_lengths
from seadlif_jax.data.on_device.samples import to_device
from seadlif_jax.data.on_device.sharded_samples import shard_samples
from seadlif_jax.members import Member
from seadlif_jax.parallel import (
    MEMBER,
    BatchShard,
    Parallelized,
    choose_mesh,
    device_put_global,
    free_device_bytes,
    make_mesh,
    max_width,
    member_sharded,
    parallelize,
    replicated,
    temporary_bytes,
    to_host,
)
from seadlif_jax.training.state import TrainingHyperparameters, TrainState
from seadlif_jax.training.sweep import stack_members
from seadlif_jax.training.trainer import Trainer
from seadlif_jax.utils.progress import say

MAX_DATA_FRACTION = 0.25  # of a device's memory; larger data are sharded over the devices


class Setup(NamedTuple):
    """All that training needs. The compiled functions are those of `trainer` with an axis of members in front.

    Attributes:
      trainer: the functions of one member.
      mesh: the devices.
      width: number of members that each of them computes at a time.
      initial: states before the first epoch.
      hyper: hyperparameters of the members.
      train, validation, test: the splits.
      start_epoch, train_steps, end_epoch, evaluate: compiled functions. `train_steps` reuses the buffers of its
        argument `running`, and `end_epoch` those of `state`, unless an epoch may have to be repeated.
    """

    trainer: Trainer
    mesh: jax.sharding.Mesh
    width: int
    initial: TrainState
    hyper: TrainingHyperparameters
    train: SplitOnDevices
    validation: SplitOnDevices
    test: SplitOnDevices
    start_epoch: Parallelized
    train_steps: Parallelized
    end_epoch: Parallelized
    evaluate: Parallelized

    def measure(self, states: TrainState) -> dict[str, dict[str, np.ndarray]]:
        """Return the metrics of the best epochs, by split and name, each with an axis of members."""
        return {
            name: to_host(self.evaluate(states.best.variables, self.hyper, split))
            for name, split in (("validation", self.validation), ("test", self.test))
        }


def prepare(
    config: ConfigDict, members: Sequence[Member], dataset: Dataset, mesh: jax.sharding.Mesh | None = None
) -> Setup:
    """Place all that is needed to train these members, on `mesh` or else the devices that suit their number.

    Raises:
      ConfigError: the devices cannot share the work as `config.devices.mesh` says.
    """
    mesh = mesh or mesh_for_config(config, len(members))
    shard = BatchShard.on(mesh)
    if _is_sharded(config, dataset, mesh):
        place: Callable[..., SplitOnDevices] = functools.partial(shard_samples, mesh=mesh)
    else:
        place = functools.partial(to_device, sharding=replicated(mesh))
    train, validation = place(dataset.train), place(dataset.validation)
    test = validation if dataset.test is dataset.validation else place(dataset.test)
    seeds, hyper = device_put_global(stack_members([member.config for member in members], config), member_sharded(mesh))
    initial = parallelize(Trainer(config).init, mesh, per_member=2)(seeds, hyper, train)
    start_epoch = parallelize(Trainer(config).start_epoch, mesh, per_member=1)
    width = _choose_width(config, mesh, initial, hyper, train)
    # With several members at a time, each would compute all lengths.
    lengths = choose_bucket_lengths(dataset.train.block_index, config.batch_size) if width == 1 else ()
    trainer = Trainer(config, lengths, shard)
    sizes = f"{train.size} training, {validation.size} validation and {test.size} test samples"
    say(f"{sizes} of {train.inputs.shape[1]} steps and {train.inputs.shape[2]} channels")
    num_updates = config.num_epochs * trainer.steps_per_epoch(train)
    if config.optimizer.initial_updates >= num_updates:
        say(
            f"warning: config.optimizer.initial_updates = {config.optimizer.initial_updates} are all of the "
            f"{num_updates} updates of the run, which keeps its initial learning rate"
        )
    if is_sweep(config):
        along_members, along_batch = mesh.devices.shape
        say(f"{len(members)} members on {along_members} x {along_batch} devices (by member and by sample)")
    compile_for_members = functools.partial(parallelize, mesh=mesh, width=width)
    may_repeat = config.divergence.action == "back"
    return Setup(
        trainer, mesh, width, initial, hyper, train, validation, test, start_epoch,
        train_steps=compile_for_members(trainer.train_steps, per_member=3, donate=[1]),
        end_epoch=compile_for_members(trainer.end_epoch, per_member=3, donate=[] if may_repeat else [0]),
        evaluate=compile_for_members(trainer.evaluate, per_member=2),
    )  # fmt: skip


def mesh_for_config(config: ConfigDict, num_members: int) -> jax.sharding.Mesh:
    """Return the devices for this number of members; raises a `ConfigError` if they cannot share the work."""
    if config.devices.mesh is None:
        mesh = choose_mesh(config.batch_size, num_members)
    else:
        along_members, along_batch = config.devices.mesh
        problem = None
        if along_members * along_batch > jax.device_count():
            problem = f"there are {jax.device_count()} devices"
        elif num_members % along_members:
            problem = f"{num_members} members cannot be divided by {along_members}"
        elif config.batch_size % along_batch:
            problem = f"a batch of {config.batch_size} samples cannot be divided by {along_batch}"
        if problem:
            raise ConfigError(f"config.devices.mesh = {(along_members, along_batch)}: {problem}")
        mesh = make_mesh(along_members, along_batch)
    if len({device.process_index for device in mesh.devices.flat}) < jax.process_count():
        along_members, along_batch = mesh.devices.shape
        raise ConfigError(
            f"{num_members} members and config.batch_size = {config.batch_size} on {along_members} x {along_batch} "
            f"devices (by member and by sample) leave some of the {jax.process_count()} processes without work; choose "
            f"sizes, or a config.devices.mesh, for all {jax.device_count()} devices"
        )
    return mesh


def _is_sharded(config: ConfigDict, dataset: Dataset, mesh: jax.sharding.Mesh) -> bool:
    """Return whether each device is to hold a part of the data only: as the config says, or by size."""
    if config.devices.data is not None:
        return config.devices.data == "sharded"
    free = free_device_bytes()
    splits = (dataset.train, dataset.validation, dataset.test)
    needed = sum(array.nbytes for split in splits for array in (split.inputs, split.targets, split.block_index))
    return free is not None and mesh.size > 1 and needed > MAX_DATA_FRACTION * free


def _choose_width(
    config: ConfigDict,
    mesh: jax.sharding.Mesh,
    initial: TrainState,
    hyper: TrainingHyperparameters,
    train: SplitOnDevices,
) -> int:
    """Return how many members each device computes at a time: on a CPU one, elsewhere as many as its memory holds."""
    members = len(initial.epoch) // mesh.shape[MEMBER]
    if config.devices.width or jax.default_backend() == "cpu":
        return min(config.devices.width or 1, members)  # see benchmarks/README.md

    trainer = Trainer(config, shard=BatchShard.on(mesh))
    running = parallelize(trainer.start_epoch, mesh, per_member=1)(initial)
    state_bytes = sum(array.nbytes for array in jax.tree.leaves((initial, hyper))) // mesh.shape[MEMBER]

    def bytes_needed(width: int) -> int:
        steps = parallelize(trainer.train_steps, mesh, per_member=3, width=width)
        compiled = steps.lower(initial, running, hyper, train, 0, 1).compile()
        # Beside the old states: `Running`, and the new states at the end of an epoch.
        return temporary_bytes(compiled) + 2 * state_bytes

    width = max_width(members, bytes_needed, free_device_bytes())
    if width < members:
        say(f"{width} of {members} members at a time: all do not fit into the memory of a device")
    return width
