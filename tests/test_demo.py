"""The demo, at a length of seconds: everything that it promises is there, and can be read."""

import json

from PIL import Image

from tinygen.demo import run_demo
from tinygen.models import load_model

PICTURES = ("data.png", "reconstructions.png", "codebook.png", "classes.png", "prompts.png", "denoising.gif", "curves.png")


def test_demo_leaves_models_pictures_and_a_page(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGEN_TIER", "cpu")
    run_demo(tmp_path / "demo", minutes=0.02, n=40)

    for name in PICTURES:
        with Image.open(tmp_path / "demo" / name) as picture:
            assert picture.width >= 300 and picture.height >= 60, name
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 50, f"{name} is nearly blank"
    with Image.open(tmp_path / "demo" / "denoising.gif") as animation:
        assert animation.n_frames == 24
    page = (tmp_path / "demo" / "index.html").read_text()
    assert page.count("<img") == len(PICTURES) and "http:" not in page and "https:" not in page
    for name, kind in (("vqgan", "vq"), ("ldm", "latent-diffusion")):
        _, info = load_model(tmp_path / "demo" / name)
        assert info["kind"] == kind and info["data"] == "shapes" and info["steps"] >= 10
        lines = (tmp_path / "demo" / name / "log.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["step"] == info["steps"]
