"""Sound compressed into the spikes of a few neurons, and restored: a task of its own on top of the library.

`config.task = "seadlif_jax.audio:Compression"` selects it. No module below this folder imports it.
"""

from seadlif_jax.audio.codec import Codec
from seadlif_jax.audio.compression import Compression
from seadlif_jax.audio.compression_report import write_wave  # the module also registers its tables and pictures
from seadlif_jax.audio.quality import AudioError, bits_per_second, pesq, si_snr, stoi

__all__ = ["AudioError", "Codec", "Compression", "bits_per_second", "pesq", "si_snr", "stoi", "write_wave"]
