"""Build the book's site from stored outputs: `python book/site/build.py [--repository URL]`.

Chapters, appendices and labs are found by their names, every index is made from the sources, and nothing is executed.
"""

import argparse
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import main as sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT)]

import notebooks  # noqa: E402
import pages  # noqa: E402


def origin() -> str:
    """The GitHub address that this clone came from, or ""."""
    asked = subprocess.run(["git", "remote", "get-url", "origin"], cwd=ROOT, capture_output=True, text=True)
    url = asked.stdout.strip()
    found = re.fullmatch(r"(?:https://(?:[^/@]+@)?|git@)github\.com[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?", url)
    return f"https://github.com/{found.group(1)}" if found else ""


def assemble(source: Path, out: Path, repository: str) -> None:
    """Write what Sphinx reads into the empty folder `source`, and notebooks to take away into `out`."""
    chapters = notebooks.read(ROOT / "book")
    notebooks.write(chapters, source, repository)
    notebooks.write_downloads(chapters, out / "notebooks", repository)
    labs = notebooks.write_labs(ROOT / "labs" / "release", source, out / "notebooks")
    pages.write(chapters, labs, source, ROOT)


def main() -> int:
    """Sphinx's exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", default=origin(),
                        help="GitHub address for the badges, https://github.com/OWNER/NAME (default: git's origin)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site",
                        help="a new folder, or one with a site, which is replaced")
    options = parser.parse_args()
    out = options.out.resolve()
    if out.exists() and any(out.iterdir()) and not (out / ".buildinfo").exists():
        parser.error(f"{options.out} is not empty and holds no site: name another folder")
    gc.set_threshold(100_000)                                   # pages are large trees, which need no search for litter
    with tempfile.TemporaryDirectory() as folder:
        source, site, doctrees = Path(folder, "source"), Path(folder, "site"), Path(folder, "doctrees")
        source.mkdir()
        site.mkdir()
        assemble(source, site, options.repository.rstrip("/"))
        os.environ["TINYGEN_REPOSITORY"] = options.repository
        # In this process: torch is imported once. More processes spend on copies of the pages what they save.
        status = sphinx(["-b", "html", "-W", "--keep-going", "-q", "-c", str(HERE), "-d", str(doctrees), str(source),
                         str(site)])
        if status == 0:
            shutil.rmtree(out, ignore_errors=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(site, out)
            print(f"Open {os.path.relpath(out)}/index.html in a browser")
    return status


if __name__ == "__main__":
    sys.exit(main())
