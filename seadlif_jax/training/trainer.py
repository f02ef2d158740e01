"""Training as pure functions of one run, to be compiled, and mapped over the members of a sweep, by their caller.

An epoch is `start_epoch`, any number of `train_steps`, and `end_epoch`, on a data set held on the devices. All
randomness comes from (seed, purpose, epoch, step), so that a run can be resumed anywhere with the same bits.
"""

import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree
from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax.build import build_network, build_task, init_variables, rate_bounds
from seadlif_jax.data.dataset import LAST
from seadlif_jax.data.on_device.augmentation import ByClass, augment
from seadlif_jax.data.on_device.batches import SplitOnDevices, sum_over_batches
from seadlif_jax.data.on_device.bucketing import in_bucket
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.losses import Sums, rate_excess
from seadlif_jax.nn import Network
from seadlif_jax.parallel import BatchShard
from seadlif_jax.runs.checkpoint import Variables
from seadlif_jax.training import divergence, optimizer
from seadlif_jax.training.state import Best, EpochSums, Running, TrainingHyperparameters, TrainState
from seadlif_jax.utils.keys import Purpose, key_for

Metrics = dict[str, Float[Array, ""]]


class Trainer:
    """The pure functions of a config. They hold no state.

    Args:
      config: config of the run, or of the sweep.
      lengths: lengths that batches of the training split are cut to (`data.on_device.bucketing`); none leaves them
        whole.
      shard: part of each batch that a device computes; on several devices, the functions are for `parallelize`.
    """

    def __init__(
        self,
        config: ConfigDict | FrozenConfigDict,
        lengths: tuple[int, ...] = (),
        shard: BatchShard = BatchShard(),  # noqa: B008  it is immutable
    ):
        self.config = FrozenConfigDict(config)
        self.task = build_task(config)
        self._shard = shard
        self._rate_bounds = rate_bounds(config)
        # Batches are normalised over all steps, by all devices together.
        self._lengths = lengths if self.task.variable_length and not config.model.batch_norm else ()
        factor, patience = config.optimizer.plateau_factor, config.optimizer.plateau_patience
        self._plateau = optimizer.plateau_schedule(factor, patience) if factor < 1 else None

    def init(self, seed: Int[Array, ""] | int, hyper: TrainingHyperparameters, samples: SplitOnDevices) -> TrainState:
        """Return the state before the first epoch; of the samples, only the number of channels matters."""
        key = jax.random.key(seed)
        channels = samples.inputs.shape[-1]
        network = build_network(self.config, channels)
        variables = init_variables(network, key_for(key, Purpose.PARAMETERS), channels, hyper.network)
        params = variables["params"]
        return TrainState(
            key=key,
            epoch=jnp.asarray(0, jnp.int32),
            variables=variables,
            opt_state=self._adam(network, hyper).init(params),
            plateau=self._plateau.init(params) if self._plateau else None,
            retries=jnp.asarray(0, jnp.int32),
            best=Best(jnp.asarray(0, jnp.int32), jnp.asarray(-jnp.inf, float), variables),
        )

    def train_epoch(
        self, state: TrainState, hyper: TrainingHyperparameters, train: SplitOnDevices, validation: SplitOnDevices
    ) -> tuple[TrainState, Metrics]:
        """Return state and metrics after a whole epoch in one call."""
        running = self.train_steps(state, self.start_epoch(state), hyper, train, 0, self.steps_per_epoch(train))
        state, outcome = self.end_epoch(state, running, hyper, validation, state.epoch)
        return state, outcome.metrics

    def steps_per_epoch(self, train: SplitOnDevices) -> int:
        """Return the number of full batches."""
        return train.size // self.config.batch_size

    def start_epoch(self, state: TrainState) -> Running:
        """Return the values that the steps of the next epoch change, before the first step."""
        return Running(state.variables, state.opt_state, EpochSums.zero())

    def train_steps(
        self,
        state: TrainState,
        running: Running,
        hyper: TrainingHyperparameters,
        train: SplitOnDevices,
        first: Int[Array, ""] | int,
        stop: Int[Array, ""] | int,
    ) -> Running:
        """Train on the batches `first` to `stop - 1` of an epoch, which takes the samples in a random order.

        However an epoch is cut into calls, the bits are the same.

        Args:
          state: state before the epoch.
          running: values after the steps before.
          hyper: hyperparameters.
          train: training split.
          first: number of the first step, from 0.
          stop: number of the step after the last.
        """
        network = build_network(self.config, train.inputs.shape[-1], self._shard.axis_name)
        adam = self._adam(network, hyper)
        order = jax.random.permutation(key_for(state.key, Purpose.ORDER, state.epoch), train.size)
        by_class = None if hyper.augmentation.mix is None else ByClass.of(train.labels())
        num_steps = self.steps_per_epoch(train)

        def step(number, running: Running) -> Running:
            variables, opt_state, sums = running
            params = variables["params"]
            batch = self.task.prepare(self._batch(train, by_class, order, state, number, hyper))
            dropout_keys = self._sample_keys(state, Purpose.DROPOUT, number)

            def loss(params: PyTree[Array], batch: Samples) -> tuple[Float[Array, ""], tuple[Sums, Variables]]:
                inputs = batch.inputs
                outputs, updated = network.apply(
                    variables | {"params": params},
                    inputs,
                    dropout_keys,
                    hyper.network,
                    self.task.feedback_from(inputs.shape[1]),
                    mutable=["batch_stats"],
                    return_activity=hyper.rate_penalty is not None,
                )
                outputs, activity = (outputs, ()) if hyper.rate_penalty is None else outputs
                update = state.epoch * num_steps + number
                sums = self.task.training_sums(outputs, batch.block_index, batch.targets, hyper.label_smoothing, update)
                total = sums.loss
                if hyper.rate_penalty is not None:
                    excess = rate_excess(activity, batch.block_index, self._rate_bounds)
                    # Weighted by the terms of each sample, since the gradient is divided by those of all.
                    total += hyper.rate_penalty * jnp.sum(
                        excess * self.task.loss_terms(batch.block_index, batch.targets)
                    )
                return total, (sums, dict(updated))

            gradient = functools.partial(jax.grad(loss, has_aux=True), params)
            # The devices may cut their batches to different lengths: without batch normalisation, they meet only in
            # this sum, not within the gradient.
            gradients, (targets, updated) = in_bucket(gradient, batch, self._lengths)
            gradients, targets = self._shard.sum((gradients, targets))
            gradients = jax.tree.map(lambda total: total / jnp.maximum(targets.loss_terms, 1), gradients)
            opt_state = optimizer.set_learning_rate(opt_state, self._learning_rate(state, hyper, number, num_steps))
            updates, new_opt_state = adam.update(gradients, opt_state, params)
            new_params = network.project(optax.apply_updates(params, updates), hyper.network)
            norm = optax.tree.norm(gradients)
            finite = jnp.isfinite(targets.loss) & jnp.isfinite(norm)
            first_non_finite = sums.first_non_finite.update(finite, number, gradients)
            new_sums = sums._replace(
                targets=jax.tree.map(jnp.add, sums.targets, targets),
                gradient_norm=sums.gradient_norm + norm,
                steps=sums.steps + 1,
                first_non_finite=first_non_finite,
            )
            new = Running(variables | updated | {"params": new_params}, new_opt_state, new_sums)
            if self.config.divergence.action == "skip":
                skipped = sums._replace(skipped=sums.skipped + 1, first_non_finite=first_non_finite)
                new = jax.tree.map(functools.partial(jnp.where, finite), new, running._replace(sums=skipped))
            return new

        return jax.lax.fori_loop(first, stop, step, running)

    def end_epoch(
        self,
        state: TrainState,
        running: Running,
        hyper: TrainingHyperparameters,
        validation: SplitOnDevices,
        epoch: Int[Array, ""] | int,
    ) -> tuple[TrainState, divergence.Outcome]:
        """Validate after the last step of an epoch, and keep the best variables; with the protocol "last", the last.

        A member that has diverged, in this epoch or one before, keeps its last finite state, and affects no other.

        Args:
          state: state before the epoch.
          running: values after the last step of the epoch.
          hyper: hyperparameters.
          validation: validation split.
          epoch: number of epochs finished before; a member with fewer has diverged.
        """
        variables, opt_state, sums = running
        metrics = self._metrics("train_", sums.targets)
        average = optimizer.averaged_parameters(opt_state)
        evaluated = variables if average is None else variables | {"params": average}
        validation_metrics = self.evaluate(evaluated, hyper, validation)
        metrics |= {f"validation_{name}": value for name, value in validation_metrics.items()}
        weights = jnp.stack([jnp.max(jnp.abs(weight)) for weight in jax.tree.leaves(variables["params"])])
        metrics |= {
            "learning_rate": opt_state.hyperparams["learning_rate"],
            "gradient_norm": sums.gradient_norm / sums.steps,
            "max_weight": jnp.max(weights),
        }
        if self.config.divergence.action == "skip":
            metrics["skipped_steps"] = sums.skipped.astype(float)
        plateau = state.plateau
        if self._plateau:
            plateau = optimizer.update_plateau(self._plateau, plateau, metrics["validation_loss"])
        candidate = Best(state.epoch + 1, self.task.selection_score(validation_metrics), evaluated)
        selects_last = self.config.data.validation == LAST
        new_state = state._replace(
            epoch=state.epoch + 1,
            variables=variables,
            opt_state=opt_state,
            plateau=plateau,
            best=candidate if selects_last else better(candidate, state.best),
        )
        active = state.epoch == epoch
        finite = divergence.is_finite(metrics, self.config.divergence.max_weight)
        retries = state.retries
        state = jax.tree.map(lambda new, old: jnp.where(active & finite, new, old), new_state, state)
        return state, divergence.Outcome(metrics, active, finite, retries, sums.first_non_finite)

    def evaluate(self, variables: Variables, hyper: TrainingHyperparameters, split: SplitOnDevices) -> Metrics:
        """Return loss, metric and spike rates of all samples of a split, every target weighing the same."""
        network = build_network(self.config, split.inputs.shape[-1])

        def sums_of(batch: Samples, _):
            return self.task.evaluate(network, variables, batch, hyper=hyper.network)

        sums, spikes = sum_over_batches(sums_of, split, self.config.batch_size, self._shard)
        rates = {f"spike_rate_{layer}": rate for layer, rate in enumerate(spikes.mean_rate(), 1)}
        return self._metrics("", sums) | rates

    def _batch(
        self,
        train: SplitOnDevices,
        by_class: ByClass | None,
        order: Int[Array, " sample"],
        state: TrainState,
        number: Int[Array, ""],
        hyper: TrainingHyperparameters,
    ) -> Samples:
        """Return this device's samples of a batch, augmented."""
        indices = order[number * self.config.batch_size + self._shard.positions(self.config.batch_size)]
        if all(amount is None for amount in hyper.augmentation):
            return train.take(indices)
        keys = self._sample_keys(state, Purpose.AUGMENTATION, number)
        if by_class is None:
            return augment(train.take(indices), None, keys, hyper.augmentation)
        # Both at once, so that sharded samples are exchanged only once.
        both = train.take(jnp.concatenate([indices, by_class.choose_partners(indices, keys)]))
        batch, partners = (Samples(*halves) for halves in zip(*(jnp.split(array, 2) for array in both), strict=True))
        return augment(batch, partners, keys, hyper.augmentation)

    def _sample_keys(self, state: TrainState, purpose: Purpose, number: Int[Array, ""]) -> Key[Array, " batch"]:
        """Return a key for each of this device's samples of a batch."""
        positions = self._shard.positions(self.config.batch_size)
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
            key_for(state.key, purpose, state.epoch, number), positions
        )

    def _learning_rate(
        self, state: TrainState, hyper: TrainingHyperparameters, number: Int[Array, ""], num_steps: int
    ) -> Float[Array, ""]:
        """Return the learning rate of a step of an epoch of `num_steps`."""
        step = state.epoch * num_steps + number
        factor = divergence.learning_rate_scale(state.retries, self.config.divergence.factor)
        if self._plateau:
            factor *= state.plateau.scale
        if self.config.optimizer.schedule == "cosine":
            factor *= optimizer.cosine_factor(step, self.config.num_epochs * num_steps)
        if self.config.optimizer.initial_updates:
            is_first = step < self.config.optimizer.initial_updates
            factor *= jnp.where(is_first, self.config.optimizer.initial_factor, 1.0)
        if hyper.warmup_epochs is not None:
            factor *= optimizer.warmup_factor(step, hyper.warmup_epochs * num_steps)
        return hyper.learning_rate * factor

    def _adam(self, network: Network, hyper: TrainingHyperparameters) -> optax.GradientTransformationExtraArgs:
        average = None
        if hyper.ema is not None:
            project = functools.partial(network.project, hyper=hyper.network)
            average = optimizer.parameter_average(hyper.ema, project)
        clip_norm = self.config.optimizer.clip_norm
        return optimizer.clipped_adam(hyper.learning_rate, clip_norm, hyper.weight_decay, average)

    def _metrics(self, prefix: str, sums: Sums) -> Metrics:
        return {f"{prefix}loss": sums.mean_loss(), f"{prefix}{self.task.metric}": sums.mean_score()}


def better(candidate: Best, best: Best) -> Best:
    """Return the better of two epochs: the earlier one of equals, and never one whose score is NaN."""
    improved = candidate.score > best.score
    return jax.tree.map(lambda new, old: jnp.where(improved, new, old), candidate, best)
