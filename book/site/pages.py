"""The pages of the site that nobody writes: contents, indices, gallery and the library's reference."""

import ast
import importlib
import inspect
import pkgutil
import re
import shutil
from pathlib import Path

from mdit_py_plugins.anchors.index import slugify

import notebooks
import registry
import rules

PARTS = {"Start": "00 01", "Adversarial and variational foundations": "02 03 04 05",
         "Vector quantisation": "06 07 08 09", "Diffusion": "10 11 12 13 14 15", "Latent diffusion": "16 17 18 19 20",
         "Practice": "21 22 23 24", "Appendices": "A B C D"}
INDICES = {"equations": "Equations", "myths": "Myths", "failures": "Failures", "symbols": "Library by chapter",
           "gallery": "Gallery", "api/index": "Library reference"}
MYTH = re.compile(r"^\*\*(.+?)\*\*", re.MULTILINE | re.DOTALL)
DOLLARS = r"\$\$(?P<tex>(?:(?!\$\$).)+)\$\$[ \t]*\({}\)"


def write(chapters: dict, labs: list[str], source: Path, root: Path) -> None:
    """All generated pages into `source`; `labs` are the names of the labs' pages."""
    (source / "api").mkdir()
    imported, template = imports(chapters), (root / "book" / "site" / "index.md").read_text()
    guide = {"labs/guide": teaching((root / "labs" / "README.md").read_text())} if labs else {}
    texts = guide | {"index": front(chapters, [*guide, *labs], template), "equations": equations(chapters),
             "myths": myths(chapters), "failures": failures(chapters), "symbols": symbols(imported),
             "gallery": gallery(source, root)}
    texts |= {f"api/{name}": text for name, text in reference(imported).items()}
    for name, text in texts.items():
        (source / f"{name}.md").write_text(text)


def toctree(names, caption: str = "", hidden: bool = False) -> str:
    """A table of contents."""
    options = [f":caption: {caption}"] * bool(caption) + [":hidden:"] * hidden
    return "\n".join(["```{toctree}", ":maxdepth: 1", *options, "", *names, "```\n"])


def front(chapters: dict, labs: list[str], template: str) -> str:
    """The front page: what is written by hand, then the chapters and labs that exist, and the indices."""
    parts = {caption: [name for name in chapters if name.partition("-")[0] in numbers.split()]
             for caption, numbers in PARTS.items()}
    parts["More"] = [name for name in chapters if name not in sum(parts.values(), [])]
    trees = [toctree(names, caption) for caption, names in parts.items() if names]
    trees += [toctree(labs, "Labs")] if labs else []
    return "\n".join([template, *trees, toctree([f"{title} <{name}>" for name, title in INDICES.items()], "Find")])


def teaching(text: str) -> str:
    """The guide to the labs as a page: links that lead into the repository become plain text, commands are a console."""
    text = re.sub(r"\[([^\]]+)\]\((?!https?://)[^)]*\)", r"\1", text)
    return re.sub(r"^```\n(?=\$ )", "```console\n", text, flags=re.MULTILINE).replace("# Labs", "# Labs and courses", 1)


def tex(markdown: str, label: str) -> str:
    """The equation with this label, "" where it is not written between dollars."""
    match = re.search(DOLLARS.format(re.escape(label)), markdown, re.DOTALL)
    return match["tex"].strip() if match else ""


def equations(chapters: dict) -> str:
    """Every labelled equation, with links to the place where it is derived and to the cell that checks it."""
    lines = ["# Equations", "", "Every numbered equation of the book, each with the cell that checks it.", ""]
    for name, notebook in chapters.items():
        found = registry.equations(notebook, name)
        lines += [f"## [{notebooks.title(notebook)}]({name}.ipynb)", ""] if found else []
        for equation in found:
            lines += [f"{{eq}}`{equation.label}` · `{equation.label}` · "
                      f'<a href="{name}.html#check-{equation.label}">its check</a>', "",
                      "$$", tex(notebook.cells[equation.cell].source, equation.label), "$$", ""]
    return "\n".join(lines)


def sections(notebook):
    """(heading, Markdown below it) of every section of a notebook, in order."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    parts = re.split(r"^##+ (.+)$", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def to_section(name: str, heading: str, text: str) -> str:
    """A Markdown link to a section of a chapter."""
    return f"[{text}]({name}.ipynb#{slugify(heading)})"


def myths(chapters: dict) -> str:
    """What each chapter refutes."""
    lines = ["# Myths", "", "Popular statements, each refuted by a line of mathematics or a measurement.", ""]
    for name, notebook in chapters.items():
        for heading, text in sections(notebook):
            if heading.endswith("Myths") and (claims := MYTH.findall(text)):
                lines += [f"## {to_section(name, heading, notebooks.title(notebook))}", ""]
                lines += [f"- {' '.join(claim.split())}" for claim in claims] + [""]
    appendix = [f"More of them, as a table: [{notebooks.title(notebook)}]({name}.ipynb)." for name, notebook in
                chapters.items() if name.startswith("C-")]
    return "\n".join(lines + appendix) + "\n"


def failures(chapters: dict) -> str:
    """What each chapter breaks on purpose."""
    lines = ["# Failures", "", "Each of them is caused on purpose, recognised by its signals, and cured.", ""]
    for name, notebook in chapters.items():
        for heading in (heading for heading, _ in sections(notebook) if "Break it: " in heading):
            what = heading.partition("Break it: ")[2]
            lines.append(f"- {to_section(name, heading, what)} (chapter {notebooks.title(notebook)})")
    return "\n".join(lines) + "\n"


def imports(chapters: dict) -> dict[str, list[str]]:
    """{"tinygen.vq.FSQ": chapters whose code imports it}."""
    found: dict[str, list[str]] = {}
    for name, notebook in chapters.items():
        for cell in rules.code_cells(notebook):
            for node in ast.walk(registry.tree(cell.source)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tinygen":
                    for alias in node.names:
                        found.setdefault(f"{node.module}.{alias.name}", []).append(name)
    return {name: list(dict.fromkeys(where)) for name, where in found.items()}


def symbols(imported: dict[str, list[str]]) -> str:
    """Which chapter uses which name of the library."""
    lines = ["# Library by chapter", "", "Names of `tinygen` and the chapters that use them, the first one first.", ""]
    for module in sorted({name.rpartition(".")[0] for name in imported}):
        lines += [f"## `{module}`", "", "| name | chapters |", "|---|---|"]
        for full in sorted(name for name in imported if name.rpartition(".")[0] == module):
            where = ", ".join(f"[{name.partition('-')[0]}]({name}.ipynb)" for name in imported[full])
            lines.append(f"| `{full}` | {where} |")
        lines.append("")
    return "\n".join(lines)


def gallery(source: Path, root: Path) -> str:
    """The pictures that lie beside the models of the zoo, under the first sentence of their cards."""
    lines = ["# Gallery", "", "What the models of the zoo make.", ""]
    (source / "gallery").mkdir()
    for folder in sorted((root / "tinygen" / "zoo").iterdir()):
        pictures = sorted(folder.glob("*.png"))
        if not pictures and folder.name.endswith("-ldm"):                       # those that the README shows, too
            pictures = sorted((root / "assets").glob(f"{folder.name.removesuffix('-ldm')}-samples.png"))
        if pictures:
            card = (folder / "README.md").read_text().split("\n\n")
            lines += [f"## `zoo:{folder.name}`", "", " ".join(card[1].split()), ""]
        for picture in pictures:
            name = f"{folder.name}-{picture.name}"
            shutil.copy2(picture, source / "gallery" / name)
            lines += [f"![{picture.stem.replace('-', ' ')} of zoo:{folder.name}](gallery/{name})", ""]
    return "\n".join(lines)


def reference(imported: dict[str, list[str]]) -> dict[str, str]:
    """{page: text}: one page for each part of the library, from docstrings."""
    package = importlib.import_module("tinygen")
    parts = [name for _, name, _ in pkgutil.iter_modules(package.__path__, "tinygen.") if not name.endswith("__main__")]
    pages = {"index": f"# Library reference\n\n{package.__doc__}\n\n{toctree(parts)}"}
    for part in parts:
        module = importlib.import_module(part)
        public = set(getattr(module, "__all__", vars(module)))
        deeper = [name for name in sorted(imported) if name.startswith(f"{part}.") and name.count(".") > 2
                  and name.rpartition(".")[2] not in public]
        body = [f"# {part}", "", "```{eval-rst}", f".. automodule:: {part}", ""]
        body += [".. rubric:: Used in the book from deeper modules", ""] if deeper else []
        for name in deeper:
            thing = getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
            kind = "class" if inspect.isclass(thing) else "function" if inspect.isfunction(thing) else "data"
            body += [f".. auto{kind}:: {name}", ""]
        pages[part] = "\n".join([*body, "```", ""])
    return pages
