"""The tests in use and the measures of quality of one audit, gathered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.memorization.copies import CopyTest
from smoothscore.memorization.detector import Detector, Found
from smoothscore.memorization.images import Images, at
from smoothscore.memorization.protocol import SIMILAR
from smoothscore.memorization.published import (
    Vote,
    c_t,
    cells,
    confirmed,
    extraction,
    largest_cosines,
    top_entropy,
    votes,
)
from smoothscore.memorization.quality import COMPARED, chosen, features_of, memorization_informed, quality

__all__ = ["Literature", "literature"]


@dataclass(frozen=True)
class Literature:
    """What the tests in use say.

    Attributes:
        votes: whom each test flags, by its name.
        entropy: mean top-K entropy of samples and, or None, of held-out images, in nats.
        authentic: AuthPct of the samples and, or None, of the held-out images, between 0 and 1.
        c_t: the data-copying statistic; None without held-out images or with too few of them.
        informed_frechet: the memorization-informed Frechet distance to the training set; None in pixel space.
        quality: the measures by comparison; see :mod:`smoothscore.memorization.quality`.
        space: of the measures of quality.
    """

    votes: Mapping[str, Vote]
    entropy: tuple[float, float | None]
    authentic: tuple[float | None, float | None]
    c_t: float | None
    informed_frechet: float | None
    quality: Mapping[str, Mapping[str, Any]]
    space: str

    def frechet(self) -> dict[str, Any]:
        """The Frechet distances alone, by comparison, and their space."""
        found = {name: self.quality[name]["frechet"] if name in self.quality else None for name in COMPARED}
        return found | {"space": self.space}

    def values(self) -> dict[str, Any]:
        """Everything as plain numbers."""
        return {
            "votes": {name: vote.rates() for name, vote in self.votes.items()},
            "entropy": self.entropy,
            "authentic": self.authentic,
            "c_t": self.c_t,
            "informed_frechet": self.informed_frechet,
            "quality": self.quality,
        }


def literature(
    detector: Detector, samples: Images, held_out: Images | None, found: Found, control: Found | None
) -> Literature:
    """All tests and measures, from the neighbors found for samples and, as ``control``, for held-out images."""
    main = detector.main
    near, usual = found[main], None if control is None else control[main]
    flags = votes(near, usual)
    flags["extraction 1 %"] = extraction(found["pixel"], None if control is None else control["pixel"])
    flags |= _confirmed(detector, samples, held_out, found, control, flags)
    features, space = _features(detector, samples, held_out)
    measured = quality(features, space)
    informed = None
    test = detector.tests[main]
    if isinstance(test, CopyTest) and isinstance(test.place, Tensor) and main != "pixel":
        sets = {"samples": samples} | ({} if held_out is None else {"held_out": held_out})
        cosines = {name: largest_cosines(test.space(images), test.place) for name, images in sets.items()}
        above = {name: high > SIMILAR for name, (high, _) in cosines.items()}
        flags["similarity"] = Vote(above["samples"], above.get("held_out"))
        if "to_train" in measured:
            informed = memorization_informed(measured["to_train"]["frechet"], cosines["samples"][1])
    statistic = None
    if usual is not None:
        assert held_out is not None
        sorted_in = cells(features["train"], features["samples"], features["held_out"])
        mine, theirs = near.distances[chosen(len(samples)), 0], usual.distances[chosen(len(held_out)), 0]
        statistic = c_t(mine, theirs, (sorted_in[0], sorted_in[1]))
    return Literature(
        votes=flags,
        entropy=(float(top_entropy(near).mean()), None if usual is None else float(top_entropy(usual).mean())),
        authentic=_authentic(flags.get("not authentic")),
        c_t=statistic,
        informed_frechet=informed,
        quality=measured,
        space=space,
    )


def _features(detector: Detector, samples: Images, held_out: Images | None) -> tuple[dict[str, Tensor], str]:
    """Vectors of each set, and their space."""
    sets = {"samples": samples, "train": detector.train} | ({} if held_out is None else {"held_out": held_out})
    test = detector.tests[detector.main]
    assert isinstance(test, CopyTest)
    named = {name: features_of(images, test.space) for name, images in sets.items()}
    return {name: features for name, (features, _) in named.items()}, named["samples"][1]


def _authentic(vote: Vote | None) -> tuple[float | None, float | None]:
    if vote is None:
        return None, None
    rates = vote.rates()
    return tuple(None if rate is None else 1 - rate for rate in (rates["samples"], rates["held_out"]))  # type: ignore[return-value]


def _confirmed(
    detector: Detector,
    samples: Images,
    held_out: Images | None,
    found: Found,
    control: Found | None,
    flags: Mapping[str, Vote],
) -> dict[str, Vote]:
    """The second stage of B.4.5 in the first space that is not pixels, where there is one."""
    spaces = [name for name in detector.encoders if name != "pixel"]
    if not spaces:
        return {}
    test = detector.tests[spaces[0]]
    assert isinstance(test, CopyTest)

    def second(images: Images, matches: Found, first: NDArray[np.bool_]) -> NDArray[np.bool_]:
        rows = np.flatnonzero(first)
        if not len(rows):
            return first
        members = np.searchsorted(detector.first, matches["pixel"].indices[rows, 0])
        place = test.place
        assert isinstance(place, Tensor)
        mine = test.space(at(images, rows))
        apart = (mine.double() - place[torch.from_numpy(members)].double()).norm(dim=1).numpy()
        passed = first.copy()
        passed[rows] = confirmed(apart, test.spacing(members))
        return passed

    first = flags["extraction 1 %"]
    usual = None
    if control is not None and held_out is not None and first.held_out is not None:
        usual = second(held_out, control, first.held_out)
    return {"extraction confirmed": Vote(second(samples, found, first.samples), usual)}
