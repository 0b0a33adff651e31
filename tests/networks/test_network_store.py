"""Networks on disk, and the run folders that load_score reads."""

import json

import pytest
import torch
from torch import nn

import smoothscore as ss
from smoothscore.networks import LinearBypass, build, describe, load_network, save_network
from smoothscore.networks.store import save_weights, write_description

X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
LEVELS = torch.tensor([0.1, 1.0, 10.0])


def shaken(*arguments, **options):
    """A network with weights that are not those of its first day."""
    network = build(*arguments, **options)
    with torch.no_grad():
        for value in network.parameters():
            value += 0.1 * torch.randn_like(value)
    return network.eval()


@pytest.fixture
def run(tmp_path):
    """A run folder with two checkpoints; every file of weights has a network of its own."""
    networks = {
        name: shaken("tiny", (1, 8, 8), classes=2) for name in ("10/raw", "10/ema", "20/raw", "20/short", "20/long")
    }
    write_description(
        tmp_path / "network.json", describe(networks["10/raw"], {"name": "edm", "sigma_data": 0.3}, class_=1)
    )
    files = {"raw": "network", "ema": "ema-100000", "short": "ema-50000", "long": "ema-500000"}
    for name, network in networks.items():
        step, kind = name.split("/")
        folder = tmp_path / "checkpoints" / step.zfill(9)
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(folder / f"{files[kind]}.safetensors", network)
    (tmp_path / "checkpoints" / "000000030").mkdir()
    return tmp_path, networks


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ("", "20/long"),
        ("?ema=raw", "20/raw"),
        ("?ema=50000", "20/short"),
        ("?step=10", "10/ema"),
        ("?step=10&ema=raw", "10/raw"),
    ],
)
def test_a_run_gives_the_weights_asked_for(run, options, chosen):
    """By default the last whole checkpoint, and in it the average with the longest half-life."""
    folder, networks = run
    score = ss.load_score(f"{folder}{options}")
    mine = ss.NetworkScore(networks[chosen], ss.networks.EDM(0.3), class_=1)
    assert torch.equal(score.denoise(X, LEVELS), mine.denoise(X, LEVELS))


def test_a_class_can_be_chosen_and_is_noted_in_the_run(run):
    folder, networks = run
    score = ss.load_score(f"run:{folder}?class_=0")
    other = ss.NetworkScore(networks["20/long"], ss.networks.EDM(0.3), class_=0)
    assert torch.equal(score.denoise(X, LEVELS), other.denoise(X, LEVELS))
    assert not torch.allclose(score.denoise(X, LEVELS), ss.load_score(str(folder)).denoise(X, LEVELS), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("?step=15", "it has 10, 20"),
        ("?ema=7", "ema is one of raw, 50000"),
        ("?class_=2", "2 classes"),
        ("?depth=1", "'depth'"),
        ("?step=a", "not a whole number"),
    ],
)
def test_what_a_run_does_not_have_is_named(run, options, message):
    folder, _ = run
    with pytest.raises(ss.InputError, match=message):
        ss.load_score(f"{folder}{options}")


def test_a_folder_without_checkpoints_or_without_a_plan_is_refused(run, tmp_path_factory):
    folder, _ = run
    for file in (folder / "checkpoints").glob("*/network.safetensors"):
        file.unlink()
    with pytest.raises(ss.InputError, match="no checkpoint yet"):
        ss.load_score(str(folder))
    with pytest.raises(ss.InputError, match="no folder of a training run"):
        ss.load_score(str(tmp_path_factory.mktemp("empty")))


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("tiny", (1, 8, 8), {"noise_conditional": False}),
        ("tiny", (1, 8, 8), {"width": 20, "taps": (1, 3, 3, 1), "encoder": "residual", "embedding": "fourier"}),
        ("mlp", (5,), {"width": 16, "layers": 2}),
    ],
)
def test_a_network_comes_back_from_one_file(tmp_path, name, shape, options):
    network = shaken(name, shape, **options)
    description = describe(network, "ve")
    path = save_network(tmp_path / "network.safetensors", network, description)
    again, noted = load_network(path)
    assert noted == json.loads(json.dumps(description))
    state = again.state_dict()
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    x = torch.randn(3, *shape)
    ours, theirs = ss.NetworkScore(network, "ve"), ss.load_score(str(path))
    assert torch.equal(theirs.score(x, LEVELS), ours.score(x, LEVELS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_linear_bypass_comes_back_with_its_gaussian(tmp_path, dtype):
    gaussian = ss.GaussianScore.fit(0.3 * torch.randn(90, 1, 8, 8), shrinkage=0.1).to(dtype)
    network = LinearBypass(shaken("tiny", (1, 8, 8)), gaussian)
    path = save_network(tmp_path / "network.safetensors", network, describe(network, "edm"))
    score = ss.load_score(str(path))
    assert torch.allclose(score.denoise(X, LEVELS), ss.NetworkScore(network, "edm").denoise(X, LEVELS), atol=1e-6)
    assert score.network.state_dict().keys() == network.state_dict().keys()
    inner, _ = load_network(path)
    assert torch.equal(inner(X, LEVELS), network(X, LEVELS))


def test_files_that_are_none_are_refused_by_name(tmp_path):
    network = build("mlp", (2,))
    (tmp_path / "text.safetensors").write_text("not tensors")
    save_weights(tmp_path / "bare.safetensors", network)
    save_network(tmp_path / "other.safetensors", build("mlp", (3,)), describe(network, "edm"))
    new = {**describe(network, "edm"), "format": 2}
    save_network(tmp_path / "new.safetensors", network, new)
    for name, message in {
        "text": "cannot be read as safetensors",
        "bare": "does not say of which network",
        "other": "belong to another network",
        "new": "reads format 1",
    }.items():
        with pytest.raises(ss.InputError, match=message):
            ss.load_score(str(tmp_path / f"{name}.safetensors"))
    with pytest.raises(ss.InputError, match="no ema and no step"):
        ss.load_score(f"{tmp_path / 'bare.safetensors'}?ema=raw")
    with pytest.raises(ss.InputError, match="names no score"):
        ss.load_score(str(tmp_path / "missing"))


def test_a_foreign_network_cannot_be_described():
    with pytest.raises(ss.InputError, match="Linear is not a network of smoothscore"):
        describe(nn.Linear(2, 2), "edm")


def test_a_trained_network_samples_what_it_learned():
    """A small network fits a Gaussian of two dimensions; its samples have its moments to 10 %."""
    target = ss.GaussianScore(torch.tensor([0.5, -0.2]), torch.tensor([[0.09, 0.05], [0.05, 0.04]]))
    root = torch.linalg.cholesky(torch.tensor([[0.09, 0.05], [0.05, 0.04]]))
    network, form = build("mlp", (2,), width=64, layers=2), ss.networks.EDM(0.25)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(500):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 500)
        clean = torch.tensor([0.5, -0.2]) + torch.randn(512, 2) @ root.T
        sigma = (-1.2 + 1.5 * torch.randn(512)).exp()
        denoised = form.denoise(network, clean + sigma[:, None] * torch.randn(512, 2), sigma)
        loss = (form.weight(sigma)[:, None] * (denoised - clean) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    score = ss.NetworkScore(network, form)
    drawn = ss.sample(score, 4000, steps=12).images
    exact = ss.sample(target, 4000, steps=12).images
    assert (drawn.mean(0) - exact.mean(0)).abs().max() < 0.03
    assert (drawn.T.cov() - exact.T.cov()).abs().max() < 0.009
