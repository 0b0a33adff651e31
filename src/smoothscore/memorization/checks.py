"""Is the set of samples what it seems to be? Each finding is a sentence that names the likely mistake.

Compared with the training images:

    the same     samples that are the training set itself, or the held-out set, image by image
    range        samples that never leave the upper half of the values, as images in [0, 1] do when read as [-1, 1];
                 values beyond [-1, 1]
    noise        95 % of the samples have more fine detail than half of the training images, and the median is 1.5
                 times as large: the last denoising step is missing, or stopped at a noise level that can be seen
    filter       the median of fine detail differs by a factor of 1.5: resized with another filter, or compressed
    repeats      more than 5 % of the samples repeat another one
    resized      one of the two sets was resized when it was read

The finest details are the differences of neighboring pixels' differences, v(i, j) - v(i, j+1) - v(i+1, j) +
v(i+1, j+1); white noise of level s has there a mean square of 4 s^2, natural images little.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.memorization.images import Images, alike, at, distinct, floats

__all__ = ["fine_detail", "mistakes", "suspicions"]

FEWEST = 50  # images of which a mean says something
LOOKED_AT = 2_000  # images of each set
BELOW = -0.1  # darkest 1 % of values of any set in [-1, 1]
DETAIL = 1.5  # ratio of typical fine detail from which it is another kind of image
WIDE = 0.25  # least spread of values that tells a range
REPEATED = 0.05  # share of samples that repeat another one
OUTSIDE = 0.01  # share of values beyond [-1.05, 1.05] that is worth a word
FAR = 0.05  # share beyond [-2, 2] of another scale; samples of a Gaussian have 1 % there


def mistakes(samples: Images, train: Images, held_out: Images | None = None) -> list[str]:
    """What is wrong with the samples as a set, one sentence each: the wrong folder, the wrong range."""
    for name, images in {"training": train, "held-out": held_out}.items():
        if images is not None and alike(samples, images):
            return [f"The samples are the {name} set itself, image by image; was the right folder given?"]
    return _range(_some(samples), _some(train))


def suspicions(samples: Images, train: Images) -> list[str]:
    """What looks odd about the samples, one sentence each: repeated images, noise that was left, another filter."""
    x, y = _some(samples), _some(train)
    fine = _detail(x, y) if x.ndim == 4 and min(x.shape[2:]) > 2 and min(len(x), len(y)) >= FEWEST else []
    return [*_repeats(x), *_resized(samples, train), *_overshoot(x, y), *fine]


def _some(images: Images) -> Tensor:
    rows = np.unique(np.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).astype(np.int64))
    return floats(at(images, rows))


def _range(x: Tensor, y: Tensor) -> list[str]:
    low, high = (float(np.quantile(x.numpy(), q)) for q in (0.01, 0.99))
    found = []
    if low > BELOW and low + WIDE < high <= 1.001 and float(np.quantile(y.numpy(), 0.01)) < -0.5:
        found.append(
            f"The samples' values lie between {low:.2f} and {high:.2f} while the training images go down to "
            f"{float(y.min()):.2f}: they look like values in [0, 1] read as [-1, 1]; give 2 x - 1."
        )
    outside = float((x.abs() > 2).float().mean())
    if outside > FAR and float(y.abs().max()) <= 1.001:
        found.append(
            f"{outside:.1%} of the samples' values lie beyond [-2, 2], far out of the range of the training images, "
            "[-1, 1]; scale them to that."
        )
    return found


def _repeats(x: Tensor) -> list[str]:
    again = len(x) - len(distinct(x)[0])
    if again <= REPEATED * len(x):
        return []
    return [f"{again} of {len(x)} samples repeat another one; each counts, so a copy counts as often as it is there."]


def _resized(samples: Images, train: Images) -> list[str]:
    notes = [[n for n in s.notes if "resized" in n] if isinstance(s, ImageSet) else [] for s in (samples, train)]
    if bool(notes[0]) == bool(notes[1]):
        return []
    which, other = ("samples", "training images") if notes[0] else ("training images", "samples")
    return [f"The {which} were resized when they were read ({(notes[0] or notes[1])[0]}), the {other} were not."]


def _overshoot(x: Tensor, y: Tensor) -> list[str]:
    outside = float(((x.abs() > 1.05) & (x.abs() <= 2)).float().mean())
    if outside <= OUTSIDE or float(y.abs().max()) > 1.001:
        return []
    return [f"{outside:.1%} of the samples' values lie beyond [-1, 1], the range of the training images; clip them."]


def fine_detail(images: Tensor) -> NDArray[np.float64]:
    """Mean square of the finest details of each image (n, C, H, W), over 4: the variance white noise would have."""
    inner = images[..., 1:] - images[..., :-1]
    inner = inner[..., 1:, :] - inner[..., :-1, :]
    return (inner.square().flatten(1).mean(1) / 4).double().numpy()


def _detail(x: Tensor, y: Tensor) -> list[str]:
    fine, usual = fine_detail(x), fine_detail(y)
    ratio = float(np.exp(np.median(np.log(fine + 1e-9)) - np.median(np.log(usual + 1e-9))))
    if np.quantile(fine, 0.05) > np.quantile(usual, 0.5) and ratio > DETAIL:
        level = np.sqrt(np.median(fine) - np.median(usual))
        return [
            f"The samples hold noise of a level of about {level:.2f} beyond that of the training images: the last "
            "denoising step is missing, or the sampler stopped early; noise hides copies."
        ]
    if not 1 / DETAIL < ratio < DETAIL:
        less = "less" if ratio < 1 else "more"
        return [
            f"The samples hold {less} fine detail than the training images ({ratio:.2f} times as much): they were "
            "resized with another filter, compressed, or are smoother by the model; treat both sets alike."
        ]
    return []
