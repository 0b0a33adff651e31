"""The scores, one file a family; :func:`load_score` gives them by name."""

from smoothscore.scores.base import Score
from smoothscore.scores.diffusers import DiffusersScore
from smoothscore.scores.edm import EDMScore
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.gaussian import GaussianScore
from smoothscore.scores.gaussian_mixture import GaussianMixtureScore
from smoothscore.scores.mollified import MollifiedScore
from smoothscore.scores.network import NetworkScore
from smoothscore.scores.piecewise import PiecewiseScore
from smoothscore.scores.spec import load_score
from smoothscore.scores.unified import UnifiedScore

__all__ = [
    "DiffusersScore",
    "EDMScore",
    "EmpiricalScore",
    "GaussianMixtureScore",
    "GaussianScore",
    "MollifiedScore",
    "NetworkScore",
    "PiecewiseScore",
    "Score",
    "UnifiedScore",
    "load_score",
]
