"""Scenes say what is true of them; widgets show the scene of their controls, and a picture where nothing can move."""

import asyncio
import base64
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from tinygen.data import load, to_float
from tinygen.diffusion import SAMPLERS, build_path
from tinygen.models import load_model
from tinygen.show import grid, scenes, scrub, widgets


@pytest.fixture(scope="module")
def painter():
    return load_model("zoo:shapes-ldm")[0]


@pytest.fixture(scope="module")
def vqgan():
    return load_model("zoo:shapes-vqgan")[0]


@pytest.fixture(scope="module")
def shapes():
    return to_float(load("shapes:test").images[:4])


def all_of(box, kind):
    below = [found for child in getattr(box, "children", ()) for found in all_of(child, kind)]
    return [box] * isinstance(box, kind) + below


def picture(box):
    shown = all_of(box, ipywidgets.HTML)[0].value
    encoded = re.fullmatch('<img alt=".+" width="\\d+" src="data:image/png;base64,(.+)">', shown)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded[1]))))


def caption(box):
    return all_of(box, ipywidgets.Label)[0].value


def control(box, name):
    return next(widget for widget in all_of(box, ipywidgets.Widget) if getattr(widget, "description", "") == name)


def moves(box, name, value):
    """Set a control: the picture changes."""
    before = picture(box)
    control(box, name).value = value
    after = picture(box)
    assert before.shape != after.shape or (before != after).any()


def test_a_widget_is_stored_with_a_picture_and_a_fixed_text(shapes):
    for box in (widgets.noise_explorer(build_path("flow"), shapes), scrub([grid(shapes), grid(-shapes)])):
        bundle = box._repr_mimebundle_()
        assert bundle["text/plain"] == widgets.FALLBACK and "application/vnd.jupyter.widget-view+json" in bundle
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))), picture(box))


def test_a_picture_has_an_alternative_text(shapes):
    box = widgets.noise_explorer(build_path("flow"), shapes)
    control(box, "t").value = 0.5
    assert f'alt="{caption(box)}"' in all_of(box, ipywidgets.HTML)[0].value and caption(box).startswith("t = 0.50")
    box = scrub([grid(shapes), grid(-shapes)], width=77)
    control(box, "frame").value = 1
    assert all_of(box, ipywidgets.HTML)[0].value.startswith('<img alt="frame 1" width="77" ')


def test_lloyd_goes_downhill_to_the_means():
    points = torch.cat([torch.randn(50, 2, generator=torch.Generator().manual_seed(i)) * 0.1 + 3 * i for i in range(3)])
    distortions = [scenes.lloyd(points, 3, steps, seed=1)[1] for steps in range(8)]
    assert all(a >= b for a, b in zip(distortions, distortions[1:]))
    codes, distortion = scenes.lloyd(points, 1, 1)
    assert codes[0].allclose(points.double().mean(0))
    assert abs(distortion - points.double().var(0, unbiased=False).sum()) < 1e-9
    assert scenes.lloyd(points, 150, 0)[1] == 0


def test_voronoi_and_palette_follow_their_sliders(shapes):
    box = widgets.voronoi_explorer(torch.randn(200, 2, generator=torch.Generator().manual_seed(0)))
    moves(box, "steps", 5)
    moves(box, "codes", 3)
    assert caption(box).startswith("3 codes after 5 steps: ")
    box = widgets.palette_explorer(shapes[0])
    moves(box, "colours", 2)
    quantised = picture(box)[2:-2, 2 * 2 + 160:2 * 2 + 320]
    assert len(np.unique(quantised.reshape(-1, 3), axis=0)) == 2 and "1.0 bits" in caption(box)


def test_the_ring_game_learns_and_starts_again():
    game = scenes.RingGame(rate_g=1e-3, rate_d=3e-3)
    start = torch.cdist(game.fake(500), scenes.CENTRES).amin(1).mean()
    game.play(300)
    assert torch.cdist(game.fake(500), scenes.CENTRES).amin(1).mean() < start / 2
    box = widgets.gan_playground(steps=50)
    assert caption(box).startswith("step 50: ")
    control(box, "50 steps").click()
    assert caption(box).startswith("step 100: ")
    moves(box, "loss", "hinge")
    assert caption(box).startswith("step 0: ")
    control(box, "50 steps").click()
    control(box, "restart").click()
    assert caption(box).startswith("step 0: ")


def test_a_swapped_code_changes_the_picture_around_it(vqgan, shapes):
    codes = vqgan.encode_codes(shapes[:1])[0]
    box = widgets.codebook_explorer(vqgan, codes)
    buttons = all_of(box, ipywidgets.GridBox)[0].children
    assert [int(button.description) for button in buttons] == codes.flatten().tolist()
    buttons[3 * codes.shape[1] + 5].click()
    assert caption(box).startswith(f"row 3, column 5: code {int(codes[3, 5])} -> 0")
    assert [button.button_style for button in buttons].count("info") == 1
    assert buttons[3 * codes.shape[1] + 5].button_style == "info" and not any(button.tabbable for button in buttons)
    moves(box, "code", vqgan.codebook_size - 1)
    moves(box, "place", 4 * codes.shape[1] + 2)                                  # from the keyboard
    assert caption(box).startswith(f"row 4, column 2: code {int(codes[4, 2])} -> {vqgan.codebook_size - 1}")
    assert scenes.swapped_code(vqgan, codes, 2, 2, int(codes[2, 2]))[1].endswith(" 0% of the pixels change")
    edited = codes.clone()
    edited[0, 0] = (edited[0, 0] + 7) % vqgan.codebook_size
    difference = (vqgan.decode_codes(edited[None]) - vqgan.decode_codes(codes[None])).abs()[0].amax(0)
    assert difference[:8, :8].max() > 10 * difference[-8:, -8:].max()


def test_noise_is_none_at_0_and_all_at_1(shapes):
    path = build_path("flow")
    clean, text = scenes.noised(path, shapes, 0.0)
    assert np.array_equal(clean[2:98], clean[100:196]) and "infinite" in text
    assert np.array_equal(scenes.noised(path, shapes, 1.0)[0][100:196], scenes.noised(path, -shapes, 1.0)[0][100:196])
    moves(widgets.noise_explorer(path, shapes), "t", 0.8)


def test_samplers_race_from_one_noise(painter):
    box = widgets.sampler_race(painter, torch.tensor([3, 4]))
    assert caption(box) == "4 calls of the network for each row"
    moves(box, "seed", 1)
    moves(box, "calls", 2)
    asked = {}

    class Stub:
        def generate(self, n, labels, generator, steps, sampler, guidance_scale):
            asked[sampler] = (steps, torch.randn(3, generator=generator).tolist())
            return torch.zeros(n, 3, 32, 32)

    scenes.race(Stub(), torch.tensor([3, 4]), 6, seed=5)
    assert {name: steps for name, (steps, _) in asked.items()} == {name: 3 if name == "heun" else 6 for name in SAMPLERS}
    assert len({str(noise) for _, noise in asked.values()}) == 1


def test_guidance_and_interpolation_follow_their_sliders(painter):
    moves(widgets.guidance_explorer(painter, 4), "scale", 5.0)
    one = scenes.guidance(painter, 4, 3.0, n=2, steps=2)[0]
    drawn = painter.generate(2, torch.tensor([4, 4]), torch.Generator().manual_seed(0), steps=2, guidance_scale=3.0)
    assert np.array_equal(one, grid(drawn, 2))
    ends = [scenes.between(painter, 4, u, steps=2)[0] for u in (0.0, 0.5, 1.0)]
    left, middle, right = (slice(6 + 130 * i, 6 + 130 * i + 128) for i in range(3))
    assert np.array_equal(ends[0][-132:-6, left], ends[0][-132:-6, middle])
    assert np.array_equal(ends[2][-132:-6, right], ends[2][-132:-6, middle])
    assert (ends[1][-132:-6, left] != ends[1][-132:-6, middle]).any()
    moves(widgets.interpolation_explorer(painter, 4), "u", 0.9)


def test_attention_is_a_share_and_prompts_are_checked(painter):
    prompt = "a large red heart on a plain white background"
    image, maps = scenes.attention(painter, prompt, steps=2)
    assert image.shape == (3, 32, 32) and [name.split()[1] for name in maps] == prompt.split()
    total = torch.stack(list(maps.values())).sum(0)
    assert (total > 0).all() and (total < 1).all()                              # the start token has the rest
    plain = painter.generate(1, None, torch.Generator().manual_seed(0), prompts=[prompt], steps=2, guidance_scale=4.0)
    assert plain[0].equal(image)
    assert not any(module._forward_hooks for module in painter.denoiser.modules())
    box = widgets.prompt_box(painter, prompt)
    moves(box, "prompt", "a small blue star on a plain black background")
    before = picture(box)
    control(box, "prompt").value = "a large rad heart"
    assert "unknown word 'rad'" in caption(box) and np.array_equal(picture(box), before)


def test_the_dashboard_follows_a_run(tmp_path):
    def line(step):
        return json.dumps({"step": step, "images": 8 * step, "seconds": step / 2, "lr": 1e-3, "images_per_second": 16,
                           "loss": 1 / step}) + "\n"

    log = tmp_path / "log.jsonl"
    log.write_text(line(1) + line(2))
    box = widgets.dashboard(tmp_path, seconds=0.01)
    assert caption(box) == "step 2: 16 images after 1 s, 16 a second"
    log.write_text(log.read_text() + line(3))
    control(box, "read again").click()
    assert caption(box).startswith("step 3: ")

    async def follow():
        control(box, "follow").value = True
        log.write_text(log.read_text() + line(4))
        for _ in range(500):
            await asyncio.sleep(0.01)
            if caption(box).startswith("step 4: "):
                break
        control(box, "follow").value = False
        await asyncio.sleep(0.05)

    with ThreadPoolExecutor(1) as thread:               # a browser test in the same worker may keep a loop running in this one
        thread.submit(asyncio.run, follow()).result()
    assert caption(box).startswith("step 4: ")
