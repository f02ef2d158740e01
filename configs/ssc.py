"""SSC: 35 spoken words, from the Spiking Speech Commands (see data/ssc.py).

    python train.py --config=configs/ssc.py --config.data.dir=DIR   # DIR/SSC/ssc_train.h5, ssc_valid.h5, ssc_test.h5

What is not in DIR is downloaded to it. Published test accuracy: 80.44 +- 0.26 % (SE-adLIF), 79.80 % (EF-adLIF),
75.23 % (LIF). Meant for a GPU or TPU, and not yet run by us.

Variants: `se_adlif` (default), `ef_adlif`, `lif`, or another neuron, with the numbers that its source gives for SHD.
"""

from ml_collections import ConfigDict, config_dict

from configs import variants
from seadlif_jax.config import base_config

CHOICES = {"neuron": variants.NEURONS}


def get_config(variant: str = "") -> ConfigDict:
    neuron = variants.parse(variant, CHOICES)["neuron"]

    config = base_config().unlock()
    config.num_epochs = 40
    config.batch_size = 256

    config.data.loader = "data.ssc:load"
    config.data.dir = "datasets"
    config.data.cache_dir = "datasets/cache"  # of the binned events, 4.5 GB
    config.data.num_classes = 35
    config.data.step_ms = 4.0  # width of a bin
    config.data.num_units = config_dict.placeholder(int)  # of the recordings (unset: 700)
    config.data.max_seconds = config_dict.placeholder(float)  # longest recording that is accepted (unset: 10)
    config.data.skip_empty = config_dict.placeholder(bool)  # leave out recordings without events (unset: refuse them)
    config.data.num_channels = 140  # five neighbouring units are one channel
    config.data.pad_to = 300  # steps that every recording has at least; those added count
    config.data.ignore_first_steps = 10
    config.data.validation = "official"
    config.data.validation_fraction = 0.2  # of the training recordings, for held_out
    config.data.validation_speakers = 100  # of the training file, for held_out_speakers

    config.model.neuron = neuron
    config.model.hidden = (720, 720)
    config.model.tau_u = (5.0, 25.0)
    config.model.tau_w = (60.0, 300.0)
    config.model.q = 60.0 if neuron == "ef_adlif" else 120.0
    config.model.tau_out = (15.0, 15.0)
    config.model.dropout = 0.15
    config.model.aggregation = "mean"
    config.model.surrogate.slope = 5.0
    config.model.surrogate.c = 0.1 if neuron == "lif" else 0.4

    config.optimizer.learning_rate = 0.006
    variants.set_neuron_of_source(config, neuron, {})
    return config.lock()
