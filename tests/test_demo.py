"""The demo, at a length of seconds: everything that it promises is there, and can be read."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from tinygen.demo import DEMO, run
from tinygen.models import load_model

PICTURES = ("data.png", "reconstructions.png", "codebook.png", "classes.png", "prompts.png", "denoising.gif", "curves.png")


@pytest.mark.parametrize("decoder", [None, "cifar10-ldm-tuned"])
def test_demo_leaves_models_pictures_and_a_page(decoder, tmp_path, monkeypatch):
    """The speed run, too: it trains the decoder on."""
    monkeypatch.setenv("TINYGEN_TIER", "cpu")
    plan = replace(DEMO, first_stage_minutes=0.01, diffusion_minutes=0.01, n=40, decoder=decoder, decoder_minutes=0.01, samples=16)
    report = run(plan, tmp_path / "demo")

    for name in PICTURES:
        with Image.open(tmp_path / "demo" / name) as picture:
            assert picture.width >= 300 and picture.height >= 60, name
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 50, f"{name} is nearly blank"
    with Image.open(tmp_path / "demo" / "denoising.gif") as animation:
        assert animation.n_frames == 24
    page = (tmp_path / "demo" / "index.html").read_text()
    assert page.count("<img") == len(PICTURES) and "http:" not in page and "https:" not in page
    last = "tuned" if decoder else "ldm"
    for name, kind in (("vqgan", "vq"), ("ldm", "latent-diffusion"), (last, "latent-diffusion")):
        _, info = load_model(tmp_path / "demo" / name)
        assert info["kind"] == kind and info["data"] == "shapes" and info["steps"] >= 10
        lines = (tmp_path / "demo" / name / "log.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["step"] == info["steps"]
    assert json.loads((tmp_path / "demo" / "report.json").read_text())["seconds"] == report["seconds"]
    assert list(report["models"]) == ["vqgan", last]
    for name, stage in (("vqgan", "first stage"), (last, "decoder" if decoder else "diffusion")):
        learnt = report["models"][name]["training"]
        assert 0 < learnt["seconds"] < report["seconds"][stage] and learnt["images_per_second"] > 0
