"""A Sphinx extension: what would be worked out again for every page is worked out once."""

from functools import cache

from sphinx import addnodes
from sphinx.search.en import SearchEnglish


class English(SearchEnglish):
    """Sphinx's English, which remembers the stem of every word."""

    def __init__(self, options: dict):
        super().__init__(options)
        self.stem = cache(self.stem)


def title(contents):
    """A copy of a page's contents without its sections, unless other pages stand among them."""
    copy = contents.deepcopy()
    for page in copy.children:
        if len(page) > 1 and not any(page.findall(addnodes.toctree)):
            page.pop(1)
    return copy


def keep_titles(app, env) -> None:
    """Once all pages are read: the contents that the sidebar shows."""
    env.only_titles = {name: title(contents) for name, contents in env.tocs.items()}


def sidebar(app, page: str, template: str, context: dict, doctree) -> None:
    """For the sidebar of each page Sphinx copies the contents of all: here no more of them than it shows."""
    toctree, env = context["toctree"], app.env

    def quick(**options) -> str:
        whole = env.tocs
        env.tocs = env.only_titles if options.get("titles_only") else whole
        try:
            return toctree(**options)
        finally:
            env.tocs = whole

    context["toctree"] = quick


def setup(app) -> dict:
    """Called by Sphinx."""
    app.add_search_language(English)
    app.connect("env-updated", keep_titles)
    app.connect("html-page-context", sidebar, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
