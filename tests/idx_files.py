"""Files in the IDX format, with random images."""

import gzip

import numpy as np

NAMES = {"train": "train", "test": "t10k"}


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def gzipped(content):
    """Without the time in the header, which would be in the names of tests, and differ between their processes."""
    return gzip.compress(content, mtime=0)


def write_mnist(folder, train=40, test=20, compress=True):
    """The four files of MNIST; return images and labels by split."""
    rng, written = np.random.default_rng(0), {}
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        images, labels = rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{NAMES[split]}-{name}-ubyte"
            if compress:
                path.with_name(f"{path.name}.gz").write_bytes(gzipped(idx_bytes(array)))
            else:
                path.write_bytes(idx_bytes(array))
        written[split] = images, labels
    return written
