"""Quantisers: k-means with forgetting by hand, straight-through gradients, initialisation, restarts."""

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from tinygen.vq import VectorQuantizer, straight_through


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(z):
    """(B, D, h, w) -> (B h w, D), in the order of the codes."""
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def ready(codebook, **options):
    """A quantiser that counts as initialised, with `codebook` (K, D)."""
    model = VectorQuantizer(*codebook.shape, **options)
    with torch.no_grad():
        model.codebook.copy_(codebook)
    model.code_count.fill_(1.0)
    if model.decay is not None:
        model.code_sum.copy_(codebook)
    model.initialized.fill_(True)
    return model


@pytest.mark.parametrize("l2_normalize", [False, True])
def test_nearest_is_the_smallest_distance(l2_normalize):
    z, codebook = latents(5, 4, 3, 3), latents(16, 4, seed=1)
    model = ready(codebook, l2_normalize=l2_normalize).eval()
    z_q, codes, _ = model(z)
    unit = (lambda x: x / x.norm(dim=-1, keepdim=True)) if l2_normalize else (lambda x: x)
    expected = torch.cdist(unit(rows(z)), unit(codebook)).argmin(1)
    assert torch.equal(codes.flatten(), expected) and codes.shape == (5, 3, 3) and codes.dtype == torch.int64
    torch.testing.assert_close(rows(z_q), unit(codebook)[expected])
    torch.testing.assert_close(z_q, model.codes_to_latents(codes))
    if l2_normalize:
        torch.testing.assert_close(z_q.norm(dim=1), torch.ones(5, 3, 3))
        cosine = F.cosine_similarity(rows(z)[:, None], codebook[None], dim=2).argmax(1)
        assert torch.equal(codes.flatten(), cosine)                     # directions only


@pytest.mark.parametrize("gamma", [0.9, 0.0])
def test_moving_average_is_k_means_with_forgetting(gamma):
    """Two steps by hand, latent by latent; gamma = 0 is Lloyd's step: every code moves to the mean of its latents."""
    codebook = latents(6, 3, seed=1)
    model = ready(codebook, decay=gamma, restart_below=0.0)
    count, total, codebook = [1.0] * 6, [code.clone() for code in codebook], list(codebook)
    for step in range(2):
        z = latents(4, 3, 2, 2, seed=step + 2)
        owner = torch.cdist(rows(z), torch.stack(codebook)).argmin(1).tolist()
        model(z)
        for k in range(6):
            mine = [vector for vector, o in zip(rows(z), owner, strict=True) if o == k]
            count[k] = gamma * count[k] + (1 - gamma) * len(mine)
            total[k] = gamma * total[k] + (1 - gamma) * sum(mine, torch.zeros(3))
            if gamma == 0 and mine:
                torch.testing.assert_close(model.codebook[k], torch.stack(mine).mean(0))
            codebook[k] = total[k] / count[k] if count[k] > 0 else codebook[k]
        torch.testing.assert_close(model.codebook, torch.stack(codebook))
        torch.testing.assert_close(model.code_count, torch.tensor(count))
        torch.testing.assert_close(model.code_sum, torch.stack(total))
    assert gamma or 0 in count                                           # a code that owned nothing stayed where it was


def test_a_code_that_is_never_chosen_stays_where_it_is():
    """The average count of an unused code vanishes after some time; the code must not drift to the origin then."""
    far = torch.full((1, 2), 40.0)
    model = ready(torch.cat([latents(3, 2), far]), decay=0.5, restart_below=0.0)
    for step in range(160):
        model(latents(2, 2, 2, 2, seed=step))
    assert model.code_count[3] < 1e-30 and torch.allclose(model.codebook[3:], far, rtol=1e-3)


def test_repeated_steps_find_the_clusters():
    centres = torch.tensor([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0]])
    model = VectorQuantizer(3, 2, decay=0.5, restart_below=0.3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        which = torch.randint(3, (64,), generator=generator)
        z = centres[which] + 0.1 * torch.randn(64, 2, generator=generator)
        model(z.t().reshape(1, 2, 8, 8), generator)
    assert torch.cdist(centres, model.codebook).min(1).values.max() < 0.1


def test_straight_through_gradient_is_that_at_z_q():
    z, target = latents(2, 4, 3, 3).requires_grad_(), latents(2, 4, 3, 3, seed=5)
    model = ready(latents(8, 4, seed=1)).eval()
    z_q, _, losses = model(z)
    value = z_q.detach().clone().requires_grad_()
    (value * target).sin().sum().backward()
    (z_q * target).sin().sum().backward(retain_graph=True)
    torch.testing.assert_close(z.grad, value.grad)
    commitment, = torch.autograd.grad(losses["commitment"], z)
    torch.testing.assert_close(commitment, 2 * (z - value).detach() / z.numel())
    out = straight_through(z, 3 * value)
    torch.testing.assert_close(out, 3 * value)
    torch.testing.assert_close(torch.autograd.grad(out.sum(), z)[0], torch.ones_like(z))


def test_losses_by_hand():
    z, codebook = latents(2, 4, 3, 3), latents(8, 4, seed=1)
    nearest = torch.cdist(rows(z), codebook).min(1).values
    by_average = ready(codebook, decay=0.9).eval()(z).losses
    by_gradient = ready(codebook, decay=None).eval()(z).losses
    assert set(by_average) == {"commitment"} and set(by_gradient) == {"commitment", "codebook"}
    for loss in (*by_average.values(), *by_gradient.values()):
        torch.testing.assert_close(loss, nearest.square().mean() / 4)


@pytest.mark.parametrize("l2_normalize", [False, True])
def test_codebook_loss_moves_codes_towards_their_latents(l2_normalize):
    """With the codebook learned by gradient, in training mode (where restarts write into the codebook, too)."""
    z = latents(4, 3, 4, 4)
    model = ready(latents(5, 3, seed=1), decay=None, l2_normalize=l2_normalize)
    assert [name for name, _ in model.named_parameters()] == ["codebook"]
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    errors = []
    for _ in range(30):
        losses = model(z, torch.Generator().manual_seed(0)).losses
        errors.append(losses["codebook"].item())
        optimizer.zero_grad()
        losses["codebook"].backward()
        optimizer.step()
    assert errors[-1] < 0.8 * errors[0]
    with pytest.raises(RuntimeError):                                    # the commitment loss does not reach the codes
        model(z).losses["commitment"].backward()


def test_codebook_gradient_pulls_each_code_to_the_mean_of_its_latents():
    z, codebook = latents(4, 3, 4, 4), latents(5, 3, seed=1)
    model = ready(codebook, decay=None, restart_below=0.0)
    model(z).losses["codebook"].backward()
    owner = torch.cdist(rows(z), codebook).argmin(1)
    for k in range(5):
        expected = 2 * (codebook[k] - rows(z)[owner == k]).sum(0) / z.numel()
        torch.testing.assert_close(model.codebook.grad[k], expected)


@pytest.mark.parametrize("decay", [0.9, None])
def test_first_batch_initialises_the_codebook_with_its_own_latents(decay):
    z = latents(2, 4, 4, 4)
    model = VectorQuantizer(16, 4, decay, restart_below=0.0)
    assert not model.initialized
    model.eval()(z)
    assert not model.initialized                                         # not by looking
    model.train().initialize(rows(z), torch.Generator().manual_seed(0))
    distance = torch.cdist(model.codebook.detach(), rows(z))
    assert model.initialized and (distance.min(1).values < 1e-3).all()
    assert len(distance.argmin(1).unique()) == 16                        # 16 different ones of the 32
    model = VectorQuantizer(16, 4, decay, restart_below=0.0)
    codes = model(z, torch.Generator().manual_seed(0)).codes
    assert len(codes.unique()) == 16 and model.initialized               # each is the nearest code of the latent it was
    before = model.codebook.detach().clone()
    model(latents(2, 4, 4, 4, seed=9) + 7, torch.Generator().manual_seed(0))
    assert ((model.codebook - before).norm(dim=1) < 1e-5).sum() >= 8     # not initialised again by the next batch


def test_initialisation_with_fewer_latents_than_codes_uses_them_all():
    z = latents(1, 4, 2, 2)
    model = VectorQuantizer(10, 4)
    model.initialize(rows(z), torch.Generator().manual_seed(0))
    uses = torch.cdist(model.codebook, rows(z)).argmin(1).bincount()
    assert uses.tolist() in [list(p) for p in itertools.product((2, 3), repeat=4) if sum(p) == 10]


@pytest.mark.parametrize("decay", [0.5, None])
def test_dead_codes_restart_and_live_ones_do_not(decay):
    z = latents(4, 2, 4, 4)
    codebook = torch.tensor([[0.5, 0.5], [-0.5, -0.5], [90.0, 90.0], [0.5, -0.5]])
    model = ready(codebook, decay=decay, restart_below=0.2)
    still = ready(codebook, decay=decay, restart_below=0.0)
    for quantizer in (model, still):
        quantizer.code_count.copy_(torch.tensor([16.0, 16.0, 0.1, 16.0]))     # the mean count of 64 latents is 16
        quantizer(z, torch.Generator().manual_seed(0))
    assert torch.cdist(model.codebook.detach()[2:3], rows(z)).min() < 1e-3    # it sits on a latent of the batch
    torch.testing.assert_close(model.codebook[[0, 1, 3]], still.codebook[[0, 1, 3]])
    torch.testing.assert_close(model.code_count[[0, 1, 3]], still.code_count[[0, 1, 3]])
    assert model.code_count[2] == 0.25 * 16                                   # enough to live on for a while
    assert 2 in model.eval()(z).codes and (still.eval()(z).codes != 2).all()


@pytest.mark.parametrize("options", [{}, {"decay": None}, {"l2_normalize": True}])
def test_eval_mode_changes_nothing(options):
    model = ready(latents(8, 4, seed=1), **options).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for seed in range(3):
        model(latents(2, 4, 4, 4, seed=seed))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    fresh = VectorQuantizer(8, 4, **options).eval()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    fresh(latents(2, 4, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())


def test_half_precision_around_it_does_not_reach_it():
    z, model = latents(2, 4, 3, 3), ready(latents(64, 4, seed=1)).eval()
    expected = model(z)
    with torch.autocast("cpu", torch.bfloat16):
        result = model(z)
    assert torch.equal(result.codes, expected.codes) and result.z_q.dtype == torch.float32


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """The module that both processes run, and what each of them found."""
    folder, script = tmp_path_factory.mktemp("two"), Path(__file__).with_name("two_processes.py")
    environment = os.environ | {"PYTHONPATH": str(script.parents[2])}
    processes = [subprocess.Popen([sys.executable, str(script), str(rank), str(folder)], env=environment,
                                  stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
    spec = importlib.util.spec_from_file_location("two_processes", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def test_two_processes_share_one_codebook(two_processes):
    """The average is that of the whole batch; drawn codes are latents of the first process, the same on both."""
    module, (first, second) = two_processes
    assert first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())
    whole, start, own = module.latents(), module.codebook(), rows(module.latents()[0::2])
    single = module.quantizer(0.0, start)
    single(whole)
    torch.testing.assert_close(first["averaged"], single.codebook)
    torch.testing.assert_close(first["averaged_count"], single.code_count)
    restarted = module.quantizer(0.5, start)
    restarted(whole, torch.Generator().manual_seed(0))
    torch.testing.assert_close(first["restarted_count"], restarted.code_count)
    live = (restarted.codebook - single.codebook).norm(dim=1) == 0
    assert live.any() and not live[6:].any()
    torch.testing.assert_close(first["restarted"][live], restarted.codebook[live])
    assert torch.cdist(first["restarted"][~live], own).min(1).values.max() < 1e-3
    fresh = module.quantizer(0.0, None)                              # what process 0 draws, then the whole batch's step
    fresh.initialize(own, torch.Generator().manual_seed(0))
    fresh(whole)
    torch.testing.assert_close(first["fresh"], fresh.codebook)
