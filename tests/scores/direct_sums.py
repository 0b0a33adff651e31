"""The sums of the unified score by definition, over all centers and levels."""

import torch


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def direct(x, centers, sigmas, temperature=1.0, weights=None):
    """log sum_j g_j^(1/T), the field and its weights, by brute force; x (B, d)."""
    dim = x.shape[1]
    r2 = (x[:, None] - centers).square().sum(2)
    lam = 2 * sigmas.log() if weights is None else weights.log()
    logits = lam - dim * sigmas.log() - r2[..., None] / (2 * sigmas**2)
    mass = torch.logsumexp(logits, 2)
    kappa = (torch.softmax(logits, 2) / sigmas**2).sum(2)
    share = torch.softmax(mass / torch.as_tensor(temperature).reshape(-1, 1), 1)
    return mass, ((share * kappa)[..., None] * (centers - x[:, None])).sum(1), share


def near(centers, count, sigma, seed=1):
    return centers[:count] + sigma * draw(count, centers.shape[1], seed=seed)
