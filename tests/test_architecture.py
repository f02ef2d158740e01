"""The layout holds: which part of the project may import which."""

import ast

import pytest

from tests.helpers import ROOT


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def importers(folder, *packages):
    files = (ROOT / folder).glob("**/*.py")
    users = {path for path in files for name in imports(path) if name.split(".")[0] in packages}
    return {path.relative_to(ROOT / folder).parts[0] for path in users}


# From the top: a folder (or module) of the library imports only from those below it.
LAYERS = (
    "cli",
    "interop",
    "training",
    "analysis",
    "inference",
    "runs",
    "plots",
    "data",
    "config",
    "parallel",
    "losses",
    "nn",
    "neurons",
    "utils",
    "version",
)


@pytest.mark.parametrize(
    ("folder", "packages", "allowed"),
    [
        ("seadlif_jax", ("data", "configs"), set()),
        ("seadlif_jax", ("orbax",), {"runs"}),
        ("seadlif_jax", ("matplotlib",), {"plots"}),
        ("seadlif_jax", ("flax",), {"nn", "neurons", "interop"}),
        (".", ("torch", "tensorflow"), set()),
    ],
)
def test_imports_stay_within_their_layer(folder, packages, allowed):
    folders = ("seadlif_jax", "data", "configs", "tests") if folder == "." else (folder,)
    assert set().union(*(importers(folder, *packages) for folder in folders)) <= allowed
