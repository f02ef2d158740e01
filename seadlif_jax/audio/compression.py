"""The task of compressing sound: restore it, some steps later, from what a few spiking neurons send on.

A step is a sample of the sound. Of one layer of the network, only some neurons have outputs
(`config.model.num_outputs`): the layers up to it are the encoder, those behind it the decoder. The readout has an
output for each level of the A-law. With its softmax `p_t`, the target `x_t`, which is the sound `config.data.delay`
steps before, and the restored sound `x^_t` (`a_law.expected_sound` at a temperature),

    loss = mean_t -log p_t[level of x_t] + spectral_weight * spectral_distance(x^, x)

The first mean is over the steps whose block is not 0. Spectrograms leave out the first `skip` steps of a chunk; later
steps in block 0 are silent in them. In training, the temperature falls,

    temperature = max(last, first * temperature_decay^((update - temperature_from) / temperature_every)),

and is `first` before the update `temperature_from`. Sounds are evaluated at temperature 1.

Source: Baronig et al. (Nature Communications, 2025), neuromorphic audio compression.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax.audio.a_law import expected_sound, level_of
from seadlif_jax.audio.quality import si_snr
from seadlif_jax.audio.spectrum import mel_filters, spectral_distance
from seadlif_jax.config import ConfigError, configured_neuron
from seadlif_jax.data.fields import is_number, is_whole
from seadlif_jax.losses import Sums
from seadlif_jax.neurons import Scalar
from seadlif_jax.nn import Network
from seadlif_jax.tasks import Outputs, Selection, Task, refuse_classification_fields

FULL_SCALE = np.iinfo(np.int16).max  # sounds are held in 16 bits
MIN_RMS = 0.01  # root mean square of a sound, relative to full scale, below which its SI-SNR does not count


@dataclasses.dataclass(frozen=True)
class Compression(Task):
    """Restoring sound from the spikes of a few neurons: the metric is the SI-SNR in dB, which selects the best epoch.

    Attributes:
      levels: number of levels of the A-law, and of the network's outputs.
      spectral_weight: factor of the spectral distance in the loss.
      windows: lengths of the windows of the spectrograms, steps.
      num_mels: number of filters of each spectrogram.
      sample_rate: samples per second.
      skip: number of steps, from the first, that count in no sound.
      temperature: the first and the last temperature of training.
      temperature_decay, temperature_from, temperature_every: how it falls; the latter two in updates.
    """

    levels: int
    spectral_weight: float
    windows: tuple[int, ...]
    num_mels: int
    sample_rate: float
    skip: int
    temperature: tuple[float, float]
    temperature_decay: float
    temperature_from: int
    temperature_every: int

    metric = "si_snr"
    metric_sign = 1
    selection = Selection("si_snr", 1)
    curves = ("loss", "si_snr")
    variable_length = False  # spectrograms are of the whole sound
    fields = (
        "levels",
        "spectral_weight",
        "windows",
        "num_mels",
        "temperature",
        "temperature_decay",
        "temperature_from",
        "temperature_every",
    )

    @classmethod
    def from_config(cls, config: ConfigDict | FrozenConfigDict) -> "Compression":
        refuse_classification_fields(config)
        if config.model.batch_norm:
            raise ConfigError("config.model.batch_norm = True: encoder and decoder run on their own; it must be False")
        loss, data, model = config.loss, config.data, config.model
        if sum(number < width for number, width in zip(model.num_outputs or (), model.hidden, strict=False)) != 1:
            raise ConfigError(
                f"config.model.num_outputs = {model.num_outputs!r}: it must be less than config.model.hidden for one "
                "layer, and no other: the last of the encoder"
            )
        if not configured_neuron(model).neuron.spiking:
            raise ConfigError(f"config.model.neuron = {model.neuron!r}: only spikes can be sent to the decoder")
        for name, low in (("sample_rate", 1000), ("delay", 0), ("ignore_first_steps", 0)):
            if not is_whole(data.get(name), low):
                raise ConfigError(
                    f"config.data.{name} = {data.get(name)!r}: it must be a whole number of at least {low}"
                )
        requirements = {
            "levels": (is_whole(loss.levels, 2), "a whole number of at least 2"),
            "spectral_weight": (is_number(loss.spectral_weight, 0), "a number of at least 0"),
            "windows": (
                isinstance(loss.windows, tuple | list) and loss.windows and all(is_whole(n, 4) for n in loss.windows),
                "a tuple of whole numbers of at least 4, such as (64, 256, 1024)",
            ),
            "num_mels": (is_whole(loss.num_mels, 1), "a whole number of at least 1"),
            "temperature": (
                isinstance(loss.temperature, tuple | list)
                and len(loss.temperature) == 2
                and all(is_number(t) and t > 0 for t in loss.temperature)
                and loss.temperature[0] >= loss.temperature[1],
                "a pair (first, last) of numbers above 0, the last no greater than the first",
            ),
            "temperature_decay": (
                is_number(loss.temperature_decay) and 0 < loss.temperature_decay <= 1,
                "a number in (0, 1]",
            ),
            "temperature_from": (is_whole(loss.temperature_from, 0), "a whole number of at least 0"),
            "temperature_every": (is_whole(loss.temperature_every, 1), "a whole number of at least 1"),
        }
        for name, (satisfied, requirement) in requirements.items():
            if not satisfied:
                raise ConfigError(f"config.loss.{name} = {loss[name]!r}: it must be {requirement}")
        for window in loss.windows:
            try:
                mel_filters(loss.num_mels, max(loss.windows), data.sample_rate, data.sample_rate / window)
            except ValueError as error:
                raise ConfigError(f"config.loss.num_mels = {loss.num_mels}: {error}") from error
        return cls(
            levels=loss.levels,
            spectral_weight=float(loss.spectral_weight),
            windows=tuple(loss.windows),
            num_mels=loss.num_mels,
            sample_rate=float(data.sample_rate),
            skip=data.delay + data.ignore_first_steps,
            temperature=(float(loss.temperature[0]), float(loss.temperature[1])),
            temperature_decay=float(loss.temperature_decay),
            temperature_from=loss.temperature_from,
            temperature_every=loss.temperature_every,
        )

    def num_outputs(self, channels: int) -> int:
        return self.levels

    def prepare(self, batch: Any) -> Any:
        """Return sounds of 16 bits in [-1, 1]."""
        inputs, targets = (jnp.asarray(array, float) / FULL_SCALE for array in (batch.inputs, batch.targets))
        return batch._replace(inputs=inputs, targets=targets)

    def sums(self, outputs: Outputs, block_index: Array, targets: Array) -> Sums:
        return self._sums(outputs, block_index, targets, 1.0)

    def training_sums(
        self,
        outputs: Outputs,
        block_index: Array,
        targets: Array,
        label_smoothing: Scalar | None,
        update: Int[Array, ""],
    ) -> Sums:
        return self._sums(outputs, block_index, targets, self.temperature_at(update))

    def temperature_at(self, update: Int[Array, ""] | int) -> Float[Array, ""]:
        """Return the temperature of training at an update, counted from 0."""
        first, last = self.temperature
        num_decays = jnp.maximum(update - self.temperature_from, 0) / self.temperature_every
        return jnp.maximum(last, first * self.temperature_decay**num_decays)

    def loss_terms(self, block_index: Array, targets: Array) -> Int[Array, " sample"]:
        return jnp.any(block_index != 0, axis=1).astype(int)

    def target_problem(self, inputs: np.ndarray, targets: np.ndarray, block_index: np.ndarray) -> str | None:
        if targets.shape != (*inputs.shape[:2], 1) or inputs.shape[2] != 1:
            return f"inputs have shape {inputs.shape} and targets {targets.shape}; both must be [sample, time, 1]"
        if inputs.dtype != np.int16 or targets.dtype != np.int16:
            return f"inputs are {inputs.dtype} and targets {targets.dtype}; both must be int16"
        if block_index[:, : self.skip].any():
            return f"block_index must be 0 in the first {self.skip} steps, config.data.delay + ignore_first_steps"
        num_steps = inputs.shape[1] - self.skip
        if num_steps <= max(self.windows) // 2:
            return (
                f"{num_steps} steps of a sample count, too few for a window of {max(self.windows)} samples; raise "
                "config.data.chunk, or lower config.loss.windows"
            )
        return None

    def _sums(self, outputs: Outputs, block_index: Array, targets: Array, temperature: Scalar) -> Sums:
        outputs, target = outputs[:, self.skip :], targets[:, self.skip :, 0]
        counted = block_index[:, self.skip :] != 0
        num_steps = jnp.sum(counted, axis=1)
        entropies = optax.softmax_cross_entropy_with_integer_labels(outputs, level_of(target, self.levels))
        losses = jnp.sum(jnp.where(counted, entropies, 0), axis=1) / jnp.maximum(num_steps, 1)
        if self.spectral_weight:
            sound, masked_target = (jnp.where(counted, x, 0) for x in (expected_sound(outputs, temperature), target))
            distance = spectral_distance(sound, masked_target, self.windows, self.num_mels, self.sample_rate)
            losses += self.spectral_weight * jnp.where(num_steps > 0, distance, 0)
        energy = jnp.sum(jnp.where(counted, target**2, 0), axis=1)
        scored = (energy > MIN_RMS**2 * num_steps) & (num_steps > 0)
        restored = jax.lax.stop_gradient(expected_sound(outputs))
        return Sums(
            loss=jnp.sum(losses),
            loss_terms=jnp.sum(num_steps > 0),
            score=jnp.sum(jnp.where(scored, si_snr(restored, target, counted), 0)),
            score_terms=jnp.sum(scored),
        )


def last_encoder_layer(network: Network) -> int:
    """Return the index of the layer of which only some neurons have outputs."""
    return next(index for index, layer in enumerate(network.layers) if layer.num_outputs is not None)
