"""A sound, the spikes that it is compressed to, and what is restored from them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from seadlif_jax.plots.style import BLACK, BLUE, STYLE, VERMILION, picture

FLOOR_DB = -70


@picture
def save_compression(
    sounds: tuple[np.ndarray, np.ndarray],
    spectrograms: Sequence[np.ndarray],
    spikes: np.ndarray,
    skip: int,
    step_ms: float,
    path: Path,
) -> None:
    """Draw a sound and the restored one, the spectrograms of both, and the spikes between them.

    Args:
      sounds: the sound and the restored one, `[time]`, at the time of the network's outputs.
      spectrograms: of both, dB below their maximum, `[mel, frame]`.
      spikes: of the neurons between encoder and decoder, `[time, neuron]`, from the first step.
      skip: number of steps before the first one of the sounds.
      step_ms: milliseconds that a step stands for.
      path: file to write.
    """
    time = step_ms * (skip + np.arange(len(sounds[0])))
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 8.2))
        axes = figure.subplots(4, 1, sharex=True, height_ratios=[1.2, 1.2, 1, 1.2])
        top, bottom, raster, waves = axes
        for ax, spectrogram, title in zip((top, bottom), spectrograms, ("sound", "restored sound"), strict=True):
            extent = (time[0], time[-1], 0, len(spectrogram))
            ax.imshow(spectrogram, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=FLOOR_DB, vmax=0)
            ax.set_ylabel("mel filter")
            ax.set_title(f"mel spectrogram of the {title} (dB below its maximum, down to {FLOOR_DB})")
        steps, neurons = np.nonzero(spikes)
        raster.plot(step_ms * steps, neurons, "|", color=BLUE, markersize=4)
        raster.set_ylabel("neuron")
        raster.set_ylim(-0.5, spikes.shape[1] - 0.5)
        rate = 1000 * spikes.sum() / (step_ms * len(spikes))
        raster.set_title(
            f"spikes between encoder and decoder: {100 * spikes.mean():.2f} % of steps, {rate:.0f} a second"
        )
        waves.plot(time, sounds[0], color=BLACK, linewidth=0.8, label="sound")
        waves.plot(time, sounds[1], color=VERMILION, linewidth=0.8, label="restored")
        waves.set_ylabel("amplitude")
        waves.set_xlabel("time (ms)")
        waves.set_xlim(0, time[-1])
        waves.legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(path, dpi=150)
