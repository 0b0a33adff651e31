"""The samplers by name."""

from smoothscore.errors import InputError
from smoothscore.sampling.ascent import Ascent
from smoothscore.sampling.flow import DPMSolver, Euler, Exact, Heun, VarianceEuler
from smoothscore.sampling.langevin import AnnealedLangevin, FlowCorrected, PredictorCorrector
from smoothscore.sampling.runge_kutta import RungeKutta
from smoothscore.sampling.sampler import Sampler
from smoothscore.sampling.settling import Settling
from smoothscore.sampling.stochastic import DDIM, Ancestral, Churn, ReverseSDE
from smoothscore.sampling.unconditional import TrueLevel

__all__ = ["SAMPLERS", "sampler_named"]

SAMPLERS: dict[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        Heun(),
        Euler(),
        VarianceEuler(),
        DDIM(),
        DPMSolver(),
        RungeKutta(),
        Exact(),
        Settling(),
        ReverseSDE(),
        Ancestral(),
        Churn(),
        PredictorCorrector(),
        FlowCorrected(),
        AnnealedLangevin(),
        TrueLevel(),
        Ascent(),
    )
}


def sampler_named(name: str | Sampler) -> Sampler:
    """The sampler of that name, with its default options; one that is a sampler already is taken as it is.

    Raises:
        InputError: there is none.
    """
    if isinstance(name, Sampler):
        return name
    if name not in SAMPLERS:
        raise InputError(f"There is no sampler {name!r}; take one of {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]
