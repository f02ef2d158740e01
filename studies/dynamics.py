"""Why Symplectic Euler: adLIF neurons below threshold, discretised, against continuous time (the paper's Fig. 1, 3).

    python -m studies.dynamics --output_dir=runs/dynamics [--tau_u=25] [--tau_w=60] [--a=120]

A few seconds. Leaves figure.png and the curves of its panels:

    response.csv   (a) the membrane potential after a current of 1 in the first step
    coupling.csv   (b, c, d) decay and frequency as `a` grows
    bounds.csv     (e) the largest stable `a` for time constants
    step_size.csv  (f) decay in 1 ms of the same neuron in steps of other sizes
    neurons.csv    (g, h, i) decay and frequency of 1,000 neurons, drawn from what networks start from

Time constants are in steps, each of 1 ms where the size of a step matters; `a` is the product of the coupling and its
scale, `q a`.
"""

import sys
from collections.abc import Mapping

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
from seadlif_jax.analysis.stability import SPECTRA, Spectrum, largest_stable_a
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.neurons import AdLIFParams, LIFParams, decay
from seadlif_jax.neurons.surrogate import spike_function
from seadlif_jax.plots import BLACK, STYLE, YELLOW
from seadlif_jax.runs.folder import write_table
from seadlif_jax.utils.paths import local_path
from studies import neurons
from studies.command import FOLDER, run

TAU_U = flags.DEFINE_float("tau_u", 25, "Time constant of the membrane potential.", lower_bound=1, upper_bound=1e4)
TAU_W = flags.DEFINE_float("tau_w", 60, "Time constant of the adaptation current.", lower_bound=1, upper_bound=1e4)
A = flags.DEFINE_float("a", 120, "Coupling of the adaptation to the membrane potential, q a.", lower_bound=1)

NEURONS = ("lif", "ef_adlif", "se_adlif")
NAMES = {"lif": "LIF", "continuous": "continuous", **neurons.NEURONS}  # in the order of the legend
COLOURS = {"continuous": "0.75", **neurons.COLOURS}
NUM_STEPS = 150
TAU_WS = (60.0, 300.0)
DRAWN = 1000
STARTED_FROM = {"tau_u": (5, 25), "tau_w": (60, 300), "a": (0, 120)}  # of the paper's networks

Curves = Mapping[str, np.ndarray]


def check_neuron() -> None:
    """Ends the program if SE-adLIF is unstable: there is nothing to compare then."""
    bound = largest_stable_a("se_adlif", TAU_U.value, TAU_W.value)
    if not A.value < bound:
        sys.exit(f"error: --a={A.value:g}: with these time constants, SE-adLIF is only stable below {bound:.4g}")


def neuron_params(neuron: str, b: float = 0.0, threshold: float = np.inf) -> LIFParams | AdLIFParams:
    """Of the neuron that the flags describe; it never spikes unless it is given a threshold."""
    alpha, beta = decay(jnp.array([TAU_U.value])), decay(jnp.array([TAU_W.value]))
    if neuron == "lif":
        return LIFParams(alpha, threshold)
    return AdLIFParams(alpha, beta, jnp.array([A.value]), jnp.array([b]), 1.0, threshold)


def pulse(num_steps: int) -> np.ndarray:
    """A current of 1 in the first step."""
    return np.eye(1, num_steps)[0]


def continuous_response(current: np.ndarray) -> np.ndarray:
    """The membrane potential of the differential equations at the end of every step, exact.

    The current is constant within a step. So it is a third variable of the linear system, and what happens in a step
    is the matrix exponential.
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
        return respond(neuron, neuron_params(neuron), jnp.asarray(current)[:, None], spike_function()).u[:, 0]

    return {neuron: np.asarray(response(neuron)) for neuron in NEURONS} | {"continuous": continuous_response(current)}


def bounds_of(tau_us: np.ndarray) -> dict[tuple[str, float], np.ndarray]:
    """The largest stable `a`, by neuron and `tau_w`."""
    return {
        (neuron, tau_w): np.asarray(largest_stable_a(neuron, tau_us, tau_w))
        for neuron in ("ef_adlif", "se_adlif")
        for tau_w in TAU_WS
    }


def decay_in_1_ms(sizes: np.ndarray) -> Curves:
    """Of the neuron with time constants in ms, in steps of these sizes."""
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
    """A line for each system: a broad one for continuous time, since SE-adLIF covers it where it follows it."""
    for system in (name for name in NAMES if name in curves):
        width = 5 if system == "continuous" else 1.6
        ax.plot(x, curves[system], color=COLOURS[system], linewidth=width, label=NAMES[system])


def clip(ax: Axes, curves: Curves) -> None:
    """What explodes may leave the picture: its height is that of LIF and SE-adLIF."""
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
    """Of the two complex ones, that with the positive imaginary part; a dot at the `a` of the flags."""
    circle = np.exp(1j * np.linspace(0, np.pi, 200))
    stable = ax.fill_between(circle.real, circle.imag, color=YELLOW, alpha=0.25, linewidth=0)
    ax.plot(circle.real, circle.imag, color=BLACK, linewidth=0.8, linestyle=":")
    found = {system: spectrum.decay * np.exp(2j * np.pi * spectrum.frequency) for system, spectrum in spectra.items()}
    for system, values in found.items():
        broad = system == "continuous"
        ax.plot(values.real, values.imag, color=COLOURS[system], linewidth=5 if broad else 1.6)
        here = SPECTRA[system](TAU_U.value, TAU_W.value, A.value)
        dot = here.decay * np.exp(2j * np.pi * here.frequency)
        ax.plot(dot.real, dot.imag, "o", color=COLOURS[system], markersize=9 if broad else 5.6)
    ax.set_ylim(0, 0.15 + max(float(np.max(values.imag)) for values in found.values()))
    ax.set_xlim(min(float(np.min(values.real)) for values in found.values()) - 0.35, 1.15)
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
    ax.set_ylabel("decay (factor of a step)")
    ax.set_title("(c) decay; above 1, it explodes")


def draw_frequency(ax: Axes, couplings: np.ndarray, spectra: Mapping[str, Spectrum]) -> None:
    draw_coupling(ax, couplings, spectra, "frequency")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("frequency (cycles per step)")
    ax.set_title("(d) frequency of the oscillation")


def draw_bounds(ax: Axes, tau_us: np.ndarray, bounds: Mapping[tuple[str, float], np.ndarray]) -> None:
    for (neuron, tau_w), bound in bounds.items():
        ax.plot(tau_us, bound, color=COLOURS[neuron], linewidth=1.6)
        ax.annotate(rf"$\tau_w$ = {tau_w:g}", (tau_us[-1] + 1, bound[-1]), fontsize=9, va="center")
    (left, right), (_, top) = STARTED_FROM["tau_u"], STARTED_FROM["a"]
    box = ax.add_patch(Rectangle((left, 1), right - left, top - 1, color=YELLOW, alpha=0.4, linewidth=0))
    ax.set_yscale("log")
    ax.set_ylim(20, 2e5)
    ax.set_xlim(0, tau_us[-1] + 12)
    ax.set_xlabel(r"$\tau_u$ (steps)")
    ax.set_ylabel("largest stable a")
    ax.set_title("(e) stable below the line")
    ax.legend([box], ["what the paper's networks start from"], fontsize=9, loc="upper left")


def draw_step_size(ax: Axes, sizes: np.ndarray, decays: Curves) -> None:
    draw(ax, sizes, decays)
    ax.axhline(1, color=BLACK, linewidth=0.8, linestyle=":")
    ax.axvline(1, color=BLACK, linewidth=0.8, linestyle=":")
    ax.set_xlabel("step size (ms)")
    ax.set_ylabel("decay (factor in 1 ms)")
    ax.set_title("(f) the same neuron in larger steps")


def draw_neurons(ax: Axes, letter: str, system: str, spectrum: Spectrum) -> None:
    colour = BLACK if system == "continuous" else COLOURS[system]
    ax.plot(spectrum.frequency, spectrum.decay, ".", color=colour, markersize=3)
    ax.axhline(1, color=BLACK, linewidth=0.8, linestyle=":")
    ax.set_xlabel("frequency (cycles per step)")
    ax.set_ylabel("decay (factor of a step)")
    unstable = 100 * np.mean(spectrum.decay >= 1)
    ax.set_title(f"({letter}) {NAMES[system]}: {unstable:.3g} % of {DRAWN:,} unstable")


def study() -> None:
    with errors_in_one_line("the same command starts again"):
        check_neuron()
        neuron, folder = (TAU_U.value, TAU_W.value), local_path(FOLDER.value, "--output_dir")
        folder.mkdir(parents=True, exist_ok=True)
        with jax.enable_x64(True):
            response = responses()
        couplings = A.value * np.linspace(0, 5, 501)
        spectra = {system: spectrum(*neuron, couplings) for system, spectrum in SPECTRA.items()}
        tau_us = np.linspace(2, 50, 97)
        bounds = bounds_of(tau_us)
        largest = 2 * np.sqrt(TAU_U.value * TAU_W.value / A.value)  # about the largest step in which SE is stable
        sizes = largest * np.linspace(0.002, 1.15, 575)
        in_1_ms = decay_in_1_ms(sizes)
        rng = np.random.default_rng(0)
        drawn = {name: rng.uniform(low, high, DRAWN) for name, (low, high) in STARTED_FROM.items()}
        of_drawn = {system: spectrum(*drawn.values()) for system, spectrum in SPECTRA.items()}

        write_table(folder / "response.csv", {"step": range(NUM_STEPS), **response})
        write_table(folder / "coupling.csv", {"a": couplings, **columns(spectra)})
        by_name = {f"{neuron}_tau_w_{tau_w:g}": bound for (neuron, tau_w), bound in bounds.items()}
        write_table(folder / "bounds.csv", {"tau_u": tau_us, **by_name})
        write_table(folder / "step_size.csv", {"step_ms": sizes, **in_1_ms})
        write_table(folder / "neurons.csv", {**drawn, **columns(of_drawn)})
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
            draw_step_size(axes[1, 2], sizes, in_1_ms)
            for ax, letter, system in zip(axes[2], "ghi", ("ef_adlif", "continuous", "se_adlif"), strict=True):
                draw_neurons(ax, letter, system, of_drawn[system])
            figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(NAMES))
            figure.savefig(folder / "figure.png", dpi=150)
        print_here()
        print(f"tables and figure: {folder}")


def print_here() -> None:
    """The dynamics at the neuron of the flags."""
    print(f"{'':12}{'decay a step':16}{'steps a cycle':16}stable below a =")
    for system, spectrum in SPECTRA.items():
        here = spectrum(TAU_U.value, TAU_W.value, A.value)
        cycle = f"{1 / here.frequency:.4g}" if here.frequency else "-"
        bound = f"{largest_stable_a(system, TAU_U.value, TAU_W.value):.4g}" if system in NEURONS else "any"
        print(f"{NAMES[system]:12}{here.decay:<16.4f}{cycle:16}{bound}")


if __name__ == "__main__":
    run(study)
