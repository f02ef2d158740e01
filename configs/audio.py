"""Neuromorphic audio compression: speech as the spikes of 16 neurons, and restored from them.

    python train.py --config=configs/audio.py:quick --config.data.dir=DIR       # DIR/train/SPEAKER/*.wav, DIR/test/...
    python train.py --config=configs/audio.py --config.data.dir=DIR             # DIR/train-clean-100, ... of LibriTTS

Published SI-SNR on LibriTTS: 8.39 +- 0.07 dB (SE-adLIF), 7.80 +- 0.04 dB (EF-adLIF), 6.90 +- 0.06 dB (LIF). We have
not run it: LibriTTS was not available, and it needs a GPU.

Variants: `se_adlif` (default), `ef_adlif`, `lif`; and `quick`, a smaller network at 8 kHz, for any recordings.
Joined by commas: `configs/audio.py:lif,quick`.
"""

from ml_collections import ConfigDict

from configs import variants
from seadlif_jax.config import base_config

CHOICES = {"neuron": ("se_adlif", "ef_adlif", "lif"), "size": ("full", "quick")}


def get_config(variant: str = "") -> ConfigDict:
    choice = variants.parse(variant, CHOICES)
    neuron, quick = choice["neuron"], choice["size"] == "quick"
    is_lif, is_ef = neuron == "lif", neuron == "ef_adlif"

    config = base_config().unlock()
    config.task = "seadlif_jax.audio:Compression"
    config.num_epochs = 10
    config.batch_size = 128

    config.data.loader = "data.speech:load"
    config.data.dir = "datasets"
    config.data.cache_dir = "datasets/cache"  # of the chunks
    config.data.sample_rate = 24_000
    config.data.step_ms = 1000 / 24_000
    config.data.chunk = 2560
    config.data.delay = 20
    config.data.ignore_first_steps = 50
    config.data.train_dir = "train-clean-100"
    config.data.validation_dir = "dev-clean"
    config.data.test_dir = "test-clean"
    config.data.validation_fraction = 0.25  # of the speakers, without `validation_dir`

    config.model.neuron = neuron
    width = 302 if is_lif else 300
    config.model.hidden = (width,) * 4  # two layers of the encoder, two of the decoder
    with config.ignore_type():
        config.model.recurrent = (False, True, True, True)
    config.model.num_outputs = (width, 16, width, width)
    config.model.tau_u = (5.0, 100.0) if is_lif else (5.0, 25.0)  # steps, here samples of the sound
    config.model.tau_w = (30.0, 300.0)
    config.model.q = 20.0 if is_ef else 120.0
    config.model.a = (0.0, 1.0) if is_ef else (0.0, 5.0)
    config.model.train_threshold = True
    config.model.train_rest = True
    config.model.tau_out = (1.0, 10.0)
    config.model.train_tau_out = True
    config.model.surrogate.slope = 5.0
    config.model.surrogate.c = 0.2 if is_lif else 0.4
    high = 0.5 if is_lif else 0.1
    config.model.rate_bounds = ((0.05, high), (0.005, 0.012), (0.05, high), (0.05, 0.3))
    config.model.rate_penalty = 10.0

    config.loss.levels = 256
    config.loss.spectral_weight = 1.0
    config.loss.windows = (64, 128, 256, 512, 1024, 2048)
    config.loss.num_mels = 128
    config.loss.temperature = (10.0, 1.0)
    config.loss.temperature_decay = 0.95
    config.loss.temperature_from = 5000
    config.loss.temperature_every = 2000

    config.optimizer.learning_rate = 0.0005
    config.optimizer.clip_norm = 10.0
    config.optimizer.plateau_factor = 0.1
    if not is_lif:
        config.optimizer.initial_updates, config.optimizer.initial_factor = 3000, 10.0
    if quick:
        config.update_from_flattened_dict(QUICK)
        config.model.hidden = (64,) * 4
        config.model.num_outputs = (64, 16, 64, 64)
    return config.lock()


# Without the distance of spectrograms, with which training is slower, or stops at the start.
QUICK = {
    "num_epochs": 12,
    "batch_size": 32,
    "data.sample_rate": 8_000,
    "data.step_ms": 1 / 8,
    "data.chunk": 1024,
    "data.train_dir": "train",
    "data.validation_dir": "",
    "data.test_dir": "test",
    "loss.levels": 64,
    "loss.spectral_weight": 0.0,
    "loss.windows": (64, 256, 512),
    "loss.num_mels": 32,
    "loss.temperature": (1.0, 1.0),
    "loss.temperature_from": 0,
    "loss.temperature_every": 1,
    "optimizer.learning_rate": 0.01,
    "optimizer.schedule": "cosine",
    "optimizer.plateau_factor": 1.0,
    "optimizer.initial_updates": 0,
    "optimizer.initial_factor": 1.0,
}
