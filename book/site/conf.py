"""Sphinx's settings for the book's site; `make book` (book/site/build.py) writes the pages and calls Sphinx."""

import os
import sys
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]                 # our extensions; the library, for its reference

project = "tinygen"
html_title = "GANs, VQGAN and latent diffusion"
author = "the tinygen authors"
copyright = f"{date.today().year}, {author}. Text and figures: CC BY 4.0. Code: MIT"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "links", "docstrings", "swift"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]                         # signatures name types that have no page

# Pages: stored outputs, the pictures of widgets in the place of widgets.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "member-order": "groupwise"}
autodoc_inherit_docstrings = False
copybutton_prompt_text = "$ "
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False                                # it would fetch pages: refused from a disk

# Nothing is fetched: MathJax lies in _static.
mathjax_path = "mathjax/tex-svg-full.js"
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_css_files = ["site.css"]
html_js_files = ["equations.js", "names.js"]
html_context = {"default_mode": "auto"}                          # as light or dark as the reader's machine
repository = os.environ.get("TINYGEN_REPOSITORY", "")
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],                                     # the search field is in the sidebar
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    **({"repository_url": repository, "use_repository_button": True} if repository else {}),
}
