"""smoothscore: where a diffusion model memorizes its training images, why, and samples that are no copies."""

from smoothscore import data, geometry, memorization, mixture, networks, report, sampling, schedules, scores, training
from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet, load_images, to_images, write_images
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry import Diagnosis
from smoothscore.memorization import Audit
from smoothscore.neighbors import NeighborGraph
from smoothscore.sampling import Samples
from smoothscore.scores import (
    DiffusersScore,
    EDMScore,
    EmpiricalScore,
    GaussianMixtureScore,
    GaussianScore,
    MollifiedScore,
    NetworkScore,
    PiecewiseScore,
    Score,
    UnifiedScore,
    load_score,
)
from smoothscore.training import Run
from smoothscore.verbs import audit, dedup, diagnose, reproduce, sample, train
from smoothscore.version import __version__

__all__ = [
    "Audit",
    "DataWarning",
    "Diagnosis",
    "DiffusersScore",
    "EDMScore",
    "EmpiricalScore",
    "GaussianMixtureScore",
    "GaussianScore",
    "ImageSet",
    "InputError",
    "MollifiedScore",
    "NeighborGraph",
    "NetworkScore",
    "PiecewiseScore",
    "Run",
    "Samples",
    "Score",
    "TrainConfig",
    "UnifiedScore",
    "__version__",
    "audit",
    "data",
    "dedup",
    "diagnose",
    "geometry",
    "load_images",
    "load_score",
    "memorization",
    "mixture",
    "networks",
    "report",
    "reproduce",
    "sample",
    "sampling",
    "schedules",
    "scores",
    "to_images",
    "train",
    "training",
    "write_images",
]
