"""Random numbers that no batching, no process and no interruption changes."""

import numpy as np
import torch

from smoothscore.training.draws import batch_indices, draw

SHAPE = torch.Size((1, 4, 4))


def test_the_numbers_of_an_image_do_not_depend_on_its_company():
    whole = draw(3, 7, range(8), SHAPE)
    part = draw(3, 7, range(5, 8), SHAPE)
    assert torch.equal(whole.noise[5:], part.noise)
    assert torch.equal(whole.level[5:], part.level)
    assert torch.equal(whole.extras[5:], part.extras)


def test_other_steps_seeds_and_places_have_other_numbers():
    first = draw(0, 0, range(2), SHAPE).noise
    others = [draw(0, 1, range(1), SHAPE).noise[0], draw(1, 0, range(1), SHAPE).noise[0], first[1]]
    assert all(not torch.equal(first[0], other) for other in others)


def test_noise_is_standard_normal_and_levels_are_uniform():
    drawn = [draw(0, step, range(64), SHAPE) for step in range(40)]
    noise = torch.cat([each.noise for each in drawn]).double()
    level = torch.cat([each.level for each in drawn])
    assert abs(noise.mean()) < 4 / noise.numel() ** 0.5
    assert abs(noise.var() - 1) < 4 * (2 / noise.numel()) ** 0.5
    assert abs(level.mean() - 0.5) < 4 * (1 / 12 / len(level)) ** 0.5
    assert abs(torch.corrcoef(torch.stack([noise.flatten(1)[:, 0], level]))[0, 1]) < 4 / len(level) ** 0.5


def test_every_epoch_has_every_image_once_in_a_new_order():
    indices = np.concatenate([batch_indices(0, step, range(6), 6, 10) for step in range(10)])
    epochs = indices.reshape(6, 10)
    assert all(np.array_equal(np.sort(epoch), np.arange(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_processes_share_the_batch_of_one():
    whole = batch_indices(0, 4, range(6), 6, 10)
    shared = [batch_indices(0, 4, part, 6, 10) for part in (range(3), range(3, 6))]
    assert np.array_equal(np.concatenate(shared), whole)
