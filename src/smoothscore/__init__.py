"""smoothscore: where a diffusion model memorizes its training images, why, and samples that are no copies."""

from smoothscore import data, geometry, memorization, mixture, report, sampling, schedules, scores
from smoothscore.data import ImageSet, load_images, to_images, write_images
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry import Diagnosis
from smoothscore.memorization import Audit
from smoothscore.sampling import Samples
from smoothscore.scores import (
    EmpiricalScore,
    GaussianMixtureScore,
    GaussianScore,
    MollifiedScore,
    PiecewiseScore,
    Score,
    UnifiedScore,
    load_score,
)
from smoothscore.verbs import audit, diagnose, reproduce, sample
from smoothscore.version import __version__

__all__ = [
    "Audit",
    "DataWarning",
    "Diagnosis",
    "EmpiricalScore",
    "GaussianMixtureScore",
    "GaussianScore",
    "ImageSet",
    "InputError",
    "MollifiedScore",
    "PiecewiseScore",
    "Samples",
    "Score",
    "UnifiedScore",
    "__version__",
    "audit",
    "data",
    "diagnose",
    "geometry",
    "load_images",
    "load_score",
    "memorization",
    "mixture",
    "report",
    "reproduce",
    "sample",
    "sampling",
    "schedules",
    "scores",
    "to_images",
    "write_images",
]
