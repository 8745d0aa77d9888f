"""U-Net and DiT: shapes, conditions, gradients, and a start at zero."""

import pytest
import torch

from tinygen.diffusion import Denoiser, DiT, UNet
from tinygen.errors import TinygenError

CLASSES, TOKENS, WIDTH = 5, 6, 12


def build(kind, size=8, num_classes=CLASSES, context_channels=WIDTH, awake=True):
    """A small network; `awake` gives every parameter random values, so that nothing is hidden behind a zero."""
    torch.manual_seed(0)
    if kind == "unet":
        net = UNet(3, 16, (1, 2), 1, attention_sizes=(size // 2,), num_classes=num_classes,
                   context_channels=context_channels, heads=2, image_size=size)
    else:
        net = DiT(3, size, 2, channels=16, depth=2, heads=2, num_classes=num_classes, context_channels=context_channels)
    if awake:
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def batch(size=8, n=4):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, size, size, generator=generator)
    return {"x": x, "noise_level": torch.linspace(0.1, 0.9, n), "labels": torch.arange(n) % CLASSES,
            "context": torch.randn(n, TOKENS, WIDTH, generator=generator),
            "context_mask": torch.arange(TOKENS) < torch.arange(1, n + 1)[:, None]}


both = pytest.mark.parametrize("kind", ["unet", "dit"])


@both
@pytest.mark.parametrize("size", [8, 16])
def test_shapes_and_zero_output_before_training(kind, size):
    inputs = batch(size)
    out = build(kind, size, awake=False)(**inputs)
    assert out.shape == inputs["x"].shape and torch.equal(out, torch.zeros_like(out))
    assert build(kind, size)(**inputs).std() > 0.01


@both
def test_without_conditions(kind):
    inputs = batch()
    net = build(kind, num_classes=0, context_channels=0)
    assert net(inputs["x"], inputs["noise_level"]).shape == inputs["x"].shape
    assert not any("label" in name or "cross" in name for name, _ in net.named_parameters())


@both
def test_every_input_matters(kind):
    net, inputs = build(kind), batch()
    out = net(**inputs)
    changes = {"x": inputs["x"] + 0.1, "noise_level": inputs["noise_level"] + 0.05,
               "labels": (inputs["labels"] + 1) % CLASSES, "context": inputs["context"] + 0.5,
               "context_mask": torch.ones(4, TOKENS, dtype=torch.bool)}
    for key, value in changes.items():
        different = (net(**{**inputs, key: value}) - out).abs().amax(dim=(1, 2, 3))
        assert (different > 1e-4).all(), key


@both
def test_examples_do_not_see_each_other(kind):
    net, inputs = build(kind), batch()
    alone = net(**{key: value[2:3] for key, value in inputs.items()})
    torch.testing.assert_close(net(**inputs)[2:3], alone, rtol=1e-4, atol=1e-5)


@both
def test_no_label_is_the_null_label(kind):
    net, inputs = build(kind), batch()
    null = net(**{**inputs, "labels": torch.full((4,), CLASSES)})
    assert torch.equal(net(**{**inputs, "labels": None}), null)
    assert not torch.allclose(net(**inputs), null)


@both
def test_masked_tokens_have_no_effect(kind):
    net, inputs = build(kind), batch()
    hidden = torch.where(inputs["context_mask"][..., None], inputs["context"], 100.0)
    torch.testing.assert_close(net(**{**inputs, "context": hidden}), net(**inputs), rtol=1e-4, atol=1e-5)
    nothing = {**inputs, "context_mask": torch.zeros(4, TOKENS, dtype=torch.bool)}
    out = net(**nothing)
    assert out.isfinite().all()
    torch.testing.assert_close(net(**{**nothing, "context": 3 * inputs["context"]}), out, rtol=1e-4, atol=1e-5)


@both
def test_gradients_reach_every_parameter_and_are_finite(kind):
    net, inputs = build(kind), batch()
    inputs["context_mask"][0] = False                                           # even where there is no text at all
    net(**inputs).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


@both
def test_a_few_steps_lower_the_loss(kind):
    model = Denoiser(build(kind, context_channels=0, awake=False).train(), "flow", "v")
    labels = torch.arange(16) % 2
    x0 = (2.0 * labels - 1)[:, None, None, None].expand(16, 3, 8, 8)            # one class is black, the other white
    optimiser, losses = torch.optim.Adam(model.parameters(), lr=3e-3), []
    for step in range(40):
        loss, _ = model.loss(x0, torch.Generator().manual_seed(step), labels=labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_mistakes_are_told():
    with pytest.raises(TinygenError, match="fewer channel_mults"):
        UNet(3, 16, (1, 2, 2), image_size=6)
    with pytest.raises(TinygenError, match="put 4 in attention_sizes"):
        UNet(3, 16, (1, 2), attention_sizes=(), context_channels=8, image_size=8)
    with pytest.raises(TinygenError, match="multiple of patch_size"):
        DiT(3, image_size=9, patch_size=2)
    with pytest.raises(TinygenError, match="multiple of heads"):
        DiT(3, channels=30, heads=4)
