"""LoRA, ControlNet and the edges it is told: what is frozen, what is saved, and that both start as the base."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinygen.data import generate_meadow, generate_shapes, to_float
from tinygen.errors import TinygenError
from tinygen.latent import (ControlNet, ControlNetObjective, LoRA, LoRAObjective, LowRank, add_low_rank, agreement,
                            edge_map, merge_low_rank)
from tinygen.models import load_model, read_facts

BASE = "zoo:shapes-ldm"


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def base():
    return load_model(BASE)[0]


@pytest.mark.parametrize("layer, shape", [(nn.Linear(5, 4), (3, 5)), (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 8, 8))])
def test_a_low_rank_layer_starts_as_the_layer_and_merges_into_it(layer, shape):
    x, changed = torch.randn(shape, generator=seeded()), LowRank(layer, rank=2, scale=0.7)
    assert torch.equal(changed(x), layer(x))
    nn.init.normal_(changed.branch[1].weight)
    assert torch.linalg.matrix_rank(changed.change().flatten(1)) == 2
    network = nn.Sequential(changed, nn.Identity())
    before = network(x)
    assert merge_low_rank(network)[0] is layer
    torch.testing.assert_close(network(x), before, atol=1e-4, rtol=1e-4)


def test_every_layer_is_wrapped_once():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(3, 3, 1)))
    assert list(add_low_rank(network, 1)) == ["0", "2.0"]
    assert isinstance(network[0], LowRank) and isinstance(network[2][0], LowRank)


@pytest.mark.parametrize("adapter", [LoRA, ControlNet])
def test_a_fresh_adapter_draws_what_its_base_draws_and_saves_only_itself(adapter, base):
    model, hints = adapter(BASE), {"hints": torch.ones(2, 1, 32, 32)} if adapter is ControlNet else {}
    told = {"prompts": ["a large red star on a plain blue background"] * 2, "steps": 2}
    assert torch.equal(model.generate(2, None, seeded(), **told, **hints), base.generate(2, None, seeded(), **told))
    own = sum(p.numel() for p in model.parameters())
    assert sum(v.numel() for v in model.state_dict().values()) == own < sum(p.numel() for p in base.parameters()) / 2
    assert not any(p.requires_grad for p in model.pipeline.first_stage.parameters())
    twin = copy.deepcopy(model)                                          # the moving average is such a copy
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.1)
    changed = twin.generate(2, None, seeded(), **told, **hints)
    assert not torch.equal(changed, model.generate(2, None, seeded(), **told, **hints))


def test_the_base_must_be_the_right_one():
    assert LoRA.complete({"base": BASE}, None)["base_sha256"] == read_facts(BASE)["sha256"]
    with pytest.raises(TinygenError, match="trained beside other weights"):
        LoRA(BASE, base_sha256="0" * 64)
    with pytest.raises(TinygenError, match="kind 'latent-diffusion'"):
        ControlNet("zoo:shapes-vqgan")


@pytest.mark.parametrize("adapter, objective, data", [(LoRA, LoRAObjective, generate_meadow(8)),
                                                      (ControlNet, ControlNetObjective, generate_shapes(8))])
def test_only_the_adapter_learns(adapter, objective, data, base):
    goal = objective(adapter(BASE))
    progress = type("P", (), {"generator": seeded()})
    batch = goal.batches(data, batch_size=8, flip=False)[0]
    (_, loss, _), = goal.losses(batch, progress)
    loss.backward()
    trained = {id(p) for group in goal.groups().values() for p in group}
    assert trained == {id(p) for p in goal.model.parameters()}
    assert any(p.grad is not None and p.grad.any() for p in goal.model.parameters())
    assert torch.equal(goal.pipeline.latent_mean, base.latent_mean)      # nothing of the base is computed anew


def test_edges_and_mirror_images_do_not_go_together():
    with pytest.raises(TinygenError, match="flip=false"):
        ControlNetObjective(ControlNet(BASE)).batches(generate_shapes(4), batch_size=4, flip=True)


def test_edges_of_a_square_and_how_they_agree():
    image = -torch.ones(1, 3, 12, 12)
    image[..., 4:8, 4:8] = 1.0
    edges = edge_map(image)
    assert edges.shape == (1, 1, 12, 12) and edges[0, 0, 5, 3] == 1 and edges[0, 0, 0].sum() == 0
    assert not edge_map(torch.zeros(1, 3, 8, 8)).any()
    moved = F.pad(edges, (1, 0))[..., :-1]
    assert agreement(edges, edges).item() == 1 and agreement(moved, edges).item() == 1     # within a pixel
    assert agreement(torch.zeros_like(edges), edges).item() == 0


def test_meadow_shows_the_landscape_where_no_object_is():
    data = generate_meadow(40)
    corner = to_float(data.images)[:, :, 0, 0]
    assert corner.std(0).max() < 0.35 and data.captions[0] == generate_meadow(3).captions[0]
    assert not any("background" in caption for caption in data.captions)
