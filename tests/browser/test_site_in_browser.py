"""The site as a reader sees it: from a disk and over http, wide and narrow, without a network."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

TYPESET = "document.querySelectorAll('mjx-container svg').length > 20"


@pytest.fixture
def served(site):
    """The site's address on a local server."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


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
    page = visitor.open((site / "search.html").as_uri() + "?q=commitment")
    page.locator("#search-results li a", has_text="VQ-VAE").first.wait_for()
    page.screenshot(path=pictures / "site-search.png")


def test_dark_pages_over_http(served, visitor, pictures):
    page = visitor.open(f"{served}/08-vqgan.html")
    page.evaluate("localStorage.setItem('mode', 'dark'); localStorage.setItem('theme', 'dark')")
    page.reload()
    page.wait_for_function(TYPESET)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.screenshot(path=pictures / "site-08-dark.png")
    for name in ("equations", "myths", "failures", "symbols", "gallery", "api/index", "api/tinygen.vq", "genindex"):
        page.goto(f"{served}/{name}.html")
        page.screenshot(path=pictures / f"site-{name.replace('/', '-')}.png")


def test_a_phone_shows_everything_without_sliding_sideways(site, phone, pictures):
    page = phone.open((site / "07-vq-vae.html").as_uri())
    page.wait_for_function(TYPESET)
    for name in ("07-vq-vae", "index", "equations", "gallery", "C-myths"):
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_timeout(2000)
        page.screenshot(path=pictures / f"phone-{name}.png")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1, name
