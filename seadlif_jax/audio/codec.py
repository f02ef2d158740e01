"""A trained network as encoder and decoder: sound to spikes, and spikes to sound, whole or in parts.

    codec = Codec(load_run("runs/audio"))
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
from jaxtyping import Array, Bool, Float

from seadlif_jax.audio.a_law import expected_sound
from seadlif_jax.audio.compression import Compression
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
        """Return what `encode` returns for each of some sounds, which are worked on side by side."""
        checked = [_checked(sound, (-1,), "sound") for sound in sounds]
        lengths = [len(sound) + self.delay for sound in checked]
        spikes = _in_parts(_encode, self.encoder, _side_by_side(checked, max(lengths)))
        return [spikes[:length, index] for index, length in enumerate(lengths)]

    def decode_all(self, spikes: Sequence[Any]) -> list[Float[np.ndarray, " time"]]:
        """Return what `decode` returns for the spikes of each of some sounds, which are worked on side by side."""
        checked = [_checked(of_sound, (-1, self.num_neurons), "spikes") for of_sound in spikes]
        lengths = [len(of_sound) for of_sound in checked]
        sounds = _in_parts(_decode, self.decoder, _side_by_side(checked, max(lengths)))
        return [sounds[self.delay : length, index] for index, length in enumerate(lengths)]

    def encoder_state(self) -> State:
        """Return the state of the encoder before the first step."""
        return _initial_state(self.encoder, 1)

    def decoder_state(self) -> State:
        """Return the state of the decoder before the first step."""
        return _initial_state(self.decoder, 1)

    def encode_next(self, state: State, part: Any) -> tuple[State, Bool[np.ndarray, "time neuron"]]:
        """Return the state after the next part of a sound, and the spikes for it. Each length is compiled once."""
        refuse_fork()
        state, spikes = _encode(self.encoder, state, jnp.asarray(_checked(part, (-1,), "part"))[:, None])
        return state, np.asarray(spikes)[:, 0]

    def decode_next(self, state: State, spikes: Any) -> tuple[State, Float[np.ndarray, " time"]]:
        """Return the state after the next spikes, and the sound of `delay` steps before them."""
        refuse_fork()
        part = jnp.asarray(_checked(spikes, (-1, self.num_neurons), "spikes"))[:, None]
        state, sound = _decode(self.decoder, state, part)
        return state, np.asarray(sound)[:, 0]


@jax.jit
def _encode(
    layers: Sequence[Layer], state: State, sounds: Float[Array, "time sound"]
) -> tuple[State, Bool[Array, "time sound neuron"]]:
    state, spikes = jax.lax.scan(functools.partial(step_layers, layers), state, sounds[..., None])
    return state, spikes > 0


@jax.jit
def _decode(
    layers: Sequence[Layer], state: State, spikes: Float[Array, "time sound neuron"]
) -> tuple[State, Float[Array, "time sound"]]:
    state, outputs = jax.lax.scan(functools.partial(step_layers, layers), state, spikes)
    return state, expected_sound(outputs)


def _initial_state(layers: Sequence[Layer], num_sounds: int) -> State:
    return tuple(layer.initial_state(num_sounds) for layer in layers)


def _in_parts(advance: Callable[..., Any], layers: Sequence[Layer], inputs: np.ndarray) -> np.ndarray:
    """Run layers over `inputs`, `[time, sound, ...]`, in parts of one length: in bounded memory, and compiled once."""
    refuse_fork()
    num_steps, num_sounds = inputs.shape[:2]
    part = min(PART_STEPS, 1 << (num_steps - 1).bit_length())
    inputs = np.pad(inputs, [(0, -num_steps % part), *[(0, 0)] * (inputs.ndim - 1)])
    state, outputs = _initial_state(layers, num_sounds), []
    for start in range(0, len(inputs), part):
        state, of_part = advance(layers, state, jnp.asarray(inputs[start : start + part]))
        outputs.append(np.asarray(of_part))
    return np.concatenate(outputs)


def _side_by_side(arrays: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Return arrays `[time, ...]` as one, `[time, sound, ...]`, with zeros behind the shorter ones."""
    padded = [np.pad(array, [(0, length - len(array)), *[(0, 0)] * (array.ndim - 1)]) for array in arrays]
    return np.stack(padded, axis=1)


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
