"""The Gaussian that a run keeps of its training images, and walks that leave the range of floats."""

import numpy as np
import pytest
import torch

import smoothscore as ss
from smoothscore.sampling import Teleport, draw, fit_gaussian, teleport
from smoothscore.training import moments

CONFIG = ss.TrainConfig(steps=1, batch_size=4, network_options={"width": 8})


def covariance_of(gaussian):
    spread = gaussian.directions * (gaussian.variances - gaussian.residual) @ gaussian.directions.mT
    return (spread + gaussian.residual * torch.eye(gaussian.dim)).double().numpy()


@pytest.fixture(scope="module")
def images():
    return ss.load_images("digits", limit=200, seed=0)


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    ss.train(images, CONFIG, folder)
    return folder


def test_a_run_keeps_the_moments_of_its_images(run, images):
    gaussian = ss.load_score(str(run)).moments
    values = images.tensor().flatten(1).double().numpy()
    np.testing.assert_allclose(gaussian.mean.numpy(), values.mean(0), atol=1e-6)
    np.testing.assert_allclose(covariance_of(gaussian), np.cov(values.T, bias=True), atol=1e-5)
    assert gaussian.mean.dtype == torch.float32


def test_a_run_is_teleported_without_its_images(run, images):
    own = ss.sample(str(run), 2, steps=6, teleport=3.0)
    given = ss.sample(str(run), 2, steps=6, teleport=3.0, moments=images)
    assert own.evaluations < ss.sample(str(run), 1, steps=6).evaluations
    torch.testing.assert_close(own.images, given.images, rtol=1e-3, atol=1e-3)
    assert Teleport.auto(ss.load_score(str(run)).moments, ss.load_score(str(run)).moments, [80.0, 9.0, 1.0]).sigma == 9


def test_a_run_from_before_asks_for_moments_until_it_goes_on(run, images):
    (run / "moments.safetensors").unlink()
    assert ss.load_score(str(run)).moments is None
    with pytest.raises(ss.InputError, match="give moments"):
        ss.sample(str(run), 1, teleport=3.0)
    ss.train(images, CONFIG, run)
    assert ss.load_score(str(run)).moments is not None


def test_large_sets_are_summed_up_by_some_of_their_images(tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "MOST", 50)
    train = torch.arange(160.0).reshape(80, 2)
    saved = moments.write_moments(tmp_path / "moments.safetensors", train)
    assert saved.exists()
    expected = train[torch.arange(50) * 80 // 50]
    from safetensors.torch import load_file

    torch.testing.assert_close(load_file(saved)["mean"], expected.mean(0))


def test_a_low_rank_keeps_the_whole_variance():
    images = torch.randn(60, 12, dtype=torch.float64) * torch.linspace(3, 0.1, 12)
    full, low = fit_gaussian(images), fit_gaussian(images, rank=4)
    assert low.rank == 4
    torch.testing.assert_close(low.variances, full.variances[:4])
    assert float(low.variances.sum() + 8 * low.residual) == pytest.approx(float(full.variances.sum()))
    assert fit_gaussian(images, rank=20).rank == 12


class Runaway(ss.Score):
    """Multiplies some images by ten thousand at every step: finite for long, but not what a network can take."""

    def denoise(self, x, sigma):
        x, _ = self.check(x, sigma)
        assert float(x.abs().max()) < 1e20
        return torch.where(x[:, :1] > x[:, 1:2], 1e4 * x, 0 * x)


def test_a_walk_stops_where_its_squares_overflow():
    with pytest.warns(ss.DataWarning, match=r"of 8 images became NaN.* step \d"):
        samples = draw(Runaway((3,)), 8, "euler", steps=40)
    assert 0 < len(samples.failed) < 8
    assert torch.isfinite(samples.finite).all()
    assert len(samples.finite) == 8 - len(samples.failed)


@pytest.mark.parametrize("count", [200, 1500])
def test_a_few_directions_are_those_of_the_whole_covariance(count, monkeypatch):
    """Of fewer images than values, whose covariance is shrunk, and of more."""
    images = ss.load_images("mnist-5k", limit=count)
    quick = fit_gaussian(images, 40)
    monkeypatch.setattr(teleport, "FEW", 100)
    whole = fit_gaussian(images, 40)
    torch.testing.assert_close(quick.variances, whole.variances, rtol=2e-3, atol=0)
    torch.testing.assert_close(quick.residual, whole.residual, rtol=5e-3, atol=0)
    x = 80 * torch.randn(4, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(quick.solve(x, 80.0, 2.0), whole.solve(x, 80.0, 2.0), rtol=0, atol=5e-3)
