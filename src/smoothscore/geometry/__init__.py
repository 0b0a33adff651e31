"""The geometry of a training set under noise, and what it says about memorization."""

from smoothscore.geometry.collapse import collapse_time, true_level_path
from smoothscore.geometry.coverage import shell_coverage
from smoothscore.geometry.curve import Curve
from smoothscore.geometry.danger import DangerZone, danger_zone
from smoothscore.geometry.diagnosis import Diagnosis, diagnose
from smoothscore.geometry.expansiveness import (
    ExpansionPairs,
    conditional_expansion,
    expansion_pairs,
    expansion_ratio,
    unconditional_expansion,
)
from smoothscore.geometry.far_field import FarField, far_field, unexplained_variance
from smoothscore.geometry.forecast import Forecast, forecast
from smoothscore.geometry.model import ModelLevels, examine
from smoothscore.geometry.near_duplicates import NearGroup, near_duplicates
from smoothscore.geometry.posterior import Concentration, concentration, own_weight, posterior_weight, weight_thresholds
from smoothscore.geometry.shells import Shell, shell_overlap

__all__ = [
    "Concentration",
    "Curve",
    "DangerZone",
    "Diagnosis",
    "ExpansionPairs",
    "FarField",
    "Forecast",
    "ModelLevels",
    "NearGroup",
    "Shell",
    "collapse_time",
    "concentration",
    "conditional_expansion",
    "danger_zone",
    "diagnose",
    "examine",
    "expansion_pairs",
    "expansion_ratio",
    "far_field",
    "forecast",
    "near_duplicates",
    "own_weight",
    "posterior_weight",
    "shell_coverage",
    "shell_overlap",
    "true_level_path",
    "unconditional_expansion",
    "unexplained_variance",
    "weight_thresholds",
]
