"""The time of a step of a stream: many streams together in JAX, and one in the C code of `seadlif export`.

    python -m benchmarks.streams [--rounds=5]

Networks are not trained, but their weights scaled until a tenth of the neurons of the first layer spike; a tenth of the
inputs are events. Prints tables, and writes all samples to streams.json.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import machine
from benchmarks.progress import progress
from benchmarks.report import align, save
from benchmarks.rounds import summary
from benchmarks.shapes import SHAPES
from seadlif_jax import StreamBatch, TrainedModel
from seadlif_jax.build import build_network
from seadlif_jax.device import device_layers, quantize, write_c
from seadlif_jax.runs.files import versions

ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of samples of each time.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/streams.json", "File for the result.")
NAMES = ("ecg", "shd_small")
STREAMS = (1, 10, 100, 1000)
TIMER = """
#include <stdio.h>
#include <time.h>
#include "network.h"
static network_state state;
int main(void)
{
    static const uint16_t events[][%(most)d] = {%(events)s};
    static const size_t counts[] = {%(counts)s};
    network_output y[NETWORK_OUTPUTS];
    double sum = 0;
    clock_t start = clock();
    int repeat, t;
    for (repeat = 0; repeat < %(repeats)d; repeat++) {
        for (t = 0; t < 1000; t++) {
            network_step_events(&state, events[t], counts[t], y);
            sum += y[0];
        }
    }
    printf("%%.9g %%g\\n", (double)(clock() - start) / CLOCKS_PER_SEC / (%(repeats)d * 1000.0), sum);
    return 0;
}
"""


def untrained(name: str) -> TrainedModel:
    """Return a network of the size of a benchmark's shape, a tenth of whose first neurons spike in a step."""
    shape = SHAPES[name]
    network = build_network(shape.config, shape.channels)
    variables: Any = network.init(jax.random.key(0), jnp.zeros((1, 1, shape.channels)))
    model = TrainedModel(shape.config, network, variables)
    inputs = np.random.default_rng(0).binomial(1, 0.1, (1, 300, shape.channels))
    while model.trace(inputs)[1][0].z.mean() < 0.1:
        variables["params"]["layers_0"]["kernel"] *= 1.2
    return model


def stream_timer(model: TrainedModel, count: int) -> Callable[[], float]:
    """Return a function that measures the seconds of a step of this many streams together."""
    streams, names = StreamBatch(model, count), list(range(count))
    inputs = np.random.default_rng(0).binomial(1, 0.1, (count, model.num_channels)).astype(np.uint8)

    def sample() -> float:
        start = time.perf_counter()
        for _ in range(100):
            streams.step(names, inputs)
        return (time.perf_counter() - start) / 100

    sample()
    return sample


def c_timer(layers: Any, channels: int, folder: Path) -> Callable[[], float]:
    """Return a function that measures the seconds of a step of the C code."""
    write_c(layers, folder)
    steps = np.random.default_rng(0).binomial(1, 0.1, (1000, channels))
    lists = [np.flatnonzero(step).tolist() for step in steps]
    values = {
        "most": max(1, *map(len, lists)),
        "events": ", ".join("{" + ", ".join(map(str, events or [0])) + "}" for events in lists),
        "counts": ", ".join(str(len(events)) for events in lists),
        "repeats": 100,
    }
    (folder / "timer.c").write_text(TIMER % values)
    command = ["cc", "-std=c99", "-O2", "network.c", "timer.c", "-o", "timer"]
    subprocess.run(command, cwd=folder, check=True)

    def sample() -> float:
        result = subprocess.run(["./timer"], cwd=folder, capture_output=True, text=True, check=True)
        return float(result.stdout.split()[0])

    return sample


def main(_: Sequence[str]) -> None:
    load, shapes = machine.load(), {}
    for name in NAMES:
        model = untrained(name)
        layers = device_layers(model.network, model.variables)
        timers = {f"{count} streams": stream_timer(model, count) for count in STREAMS}
        state, x = model.initial_state(), np.zeros((1, model.num_channels), np.uint8)

        def python_step(model=model, state=state, x=x):
            start = time.perf_counter()
            for _ in range(100):
                jax.block_until_ready(model.step(state, x))
            return (time.perf_counter() - start) / 100

        python_step()
        timers["TrainedModel.step"] = python_step
        with tempfile.TemporaryDirectory() as scratch:
            if shutil.which("cc"):
                for dtype, network in (("float32", layers), ("int8", quantize(layers))):
                    folder = Path(scratch) / dtype
                    folder.mkdir()
                    timers[f"C, {dtype}"] = c_timer(network, model.num_channels, folder)
            samples: dict[str, list[float]] = {each: [] for each in timers}
            for number in range(ROUNDS.value):
                progress(f"{name}: round {number + 1} of {ROUNDS.value}")
                for each, sample in timers.items():
                    samples[each].append(sample())
        shapes[name] = {each: summary(values, samples["TrainedModel.step"]) for each, values in samples.items()}
    save({"machine": machine.describe(), "versions": versions(), "load": load, "shapes": shapes}, OUTPUT.value)
    progress("")
    rows = [("network", "", "microseconds a step")]
    for name, times in shapes.items():
        rows += [(name, each, f"{1e6 * values['median']:.2f}") for each, values in times.items()]
    print(align(rows))
    print(f"all samples: {OUTPUT.value}")


if __name__ == "__main__":
    app.run(main)
