"""A Sphinx extension: names of the library link to their page, equations to their checks, checks to their equations."""

import posixpath
import re

LINKED = r"<a\b.*?</a>"                                          # what is a link already stays as it is
NAME = re.compile(LINKED + r'|<span class="(?:pre|n|nc|nf|nn)">(?P<name>[A-Za-z_][\w.]*)(?:\(\))?</span>', re.DOTALL)
IMPORT = re.compile(r"from (tinygen[\w.]*) import (\([^)]*\)|[^\n]*)")
NUMBERED = re.compile(r'(<div class="math[^>]* id="equation-(eq-[\w-]+)">\s*<span class="eqno">\()(\d+)(\))')
REFERENCE = re.compile(r'(<a class="reference internal" href="([^"]*?)#equation-eq-[^>]*>\()(\d+)(\)</a>)')
CHECK = re.compile(r'<span class="s2">(?:"|&quot;)(eq-[a-z0-9-]+)(?:"|&quot;)</span>')


def names(page: str, objects: dict) -> dict[str, str]:
    """The names a page may link: full ones, and those that its code imports."""
    known = {name: name for name in objects}
    text = re.sub(r"<[^>]+>", "", page)
    for module, imported in IMPORT.findall(text):
        for name in re.findall(r"\w+", imported):
            if f"{module}.{name}" in objects:
                known[name] = f"{module}.{name}"
    return known


def link_names(page: str, here: str, objects: dict) -> str:
    """Wrap every known name of the library, in prose and in code, in a link; `objects` is {name: (page, anchor)}."""
    known = names(page, objects)

    def link(match: re.Match) -> str:
        full = known.get(match["name"] or "")
        if not full:
            return match.group()
        target, anchor = objects[full]
        address = posixpath.relpath(target + ".html", posixpath.dirname(here) or ".")
        return f'<a class="library" href="{address}#{anchor}" title="{full}">{match.group()}</a>'

    return NAME.sub(link, page)


def number(name: str) -> str:
    """The first part of an equation's number: 07 for the page 07-vq-vae."""
    return f"{name.partition('-')[0]}."


def link_equations(page: str, here: str) -> str:
    """Number equations by chapter, link each to the first cell that checks it, and the cell back to it."""
    labels, seen = {label for _, label, _, _ in NUMBERED.findall(page)}, set()

    def to_equation(match: re.Match) -> str:
        label = match.group(1)
        if label not in labels:
            return match.group()
        anchor = "" if label in seen else f' id="check-{label}"'
        seen.add(label)
        return f'<a class="s2"{anchor} href="#equation-{label}" title="To the equation">&quot;{label}&quot;</a>'

    def to_check(match: re.Match) -> str:
        before, label, count, after = match.groups()
        check = f' <a class="check" href="#check-{label}" title="The cell that checks this equation">✓</a>'
        return f"{before}{number(here)}{count}{after}{check if label in seen else ''}"

    def to_number(match: re.Match) -> str:
        before, address, count, after = match.groups()
        return f"{before}{number(posixpath.basename(address) or here)}{count}{after}"

    return REFERENCE.sub(to_number, NUMBERED.sub(to_check, CHECK.sub(to_equation, page)))


def finish(app, here: str, template: str, context: dict, doctree) -> None:
    """What is done to every page before it is written."""
    if "body" in context and doctree is not None:
        objects = {name: (entry.docname, entry.node_id) for name, entry in app.env.get_domain("py").objects.items()
                   if name.startswith("tinygen.") and entry.objtype != "module"}
        body = context["body"] if here.startswith("api/") else link_names(context["body"], here, objects)
        context["body"] = link_equations(body, here)


def setup(app) -> dict:
    """Called by Sphinx."""
    app.connect("html-page-context", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
