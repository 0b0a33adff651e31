r"""The score of a mixture of Gaussians.

.. math::
    w_i=\operatorname{softmax}_i\big(\log\pi_i+\log N(x;\mu_i,\Sigma_i+\sigma^2I)\big),\qquad
    D(x;\sigma)=\sum_i w_i\Big[\mu_i+U_i\,\mathrm{diag}\Big(\frac{\lambda_{ik}}{\lambda_{ik}+\sigma^2}\Big)
    U_i^\top(x-\mu_i)\Big] .

One component is a :class:`GaussianScore`; as many components as images, each of covariance zero, are the
empirical score. In between lies a score that follows the data at large and middling noise and cannot copy.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.mixture import Centers
from smoothscore.scores.base import Score, Sigma
from smoothscore.scores.covariance import Covariance, fit_moments
from smoothscore.scores.gaussian import GaussianScore

__all__ = ["GaussianMixtureScore"]


class GaussianMixtureScore(Score):
    """The score of a mixture of Gaussians, each of its own rank.

    Cost: two products with (d, rank) for each component. Memory: d times the sum of the ranks; a call holds
    one component's projections at a time. Precision is that of its components: float64 as built.

    Args:
        weights: (K,) not negative, not all zero; normalized here. Components of weight zero are left out.
        means: (K, *shape).
        covariances: (K, d, d), or a list with one entry a component, each as :class:`GaussianScore` takes it.

    Raises:
        InputError: numbers of weights, means and covariances differ, or one of them cannot be used.

    Source: Gaussian score approximation, eq. 7-8; fitting, appendix A.5.
    """

    log_weights: Tensor

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor | Sequence[Tensor | Covariance]) -> None:
        for name, given in (("weights", weights), ("means", means)):
            if not isinstance(given, Tensor) or given.ndim == 0:
                raise InputError(f"{name} is a {type(given).__name__}; pass a tensor with one entry a component.")
        if not isinstance(covariances, Tensor | Sequence):
            raise InputError(f"covariances is a {type(covariances).__name__}; pass a tensor or a list of them.")
        super().__init__(means.shape[1:])
        if not len(weights) == len(means) == len(covariances):
            raise InputError(
                f"There are {len(weights)} weights, {len(means)} means and {len(covariances)} covariances; "
                "give one of each for every component."
            )
        weights = weights.to(torch.float64)
        if not (torch.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise InputError("The weights of a mixture must be 0 or more, finite, and not all zero.")
        used = torch.nonzero(weights).flatten().tolist()
        self.gaussians = [GaussianScore(means[i], covariances[i]) for i in used]
        self.components = nn.ModuleList(self.gaussians)
        self.register_buffer("log_weights", (weights[used] / weights.sum()).log())

    @classmethod
    def fit(
        cls,
        images: Tensor | ImageSet,
        components: int = 10,
        rank: int | None = None,
        seed: int = 0,
        labels: np.ndarray | None = None,
        shrinkage: float = 0.0,
    ) -> Self:
        """One Gaussian for each cluster of the images (mini-batch k-means), or for each class.

        Args:
            images: (N, *shape) in [-1, 1], or an ImageSet.
            components: number of clusters; at most N. Clusters that stay empty are left out, one that holds a
                single image has covariance zero.
            rank: principal directions kept in each component; None keeps all.
            seed: of the clustering; the same seed gives the same mixture.
            labels: (N,) classes; given, they are the components and nothing is clustered.
            shrinkage: as in :meth:`GaussianScore.fit`, for each component.

        Memory: the images as float32 while clustering, then as :meth:`GaussianScore.fit` for one component.
        """
        centers = Centers(images)
        groups = _clusters(centers, components, seed) if labels is None else np.asarray(labels)
        if groups.shape != (centers.count,):
            raise InputError(f"labels has shape {groups.shape}; give one for each of the {centers.count} images.")
        names = np.unique(groups)
        counts, means, covariances = [], [], []
        with progress.task("fitting the components of the mixture", total=len(names)) as advance:
            for name in names:
                members = torch.from_numpy(np.flatnonzero(groups == name))
                mean, covariance = fit_moments(centers, members)
                counts.append(len(members))
                means.append(mean.reshape(centers.shape))
                covariances.append(covariance.truncated(rank).shrunk(shrinkage))
                advance(1)
        return cls(torch.tensor(counts), torch.stack(means), covariances)

    def denoise(self, x: Tensor, sigma: Sigma) -> Tensor:
        """The posterior mean of the clean image given ``x`` (batch, *shape)."""
        x, sigma = self.check(x, sigma)
        return self._evaluate(x, sigma)[1].to(x.dtype).reshape(x.shape)

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The gradient of the log-density; same shape as ``x`` (batch, *shape)."""
        x, sigma = self.check(x, sigma)
        _, denoised = self._evaluate(x, sigma)
        step = (denoised - x.flatten(1)) / sigma.to(denoised).unsqueeze(1) ** 2
        return step.to(x.dtype).reshape(x.shape)

    def log_density(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Log-density of ``x`` at noise level ``sigma``, in nats: (batch,)."""
        x, sigma = self.check(x, sigma)
        return torch.logsumexp(self._log_joint(x, sigma), 1).to(x.dtype)

    def weights(self, x: Tensor, sigma: Sigma) -> Tensor:
        """The probability of each component given ``x``: (batch, components), rows sum to one."""
        x, sigma = self.check(x, sigma)
        return torch.softmax(self._log_joint(x, sigma), 1).to(x.dtype)

    def _log_joint(self, x: Tensor, sigma: Tensor) -> Tensor:
        columns = [g.log_density_projected(*g.project(x, sigma)) for g in self.gaussians]
        return torch.stack(columns, 1) + self.log_weights

    def _evaluate(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Log-density (batch,) and denoiser (batch, d): a running average over the components."""
        total: Tensor | None = None
        average = torch.zeros((), dtype=self.log_weights.dtype, device=x.device)
        for log_weight, gaussian in zip(self.log_weights, self.gaussians, strict=True):
            projected = gaussian.project(x, sigma)
            joint = log_weight + gaussian.log_density_projected(*projected)
            denoised = gaussian.denoise_projected(*projected)
            if total is None:
                total, average = joint, denoised
            else:
                total, before = torch.logaddexp(total, joint), total
                average = average * (before - total).exp().unsqueeze(1)
                average = average + denoised * (joint - total).exp().unsqueeze(1)
        assert total is not None
        return total, average


def _clusters(centers: Centers, components: int, seed: int) -> np.ndarray:
    """The cluster (N,) of each image."""
    from sklearn.cluster import MiniBatchKMeans  # scikit-learn takes a second to import and 90 MB

    if not isinstance(components, int | np.integer) or not 1 <= components <= centers.count:
        raise InputError(f"components is {components!r}; give between 1 and the number of images, {centers.count}.")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed!r}; take a whole number from 0 to 2^32 - 1.")
    points = centers.rows(torch.arange(centers.count), torch.float32).numpy()
    kmeans = MiniBatchKMeans(n_clusters=components, batch_size=2048, random_state=seed, n_init="auto")
    return np.asarray(kmeans.fit_predict(points))
