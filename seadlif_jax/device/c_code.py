"""C code of a trained network: C99, without heap and libraries, in floating or fixed point.

The functions that advance a layer are the files in `source/`, of which those that a network needs are copied. Generated
around them are the arrays of the weights, the state, and the functions that call them layer by layer.
"""

import importlib.resources
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seadlif_jax.device.fixed_point import POTENTIAL_BITS, FixedPointLayer, FixedPointNetwork
from seadlif_jax.device.layers import DeviceError, DeviceLayer

MAX_SIZE = 2**16 - 1  # of a layer: neurons are numbered by 16 bits
C_TYPES = {"float32": "float", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t"}
LINE = 12  # numbers in a line of an array
SOURCE = importlib.resources.files("seadlif_jax.device") / "source"


class CodeSize(NamedTuple):
    """Bytes of read-only arrays, and of a stream's state."""

    weights: int
    state: int


def write_c(layers: Sequence[DeviceLayer] | FixedPointNetwork, folder: Path, description: str) -> CodeSize:
    """Write `network.h`, `network.c`, and the example `main.c`.

    Args:
      layers: of `device_layers`, for floating point; or of `quantize`, for fixed point.
      folder: where to.
      description: text for the first line of the files.

    Raises:
      DeviceError: a layer has more than 65,535 neurons or inputs.
    """
    code = _Code(layers.layers if isinstance(layers, FixedPointNetwork) else layers)
    (folder / "network.h").write_text(f"/* {description} */\n{code.header()}")
    (folder / "network.c").write_text(f"/* {description} */\n{code.source()}")
    (folder / "main.c").write_text((SOURCE / "main.c").read_text())
    return CodeSize(sum(array.nbytes for _, array in code.arrays()), code.state_bytes())


class _Code:
    """The texts of a network's files."""

    def __init__(self, layers: Sequence[Any]):
        self.layers = layers
        self.fixed = isinstance(layers[0], FixedPointLayer)
        self.number, self.folder = ("int32_t", "fixed") if self.fixed else ("float", "float")
        self.names = [*(f"layer_{index}" for index in range(len(layers) - 1)), "readout"]
        largest = max(max(layer.size, layer.channels) for layer in layers)
        if largest > MAX_SIZE:
            raise DeviceError(f"a layer has {largest} neurons or inputs; C code numbers at most {MAX_SIZE}")

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name and the values of each read-only array."""
        for name, layer in zip(self.names, self.layers, strict=True):
            for field in layer._fields:
                values = getattr(layer, field)
                if isinstance(values, np.ndarray):
                    yield f"{name}_{field}", values

    def state_fields(self) -> Iterator[tuple[str, str, int]]:
        """Yield type, name and length of each array of the state; those of 32 bits first, so that no gaps arise."""
        for name, layer in zip(self.names, self.layers, strict=True):
            for field in _STATES[layer.neuron]:
                yield self.number, f"{name}_{field}", layer.size
        sums = ("input_sum", "recurrent_sum") if self.fixed else ("current",)
        for name in sums:
            yield self.number, name, max(layer.size for layer in self.layers)
        for name, layer in zip(self.names[:-1], self.layers, strict=False):
            yield "uint16_t", f"{name}_spikes", layer.size
        for name in self.names[:-1]:
            yield "uint16_t", f"{name}_num_spikes", 1

    def state_bytes(self) -> int:
        size = sum((2 if c_type == "uint16_t" else 4) * length for c_type, _, length in self.state_fields())
        return -(-size // 4) * 4

    def header(self) -> str:
        fields = "\n".join(
            f"    {c_type} {name}{'' if name.endswith('num_spikes') else f'[{length}]'};"
            for c_type, name, length in self.state_fields()
        )
        x, y = ("int16_t", "int32_t") if self.fixed else ("float", "float")
        unit = f"\n   Outputs are in units of 2^-{POTENTIAL_BITS}." if self.fixed else ""
        return f"""\
#ifndef NETWORK_H
#define NETWORK_H

#include <stddef.h>
#include <stdint.h>

#define NETWORK_CHANNELS {self.layers[0].channels}
#define NETWORK_OUTPUTS {self.layers[-1].size}
/* For the example. */
#define NETWORK_FORMAT {'"%" PRId32' if self.fixed else '"%.9g"'}
#define NETWORK_TOLERANCE {"0.0" if self.fixed else "1e-4"}

typedef {x} network_input;
typedef {y} network_output;

/* State of a stream. */
typedef struct {{
{fields}
}} network_state;

/* Set a stream to its beginning. */
void network_reset(network_state *state);

/* Advance a stream by a step: from the input of each channel to the output of each class.{unit} */
void network_step(network_state *state, const network_input *x, network_output *y);

/* The same, for a list of n events: the channel of each. A channel is listed as often as it has events. */
void network_step_events(network_state *state, const uint16_t *channels, size_t n, network_output *y);

#endif
"""

    def source(self) -> str:
        arrays = "\n".join(_array(name, values) for name, values in self.arrays())
        functions = "\n".join((SOURCE / self.folder / f"{name}.c").read_text() for name in self._functions())
        first = self.layers[0]
        begin = self._begin(0)
        add = "add_row(s->{0}, {1} + c * {2}, x[c], {2});".format(self._sum(), "layer_0_kernel", first.size)
        zero = "0" if self.fixed else "0.0f"
        return f"""\
#include "network.h"

{arrays}
{functions}
/* Advance all layers, when the inputs of the first have been added up. */
static void advance(network_state *s, network_output *y)
{{
{"".join(self._advance(index) for index in range(len(self.layers)))}}}

void network_reset(network_state *s)
{{
    static const network_state zero;
    *s = zero;
}}

void network_step(network_state *s, const network_input *x, network_output *y)
{{
    size_t c;
    {begin}
    for (c = 0; c < NETWORK_CHANNELS; c++) {{
        if (x[c] != {zero}) {{
            {add}
        }}
    }}
    advance(s, y);
}}

void network_step_events(network_state *s, const uint16_t *channels, size_t n, network_output *y)
{{
    {begin}
    add_spikes(s->{self._sum()}, layer_0_kernel, channels, n, {first.size});
    advance(s, y);
}}
"""

    def _functions(self) -> list[str]:
        neurons = list(dict.fromkeys(layer.neuron for layer in self.layers))
        adaptation = ["adaptation"] if self.fixed and any("adlif" in neuron for neuron in neurons) else []
        return ["rows", *adaptation, *neurons]

    def _sum(self) -> str:
        return "input_sum" if self.fixed else "current"

    def _begin(self, index: int) -> str:
        size, bias = self.layers[index].size, "" if self.fixed else f"{self.names[index]}_bias, "
        return f"start(s->{self._sum()}, {bias}{size});"

    def _advance(self, index: int) -> str:
        """Return the lines that advance a layer."""
        name, layer, lines = self.names[index], self.layers[index], []
        size, recurrent = layer.size, layer.recurrent_kernel is not None
        if index:
            before = self.names[index - 1]
            spikes = f"s->{before}_spikes, s->{before}_num_spikes"
            lines += [self._begin(index), f"add_spikes(s->{self._sum()}, {name}_kernel, {spikes}, {size});"]
        spikes = f"s->{name}_spikes, s->{name}_num_spikes"
        if recurrent and self.fixed:
            lines.append(f"start(s->recurrent_sum, {size});")
        if recurrent:
            sums = "recurrent_sum" if self.fixed else "current"
            lines.append(f"add_spikes(s->{sums}, {name}_recurrent_kernel, {spikes}, {size});")
        if self.fixed:
            gains = f"s->recurrent_sum, {name}_recurrent_gain" if recurrent else "NULL, NULL"
            lines.append(f"scale(s->input_sum, {name}_gain, {gains}, {name}_bias, {layer.shift}, {size});")
        states = ", ".join(f"s->{name}_{field}" for field in _STATES[layer.neuron])
        constants = ", ".join(f"{name}_{field}" for field in _CONSTANTS[layer.neuron])
        if "adlif" in layer.neuron and self.fixed:
            constants += f", {layer.coupling_shift}"
        call = f"step_{layer.neuron}({states}, s->{self._sum()}, {constants}"
        if layer.neuron == "readout":
            lines.append(f"{call}, y, {size});")
        else:
            lines.append(f"s->{name}_num_spikes = {call}, {name}_threshold, s->{name}_spikes, {size});")
        comment = f"    /* {name}: {size} {layer.neuron}{', recurrent' if recurrent else ''} */\n"
        return comment + "".join(f"    {line}\n" for line in lines)


_STATES = {"lif": ("u",), "ef_adlif": ("u", "w", "next_w"), "se_adlif": ("u", "w"), "readout": ("u",)}
_ADAPTIVE = ("alpha", "beta", "a", "b")
_CONSTANTS = {"lif": ("alpha",), "ef_adlif": _ADAPTIVE, "se_adlif": _ADAPTIVE, "readout": ("alpha",)}


def _array(name: str, values: np.ndarray) -> str:
    """Return the definition of a read-only array."""
    texts = [_literal(value) for value in values.ravel()]
    rows = "\n".join(f"    {', '.join(texts[start : start + LINE])}," for start in range(0, len(texts), LINE))
    return f"static const {C_TYPES[values.dtype.name]} {name}[{values.size}] = {{\n{rows}\n}};\n"


def _literal(value: Any) -> str:
    """Return a number of an array in C, with all its digits."""
    if isinstance(value, np.integer):
        return str(value)
    text = f"{value:.9g}"
    return f"{text}f" if {".", "e"} & set(text) else f"{text}.0f"
