"""Pictures as PNG bytes: densities and vector fields on planes side by side, and rows of images."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import to_images
from smoothscore.report import image_grid

__all__ = ["Plane", "planes", "rows_of_images"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """One panel over the square of side ``2 * half`` around the origin.

    Attributes:
        heat: (n, n) values, row i at the i-th ordinate; ``None`` for an empty ground.
        arrows: (n, n, 2) vectors at the same positions; only some are drawn, all at one length.
        points: (m, 2) dots.
    """

    heat: Array | None = None
    arrows: Array | None = None
    points: Array | None = None


def planes(panels: Mapping[str, Plane], half: float) -> bytes:
    """The panels in rows of four under their names; each heat map has its own scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    canvas = Canvas(figsize=(2.3 * columns, 2.45 * rows), layout="constrained", dpi=110)
    box = (-half, half, -half, half)
    for index, (name, plane) in enumerate(panels.items(), start=1):
        axes = canvas.add_subplot(rows, columns, index, xlim=box[:2], ylim=box[2:], aspect="equal")
        axes.set_title(name, size=9)
        axes.tick_params(labelsize=7)
        if plane.heat is not None:
            axes.imshow(plane.heat, origin="lower", extent=box, cmap="cividis", aspect="equal")
        if plane.arrows is not None:
            step = max(1, len(plane.arrows) // 16)
            some = plane.arrows[::step, ::step]
            length = np.linalg.norm(some, axis=2, keepdims=True)
            unit = np.divide(some, length, out=np.zeros_like(some), where=length > 0)
            ticks = [np.linspace(low, high, len(plane.arrows))[::step] for low, high in (box[:2], box[2:])]
            axes.quiver(*np.meshgrid(*ticks), unit[..., 0], unit[..., 1], color="white", scale=22, width=0.006)
        if plane.points is not None:
            size = 14 if len(plane.points) < 200 else 1
            axes.scatter(plane.points[:, 0], plane.points[:, 1], s=size, color="#D55E00", linewidths=0)
    stream = io.BytesIO()
    FigureCanvasAgg(canvas)
    canvas.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def rows_of_images(rows: Mapping[str, Tensor]) -> bytes:
    """Images (n, C, H, W) in [-1, 1], a named row for each entry, as PNG; small ones enlarged."""
    pixels = [to_images(images).take(range(len(images))) for images in rows.values()]
    return image_grid(np.concatenate(pixels), len(pixels[0]), list(rows), scale=max(1, 72 // pixels[0].shape[2]))
