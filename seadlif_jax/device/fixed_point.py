"""Fixed point: weights of 8 bits, states of 32, computed in JAX as the generated C code computes it, bit for bit.

A potential, current or threshold `v` is the integer `v 2^16`. The weights of a neuron have a scale of its own, one for
the input and one for the recurrent weights. With whole-number inputs `x` and spikes `z`,

    I  = (gain_in (W x) + gain_rec (W_rec z)) / 2^shift + bias          W, W_rec in -127..127, sums in 32 bits
    u^ = (alpha u + (2^15 - alpha) (I - w)) / 2^15                      products in 64 bits
    w  = beta w / 2^15 + (a u + b 2^16 z) / 2^coupling_shift            couplings in 16 bits

Divisions round to zero, as in C, and results beyond 32 bits are cut to the nearest integer.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from seadlif_jax.device.layers import DeviceError, DeviceLayer
from seadlif_jax.nn.quantization import LEVELS

POTENTIAL_BITS = 16  # fractional bits of potentials
DECAY_BITS = 15  # fractional bits of decays
INT32_MAX = 2**31 - 1
WEIGHTS, COUPLINGS = "weights", "couplings a and b"  # for errors


class FixedPointLayer(NamedTuple):
    """A layer in integers; the meaning of the arrays is that of `DeviceLayer`.

    Attributes:
      kernel, recurrent_kernel: int8.
      gain, recurrent_gain: from sums of weights to currents, with `shift` fractional bits; int32.
      bias, threshold: int32.
      alpha, beta: int16.
      a, b: with `coupling_shift` fractional bits; int16.
    """

    neuron: str
    kernel: Int[np.ndarray, "channel neuron"]
    gain: Int[np.ndarray, " neuron"]
    bias: Int[np.ndarray, " neuron"]
    shift: int
    alpha: Int[np.ndarray, " neuron"]
    recurrent_kernel: Int[np.ndarray, "neuron neuron"] | None = None
    recurrent_gain: Int[np.ndarray, " neuron"] | None = None
    threshold: Int[np.ndarray, " neuron"] | None = None
    beta: Int[np.ndarray, " neuron"] | None = None
    a: Int[np.ndarray, " neuron"] | None = None
    b: Int[np.ndarray, " neuron"] | None = None
    coupling_shift: int = 0

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.bias)

    @property
    def channels(self) -> int:
        """Number of inputs."""
        return len(self.kernel)


State = dict[str, jax.Array]  # of a layer: `u`; `w`, and of EF the next one; and spikes `z`


@dataclasses.dataclass(frozen=True)
class FixedPointNetwork:
    """A network in integers, the readout last.

    Example:
      >>> layer = DeviceLayer("readout", np.eye(2), np.zeros(2), None, alpha=np.array([0.5, 0.5]))
      >>> outputs, _ = quantize((layer,)).outputs_and_spikes(np.ones((1, 3, 2), int))
      >>> outputs[0, :, 0].round(3).tolist()
      [0.5, 0.75, 0.875]
    """

    layers: tuple[FixedPointLayer, ...]

    def outputs_and_spikes(self, inputs: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Return the same as `run`, with the readout in the units of the network in floating point."""
        outputs, spikes = self.run(inputs)
        return (outputs / 2**POTENTIAL_BITS).astype(np.float32), spikes

    def run(self, inputs: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Return the readout of every step as integers, and the spikes of the hidden layers, `[sample, time, neuron]`.

        Args:
          inputs: whole numbers `[sample, time, channel]`.

        Raises:
          DeviceError: inputs have another shape, or are no whole numbers of 16 bits; or a step has so many events that
            a sum overflows.
        """
        array, channels = np.asarray(inputs), self.layers[0].channels
        if array.ndim != 3 or array.shape[2] != channels:
            raise DeviceError(f"inputs have shape {array.shape}; they must be [sample, time, {channels} channels]")
        if array.size and (not np.array_equal(array, np.rint(array)) or np.abs(array).max() > 2**15 - 1):
            raise DeviceError("in fixed point, inputs must be whole numbers, such as counts of events, below 32768")
        if array.size and np.abs(array.astype(np.int64)).sum(-1).max() * LEVELS > INT32_MAX:
            raise DeviceError("in fixed point, all inputs of a step together must be below 16,909,320")
        with jax.enable_x64(True):
            outputs, spikes = self._run(jnp.asarray(array, jnp.int64))
            return np.asarray(outputs, np.int32), tuple(np.asarray(z, np.uint8) for z in spikes)

    @functools.cached_property
    def _run(self) -> Callable[[jax.Array], tuple[jax.Array, list[jax.Array]]]:
        def step(states: list[State], x: jax.Array) -> tuple[list[State], tuple[jax.Array, list[jax.Array]]]:
            new_states, spikes = [], []
            for layer, state in zip(self.layers, states, strict=True):
                state = _step(layer, state, x)
                new_states.append(state)
                x = state["z"]
                spikes.append(x)
            return new_states, (new_states[-1]["u"], spikes[:-1])

        def run(inputs: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
            zeros = [jnp.zeros((len(inputs), layer.size), jnp.int64) for layer in self.layers]
            states = [dict.fromkeys(("u", "w", "next_w", "z"), zero) for zero in zeros]
            _, results = jax.lax.scan(step, states, inputs.swapaxes(0, 1))
            return jax.tree.map(lambda array: array.swapaxes(0, 1), results)

        return jax.jit(run)


def _step(layer: FixedPointLayer, state: State, x: jax.Array) -> State:
    """Return the state of a layer after a step."""
    u, w, next_w, z = state["u"], state["w"], state["next_w"], state["z"]
    total = _matmul(x, layer.kernel) * _wide(layer.gain)
    if layer.recurrent_kernel is not None:
        total += _matmul(z, layer.recurrent_kernel) * _wide(layer.recurrent_gain)
    current = _saturate(_divide(total, layer.shift) + _wide(layer.bias))
    alpha = _wide(layer.alpha)
    u = _saturate(_divide(alpha * u + (2**DECAY_BITS - alpha) * (current - w), DECAY_BITS))
    if layer.threshold is None:
        return {**state, "u": u}
    z = (u > _wide(layer.threshold)).astype(jnp.int64)
    u = u * (1 - z)
    if layer.beta is None:
        return {**state, "u": u, "z": z}
    couplings = _divide(_wide(layer.a) * u + _wide(layer.b) * 2**POTENTIAL_BITS * z, layer.coupling_shift)

    def adapted(w: jax.Array) -> jax.Array:
        return _saturate(_divide(_wide(layer.beta) * w, DECAY_BITS) + couplings)

    if layer.neuron == "se_adlif":
        return {**state, "u": u, "w": adapted(w), "z": z}
    return {"u": u, "w": next_w, "next_w": adapted(next_w), "z": z}  # EF: one step later


def _wide(array: Any) -> jax.Array:
    return jnp.asarray(array, jnp.int64)


def _matmul(x: jax.Array, weights: Any) -> jax.Array:
    return jnp.matmul(x, _wide(weights))


def _divide(value: jax.Array, shift: int) -> jax.Array:
    """Return `value / 2^shift`, rounded to zero."""
    return jax.lax.div(value, jnp.asarray(2**shift, jnp.int64))


def _saturate(value: jax.Array) -> jax.Array:
    return jnp.clip(value, -INT32_MAX - 1, INT32_MAX)


def quantize(layers: Sequence[DeviceLayer]) -> FixedPointNetwork:
    """Return a network in fixed point; raises a `DeviceError` for values beyond its range."""
    return FixedPointNetwork(tuple(map(_quantize_layer, layers)))


def _quantize_layer(layer: DeviceLayer) -> FixedPointLayer:
    kernel, scale = _quantize_weights(layer.kernel)
    recurrent_kernel = recurrent_scale = None
    scales = scale
    if layer.recurrent_kernel is not None:
        recurrent_kernel, recurrent_scale = _quantize_weights(layer.recurrent_kernel)
        scales = np.concatenate([scale, recurrent_scale])
    shift = _shift(float(scales.max()) * 2**POTENTIAL_BITS, 30, WEIGHTS)
    arrays: dict[str, Any] = {}
    if layer.threshold is not None:
        arrays["threshold"] = _integers(layer.threshold, POTENTIAL_BITS, np.int32, "thresholds")
    if layer.beta is not None:
        assert layer.a is not None
        assert layer.b is not None
        coupling_shift = _shift(float(np.abs([layer.a, layer.b]).max()), 15, COUPLINGS)
        arrays |= {
            "beta": _integers(layer.beta, DECAY_BITS, np.int16, "decays"),
            "a": _integers(layer.a, coupling_shift, np.int16, COUPLINGS),
            "b": _integers(layer.b, coupling_shift, np.int16, COUPLINGS),
            "coupling_shift": coupling_shift,
        }
    if recurrent_scale is not None:
        arrays["recurrent_gain"] = _integers(recurrent_scale, POTENTIAL_BITS + shift, np.int32, WEIGHTS)
    return FixedPointLayer(
        neuron=layer.neuron,
        kernel=kernel,
        gain=_integers(scale, POTENTIAL_BITS + shift, np.int32, WEIGHTS),
        bias=_integers(layer.bias, POTENTIAL_BITS, np.int32, "biases"),
        shift=shift,
        alpha=_integers(layer.alpha, DECAY_BITS, np.int16, "decays"),
        recurrent_kernel=recurrent_kernel,
        **arrays,
    )


def _quantize_weights(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights in -127..127, and the scale of each neuron's."""
    scale = np.abs(kernel).max(axis=0).astype(np.float64) / LEVELS
    return np.rint(kernel / np.where(scale > 0, scale, 1)).astype(np.int8), scale


def _shift(largest: float, bits: int, name: str) -> int:
    """Return the number of fractional bits with which the largest of some values still fits into as many bits."""
    if not largest:
        return 0
    shift = bits - 1 - math.floor(math.log2(largest))
    if shift < 0:
        raise _beyond_range(name, largest)
    return min(shift, 30)


def _integers(values: np.ndarray, bits: int, dtype: Any, name: str) -> np.ndarray:
    """Return values with so many fractional bits; of those just beyond the range of the type, the nearest in it."""
    limits = np.iinfo(dtype)
    exact = np.rint(values.astype(np.float64) * 2.0**bits)
    nearest = np.clip(exact, limits.min, limits.max)
    if np.any(np.abs(exact - nearest) > 1):  # a decay of 1, and what is rounded up, are 1 beyond it
        raise _beyond_range(name, float(np.abs(values).max()))
    return nearest.astype(dtype)


def _beyond_range(name: str, largest: float) -> DeviceError:
    return DeviceError(f"the largest of the {name}, {largest:.4g}, is beyond the range of fixed point")
