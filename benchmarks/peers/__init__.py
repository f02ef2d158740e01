"""The measured implementations: SE-adLIF here and in the authors' program, recurrent LIF layers of other libraries."""

from benchmarks.workers import Implementation

OURS = Implementation("ours", "SE-adLIF", "ours")
OURS_XLA = Implementation("ours, XLA", "SE-adLIF", "ours", {"engine": "xla"})
PLAIN = Implementation("plain scan", "SE-adLIF", "ours", {"plain": True, "cores_apart": False})
# Our gradient, and one device per core, each without the other.
PARTS = (
    Implementation("ours, one device", "SE-adLIF", "ours", {"cores_apart": False, "engine": "xla"}),
    Implementation("plain scan, a device per core", "SE-adLIF", "ours", {"plain": True}),
)
OURS_LIF = Implementation("ours, LIF", "LIF", "ours", {"neuron": "lif"})
OURS_LIF_XLA = Implementation("ours, LIF, XLA", "LIF", "ours", {"neuron": "lif", "engine": "xla"})
LIBRARIES = (
    Implementation("snnTorch", "LIF", "snntorch"),
    Implementation("Norse", "LIF", "norse"),
    Implementation("Spyx", "LIF", "spyx"),
    Implementation("sparx", "LIF", "sparx"),
)


def authors(checkout: str) -> Implementation:
    """Return the authors' program, run from a checkout."""
    return Implementation("authors", "SE-adLIF", "authors", {"checkout": checkout})
