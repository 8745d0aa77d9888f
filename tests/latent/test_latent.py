"""The latent pipeline: statistics, what the network is told, guidance, image to image, inpainting."""

from types import SimpleNamespace

import pytest
import torch

from tinygen.autoencoder import KLAutoencoder
from tinygen.data import Batch, ImageSet, to_float
from tinygen.errors import TinygenError
from tinygen.latent import LatentDiffusion, LatentDiffusionObjective, Tokenizer, cache_latents
from tinygen.vq import VQAutoencoder

CAPTIONS = ("a red star", "a small blue star", "a blue square", "a red square on blue")
WORDS = Tokenizer.vocabulary(CAPTIONS)


def dataset(n=12):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 3, 16, 16), generator=generator, dtype=torch.uint8)
    captions = tuple(CAPTIONS[i % 4] for i in range(n))
    return ImageSet("noise:train", images, torch.arange(n) % 3, ("x", "y", "z"), captions,
                    torch.zeros(n, 0, dtype=torch.long), {})


def pipeline(network="unet", num_classes=3, words=WORDS, first_stage=None, stir=True, **options):
    """A tiny pipeline on 4 x 4 latents; stirred, so that outputs that start at zero hide nothing."""
    torch.manual_seed(0)
    first_stage = first_stage or KLAutoencoder(2, channels=8, image_size=16)
    size = {"unet": {"channels": 8, "channel_mults": [1], "blocks": 1}, "dit": {"channels": 16, "depth": 2}}[network]
    model = LatentDiffusion(first_stage, network, size, num_classes, words, text_length=7, text_channels=8, **options)
    if stir:
        with torch.no_grad():
            for parameter in (p for p in model.parameters() if p.requires_grad):
                parameter.add_(0.3 * torch.randn(parameter.shape))
        model.latent_mean.copy_(torch.tensor([0.5, -0.2]).view(2, 1, 1))
        model.latent_std.copy_(torch.tensor([2.0, 0.7]).view(2, 1, 1))
    return model.eval()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def labels(*values):
    return torch.tensor(values)


def test_latent_statistics_are_those_of_the_data():
    model, data = pipeline(stir=False), dataset()
    batches = LatentDiffusionObjective(model).batches(data, batch_size=4, flip=False)
    latents = model.first_stage.to_latent(to_float(data.images))         # (N, C, h, w)
    for channel in range(2):
        assert model.latent_mean[channel].item() == pytest.approx(latents[:, channel].mean().item(), abs=1e-5)
        assert model.latent_std[channel].item() == pytest.approx(latents[:, channel].std().item(), rel=1e-4)
    batch = batches[0]
    torch.testing.assert_close(batch.images, model.encode(to_float(data.images[batch.index])), atol=1e-5, rtol=1e-4)
    assert {"latent_mean", "latent_std"} <= set(model.state_dict())      # they travel with the weights


def test_cached_latents_are_of_images_and_of_mirror_images():
    model, data = pipeline(), dataset()
    cache = cache_latents(model.first_stage, data.images, flip=True, batch_size=5)
    assert cache.shape == (2, 12, 2, 4, 4)
    for variant, images in zip(cache, (to_float(data.images), to_float(data.images).flip(3)), strict=True):
        torch.testing.assert_close(variant, model.first_stage.to_latent(images), atol=1e-5, rtol=1e-4)


def test_encode_and_decode_are_inverse_in_the_statistics():
    model, x = pipeline(), to_float(dataset().images)
    torch.testing.assert_close(model.decode(model.encode(x)), model.first_stage.reconstruct(x), atol=1e-5, rtol=1e-4)
    z = torch.randn(3, 2, 4, 4, generator=seeded())
    images = model.decode(z)
    torch.testing.assert_close(images, model.first_stage.from_latent(z * model.latent_std + model.latent_mean))


def test_the_first_stage_is_frozen_and_stays_in_eval_mode():
    model = pipeline(first_stage=VQAutoencoder(8, 2, channels=8, image_size=16)).train()
    assert not model.first_stage.training and model.denoiser.training
    assert not any(p.requires_grad for p in model.first_stage.parameters())
    group, = LatentDiffusionObjective(model).groups().values()
    frozen = {id(p) for p in model.first_stage.parameters()}
    assert {id(p) for p in group} == {id(p) for p in model.parameters()} - frozen


def told_by(objective, n=4000, seed=0):
    """What the denoiser is told about a batch of `n`, all of class 1 and with the first caption."""
    seen = {}
    objective.model.denoiser.loss = lambda x, generator, **told: (seen.update(told) or x.sum(), {})
    batch = Batch(torch.zeros(n, 2, 4, 4), torch.full((n,), 1), torch.zeros(n, dtype=torch.long))
    list(objective.losses(batch, SimpleNamespace(generator=seeded(seed))))
    return seen


def test_labels_and_captions_are_left_out_independently():
    model = pipeline(stir=False)
    objective = LatentDiffusionObjective(model, label_dropout=0.2, caption_dropout=0.4)
    objective.batches(dataset(), batch_size=4)
    model.text_encoder.forward = lambda tokens: (tokens, tokens != 0)
    told = told_by(objective)
    no_label, no_caption = told["labels"] == 3, (told["context"] == torch.tensor(model.tokenizer.encode(""))).all(1)
    assert ((told["labels"] == 1) | no_label).all()
    kept = (told["context"] == torch.tensor(model.tokenizer.encode(CAPTIONS[0]))).all(1)
    assert (kept | no_caption).all()
    share = lambda flags: flags.float().mean().item()
    assert share(no_label) == pytest.approx(0.2, abs=0.03) and share(no_caption) == pytest.approx(0.4, abs=0.03)
    assert share(no_label & no_caption) == pytest.approx(0.08, abs=0.02)
    assert torch.equal(told_by(objective)["labels"], told["labels"])     # from the step's generator alone


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_dropout_of_nothing_and_of_everything(probability):
    objective = LatentDiffusionObjective(pipeline(words=None), label_dropout=probability)
    told = told_by(objective, 50)
    assert set(told) == {"labels"} and (told["labels"] == (3 if probability else 1)).all()


@pytest.mark.parametrize("network", ["unet", "dit"])
def test_generate_is_determined_by_its_seed(network):
    model = pipeline(network)
    make = lambda seed, **options: model.generate(2, labels(0, 2), seeded(seed), steps=3, **options)
    images = make(0)
    assert images.shape == (2, 3, 16, 16) and images.abs().max() <= 1
    assert torch.equal(images, make(0)) and not torch.equal(images, make(1))
    assert torch.equal(make(0, sampler="ddpm"), make(0, sampler="ddpm"))
    torch.rand(5)                                                        # the global generator plays no part
    assert torch.equal(images, make(0))


@pytest.mark.parametrize("network", ["unet", "dit"])
def test_guidance_scale_1_is_the_conditional_model(network):
    model = pipeline(network)
    prompts = ["a red star", "blue square"]
    seen = []
    plain = model.denoiser.x0
    model.denoiser.x0 = lambda x, t, **told: seen.append(told) or plain(x, t, **told)
    make = lambda **options: model.generate(2, labels(0, 2), seeded(), prompts=prompts, steps=3, **options)
    images = make(guidance_scale=1.0)
    assert all(len(told["labels"]) == 2 and told["labels"].tolist() == [0, 2] for told in seen)    # never asked without
    by_hand = make(guidance_scale=3.0, guidance_interval=(2.0, 3.0))     # an interval that no time lies in
    assert torch.equal(images, by_hand)
    seen.clear()
    assert not torch.allclose(images, make(guidance_scale=3.0), atol=1e-3)
    assert all(told["labels"].tolist() == [0, 2, 3, 3] for told in seen)
    torch.testing.assert_close(images, make(guidance_scale=1.0 + 1e-6), atol=1e-3, rtol=0)


def test_guidance_by_hand():
    """One Euler step from t = 1 ends at the guess: null + w (conditional - null)."""
    model = pipeline()
    noise = torch.randn(2, 2, 4, 4, generator=seeded())
    told, null = model.condition(2, labels(0, 2)), model.condition(2)
    conditional, without = model.denoiser.x0(noise, 1.0, **told), model.denoiser.x0(noise, 1.0, **null)
    expected = model.decode(without + 3.0 * (conditional - without))
    images = model.generate(2, labels(0, 2), seeded(), steps=1, sampler="euler", guidance_scale=3.0)
    torch.testing.assert_close(images, expected, atol=1e-4, rtol=1e-3)


def test_null_condition_is_the_extra_class_and_the_empty_text():
    model = pipeline()
    told = model.condition(2)
    assert told["labels"].tolist() == [3, 3] and told["context_mask"].sum(1).tolist() == [1, 1]
    empty = model.condition(2, labels(3, 3), ["", ""])
    assert all(torch.equal(value, empty[key]) for key, value in told.items())
    plain = model.generate(2, generator=seeded(), steps=2, guidance_scale=1.0)
    assert torch.equal(plain, model.generate(2, generator=seeded(), steps=2, guidance_scale=5.0))  # nothing to guide to
    away = model.generate(2, generator=seeded(), steps=2, guidance_scale=5.0, negative_prompt="red star")
    assert not torch.allclose(plain, away, atol=1e-3)


def test_negative_prompt_equal_to_the_prompt_cancels_guidance():
    model = pipeline(num_classes=0)
    make = lambda **options: model.generate(2, generator=seeded(), prompts=["red star"] * 2, steps=2, **options)
    cancelled, plain = make(guidance_scale=4.0, negative_prompt="red star"), make(guidance_scale=1.0)
    torch.testing.assert_close(cancelled, plain, atol=1e-4, rtol=1e-3)


def test_repeated_prompts_are_encoded_once_and_keep_their_places():
    model, prompts = pipeline(num_classes=0), ["red star", "blue", "red star", ""]
    seen, plain = [], model.text_encoder.forward
    model.text_encoder.forward = lambda tokens: seen.append(len(tokens)) or plain(tokens)
    context = model.condition(4, prompts=prompts)["context"]
    assert seen == [3]
    for row, prompt in zip(context, prompts, strict=True):
        torch.testing.assert_close(row, plain(model.tokenizer([prompt]))[0][0])


def test_padding_does_not_matter():
    """Neither to the words before it, nor to the picture."""
    model = pipeline(num_classes=0)
    before = model.generate(1, generator=seeded(), prompts=["a red star"], steps=2)
    tokens = model.tokenizer(["a red star"])
    context, mask = model.text_encoder(tokens)
    assert mask.tolist() == [[True] * 4 + [False] * 3]
    with torch.no_grad():
        model.text_encoder.tokens.weight[0] += 5.0                       # the vector of padding
        model.text_encoder.positions[4:] -= 3.0
    torch.testing.assert_close(model.text_encoder(tokens)[0][:, :4], context[:, :4])
    torch.testing.assert_close(model.generate(1, generator=seeded(), prompts=["a red star"], steps=2), before)


def test_img2img_at_small_strength_is_the_reconstruction():
    model, x = pipeline(), to_float(dataset(3).images)
    options = {"labels": labels(0, 1, 2), "steps": 3, "guidance_scale": 1.0}
    reconstruction = model.first_stage.reconstruct(x)
    distance = [(model.img2img(x, strength, seeded(), **options) - reconstruction).abs().mean().item()
                for strength in (0.001, 0.1, 1.0)]
    assert distance[0] < 0.01 < distance[1] < distance[2]
    forgotten = model.img2img(x, 1.0, seeded(), **options)
    torch.testing.assert_close(forgotten, model.generate(3, generator=seeded(), **options))
    with pytest.raises(TinygenError, match="strength must be above 0"):
        model.img2img(x, 0.0)


def test_inpaint_keeps_what_is_known():
    model, x = pipeline(), to_float(dataset(2).images)
    mask = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    mask[0, :, 3:9, 5:14] = True
    seen = []
    plain = model.denoiser.x0
    model.denoiser.x0 = lambda x_t, t, **told: seen.append((t, x_t)) or plain(x_t, t, **told)
    painted = model.inpaint(x, mask, seeded(), steps=4, labels=labels(0, 1), guidance_scale=1.0)
    outside = ~mask.expand_as(x)
    assert torch.equal(painted[outside], x[outside]) and torch.equal(painted[1], x[1])
    assert not torch.allclose(painted[~outside], x[~outside], atol=0.05)
    known, noise = model.encode(x), torch.randn(2, 2, 4, 4, generator=seeded())
    for t, x_t in seen[1:]:                                         # after every step: known latents at the step's time
        expected = (1 - t) * known + t * noise
        torch.testing.assert_close(x_t[1], expected[1], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(x_t[0, :, 3], expected[0, :, 3], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(x_t[0, :, 0:3, 1:4], expected[0, :, 0:3, 1:4], atol=0.05)


@pytest.mark.parametrize("options, message", [
    ({"prompts": ["a red dog", "a"]}, "unknown word 'dog'"), ({"prompts": ["a rad star", "a"]}, "did you mean 'red'"),
    ({"prompts": ["a a a a a a a", ""]}, "at most 6"), ({"labels": torch.tensor([0, 4])}, "labels must be from 0 to 2"),
    ({"labels": torch.tensor([-1, 0])}, "labels must be from 0 to 2"), ({"sampler": "dimm"}, "did you mean 'ddim'"),
    ({"strength": 2.0}, "strength must be"), ({"labels": torch.tensor([0, 1, 2])}, "same shape")])
def test_what_cannot_be_generated_is_refused(options, message):
    with pytest.raises(TinygenError, match=message):
        pipeline().generate(2, generator=seeded(), **{"steps": 2} | options)


def test_asking_a_model_for_what_it_does_not_know():
    with pytest.raises(TinygenError, match="knows no classes"):
        pipeline(num_classes=0).generate(1, labels(0), steps=1)
    for asked in ({"prompts": ["red"]}, {"negative_prompt": "red"}):
        with pytest.raises(TinygenError, match="knows no text"):
            pipeline(words=None).generate(1, labels(0), steps=1, **asked)
    with pytest.raises(TinygenError, match="unknown network 'unett'; did you mean 'unet'"):
        LatentDiffusion(KLAutoencoder(2, channels=8, image_size=16), "unett")


def test_preview_with_fewer_captions_than_usual():
    model, data = pipeline(stir=False), dataset(4)
    objective = LatentDiffusionObjective(model)
    batches = objective.batches(data, batch_size=2)
    assert objective.preview(model, batches[0]).shape == (24, 3, 16, 16)


def test_vocabulary_comes_from_the_captions():
    complete = LatentDiffusion.complete({"words": "captions", "num_classes": 3}, dataset())
    assert complete == {"words": WORDS, "num_classes": 3}
    assert LatentDiffusion.complete({"words": None}, dataset()) == {"words": None}
