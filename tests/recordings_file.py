"""Files in the format of the Heidelberg data sets, with random events."""

import h5py
import numpy as np


def random_events(rng, recordings=12, num_events=300, seconds=(0.2, 1.2), dtype=np.float16):
    """Times and units, one array a recording; times are in order, as `dtype` rounds them."""
    lengths = rng.uniform(*seconds, recordings)
    times = [np.sort(rng.uniform(0.001, length, num_events).astype(dtype)) for length in lengths]
    units = [rng.integers(0, 700, num_events).astype(np.uint16) for _ in lengths]
    return times, units


def write(path, recordings=12, classes=3, speakers=4, seed=0, **changes):
    """Writes a file, and returns its times and units; `changes` replace datasets by name, or leave them out (None)."""
    times, units = random_events(np.random.default_rng(seed), recordings)
    labels = np.arange(recordings) % classes
    speaker = np.arange(recordings) // classes % speakers
    content = {"spikes/times": times, "spikes/units": units, "labels": labels.astype(np.uint16)}
    content |= {"extra/speaker": speaker.astype(np.uint16)} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if isinstance(value, list):
                dataset = file.create_dataset(name, (len(value),), dtype=h5py.vlen_dtype(value[0].dtype))
                for index, array in enumerate(value):
                    dataset[index] = array
            elif value is not None:
                file.create_dataset(name, data=value)
    return times, units
