"""Sequential MNIST: handwritten digits, pixel by pixel or row by row (see data/smnist.py for the files).

    python train.py --config=configs/smnist.py:rows --config.data.dir=DIR       # DIR/train-images-idx3-ubyte.gz, ...

Published test accuracies on permuted MNIST: BRF 95.2 % (Higuchi et al., 2024; 69,000 parameters), ALIF 94.3 % (Yin,
Corradi & Bohte, 2021), DelRec 96.2 %.

Variants: `se_adlif` (default), `ef_adlif`, `lif`, or another neuron, with the hyperparameters published for it on SHD;
`sequential` (default, 784 steps), `permuted` (the same in a fixed random order) or `rows` (28 steps of 28 channels);
`one_layer` (default) or `two_layers`. Joined by commas: `configs/smnist.py:permuted,two_layers`.
"""

from ml_collections import ConfigDict

from configs import variants
from seadlif_jax.config import base_config

# Without RadLIF: some of its initial neurons are unstable, and overflow in 784 steps.
CHOICES = {
    "neuron": tuple(name for name in variants.NEURONS if name != "radlif"),
    "order": ("sequential", "permuted", "rows"),
    "depth": ("one_layer", "two_layers"),
}


def get_config(variant: str = "") -> ConfigDict:
    choice = variants.parse(variant, CHOICES)
    neuron, rows, permuted = choice["neuron"], choice["order"] == "rows", choice["order"] == "permuted"

    config = base_config().unlock()
    config.num_epochs = 20
    config.batch_size = 128

    config.data.loader = "data.smnist:load"
    config.data.dir = "datasets"
    config.data.num_classes = 10
    config.data.order = choice["order"]
    config.data.permutation_seed = 0  # seed of the permutation of the pixels, for "permuted"
    config.data.answer_from = 0.5  # the readout counts from this fraction of the sequence on
    config.data.validation = "held_out"
    config.data.validation_fraction = 0.1  # of the training images

    config.model.neuron = neuron
    config.model.hidden = (128,) if choice["depth"] == "one_layer" else (128, 128)
    config.model.tau_u = (5.0, 25.0)  # steps (a step has no duration in milliseconds)
    config.model.tau_w = (60.0, 300.0)
    config.model.q = 60.0 if neuron == "ef_adlif" else 120.0
    config.model.tau_out = (5.0, 5.0) if rows else (15.0, 15.0)
    config.model.dropout = 0.0
    config.model.aggregation = "softmax"
    config.model.surrogate.slope = 5.0
    config.model.surrogate.c = 0.4

    config.optimizer.learning_rate = 0.005
    config.optimizer.schedule = "cosine"
    if permuted:
        _set_permuted(config)
    variants.set_neuron_of_source(config, neuron, {})
    return config.lock()


def _set_permuted(config: ConfigDict) -> None:
    """Sets what differs for permuted images, in which all parts of the sequence tell as much about the digit."""
    config.batch_size = 64
    config.data.answer_from = 0.0
    config.model.tau_w = (30.0, 1000.0)
    config.model.q /= 2  # for EF-adLIF because of the shorter tau_w, with which some neurons would be unstable
    config.model.tau_out = (300.0, 300.0)
    config.model.surrogate.c = 0.2  # with 0.4, gradients explode
    config.optimizer.learning_rate = 0.015
