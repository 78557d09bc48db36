"""The course site: `python -m sphinx -W docs site` (`-t instructor`: for teachers).

Nothing is executed in the notebooks and nothing is fetched from a network, in the build or by a
reader's browser.
"""

import sys
from pathlib import Path

import dualseg

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "dualseg"
author = "The dualseg authors"
copyright = author
version = release = dualseg.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
    "sphinx-mathjax-offline",
    "course",
    "commands",
    "glossary_links",
    "teaching",
    "api_pages",
]
exclude_patterns = ["_ext"]

nb_execution_mode = "off"
myst_enable_extensions = ["amsmath", "attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
bibtex_bibfiles = ["references.bib"]
default_role = "code"  # docstrings write `name` for code
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
autodoc_default_options = {"no-value": True}
napoleon_google_docstring = False
suppress_warnings = ["ref.python"]  # several classes have an attribute of one name
napoleon_use_rtype = False

smartquotes = False  # options begin with two hyphens

html_theme = "sphinx_book_theme"
html_title = "dualseg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "extra_footer": "dualseg is for teaching and research, not for clinical use.",
}
