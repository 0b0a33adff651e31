"""Samplers, the loop that drives them, and what they give."""

from smoothscore.sampling.ascent import Ascent
from smoothscore.sampling.evaluator import Evaluator, Projection, noise
from smoothscore.sampling.flow import DPMSolver, Euler, Exact, Heun, VarianceEuler
from smoothscore.sampling.interpolation import interpolate
from smoothscore.sampling.langevin import AnnealedLangevin, FlowCorrected, PredictorCorrector
from smoothscore.sampling.level import nearest_level
from smoothscore.sampling.levels import SCHEDULES
from smoothscore.sampling.loop import draw, draw_plan
from smoothscore.sampling.plan import Plan, plan
from smoothscore.sampling.projections import Box, KnownPixels, Subspace
from smoothscore.sampling.runge_kutta import RungeKutta
from smoothscore.sampling.sampler import Sampler, Stepwise
from smoothscore.sampling.samplers import SAMPLERS
from smoothscore.sampling.samples import Samples
from smoothscore.sampling.sampleset import SampleSet
from smoothscore.sampling.settling import Settling
from smoothscore.sampling.stochastic import DDIM, Ancestral, Churn, ReverseSDE
from smoothscore.sampling.store import processes, write_samples
from smoothscore.sampling.teleport import Teleport, fit_gaussian, gaussian_of
from smoothscore.sampling.unconditional import TrueLevel

__all__ = [
    "DDIM",
    "SAMPLERS",
    "SCHEDULES",
    "Ancestral",
    "AnnealedLangevin",
    "Ascent",
    "Box",
    "Churn",
    "DPMSolver",
    "Euler",
    "Evaluator",
    "Exact",
    "FlowCorrected",
    "Heun",
    "KnownPixels",
    "Plan",
    "PredictorCorrector",
    "Projection",
    "ReverseSDE",
    "RungeKutta",
    "SampleSet",
    "Sampler",
    "Samples",
    "Settling",
    "Stepwise",
    "Subspace",
    "Teleport",
    "TrueLevel",
    "VarianceEuler",
    "draw",
    "draw_plan",
    "fit_gaussian",
    "gaussian_of",
    "interpolate",
    "nearest_level",
    "noise",
    "plan",
    "processes",
    "write_samples",
]
