"""The layout holds: which part of the project may import which."""

import ast
import re
import sys
import traceback

import pytest

from seadlif_jax.cli import console
from seadlif_jax.neurons import SEAdLIF
from tests.helpers import QUICK, ROOT, TINY


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
    "audio",
    "reports",
    "analysis",
    "pretrained",
    "inference",
    "device",
    "runs",
    "plots",
    "data",
    "members",
    "build",
    "testing",
    "tasks",
    "config",
    "parallel",
    "losses",
    "nn",
    "native",
    "neurons",
    "utils",
    "version",
)
MAX_FILES = 12  # of a folder


def upward_imports():
    """Pairs of layers of which the lower one imports the upper one."""
    library = ROOT / "seadlif_jax"
    for path in library.glob("**/*.py"):
        layer = path.relative_to(library).parts[0].removesuffix(".py")
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "seadlif_jax" or len(parts) == 1 or not {layer, parts[1]} <= set(LAYERS):
                continue
            if LAYERS.index(parts[1]) < LAYERS.index(layer):
                yield layer, parts[1]


def test_no_layer_imports_one_above_it():
    assert not set(upward_imports())


def test_every_folder_and_module_is_a_layer():
    names = {path.name.removesuffix(".py") for path in (ROOT / "seadlif_jax").iterdir() if path.suffix in ("", ".py")}
    assert {name for name in names if not name.startswith("_")} <= set(LAYERS)


def test_no_folder_has_more_files_than_one_reads_at_a_glance():
    for folder in {path.parent for path in (ROOT / "seadlif_jax").glob("**/*.py")}:
        assert len(list(folder.glob("*.py"))) <= MAX_FILES, folder


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


class Reached(Exception):  # noqa: N818  it is no error
    """Training has come to the neuron's step."""


# They call a function that they are given, as `jax.jit` does: for all members and devices; and at one of few lengths.
TRANSFORMATIONS = ("seadlif_jax/parallel/spmd.py", "seadlif_jax/data/on_device/bucketing.py")


# Every command has a `main`; a loader is a `load`, and may have a `read`.
CONTRACTS = {"main", "load", "read"}


def test_no_two_things_of_the_library_have_one_name():
    modules, definitions = set(), []
    for path in (ROOT / "seadlif_jax").glob("**/*.py"):
        modules.add(path.parent.name if path.stem == "__init__" else path.stem)
        nodes = ast.parse(path.read_text()).body
        found = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        definitions += [name for name in found if not name.startswith("_") and name not in CONTRACTS]
    assert not modules & set(definitions)
    assert sorted(definitions) == sorted(set(definitions))


def test_the_calls_from_train_py_to_the_step_are_as_documented(tmp_path, monkeypatch):
    original, calls = SEAdLIF.step, []

    def step(self, *arguments):
        frames = [frame for frame, _ in traceback.walk_stack(None)][::-1]
        if "train_steps" not in {frame.f_code.co_name for frame in frames}:
            return original(self, *arguments)
        for frame in frames:
            file = frame.f_code.co_filename.removeprefix(f"{ROOT}/")
            if file.startswith("seadlif_jax/") and file not in TRANSFORMATIONS:
                calls.append((file, frame.f_code.co_qualname.partition(".<locals>")[0]))  # a closure is of its function
        raise Reached

    monkeypatch.setattr(SEAdLIF, "step", step)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["train.py", QUICK, *TINY, f"--workdir={tmp_path}/run"])
    for name in ("stdout", "stderr", "path"):  # which a program may change for good
        monkeypatch.setattr(sys, name, getattr(sys, name))

    with pytest.raises(Reached):
        console("train")
    calls = [*dict.fromkeys(calls), ("seadlif_jax/neurons/adlif.py", "SEAdLIF.step")]
    listed = re.findall(r"^\d+\. `([\w/.]+)`: `([\w.]+)`$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    assert calls == listed
    assert len(calls) <= 12
    assert len({file for file, _ in calls}) <= 7
