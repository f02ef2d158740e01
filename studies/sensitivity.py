"""Gradients of membrane potentials with respect to earlier input, by backpropagation (the paper's Fig. 5).

    python -m studies.sensitivity --output_dir=runs/sensitivity [--tau_u=25] [--tau_w=60] [--a=120] [--seed=26]

Takes a few seconds. Writes figure.png and the curves of its panels, for LIF, EF-adLIF and SE-adLIF neurons:

    response.csv   (a, b) membrane potential after a current of 1 in the first step, and `d u_T / d I_t`
    wavelet.csv    (c) gradient of an input weight, for wavelets at different times before the end
    frequency.csv  (d) gradient of an input weight, for oscillating inputs
    spikes.csv     (e, f) with spikes, driven by noise: states, and `d u_T / d I_t`

Time constants are in steps; `a` is the product of the coupling and its scale, `q a`, and the coupling of the spikes,
`q b`, has the same value. In the published example, which is the default, EF-adLIF is unstable and its gradients
explode. Spikes have the surrogate gradient that is used in training.
"""

import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seadlif_jax.analysis.sensitivity import input_sensitivity, respond
from seadlif_jax.analysis.stability import symplectic_euler
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.neurons import Neuron
from seadlif_jax.plots import BLACK, STYLE
from seadlif_jax.runs.files import write_table
from seadlif_jax.utils.paths import local_path
from studies.command import FOLDER, run
from studies.dynamics import COLOURS, NEURONS, TAU_U, TAU_W, A, Curves, build_case, check_neuron, clip, draw, pulse

SEED = flags.DEFINE_integer("seed", 26, "Seed of the noise that drives the spiking neurons.", lower_bound=0)

NUM_CYCLES = 7  # simulated cycles of SE-adLIF
NOISE = 8.0  # standard deviation of the current; with the defaults, all neurons spike occasionally
NEURONS_WITH_SPIKES = ("lif", "se_adlif")
GRADIENT = r"$\partial u_T\, /\, \partial I_t$"
WEIGHT_GRADIENT = r"$\partial u_T\, /\, \partial\,$weight"


def cycle_frequency() -> float:
    """Return the frequency of SE-adLIF in cycles per step; exit with an error if it hardly oscillates."""
    check_neuron()
    frequency = float(symplectic_euler(TAU_U.value, TAU_W.value, A.value).frequency)
    if not 0.001 <= frequency < 0.5:
        sys.exit(f"error: --a={A.value:g}: SE-adLIF has no cycle of 2 to 1000 steps; choose another value, such as 120")
    return frequency


def simulate(neuron: Neuron, coefficients: Any, current: np.ndarray) -> Curves:
    """Return the states of a neuron driven by `current` `[time]`, by name, and its `sensitivity`."""
    arguments = (neuron, coefficients, jnp.asarray(current)[:, None])
    states = respond(*arguments)
    curves = {name: getattr(states, name) for name in ("u", "w", "z") if hasattr(states, name)}
    curves["sensitivity"] = input_sensitivity(*arguments)
    return {name: np.asarray(values)[:, 0] for name, values in curves.items()}


def wavelets(num_steps: int, centres: np.ndarray, period: float) -> np.ndarray:
    """Return about two cycles of an oscillation of amplitude 1 around each centre, `[time, centre]`."""
    cycles = (np.arange(num_steps)[:, None] - centres) / period
    return np.cos(2 * np.pi * cycles) * np.exp(-2 * cycles**2)


def select(name: str, by_neuron: Mapping[str, Curves]) -> Curves:
    """Return the curve `name` of every neuron."""
    return {neuron: curves[name] for neuron, curves in by_neuron.items()}


def columns(by_neuron: Mapping[str, Curves]) -> Curves:
    return {f"{neuron}_{name}": curve for neuron, curves in by_neuron.items() for name, curve in curves.items()}


def draw_time(ax: Axes, curves: Curves, label: str, title: str) -> None:
    num_steps = len(curves["lif"])
    draw(ax, np.arange(num_steps), curves)
    ax.set_xlim(0, num_steps)
    ax.set_xlabel("time t (steps)")
    ax.set_ylabel(label)
    ax.set_title(title)


def draw_wavelets(ax: Axes, delays: np.ndarray, gradients: Curves) -> None:
    draw(ax, delays, gradients)
    clip(ax, gradients)
    ax.axhline(0, color=BLACK, linewidth=0.8, linestyle=":")
    ax.set_xlabel("time from the wavelet to T (steps)")
    ax.set_ylabel(WEIGHT_GRADIENT)
    ax.set_title("(c) adLIF: depends on the time of a wavelet")


def draw_frequencies(ax: Axes, frequencies: np.ndarray, gradients: Curves, frequency: float) -> None:
    draw(ax, frequencies, gradients)
    ax.axvline(frequency, color=BLACK, linewidth=0.8, linestyle=":")
    ax.set_yscale("log")
    ax.set_xlabel("frequency of the input (cycles per step)")
    ax.set_ylabel(f"{WEIGHT_GRADIENT}, amplitude")
    ax.set_title("(d) adLIF: largest at its frequency; LIF: at 0")


def draw_spikes(ax: Axes, spikes: Curves) -> None:
    """Draw spikes as ticks above the curves, one row per neuron."""
    bottom, top = ax.get_ylim()
    for row, (neuron, z) in enumerate(spikes.items(), 1):
        steps = np.flatnonzero(z)
        height = top + 0.08 * row * (top - bottom)
        ax.plot(steps, np.full(len(steps), height), "|", color=COLOURS[neuron], markersize=9)


def study() -> None:
    with errors_in_one_line("run the same command again to start over"):
        frequency, folder = cycle_frequency(), local_path(FOLDER.value, "--output_dir")
        num_steps = round(NUM_CYCLES / frequency)
        noise = NOISE * np.random.default_rng(SEED.value).standard_normal(num_steps)
        with jax.enable_x64(True):
            silent = {neuron: simulate(*build_case(neuron), pulse(num_steps)) for neuron in NEURONS}
            spiking = {neuron: simulate(*build_case(neuron, b=A.value, threshold=1.0), noise) for neuron in NEURONS}
        response, gradient = select("u", silent), select("sensitivity", silent)
        # With I_t = weight x_t, the gradient of the weight is the product of sensitivity and input.
        delays = np.linspace(1, 3.5, 126) / frequency
        wavelet_gradients = {
            neuron: curve @ wavelets(num_steps, num_steps - 1 - delays, 1 / frequency)
            for neuron, curve in gradient.items()
        }
        frequencies = np.linspace(0, min(0.5, 3 * frequency), 151)
        waves = np.exp(2j * np.pi * frequencies * np.arange(num_steps)[:, None])
        wave_gradients = {neuron: np.abs(curve @ waves) for neuron, curve in gradient.items()}

        folder.mkdir(parents=True, exist_ok=True)
        steps = {"step": range(num_steps)}
        write_table(folder / "response.csv", {**steps, **columns(silent)})
        write_table(folder / "wavelet.csv", {"delay": delays, **wavelet_gradients})
        write_table(folder / "frequency.csv", {"frequency": frequencies, **wave_gradients})
        write_table(folder / "spikes.csv", {**steps, "current": noise, **columns(spiking)})
        shown = {neuron: spiking[neuron] for neuron in NEURONS_WITH_SPIKES}
        with rc_context(STYLE):
            figure = Figure(figsize=(14, 7.6))
            axes = figure.subplots(2, 3)
            draw_time(axes[0, 0], response, "membrane potential u", "(a) response to a current of 1 in step 0")
            clip(axes[0, 0], response)
            draw_time(axes[0, 1], gradient, GRADIENT, "(b) gradient below threshold: reversed in time")
            clip(axes[0, 1], gradient)
            draw_wavelets(axes[0, 2], delays, wavelet_gradients)
            draw_frequencies(axes[1, 0], frequencies, wave_gradients, frequency)
            draw_time(axes[1, 1], select("u", shown), "membrane potential u", "(e) driven by noise (ticks: spikes)")
            axes[1, 1].axhline(1, color=BLACK, linewidth=0.8, linestyle=":")
            draw_time(
                axes[1, 2], select("sensitivity", shown), GRADIENT, "(f) before its last spike, LIF has no gradient"
            )
            for ax in axes[1, 1:]:
                draw_spikes(ax, select("z", shown))
            figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(NEURONS))
            figure.savefig(folder / "figure.png", dpi=150)
        print(f"tables and figure: {folder}")


if __name__ == "__main__":
    run(study)
