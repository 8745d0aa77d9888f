"""What every committed notebook of the book must keep to: `python book/rules.py` lists what is broken.

Every rule takes a notebook (or its path) and returns a list of problems, one line each.
"""

import re
import sys
from pathlib import Path

import jupytext
import nbformat
from jupytext.compare import NotebookDifference, compare_notebooks

CHAPTER = re.compile(r"(\d\d|[A-D])-[a-z0-9-]+\.md")            # 07-vq-vae.md, B-notation.md
MACHINE = re.compile(r"(?<![\w.~/])/(?:root|home|Users|work|tmp|var|opt|mnt|usr)/[\w.-]+|[A-Za-z]:\\Users\\")
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}
COMMENTS = re.compile(r"^\s*#\s*(NBVAL_IGNORE_OUTPUT|NBVAL_SKIP|PYTEST_VALIDATE_IGNORE_OUTPUT)\s*$", re.MULTILINE)
MOST_BYTES = 700_000
MOST_NOT_COMPARED = 0.25


def sources(folder: Path) -> list[Path]:
    """The chapters' MyST sources, in order."""
    return sorted(path for path in folder.glob("*.md") if CHAPTER.fullmatch(path.name))


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def not_compared(cell) -> bool:
    """Whether nbval leaves the output of this cell alone."""
    return bool(tags(cell) & NOT_COMPARED or COMMENTS.search(cell.source))


def pairing(path: Path) -> list[str]:
    """A notebook and its source have the same cells: kinds, sources, tags, in the same order."""
    source = path.with_suffix(".md")
    if not path.exists() or not source.exists():
        return [f"{(path if source.exists() else source).name} is missing beside its pair"]
    actual, expected = _essence(nbformat.read(path, as_version=4)), _essence(jupytext.read(source, fmt="md:myst"))
    try:
        compare_notebooks(actual, expected, fmt="md:myst", allow_expected_differences=False)
    except NotebookDifference as difference:
        return [f"differs from {source.name} (python book/execute.py {path.stem}): {difference}"]
    return []


def _essence(notebook):
    cells = [nbformat.from_dict({"cell_type": cell.cell_type, "source": cell.source.strip(), "metadata":
                                 {"tags": sorted(tags(cell))}}) for cell in notebook.cells]
    return nbformat.from_dict({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells})


def execution(notebook) -> list[str]:
    """Every code cell was executed, from top to bottom in one kernel, and failed only where it was meant to."""
    problems = []
    for number, cell in enumerate(code_cells(notebook), start=1):
        name = f"code cell {number} ({cell.source.strip().splitlines()[0][:40] if cell.source.strip() else 'empty'})"
        if cell.execution_count != number:
            problems.append(f"{name} has execution count {cell.execution_count}, not {number}")
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        if errors and "raises-exception" not in tags(cell):
            problems.append(f"{name} ended with {errors[0]}")
        if not errors and "raises-exception" in tags(cell):
            problems.append(f"{name} is tagged raises-exception but raised nothing")
    return problems


def portability(notebook) -> list[str]:
    """No folder of the machine it was executed on, and the kernel that everyone has."""
    found = {match.group() for text in _texts(notebook) for match in MACHINE.finditer(text)}
    problems = [f"names a folder of one machine: {text}" for text in sorted(found)]
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        problems.append(f"has the kernel {kernel!r}, not 'python3'")
    return problems


def _texts(notebook):
    """Sources and outputs, without pictures, whose base64 may spell anything."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield from [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
            yield from (str(value) for kind, value in output.get("data", {}).items() if not kind.startswith("image/"))


def size(path: Path) -> list[str]:
    """A committed notebook stays small enough for a quick clone and for GitHub's preview."""
    count = path.stat().st_size
    return [f"has {count:,} bytes, more than {MOST_BYTES:,}"] if count > MOST_BYTES else []


def compared_share(notebooks) -> list[str]:
    """Over the whole book, nbval compares the output of at least three code cells in four."""
    cells = [cell for notebook in notebooks for cell in code_cells(notebook)]
    count = sum(map(not_compared, cells))
    if count > MOST_NOT_COMPARED * len(cells):
        return [f"{count} of {len(cells)} code cells are not compared by nbval, more than {MOST_NOT_COMPARED:.0%}"]
    return []


def problems(folder: Path) -> list[str]:
    """All broken rules of all chapters in `folder`, each with the name of its notebook."""
    import registry

    found, notebooks = [], {}
    for path in sorted({source.with_suffix(".ipynb") for source in sources(folder)} | set(folder.glob("*.ipynb"))):
        broken = pairing(path)
        if path.exists():
            notebook = notebooks[path.stem] = nbformat.read(path, as_version=4)
            broken += execution(notebook) + portability(notebook) + size(path)
        found += [f"{path.name} {problem}" for problem in broken]
    return found + compared_share(notebooks.values()) + registry.problems(notebooks)


if __name__ == "__main__":
    broken = problems(Path(__file__).resolve().parent)
    print("\n".join(broken) or "every notebook keeps to the rules")
    sys.exit(bool(broken))
