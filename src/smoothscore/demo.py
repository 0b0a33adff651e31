"""The demonstration: four closed-form scores of the same 1,000 digits, each sampled and audited.

The empirical score is the optimum of the diffusion training loss, so it can only copy; the three others smooth it.
Nothing is tuned to its outcome: the bandwidth of the mollified score is half the typical distance between neighboring
training images, so that a shift of one standard deviation reaches the boundary between them, and the other settings
are the defaults of the functions called.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rich.console import Group as RichGroup
from rich.table import Table as RichTable

from smoothscore import progress
from smoothscore.data import ImageSet, load_images, to_images
from smoothscore.geometry import Diagnosis
from smoothscore.memorization import Audit
from smoothscore.neighbors import nearest
from smoothscore.report import Gallery, Group, Picture, Result, Section, Table, Text, image_grid
from smoothscore.sampling import Samples
from smoothscore.scores import EmpiricalScore, GaussianMixtureScore, GaussianScore, MollifiedScore, Score
from smoothscore.verbs import audit, diagnose, sample

__all__ = ["Demo", "Entry", "run"]

DATA = "mnist-5k"
TRAIN, HELD_OUT, SAMPLES, COMPONENTS, SPACE = 1000, 1000, 200, 20, "pixel"


@dataclass(frozen=True, eq=False)
class Entry:
    """One score with its samples, their audit, and the seconds that fitting, sampling and audit took."""

    name: str
    samples: Samples
    audit: Audit
    seconds: float

    def row(self) -> tuple[str, ...]:
        """The entry as a line of the table."""
        frechet = self.audit.frechet
        return (
            self.name,
            str(self.audit.memorized_fraction),
            str(self.audit.held_out_fraction),
            f"{self.audit.ratio.mean():.3f}",
            f"{frechet['to_train']:.4g}",
            f"{frechet['to_held_out']:.4g}",
            f"{self.seconds:.1f}",
        )


COLUMNS = ("score", "memorized", "held-out", "mean ratio", "Frechet to train", "to held-out", "seconds")


@dataclass(frozen=True, eq=False)
class Demo(Result):
    """The diagnosis of the digits, and an :class:`Entry` for each score.

    Attributes:
        diagnosis: of the training digits.
        entries: one a score, the empirical one first.
        bandwidth: of the mollified score.
        seed: of everything drawn.
        train: the training digits.
        seconds: of the whole, loading included.
    """

    kind: ClassVar[str] = "demo"
    title: ClassVar[str] = "Do smoothed scores copy?"

    diagnosis: Diagnosis
    entries: Sequence[Entry]
    bandwidth: float
    seed: int
    train: ImageSet
    seconds: float

    def values(self) -> Mapping[str, object]:
        """The diagnosis, and samples and audit of every score."""
        scores = {
            entry.name: {"seconds": entry.seconds, "samples": entry.samples, "audit": entry.audit}
            for entry in self.entries
        }
        return {"diagnosis": self.diagnosis, "scores": scores, "seconds": self.seconds}

    def setting(self) -> Mapping[str, object]:
        """What was run."""
        return {
            "data": DATA,
            "training images": TRAIN,
            "held-out images": HELD_OUT,
            "samples of each score": SAMPLES,
            "sampler": self.entries[0].samples.options["sampler"],
            "evaluations an image": self.entries[0].samples.evaluations,
            "mixture components": COMPONENTS,
            "bandwidth": self.bandwidth,
            "ratio threshold": self.entries[0].audit.threshold,
            "Frechet space": self.entries[0].audit.frechet["space"],
            "seed": self.seed,
            "training set": self.train.fingerprint,
        }

    def caption(self) -> str:
        """The setting in a sentence, to stand beside the numbers."""
        first = self.entries[0]
        test, frechet = first.audit, first.audit.frechet
        return (
            f"{TRAIN:,} digits of MNIST (28x28) as training set, {HELD_OUT:,} others held out, {SAMPLES} samples of "
            f"each score by {first.samples.options['sampler']} with {first.samples.evaluations} evaluations, memorized "
            f"when nearest / second nearest distance < {test.threshold:.3g}, 95 % intervals, squared Frechet distance "
            f"in {frechet['space']} space (train to held-out: {frechet['reference']:.4g}), seed {self.seed}."
        )

    def summary(self) -> Sequence[tuple[str, str]]:
        """One line a score; :meth:`__rich__` shows the whole table."""
        return [(entry.name, f"memorized {entry.audit.memorized_fraction}") for entry in self.entries]

    def __rich__(self) -> RichGroup:
        """The table for a terminal, with the setting below it."""
        table = RichTable(*COLUMNS, caption=self.caption(), caption_justify="left", padding=0)
        table.columns[0].no_wrap = True
        for entry in self.entries:
            table.add_row(*entry.row())
        return RichGroup(table)

    def lead(self) -> str:
        """The outcome in two sentences."""
        empirical, *smoothed = (float(entry.audit.memorized_fraction) for entry in self.entries)
        control = float(self.entries[0].audit.held_out_fraction or 0)
        return (
            f"Of the samples of the empirical score {empirical:.0%} are copies of training images; of those of the "
            f"smoothed scores at most {max(smoothed):.1%}. Among real digits that were not trained on "
            f"the same test finds {control:.1%}."
        )

    def sections(self) -> Sequence[Section]:
        """The table, the noise levels, and every sample beside its nearest training image."""
        table = Table(COLUMNS, [entry.row() for entry in self.entries])
        return [
            Section("Four scores of one training set", [Text(self.caption()), table, Text(READING, tone="note")]),
            *self.diagnosis.sections(),
            *(Section(f"Samples: {entry.name}", [self._gallery(entry)]) for entry in self.entries),
        ]

    def picture(self, columns: int = 14) -> bytes:
        """The first samples of every score, each row of samples above the row of their nearest training images."""
        rows, labels = [], []
        for entry in self.entries:
            rows += [_pixels(entry)[:columns], self.train.take(entry.audit.neighbors[:columns, 0])]
            labels += [entry.name, "nearest in training set"]
        return image_grid(np.concatenate(rows), columns, row_labels=labels)

    def _gallery(self, entry: Entry) -> Gallery:
        nearest_images = self.train.take(entry.audit.neighbors[:, 0])
        groups = [
            Group((Picture(image, f"sample {i}"), Picture(original, f"train {row}")), f"ratio {ratio:.2f}")
            for i, (image, original, row, ratio) in enumerate(
                zip(
                    _pixels(entry),
                    nearest_images,
                    entry.audit.neighbors[:, 0],
                    entry.audit.ratio,
                    strict=True,
                )
            )
        ]
        caption = "Each sample with its nearest training image, in the order drawn."
        return Gallery(groups, caption=caption)


READING = (
    "The ratio of a sample is its distance to the nearest training image over that to the second nearest distinct "
    "one: 0 for an exact copy, near 1 for a new image. Pixel distances do not judge quality: a smoothed score may "
    "give blurred or broken digits, and the pictures below show it."
)


def run(seed: int = 0) -> Demo:
    """Diagnose 1,000 digits, draw 200 samples from each of four scores, audit each against the digits.

    Cost: about a minute on two cores. Memory: under 1 GB.

    Raises:
        InputError: the digits are not installed (``pip install "smoothscore[demo]"``).
    """
    begun = time.perf_counter()
    with progress.task("demo: the diagnosis, then four scores", total=5) as advance:
        train, held_out = load_images(DATA).split((TRAIN, HELD_OUT), seed=seed)
        diagnosis = diagnose(train, held_out, seed=seed)
        advance(1)
        bandwidth = _half_spacing(train)
        entries = []
        for name, build in _scores(train, bandwidth, seed).items():
            start = time.perf_counter()
            samples = sample(build(), SAMPLES, seed=seed)
            checked = audit(samples, train, held_out, encoder=SPACE)
            entries.append(Entry(name, samples, checked, time.perf_counter() - start))
            advance(1)
    return Demo(diagnosis, entries, bandwidth, seed, train, time.perf_counter() - begun)


def _scores(train: ImageSet, bandwidth: float, seed: int) -> dict[str, Callable[[], Score]]:
    """The four scores by name, built when they are called."""
    return {
        "empirical": lambda: EmpiricalScore(train),
        "Gaussian": lambda: GaussianScore.fit(train),
        f"{COMPONENTS} Gaussians": lambda: GaussianMixtureScore.fit(train, components=COMPONENTS, seed=seed),
        "mollified": lambda: MollifiedScore(EmpiricalScore(train), bandwidth, seed=seed),
    }


def _half_spacing(images: ImageSet) -> float:
    """Half the median distance of an image to its nearest other one."""
    return float(nearest(images, images, 2).distances[:, 1].median()) / 2


def _pixels(entry: Entry) -> np.ndarray:
    return to_images(entry.samples.images).take(np.arange(len(entry.samples)))
