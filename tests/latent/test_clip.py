"""The small CLIP: its two towers, its loss by hand, and a training that finds which caption belongs to which picture."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tinygen.data import ImageSet, generate_shapes, to_float
from tinygen.errors import TinygenError
from tinygen.latent import CLIP, ClipObjective, info_nce
from tinygen.models import load_model
from tinygen.train import Recipe, TrainConfig, Trainer, load_recipe

WORDS = ["a", "blue", "dark", "bright", "red"]


def tiny(**options):
    torch.manual_seed(0)
    return CLIP(WORDS, **{"text_length": 6, "text_channels": 8, "channels": 4, "embedding_channels": 8,
                          "image_size": 16} | options)


def images(n=6, size=16, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_both_towers_give_unit_vectors_and_logits_are_scaled_cosines():
    model, x, texts = tiny().eval(), images(), ["a red", "dark blue", "a"]
    pictures, sentences = model.encode_images(x), model.encode_texts(texts)
    assert pictures.shape == (6, 8) and sentences.shape == (3, 8)
    torch.testing.assert_close(pictures.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(sentences.norm(dim=1), torch.ones(3))
    expected = torch.stack([F.cosine_similarity(pictures, sentence[None]) for sentence in sentences], 1) / 0.07
    torch.testing.assert_close(model(x, model.tokenizer(texts)), expected, rtol=1e-4, atol=1e-4)


def test_padding_and_company_change_nothing():
    model = tiny().eval()
    alone = model.encode_texts(["a red"])
    torch.testing.assert_close(model.encode_texts(["a red", "a dark blue red a"])[:1], alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.encode_images(images())[2:3], model.encode_images(images()[2:3]), atol=1e-6, rtol=1e-5)


def test_temperature_is_at_least_a_hundredth():
    model = tiny()
    with torch.no_grad():
        model.log_scale.fill_(50.0)
    assert model.scale.item() == pytest.approx(100.0)


def test_unknown_words_are_refused():
    with pytest.raises(TinygenError, match="unknown word 'rad'; did you mean 'red'"):
        tiny().encode_texts(["a rad"])


def test_info_nce_by_hand():
    """Two pairs, logits [[log 3, 0], [0, 0]]: rows give log 4/3 and log 2, columns the same."""
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    assert info_nce(logits).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    assert info_nce(torch.zeros(5, 5)).item() == pytest.approx(math.log(5))


def test_equal_captions_share_the_target():
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    rows, columns = logits.log_softmax(1), logits.log_softmax(0)
    total = sum((log[0, 0] + log[0, 1] + log[1, 0] + log[1, 1]) / 2 + log[2, 2] for log in (rows, columns))
    torch.testing.assert_close(info_nce(logits, same), -total / 6)
    torch.testing.assert_close(info_nce(logits, torch.eye(3, dtype=torch.bool)), info_nce(logits))


def test_equal_captions_in_a_batch_are_seen(monkeypatch):
    data = ImageSet("tiny:train", (images(4) * 127 + 128).to(torch.uint8), torch.zeros(4, dtype=torch.long), ("x",),
                    ("a red", "a blue", "a red", "dark"), torch.zeros(4, 0, dtype=torch.long), {})
    objective, seen = ClipObjective(tiny()), []
    batch = objective.batches(data, batch_size=4, flip=False)[0]
    monkeypatch.setattr("tinygen.latent.clip.info_nce", lambda logits, same: seen.append(same) or logits.sum())
    list(objective.losses(batch, SimpleNamespace(generator=torch.Generator())))
    captions = [data.captions[row] for row in batch.index.tolist()]
    assert seen[0].tolist() == [[one == other for other in captions] for one in captions]


def test_noise_comes_from_the_generator_and_is_below_its_bound():
    model, shown = tiny(), []
    objective = ClipObjective(model, noise=0.5)
    objective.tokens = model.tokenizer(["a red"] * 200)
    batch = SimpleNamespace(images=torch.zeros(200, 3, 16, 16), index=torch.arange(200))
    model.encode_images = lambda x: shown.append(x) or torch.ones(200, 8)
    for _ in range(2):
        list(objective.losses(batch, SimpleNamespace(generator=torch.Generator().manual_seed(0))))
    assert torch.equal(*shown)
    deviation = shown[0].flatten(1).std(1)                               # uniform from 0 to 0.5
    assert deviation.max() < 0.53 and deviation.mean().item() == pytest.approx(0.25, abs=0.04)


def test_gradients_reach_the_picture_and_every_parameter():
    model, x = tiny(), images().requires_grad_()
    info_nce(model(x, model.tokenizer(["a red", "a blue", "dark", "bright", "a", "red blue"]))).backward()
    assert x.grad.abs().amax((1, 2, 3)).min() > 0
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_training_finds_the_captions(tmp_path):
    """Grey squares: after some seconds the right one of two captions is the nearer one."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (64,), generator=generator)
    pixels = (torch.randint(60, (64, 3, 16, 16), generator=generator) + 160 * labels[:, None, None, None]).to(torch.uint8)
    data = ImageSet("tiny:train", pixels, labels, ("dark", "bright"), tuple(f"a {('dark', 'bright')[k]}" for k in labels),
                    torch.zeros(64, 0, dtype=torch.long), {})
    recipe = Recipe(name="tiny", kind="clip", data="tiny", objective={"noise": 0.1},
                    model={"words": "captions", "text_channels": 8, "channels": 4, "embedding_channels": 8, "image_size": 16},
                    train=TrainConfig(steps=30, batch_size=16, lr=1e-2, precision="fp32", preview_every=10))
    model = Trainer(recipe, tmp_path / "run", device="cpu", data=data, quiet=True).run()
    again, info = load_model(tmp_path / "run")
    assert info["kind"] == "clip" and again.tokenizer.words == ("a", "bright", "dark")
    with torch.no_grad():
        x = to_float(data.images)
        nearest = (again.encode_images(x) @ again.encode_texts(["a dark", "a bright"]).T).argmax(1)
        torch.testing.assert_close(again.encode_images(x), model.encode_images(x))
    assert (nearest == labels).float().mean() > 0.95


def test_the_recipe_keeps_mirrors_out():
    recipe = load_recipe("shapes-clip")
    assert recipe.kind == "clip" and not recipe.train.flip               # captions say "left"


def test_the_zoo_model_picks_the_caption_among_fifty():
    model, _ = load_model("zoo:shapes-clip")
    data = generate_shapes(50, seed=11, split="test")
    with torch.no_grad():
        logits = model(to_float(data.images), model.tokenizer(data.captions))
    assert (logits.argmax(1) == torch.arange(50)).float().mean() > 0.8
