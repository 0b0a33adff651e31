"""The geometry of a training set under noise, and what it says about memorization."""

from smoothscore.geometry.collapse import collapse_time, true_level_path
from smoothscore.geometry.coverage import shell_coverage
from smoothscore.geometry.curve import Curve
from smoothscore.geometry.danger import DangerZone, danger_zone
from smoothscore.geometry.deduplication import Deduplication, deduplicate
from smoothscore.geometry.diagnosing import diagnose
from smoothscore.geometry.diagnosis import Diagnosis
from smoothscore.geometry.expansiveness import (
    ExpansionPairs,
    conditional_expansion,
    expansion_pairs,
    expansion_ratio,
    local_expansion,
    unconditional_expansion,
)
from smoothscore.geometry.far_field import FarField, far_field, unexplained_variance
from smoothscore.geometry.forecast import Forecast, forecast
from smoothscore.geometry.model import ModelLevels, examine
from smoothscore.geometry.near_duplicates import NearGroup, near_duplicates
from smoothscore.geometry.posterior import Concentration, concentration, own_weight, posterior_weight, weight_thresholds
from smoothscore.geometry.sampling_noise import SamplingNoise, sampling_noise
from smoothscore.geometry.sensitivity import Sensitivity, circulant_bound, sensitivity
from smoothscore.geometry.shells import Shell, shell_overlap
from smoothscore.geometry.stability import Stability, stability

__all__ = [
    "Concentration",
    "Curve",
    "DangerZone",
    "Deduplication",
    "Diagnosis",
    "ExpansionPairs",
    "FarField",
    "Forecast",
    "ModelLevels",
    "NearGroup",
    "SamplingNoise",
    "Sensitivity",
    "Shell",
    "Stability",
    "circulant_bound",
    "collapse_time",
    "concentration",
    "conditional_expansion",
    "danger_zone",
    "deduplicate",
    "diagnose",
    "examine",
    "expansion_pairs",
    "expansion_ratio",
    "far_field",
    "forecast",
    "local_expansion",
    "near_duplicates",
    "own_weight",
    "posterior_weight",
    "sampling_noise",
    "sensitivity",
    "shell_coverage",
    "shell_overlap",
    "stability",
    "true_level_path",
    "unconditional_expansion",
    "unexplained_variance",
    "weight_thresholds",
]
