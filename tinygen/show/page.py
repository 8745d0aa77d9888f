"""One HTML page that holds everything, images included: it can be mailed, and opens without a network."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from ..models import write_atomically
from .grids import png_bytes

STYLE = """
:root { color-scheme: light dark; --ink: #1f2430; --soft: #626b7c; --paper: #fbfbfd; --card: #ffffff; --line: #e4e7ee;
  --accent: #2f5fd0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ef; --soft: #9aa3b5; --paper: #14161c; --card: #1d2029; --line: #2d323f; --accent: #8fb0ff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.2rem 5rem; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.02em; }
h2 { font-size: 1.25rem; margin: 0 0 .5rem; }
p { margin: .3rem 0 1rem; max-width: 46rem; }
.lead, figcaption { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 1.2rem 0 2rem; font-size: .95rem; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.3rem 1.5rem;
  margin: 0 0 1.4rem; }
figure { margin: .8rem 0; overflow-x: auto; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 6px; image-rendering: pixelated; }
figcaption { font-size: .9rem; margin-top: .45rem; }
.row { display: flex; flex-wrap: wrap; gap: .8rem; margin: .8rem 0; }
.row img { width: 18rem; max-width: 100%; height: auto; border-radius: 6px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; margin: .6rem 0; }
th, td { padding: .35rem .9rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } thead th { color: var(--soft); font-weight: 600; }
table.words :is(th, td) { text-align: left; vertical-align: top; overflow-wrap: anywhere; }
table.words :is(th, td) + :is(th, td) { min-width: 8rem; }
"""


def number(value: object) -> str:
    """A cell of a table: four significant digits for a float, nothing for None."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def below(caption: str) -> str:
    """What stands under a picture or a table."""
    return f"<figcaption>{escape(caption)}</figcaption>" if caption else ""


def inline(picture: np.ndarray | bytes, words: str) -> str:
    """A picture as a tag that holds it: uint8 (height, width, 3), or the bytes of a PNG or GIF file."""
    content = picture if isinstance(picture, bytes) else png_bytes(picture)
    kind = "gif" if content.startswith(b"GIF8") else "png"
    return f'<img alt="{escape(words)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'


class Page:
    """Sections with text, pictures and tables, written as one HTML file without a single outside reference.

    Every method returns the page, so that calls can be chained. All text is escaped.
    """

    def __init__(self, title: str, lead: str = ""):
        self.title, self.lead = title, lead
        self.sections: list[tuple[str, list[str]]] = []

    def section(self, title: str, text: str = "") -> "Page":
        """Start a section; what follows goes into it."""
        self.sections.append((title, []))
        return self.text(text) if text else self

    def _add(self, html: str) -> "Page":
        if not self.sections:
            self.sections.append(("", []))
        self.sections[-1][1].append(html)
        return self

    def text(self, text: str) -> "Page":
        """A paragraph."""
        return self._add(f"<p>{escape(text)}</p>")

    def image(self, picture: np.ndarray | bytes, caption: str = "") -> "Page":
        """A picture: uint8 (height, width, 3), or the bytes of a PNG or GIF file."""
        return self._add(f"<figure>{inline(picture, caption)}{below(caption)}</figure>")

    def row(self, pictures: Mapping[str, np.ndarray | bytes]) -> "Page":
        """Pictures as in `image` side by side, as many as there is room for; keys say in words what they show."""
        images = "".join(inline(picture, words) for words, picture in pictures.items())
        return self._add(f'<div class="row">{images}</div>')

    def table(self, rows: Sequence[Mapping[str, object]], caption: str = "", words: bool = False) -> "Page":
        """A table; the columns are the keys of all rows, in order of appearance. Of `words`, or else of numbers."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
        lines = ("".join(f"<td>{escape(number(row.get(column)))}</td>" for column in columns) for row in rows)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        kind = ' class="words"' if words else ""
        table = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return self._add(f"<figure>{table}{below(caption)}</figure>")

    def report(self, report: Mapping[str, object], caption: str = "") -> "Page":
        """The table of a report of `tinygen.evaluate.evaluate`: one row a metric that the model has, beside its
        yardsticks."""
        columns = {"this model": report["metrics"], **report["yardsticks"]}
        names = [name for name, value in report["metrics"].items() if value is not None]
        protocol = f"N = {report['n']}; reference: {report['reference']}; judge: {report['judge']}. "
        rows = [{"metric": name} | {title: numbers.get(name) for title, numbers in columns.items()} for name in names]
        return self.table(rows, protocol + caption)

    def html(self) -> str:
        """The whole page."""
        links = "".join(f'<a href="#s{i}">{escape(title)}</a>' for i, (title, _) in enumerate(self.sections) if title)
        parts = "".join(f'<section id="s{i}">{f"<h2>{escape(title)}</h2>" if title else ""}{"".join(content)}</section>'
                        for i, (title, content) in enumerate(self.sections))
        title, lead = escape(self.title), escape(self.lead)
        return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
                f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
                f'<body><main><h1>{title}</h1><p class="lead">{lead}</p><nav>{links}</nav>{parts}</main></body>'
                '</html>\n')

    def save(self, path: str | Path) -> Path:
        """Write the page to `path`; TinygenError where one cannot write."""
        write_atomically(Path(path), self.html().encode())
        return Path(path)
