"""Every form against what it is defined by."""

import math

import edm_reference
import numpy as np
import pytest
import torch
from torch import nn

import smoothscore as ss
from smoothscore.networks import EDM, VE, VP, Denoiser, ScaledNoise, ScoreOutput, SongUNet, UnitNoise, preconditioning

FORMS = [EDM(), EDM(0.3), VE(), VP(), UnitNoise(), ScoreOutput(), Denoiser()]
LEVELS = torch.tensor([0.002, 0.1, 1.0, 7.0, 80.0], dtype=torch.float64)


class Perfect(nn.Module):
    """The network that makes a form the denoiser of N(mean, std^2): it solves the affine form for its output."""

    noise_conditional = True

    def __init__(self, form, sigma, mean, std):
        super().__init__()
        self.skip, self.out, self.scale, self.noise = form.coefficients(sigma)
        self.sigma, self.mean, self.std = sigma, mean, std

    def forward(self, x, noise):
        assert torch.equal(noise, self.noise)
        x = x / self.scale[:, None]
        denoised = self.mean + self.std**2 / (self.std**2 + self.sigma[:, None] ** 2) * (x - self.mean)
        return (denoised - self.skip[:, None] * x) / self.out[:, None]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.to_dict()}")
def test_a_perfect_network_gives_the_gaussian_denoiser(form):
    x = torch.randn(5, 3, dtype=torch.float64) * LEVELS[:, None]
    score = ss.NetworkScore(Perfect(form, LEVELS, 0.3, 0.7), form, shape=(3,))
    exact = ss.GaussianScore(torch.full((3,), 0.3, dtype=torch.float64), 0.49 * torch.eye(3, dtype=torch.float64))
    assert torch.allclose(score.denoise(x, LEVELS), exact.denoise(x, LEVELS), rtol=1e-9, atol=1e-12)
    assert torch.allclose(score.score(x, LEVELS), exact.score(x, LEVELS), rtol=1e-6)


def test_edm_has_unit_variance_in_and_out_at_every_level():
    """Of inputs, of targets and of the weighted loss, by what defines the form, for images of variance 0.25."""
    form, count = EDM(), 20_000
    clean = 0.5 * torch.randn(count, 5, dtype=torch.float64)
    noisy = clean + LEVELS * torch.randn(count, 5, dtype=torch.float64)
    skip, out, scale, _ = form.coefficients(LEVELS)
    error = 5 * math.sqrt(2 / count)
    for values in (
        scale * noisy,
        (clean - skip * noisy) / out,
        form.weight(LEVELS).sqrt() * out * torch.randn(count, 5),
    ):
        assert ((values**2).mean(0) - 1).abs().max() < error


def test_the_weight_of_the_others_makes_the_loss_that_of_the_noise():
    """``|D - y|^2 / sigma^2 = |n_hat - n|^2`` when the network predicts unit noise."""
    clean, noise, guess = torch.randn(3, 5, 4, dtype=torch.float64).unbind()
    denoised = UnitNoise().denoise(lambda_network(guess), clean + LEVELS[:, None] * noise, LEVELS)
    loss = UnitNoise().weight(LEVELS) * (denoised - clean).square().sum(1)
    assert torch.allclose(loss, (guess - noise).square().sum(1), rtol=1e-8)


def test_scaled_noise_is_predicted_from_an_image_of_its_own_size():
    """Whatever the level, the network sees values of at most unit mean square, and what it adds is a noise."""
    seen = []

    class Network(nn.Module):
        def forward(self, x):
            seen.append(x)
            return 0.1 * x + 0.2

    x = LEVELS[:, None] * torch.randn(5, 3, dtype=torch.float64) + 0.4
    size = (1 + x.square().mean(1, keepdim=True)).sqrt()
    noise = (1 - 1 / size**2) * x / size + (0.1 * x / size + 0.2) / size
    denoised = ScaledNoise().denoise(Network(), x, LEVELS)
    assert torch.allclose(denoised, x - LEVELS[:, None] * noise, rtol=1e-12)
    assert torch.allclose(seen[0], x / size, rtol=1e-12)
    assert seen[0].square().mean(1).max() < 1


def test_scaled_noise_starts_from_the_noise_at_large_levels():
    """Whatever the network says there, the error is that of the noise's own size, 1 / (2 d); at small levels, 1."""
    clean, noise = torch.rand(200, 768) * 2 - 1, torch.randn(200, 768)
    form, network = ScaledNoise(), lambda_network(0.1 * torch.randn(200, 768))
    error = {
        sigma: (((clean + sigma * noise) - form.denoise(network, clean + sigma * noise, sigma)) / sigma - noise)
        .square()
        .mean()
        for sigma in (0.01, 80.0)
    }
    assert error[80.0] == pytest.approx(1 / (2 * 768), rel=0.3)
    assert error[0.01] > 0.9


def lambda_network(value):
    class Constant(nn.Module):
        def forward(self, x):
            return value

    return Constant()


def test_vp_time_has_the_level_of_the_schedule():
    """``t(sigma)`` against the integral of beta: sigma^2 = exp(int beta) - 1."""
    times = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    betas = [torch.linspace(0, float(t), 20_001, dtype=torch.float64) * 19.9 + 0.1 for t in times]
    integrals = torch.stack([torch.trapezoid(beta, dx=float(t) / 20_000) for beta, t in zip(betas, times, strict=True)])
    assert torch.allclose(VP().coefficients(torch.expm1(integrals).sqrt()).noise, 999 * times, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vp_with_a_fourier_embedding_is_as_edm_computes_it(dtype):
    """The embedding multiplies what t is rounded by thousands of times; the second level was 2e-4 off with log1p."""
    network = SongUNet(edm_reference.SHAPE, **edm_reference.CASES["ncsnpp"])
    edm_reference.fill(network)
    network.map_noise.freqs.mul_(16)
    score = ss.NetworkScore(network, VP())
    x = edm_reference.inputs("ncsnpp")["x"]
    reference = np.load(edm_reference.OUTPUTS)["VPPrecond-fourier"]
    for sigma, expected in zip(edm_reference.SENSITIVE, reference, strict=True):
        with torch.no_grad():
            ours = score.denoise((x * (1 + sigma**2) ** 0.5).to(dtype), sigma).numpy()
        assert np.abs(ours - expected).max() < 3e-6 * np.abs(expected).max()


class Unconditional(nn.Module):
    def forward(self, x):
        return 0.1 * x


def test_an_unconditional_network_never_meets_the_level():
    """Its forward has one argument, and its unit noise enters the denoiser with the level as a factor."""
    score = ss.NetworkScore(Unconditional(), "noise", shape=(2,))
    x = torch.randn(3, 2)
    assert not score.noise_conditional
    assert torch.allclose(score.denoise(x, 2.0), x - 0.2 * x)
    assert torch.allclose(score.score(x, 4.0), -0.1 * x / 4, rtol=1e-5)


def test_two_arguments_make_a_network_conditional_without_saying_so():
    class Raw(nn.Module):
        def forward(self, x, level):
            return x * level[:, None]

    score = ss.NetworkScore(Raw(), "denoiser", shape=(2,))
    assert score.noise_conditional
    assert torch.allclose(score.denoise(torch.ones(1, 2), 3.0), torch.full((1, 2), 3.0))
    with pytest.raises(ss.InputError, match="needs sigma"):
        score.score(torch.ones(1, 2))


@pytest.mark.parametrize("name", ["denoiser", "score"])
def test_a_blind_optimum_carries_the_level_in_what_it_removes(name):
    """The closed-form denoiser of one image, of an image with noise of any level: the residual is the noise."""
    image = torch.rand(3, 16, 16) * 2 - 1

    class Blind(nn.Module):
        def forward(self, x):
            if name == "denoiser":
                return image.expand_as(x)
            away = x - image
            return -away / (away.square().mean((1, 2, 3), keepdim=True))

    score = ss.NetworkScore(Blind(), name, shape=(3, 16, 16))
    levels = torch.tensor([0.01, 0.3, 10.0])
    x = image + levels[:, None, None, None] * torch.randn(3, 3, 16, 16)
    estimate = score.estimate_sigma(x)
    assert ((estimate / levels - 1).abs() < 5 / math.sqrt(2 * 768)).all()
    assert torch.allclose(score.score(x), (image - x) / estimate[:, None, None, None] ** 2, rtol=2e-3, atol=1e-3)


class Bare(nn.Module):
    """One that says nothing of itself."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x, noise):
        return self.layer(x) * noise[:, None]


def test_a_compiled_network_is_called_as_what_it_was_made_of():
    network = Bare()
    compiled = torch.compile(network, backend="eager")
    score = ss.NetworkScore(compiled, "edm", shape=(3,))
    assert score.noise_conditional
    x = torch.randn(4, 3)
    torch.testing.assert_close(score.denoise(x, 0.5), ss.NetworkScore(network, "edm", shape=(3,)).denoise(x, 0.5))


def test_without_an_estimate_the_level_must_be_given():
    score = ss.NetworkScore(Unconditional(), "noise", shape=(2,))
    with pytest.raises(ss.InputError, match="does not tell the noise level"):
        score.score(torch.ones(1, 2))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.to_dict()}")
def test_a_form_is_found_again_by_what_it_writes(form):
    assert preconditioning(form.to_dict()) == form == preconditioning(form)
    assert type(preconditioning(form.name)) is type(form)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("edn", "preconditioning is 'edn'"),
        ({"name": "ve", "rho": 7}, "no settings .'rho'."),
        ({"name": "edm", "sigma_data": -1}, "sigma_data is -1"),
    ],
)
def test_unknown_forms_are_refused(form, message):
    with pytest.raises(ss.InputError, match=message):
        preconditioning(form)


def test_a_network_computes_in_its_own_precision_and_answers_in_that_of_the_images():
    network = ss.networks.build("mlp", (2,)).double()
    for dtype in (torch.float32, torch.float64):
        assert ss.NetworkScore(network, "edm").denoise(torch.zeros(1, 2, dtype=dtype), 1.0).dtype == dtype
