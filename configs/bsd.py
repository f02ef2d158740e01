"""Burst sequence detection: generated data, nothing to download.

    python train.py --config=configs/bsd.py:quick          # about 20 seconds on two cores, test accuracy about 0.9
    python train.py --config=configs/bsd.py                # the paper's size: an hour on one core, 60 epochs 98.7 %

Variants: `se_adlif` (default), `ef_adlif`, `lif`, or another neuron, with the numbers that its source gives for SHD;
and `quick`. Joined by commas: `configs/bsd.py:lif,quick`.
"""

from ml_collections import ConfigDict

from configs import variants
from seadlif_jax.config import base_config

CHOICES = {"neuron": variants.NEURONS, "size": ("full", "quick")}


def get_config(variant: str = "") -> ConfigDict:
    choice = variants.parse(variant, CHOICES)
    neuron, quick = choice["neuron"], choice["size"] == "quick"
    is_lif = neuron == "lif"

    config = base_config().unlock()
    config.num_epochs = 20 if quick else 400
    config.batch_size = 32 if quick else 128

    config.data.loader = "data.bsd:load"
    config.data.num_classes = 10
    config.data.num_samples = 4_000 if quick else 8_000  # of all three splits
    config.data.validation = "held_out"  # 70 % train, 10 % validation, 20 % test

    config.model.neuron = neuron
    config.model.hidden = (128,) if quick else ((512,) if is_lif else (510,))
    config.model.tau_u = (5.0, 50.0) if is_lif else (5.0, 25.0)  # steps (which stand for no time of their own)
    config.model.tau_w = (60.0, 300.0)
    config.model.q = 120.0
    config.model.tau_out = (15.0, 15.0)
    config.model.dropout = 0.0
    config.model.aggregation = "softmax"
    config.model.surrogate.slope = 5.0
    config.model.surrogate.c = 0.2 if is_lif else 0.4

    config.optimizer.learning_rate = 0.01
    variants.set_neuron_of_source(config, neuron, {})
    return config.lock()
