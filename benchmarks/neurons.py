"""Training steps of the neurons of other papers: ours, a plain scan, and the programs that introduced them.

    python -m benchmarks.neurons [--programs=DIR] [--shapes=shd_small,ecg] [--neurons=alif,brf] [--rounds=5]

One hidden layer, connected as in the program, without dropout, on random events; ours by XLA. DIR has the checkouts of
the programs, under the names of their repositories: brf-neurons, sparch, SSM-inspired-LIF; snnTorch is a package. The
program of ALIF cannot run on a CPU; instead, the similar ALIF of brf-neurons is measured. Everything is measured in
turn, in processes of their own. Prints a table, and writes all samples to neurons.json.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import machine
from benchmarks.peers.neuron_programs import NETWORKS
from benchmarks.progress import progress
from benchmarks.report import align, save
from benchmarks.rounds import measure, summary
from benchmarks.shapes import SHAPES, Shape, refuse_unknown
from benchmarks.workers import Implementation, started
from seadlif_jax.runs.files import versions

NAMES = flags.DEFINE_list("shapes", ["shd_small", "ecg"], f"Sizes to measure: {', '.join(SHAPES)}.")
NEURONS = flags.DEFINE_list("neurons", ["se_adlif", *NETWORKS], "Neurons to measure.")
PROGRAMS = flags.DEFINE_string("programs", None, "Folder of the checkouts; without it, only ours are measured.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of samples of each time.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/neurons.json", "File for the result.")


def one_layer(shape: Shape) -> Shape:
    """Return a shape with the first hidden layer only."""
    config = shape.config.copy_and_resolve_references().unlock()
    config.model.hidden = shape.hidden[:1]
    return shape._replace(config=config.lock())


def measure_neuron(name: str, neuron: str) -> dict[str, Any]:
    """Return the seconds of a training step of a neuron, by implementation, and notes on what was not measured."""

    def say(text: str) -> None:
        progress(f"{name}, {neuron}: {text}")

    ours = {"neuron": neuron, "engine": "xla"}
    implementations = [
        Implementation("ours", neuron, "ours", ours),
        Implementation("plain scan", neuron, "ours", ours | {"plain": True}),
    ]
    if PROGRAMS.value is not None and neuron in NETWORKS:
        folder = str(Path(PROGRAMS.value).expanduser().resolve())
        arguments = {"neuron": neuron, "folder": folder}
        implementations.append(Implementation("program", neuron, "neuron_programs", arguments))
    load = machine.load()
    with started(implementations, one_layer(SHAPES[name]), say) as (workers, _, failed):
        measurement = measure(workers, "train_step", ROUNDS.value, say)
    first = measurement.samples.get("ours")
    return {
        "load": load,
        "notes": {**failed, **measurement.notes},
        "train_step": {each: summary(samples, first) for each, samples in measurement.samples.items()},
    }


def table(shapes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the times in ms, and how many times as long as ours the others take."""
    lines: list[tuple[str, ...]] = [
        ("shape", "neuron", "ours, ms", "plain scan, ms", "to ours", "program, ms", "to ours")
    ]
    for name, neurons in shapes.items():
        for neuron, result in neurons.items():
            cells = []
            for each in ("ours", "plain scan", "program"):
                times = result["train_step"].get(each)
                cells.append(f"{1e3 * times['median']:.0f}" if times else "-")
                if each != "ours":
                    cells.append(f"{times['to_ours']:.2f}" if times else "-")
            lines.append((name, neuron, *cells))
    return align(lines)


def main(_: Sequence[str]) -> None:
    refuse_unknown(NAMES.value)
    result: dict[str, Any] = {"machine": machine.describe(), "versions": versions(), "rounds": ROUNDS.value}
    shapes: dict[str, dict[str, Any]] = {}
    for name in NAMES.value:
        shapes[name] = {}
        for neuron in NEURONS.value:
            shapes[name][neuron] = measure_neuron(name, neuron)
            for each, note in shapes[name][neuron]["notes"].items():
                print(f"{name}, {neuron}: {each}: {note}")
            save(result | {"shapes": shapes}, OUTPUT.value)  # after every neuron: they take long
    progress("")
    print(table(shapes))
    print(f"all samples: {OUTPUT.value}")


if __name__ == "__main__":
    app.run(main)
