"""A trained network as encoder and decoder: sound to spikes, and spikes to sound, whole or in parts.

    codec = Codec(load_run("runs/audio"))
    spikes = codec.encode(sound)                        # bool [time, neuron]
    restored = codec.decode(spikes)                     # [time], as long as the sound

A stream is worked on in parts of any length, each from the state that the part before has left:

    state = codec.encoder_state()
    state, spikes = codec.encode_next(state, part)      # as soon as the part is there
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from seadlif_jax.audio.a_law import expected_sound
from seadlif_jax.audio.compression import Compression
from seadlif_jax.audio.quality import AudioError
from seadlif_jax.inference import TrainedModel
from seadlif_jax.nn.layer import Layer
from seadlif_jax.nn.network import step_layers
from seadlif_jax.nn.scan import scan_layers
from seadlif_jax.utils.arrays import as_native, value_problem
from seadlif_jax.utils.processes import refuse_fork

State = tuple[Any, ...]


class Codec:
    """Encoder and decoder of a network that was trained to compress sound.

    Sounds are mono, in [-1, 1], with `sample_rate` samples per second. The decoder's sound is `delay` steps late.

    Args:
      model: the network.

    Raises:
      AudioError: the network was trained for another task.

    Example:
      >>> codec = Codec(load_run("runs/audio"))  # doctest: +SKIP
      >>> restored = codec.decode(codec.encode(sound))  # doctest: +SKIP
    """

    def __init__(self, model: TrainedModel):
        if not isinstance(model.task, Compression):
            raise AudioError(f"{model!r} was trained for config.task = {model.config.task!r}, not to compress sound")
        layers: Any = model.network.apply(model.variables, 1, method="as_layers")
        bottleneck = next(
            index for index, layer in enumerate(layers) if layer.num_outputs not in (None, layer.features)
        )
        self.encoder: tuple[Layer, ...] = layers[: bottleneck + 1]
        self.decoder: tuple[Layer, ...] = layers[bottleneck + 1 :]
        self.sample_rate: int = model.config.data.sample_rate
        self.delay: int = model.config.data.delay
        self.num_neurons: int = layers[bottleneck].num_outputs

    def encode(self, sound: Any) -> Bool[np.ndarray, "time neuron"]:
        """Return the spikes for a whole sound, `delay` steps longer than it.

        Raises:
          AudioError: it is not one sound of finite numbers.
        """
        return self.encode_all([sound])[0]

    def decode(self, spikes: Any) -> Float[np.ndarray, " time"]:
        """Return the sound of the spikes of a whole one, `delay` steps shorter than they are.

        Raises:
          AudioError: they are not the spikes of `num_neurons`.
        """
        return self.decode_all([spikes])[0]

    def encode_all(self, sounds: Sequence[Any]) -> list[Bool[np.ndarray, "time neuron"]]:
        """Return what `encode` returns for each of some sounds, computed at once."""
        refuse_fork()
        checked = [_checked(sound, (-1,), "sound") for sound in sounds]
        lengths = [len(sound) + self.delay for sound in checked]
        spikes = np.asarray(_encode(self.encoder, jnp.asarray(_pad(checked, max(lengths)))))
        return [of_sound[:length] for of_sound, length in zip(spikes, lengths, strict=True)]

    def decode_all(self, spikes: Sequence[Any]) -> list[Float[np.ndarray, " time"]]:
        """Return what `decode` returns for the spikes of each of some sounds, computed at once."""
        refuse_fork()
        checked = [_checked(of_sound, (-1, self.num_neurons), "spikes") for of_sound in spikes]
        sounds = np.asarray(_decode(self.decoder, jnp.asarray(_pad(checked, max(map(len, checked))))))
        return [sound[self.delay : len(one)] for sound, one in zip(sounds, checked, strict=True)]

    def encoder_state(self) -> State:
        """Return the state of the encoder before the first step."""
        return tuple(layer.initial_state(1) for layer in self.encoder)

    def decoder_state(self) -> State:
        """Return the state of the decoder before the first step."""
        return tuple(layer.initial_state(1) for layer in self.decoder)

    def encode_next(self, state: State, part: Any) -> tuple[State, Bool[np.ndarray, "time neuron"]]:
        """Return the state after the next part of a sound, and the spikes for it."""
        refuse_fork()
        state, spikes = _advance(self.encoder, state, jnp.asarray(_checked(part, (-1,), "part"))[:, None])
        return state, np.asarray(spikes) > 0

    def decode_next(self, state: State, spikes: Any) -> tuple[State, Float[np.ndarray, " time"]]:
        """Return the state after the next spikes, and the sound of `delay` steps before them."""
        refuse_fork()
        part = jnp.asarray(_checked(spikes, (-1, self.num_neurons), "spikes"))
        state, outputs = _advance(self.decoder, state, part)
        return state, np.asarray(expected_sound(outputs))


@jax.jit
def _encode(layers: Sequence[Layer], sounds: Float[Array, "sound time"]) -> Bool[Array, "sound time neuron"]:
    spikes, _ = scan_layers(layers, sounds.T[..., None])
    return jnp.swapaxes(spikes, 0, 1) > 0


@jax.jit
def _decode(layers: Sequence[Layer], spikes: Float[Array, "sound time neuron"]) -> Float[Array, "sound time"]:
    outputs, _ = scan_layers(layers, jnp.swapaxes(spikes, 0, 1))
    return expected_sound(outputs).T


@jax.jit
def _advance(layers: Sequence[Layer], state: State, inputs: Float[Array, "time channel"]) -> tuple[State, Array]:
    return jax.lax.scan(functools.partial(_step_one, layers), state, inputs)


def _step_one(layers: Sequence[Layer], state: State, x: Float[Array, " channel"]) -> tuple[State, Array]:
    state, outputs = step_layers(layers, state, x[None])
    return state, outputs[0]


def _pad(arrays: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Return arrays as one, with zeros behind the shorter ones."""
    return np.stack([np.pad(array, [(0, length - len(array)), *[(0, 0)] * (array.ndim - 1)]) for array in arrays])


def _checked(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return numbers as floats; raises an `AudioError` for another shape, where -1 stands for any length but 0."""
    array = as_native(values, name)
    fits = array.ndim == len(shape) and all(size in (there, -1) for size, there in zip(shape, array.shape, strict=True))
    if not fits or not array.size:
        expected = "[time]" if len(shape) == 1 else f"[time, {shape[1]}]"
        raise AudioError(f"the {name} has shape {array.shape}; it must be {expected}, with at least one step")
    if problem := value_problem(array):
        raise AudioError(f"the {name} is {problem}")
    return array.astype(jnp.result_type(float))
