"""Score networks, the forms in which they denoise, and their files."""

from smoothscore.networks.architecture import Architecture
from smoothscore.networks.build import PRESETS, build
from smoothscore.networks.linear_bypass import LinearBypass
from smoothscore.networks.point_mlp import PointMLP
from smoothscore.networks.preconditioning import (
    EDM,
    VE,
    VP,
    Denoiser,
    Preconditioning,
    ScaledNoise,
    ScoreOutput,
    UnitNoise,
    preconditioning,
)
from smoothscore.networks.sigma_head import SigmaHead
from smoothscore.networks.song_unet import SongUNet
from smoothscore.networks.store import describe, load_network, save_network

__all__ = [
    "EDM",
    "PRESETS",
    "VE",
    "VP",
    "Architecture",
    "Denoiser",
    "LinearBypass",
    "PointMLP",
    "Preconditioning",
    "ScaledNoise",
    "ScoreOutput",
    "SigmaHead",
    "SongUNet",
    "UnitNoise",
    "build",
    "describe",
    "load_network",
    "preconditioning",
    "save_network",
]
