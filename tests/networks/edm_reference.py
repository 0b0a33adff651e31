"""Small networks whose outputs EDM's own code has computed, and the weights they were computed with.

``edm_outputs.npz`` was written once by a script outside this repository: for every entry of :data:`CASES` it built the
``SongUNet`` of github.com/NVlabs/edm (commit 008a4e5) with the same options under EDM's names, filled its parameters
and buffers by :func:`fill` and evaluated it at :func:`inputs`; for every entry of :data:`FORMS`, a preconditioned
network at :data:`LEVELS`.
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

OUTPUTS = Path(__file__).parent / "edm_outputs.npz"
SHAPE = (3, 16, 16)
COMMON = {"width": 16, "blocks": 1, "hidden": 2, "dropout": 0.1}
NCSNPP = {"embedding": "fourier", "embedding_width": 2, "encoder": "residual", "taps": (1, 3, 3, 1)}
CASES = {
    "ddpmpp": {**COMMON, "multipliers": (1, 2), "attention": (8,)},
    "ncsnpp": {**COMMON, **NCSNPP, "multipliers": (2, 1, 2), "attention": (16, 8)},
    "skips": {
        **COMMON,
        "encoder": "skip",
        "decoder": "skip",
        "taps": (1, 3, 3, 1),
        "multipliers": (1, 2, 2),
        "attention": (),
    },
    "labels": {
        **COMMON,
        **NCSNPP,
        "taps": (1, 1),
        "multipliers": (1, 2),
        "attention": (),
        "classes": 4,
        "augmentation": 9,
    },
}
FORMS = ("EDMPrecond", "VPPrecond", "VEPrecond")
LEVELS = (0.002, 0.5, 30.0)
SENSITIVE = (0.002, 2.7736449241638184, 22.536237716674805, 80.0)


def fill(network: nn.Module) -> None:
    """Values that depend on the names and shapes of parameters and buffers only."""
    for name, value in network.state_dict().items():
        if name.endswith("resample_filter"):
            continue
        random = np.random.default_rng(zlib.crc32(name.removeprefix("model.").encode()))
        draw = torch.from_numpy(random.standard_normal(value.shape)).float()
        if value.ndim > 1:
            draw /= (value.numel() / len(value)) ** 0.5
        elif "norm" in name and name.endswith("weight"):
            draw = 1 + 0.1 * draw
        value.copy_(draw)


def inputs(case: str) -> dict[str, Tensor]:
    """The arguments of a case's network."""
    random = np.random.default_rng(1)
    values = {"x": torch.from_numpy(random.standard_normal((2, *SHAPE))), "noise": torch.tensor([-1.3, 0.4])}
    if "classes" in CASES[case]:
        values["class_labels"] = torch.eye(CASES[case]["classes"])[[2, 0]]
        values["augment_labels"] = torch.from_numpy(random.standard_normal((2, CASES[case]["augmentation"])))
    return {name: value.float() for name, value in values.items()}
