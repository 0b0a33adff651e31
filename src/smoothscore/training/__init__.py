"""Training of score networks: objectives for any loop, the trainer, and what a run leaves."""

from smoothscore.training.augment import Augmentation
from smoothscore.training.averages import Averages
from smoothscore.training.history import History
from smoothscore.training.law import NoiseLaw, timestep_gap
from smoothscore.training.objective import Losses, Objective, Target
from smoothscore.training.objectives import Conditional, Dummy, Gap, Unconditional
from smoothscore.training.run import Run, train
from smoothscore.training.setup import make_network, make_objective
from smoothscore.training.temperature import Temperature

__all__ = [
    "Augmentation",
    "Averages",
    "Conditional",
    "Dummy",
    "Gap",
    "History",
    "Losses",
    "NoiseLaw",
    "Objective",
    "Run",
    "Target",
    "Temperature",
    "Unconditional",
    "make_network",
    "make_objective",
    "timestep_gap",
    "train",
]
