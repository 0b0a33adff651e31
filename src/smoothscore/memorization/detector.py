"""Where copies are looked for: the nearest training images in several spaces, and the surprise that sums them up.

Pixel space is always looked into, and so are aligned images, unless they are too small or unwanted; the spaces of
encoders come beside them. Neighbors of image sets in pixel and aligned space are kept in the cache, under the
fingerprints of both sets, as features are: an interrupted audit goes on where it was.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.data.cache import cache_folder
from smoothscore.encoders import PIXEL
from smoothscore.encoders import encoder as encoder_called
from smoothscore.errors import InputError
from smoothscore.memorization.aligned import AlignedTest, can_align
from smoothscore.memorization.copies import CopyTest, Matches, distinct
from smoothscore.memorization.protocol import CALIBRATION, NEIGHBORS, REFERENCE, VERSION
from smoothscore.memorization.surprise import Surprise
from smoothscore.report.write import write_bytes
from smoothscore.version import __version__

__all__ = ["FEWEST", "Detector", "Found", "largest"]

Images = ImageSet | Tensor
Found = dict[str, Matches]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEWEST = 10  # distinct training images that can be left out in turn


class Detector:
    """The neighbors of images among one training set, and their surprise.

    Args:
        train: the training images.
        encoders: names of spaces beside pixels.
        tolerant: look at aligned images too.
        expected: how many images will be asked about in all, if known.
        calibrate: leave out as many training images as take the place of held-out images.

    Attributes:
        main: the first space asked for.
        tests: by space.
        left_out: (m,) which of the distinct training images were left out in turn; empty for a training set of less
            than 10 distinct images, where the surprise is log(d2 / d1) in the main space.
        reference: what that gave, by space.
    """

    def __init__(
        self, train: Images, encoders: Sequence[str], tolerant: bool, expected: int = 0, calibrate: bool = False
    ) -> None:
        self.main = encoders[0]
        self.train = train
        self.first, self._times = distinct(train)
        most = min(CALIBRATION if calibrate else REFERENCE, len(self.first))
        names = dict.fromkeys(("pixel", *encoders))
        self.tests: dict[str, CopyTest | AlignedTest] = {
            name: CopyTest(
                train, PIXEL if name == "pixel" else encoder_called(name, train), expected + most, self.first
            )
            for name in names
        }
        if tolerant and can_align(_shape(train)) and len(self.first) >= FEWEST:
            self.tests["aligned"] = AlignedTest(train, self.first)
        enough = len(self.first) >= FEWEST
        self._count = min(NEIGHBORS, len(self.first) - enough)
        self.left_out: Integers = np.sort(np.random.default_rng(0).permutation(len(self.first))[: most * enough])
        self.reference: Found = {}
        if enough:
            self.reference = {name: self._leave_out(name, test) for name, test in self.tests.items()}
        self._surprise = Surprise(self.reference)

    def find(self, images: Images, keep: bool = True) -> Found:
        """The nearest distinct training images in each space; ``keep`` them in the cache."""
        return {name: self._find(name, test, images, keep) for name, test in self.tests.items()}

    def surprise(self, found: Found) -> dict[str, Floats]:
        """The surprise in each space, (n,)."""
        if self.reference:
            return self._surprise(found)
        return {self.main: -np.log(np.maximum(found[self.main].ratio, 1e-12))}

    def spacing(self, members: Integers) -> Floats | None:
        """Distance in pixels from distinct training images, by index in the set, to the one next to each."""
        test = self.tests["pixel"]
        assert isinstance(test, CopyTest)
        return test.spacing(np.searchsorted(self.first, members)) if len(self.first) > 2 else None

    def repeats(self, members: Integers) -> dict[int, int]:
        """How often each of some distinct training images, by index in the set, stands in it."""
        times = self._times[np.searchsorted(self.first, members)]
        return dict(zip(members.tolist(), times.tolist(), strict=True))

    def _find(self, name: str, test: CopyTest | AlignedTest, images: Images, keep: bool) -> Matches:
        def search() -> Matches:
            return test(images) if isinstance(test, AlignedTest) else test(images, self._count, spaced=True)

        return self._kept(name, images, search) if keep else search()

    def _leave_out(self, name: str, test: CopyTest | AlignedTest) -> Matches:
        def search() -> Matches:
            chosen = self.left_out
            if isinstance(test, AlignedTest):
                return test.leave_one_out(chosen)
            return test.leave_one_out(chosen, self._count)

        return self._kept(f"{name}, {len(self.left_out)} left out", self.train, search)

    def _kept(self, what: str, images: Images, search: Callable[[], Matches]) -> Matches:
        """The result of a search, from the cache where it has it."""
        known = what.startswith(("pixel", "aligned"))
        if not known or not isinstance(images, ImageSet) or not isinstance(self.train, ImageSet):
            return search()
        key = repr((__version__, VERSION, what, self._count, self.train.fingerprint, images.fingerprint))
        file = cache_folder().with_name("matches") / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
        try:
            stored = load_file(file)
        except (OSError, SafetensorError):
            found = search()
            arrays = {"indices": found.indices, "distances": found.distances}
            arrays |= {} if found.spacing is None else {"spacing": found.spacing}
            with suppress(OSError, InputError):  # a full disk costs the resuming, not the result
                file.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(file, save({name: torch.from_numpy(values.copy()) for name, values in arrays.items()}))
            return found
        spacing = stored["spacing"].numpy() if "spacing" in stored else None
        return Matches(stored["indices"].numpy(), stored["distances"].numpy(), spacing)


def largest(by_space: dict[str, Floats]) -> Floats:
    """The largest surprise of each image over the spaces (n,)."""
    most: Floats = np.max(list(by_space.values()), axis=0)
    return most


def _shape(images: Images) -> tuple[int, ...]:
    return tuple(images.shape if isinstance(images, ImageSet) else images.shape[1:])
