"""Sphinx configuration: `make docs` builds the site without a network."""

import sys
import warnings
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import lookahead_sk

sys.path.insert(0, str(Path(__file__).resolve().parent))

project = "lookahead_sk"
author = "The lookahead_sk developers"
copyright = "2026, the lookahead_sk developers"
release = version = lookahead_sk.__version__

templates_path = ["_templates"]
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "results/tables", "auto_examples/*.ipynb", "sg_execution_times.rst"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
# Docstrings inherited from scikit-learn point to its glossary.
suppress_warnings = ["ref.term"]

numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
autodoc_default_options = {"members": True}

html_theme = "pydata_sphinx_theme"
html_title = "lookahead_sk"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_math_renderer = "mathml"
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 6,
}
html_sidebars = {"index": []}
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"__init__\.py|demo",
    "remove_config_comments": True,
    "show_memory": False,
    "plot_gallery": "True",
    "within_subsection_order": "FileNameSortKey",
}

# The gallery saves its figures; pyplot warns that it cannot show them.
warnings.filterwarnings("ignore", message=".*is non-interactive.*")


def mathml(node, as_block=False):
    # Docutils takes the nabla for a variable, which would be set in italics.
    return tex2mathml(node.astext(), as_block=as_block).replace("<mi>∇</mi>", "<mo>∇</mo>")


def inline_math(writer, node):
    writer.body.append(mathml(node))
    raise nodes.SkipNode


def block_math(writer, node):
    writer.body.append(writer.starttag(node, "div", CLASS="formula"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({node["number"]})</span>')
    writer.body.append(mathml(node, as_block=True))
    writer.body.append("</div>")
    raise nodes.SkipNode


def setup(app):
    # Formulas are MathML, which browsers draw by themselves: no script is fetched from a network.
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
