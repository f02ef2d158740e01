import numpy as np
from PIL import Image


def is_drawn(path):
    """Whether there is more in a picture than an empty page."""
    return np.asarray(Image.open(path).convert("L")).std() > 10
