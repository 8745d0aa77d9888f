"""Which equation of the book is checked where: `python book/registry.py` prints the table.

A labelled equation is `$$ ... $$ (eq-vq-elbo)`, a `{math}` directive with `:label: eq-vq-elbo`, or a target
`(eq-vq-elbo)=`. Its check is a call `check("eq-vq-elbo", a, b)` or `check_monte_carlo(...)` in a code cell that comes
before the next labelled equation's, was executed, and printed that the equation holds.
"""

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from rules import not_compared, tags

LABEL = re.compile(r"eq-[a-z0-9]+(-[a-z0-9]+)*")
AFTER_DOLLARS = re.compile(r"\$\$[ \t]*\(([^)\s]+)\)[ \t]*$", re.MULTILINE)
DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{math\}.*?\n(.*?)^\1", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"^:label:[ \t]*(\S+)", re.MULTILINE)
TARGET = re.compile(r"^\((eq-[^)\s]*)\)=[ \t]*$", re.MULTILINE)
CHECKS = {"check", "check_monte_carlo"}


@dataclass
class Equation:
    chapter: str
    label: str
    cell: int                  # where the label is, counted from 0
    check: int | None = None   # the first cell that checks it in time
    holds: bool = False        # that cell was executed and said so


def labels(markdown: str) -> list[str]:
    """The labels of equations in one Markdown cell, in order."""
    found = [(match.start(), match.group(1)) for match in AFTER_DOLLARS.finditer(markdown)]
    found += [(match.start(), match.group(1)) for match in TARGET.finditer(markdown)]
    for directive in DIRECTIVE.finditer(markdown):
        found += [(directive.start(), option.group(1)) for option in OPTION.finditer(directive.group(2))]
    return [label for _, label in sorted(found)]


@lru_cache(maxsize=None)
def tree(source: str) -> ast.Module:
    """The syntax tree of one code cell, not to be changed. Only magics are transformed first: it is slow."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.parse(TransformerManager().transform_cell(source))


def calls(source: str) -> list[tuple[str, bool]]:
    """The checks in one code cell: (label, whether its two values are written differently)."""
    found = []
    for call in ast.walk(tree(source)):
        name = isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", None))
        if name in CHECKS and call.args and isinstance(call.args[0], ast.Constant):
            values = call.args[1:3] + [keyword.value for keyword in call.keywords if keyword.arg in ("a", "b", "value")]
            written = [ast.dump(value) for value in values]
            found.append((call.args[0].value, len(set(written)) == len(written)))
    return found


def equations(notebook, chapter: str) -> list[Equation]:
    """The labelled equations of one chapter, each with the check that follows it."""
    found, waiting = [], {}
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            new = [Equation(chapter, label, index) for label in labels(cell.source)]
            waiting = {equation.label: equation for equation in new} if new else waiting
            found += new
        elif cell.cell_type == "code":
            printed = "".join(output.text for output in cell.outputs if output.output_type == "stream").splitlines()
            for label, _ in calls(cell.source):
                equation = waiting.get(label)
                if equation and equation.check is None:
                    equation.check = index
                    equation.holds = cell.execution_count is not None and any(
                        line.startswith(f"{label} holds: ") for line in printed)
    return found


def problems(notebooks: dict) -> list[str]:
    """What is wrong with the equations and checks of the chapters {name: notebook}, one line each."""
    book = [equation for chapter, notebook in notebooks.items() for equation in equations(notebook, chapter)]
    broken, known = [], set()
    for equation in book:
        name = f"{equation.chapter} {equation.label}"
        if not LABEL.fullmatch(equation.label):
            broken.append(f"{name} is no label of the form eq-<chapter>-<name>")
        if equation.label in known:
            broken.append(f"{name} is labelled twice in the book")
        known.add(equation.label)
        if equation.check is None:
            broken.append(f"{name} has no check before the next labelled equation")
        elif not equation.holds:
            broken.append(f"{name} has a check in cell {equation.check} whose output does not say that it holds")
    for chapter, notebook in notebooks.items():
        for index, cell in enumerate(notebook.cells):
            for label, differ in calls(cell.source) if cell.cell_type == "code" else []:
                if label not in known:
                    broken.append(f"{chapter} cell {index} checks {label}, which labels no equation")
                if not differ:
                    broken.append(f"{chapter} cell {index} compares {label} with itself")
                if not_compared(cell) or "raises-exception" in tags(cell):
                    broken.append(f"{chapter} cell {index} checks {label}, but nbval would not notice a failure")
            if cell.cell_type == "markdown" and r"\label{" in cell.source:
                broken.append(rf"{chapter} cell {index} uses \label: write $$ ... $$ (eq-<chapter>-<name>)")
    return broken


if __name__ == "__main__":
    for path in sorted(Path(__file__).resolve().parent.glob("*.ipynb")):
        for row in equations(nbformat.read(path, as_version=4), path.stem):
            state = f"holds (cell {row.check})" if row.holds else "NOT CHECKED"
            print(f"{row.chapter:28} {row.label:36} {state}")
