"""Samplers, the loop that drives them, and what they give."""

from smoothscore.sampling.loop import draw, noise
from smoothscore.sampling.samplers import SAMPLERS, Euler, Heun, Sampler
from smoothscore.sampling.samples import Samples

__all__ = ["SAMPLERS", "Euler", "Heun", "Sampler", "Samples", "draw", "noise"]
