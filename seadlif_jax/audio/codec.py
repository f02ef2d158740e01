"""A trained network as encoder and decoder: sound to spikes, and spikes to sound, whole or in parts.

    codec = Codec(load_run("runs/audio-quick-seed0"))
    spikes = codec.encode(sound)                        # bool [time, neuron]
    restored = codec.decode(spikes)                     # [time], as long as the sound

A stream is worked on in parts of any length, each from the state that the part before has left:

    state = codec.encoder_state()
    state, spikes = codec.encode_next(state, part)      # as soon as the part is there
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt

from seadlif_jax.audio.a_law import expected_sound
from seadlif_jax.audio.compression import Compression, last_encoder_layer
from seadlif_jax.audio.quality import AudioError
from seadlif_jax.inference import TrainedModel
from seadlif_jax.nn.layer import Layer
from seadlif_jax.nn.network import step_layers
from seadlif_jax.utils.arrays import as_native, value_problem
from seadlif_jax.utils.processes import refuse_fork

State = tuple[Any, ...]
PART_STEPS = 4096  # steps that `encode_all` and `decode_all` work on at a time


class Codec:
    """Encoder and decoder of a network that was trained to compress sound.

    Sounds are mono, in [-1, 1], with `sample_rate` samples per second; in training, each recording had a peak of 1. The
    decoder's sound is `delay` steps late.

    Args:
      model: the network.

    Raises:
      AudioError: the network was trained for another task.

    Example:
      >>> codec = Codec(load_run("runs/audio-quick-seed0"))  # doctest: +SKIP
      >>> restored = codec.decode(codec.encode(sound))  # doctest: +SKIP
    """

    def __init__(self, model: TrainedModel):
        if not isinstance(model.task, Compression):
            raise AudioError(f"{model!r} was trained for config.task = {model.config.task!r}, not to compress sound")
        layers: Any = model.network.apply(model.variables, 1, method="as_layers")
        last = last_encoder_layer(model.network)
        self.encoder: tuple[Layer, ...] = layers[: last + 1]
        self.decoder: tuple[Layer, ...] = layers[last + 1 :]
        self.sample_rate: int = model.config.data.sample_rate
        self.delay: int = model.config.data.delay
        self.num_neurons: int = layers[last].num_outputs

    def encode(self, sound: Any) -> Bool[np.ndarray, "time neuron"]:
        """Return the spikes for a whole sound, `delay` steps longer than it.

        Raises:
          AudioError: it is not one sound, or has values beyond [-1, 1].
        """
        return self.encode_all([sound])[0]

    def decode(self, spikes: Any) -> Float[np.ndarray, " time"]:
        """Return the sound of the spikes of a whole one, `delay` steps shorter than they are.

        Raises:
          AudioError: they are not the spikes of `num_neurons`, or are not of more than `delay` steps.
        """
        return self.decode_all([spikes])[0]

    def encode_all(self, sounds: Sequence[Any]) -> list[Bool[np.ndarray, "time neuron"]]:
        """Return what `encode` returns for each of some sounds, which are worked on side by side."""
        checked = [_checked_sound(sound) for sound in sounds]
        lengths = [len(sound) + self.delay for sound in checked]
        spikes = _in_parts(_encode, self.encoder, _side_by_side(checked, max(lengths, default=1)))
        return [spikes[:length, index] for index, length in enumerate(lengths)]

    def decode_all(self, spikes: Sequence[Any]) -> list[Float[np.ndarray, " time"]]:
        """Return what `decode` returns for the spikes of each of some sounds, which are worked on side by side."""
        checked = [self._checked_spikes(of_sound) for of_sound in spikes]
        lengths = [len(of_sound) for of_sound in checked]
        if min(lengths, default=self.delay + 1) <= self.delay:
            raise AudioError(f"spikes of {min(lengths)} steps: a whole sound has more than {self.delay}, the delay")
        sounds = _in_parts(_decode, self.decoder, _side_by_side(checked, max(lengths, default=1)))
        return [sounds[self.delay : length, index] for index, length in enumerate(lengths)]

    def encoder_state(self) -> State:
        """Return the state of the encoder before the first step."""
        return _initial_state(self.encoder, 1)

    def decoder_state(self) -> State:
        """Return the state of the decoder before the first step."""
        return _initial_state(self.decoder, 1)

    def encode_next(self, state: State, part: Any) -> tuple[State, Bool[np.ndarray, "time neuron"]]:
        """Return the state after the next part of a sound, and the spikes for it.

        Every length of a part is compiled once. The sound is over after `delay` more steps of 0.

        Raises:
          AudioError: as `encode`.
        """
        refuse_fork()
        state, spikes = _encode(self.encoder, state, jnp.asarray(_checked_sound(part))[:, None])
        return state, np.asarray(spikes)[:, 0]

    def decode_next(self, state: State, spikes: Any) -> tuple[State, Float[np.ndarray, " time"]]:
        """Return the state after the next spikes, and as many steps of the sound, which is `delay` steps late.

        Raises:
          AudioError: they are not the spikes of `num_neurons`.
        """
        refuse_fork()
        state, sound = _decode(self.decoder, state, jnp.asarray(self._checked_spikes(spikes))[:, None])
        return state, np.asarray(sound)[:, 0]

    def _checked_spikes(self, spikes: Any) -> np.ndarray:
        array = as_native(spikes, "spikes")
        if array.ndim != 2 or array.shape[1] != self.num_neurons or not len(array):
            raise AudioError(f"spikes have shape {array.shape}; it must be [time, {self.num_neurons}]")
        if not np.isin(array, (0, 1)).all():
            raise AudioError("spikes have values other than 0 and 1")
        return array.astype(np.uint8)


@jax.jit
def _encode(
    layers: Sequence[Layer], state: State, sounds: Float[Array, "time sound"]
) -> tuple[State, Bool[Array, "time sound neuron"]]:
    state, spikes = jax.lax.scan(functools.partial(step_layers, layers), state, sounds[..., None])
    return state, spikes > 0


@jax.jit
def _decode(
    layers: Sequence[Layer], state: State, spikes: UInt[Array, "time sound neuron"]
) -> tuple[State, Float[Array, "time sound"]]:
    state, outputs = jax.lax.scan(functools.partial(step_layers, layers), state, spikes)
    return state, expected_sound(outputs)


def _initial_state(layers: Sequence[Layer], num_sounds: int) -> State:
    return tuple(layer.initial_state(num_sounds) for layer in layers)


def _in_parts(advance: Callable[..., Any], layers: Sequence[Layer], inputs: np.ndarray) -> np.ndarray:
    """Run layers over `inputs`, `[time, sound, ...]`, in parts of one length: in bounded memory, and compiled once."""
    refuse_fork()
    num_steps, num_sounds = inputs.shape[:2]
    if not num_sounds:
        return inputs
    part = min(PART_STEPS, 1 << (num_steps - 1).bit_length())
    inputs = np.pad(inputs, [(0, -num_steps % part), *[(0, 0)] * (inputs.ndim - 1)])
    state, outputs = _initial_state(layers, num_sounds), []
    for start in range(0, len(inputs), part):
        state, of_part = advance(layers, state, jnp.asarray(inputs[start : start + part]))
        outputs.append(np.asarray(of_part))
    return np.concatenate(outputs)


def _side_by_side(arrays: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Return arrays `[time, ...]` as one, `[time, sound, ...]`, with zeros behind the shorter ones."""
    if not arrays:
        return np.zeros((length, 0))
    padded = np.zeros((length, len(arrays), *arrays[0].shape[1:]), arrays[0].dtype)
    for index, array in enumerate(arrays):
        padded[: len(array), index] = array
    return padded


def _checked_sound(sound: Any) -> np.ndarray:
    """Return a sound as floats."""
    array = as_native(sound, "sound")
    if array.ndim != 1 or not len(array):
        raise AudioError(f"the sound has shape {array.shape}; it must be [time], with at least one step")
    if problem := value_problem(array):
        raise AudioError(f"the values of the sound are {problem}")
    peak = np.abs(array.astype(float)).max()
    if peak > 1:
        raise AudioError(f"the sound reaches {peak:g}; scale it to [-1, 1]")
    return array.astype(jnp.result_type(float))
