"""Where copies are looked for: the nearest training images in several spaces, and the surprise that sums them up.

Pixel space is always looked into, and so are aligned images, and parts of images, unless they are too small or
unwanted; the spaces of encoders come beside them. Neighbors of image sets in all but the latter are kept in the cache,
under the fingerprints of both sets, as features are: an interrupted audit goes on where it was.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from smoothscore import neighbors, progress
from smoothscore.data import ImageSet
from smoothscore.data.cache import cache_folder
from smoothscore.encoders import PIXEL
from smoothscore.encoders import encoder as encoder_called
from smoothscore.errors import InputError
from smoothscore.memorization.aligned import AlignedTest, can_align
from smoothscore.memorization.copies import CopyTest, Matches
from smoothscore.memorization.images import Images, distinct, shape_of
from smoothscore.memorization.patches import PARTS, PatchTest, can_cut
from smoothscore.memorization.protocol import NEIGHBORS, PART_WEIGHT, REFERENCE, SEED, VERSION
from smoothscore.memorization.sharing import first_decides, together
from smoothscore.memorization.surprise import Surprise
from smoothscore.report.write import write_bytes
from smoothscore.version import __version__

__all__ = ["FEWEST", "Detector", "Found", "largest"]

Found = dict[str, Matches]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEWEST = 10  # distinct training images that can be left out in turn


class Detector:
    """The neighbors of images among one training set, and their surprise.

    Args:
        train: the training images.
        encoders: names of spaces beside pixels.
        tolerant: look at aligned images and at parts, too.
        expected: how many images will be asked about in all, if known.

    Attributes:
        main: the first space asked for.
        encoders: all that were asked for.
        tests: by space.
        left_out: (m,) which of the distinct training images were left out in turn; empty for a training set of less
            than 10 distinct images, where the surprise is log(d2 / d1) in the main space.
        reference: what that gave, by space.
    """

    def __init__(self, train: Images, encoders: Sequence[str], tolerant: bool, expected: int = 0) -> None:
        self.main = encoders[0]
        self.encoders = tuple(encoders)
        self.train = train
        self.first, self._times = distinct(train)
        most = min(REFERENCE, len(self.first))
        names = dict.fromkeys(("pixel", *encoders))
        self.tests: dict[str, CopyTest | AlignedTest] = {
            name: CopyTest(
                train, PIXEL if name == "pixel" else encoder_called(name, train), expected + most, self.first
            )
            for name in names
        }
        if tolerant and can_align(shape_of(train)) and len(self.first) >= FEWEST:
            self.tests["aligned"] = AlignedTest(train, self.first)
        if tolerant and can_cut(shape_of(train)) and len(self.first) >= FEWEST:
            self.tests |= {name: PatchTest(name, train, self.first, expected + most) for name in PARTS}
        enough = len(self.first) >= FEWEST
        self._count = min(NEIGHBORS, len(self.first) - enough)
        self.left_out: Integers = np.sort(np.random.default_rng(SEED).permutation(len(self.first))[: most * enough])
        self.reference: Found = {}
        if enough:
            with progress.task("training images left out in turn", total=len(self.tests)) as advance:
                for name, test in self.tests.items():
                    self.reference[name] = self._leave_out(name, test)
                    advance(1)
        self._surprise = Surprise(self.reference)

    def find(self, images: Images, what: str = "samples", keep: bool = True) -> Found:
        """The nearest distinct training images in each space, of ``what`` for the bar; ``keep`` them in the cache."""
        found = {}
        with progress.task(f"neighbors of {what}", total=len(self.tests)) as advance:
            for name, test in self.tests.items():
                found[name] = self._find(name, test, images, keep)
                advance(1)
        return found

    def surprise(self, found: Found) -> dict[str, Floats]:
        """The surprise in each space, (n,); that of a part counts half."""
        if self.reference:
            by_space = self._surprise(found)
            return {name: v * PART_WEIGHT if name in PARTS else v for name, v in by_space.items()}
        return {self.main: -np.log(np.maximum(found[self.main].ratio, 1e-12))}

    @property
    def recall(self) -> dict[str, float]:
        """The share of nearest training images that the search finds in each space but the aligned one."""
        return {name: test.recall for name, test in self.tests.items() if isinstance(test, CopyTest)}

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
        known = what.startswith(("pixel", "aligned", *PARTS))
        if not known or not isinstance(images, ImageSet) or not isinstance(self.train, ImageSet):
            with together():
                return search()
        key = repr((_rules(), what, self._count, self.train.fingerprint, images.fingerprint))
        file = cache_folder().with_name("matches") / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
        with together() as here:
            stored = first_decides(lambda: _stored(file))
            if stored is not None:
                return stored
            found = search()
        if here.rank == 0:
            arrays = {"indices": found.indices, "distances": found.distances}
            arrays |= {} if found.spacing is None else {"spacing": found.spacing}
            with suppress(OSError, InputError):  # a full disk costs the resuming, not the result
                file.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(file, save({name: torch.from_numpy(values.copy()) for name, values in arrays.items()}))
        return found


def _stored(file: Path) -> Matches | None:
    """What a search wrote, if it is there and intact."""
    try:
        arrays = {name: values.numpy() for name, values in load_file(file).items()}
        return Matches(arrays["indices"], arrays["distances"], arrays.get("spacing"))
    except (OSError, SafetensorError, KeyError):
        return None


@cache
def _rules() -> str:
    """Changes whenever the code of a search does."""
    digest = hashlib.sha256(f"{__version__} {VERSION}".encode())
    for package in (Path(__file__).parent, Path(neighbors.__file__).parent):
        for file in sorted(package.glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def largest(by_space: dict[str, Floats]) -> Floats:
    """The largest surprise of each image over the spaces (n,)."""
    most: Floats = np.max(list(by_space.values()), axis=0)
    return most
