"""Tests of generated images for copies of training images, with real images as the control."""

from smoothscore.memorization.audit import audit
from smoothscore.memorization.copies import LOOSE, STRICT, CopyTest, Matches
from smoothscore.memorization.frechet import Moments, frechet_distance, moments
from smoothscore.memorization.intervals import Difference, Rate, difference
from smoothscore.memorization.quality import kernel_distance, prdc
from smoothscore.memorization.verdict import Audit

__all__ = [
    "LOOSE",
    "STRICT",
    "Audit",
    "CopyTest",
    "Difference",
    "Matches",
    "Moments",
    "Rate",
    "audit",
    "difference",
    "frechet_distance",
    "kernel_distance",
    "moments",
    "prdc",
]
