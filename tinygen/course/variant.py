"""A lab of one's own made from a public one: other names, other seeds. Whether it still grades rightly, `prove` tells."""

import keyword
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from ..errors import TinygenError
from .files import write_text
from .prove import load

SEEDED = re.compile(r"\b(seeded|manual_seed)\((\d+)\)")


def make_variant(source: Path, to: Path, renames: Iterable[str], seed: int = 0) -> int:
    """Write labNN.py and mutants.yaml of the lab in `source` anew in `to`; -> the number of places changed.

    renames: "old=new", whole words, in code, text and mutants alike. seed: added to the constant seeds of the tests
    (`seeded(5)`, `manual_seed(5)`; a lab's judge also sets 0 before every test). TinygenError where `to` is there, where
    a word is no name, is not in the lab, or the new one is in it already.
    """
    name = source.name
    if not (source / f"{name}.py").is_file():
        raise TinygenError(f"there is no lab's source in {source}: give the folder labs/source of a clone with --labs")
    if to.exists():
        raise TinygenError(f"{to} is there already: remove it, or choose another folder with --to")
    files = {file: (source / file).read_text(encoding="utf-8") for file in (f"{name}.py", "mutants.yaml")}
    changed = 0
    for rename in renames:
        old, _, new = rename.partition("=")
        check_names(old, new, files)
        for file, text in files.items():
            files[file], times = re.subn(rf"\b{old}\b", new, text)
            changed += times
    if seed:
        text, times = shift_seeds(files[f"{name}.py"], seed)
        files[f"{name}.py"], changed = text, changed + times
    if not changed:
        raise TinygenError(f"nothing would change in {name}: give --rename OLD=NEW or --seed NUMBER")
    to.mkdir(parents=True)
    for file, text in files.items():
        write_text(to / file, text)
    if (source / "expected.png").exists():
        shutil.copy2(source / "expected.png", to)
    load(to)                                            # its parts belong together, or an error says what does not
    return changed


def check_names(old: str, new: str, files: dict[str, str]) -> None:
    """TinygenError unless `old` can become `new`."""
    for word in (old, new):
        if not word.isidentifier() or keyword.iskeyword(word):
            raise TinygenError(f"--rename wants OLD=NEW, two names of Python, not {old}={new}")
    source = next(iter(files.values()))
    if not re.search(rf"\b{old}\b", source):
        raise TinygenError(f"there is no {old} in the lab")
    if any(re.search(rf"\b{new}\b", text) for text in files.values()):
        raise TinygenError(f"{new} is a name of the lab already: choose another")
    if re.search(rf"^from tinygen\S* import .*\b{old}\b|\.{old}\b", source, re.MULTILINE):
        raise TinygenError(f"{old} is a name of a library that the lab uses: choose another")


def shift_seeds(text: str, seed: int) -> tuple[str, int]:
    """Add `seed` to the constants in the hidden and visible tests; -> the text, the number of them."""
    cells, changed = re.split(r"^(?=# %%)", text, flags=re.MULTILINE), 0
    for i, cell in enumerate(cells):
        if '"grade": true' in cell.partition("\n")[0] and "[markdown]" not in cell.partition("\n")[0]:
            cells[i], times = SEEDED.subn(lambda found: f"{found[1]}({int(found[2]) + seed})", cell)
            changed += times
    return "".join(cells), changed
