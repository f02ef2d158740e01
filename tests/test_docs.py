"""The documentation is complete, up to date, and points to what is there."""

import ast
import re
from urllib.parse import unquote

import pytest

from docs import make_api, make_figures
from tests.helpers import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_reference_is_what_the_docstrings_say():
    assert make_api.PATH.read_text() == make_api.api(), "run python -m docs.make_api"


def test_all_public_names_and_methods_have_docstrings():
    names = make_api.public_names()
    undocumented = [name.name for name in names if not name.doc]
    undocumented += [f"{name.name}.{method.name}" for name in names for method in name.methods if not method.doc]
    assert len(names) > 10
    assert undocumented == []


def test_all_functions_and_classes_among_them_have_an_example():
    without = [name.name for name in make_api.public_names() if name.signature and ">>>" not in (name.doc or "")]
    assert without == []


def test_a_section_of_a_docstring_ends_at_the_margin():
    doc = "First.\n\nArgs:\n  one: a\n    b: c\n  two, three: d\n\nLast: line.\n\nExample:\n  >>> 1"
    arguments, example = "- `one`: a\n  b: c\n- `two, three`: d", "```python\n>>> 1\n```"
    parts = ["First.", "**Args**", arguments, "Last: line.", "**Example**", example]
    assert make_api.markdown(doc) == "\n\n".join(parts)


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


def test_the_architecture_picture_shows_files_that_build_on_those_below():
    rows = {name: row for row, band in enumerate(make_figures.BANDS) for name in band.files}
    upwards = []
    for name, row in rows.items():
        file = ROOT / "seadlif_jax" / name
        assert file.exists() or (ROOT / name).exists(), name
        if file.is_file():
            upwards += [f"{name} -> {other}" for other in used_by(file) if rows.get(other, row) < row]
    assert upwards == []


def used_by(file):
    """The files of the library that a file of it imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "seadlif_jax":
            yield from (f"{alias.name}.py" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("seadlif_jax."):
            yield f"{node.module.removeprefix('seadlif_jax.').partition('.')[0]}.py"


def without_code(text):
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


def anchors(text):
    """Those that GitHub gives the headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
