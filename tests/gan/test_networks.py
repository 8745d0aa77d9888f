"""Generator and discriminators: shapes, determinism, conditioning, and the receptive field measured by gradients."""

import pytest
import torch

from tinygen.errors import TinygenError
from tinygen.gan import Discriminator, FeatureDiscriminator, Generator, PatchDiscriminator


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def measured_field(net, size):
    """Side of the square of pixels that have a gradient on the logit in the middle."""
    x = torch.randn(1, 3, size, size, generator=seeded(), requires_grad=True)
    logits = net(x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows, columns = (x.grad[0].abs().sum(dim=0).sum(dim=axis).nonzero() for axis in (1, 0))
    sides = {(rows.max() - rows.min() + 1).item(), (columns.max() - columns.min() + 1).item()}
    assert len(sides) == 1
    return sides.pop()


@pytest.mark.parametrize("layers, tail_kernel, field",
                         [(1, 4, 16), (2, 4, 34), (3, 4, 70), (1, 3, 12), (2, 3, 26), (3, 3, 54)])
def test_receptive_field_is_what_the_gradient_says(layers, tail_kernel, field):
    torch.manual_seed(0)
    net = PatchDiscriminator(channels=4, layers=layers, tail_kernel=tail_kernel)
    assert net.receptive_field == field == measured_field(net, 128)


def test_the_default_patch_is_smaller_than_the_image():
    net = PatchDiscriminator()
    assert net.receptive_field < 32
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 1, 8, 8)


def test_group_norm_lets_a_logit_see_the_whole_map():
    torch.manual_seed(0)
    net = PatchDiscriminator(channels=8, norm="group")
    assert measured_field(net, 64) > net.receptive_field


def test_patch_discriminator_refuses_what_it_does_not_know():
    with pytest.raises(TinygenError, match="'none' or 'group'"):
        PatchDiscriminator(norm="batch")
    with pytest.raises(TinygenError, match="at least 1 layer"):
        PatchDiscriminator(layers=0)


def test_a_head_of_the_feature_discriminator_sees_a_patch_of_its_own_map():
    torch.manual_seed(0)
    sizes = ((2, 32), (3, 16), (5, 8), (7, 4))
    net = FeatureDiscriminator([width for width, _ in sizes], channels=4)
    maps = [torch.randn(2, width, side, side, generator=seeded(), requires_grad=True) for width, side in sizes]
    logits = net(maps)
    assert [tuple(map_.shape) for map_ in logits] == [(2, 1, side, side) for side in (16, 16, 8, 4)]
    for index, map_ in enumerate(logits):
        middle = map_.shape[-1] // 2
        gradients = torch.autograd.grad(map_[0, 0, middle, middle], maps, allow_unused=True, materialize_grads=True)
        assert [bool(g[0].any()) for g in gradients] == [i == index for i in range(4)]
        assert not gradients[index][1].any()                                    # nor its neighbour in the batch
        side = gradients[index][0].abs().sum((0, 1)).count_nonzero().item()
        assert side == (7, 5, 5, 4)[index]                                      # the last map has no more


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("num_classes", [0, 5])
def test_generator_and_discriminator_shapes(size, num_classes):
    torch.manual_seed(0)
    generator = Generator(latent_channels=16, channels=4, num_classes=num_classes, image_size=size)
    labels = torch.tensor([0, 1, 4]) if num_classes else None
    images = generator(torch.randn(3, 16), labels)
    assert images.shape == (3, 3, size, size) and images.abs().max() <= 1
    assert Discriminator(4, num_classes, size)(images, labels).shape == (3,)


def test_generate_is_deterministic_and_leaves_the_network_as_it_was():
    torch.manual_seed(0)
    model = Generator(latent_channels=16, channels=4, num_classes=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again, other = (model.generate(4, generator=seeded(seed)) for seed in (7, 7, 8))
    assert first.shape == (4, 3, 32, 32) and not first.requires_grad
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_an_image_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    model = Generator(latent_channels=16, channels=4)
    model(torch.randn(32, 16))                                                  # moves the running statistics
    z = torch.randn(6, 16)
    torch.testing.assert_close(model.eval()(z)[:2], model(z[:2]))


def test_labels_change_the_image_once_the_norms_have_learned_them():
    torch.manual_seed(0)
    model = Generator(latent_channels=16, channels=4, num_classes=2).eval()
    z = torch.randn(1, 16).expand(2, -1)
    for norm in model.norms:
        torch.nn.init.normal_(norm.bias.weight)
    zero, one = model(z, torch.tensor([0, 1]))
    assert (zero - one).abs().max() > 0.01


def test_projection_discriminator_is_linear_in_the_class_vector():
    torch.manual_seed(0)
    critic = Discriminator(4, num_classes=3, image_size=8)
    x, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
    phi = critic.features(x)
    by_hand = torch.stack([(critic.logit.weight[0] + critic.class_vectors.weight[y]) @ f for y, f in zip(labels, phi)])
    torch.testing.assert_close(critic(x, labels), by_hand + critic.logit.bias)


@pytest.mark.parametrize("call, message", [
    (lambda: Generator(num_classes=2, channels=4)(torch.zeros(1, 128)), "give labels from 0 to 1"),
    (lambda: Generator(num_classes=2, channels=4).generate(3, torch.tensor([0, 1])), "3 samples need 3 labels"),
    (lambda: Discriminator(4, num_classes=2)(torch.zeros(1, 3, 32, 32)), "give labels from 0 to 1"),
    (lambda: Generator(image_size=48), "power of two"),
    (lambda: Discriminator(image_size=4), "power of two")])
def test_mistakes_get_one_clear_line(call, message):
    with pytest.raises(TinygenError, match=message):
        call()
