"""Trajectories and jumps: what samplers pass, and one step that lands where many do."""

import pytest
import torch

from tinygen.diffusion import build_path, ddim, jump, sample, time_grid, trajectory

MEAN, STD = 0.7, 0.5


def exact(path):
    """E[x0 | x_t] for data from N(MEAN, STD^2)."""
    def denoise(x, t):
        alpha, sigma = path.coefficients(t)
        return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)
    return denoise


def noise(n=5):
    return torch.randn(n, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", ["flow", "cosine"])
def test_a_trajectory_passes_where_the_exact_flow_does(name):
    """x_t - alpha MEAN keeps its number of standard deviations."""
    path, times = build_path(name), time_grid(build_path(name), 400)
    states = trajectory(exact(path), path, noise(), times, 100)
    assert states.shape == (5, 5, 1, 1, 1) and torch.equal(states[:, 0], noise())
    for state, t in zip(states.unbind(1), times[::100].tolist(), strict=True):
        alpha, sigma = path.coefficients(t)
        expected = alpha * MEAN + (alpha**2 * STD**2 + sigma**2) ** 0.5 * noise()
        torch.testing.assert_close(state, expected, atol=2e-3, rtol=0)


def test_the_end_of_a_trajectory_is_the_sample():
    path = build_path("flow")
    states = trajectory(exact(path), path, noise().float(), time_grid(path, 6), 3, "heun")
    sampled = sample(exact(path), path, (5, 1, 1, 1), 6, "heun", torch.Generator().manual_seed(1))
    again = torch.randn(5, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    assert states.shape[1] == 3
    torch.testing.assert_close(trajectory(exact(path), path, again, time_grid(path, 6), 3, "heun")[:, -1], sampled)


def test_jumps_have_a_time_each_and_are_steps_of_ddim():
    path = build_path("cosine")
    x, x0 = noise(), noise() * 0.3
    t, s = torch.tensor([[0.9, 0.5, 0.7, 1.0, 0.2], [0.3, 0.0, 0.6, 0.5, 0.1]], dtype=torch.float64)
    for i, end in enumerate(jump(x, x0, t, s, path)):
        times = torch.stack([t[i], s[i]])
        torch.testing.assert_close(ddim(lambda x_t, time: x0[i:i + 1], path, x[i:i + 1], times)[0], end)
