"""Moved images: exact mirrors, one map for all that belongs together, and labels of zero for what stays."""

import torch

import smoothscore as ss
from smoothscore.training import Augmentation, Conditional, Temperature
from smoothscore.training.augment import AUGMENT_LABELS
from smoothscore.training.objective import Batch


def extras(count):
    """Numbers that choose no move."""
    numbers = torch.full((count, 16), 0.75, dtype=torch.float64)
    numbers[:, 2:7] = 0.999
    return numbers


def test_nothing_chosen_leaves_images_and_labels_alone():
    images = torch.rand(4, 3, 8, 10) * 2 - 1
    moves = Augmentation(0.12)(extras(4))
    torch.testing.assert_close(moves(images), images, atol=1e-5, rtol=0)
    assert moves.labels.shape == (4, AUGMENT_LABELS)
    assert moves.labels.abs().max() < 1e-12


def test_mirrors_are_exact():
    images = torch.rand(2, 1, 8, 10) * 2 - 1
    numbers = extras(2)
    numbers[0, 7] = 0.1
    numbers[1, 2], numbers[1, 8] = 0.0, 0.1
    moves = Augmentation(0.12)(numbers)
    torch.testing.assert_close(moves(images)[0], images[0].flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(moves(images)[1], images[1].flip(-2), atol=1e-5, rtol=0)
    assert moves.labels[0, 0] == 1
    assert moves.labels[1, 1] == 1


def test_a_shift_by_whole_pixels_shifts():
    images = torch.rand(1, 1, 16, 16) * 2 - 1
    numbers = extras(1)
    numbers[0, 6] = 0.0
    numbers[0, 13] = torch.special.ndtr(torch.tensor(1.0, dtype=torch.float64))
    numbers[0, 14] = 0.5
    moves = Augmentation(0.12)(numbers)
    moved = moves(images)
    torch.testing.assert_close(moved[..., 2:], images[..., :-2], atol=1e-5, rtol=0)
    torch.testing.assert_close(moves.labels[0, -2:], torch.tensor([1.0, 0.0]).double(), atol=1e-9, rtol=0)


def test_neighbors_are_moved_by_the_same_map_as_their_image():
    images = ss.load_images("digits", limit=40)
    objective = Temperature(images, ss.NeighborGraph.build(images, 7), 30.0)
    clean, indices = images.tensor()[:5], torch.arange(5)
    moves = Augmentation(1.0)(torch.rand(5, 16, dtype=torch.float64))
    moved = moves(clean)
    noise = torch.randn(clean.shape)
    batch = Batch(moved, noise, torch.full((5,), 0.5), indices, moves, False)
    everything = torch.stack([moves.select(torch.tensor([row]))(images.tensor()[None])[0] for row in range(5)])
    for row in range(5):
        rows = everything[row][objective.indices[row]]
        score = ss.UnifiedScore(rows, [0.002, 80.0], temperature=30.0, optimal_shell="continuous")
        x = batch.x[row : row + 1].double()
        expected = x + 0.25 * score.score(x)
        torch.testing.assert_close(objective.target(batch).images[row].double(), expected[0], atol=1e-4, rtol=1e-4)


def test_the_network_is_told_of_the_moves():
    told = []

    class Network(torch.nn.Module):
        noise_conditional = True

        def forward(self, x, noise, augment_labels=None):
            told.append(augment_labels)
            return x

    Conditional(augment=Augmentation(0.5))(Network(), torch.rand(6, 3, 8, 8))
    assert told[0].shape == (6, AUGMENT_LABELS)
    assert told[0].abs().sum() > 0
