"""Who is measured: SE-adLIF here and in the authors' program, and recurrent LIF layers of other libraries."""

from benchmarks.workers import Implementation

OURS = Implementation("ours", "SE-adLIF", "ours")
PLAIN = Implementation("plain scan", "SE-adLIF", "ours", {"plain": True, "cores_apart": False})
# On a CPU, what our gradient gives and what a device per core gives, each without the other.
PARTS = (
    Implementation("ours, one device", "SE-adLIF", "ours", {"cores_apart": False}),
    Implementation("plain scan, a device per core", "SE-adLIF", "ours", {"plain": True}),
)
OURS_LIF = Implementation("ours, LIF", "LIF", "ours", {"neuron": "lif"})
LIBRARIES = (
    Implementation("snnTorch", "LIF", "snntorch"),
    Implementation("Norse", "LIF", "norse"),
    Implementation("Spyx", "LIF", "spyx"),
)


def authors(checkout: str) -> Implementation:
    """The authors' program, from a checkout of it."""
    return Implementation("authors", "SE-adLIF", "authors", {"checkout": checkout})
