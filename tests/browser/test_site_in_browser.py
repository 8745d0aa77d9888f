"""The site as readers see it, offline: from disk, over http, by day and night, wide and narrow, by keyboard."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinygen.show import Page

TYPESET = "document.querySelectorAll('mjx-container svg').length > 20"
SETTLED = "window.MathJax?.startup?.promise.then(() => document.querySelectorAll('mjx-container svg').length)"
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
STILL = "*, ::before, ::after { transition: none !important; animation: none !important; }"
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
KINDS = ["index", "07-vq-vae", "24-outlook", "C-myths", "equations", "myths", "failures", "symbols", "gallery",
         "api/index", "api/tinygen.vq", "labs/guide", "labs/lab05/lab05", "genindex", "py-modindex", "search"]
# The element that has the focus: what it is called, whether it can be seen, and how it shows that it has the focus.
FOCUS = """() => {
    const element = document.activeElement, box = element.getBoundingClientRect();
    const marks = [element, ...element.querySelectorAll('.toctree-toggle')].map(part => getComputedStyle(part));
    return {name: (element.ariaLabel || element.innerText || element.title || '').trim(),
            marked: marks.some(style => (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1)
                                        || style.boxShadow !== 'none'),
            seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth};
}"""
BEFORE_SOLUTION = """() => {
    const stops = [...document.querySelectorAll('article :is(a[href], summary)')].filter(
        stop => stop.checkVisibility({visibilityProperty: true}));
    stops[stops.findIndex(stop => stop.localName === 'summary' && stop.innerText.includes('Solution')) - 1].focus();
}"""


@pytest.fixture
def served(site):
    """The site's address on a local server."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def look(page, name: str, pictures) -> list:
    """What cannot be read or slides sideways on a page, by day and night, at a desk and on a phone; with pictures."""
    page.add_style_tag(content=STILL)
    bad = []
    for size, pixels in SIZES.items():
        page.set_viewport_size(pixels)
        for light in ("light", "dark"):
            page.emulate_media(color_scheme=light)
            page.screenshot(path=pictures / f"{name.replace('/', '-')}-{size}-{light}.png")
            found = page.evaluate(CONTRAST)
            assert found["measured"] > 3
            bad += [(name, size, light, *text) for text in found["bad"]]
        if page.evaluate(SIDEWAYS) > 1:
            bad.append((name, size, "slides sideways"))
    return bad


def test_a_chapter_from_disk(site, visitor, pictures):
    page = visitor.open((site / "index.html").as_uri())
    page.screenshot(path=pictures / "site-index.png")
    page.locator("nav.bd-links a", has_text="VQ-VAE").first.click()
    page.wait_for_function(TYPESET)
    page.screenshot(path=pictures / "site-07.png")
    solution = page.locator("details", has=page.locator("summary", has_text="Solution")).first
    inside = solution.locator("p").first
    assert not inside.is_visible()
    solution.locator("summary").focus()
    page.keyboard.press("Enter")
    inside.wait_for(state="visible")
    page.screenshot(path=pictures / "site-07-solution.png")
    reference = page.locator('a.reference[href^="#equation-eq-"]').first
    reference.hover()
    page.locator(".equation-preview svg").first.wait_for(state="visible")
    page.screenshot(path=pictures / "site-07-preview.png")
    page.mouse.move(0, 0)
    check = page.locator("a.check").first
    label = check.get_attribute("href").removeprefix("#check-")
    check.click()
    page.locator(f"#check-{label}").wait_for(state="visible")
    assert label in page.locator(f"#check-{label}").inner_text()


def test_search_from_disk(site, visitor, pictures):
    page = visitor.open((site / "index.html").as_uri())
    page.keyboard.press("ControlOrMeta+k")
    page.locator("dialog input[type=search]").wait_for(state="visible")
    page.keyboard.type("commitment")
    page.keyboard.press("Enter")
    page.locator("#search-results li a", has_text="VQ-VAE").first.wait_for()
    page.screenshot(path=pictures / "site-search.png")


@pytest.mark.parametrize("name", KINDS)
def test_a_page_can_be_read_by_day_and_night_at_a_desk_and_on_a_phone(name, served, visitor, pictures):
    page = visitor.open(f"{served}/{name}.html")
    page.evaluate(SETTLED)
    page.locator("details").evaluate_all("all => all.forEach(folded => { folded.open = true; })")
    assert look(page, name, pictures) == []
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("img:not([alt]), img[alt='']").count() == 0


def test_the_measure_of_contrast_finds_what_is_too_faint(visitor, tmp_path):
    (tmp_path / "page.html").write_text("""<!doctype html><title>x</title><body style="background: #222"><p>faint</p>
        <p style="color: #eee">clear</p><div style="background: rgba(255, 255, 255, .9)"><p>clear</p>
        <p style="opacity: .4">half</p><p style="color: #777">grey</p><h1 style="color: #777">large</h1></div>
        <p hidden>hidden</p>""")
    page = visitor.open((tmp_path / "page.html").as_uri())
    found = page.evaluate(CONTRAST)
    assert (found["measured"], [text for text, *_ in found["bad"]]) == (6, ["faint", "half", "grey"])


def test_the_keyboard_reaches_everything(site, visitor, pictures):
    page = visitor.open((site / "07-vq-vae.html").as_uri())
    page.wait_for_function(TYPESET)
    page.evaluate(SETTLED)
    page.add_style_tag(content=STILL)

    def tab() -> dict:
        page.keyboard.press("Tab")
        return page.evaluate(FOCUS)

    first = tab()
    assert first["name"] == "Skip to main content" and first["seen"]
    page.screenshot(path=pictures / "site-07-skip.png")
    visited = [tab() for _ in range(85)]
    assert [place for place in visited if not place["seen"] or not place["marked"] or not place["name"]] == []
    names = [place["name"] for place in visited]
    assert {"Search", "Color mode"} <= set(names) and "08 · VQGAN: paying for sharpness" in names
    page.locator("#pst-skip-link a").focus()
    page.keyboard.press("Enter")
    tab()
    assert page.evaluate("document.querySelector('#main-content').contains(document.activeElement)")
    solution = page.locator("details", has=page.locator("summary", has_text="Solution")).first
    page.evaluate(BEFORE_SOLUTION)
    assert any("Solution" in tab()["name"] for _ in range(40)) and not solution.locator("p").first.is_visible()
    page.keyboard.press("Enter")
    solution.locator("p").first.wait_for(state="visible")
    page.set_viewport_size(SIZES["phone"])                                          # where the contents fold away
    page.locator("button.primary-toggle").focus()
    page.keyboard.press("Enter")
    page.locator("nav.bd-links a", has_text="VQGAN").first.wait_for(state="visible")


def test_a_report_can_be_read_by_day_and_night(visitor, pictures, tmp_path):
    report = Page("A report", "What it says first.").section("Pictures", "Some text.")
    report.table([{"metric": "FD", "value": 1.5}], "A caption.").table([{"key": "a", "words": "b c"}], words=True)
    page = visitor.open(report.section("More").save(tmp_path / "report.html").as_uri())
    assert look(page, "report", pictures) == []
