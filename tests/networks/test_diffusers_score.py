"""Models of diffusers against their schedulers' own formulas."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import smoothscore as ss

diffusers = pytest.importorskip("diffusers")

SHAPE = (3, 8, 8)
VP = {"DDPMScheduler": {}, "DDIMScheduler": {"beta_schedule": "squaredcos_cap_v2"}, "DPMSolverMultistepScheduler": {}}


class Oracle(nn.Module):
    """The best prediction for images N(mean, std^2), in a scheduler's own terms ``x_t = a y + b n`` at timestep t."""

    def __init__(self, prediction, scales, mean=0.2, std=0.4):
        super().__init__()
        self.config = SimpleNamespace(sample_size=8, in_channels=3, num_class_embeds=None)
        self.prediction, self.scales, self.mean, self.std = prediction, scales, mean, std

    def forward(self, x, timestep):
        a, b = (value.to(x.dtype).reshape(-1, 1, 1, 1) for value in self.scales(timestep))
        clean = self.mean + a * self.std**2 / (a**2 * self.std**2 + b**2) * (x - a * self.mean)
        noise = (x - a * clean) / b
        out = {"epsilon": noise, "sample": clean, "v_prediction": a * noise - b * clean, "flow": noise - clean}
        return SimpleNamespace(sample=torch.cat([out[self.prediction], torch.zeros_like(x)], 1))


def vp_scales(scheduler):
    alphas = scheduler.alphas_cumprod.double()

    def scales(timestep):
        """At whole timesteps the scheduler's own; between them, as everything here, linear in log sigma."""
        low = timestep.double().floor().clamp(max=len(alphas) - 2)
        share = timestep.double() - low
        levels = ((1 - alphas) / alphas).sqrt().log()
        sigma = ((1 - share) * levels[low.long()] + share * levels[low.long() + 1]).exp()
        return 1 / (1 + sigma**2).sqrt(), sigma / (1 + sigma**2).sqrt()

    return scales


GAUSSIAN = ss.GaussianScore(torch.full(SHAPE, 0.2), 0.16 * torch.eye(192))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", VP)
def test_vp_schedulers_at_every_level(name, prediction):
    """An oracle for a Gaussian in the scheduler's terms is the Gaussian's denoiser in ours."""
    scheduler = getattr(diffusers, name)(prediction_type=prediction, **VP[name])
    score = ss.DiffusersScore(Oracle(prediction, vp_scales(scheduler)), scheduler)
    levels = torch.tensor([0.02, 0.5, 1.3, 7.0, 60.0], dtype=torch.float64)
    x = torch.randn(5, *SHAPE, dtype=torch.float64) * (0.16 + levels**2).sqrt()[:, None, None, None]
    assert torch.allclose(score.denoise(x, levels), GAUSSIAN.denoise(x, levels), atol=1e-6)


def test_whole_timesteps_are_the_schedulers_own():
    scheduler = diffusers.DDPMScheduler()
    score = ss.DiffusersScore(Oracle("epsilon", vp_scales(scheduler)), scheduler)
    alphas = scheduler.alphas_cumprod.double()
    sigmas = ((1 - alphas) / alphas).sqrt()
    steps = torch.arange(1000, dtype=torch.float64)
    assert torch.allclose(score.preconditioning.timestep(sigmas), steps, atol=1e-6)
    between = score.preconditioning.timestep((sigmas[:-1] * sigmas[1:]).sqrt())
    assert torch.allclose(between, steps[:-1] + 0.5, atol=1e-6)
    beyond = score.preconditioning.timestep(torch.tensor([1e-3, 1e3], dtype=torch.float64))
    assert beyond.tolist() == [0, 999]
    assert torch.allclose(sigmas.flip(0), ss.schedules.vp(1000).variance_exploding, rtol=1e-4)


def test_a_schedule_that_ends_in_pure_noise_leaves_that_level_out():
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    score = ss.DiffusersScore(Oracle("v_prediction", vp_scales(scheduler)), scheduler)
    assert score.preconditioning.timestep(torch.tensor([1e9])).item() == 998


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_edm_schedulers_by_their_own_preconditioning(prediction):
    """The scheduler's own functions around a random network, at levels of its own."""
    scheduler = diffusers.EDMEulerScheduler(prediction_type=prediction)

    class Net(nn.Module):
        config = SimpleNamespace(sample_size=8, in_channels=3, num_class_embeds=None)

        def forward(self, x, timestep):
            return SimpleNamespace(sample=torch.sin(3 * x) + timestep.reshape(-1, 1, 1, 1))

    score = ss.DiffusersScore(Net(), scheduler)
    x = torch.randn(1, *SHAPE)
    for sigma in scheduler.sigmas[:-1:300]:
        raw = Net()(scheduler.precondition_inputs(x, sigma), scheduler.precondition_noise(sigma)).sample
        assert torch.allclose(score.denoise(x, sigma), scheduler.precondition_outputs(x, raw, sigma), atol=1e-5)


def test_flow_matching():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    oracle = Oracle("flow", lambda timestep: (1 - timestep / 1000, timestep / 1000))
    score = ss.DiffusersScore(oracle, scheduler)
    levels = torch.tensor([0.02, 0.5, 7.0, 60.0], dtype=torch.float64)
    x = torch.randn(4, *SHAPE, dtype=torch.float64) * (0.16 + levels**2).sqrt()[:, None, None, None]
    assert torch.allclose(score.denoise(x, levels), GAUSSIAN.denoise(x, levels), atol=1e-9)


def model(**options):
    plain = {"down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D")}
    sizes = {"sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    return diffusers.UNet2DModel(**plain, **sizes, **options).eval()


def test_a_pipeline_is_read_from_its_folder(tmp_path):
    """Its denoiser is the scheduler's predicted original image, at a whole timestep."""
    unet, scheduler = model(), diffusers.DDPMScheduler(clip_sample=False)
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path)
    score = ss.load_score(f"diffusers:{tmp_path}")
    assert score.shape == SHAPE
    for step in (0, 200, 999):
        alpha = scheduler.alphas_cumprod[step]
        sigma = ((1 - alpha) / alpha).sqrt()
        x = torch.randn(2, *SHAPE) * (0.25 + sigma**2).sqrt()
        with torch.no_grad():
            own = unet(alpha.sqrt() * x, step).sample
            expected = scheduler.step(own, step, alpha.sqrt() * x).pred_original_sample
            assert torch.allclose(score.denoise(x, sigma), expected, atol=2e-4 * max(1, sigma.item()))
    assert ss.sample(score, 2, steps=3).images.isfinite().all()


def test_a_class_conditional_model_needs_its_class(tmp_path):
    diffusers.DDPMPipeline(model(num_class_embeds=3), diffusers.DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(ss.InputError, match="has 3 classes"):
        ss.load_score(f"diffusers:{tmp_path}")
    x = torch.randn(1, *SHAPE)
    first, second = (ss.load_score(f"diffusers:{tmp_path}?class_={index}") for index in (0, 2))
    assert not torch.allclose(first.denoise(x, 1.0), second.denoise(x, 1.0), atol=1e-4)


def test_what_has_no_score_is_refused_by_name(tmp_path, monkeypatch):
    with pytest.raises(ss.InputError, match="no readable unet"):
        ss.load_score(f"diffusers:{tmp_path}")
    for part, kind in (("unet", "UNet2DConditionModel"), ("scheduler", "DDPMScheduler")):
        (tmp_path / part).mkdir()
        (tmp_path / part / ss.scores.diffusers.FILES[part]).write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(ss.InputError, match="is a UNet2DConditionModel"):
        ss.load_score(f"diffusers:{tmp_path}")
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(ss.InputError, match="cannot be read"):
        ss.load_score(f"diffusers:{tmp_path}")
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "os"}))
    with pytest.raises(ss.InputError, match="no scheduler 'os'"):
        ss.load_score(f"diffusers:{tmp_path}")
    with pytest.raises(ss.InputError, match="no known noise levels"):
        ss.DiffusersScore(model(), diffusers.ScoreSdeVeScheduler())
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ss.InputError, match=r"install smoothscore\[diffusers\]"):
        ss.load_score(f"diffusers:{tmp_path}")


def test_weights_in_a_pickle_are_not_read(tmp_path):
    pipeline = diffusers.DDPMPipeline(model(), diffusers.DDPMScheduler())
    pipeline.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(ss.InputError, match="cannot be read"):
        ss.load_score(f"diffusers:{tmp_path}")
