"""Make what students and teachers read from labs/source/labNN/labNN.py: `python labs/build.py lab07 ...` (none: all).

Writes source/labNN/labNN.ipynb (solutions, executed), source/labNN/expected.png (the picture of the cell with the tag
`expected-picture`) and release/labNN/ (what students get). A lab that fails keeps its old files.
"""

import base64
import shutil
import sys
import time
from pathlib import Path

LABS = Path(__file__).resolve().parent
sys.path.insert(0, str(LABS.parent / "book"))

from execute import normalise, write                    # noqa: E402
from kernels import prepare                             # noqa: E402
from nbclient import NotebookClient                     # noqa: E402
from nbclient.exceptions import CellExecutionError, CellTimeoutError    # noqa: E402

from tinygen.course.prove import load                   # noqa: E402
from tinygen.course.release import make_release         # noqa: E402
from tinygen.errors import TinygenError                 # noqa: E402


def build(name: str) -> None:
    """Execute the lab, write its notebooks; nbclient's CellExecutionError where a cell fails."""
    folder = LABS / "source" / name
    notebook = load(folder)[0]
    release, metadata = make_release(notebook), notebook.metadata["tinygen"]
    NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False, coalesce_streams=True,
                   store_widget_state=False, resources={"metadata": {"path": str(folder)}}).execute()
    picture, marks = None, [cell.metadata.get("nbgrader") for cell in notebook.cells]
    for cell in notebook.cells:
        for output in cell.get("outputs", []) if "expected-picture" in cell.metadata.get("tags", []) else []:
            if "image/png" in output.get("data", {}):
                picture = base64.b64decode(output.data["image/png"])
    if picture is None:
        raise TinygenError(f"{name}: give the tag expected-picture to a cell that draws")
    normalise(notebook)
    notebook.metadata["tinygen"] = metadata
    for cell, mark in zip(notebook.cells, marks, strict=True):
        if mark:
            cell.metadata["nbgrader"] = mark
    (LABS / "release" / name).mkdir(parents=True, exist_ok=True)
    for place, content in (("source", notebook), ("release", release)):
        (LABS / place / name / "expected.png").write_bytes(picture)
        write(content, LABS / place / name / f"{name}.ipynb")
    for table in folder.glob("*.csv"):
        shutil.copy2(table, LABS / "release" / name)


def main(names: list[str]) -> int:
    """Build the labs; 1 if one failed."""
    prepare()
    failed = False
    for name in names or sorted(path.parent.name for path in (LABS / "source").glob("*/mutants.yaml")):
        start = time.perf_counter()
        try:
            build(name)
        except (CellExecutionError, CellTimeoutError, TinygenError) as error:
            failed = True
            print(f"{name} failed; its notebooks are left as they were\n{error}", file=sys.stderr)
        else:
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
