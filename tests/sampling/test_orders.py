"""How fast the samplers of the flow converge, where the flow is known or computed by SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import smoothscore as ss
from smoothscore.sampling import DDIM, DPMSolver, Euler, Exact, Heun, RungeKutta, Settling, VarianceEuler, draw, noise

GAUSSIAN = ss.GaussianScore(torch.tensor([1.0, -0.5, 0.0]), torch.diag(torch.tensor([0.25, 1.0, 0.01])))
MIXTURE = ss.GaussianMixtureScore(
    torch.tensor([0.3, 0.7]), torch.tensor([[-1.0, 0.4], [0.8, 0.0]]), [torch.eye(2) * 0.04, torch.eye(2) * 0.09]
)
LOW, HIGH = 0.1, 10.0


def reference(score, x):
    """The flow from HIGH to LOW by SciPy, image by image: (batch, d)."""

    def slope(log_sigma, state):
        point = torch.from_numpy(state).reshape(1, -1)
        return (point - score.denoise(point, math.exp(log_sigma))).flatten().numpy()

    ends = [
        solve_ivp(slope, (math.log(HIGH), math.log(LOW)), row.numpy(), method="DOP853", rtol=1e-11, atol=1e-11).y[:, -1]
        for row in x
    ]
    return torch.from_numpy(np.stack(ends))


def before_the_last_step(score, sampler, steps):
    """First state, and the one at LOW: the last step is a denoise, which is no step of the flow."""
    path = draw(score, 4, sampler, sigmas=ss.schedules.log_uniform(steps, LOW, HIGH), trajectory=True,
                dtype=torch.float64).trajectory  # fmt: skip
    return path[0], path[-2]


@pytest.mark.parametrize(
    ("sampler", "order"), [(Euler(), 1), (DDIM(), 1), (VarianceEuler(), 1), (Heun(), 2), (DPMSolver(), 2)]
)
@pytest.mark.parametrize("score", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
def test_order_of_convergence(score, sampler, order):
    exact = reference(score, before_the_last_step(score, sampler, 2)[0])
    counts = [160, 320, 640]
    errors = [float((before_the_last_step(score, sampler, 1 + n)[1] - exact).abs().max()) for n in counts]
    measured = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert measured == pytest.approx(order, abs=0.15)
    assert errors[-1] < {1: 0.2, 2: 1e-2}[order]


@pytest.mark.parametrize("score", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_runge_kutta_keeps_its_tolerance(score, tolerance):
    start, end = before_the_last_step(score, RungeKutta(tolerance, tolerance), 2)
    error = (end - reference(score, start)).abs()
    assert float(error.max()) < 30 * tolerance
    assert float(error.max()) > 1e-3 * tolerance  # it is no better than it must be


def test_runge_kutta_steps_of_an_image_are_its_own():
    alone = [draw(MIXTURE, i + 1, RungeKutta(), dtype=torch.float64).images[i] for i in (0, 3)]
    together = draw(MIXTURE, 5, RungeKutta(), dtype=torch.float64).images
    torch.testing.assert_close(torch.stack(alone), together[[0, 3]], rtol=0, atol=1e-12)


def test_exact_steps_are_the_flow():
    one = draw(GAUSSIAN, 4, "exact", dtype=torch.float64)
    many = draw(GAUSSIAN, 4, Exact(), steps=7, dtype=torch.float64)
    torch.testing.assert_close(one.images, many.images, rtol=1e-10, atol=1e-10)
    start = 80 * noise(0, 0, 4, GAUSSIAN.shape)
    torch.testing.assert_close(one.images, GAUSSIAN.solve(start, 80.0, 0.0), rtol=1e-12, atol=1e-12)
    assert one.evaluations == 1
    with pytest.raises(ss.InputError, match="not known in closed form"):
        draw(MIXTURE, 1, "exact")


def test_settled_images_follow_their_component_exactly():
    steps = 1 + 100
    by_heun = draw(MIXTURE, 6, "heun", sigmas=ss.schedules.log_uniform(steps, 1e-3, HIGH), dtype=torch.float64)
    settled = draw(
        MIXTURE, 6, Settling(rest=1e-6), sigmas=ss.schedules.log_uniform(steps, 1e-3, HIGH), dtype=torch.float64
    )
    torch.testing.assert_close(settled.images, by_heun.images, rtol=0, atol=8e-3)
    assert settled.evaluations < by_heun.evaluations

    start = settled.images + 0.25 * noise(1, 0, 6, MIXTURE.shape)
    share, owner = MIXTURE.weights(start, 0.25).max(1)
    owned = 1 - share < 1e-6
    means = torch.tensor([[-1.0, 0.4], [0.8, 0.0]], dtype=torch.float64)[owner]
    spread = torch.tensor([0.04, 0.09], dtype=torch.float64)[owner].unsqueeze(1)
    expected = means + (spread / (spread + 0.25**2)).sqrt() * (start - means)
    two_steps = draw(MIXTURE, 6, Settling(rest=1e-6), sigmas=[0.25, 0.2], start=start, dtype=torch.float64).images
    assert 2 <= int(owned.sum()) < 6
    torch.testing.assert_close(two_steps[owned], expected[owned], rtol=0, atol=1e-5)
    with pytest.raises(ss.InputError, match="no mixture"):
        draw(GAUSSIAN, 1, "settling")


@pytest.mark.parametrize(
    "make", [lambda: RungeKutta(rtol=0), lambda: DDIM(eta=2), lambda: Settling(rest=0)], ids=["rtol", "eta", "rest"]
)
def test_options_out_of_range_are_refused(make):
    with pytest.raises(ss.InputError):
        make()
