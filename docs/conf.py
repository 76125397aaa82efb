"""Builds the documentation: sphinx-build -W docs build/docs."""

import os
import sys
from pathlib import Path
from typing import List

from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tmfun_pyg import __version__  # noqa: E402

project = "tmfun-pyg"
author = "The tmfun-pyg team"
version = release = __version__
html_theme = "furo"
html_title = f"tmfun-pyg {__version__}"
html_show_copyright = False

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # MathJax itself, in place of a link to a CDN.
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
# Pages that are notebooks run here, each in a folder of its own.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # Docstrings have them.
autosummary_generate = False
napoleon_custom_sections = ["Shapes"]
# Nothing is fetched, unless asked for: then names of torch are links, too.
if os.environ.get("TMFUN_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "torch_geometric": (
            "https://pytorch-geometric.readthedocs.io/en/latest",
            None,
        ),
    }
# A name of ours that leads nowhere is a mistake:
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!tmfun_pyg\.).*")]
doctest_global_setup = """
import logging, warnings
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.simplefilter("ignore")
"""


def link_to_pages(app: Sphinx, docname: str, source: List[str]) -> None:
    """Makes links to files that pages include links to these pages."""
    link = "](../benchmarks/README.md"
    source[0] = source[0].replace(link, "](benchmarks.md")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", link_to_pages)
