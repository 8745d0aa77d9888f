"""A student's own check: the visible tests of a notebook, each on the student's own cells."""

import types
from pathlib import Path

import nbformat

from ..errors import TinygenError
from .judge import Score, judge, run
from .lab import read_lab


def check_notebook(path: Path) -> dict[str, Score]:
    """The score of every test cell of a notebook; TinygenError for a file that is no lab.

    As when the notebook is run from above to below, without demonstrations: given cells and earlier answers are the
    student's own.
    """
    try:
        lab = read_lab(nbformat.read(path, as_version=4), path.stem)
    except (OSError, ValueError, AttributeError, KeyError, nbformat.ValidationError) as error:
        raise TinygenError(f"{path} cannot be read as a notebook: {' '.join(str(error).split())[:200]}") from error
    if not lab.tasks:
        raise TinygenError(f"{path} has no tests: is it a lab's notebook, with its metadata?")
    base, scores = types.ModuleType("lab"), {}
    for cell in lab.cells:
        if cell.tests:
            scores |= judge(cell, cell.source, base)
        try:
            run(cell.source, f"<cell {cell.name}>", base)
        except Exception as error:
            if not cell.tests:
                raise TinygenError(f"the given cell {cell.name} fails ({type(error).__name__}: {error}): "
                                   "restore it from the release") from error
    return scores
