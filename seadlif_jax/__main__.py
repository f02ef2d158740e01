"""`python -m seadlif_jax` is the command `seadlif`."""

from seadlif_jax.cli import console

if __name__ == "__main__":
    console()
