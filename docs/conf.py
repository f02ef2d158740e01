"""Sphinx settings: `make docs` builds the pages of this folder, with warnings as errors."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from seadlif_jax.version import __version__

project = "seadlif-jax"
author = "the contributors of seadlif-jax"
copyright = "2026, the contributors of seadlif-jax"
release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["jupyter_execute", "_build"]

# Pages are Markdown that GitHub shows as well.
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
default_role = "code"  # `name` in docstrings

# A test runs the notebook; pages show it without outputs, so that the build takes seconds.
nb_execution_mode = "off"

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # shapes such as "*batch channel" are no valid markup

# Attributes of several classes may have the same name.
suppress_warnings = ["ref.python"]

highlight_language = "none"  # of blocks without a language
html_theme = "furo"
html_title = "seadlif-jax"


def mark_equations(app, what, name, obj, options, lines):
    """Show indented blocks of docstrings, such as equations, as they are; sections such as `Args:` are left alone."""
    del app, what, name, obj, options
    marked, in_section = [], False
    for line in lines:
        indented = line.startswith(" ")
        if line and not indented:
            in_section = re.fullmatch(r"[A-Z]\w+:", line) is not None
        starts = indented and not in_section and marked and not marked[-1]
        if starts and not next(filter(None, reversed(marked)), " ").startswith(" "):
            marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


def setup(app):
    app.connect("autodoc-process-docstring", mark_equations, priority=400)  # before napoleon
