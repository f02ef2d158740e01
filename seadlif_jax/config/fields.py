"""The fields every run has: `base_config()` lists and explains them; a file in `configs/` starts from it."""

from collections.abc import Mapping
from types import MappingProxyType

from ml_collections import ConfigDict, config_dict

from seadlif_jax.utils.errors import SeadlifError


class ConfigError(SeadlifError):
    """Config that cannot be run; the message names the field and what it must be."""


def base_config() -> ConfigDict:
    """Return the fields that all configs share, with the settings common to most of the paper's experiments."""
    config = ConfigDict()
    config.task = "classification"  # or forecast: predict the next input; or module:Class of another Task
    config.task_dir = ""  # folder of the task's module (unset: near the config file, or the current one)
    config.task_checksum = ""  # of the task's module, recorded by the run; another one does not continue it
    config.seed = 0  # initial parameters, order of the samples, dropout
    config.num_epochs = 100
    config.batch_size = 128  # training drops the last partial batch, evaluation never does

    config.init_from = ""  # folder of a run whose best parameters are the initial ones (unset: random)

    config.data = data = ConfigDict()
    data.loader = ""  # "module:function", from the config to a Dataset (see seadlif_jax/data/dataset.py)
    data.loader_dir = ""  # folder of the loader's module (unset: near the config file, or the current one)
    data.dir = ""  # folder of the data files; unused by generated data
    data.seed = 0  # generation and split of the data, apart from the seed of the run
    data.num_classes = 10  # classification: number of classes
    data.validation = "held_out"  # protocol: what the best epoch is selected on; or last: no selection
    data.class_weights = config_dict.placeholder(tuple)  # classification: factor of the loss for each class (unset: 1)
    data.step_ms = config_dict.placeholder(float)  # milliseconds a step stands for (unset: no time of its own)

    config.model = model = ConfigDict()
    model.neuron = "se_adlif"  # name of a neuron (see docs/neurons.md), or module:Class of one's own
    model.neuron_dir = ""  # folder of the neuron's module (unset: near the config file, or the current one)
    model.neuron_checksum = ""  # of the neuron's module, recorded by the run; another one does not continue it
    model.hidden = (128,)  # neurons in each hidden layer
    model.recurrent = True  # recurrent connections within the hidden layers (see docs/training.md for each its own)
    model.num_outputs = config_dict.placeholder(tuple)  # neurons of each hidden layer with outputs to the next (all)
    model.self_connections = True  # also from each neuron to itself
    model.quantize = ""  # int8: compute with weights of 8 bits, for a device in fixed point
    model.batch_norm = False  # normalise the feed-forward currents of each hidden layer over a batch
    model.tau_u = (5.0, 25.0)  # range of the membrane time constants, steps
    model.tau_w = (60.0, 300.0)  # range of the adaptation time constants, steps
    model.q = 120.0  # scale of the adaptation
    model.a = (0.0, 1.0)  # range of its couplings to the membrane potential
    model.b = (0.0, 2.0)  # range of its couplings to the spikes
    model.train_threshold = False  # train each neuron's threshold
    model.train_rest = False  # train each neuron's resting potential, from which it starts and to which it is reset
    model.forget_bias = config_dict.placeholder(float)  # LSTM: initial bias of the forget gate (unset: random)
    model.dropout = 0.0  # probability that a hidden layer's spike is dropped, in training
    model.rate_bounds = (0.0, 1.0)  # of the firing rate, spikes per neuron and step: one pair, or one a hidden layer
    model.rate_penalty = 0.0  # weight in the loss of how far the firing rates are outside of these bounds (0: none)
    model.tau_out = (15.0, 15.0)  # range of the readout's time constants, steps
    model.train_tau_out = False  # train them within the range; otherwise they are drawn once
    model.aggregation = "softmax"  # classification, scores of a block: softmax, mean

    model.surrogate = surrogate = ConfigDict()
    surrogate.shape = "exponential"  # fast_sigmoid, arctan, triangular, boxcar, double_gaussian, multi_gaussian
    surrogate.slope = 5.0  # steepness
    surrogate.c = 0.4  # area, scales the gradient

    # For classification only: random changes of the training samples, drawn anew in every epoch (0: none).
    config.augment = augment = ConfigDict()
    augment.drop_events = 0.0  # probability that the events of a channel in a step are dropped
    augment.drop_channels = 0.0  # probability that a channel of a sample is silenced
    augment.shift_channels = 0.0  # largest shift of a sample along the channels, up or down, channels
    augment.jitter_channels = 0.0  # standard deviation of a further shift of each channel of a sample, channels
    augment.shift_time = 0.0  # largest shift of a sample in time, earlier or later, steps
    augment.stretch_time = 0.0  # largest relative change of a sample's duration: 0.1 for 0.9 to 1.1
    augment.mix = 0.0  # probability that a sample is mixed with another one of its class

    config.optimizer = optimizer = ConfigDict()
    optimizer.learning_rate = 0.01  # of Adam
    optimizer.schedule = (
        "constant"  # of the learning rate: constant, or cosine, which decays to 0 at the end of the run
    )
    optimizer.warmup_epochs = 0.0  # linear warm-up of the learning rate; multiplies any schedule
    optimizer.initial_factor = 1.0  # factor of the learning rate in the first updates
    optimizer.initial_updates = 0  # number of these updates
    optimizer.clip_norm = 1.5  # largest global norm of the gradients, clipped before Adam
    optimizer.weight_decay = 0.0  # as in AdamW; of weight matrices, not of biases and neuron parameters
    optimizer.ema = 0.0  # decay per step of the moving average of the parameters that is validated and tested (0: none)
    optimizer.label_smoothing = 0.0  # classification: share of the target that training spreads over all classes
    optimizer.plateau_factor = 1.0  # learning-rate factor once the validation loss stalls; 1 for none
    optimizer.plateau_patience = 0  # epochs without a better validation loss before that

    config.loss = ConfigDict()  # fields of a task that is a class of its own

    config.divergence = divergence = ConfigDict()
    divergence.action = "stop"  # when loss or gradient are NaN or infinite: stop, skip the step, or go back an epoch
    divergence.factor = 0.5  # back: of the learning rate, from then on; five times at most
    divergence.max_weight = 1e5  # a run with a larger parameter has diverged, too

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every_epochs = 1  # how often to save: after so many epochs,
    checkpoint.every_minutes = 10.0  # and when so much time has passed, within an epoch too

    config.tensorboard = False  # write event files for TensorBoard, too

    config.compute = compute = ConfigDict()
    compute.precision = "highest"  # rounding of the operands of matrix products: highest, tensorfloat32 (GPU), bfloat16
    compute.chunk_mib = config_dict.placeholder(float)  # working set of a chunk of steps (unset: the backend's default)
    compute.unroll = 1  # steps in one iteration of a compiled loop
    compute.engine = "auto"  # xla; native, a kernel for CPUs that makes use of sparse spikes; auto: native if possible
    compute.plain_scan = False  # differentiate a plain scan: slow, the reference

    config.devices = devices = ConfigDict()
    devices.mesh = config_dict.placeholder(tuple)  # numbers along members and samples (unset: all of use)
    devices.data = config_dict.placeholder(str)  # replicated, or sharded over the devices (unset: by size)
    devices.width = config_dict.placeholder(int)  # members a device computes at a time (unset: the backend's default)

    # Values to be trained in one program, such as (0, 1, 2); or ("uniform", low, high), ("log_uniform", low, high).
    config.sweep = sweep = ConfigDict()
    for name in SWEPT:
        sweep[name] = ()
    sweep.samples = 0  # settings to draw, each to be trained with every seed; 0: all combinations of the values
    return config.lock()


# What a sweep can vary besides hyperparameters of a neuron of one's own: name in `config.sweep`, and the field.
SWEPT: Mapping[str, str] = MappingProxyType(
    {
        "seed": "seed",
        "learning_rate": "optimizer.learning_rate",
        "q": "model.q",
        "a": "model.a",
        "b": "model.b",
        "tau_u": "model.tau_u",
        "tau_w": "model.tau_w",
        "dropout": "model.dropout",
        "slope": "model.surrogate.slope",
        "c": "model.surrogate.c",
        "warmup_epochs": "optimizer.warmup_epochs",
        "weight_decay": "optimizer.weight_decay",
        "rate_penalty": "model.rate_penalty",
        "ema": "optimizer.ema",
        "label_smoothing": "optimizer.label_smoothing",
        "drop_events": "augment.drop_events",
        "drop_channels": "augment.drop_channels",
        "shift_channels": "augment.shift_channels",
        "jitter_channels": "augment.jitter_channels",
        "shift_time": "augment.shift_time",
        "stretch_time": "augment.stretch_time",
        "mix": "augment.mix",
    }
)


def swept_fields(config: ConfigDict) -> dict[str, str]:
    """Return what the sweep of a config can vary: name in `config.sweep`, and the field."""
    own = (name for name in config.sweep if name not in SWEPT and name != "samples")
    return {**SWEPT, **{name: f"model.{name}" for name in own}}


def is_sweep(config: ConfigDict) -> bool:
    """Return whether `config.sweep` varies anything, if only over a single value."""
    return any(len(config.sweep[name]) for name in swept_fields(config))
