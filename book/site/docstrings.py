"""A Sphinx extension: our docstrings are plain text with indented examples; here they become reStructuredText."""

import re
import textwrap

MARKS = re.compile(r"(`[^`]+`)|([\\*_|])")


def text(line: str) -> str:
    """One line of plain text: `names` become code, and every other mark stands for itself."""
    return MARKS.sub(lambda match: f"`{match[1]}`" if match[1] else "\\" + match[2], line)


def convert(lines: list[str]) -> list[str]:
    """Paragraphs stay; a paragraph that is indented, or has indented lines, keeps its lines as they are."""
    converted = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        rows = block.splitlines()
        if rows and all(row.startswith("    ") for row in rows):
            converted += [".. code-block:: python", "", *textwrap.indent(textwrap.dedent(block), "   ").splitlines()]
        elif any(row.startswith((" ", "- ")) for row in rows):
            converted += [f"| {re.match(' *', row).group()}{text(row.strip())}" for row in rows]
        else:
            converted += [text(row) for row in rows]
        converted.append("")
    return converted


def setup(app) -> dict:
    """Called by Sphinx."""
    def process(app, what, name, thing, options, lines) -> None:
        lines[:] = convert(lines)

    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
