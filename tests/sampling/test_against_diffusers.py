"""The samplers against those of diffusers: same score, same noise, same levels, images to 1e-5."""

import pytest
import torch

import smoothscore as ss
from smoothscore.sampling import DDIM, Ancestral, DPMSolver, Euler, Evaluator, Heun, draw

diffusers = pytest.importorskip("diffusers")

SHAPE = (3, 4, 4)
STEPS = 12
SIGMA_DATA = 0.5


@pytest.fixture(scope="module")
def score():
    generator = torch.Generator().manual_seed(0)
    centers = torch.rand(20, *SHAPE, generator=generator, dtype=torch.float64) * 2 - 1
    return ss.GaussianMixtureScore(torch.ones(20), centers, [torch.eye(48) * 0.01] * 20)


def by_edm(scheduler, score):
    """EDM schedulers precondition: their model output F gives D = c_skip x + c_out F."""
    scheduler.set_timesteps(STEPS)
    levels = scheduler.sigmas.double()
    x = levels[0] * ss.sampling.noise(0, 0, 4, torch.Size(SHAPE))
    for step, time in enumerate(scheduler.timesteps):
        sigma = float(scheduler.sigmas[getattr(scheduler, "step_index", None) or step])
        clean = score.denoise(x, sigma)
        skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
        out = sigma * SIGMA_DATA / (sigma**2 + SIGMA_DATA**2) ** 0.5
        x = scheduler.step((clean - skip * x) / out, time, x).prev_sample.double()
    return levels[:-1], x


def by_noise(scheduler, score, levels):
    """Schedulers for eps in x = y + sigma n; Heun's meets a level twice."""
    x = float(levels[0]) * ss.sampling.noise(0, 0, 4, torch.Size(SHAPE))
    for time in scheduler.timesteps:
        if scheduler.step_index is None:
            scheduler._init_step_index(time)
        sigma = float(scheduler.sigmas[scheduler.step_index])
        eps = (x - score.denoise(x, sigma)) / sigma
        x = scheduler.step(eps, time, x).prev_sample.double()
    return x


def ours(score, sampler, levels):
    return draw(score, 4, sampler, sigmas=levels, dtype=torch.float64).images


@pytest.mark.parametrize(
    ("name", "options", "sampler"),
    [
        ("EDMEulerScheduler", {}, Euler()),
        ("EDMDPMSolverMultistepScheduler", {"solver_order": 2, "final_sigmas_type": "zero"}, DPMSolver()),
    ],
)
def test_edm_schedulers(score, name, options, sampler):
    levels, expected = by_edm(getattr(diffusers, name)(sigma_data=SIGMA_DATA, **options), score)
    torch.testing.assert_close(levels, ss.schedules.karras(STEPS), rtol=1e-4, atol=0)
    torch.testing.assert_close(ours(score, sampler, levels), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "sampler"), [("EulerDiscreteScheduler", Euler()), ("HeunDiscreteScheduler", Heun())])
def test_schedulers_of_the_noise(score, name, sampler):
    scheduler = getattr(diffusers, name)(use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    every = scheduler.sigmas.double()
    levels = every[:-1].unique().flip(0)
    expected = by_noise(scheduler, score, levels)
    torch.testing.assert_close(ours(score, sampler, levels), expected, rtol=0, atol=1e-5)


def variance_preserving(scheduler, score, times, predict=lambda eps: eps):
    """Walk in x~ = alpha x, with the score as a model of eps; the levels that it meets, and the images."""
    alphas = scheduler.alphas_cumprod.double()
    levels = ((1 - alphas) / alphas).sqrt()
    first = int(times[0])
    x = alphas[first].sqrt() * levels[first] * ss.sampling.noise(0, 0, 4, torch.Size(SHAPE))
    for time in times:
        exploding, sigma = x / alphas[int(time)].sqrt(), float(levels[int(time)])
        eps = (exploding - score.denoise(exploding, sigma)) / sigma
        x = scheduler.step(eps, int(time), x).prev_sample.double()
    return levels[times], x


def test_ddim(score):
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=True, timestep_spacing="leading")
    scheduler.set_timesteps(STEPS)
    levels, expected = variance_preserving(scheduler, score, scheduler.timesteps)
    torch.testing.assert_close(ours(score, DDIM(), levels), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_one_stochastic_ddim_step(score, eta):
    """Mean and noise of one step in variance preserving variables; with eta 1 the ancestral one."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(STEPS)
    alphas = scheduler.alphas_cumprod.double()
    time, after = int(scheduler.timesteps[5]), int(scheduler.timesteps[6])
    sigma, sigma_next = (float(((1 - alphas[t]) / alphas[t]).sqrt()) for t in (time, after))
    x = ss.sampling.noise(1, 0, 4, torch.Size(SHAPE))
    model = Evaluator(score, range(4), seed=3)
    z = Evaluator(score, range(4), seed=3).noise(x)
    eps = (x / alphas[time].sqrt() - score.denoise(x / alphas[time].sqrt(), sigma)) / sigma
    expected = scheduler.step(eps, time, x, eta=eta, variance_noise=z).prev_sample
    sampler = Ancestral() if eta == 1 else DDIM(eta)
    moved = sampler.step(model, x / alphas[time].sqrt(), sigma, sigma_next) * alphas[after].sqrt()
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


def test_dpm_solver(score):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero", lower_order_final=True
    )
    scheduler.set_timesteps(STEPS)
    levels, expected = variance_preserving(scheduler, score, scheduler.timesteps)
    torch.testing.assert_close(ours(score, DPMSolver(), levels), expected, rtol=0, atol=1e-5)
