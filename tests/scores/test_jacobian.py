"""Jacobians by Gram matrices and Lanczos against dense ones."""

import pytest
import torch
from direct_sums import draw
from torch import Tensor

from smoothscore.data import load_images
from smoothscore.mixture import Centers, Kernel, field
from smoothscore.networks import build
from smoothscore.scores import jacobian as module
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.jacobian import CenterJacobian, JvpJacobian
from smoothscore.scores.unified import UnifiedScore

SIGMAS = torch.tensor([0.3, 0.5, 1.0, 2.0, 0.1, 5.0], dtype=torch.float64)


class Power(Kernel):
    """Weights r^(-(d-2)/T), precision (d-2)/r^2: the field is T grad log sum r^(-(d-2)/T)."""

    def __init__(self, dim: int, temperature: float) -> None:
        self.factor, self.temperature = dim - 2.0, temperature

    def log_weight(self, r2: Tensor) -> Tensor:
        return -self.factor / (2 * self.temperature) * r2.log()

    def precision(self, r2: Tensor) -> Tensor:
        return self.factor / r2

    def select(self, queries: Tensor | slice) -> "Power":
        return self

    def inverse_temperature(self, like: Tensor) -> Tensor:
        return torch.full_like(like[:, :1], 1 / self.temperature)

    def softening(self, r2: Tensor) -> Tensor:
        return 2 * self.factor / r2**2


def points(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dense_jacobian(x: Tensor, centers: Tensor, sigma: Tensor) -> Tensor:
    """From the definition, one point: (d, d)."""

    def score(z: Tensor) -> Tensor:
        delta = centers.flatten(1) - z
        weights = torch.softmax(-delta.square().sum(1) / (2 * sigma**2), 0)
        return weights @ delta / sigma**2

    return torch.autograd.functional.jacobian(score, x.flatten())


@pytest.mark.parametrize(("shape", "count"), [((2, 5, 4), 12), ((3,), 40), ((2,), 2), ((6,), 1)])
@pytest.mark.parametrize("lanczos", [False, True])
def test_spectrum_is_that_of_the_dense_jacobian(
    shape: tuple[int, ...], count: int, lanczos: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lanczos:
        monkeypatch.setattr(module, "GRAM", 0)
    centers, x = 0.5 * points(count, shape, 1), points(6, shape, 2)
    dense = torch.stack([dense_jacobian(one, centers, s) for one, s in zip(x, SIGMAS, strict=True)])
    values = torch.linalg.eigvalsh(dense)
    ours = EmpiricalScore(centers).jacobian(x, SIGMAS)
    torch.testing.assert_close(ours.largest_eigenvalue(), values[:, -1], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ours.extremes()[0], values[:, 0], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ours.spectral_radius(), values.abs().amax(1), rtol=1e-8, atol=1e-8)
    trace = dense.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(ours.trace(), trace, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.c, 1 / SIGMAS**2, rtol=1e-12, atol=0)
    v = points(6, shape, 3)
    product = torch.einsum("bij,bj->bi", dense, v.flatten(1)).reshape(v.shape)
    torch.testing.assert_close(ours.matvec(v), product, rtol=1e-8, atol=1e-8)


def test_small_weights_count() -> None:
    """A center of weight 1e-13 moves the Jacobian when the noise is small: its share is w Delta^2 / sigma^4."""
    centers = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    sigma = torch.tensor([0.01], dtype=torch.float64)
    x = torch.tensor([[0.5 - 0.0001 * 30, 0.1]], dtype=torch.float64)  # log weight ratio: -30
    weight = torch.sigmoid(torch.tensor(-30.0, dtype=torch.float64))
    expected = weight * (1 - weight) / sigma**4 - 1 / sigma**2
    torch.testing.assert_close(
        EmpiricalScore(centers).jacobian(x, sigma).largest_eigenvalue(), expected, rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_softening_and_temperature(temperature: float) -> None:
    centers, x = Centers(points(9, (7,), 4)), points(5, (7,), 5)
    kernel = Power(7, temperature)
    ours = CenterJacobian(x, centers, kernel)
    rows = centers.rows(torch.arange(9))

    def potential(z: Tensor) -> Tensor:
        r2 = (rows - z).square().sum(1)
        return temperature * torch.logsumexp(kernel.log_weight(r2[None])[0], 0)

    for i in range(5):
        hessian = torch.autograd.functional.hessian(potential, x[i])
        values = torch.linalg.eigvalsh(hessian)
        torch.testing.assert_close(ours.extremes()[0][i], values[0], rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(ours.extremes()[1][i], values[-1], rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(ours.trace()[i], hessian.trace(), rtol=1e-9, atol=1e-9)
    if temperature == 1:  # r^(2-d) is harmonic: the divergence of the field is minus its square
        square = field(x, centers, kernel).square().sum(1)
        torch.testing.assert_close(ours.trace(), -square, rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(lambda z: field(z, centers, kernel), x.requires_grad_(), fast_mode=True)


def test_products_alone_find_the_symmetric_part() -> None:
    matrix = points(8, (8,), 6)
    ours = JvpJacobian(lambda x: x @ matrix.T, points(3, (8,), 7))
    values = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
    low, high = ours.extremes()
    torch.testing.assert_close(low, values[:1].expand(3), rtol=1e-6, atol=0)
    torch.testing.assert_close(high, values[-1:].expand(3), rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.trace(), matrix.trace().expand(3), rtol=1e-12, atol=1e-12)


def test_products_alone_agree_with_the_gram_matrix() -> None:
    score = EmpiricalScore(0.5 * points(12, (2, 5, 4), 1))
    x = points(6, (2, 5, 4), 2)
    gram = score.jacobian(x, SIGMAS)
    alone = JvpJacobian(lambda z: score.score(z, SIGMAS), x)
    torch.testing.assert_close(alone.largest_eigenvalue(), gram.largest_eigenvalue(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alone.trace(), gram.trace(), rtol=1e-9, atol=1e-9)


def test_a_network_without_forward_derivatives_is_differentiated_backward_twice() -> None:
    """PyTorch's group norm has no forward derivative behind a strided convolution; judged by central differences."""
    network = build("tiny", (1, 16, 16), noise_conditional=False, width=8).double()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    x, v = torch.randn(2, 2, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        product = JvpJacobian(network, x).matvec(v)
        expected = (network(x + 1e-5 * v) - network(x - 1e-5 * v)) / 2e-5
    assert torch.allclose(product, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rule", [50.0, "5/sigma", "perplexity:5"])
@pytest.mark.parametrize("stored", [True, False])
def test_neighbors_of_stored_images_have_a_jacobian_at_the_temperature_of_the_point(rule, stored):
    """Indices of centers are looked up inside the differentiated function; images are rows of a NumPy array."""
    images = load_images("digits", limit=40, seed=0)
    x = images.tensor(torch.float64)[:1] + 0.8 * draw(1, 64, seed=5).reshape(1, 1, 8, 8)
    centers, sigmas = images if stored else images.tensor(torch.float64), [0.1, 1.0, 10.0]
    score = UnifiedScore(centers, sigmas, rule, neighbors=12)
    fixed = UnifiedScore(centers, sigmas, float(score.temperature_at(x)), neighbors=12)
    jacobian, basis = score.jacobian(x), torch.eye(64, dtype=torch.float64).reshape(64, 1, 1, 8, 8)
    dense = torch.stack([jacobian.matvec(v).flatten() for v in basis])
    step = 1e-5 * basis[:, 0]
    differences = (fixed.score(x + step) - fixed.score(x - step)).flatten(1) / 2e-5
    torch.testing.assert_close(dense, differences, rtol=1e-6, atol=1e-6)
    values = torch.linalg.eigvalsh((dense + dense.T) / 2)
    torch.testing.assert_close(jacobian.largest_eigenvalue()[0], values[-1], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(jacobian.spectral_radius()[0], values.abs().max(), rtol=1e-8, atol=1e-8)
