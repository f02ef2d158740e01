"""SE-adLIF in the authors' PyTorch program, run from a checkout: its network, loss and parameter clamps.

https://github.com/IGITUGraz/SE-adlif, under CC BY-SA 4.0; none of its code is here. The cost of PyTorch
Lightning (loop, logging, data loading) is not measured.
"""

import contextlib
import io
import sys

from benchmarks.peers import torch_training
from benchmarks.shapes import Shape
from benchmarks.workers import Subject

REQUIRES = ("torch", "pytorch_lightning", "torchmetrics", "omegaconf")


def build(shape: Shape, checkout: str) -> Subject:
    sys.path.insert(0, checkout)
    from models.pl_module import MLPSNN

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its config
        model = MLPSNN(settings(shape))

    def scores_and_loss(batch):
        scores, loss, _ = model.process_predictions_and_compute_losses(
            model(batch.inputs), batch.targets, batch.block_index
        )
        return scores, loss

    return torch_training.subject(
        shape, model, scores_and_loss, after_step=lambda: model.on_train_batch_end(None, None, 0)
    )


def settings(shape: Shape):
    """Return our config with the names of the authors' settings."""
    from omegaconf import OmegaConf

    config, model = shape.config, shape.config.model
    first, *others = shape.hidden
    if len(others) > 1 or any(width != first for width in others):
        raise ValueError(f"the authors' program has one layer or two alike, not {shape.hidden}")
    return OmegaConf.create(
        {
            "cell": model.neuron,
            "input_size": shape.channels,
            "n_neurons": first,
            "two_layers": bool(others),
            "tau_u_range": list(model.tau_u),
            "tau_w_range": list(model.tau_w),
            "tau_out_range": list(model.tau_out),
            "q": model.q,
            "alpha": model.surrogate.slope,
            "c": model.surrogate.c,
            "dropout": model.dropout,
            "loss_agg": model.aggregation,
            "lr": config.optimizer.learning_rate,
            "factor": 1.0,
            "patience": 0,
            "tracking_metric": "val_acc",
            "tracking_mode": "max",
            "dataset": {"num_classes": shape.num_classes, "batch_size": shape.batch_size},
        }
    )
