"""Draw the picture of augmentation, docs/images/augmentation.png: `python docs/draw_augmentation.py`."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from seadlif_jax.data.on_device.augmentation import Augmentation, augment
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.plots import BLACK, STYLE

FOLDER = Path(__file__).parent / "images"
STEPS, CHANNELS = 120, 40
PANELS = {
    "the recording": Augmentation(),
    "another of its class": Augmentation(),
    "mix = 1": Augmentation(mix=1.0),
    "drop_channels = 0.3": Augmentation(drop_channels=0.3),
    "drop_events = 0.5": Augmentation(drop_events=0.5),
    "shift_channels = 10": Augmentation(shift_channels=10.0),
    "jitter_channels = 2": Augmentation(jitter_channels=2.0),
    "stretch_time = 0.4": Augmentation(stretch_time=0.4),
    "shift_time = 30": Augmentation(shift_time=30.0),
}


def recording(seed: int, bend: float) -> Samples:
    """Return a made-up recording: two tones, one of them rising."""
    rng = np.random.default_rng(seed)
    time, channel = np.meshgrid(np.linspace(0, 1, STEPS), np.arange(CHANNELS), indexing="ij")
    envelope = np.exp(-((time - 0.5) ** 2) / 0.05)
    tones = [8 + 14 * bend * time, 28 - 6 * time]
    rate = sum(np.exp(-((channel - tone) ** 2) / 4) for tone in tones) * envelope
    arrays = (rng.random(rate.shape) < 0.9 * rate, np.array([-1, 0]), np.ones(STEPS, int))
    return Samples(*(jnp.asarray(array)[None].astype(int) for array in arrays))


def save_augmentation(path: Path) -> None:
    sample, partner = recording(0, 1.0), recording(1, 0.6)
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        for ax, (title, amounts) in zip(
            figure.subplots(3, 3, sharex=True, sharey=True).flat, PANELS.items(), strict=True
        ):
            first = partner if title.startswith("another") else sample
            changed = augment(first, partner, jax.random.split(jax.random.key(4), 1), amounts)
            steps, channels = np.nonzero(np.asarray(changed.inputs[0]))
            ax.plot(steps, channels, "|", color=BLACK, markersize=3)
            ax.set_title(title, fontsize=10)
            ax.set(xlim=(0, STEPS), ylim=(0, CHANNELS))
        figure.supxlabel("step")
        figure.supylabel("channel")
        figure.savefig(path, dpi=120)


if __name__ == "__main__":
    save_augmentation(FOLDER / "augmentation.png")
