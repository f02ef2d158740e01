"""Who is measured: SE-adLIF here and in the authors' program, and recurrent LIF layers of other libraries."""

from benchmarks.workers import Implementation

OURS = Implementation("ours", "SE-adLIF", "ours", {"plain": False})
PLAIN = Implementation("plain scan", "SE-adLIF", "ours", {"plain": True})
LIBRARIES = (
    Implementation("snnTorch", "LIF", "snntorch"),
    Implementation("Norse", "LIF", "norse"),
    Implementation("Spyx", "LIF", "spyx"),
)


def authors(checkout: str) -> Implementation:
    """The authors' program, from a checkout of it."""
    return Implementation("authors", "SE-adLIF", "authors", {"checkout": checkout})
