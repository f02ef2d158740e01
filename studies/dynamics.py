"""Discretised adLIF neurons below threshold, against continuous time (the paper's Fig. 1, 3).

    python -m studies.dynamics --output_dir=runs/dynamics [--tau_u=25] [--tau_w=60] [--a=120]

Takes a few seconds. Writes figure.png and the curves of its panels:

    response.csv   (a) membrane potential after a current of 1 in the first step
    coupling.csv   (b, c, d) decay and frequency against `a`
    bounds.csv     (e) largest stable `a` against the time constants
    step_size.csv  (f) decay per ms of the same neuron, against the step size
    neurons.csv    (g, h, i) decay and frequency of 1,000 neurons with random initial parameters

Time constants are in steps of 1 ms; `a` is the product of the coupling and its scale, `q a`.
"""

import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.scipy.linalg import expm
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from seadlif_jax.analysis.sensitivity import respond
from seadlif_jax.analysis.stability import SPECTRA, Spectrum, max_stable_a
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.neurons import AdLIFCoefficients, LIFCoefficients, Neuron, decay, find_neuron
from seadlif_jax.plots import BLACK, STYLE, YELLOW
from seadlif_jax.runs.files import write_table
from seadlif_jax.utils.paths import local_path
from studies import colours
from studies.command import FOLDER, run

TAU_U = flags.DEFINE_float("tau_u", 25, "Time constant of the membrane potential.", lower_bound=1, upper_bound=1e4)
TAU_W = flags.DEFINE_float("tau_w", 60, "Time constant of the adaptation current.", lower_bound=1, upper_bound=1e4)
A = flags.DEFINE_float("a", 120, "Coupling of the adaptation to the membrane potential, q a.", lower_bound=1)

NEURONS = ("lif", "ef_adlif", "se_adlif")
NAMES = {"lif": "LIF", "continuous": "continuous", **colours.NEURONS}  # in the order of the legend
COLOURS = {"continuous": "0.75", **colours.COLOURS}
NUM_STEPS = 150
TAU_WS = (60.0, 300.0)
NUM_NEURONS = 1000
INITIAL_RANGES = {"tau_u": (5, 25), "tau_w": (60, 300), "a": (0, 120)}  # of the paper's networks

Curves = Mapping[str, np.ndarray]


def check_neuron() -> None:
    """Exit with an error if SE-adLIF is unstable with these flags."""
    bound = max_stable_a("se_adlif", TAU_U.value, TAU_W.value)
    if not A.value < bound:
        sys.exit(f"error: --a={A.value:g}: with these time constants, SE-adLIF is stable only below {bound:.4g}")


def build_case(name: str, b: float = 0.0, threshold: float = np.inf) -> tuple[Neuron, Any]:
    """Return the neuron that the flags describe, and its coefficients; it never spikes unless given a threshold."""
    neuron = find_neuron(name).neuron(threshold=threshold)
    alpha, beta = decay(jnp.array([TAU_U.value])), decay(jnp.array([TAU_W.value]))
    if name == "lif":
        return neuron, LIFCoefficients(alpha)
    return neuron, AdLIFCoefficients(alpha, beta, (1 - beta) * A.value, (1 - beta) * b)


def pulse(num_steps: int) -> np.ndarray:
    """Return a current of 1 in the first step, and 0 afterwards."""
    return np.eye(1, num_steps)[0]


def continuous_response(current: np.ndarray) -> np.ndarray:
    """Return the exact membrane potential of the differential equations at the end of every step.

    The current is constant within a step. With the current as third variable, the system is linear and autonomous, and
    the matrix exponential advances it by one step.
    """
    tau_u, tau_w, a = TAU_U.value, TAU_W.value, A.value
    rates = jnp.array([[-1 / tau_u, -1 / tau_u, 1 / tau_u], [a / tau_w, -1 / tau_w, 0], [0, 0, 0]])
    step, state, potentials = np.asarray(expm(rates)), np.zeros(3), []
    for state[2] in current:
        state = step @ state
        potentials.append(state[0])
    return np.array(potentials)


def responses() -> Curves:
    current = pulse(NUM_STEPS)

    def response(neuron):
        return respond(*build_case(neuron), jnp.asarray(current)[:, None]).u[:, 0]

    return {neuron: np.asarray(response(neuron)) for neuron in NEURONS} | {"continuous": continuous_response(current)}


def stability_bounds(tau_us: np.ndarray) -> dict[tuple[str, float], np.ndarray]:
    """Return the largest stable `a`, by neuron and `tau_w`."""
    return {
        (neuron, tau_w): np.asarray(max_stable_a(neuron, tau_us, tau_w))
        for neuron in ("ef_adlif", "se_adlif")
        for tau_w in TAU_WS
    }


def decay_per_ms(sizes: np.ndarray) -> Curves:
    """Return the decay per ms, by system, for steps of these sizes in ms."""
    return {
        system: np.asarray(spectrum(TAU_U.value / sizes, TAU_W.value / sizes, A.value).decay ** (1 / sizes))
        for system, spectrum in SPECTRA.items()
    }


def columns(spectra: Mapping[str, Spectrum]) -> dict[str, np.ndarray]:
    return {
        f"{system}_{quantity}": np.asarray(values)
        for system, spectrum in spectra.items()
        for quantity, values in spectrum._asdict().items()
    }


def draw(ax: Axes, x: np.ndarray, curves: Curves) -> None:
    """Draw one line per system; a broad one for continuous time, because SE-adLIF covers it."""
    for system in (name for name in NAMES if name in curves):
        width = 5 if system == "continuous" else 1.6
        ax.plot(x, curves[system], color=COLOURS[system], linewidth=width, label=NAMES[system])


def clip(ax: Axes, curves: Curves) -> None:
    """Scale the axis to LIF and SE-adLIF; unstable curves may leave it."""
    largest = 1.6 * max(np.abs(curves[neuron]).max() for neuron in ("lif", "se_adlif"))
    ax.set_ylim(-largest, largest)


def draw_responses(ax: Axes, curves: Curves) -> None:
    draw(ax, np.arange(NUM_STEPS), curves)
    clip(ax, curves)
    ax.set_xlim(0, NUM_STEPS)
    ax.set_xlabel("time (steps)")
    ax.set_ylabel("membrane potential u")
    ax.set_title(f"(a) response to a current of 1 in step 0, a = {A.value:g}")


def draw_eigenvalues(ax: Axes, spectra: Mapping[str, Spectrum]) -> None:
    """Draw the eigenvalue with positive imaginary part; a dot marks the `a` of the flags."""
    circle = np.exp(1j * np.linspace(0, np.pi, 200))
    stable = ax.fill_between(circle.real, circle.imag, color=YELLOW, alpha=0.25, linewidth=0)
    ax.plot(circle.real, circle.imag, color=BLACK, linewidth=0.8, linestyle=":")
    eigenvalues = {
        system: spectrum.decay * np.exp(2j * np.pi * spectrum.frequency) for system, spectrum in spectra.items()
    }
    for system, values in eigenvalues.items():
        is_continuous = system == "continuous"
        ax.plot(values.real, values.imag, color=COLOURS[system], linewidth=5 if is_continuous else 1.6)
        here = SPECTRA[system](TAU_U.value, TAU_W.value, A.value)
        dot = here.decay * np.exp(2j * np.pi * here.frequency)
        ax.plot(dot.real, dot.imag, "o", color=COLOURS[system], markersize=9 if is_continuous else 5.6)
    ax.set_ylim(0, 0.15 + max(float(np.max(values.imag)) for values in eigenvalues.values()))
    ax.set_xlim(min(float(np.min(values.real)) for values in eigenvalues.values()) - 0.35, 1.15)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("real part")
    ax.set_ylabel("imaginary part")
    ax.set_title(f"(b) eigenvalue of a step, as a grows; dots: a = {A.value:g}")
    ax.legend([stable], ["stable: inside the unit circle"], fontsize=9, loc="lower left")


def draw_coupling(ax: Axes, couplings: np.ndarray, spectra: Mapping[str, Spectrum], quantity: str) -> None:
    draw(ax, couplings, {system: getattr(spectrum, quantity) for system, spectrum in spectra.items()})
    ax.axvline(A.value, color=BLACK, linewidth=0.8, linestyle=":")
    ax.set_xlabel("coupling a")


def draw_decay(ax: Axes, couplings: np.ndarray, spectra: Mapping[str, Spectrum]) -> None:
    draw_coupling(ax, couplings, spectra, "decay")
    here = float(SPECTRA["continuous"](TAU_U.value, TAU_W.value, A.value).decay)
    ax.plot(A.value, here, "o", color=BLACK, markersize=5)
    ax.annotate(f"{here:.3f}", (A.value, here), xytext=(8, 8), textcoords="offset points", fontsize=9)
    ax.axhline(1, color=BLACK, linewidth=0.8, linestyle=":")
    ax.set_ylabel("decay (factor per step)")
    ax.set_title("(c) decay; unstable above 1")


def draw_frequency(ax: Axes, couplings: np.ndarray, spectra: Mapping[str, Spectrum]) -> None:
    draw_coupling(ax, couplings, spectra, "frequency")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("frequency (cycles per step)")
    ax.set_title("(d) frequency of the oscillation")


def draw_bounds(ax: Axes, tau_us: np.ndarray, bounds: Mapping[tuple[str, float], np.ndarray]) -> None:
    for (neuron, tau_w), bound in bounds.items():
        ax.plot(tau_us, bound, color=COLOURS[neuron], linewidth=1.6)
        ax.annotate(rf"$\tau_w$ = {tau_w:g}", (tau_us[-1] + 1, bound[-1]), fontsize=9, va="center")
    (left, right), (_, top) = INITIAL_RANGES["tau_u"], INITIAL_RANGES["a"]
    box = ax.add_patch(Rectangle((left, 1), right - left, top - 1, color=YELLOW, alpha=0.4, linewidth=0))
    ax.set_yscale("log")
    ax.set_ylim(20, 2e5)
    ax.set_xlim(0, tau_us[-1] + 12)
    ax.set_xlabel(r"$\tau_u$ (steps)")
    ax.set_ylabel("largest stable a")
    ax.set_title("(e) stable below the line")
    ax.legend([box], ["initial values in the paper's networks"], fontsize=9, loc="upper left")


def draw_step_size(ax: Axes, sizes: np.ndarray, decays: Curves) -> None:
    draw(ax, sizes, decays)
    ax.axhline(1, color=BLACK, linewidth=0.8, linestyle=":")
    ax.axvline(1, color=BLACK, linewidth=0.8, linestyle=":")
    ax.set_xlabel("step size (ms)")
    ax.set_ylabel("decay (factor per ms)")
    ax.set_title("(f) the same neuron in larger steps")


def draw_neurons(ax: Axes, letter: str, system: str, spectrum: Spectrum) -> None:
    colour = BLACK if system == "continuous" else COLOURS[system]
    ax.plot(spectrum.frequency, spectrum.decay, ".", color=colour, markersize=3)
    ax.axhline(1, color=BLACK, linewidth=0.8, linestyle=":")
    ax.set_xlabel("frequency (cycles per step)")
    ax.set_ylabel("decay (factor per step)")
    unstable = 100 * np.mean(spectrum.decay >= 1)
    ax.set_title(f"({letter}) {NAMES[system]}: {unstable:.3g} % of {NUM_NEURONS:,} unstable")


def study() -> None:
    with errors_in_one_line("run the same command again to start over"):
        check_neuron()
        neuron, folder = (TAU_U.value, TAU_W.value), local_path(FOLDER.value, "--output_dir")
        folder.mkdir(parents=True, exist_ok=True)
        with jax.enable_x64(True):
            response = responses()
        couplings = A.value * np.linspace(0, 5, 501)
        spectra = {system: spectrum(*neuron, couplings) for system, spectrum in SPECTRA.items()}
        tau_us = np.linspace(2, 50, 97)
        bounds = stability_bounds(tau_us)
        largest = 2 * np.sqrt(TAU_U.value * TAU_W.value / A.value)  # approximate bound of the step size for SE
        sizes = largest * np.linspace(0.002, 1.15, 575)
        decays = decay_per_ms(sizes)
        rng = np.random.default_rng(0)
        samples = {name: rng.uniform(low, high, NUM_NEURONS) for name, (low, high) in INITIAL_RANGES.items()}
        sample_spectra = {system: spectrum(*samples.values()) for system, spectrum in SPECTRA.items()}

        write_table(folder / "response.csv", {"step": range(NUM_STEPS), **response})
        write_table(folder / "coupling.csv", {"a": couplings, **columns(spectra)})
        by_name = {f"{neuron}_tau_w_{tau_w:g}": bound for (neuron, tau_w), bound in bounds.items()}
        write_table(folder / "bounds.csv", {"tau_u": tau_us, **by_name})
        write_table(folder / "step_size.csv", {"step_ms": sizes, **decays})
        write_table(folder / "neurons.csv", {**samples, **columns(sample_spectra)})
        with rc_context(STYLE):
            figure = Figure(figsize=(14, 11.3))
            axes = figure.subplots(3, 3)
            for ax in axes[2, 1:]:
                ax.sharex(axes[2, 0])
                ax.sharey(axes[2, 0])
            draw_responses(axes[0, 0], response)
            draw_eigenvalues(axes[0, 1], spectra)
            draw_decay(axes[0, 2], couplings, spectra)
            draw_frequency(axes[1, 0], couplings, spectra)
            draw_bounds(axes[1, 1], tau_us, bounds)
            draw_step_size(axes[1, 2], sizes, decays)
            for ax, letter, system in zip(axes[2], "ghi", ("ef_adlif", "continuous", "se_adlif"), strict=True):
                draw_neurons(ax, letter, system, sample_spectra[system])
            figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(NAMES))
            figure.savefig(folder / "figure.png", dpi=150)
        print_summary()
        print(f"tables and figure: {folder}")


def print_summary() -> None:
    """Print decay, cycle and stability bound of the neuron of the flags."""
    print(f"{'':12}{'decay per step':16}{'steps per cycle':17}stable below a =")
    for system, spectrum in SPECTRA.items():
        here = spectrum(TAU_U.value, TAU_W.value, A.value)
        cycle = f"{1 / here.frequency:.4g}" if here.frequency else "-"
        bound = f"{max_stable_a(system, TAU_U.value, TAU_W.value):.4g}" if system in NEURONS else "any"
        print(f"{NAMES[system]:12}{here.decay:<16.4f}{cycle:17}{bound}")


if __name__ == "__main__":
    run(study)
