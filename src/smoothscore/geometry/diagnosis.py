"""The diagnosis of a training set: at which noise levels a diffusion model will find it easy to copy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet
from smoothscore.geometry import diagnosis_page, diagnosis_words
from smoothscore.geometry.curve import Array, Curve
from smoothscore.geometry.danger import DangerZone
from smoothscore.geometry.far_field import FarField
from smoothscore.geometry.forecast import Forecast
from smoothscore.geometry.model import ModelLevels
from smoothscore.geometry.near_duplicates import NearGroup
from smoothscore.geometry.recommendation import Goal, command, in_lines, recommend
from smoothscore.geometry.sampling_noise import SamplingNoise
from smoothscore.geometry.sensitivity import Sensitivity
from smoothscore.geometry.stability import Stability
from smoothscore.report import Section
from smoothscore.report.result import Result

if TYPE_CHECKING:
    from rich.console import Group as RichGroup

__all__ = ["Diagnosis"]


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Result):
    """What the geometry of a training set says about memorization, level by level.

    Attributes:
        sigmas: (L,) noise levels, in the units of images in [-1, 1].
        posterior_weight: expected largest posterior weight of a noisy training image.
        own_weight: expected posterior weight of the image that was noised.
        effective_number: expected number of training images that share the posterior.
        shell_coverage: coverage of held-out images by the training images' shells, with bounds; ``None`` for a
            single training image without held-out images.
        zone: the danger zone with the uncertainty of its ends; ``None`` if there is none.
        far_field: the Gaussian approximation at every level and the level from which it is good to one percent.
        thresholds: median levels below which an image's own weight is surely above 0.95, and above which surely below;
            ``None`` for a single training image and for more than 10,000.
        sampling_noise: of the optimal answer to three noisy training images where the posterior weight is one half.
        sensitivity: how far denoised pixels depend on noisy ones; ``None`` for data that are no images.
        stability: expansiveness and Jacobian spectra at up to 12 levels; ``None`` if not asked for.
        model: what the score under examination does at every level; ``None`` without a score.
        forecast: the zone by the number of images; ``None`` if not asked for or not to be had.
        duplicates: groups of indices of equal training images, the largest first.
        near: groups of near duplicates, the closest first; ``None`` if not asked for.
        leaked: indices of held-out images that are training images too (they were left out).
        alerts: what changes how the numbers must be read, in sentences; each was also a ``DataWarning``.
        notes: what else a reader should know.
        options: what was done, so that it can be done again.
        pictures: the training images.
    """

    kind: ClassVar[str] = "diagnosis"
    title: ClassVar[str] = "Diagnosis of a training set"

    sigmas: Array
    posterior_weight: Curve
    own_weight: Curve
    effective_number: Curve
    shell_coverage: Curve | None
    zone: DangerZone | None
    far_field: FarField
    thresholds: tuple[float, float] | None
    sampling_noise: list[SamplingNoise]
    sensitivity: Sensitivity | None
    stability: Stability | None
    model: ModelLevels | None
    forecast: Forecast | None
    duplicates: list[list[int]]
    near: list[NearGroup] | None
    leaked: list[int]
    alerts: list[str]
    notes: list[str]
    options: Mapping[str, object]
    pictures: Tensor | ImageSet

    @property
    def danger_zone(self) -> tuple[float, float] | None:
        """Lowest and highest noise level of the danger zone, or ``None``."""
        return None if self.zone is None else (self.zone.low, self.zone.high)

    def recommend(self, goal: Goal = "quality") -> TrainConfig:
        """Settings to train with; ``reasons`` of the result holds a sentence for each.

        Args:
            goal: "quality" leaves the danger zone out of training; "privacy" softens every level's target over
                neighboring images.

        Raises:
            InputError: another goal.

        Source: "Two calm ends and the wild middle", section 5; "Smoothing the score function", eq. 10-11.
        """
        return recommend(self, goal)

    def commands(self) -> Mapping[str, str]:
        """The ``smoothscore train`` command for each goal."""
        data = str(self.options["data"])
        return {
            "Train without the danger zone" if self.zone else "Train": command(self.recommend(), data),
            "Train for privacy": command(self.recommend("privacy"), data),
        }

    def __rich__(self) -> "RichGroup":
        """The summary, and the commands in lines that a shell joins again."""
        from rich.console import Group as RichGroup
        from rich.text import Text as RichText

        lines = [f"{name}:\n{in_lines(line)}" for name, line in self.commands().items()]
        return RichGroup(super().__rich__(), *(RichText(line, no_wrap=True) for line in lines))

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *(f"{name}: {line}" for name, line in self.commands().items())])

    def values(self) -> Mapping[str, object]:
        """The curves, the zone and the duplicates by name."""
        hidden = ("options", "pictures")
        found = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in hidden}
        recommended = {goal: self.recommend(goal) for goal in ("quality", "privacy")}
        return found | {"danger_zone": self.danger_zone, "recommended": recommended}

    def setting(self) -> Mapping[str, object]:
        """Options, seed, counts and fingerprints."""
        return self.options

    def summary(self) -> Sequence[tuple[str, str]]:
        """The few lines a reader wants first."""
        return diagnosis_words.summary(self)

    def lead(self) -> str:
        """The result in a sentence or two."""
        return diagnosis_words.lead(self)

    def sections(self) -> Sequence[Section]:
        """The body of the page."""
        return diagnosis_page.sections(self)
