"""The loop and its samplers, against flows that are known in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import smoothscore as ss
from smoothscore.sampling import Euler, Heun, draw, noise
from smoothscore.scores.base import Score


class IsotropicGaussian(Score):
    """Data N(1, 0.5^2 I): its flow scales the distance to the mean by sqrt((0.25 + s^2) / (0.25 + S^2))."""

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        x, level = self.check(x, sigma)
        return 1 + 0.25 / (0.25 + self.expand(level) ** 2) * (x - 1)


def flow(x: Tensor, sigma_from: float, sigma_to: float) -> Tensor:
    return 1 + math.sqrt((0.25 + sigma_to**2) / (0.25 + sigma_from**2)) * (x - 1)


def end_error(sampler: Euler | Heun, steps: int) -> float:
    """Largest error at sigma = 0.1, away from the last step, which is a denoise rather than a step."""
    score = IsotropicGaussian((3,))
    sigmas = ss.schedules.log_uniform(steps, 0.1, 10.0)
    path = draw(score, 4, sampler, sigmas=sigmas, trajectory=True, dtype=torch.float64).trajectory
    return float((path[-2] - flow(path[0], 10.0, 0.1)).abs().max())


@pytest.mark.parametrize(("sampler", "order"), [(Euler(), 1), (Heun(), 2)])
def test_order_of_convergence(sampler, order):
    errors = [end_error(sampler, 1 + 40 * 2**k) for k in range(4)]
    measured = np.polyfit(np.log([40 * 2**k for k in range(4)]), np.log(errors), 1)[0]
    assert measured == pytest.approx(-order, abs=0.1)


@pytest.mark.parametrize(("sampler", "evaluations"), [("euler", 18), ("heun", 35)])
def test_evaluations_and_last_step(sampler, evaluations):
    score = IsotropicGaussian((2, 4, 3))
    samples = draw(score, 3, sampler, trajectory=True, dtype=torch.float64)
    assert samples.evaluations == evaluations
    assert samples.trajectory.shape == (19, 3, 2, 4, 3)
    torch.testing.assert_close(samples.images, score.denoise(samples.trajectory[-2], 0.002))


def test_an_image_depends_on_its_seed_and_index_only():
    score = IsotropicGaussian((5,))
    whole = draw(score, 7, seed=3, batch_size=7).images
    parts = draw(score, 5, seed=3, batch_size=2).images
    torch.testing.assert_close(whole[:5], parts, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(whole, draw(score, 7, seed=4).images)
    assert torch.equal(noise(3, 2, 4, torch.Size((5,))), noise(3, 0, 4, torch.Size((5,)))[2:])


def test_noise_is_standard_normal():
    values = noise(0, 0, 400, torch.Size((50,))).flatten().numpy()
    assert abs(values.mean()) < 4 / math.sqrt(len(values))
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / len(values))


def test_one_center_is_hit_exactly():
    center = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(1, 1, 3, 4)
    samples = ss.sample(ss.EmpiricalScore(center), 3, steps=5)
    torch.testing.assert_close(samples.images, center.expand(3, -1, -1, -1).float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "at least 1"),
        ({"sampler": "magic"}, "no sampler 'magic'"),
        ({"sampler": 3}, "no sampler 3"),
        ({"sigmas": ["high", "low"]}, "descending"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"sigmas": [1.0, 2.0]}, "descending"),
        ({"sigmas": [1.0, 0.0]}, "positive"),
        ({"sigmas": [math.nan]}, "positive"),
        ({"sigmas": []}, "descending"),
        ({"sigmas": [1.0], "steps": 3}, "either"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ss.InputError, match=message):
        ss.sample(IsotropicGaussian((2,)), **{"n": 2} | arguments)


def test_points_are_no_images(tmp_path):
    samples = draw(IsotropicGaussian((2,)), 3)
    with pytest.raises(ss.InputError, match="no images"):
        samples.save_images(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_are_written_as_they_are(tmp_path):
    samples = draw(IsotropicGaussian((3, 6, 4)), 5, steps=4)
    samples.save_images(tmp_path / "out")
    again = ss.load_images(tmp_path / "out")
    assert np.array_equal(again.take(range(5)), ss.data.to_images(samples.images).take(range(5)))
    assert samples.to_dict()["setting"]["sampler"] == "heun"
