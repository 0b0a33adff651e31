"""The unified score restricted to the neighbors of the nearest center."""

import pytest
import torch
from direct_sums import direct, draw, near

from smoothscore.data import load_images
from smoothscore.errors import InputError
from smoothscore.neighbors import NeighborGraph
from smoothscore.schedules import log_uniform
from smoothscore.scores.unified import UnifiedScore


@pytest.mark.parametrize("optimal_shell", [False, True, "continuous"])
def test_all_neighbors_are_all_centers(optimal_shell):
    centers = draw(9, 12)
    options = {"temperature": "5/sigma", "optimal_shell": optimal_shell}
    restricted = UnifiedScore(centers, log_uniform(20, 0.05, 20), neighbors=9, **options)
    whole = UnifiedScore(centers, log_uniform(20, 0.05, 20), **options)
    x = near(centers, 9, 0.7)
    torch.testing.assert_close(restricted.score(x), whole.score(x), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(restricted.weights(x), whole.weights(x), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(restricted.temperature_at(x), whole.temperature_at(x))


def test_one_neighbor_is_the_nearest_center():
    centers = draw(9, 12) * 3
    score = UnifiedScore(centers, [0.05, 20.0], 100.0, neighbors=1, optimal_shell="continuous")
    x = near(centers, 9, 0.7)
    delta = centers - x
    torch.testing.assert_close(score.score(x), 10 * delta / delta.square().sum(1, keepdim=True))


def test_neighbors_are_those_of_the_nearest_center_from_a_number_or_a_graph():
    centers = draw(30, 6)
    x = near(centers, 20, 0.4)
    nearest = torch.cdist(x, centers).argmin(1)
    order = torch.cdist(centers, centers).argsort(1)[nearest, :5]
    mass, _, _ = direct(x, centers, log_uniform(20, 0.05, 20))
    share = torch.softmax(mass.gather(1, order) / 40, 1)
    expected = torch.zeros(20, 30).double().scatter(1, order, share)
    for neighbors in (5, NeighborGraph.build(centers, 4)):
        score = UnifiedScore(centers, log_uniform(20, 0.05, 20), 40.0, neighbors)
        torch.testing.assert_close(score.weights(x), expected, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(score.weights(x), expected, rtol=1e-8, atol=1e-10)


def test_a_graph_of_other_images_is_refused():
    centers = draw(30, 6)
    with pytest.raises(InputError, match="of other images"):
        UnifiedScore(centers, [1.0], neighbors=NeighborGraph.build(centers + 1, 4))


def test_a_graph_of_an_image_set_is_one_of_its_tensor_and_pixels():
    images = load_images("digits", limit=40, seed=0)
    graph = NeighborGraph.build(images, 4)
    pixels = torch.from_numpy(images.read(0, 40))
    expected = UnifiedScore(images, [0.5, 5.0], 40.0, graph).score(images.tensor())
    for same in (images.tensor(), images.tensor(torch.float64), pixels):
        found = UnifiedScore(same, [0.5, 5.0], 40.0, graph).score(images.tensor())
        torch.testing.assert_close(found, expected)


def test_pixels_have_neighbors_and_a_collapse():
    images = load_images("digits", limit=40, seed=0)
    pixels, x = torch.from_numpy(images.read(0, 40)), images.tensor() + 0.3
    for options in ({"neighbors": 5}, {"temperature": "collapse"}):
        expected = UnifiedScore(images, [0.05, 0.5, 5.0], **options).score(x)
        torch.testing.assert_close(UnifiedScore(pixels, [0.05, 0.5, 5.0], **options).score(x), expected)


def test_radius_leaves_out_far_neighbors():
    centers = torch.tensor([[0.0], [1.0], [2.0], [2.9], [3.1]], dtype=torch.float64)
    score = UnifiedScore(centers, [0.1, 10.0], 1e6, neighbors=5, radius=1.5)
    shares = score.weights(torch.tensor([[-0.1]], dtype=torch.float64))[0]
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.25, 0.25, 0.25, 0]).double(), rtol=1e-4, atol=1e-12)


def test_duplicates_among_neighbors_keep_the_center_itself():
    centers = draw(6, 4)
    centers[1:4] = centers[0]
    score = UnifiedScore(centers, [0.1, 1.0], 5.0, neighbors=2)
    assert torch.isfinite(score.score(centers + 0.1)).all()
    assert (score.weights(centers + 0.1).sum(1) - 1).abs().max() < 1e-12
