"""The documentation is complete, and its links and examples work."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import seadlif_jax

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/**/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def public_objects():
    """Yield the public classes and functions, and the public methods of the classes, with their names."""
    for name in seadlif_jax.__all__:
        value = getattr(seadlif_jax, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            yield name, value
        if inspect.isclass(value):
            for member, attribute in vars(value).items():
                if not member.startswith("_") and (inspect.isfunction(attribute) or isinstance(attribute, property)):
                    yield f"{name}.{member}", getattr(value, member)


def test_all_public_names_and_methods_have_docstrings():
    documented = {name: inspect.getdoc(value) for name, value in public_objects()}
    assert len(documented) > 20
    assert [name for name, doc in documented.items() if not doc] == []


def test_all_public_functions_and_classes_have_an_example():
    without = [
        name for name, value in public_objects() if "." not in name and ">>>" not in (inspect.getdoc(value) or "")
    ]
    assert without == []


def test_every_folder_of_the_library_has_a_page_in_the_reference():
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    folders = {path.parent.name for path in (ROOT / "seadlif_jax").glob("*/__init__.py")}
    assert [folder for folder in folders - {"utils"} if f"automodule:: seadlif_jax.{folder}" not in pages] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_exist(page):
    broken = []
    for target in LINK.findall(without_code(page.read_text())):
        if "://" in target:
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    assert broken == []


def test_the_tests_of_the_promises_exist():
    text = (ROOT / "docs" / "promises.md").read_text()
    tests = [f"tests/{name}.py" for name in re.findall(r"`(test_\w+)`", text)]
    scripts = [f"endurance/{name}.py" for name in re.findall(r"`endurance\.(\w+)`", text)]
    assert len(tests) > 20
    assert [path for path in (*tests, *scripts) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", ["layers.md", "own-data.md", "own-neuron.md"])
def test_the_examples_of_a_page_run(page, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        if "runs/ecg" in block:  # needs the files of the QT database
            continue
        command, environment = [sys.executable, "-c", block], os.environ | {"PYTHONPATH": str(ROOT)}
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{block}\n{result.stderr}"


def test_the_example_of_a_neuron_is_short():
    lines = (ROOT / "examples" / "own_neuron.py").read_text().splitlines()
    assert len(list(filter(None, lines))) <= 25


def without_code(text):
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


def anchors(text):
    """Return the anchors that GitHub and MyST give to the headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
