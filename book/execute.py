"""Execute chapters from their sources: `python book/execute.py [07 ...]` writes book/07-*.ipynb from book/07-*.md.

The source decides: cells and tags come from the Markdown, outputs from a fresh kernel in the chapter's folder. What
differs between two runs or two machines (timestamps, ids, tracebacks, versions) is left out, so that a diff shows only
what changed; pictures get a palette, which halves them. A chapter that fails keeps its old notebook.
"""

import base64
import hashlib
import io
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from PIL import Image

from kernels import prepare
from rules import sources

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"},
}


def execute(source: Path, timeout: int = 300) -> nbformat.NotebookNode:
    """The executed, normalised notebook of one MyST `source`; nbclient's CellExecutionError where a cell fails."""
    notebook = jupytext.read(source, fmt="md:myst")
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", record_timing=False,
                            coalesce_streams=True, store_widget_state=False,
                            resources={"metadata": {"path": str(source.parent)}})
    client.execute()
    return normalise(notebook)


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out, in place, what differs between runs and machines; ids follow from the cells' sources."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {})
        for output in cell.get("outputs", []):
            if output.output_type == "error":   # asked for by the tag raises-exception; the traceback names folders
                output.traceback = [f"{output.ename}: {output.evalue}"]
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
                output.data.pop("application/vnd.jupyter.widget-view+json", None)   # a random id; its picture stays
    return notebook


def smaller(png: str) -> str:
    """A base64 PNG with a palette of 256 colours, where that is smaller."""
    picture, buffer = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    if picture.mode not in ("RGB", "RGBA") or picture.mode == "RGBA" and picture.getextrema()[3][0] < 255:
        return png
    picture.convert("RGB").quantize(256, kmeans=1).save(buffer, "PNG", optimize=True)
    reduced = base64.b64encode(buffer.getvalue()).decode()
    return reduced if len(reduced) < len(png) else png


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a valid notebook under a temporary name, then rename it."""
    nbformat.validate(notebook)
    temporary = path.with_name(path.name + ".tmp")
    nbformat.write(notebook, temporary)
    temporary.replace(path)


def main(names: list[str], folder: Path) -> int:
    """Execute the chapters whose names start with one of `names` (default: all): 1 if one failed, 2 for a bad name."""
    chosen = [path for path in sources(folder) if not names or any(path.name.startswith(name) for name in names)]
    for name in names:
        if not any(path.name.startswith(name) for path in chosen):
            print(f"no chapter starts with {name!r}; there are: {', '.join(path.stem for path in sources(folder))}",
                  file=sys.stderr)
            return 2
    prepare()
    failed = False
    for source in chosen:
        start = time.perf_counter()
        try:
            write(execute(source), source.with_suffix(".ipynb"))
        except (CellExecutionError, CellTimeoutError) as error:
            failed = True
            print(f"{source.name} failed; its notebook is left as it was\n{error}", file=sys.stderr)
        else:
            print(f"{source.name}: {time.perf_counter() - start:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
