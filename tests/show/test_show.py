"""Pictures: pixel by pixel where that is possible, else that they are whole, of the right size, and self-contained."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from tinygen.errors import TinygenError
from tinygen.show import (Page, codebook_map, grid, labelled_grid, loss_curves, read_log, save_gif, save_png, scrub,
                          to_hwc)

WHITE = (255, 255, 255)


def images(n, size=32, seed=0):
    return torch.randint(256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_grid_shows_every_pixel_where_it_belongs():
    x = images(5, size=4)
    picture = grid(x, columns=3, pad=2, scale=3)
    assert picture.dtype == np.uint8 and picture.shape == (2 * 14 + 2, 3 * 14 + 2, 3)
    seen = np.zeros(picture.shape[:2], bool)
    for i in range(5):
        top, left = 2 + 14 * (i // 3), 2 + 14 * (i % 3)
        for row in range(4):
            for column in range(4):
                here = (slice(top + 3 * row, top + 3 * row + 3), slice(left + 3 * column, left + 3 * column + 3))
                assert (picture[here] == x[i, :, row, column].numpy()).all()
                seen[here] = True
    assert (picture[~seen] == WHITE).all() and seen.sum() == 5 * 144


def test_grid_takes_floats_and_bytes_alike():
    x = images(4)
    assert np.array_equal(grid(x / 127.5 - 1), grid(x)) and grid(x, pad=0, scale=1).shape == (64, 64, 3)
    assert np.array_equal(to_hwc(x)[2, 5, 7], x[2, :, 5, 7].numpy())
    assert (to_hwc(torch.full((1, 3, 2, 2), 3.0)) == 255).all()
    with pytest.raises(TinygenError, match="no images"):
        grid(x[:0])


def test_labelled_grid_holds_the_grid_and_more():
    x = images(6, size=8)
    plain = grid(x, columns=3, pad=2, scale=4)
    titled = labelled_grid(x, 3, ["original", "decoded"], ["cat", "dog", "a long column title"], "Title", scale=4)
    height, width, _ = plain.shape
    windows = np.lib.stride_tricks.sliding_window_view(titled[..., 0], (height, width))
    where = np.argwhere((windows == plain[..., 0]).all(axis=(2, 3)))
    assert len(where) == 1
    top, left = where[0]
    assert (titled[:top] < 128).any() and (titled[:, :left] < 128).any()        # ink above and to the left
    bare = labelled_grid(x, 3, scale=4)
    assert bare.shape[0] < titled.shape[0] and bare.shape[1] < titled.shape[1]
    with pytest.raises(TinygenError, match="1 row titles for 2 rows"):
        labelled_grid(x, 3, ["one"])


def test_png_is_lossless_and_written_whole(tmp_path):
    picture = grid(images(3))
    path = save_png(picture, tmp_path / "new" / "folder" / "grid.png")
    assert np.array_equal(np.asarray(Image.open(path)), picture)
    assert [p.name for p in path.parent.iterdir()] == ["grid.png"]
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(TinygenError, match="cannot write"):
        save_png(picture, tmp_path / "taken.png")


def test_gif_has_all_frames_in_order_and_holds_the_last(tmp_path):
    frames = [np.full((20, 30, 3), value, np.uint8) for value in (0, 80, 160, 240)]
    frames[-1] = np.arange(20 * 30 * 3, dtype=np.uint32).reshape(20, 30, 3).astype(np.uint8) // 128 * 240
    frames[-1][:10] = np.array([0, 80, 160, 240, 0, 80, 160, 240, 0, 80], np.uint8)[:, None, None]
    animation = Image.open(save_gif(frames, tmp_path / "a.gif", seconds=2, hold=1))
    assert animation.n_frames == 4 and animation.info["loop"] == 0 and animation.size == (30, 20)
    durations, greys = [], []
    for k in range(4):
        animation.seek(k)
        durations.append(animation.info["duration"])
        greys.append(np.asarray(animation.convert("RGB")).astype(int))
    assert durations == [500, 500, 500, 1500]
    for k, grey in enumerate(greys):
        assert np.abs(grey - frames[k]).max() <= 2
    with pytest.raises(TinygenError, match="all of one size"):
        save_gif([frames[0], frames[0][:5]], tmp_path / "b.gif")


def test_log_is_read_and_drawn(tmp_path):
    rows = [{"step": s, "images": 64 * s, "seconds": s / 2, "lr": 1e-3, "reconstruction": 1 / s} for s in range(1, 11)]
    for row in rows[5:]:
        row["hinge"] = 0.5                                                      # a term that starts later
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 11, "ima')
    assert read_log(tmp_path) == read_log(path) == rows
    both, one = loss_curves(tmp_path, title="run"), loss_curves(rows, names=["hinge"])
    assert both.shape[1] > 1.8 * one.shape[1] and both.dtype == np.uint8
    blue = both[..., 2] > both[..., 0].astype(int) + 60
    half = both.shape[1] // 2
    assert blue[:, :half].sum() > 50 and blue[:, half:].sum() > 50
    with pytest.raises(TinygenError, match="has no hunge .*reconstruction, hinge"):
        loss_curves(rows, names=["hunge"])
    with pytest.raises(TinygenError, match="is not there"):
        read_log(tmp_path / "nothing")
    path.write_text("rubbish\n" + path.read_text())
    with pytest.raises(TinygenError, match="line 1"):
        read_log(path)


def test_codebook_map_shows_codes_from_most_to_least_used():
    colours = torch.tensor([[-1.0, -1, 1], [1, -1, -1], [-1, 1, -1]])           # codes 0, 1, 2: blue, red, green
    asked = []

    def decode(codes):
        asked.append(codes)
        return colours[codes[:, 0, 0]][:, :, None, None].expand(-1, 3, 32, 32)

    picture = codebook_map(torch.tensor([2.0, 7.0, 0.0]), decode, (8, 8), columns=3)
    assert asked[0].shape == (3, 8, 8) and (asked[0] == asked[0][:, :1, :1]).all()
    assert asked[0][:, 0, 0].tolist() == [1, 0, 2]
    bottom = picture[-20]
    pure = [tuple(pixel) for pixel in bottom if tuple(pixel) in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    assert list(dict.fromkeys(pure)) == [(255, 0, 0), (0, 0, 255), (0, 255, 0)]


class Reader(HTMLParser):
    """Collects what a page refers to, its pictures and its text, and holds tags to be closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.references, self.pictures, self.words = [], [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "srcset", "action", "data"):
                (self.pictures if value.startswith("data:") else self.references).append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_page_is_self_contained(tmp_path):
    picture, gif = grid(images(2)), io.BytesIO()
    Image.new("RGB", (4, 4)).save(gif, format="GIF")
    report = {"n": 50, "reference": "shapes:train", "judge": "zoo:j", "metrics": {"fd": 1.23456, "psnr": 20.0},
              "yardsticks": {"test": {"fd": 0.5}, "noise": {"fd": 99.0, "kd_error": None}}}
    page = Page("Demo <1>", "What & why").section("Pictures", "Some <b>text")
    page.image(picture, 'A "caption"').image(gif.getvalue())
    page.section("Numbers").table([{"model": "ours", "FD": 1.23456}, {"model": "theirs", "n": 3}])
    page.report(report, "Lower is better.")
    html = page.save(tmp_path / "page.html").read_text()
    assert not re.search(r"(?i)https?:|//|@import|url\(|<script|<link", re.sub(r'"data:[^"]*"', '""', html))
    reader = Reader()
    reader.feed(html)
    assert reader.open == [] and reader.references == ["#s0", "#s1"] and 'id="s0"' in html and 'id="s1"' in html
    assert [p.partition(";")[0] for p in reader.pictures] == ["data:image/png", "data:image/gif"]
    embedded = Image.open(io.BytesIO(base64.b64decode(reader.pictures[0].partition(",")[2])))
    assert np.array_equal(np.asarray(embedded), picture)
    for words in ("Demo <1>", "What & why", "Some <b>text", 'A "caption"', "1.235", "99", "theirs"):
        assert words in reader.words
    assert any("N = 50" in words and "shapes:train" in words for words in reader.words)
    assert "prefers-color-scheme: dark" in html and html.count("<b>") == 0


def test_scrub_follows_its_slider():
    frames = [grid(images(1, seed=s)) for s in range(3)]
    box = scrub(frames, ["noise", "half", "done"])
    (play, slider), image, caption = box.children[0].children, box.children[1], box.children[2]
    assert (slider.min, slider.max, caption.value) == (0, 2, "noise")
    for mover, k in ((slider, 2), (play, 1)):
        mover.value = k
        shown = Image.open(io.BytesIO(base64.b64decode(image.value.partition("base64,")[2])))
        assert np.array_equal(np.asarray(shown), frames[k]) and f'alt="{["noise", "half", "done"][k]}"' in image.value
        assert caption.value == ["noise", "half", "done"][k]
    assert scrub(frames).children[2].value == ""
    with pytest.raises(TinygenError, match="1 captions for 3 frames"):
        scrub(frames, ["one"])
