"""JupyterLab as a student sees it: no raw markup, cells that run, a slider and a code that change the picture."""

import re
import shutil
from pathlib import Path

import jupytext
import nbformat
from playwright.sync_api import TimeoutError

BOOK = Path(__file__).parents[2] / "book"
PATIENCE = 300_000                                                              # milliseconds, on a busy machine
RAW = re.compile(r":::|```|\$\$|\{[a-z:+-]+\}`|\{(?:math|code-cell|figure|note|tip|admonition|exercise|solution)\}"
                 r"|\\(?:frac|begin|end|mathrm|mathbb|label)\b|\(eq-[a-z]|</?(?:details|summary|div|br)\b")
# The text of rendered Markdown, without code and without the TeX that formulas keep for screen readers.
TEXT = """[...document.querySelectorAll('.myst')].map(shown => {
    const copy = shown.cloneNode(true);
    copy.querySelectorAll('code, pre, .katex-mathml').forEach(part => part.remove());
    return copy.textContent;
}).join('\\n')"""
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)"
PIXELS = """image => {
    const size = {width: image.naturalWidth, height: image.naturalHeight};
    const canvas = Object.assign(document.createElement('canvas'), size);
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL();
}"""
EXPLORER = """from tinygen.data import generate_shapes, to_float
from tinygen.models import load_model
from tinygen.show.widgets import codebook_explorer

first_stage = load_model("zoo:shapes-vqgan")[0]
test_codes = first_stage.encode_codes(to_float(generate_shapes(200, seed=2, split="test").images))"""


def open_notebook(visitor, lab, name: str):
    """A page of JupyterLab with this notebook of the lab's folder, its kernel ready."""
    page = visitor.open(lab[0].format(f"{name}.ipynb"))
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.locator("#jp-main-statusbar", has_text="Idle").wait_for(timeout=PATIENCE)
    assert page.locator(".jp-NotebookPanel").count() == 1                       # nothing that another visitor left
    return page


def run_all(page) -> None:
    """Run > Run All Cells, until the last has run; none may fail. A click that JupyterLab was not ready for is repeated."""
    before = page.evaluate(PROMPTS)
    for _ in range(10):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            page.wait_for_function(f"before => {PROMPTS}.join() !== before.join()", arg=before, timeout=30_000)
            break
        except TimeoutError:
            page.keyboard.press("Escape")
    errors = page.locator("[data-mime-type='application/vnd.jupyter.error']")
    try:
        page.wait_for_function(f"{PROMPTS}.every(text => /\\d/.test(text)) || document.querySelector("
                               "'[data-mime-type=\"application/vnd.jupyter.error\"]')", timeout=PATIENCE)
    except TimeoutError:
        raise AssertionError(page.evaluate(PROMPTS)) from None
    assert errors.all_inner_texts() == []


def changes(page, image, act) -> None:
    """The picture is another one after `act`, and says in words what it shows now."""
    before, said = image.evaluate(PIXELS), image.get_attribute("alt")
    act()
    for _ in range(300):
        if image.evaluate(PIXELS) != before:
            break
        page.wait_for_timeout(100)
    assert image.evaluate(PIXELS) != before
    assert said and image.get_attribute("alt") not in ("", said)


def test_a_first_hour_with_chapter_00(lab, visitor, pictures):
    shutil.copy(BOOK / "00-start-here.ipynb", lab[1])
    page = open_notebook(visitor, lab, "00-start-here")
    shown = page.locator(".myst")
    shown.get_by_text("Where next?").wait_for(timeout=PATIENCE)
    shown.locator(".katex").first.wait_for(timeout=PATIENCE)
    page.screenshot(path=pictures / "lab-00-opened.png")
    text = page.evaluate(TEXT)
    assert "Where do they come from?" in text and "Where next?" in text and RAW.findall(text) == []
    still = page.locator(".jp-OutputArea-output img")
    assert still.count() > 8                                                    # pictures before anything has run
    folded = shown.get_by_text("All randomness of the library comes from")
    assert not folded.is_visible()
    shown.locator("summary", has_text="Solution").first.click()
    folded.wait_for()
    page.screenshot(path=pictures / "lab-00-solution.png")
    run_all(page)
    board = page.locator(".jupyter-widgets.widget-vbox")
    assert board.count() == 1
    board.scroll_into_view_if_needed()
    handle = board.locator(".noUi-handle")
    handle.focus()
    changes(page, board.locator("img"), lambda: page.keyboard.press("ArrowRight"))
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    board.get_by_text("t = 0.30").wait_for()
    page.screenshot(path=pictures / "lab-00-slid.png")


def test_a_code_is_swapped_in_the_codebook_explorer(lab, visitor, pictures):
    chapter = jupytext.read(next(BOOK.glob("09-*.md")), fmt="md:myst")
    cell, = (cell.source for cell in chapter.cells if cell.source.startswith("codebook_explorer("))
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (EXPLORER, cell)],
                                    metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    nbformat.write(made, lab[1] / "explorer.ipynb")
    page = open_notebook(visitor, lab, "explorer")
    run_all(page)
    board = page.locator(".jupyter-widgets.widget-vbox")
    image, handles, buttons = board.locator("img"), board.locator(".noUi-handle"), board.locator("button")
    image.wait_for()
    page.screenshot(path=pictures / "lab-codebook.png")
    assert buttons.count() == 64
    changes(page, image, buttons.nth(3 * 8 + 5).click)                          # with the mouse
    board.get_by_text("row 3, column 5: code ").wait_for()
    handles.nth(1).focus()                                                      # and from the keyboard: the code
    changes(page, image, lambda: page.keyboard.press("PageUp"))
    handles.nth(0).focus()                                                      # the place
    changes(page, image, lambda: page.keyboard.press("ArrowLeft"))
    board.get_by_text("row 3, column 4: code ").wait_for()
    page.screenshot(path=pictures / "lab-codebook-swapped.png")
