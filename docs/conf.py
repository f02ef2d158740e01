"""Sphinx settings: `make docs` builds the pages of this folder, with warnings as errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from seadlif_jax.version import __version__

project = "seadlif-jax"
author = "the contributors of seadlif-jax"
copyright = "2026, the contributors of seadlif-jax"
release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]

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

html_theme = "furo"
html_title = "seadlif-jax"
