"""Pictures of planes: densities and vector fields side by side, as PNG bytes."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

__all__ = ["Plane", "planes"]

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
