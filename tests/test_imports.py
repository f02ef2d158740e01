"""What `import seadlif_jax` loads, and what is said where a package is missing."""

import subprocess
import sys

import pytest

import seadlif_jax
from tests.helpers import ROOT

HEAVY = {
    "absl",
    "h5py",
    "matplotlib",
    "ml_collections",
    "optax",
    "orbax",
    "scipy",
    "tensorboardX",
    "tensorstore",
    "tqdm",
}


def modules_after(code):
    """The top-level modules that are loaded once this code has run in a process of its own."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_import_alone_loads_nothing_not_even_jax():
    assert not modules_after("import seadlif_jax, seadlif_jax.cli") & {*HEAVY, "jax", "flax"}


def test_neurons_and_losses_load_no_training_program():
    assert not modules_after("from seadlif_jax import NEURONS, aggregate") & {"matplotlib", "ml_collections", "h5py"}


def test_loaders_load_no_jax_since_processes_of_their_own_read_new_files():
    assert not modules_after("import data.ecg, data.shd, data.smnist, seadlif_jax.data") & {"jax", "flax", "optax"}


def test_layers_load_no_more_than_flax_does():
    by_flax = modules_after("import flax.linen, optax")
    assert not (modules_after("from seadlif_jax import Network, aggregate") - by_flax) & HEAVY


def test_every_name_is_there_and_type_checkers_see_the_same():
    for name in seadlif_jax.__all__:
        assert getattr(seadlif_jax, name) is not None
    assert set(seadlif_jax._LAZY) <= set(seadlif_jax.__all__) <= set(dir(seadlif_jax))
    with pytest.raises(AttributeError, match="module 'seadlif_jax' has no attribute 'nothing'"):
        seadlif_jax.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("module", "code", "remedy"),
    [
        (
            "ml_collections",
            "import seadlif_jax; seadlif_jax.load_run",
            "ml-collections is not installed; pip install",
        ),
        ("matplotlib", "from seadlif_jax.cli import main; main(['compare', 'a'])", "'seadlif-jax[plots]'"),
        (
            "absl",
            "from seadlif_jax.cli import main; main(['train'])",
            "absl-py is not installed; pip install",
        ),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(module, code, remedy):
    hide = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
    done = subprocess.run([sys.executable, "-c", hide + code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert remedy in done.stderr.splitlines()[-1]
