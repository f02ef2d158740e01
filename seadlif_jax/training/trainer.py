"""Training and evaluation as pure functions, to be compiled (and mapped over) by their caller.

An epoch runs over batches of a data set held on the device, in one call or in a few. All randomness comes from
(seed, purpose, epoch, step), so that a run can be resumed anywhere with the same bits.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, Num, PyTree
from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax import losses as readout
from seadlif_jax.data.bucketing import at_own_length
from seadlif_jax.data.loading import Samples
from seadlif_jax.data.sharded_samples import Divided
from seadlif_jax.neurons import NEURONS
from seadlif_jax.nn.execution import Compute
from seadlif_jax.nn.network import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.parallel.mesh import Share
from seadlif_jax.training import optimizer
from seadlif_jax.utils.keys import Purpose, key_for

Metrics = dict[str, Float[Array, ""]]
MUST_BE_FINITE = ("train_loss", "validation_loss", "gradient_norm")  # metrics; otherwise a run has diverged
LARGEST_WEIGHT = 1e5  # a run with a larger one has diverged, too: learning rates that make sense do not lead there
Split = Samples | Divided
Inputs = Num[Array, "sample time channel"]
# From inputs and their number to what the network sees of them: of a batch, or of each device's share of it.
ChangeInputs = Callable[[Inputs, Int[Array, ""]], Inputs]


class Hyperparameters(NamedTuple):
    """What may vary between runs of one compiled program: traced values, never baked into it.

    Ranges are pairs. `dropout` is None for none, which spares drawing masks.
    """

    learning_rate: Float[Array, ""]
    tau_u: tuple[Float[Array, ""], Float[Array, ""]]
    tau_w: tuple[Float[Array, ""], Float[Array, ""]]
    a: tuple[Float[Array, ""], Float[Array, ""]]
    b: tuple[Float[Array, ""], Float[Array, ""]]
    q: Float[Array, ""]
    slope: Float[Array, ""]
    c: Float[Array, ""]
    dropout: Float[Array, ""] | None

    @classmethod
    def from_config(cls, config: ConfigDict) -> "Hyperparameters":
        model = config.model
        values = cls(
            learning_rate=config.optimizer.learning_rate,
            tau_u=tuple(model.tau_u),
            tau_w=tuple(model.tau_w),
            a=tuple(model.a),
            b=tuple(model.b),
            q=model.q,
            slope=model.surrogate.slope,
            c=model.surrogate.c,
            dropout=model.dropout or None,
        )
        return jax.tree.map(lambda value: jnp.asarray(value, float), values)


class Best(NamedTuple):
    """The parameters of the epoch with the best validation score so far: accuracy, or the negative forecast loss."""

    epoch: Int[Array, ""]
    score: Float[Array, ""]
    params: PyTree[Array]


class Trouble(NamedTuple):
    """The first step of an epoch whose loss or gradients were not finite; -1 if there was none.

    `parameter` is the number, as `jax.tree.leaves` orders them, of the first parameter with such a gradient; -1 if it
    was only the loss, or the norm of all gradients together.
    """

    step: Int[Array, ""]
    parameter: Int[Array, ""]


class TrainState(NamedTuple):
    """All that changes in training, and the key all randomness comes from."""

    key: Key[Array, ""]
    epoch: Int[Array, ""]  # epochs completed
    params: PyTree[Array]
    constants: PyTree[Array]
    opt_state: PyTree[Array]
    plateau: PyTree[Array]
    slowdown: Float[Array, ""]  # factor of the learning rate, less than 1 after divergence
    best: Best


class EpochSums(NamedTuple):
    """Sums over the steps of an epoch under way; those that were skipped are only counted."""

    targets: readout.Sums
    gradient_norm: Float[Array, ""]
    steps: Int[Array, ""]
    skipped: Int[Array, ""]
    trouble: Trouble


def no_sums() -> EpochSums:
    """The sums before the first step of an epoch."""
    zero, none = jnp.zeros((), int), jnp.asarray(-1)
    return EpochSums(readout.Sums.zero(), jnp.zeros(()), steps=zero, skipped=zero, trouble=Trouble(none, none))


def build_network(config: ConfigDict | FrozenConfigDict, hyper: Hyperparameters) -> Network:
    """The network a config describes."""
    model = config.model

    def layer(features):
        return RecurrentLayer(
            features=features,
            neuron=model.neuron,
            recurrent=model.recurrent,
            tau_u=hyper.tau_u,
            tau_w=hyper.tau_w,
            a=hyper.a,
            b=hyper.b,
            q=hyper.q,
            surrogate=model.surrogate.shape,
            slope=hyper.slope,
            c=hyper.c,
            forget_bias=model.forget_bias,
            compute=Compute(**config.compute),
        )

    return Network(
        layers=tuple(layer(features) for features in model.hidden),
        readout=LeakyReadout(config.data.num_classes, tuple(model.tau_out), model.train_tau_out),
        dropout=hyper.dropout,
    )


def score_name(config: ConfigDict | FrozenConfigDict) -> str:
    """The metric next to the loss."""
    return "mse" if config.model.aggregation == "forecast" else "accuracy"


def class_weights(config: ConfigDict | FrozenConfigDict) -> tuple[float, ...] | None:
    """The weights of the classes in the loss; None for none, as in configs of earlier versions."""
    weights = config.data.get("class_weights")
    return tuple(weights) if weights else None


class Program:
    """The pure functions of a config; they hold no state, and can be compiled and mapped over runs.

    `train_epoch` is an epoch in one call. Its two parts, `train_steps` and `end_epoch`, are for callers that want to
    look in between. `lengths` are those that batches of the training split are trimmed to (see `trim`). With a `share`
    of several devices, they are for use under `devices.spread`.
    """

    def __init__(self, config: ConfigDict, lengths: tuple[int, ...] = (), share: Share = Share()):  # noqa: B008
        self.config = FrozenConfigDict(config)
        self._share = share
        self.score_name = score_name(config)
        self.forecasting = self.score_name == "mse"
        self._spikes = NEURONS[config.model.neuron].spikes
        # What a forecast is fed depends on the length, so it keeps its own.
        self._lengths = () if self.forecasting else lengths
        factor = config.optimizer.plateau_factor
        self.schedule = optimizer.plateau(factor, config.optimizer.plateau_patience) if factor < 1 else None

    def init(self, seed: Int[Array, ""] | int, hyper: Hyperparameters, samples: Split) -> TrainState:
        """The state before the first epoch."""
        key = jax.random.key(seed)
        network = build_network(self.config, hyper)
        variables = network.init(key_for(key, Purpose.PARAMETERS), samples.inputs[:1, :1])
        params = variables["params"]
        return TrainState(
            key=key,
            epoch=jnp.asarray(0, jnp.int32),
            params=params,
            constants=variables.get("constants", {}),
            opt_state=self._adam(hyper).init(params),
            plateau=self.schedule.init(params) if self.schedule else None,
            slowdown=jnp.asarray(1, float),
            best=Best(jnp.asarray(0, jnp.int32), jnp.asarray(-jnp.inf, float), params),
        )

    def train_epoch(
        self, state: TrainState, hyper: Hyperparameters, train: Split, validation: Split
    ) -> tuple[TrainState, Metrics]:
        """Trains on every full batch of a new order of the samples, validates, and keeps the best parameters."""
        state, sums = self.train_steps(state, no_sums(), hyper, train, 0, self.steps_per_epoch(train))
        return self.end_epoch(state, sums, hyper, validation)

    def steps_per_epoch(self, train: Split) -> int:
        """The number of full batches."""
        return train.size // self.config.batch_size

    def train_steps(
        self,
        state: TrainState,
        sums: EpochSums,
        hyper: Hyperparameters,
        train: Split,
        first: Int[Array, ""] | int,
        stop: Int[Array, ""] | int,
    ) -> tuple[TrainState, EpochSums]:
        """The steps `first` to `stop - 1` of an epoch. However an epoch is cut into calls, the bits are the same."""
        adam = self._adam(hyper)
        boxes: dict[str, Any] = {**optimizer.BOXES, "a": hyper.a, "b": hyper.b}
        order = jax.random.permutation(key_for(state.key, Purpose.ORDER, state.epoch), train.size)
        positions = self._share.positions(self.config.batch_size)

        def train_step(step, carry):
            params, opt_state, sums = carry
            batch = train.take(order[step * self.config.batch_size + positions])
            step_key = key_for(state.key, Purpose.DROPOUT, state.epoch, step)
            dropout_keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, positions)

            def gradient(batch):
                def loss(params):
                    targets = self._forward(hyper, params, state.constants, batch, dropout_keys)
                    return targets.loss, targets

                return jax.grad(loss, has_aux=True)(params)

            # The devices may trim to different lengths: they meet only here, not within the gradient.
            gradients, targets = self._share.total(at_own_length(gradient, batch, self._lengths))
            gradients = jax.tree.map(lambda total: total / jnp.maximum(targets.loss_terms, 1), gradients)
            updates, new_opt_state = adam.update(gradients, opt_state, params)
            new_params = optimizer.project_to_boxes(optax.apply_updates(params, updates), boxes)
            norm = optax.tree.norm(gradients)
            well = jnp.isfinite(targets.loss) & jnp.isfinite(norm)
            trouble = jax.tree.map(
                functools.partial(jnp.where, well | (sums.trouble.step >= 0)), sums.trouble, _trouble(step, gradients)
            )
            new_sums = sums._replace(
                targets=jax.tree.map(jnp.add, sums.targets, targets),
                gradient_norm=sums.gradient_norm + norm,
                steps=sums.steps + 1,
                trouble=trouble,
            )
            new = (new_params, new_opt_state, new_sums)
            if self.config.divergence.action == "skip":
                skipped = (params, opt_state, sums._replace(skipped=sums.skipped + 1, trouble=trouble))
                new = jax.tree.map(functools.partial(jnp.where, well), new, skipped)
            return new

        opt_state = optimizer.set_learning_rate(state.opt_state, self._learning_rate(state, hyper))
        carry = (state.params, opt_state, sums)
        params, opt_state, sums = jax.lax.fori_loop(first, stop, train_step, carry)
        return state._replace(params=params, opt_state=opt_state), sums

    def end_epoch(
        self, state: TrainState, sums: EpochSums, hyper: Hyperparameters, validation: Split
    ) -> tuple[TrainState, Metrics]:
        """Validates after the last step of an epoch, and keeps the best parameters."""
        metrics = self._metrics("train_", sums.targets)
        metrics |= self.evaluate(state.params, state.constants, hyper, validation, "validation_")
        weights = jnp.stack([jnp.max(jnp.abs(weight)) for weight in jax.tree.leaves(state.params)])
        metrics |= {
            "learning_rate": self._learning_rate(state, hyper),
            "gradient_norm": sums.gradient_norm / sums.steps,
            "largest_weight": jnp.max(weights),
        }
        if self.config.divergence.action == "skip":
            metrics["skipped_steps"] = sums.skipped.astype(float)
        plateau = state.plateau
        if self.schedule:
            plateau = optimizer.update_plateau(self.schedule, plateau, metrics["validation_loss"])
        best = self._best(state.best, state.epoch + 1, metrics, state.params)
        return state._replace(epoch=state.epoch + 1, plateau=plateau, best=best), metrics

    def unless_diverged(
        self, before: TrainState, after: TrainState, metrics: Metrics, epoch: Int[Array, ""] | int
    ) -> TrainState:
        """The state after an epoch; or before it, if the run has diverged then or in an epoch before.

        `epoch` is the number of those completed before. A member whose own number is behind has diverged: it stays as
        it was, and disturbs no other.
        """
        well = (before.epoch == epoch) & (metrics["largest_weight"] <= LARGEST_WEIGHT)
        for name in MUST_BE_FINITE:
            well &= jnp.isfinite(metrics[name])
        return jax.tree.map(lambda new, old: jnp.where(well, new, old), after, before)

    def slower(self, state: TrainState, which: Bool[Array, ""]) -> TrainState:
        """The state with a smaller learning rate from now on, for those members that `which` says."""
        factor = jnp.where(which, self.config.divergence.factor, 1)
        return state._replace(slowdown=state.slowdown * factor)

    def evaluate(
        self,
        params: PyTree[Array],
        constants: PyTree[Array],
        hyper: Hyperparameters,
        split: Split,
        prefix: str = "",
        change_inputs: ChangeInputs = lambda inputs, batch: inputs,
    ) -> Metrics:
        """Loss and accuracy (or MSE) over all samples of a split, every target weighing the same."""
        num_batches = -(-split.size // self.config.batch_size)
        positions = self._share.positions(-(-split.size // num_batches))

        def add_batch(total, number):
            indices = number * len(positions) * self._share.devices + positions
            batch = split.take(indices % split.size)
            # The last batch is filled up with samples seen before; they must not count.
            repeated = indices >= split.size
            batch = batch._replace(
                inputs=change_inputs(batch.inputs, number * self._share.devices + self._share.number()),
                targets=jnp.where(_like(repeated, batch.targets), readout.IGNORED, batch.targets),
                block_index=jnp.where(repeated[:, None], 0, batch.block_index),
            )
            return jax.tree.map(jnp.add, total, self._evaluate_batch(hyper, params, constants, batch)), None

        no_rates = readout.Rates.zero(len(self.config.model.hidden) if self._spikes else 0)
        total, _ = jax.lax.scan(add_batch, (readout.Sums.zero(), no_rates), jnp.arange(num_batches))
        sums, rates = self._share.total(total)
        of_layers = {f"{prefix}spike_rate_{layer}": rate for layer, rate in enumerate(rates.mean(), 1)}
        return self._metrics(prefix, sums) | of_layers

    def _learning_rate(self, state: TrainState, hyper: Hyperparameters) -> Float[Array, ""]:
        scale = state.slowdown * state.plateau.scale if self.schedule else state.slowdown
        return hyper.learning_rate * scale

    def _adam(self, hyper: Hyperparameters) -> optax.GradientTransformationExtraArgs:
        return optimizer.clipped_adam(hyper.learning_rate, self.config.optimizer.clip_norm)

    def _forward(
        self,
        hyper: Hyperparameters,
        params: PyTree[Array],
        constants: PyTree[Array],
        batch: Samples,
        dropout_keys: Key[Array, " sample"] | None,
    ) -> readout.Sums:
        variables = {"params": params, "constants": constants}
        network, start = build_network(self.config, hyper), readout.feedback_start(batch.inputs.shape[1])
        outputs: Any
        if self.forecasting:
            outputs = network.apply(variables, batch.inputs, start, dropout_keys, method="forecast")
        else:
            outputs = network.apply(variables, batch.inputs, dropout_keys)
        return self._compare(outputs, batch)

    def _evaluate_batch(
        self, hyper: Hyperparameters, params: PyTree[Array], constants: PyTree[Array], batch: Samples
    ) -> tuple[readout.Sums, readout.Rates]:
        """Without dropout, and with the spikes of the hidden layers counted."""
        feedback_from = readout.feedback_start(batch.inputs.shape[1]) if self.forecasting else None
        variables = {"params": params, "constants": constants}
        found: Any = build_network(self.config, hyper).apply(
            variables, batch.inputs, feedback_from, method="with_activity"
        )
        outputs, activity = found
        return self._compare(outputs, batch), readout.rates(activity, batch.block_index)

    def _compare(self, outputs: Float[Array, "sample time output"], batch: Samples) -> readout.Sums:
        if self.forecasting:
            return readout.forecast(outputs, batch.block_index, batch.targets)
        how, weights = self.config.model.aggregation, class_weights(self.config)
        return readout.classification(outputs, batch.block_index, batch.targets, how, weights)

    def _metrics(self, prefix: str, sums: readout.Sums) -> Metrics:
        return {f"{prefix}loss": sums.mean_loss(), f"{prefix}{self.score_name}": sums.mean_score()}

    def _best(self, best: Best, epoch: Int[Array, ""], metrics: Metrics, params: PyTree[Array]) -> Best:
        score = -metrics["validation_loss"] if self.forecasting else metrics["validation_accuracy"]
        improved = score > best.score
        return jax.tree.map(lambda new, old: jnp.where(improved, new, old), Best(epoch, score, params), best)


def _trouble(step: Int[Array, ""], gradients: PyTree[Array]) -> Trouble:
    affected = jnp.stack([~jnp.all(jnp.isfinite(gradient)) for gradient in jax.tree.leaves(gradients)])
    return Trouble(jnp.asarray(step, int), jnp.where(affected.any(), jnp.argmax(affected), -1))


def _like(mask: Array, array: Array) -> Array:
    """Appends axes of length one to a mask over samples, to broadcast against `array`."""
    return mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))
