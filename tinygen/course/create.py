"""A new course: its folders, nbgrader's settings, the labs; pages that fetch nothing from elsewhere."""

import shutil
from pathlib import Path

import nbformat

from ..errors import TinygenError
from .files import write_text
from .prove import load
from .sandbox import PACKAGE

SETTINGS = "nbgrader_config.py"
CONFIG = '''"""nbgrader's settings for this course and its formgrader. Grade with `tinygen course grade`."""

c = get_config()
c.CourseDirectory.course_id = {name!r}
c.CourseDirectory.root = {root!r}
c.CourseDirectory.db_url = {url!r}
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "*.py", "*.md", "*.yaml"]
c.ExecutePreprocessor.timeout = 60
c.HTMLExporter.template_file = {page!r}
'''
MATHJAX = PACKAGE.parent / "book" / "site" / "_static" / "mathjax" / "tex-svg-full.js"      # in a clone; the site's own
PAGE = """{{%- extends 'index.html.j2' -%}}
{{%- block header -%}}
{{%- set mathjax_here -%}}{mathjax}{{%- endset -%}}
{{{{ super() | replace('<script src="https://cdnjs.cloudflare.com/ajax/libs/mathjax/2.7.7/latest.js?config='
                     'TeX-AMS_CHTML-full,Safe"> </script>', mathjax_here) }}}}
{{%- endblock header -%}}
"""
INLINE = """<script>window.MathJax = {tex: {inlineMath: [['$', '$'], ['\\\\(', '\\\\)']], processEscapes: true}};</script>
{{ resources.include_js('tex-svg-full.js') }}
<script>MathJax.Hub = {Startup: {signal: {Interest: told => MathJax.startup.promise.then(() => told("End"))}}};</script>"""


def create(folder: Path, labs: Path, url: str | None = None) -> None:
    """Make the folders and settings of a course in `folder`, and copy the labs' notebooks from `labs`.

    A lab that has only its source (labNN.py and mutants.yaml, as `variant` leaves it) is made into a notebook. `url`
    is the grade book's, an SQLite file by default. TinygenError where a course is already, or no lab.
    """
    places = {path.parent for path in [*labs.glob("*/*.ipynb"), *labs.glob("*/mutants.yaml")]}
    if not places:
        raise TinygenError(f"there are no labs in {labs}: give the folder labs/source of a clone with --labs")
    if (folder / SETTINGS).exists():
        raise TinygenError(f"{folder} is a course already")
    for part in ("source", "release", "submitted", "pages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for place in sorted(places):
        copy_lab(place, folder / "source" / place.name)
    root = str(folder.resolve())
    write_page(folder / "pages", MATHJAX)
    write_text(folder / SETTINGS, CONFIG.format(name=folder.resolve().name, root=root, page=f"{root}/pages/page.html.j2",
                                                url=url or f"sqlite:///{root}/gradebook.db"))


def copy_lab(place: Path, to: Path) -> None:
    """The notebook with solutions, and what else students get."""
    to.mkdir(exist_ok=True)
    notebook = place / f"{place.name}.ipynb"
    if notebook.exists():
        shutil.copy2(notebook, to)
    else:
        nbformat.write(load(place)[0], to / notebook.name)
    for file in [*place.glob("expected.png"), *place.glob("*.csv")]:
        shutil.copy2(file, to)


def write_page(pages: Path, mathjax: Path) -> None:
    """The frame of nbgrader's pages: MathJax inside, where it is found, and in any case not from another machine."""
    if mathjax.exists():
        shutil.copy2(mathjax, pages / "tex-svg-full.js")
    write_text(pages / "page.html.j2", PAGE.format(mathjax=INLINE if mathjax.exists() else ""))
