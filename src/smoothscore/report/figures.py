"""Figures from plain arrays: line plots and histograms as SVG text.

The palette is Okabe and Ito's, made to be told apart with any color vision; every line also has its own dash and
marker, so that it reads in grayscale. Ink is written as ``currentColor``: inside a page a figure follows the page's
light or dark scheme. Text stays text, so it can be searched and copied. The same data give the same bytes.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:  # matplotlib takes a second to import, and 26 MB
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

__all__ = ["Region", "Series", "curves", "histogram", "prefix_ids"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)))
MARKERS = ("o", "s", "^", "D", "v")
INK = "#010203"
SMALL = 8.0
WIDTH, HEIGHT, LEGEND_ROW = 5.0, 2.7, 0.16  # inches: small enough for a phone, where text must still be read
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "smoothscore",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Series:
    """One line of a plot: its values and, if known, the ends of its band, each as long as the plot's ``x``."""

    label: str
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None


@dataclass(frozen=True)
class Region:
    """A named interval of the horizontal axis; a shaded one is also hatched."""

    label: str
    low: float
    high: float
    shaded: bool = False


def curves(
    x: ArrayLike,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = True,
    log_y: bool = False,
    y_range: tuple[float, float] | None = None,
    regions: Sequence[Region] = (),
) -> str:
    """Lines over one horizontal axis, as SVG text.

    Args:
        x: (n,) positions in any order; positive when ``log_x``.
        series: the lines; NaN leaves a gap.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
        log_x: logarithmic horizontal axis.
        log_y: logarithmic vertical axis; values that are not positive leave a gap.
        y_range: ends of the vertical axis; from the data by default.
        regions: intervals named along the top, e.g. ``Region("danger zone", 1.8, 4.1, shaded=True)``.
    """
    from matplotlib.lines import Line2D

    positions = np.asarray(x, dtype=float)
    order = np.argsort(positions)
    positions = positions[order]
    styles = _styles(len(series))
    handles = [Line2D([], [], lw=1.6, ms=4, **style) for style in styles]
    with _drawing(handles, [line.label for line in series]) as (canvas, axes):
        if log_x:
            _log_scale(axes, "x")
        if log_y:
            _log_scale(axes, "y")
        for index, (line, style) in enumerate(zip(series, styles, strict=True)):
            step = max(1, len(order) // 12)
            marks = (index * step // len(series), step)
            axes.plot(positions, np.asarray(line.y)[order], lw=1.6, ms=4, markevery=marks, **style)
            if line.low is not None and line.high is not None:
                low, high = np.asarray(line.low)[order], np.asarray(line.high)[order]
                axes.fill_between(positions, low, high, color=style["color"], alpha=0.18, lw=0)
        axes.set(xlabel=x_label, ylabel=y_label)
        if y_range is not None:
            axes.set_ylim(y_range)
        _name_regions(axes, regions)
        return _svg(canvas)


def histogram(
    groups: Mapping[str, ArrayLike],
    *,
    x_label: str,
    y_label: str = "share of the group",
    bins: int = 40,
    marks: Mapping[str, float] | None = None,
) -> str:
    """Histograms of several groups over common bins, each bar a share of its own group, as SVG text.

    Args:
        groups: (n,) values under each group's name; values that are not finite count in the total only.
        x_label: name and unit of the values.
        y_label: name of the vertical axis.
        bins: number of bins between the least and the greatest value of all groups.
        marks: vertical lines by name, e.g. ``{"threshold": 2 / 3}``.
    """
    from matplotlib.lines import Line2D

    values = [np.asarray(group, dtype=float).ravel() for group in groups.values()]
    edges = np.histogram_bin_edges(np.concatenate([group[np.isfinite(group)] for group in values]), bins)
    styles = [{name: style[name] for name in ("color", "ls")} for style in _styles(len(values))]
    handles = [Line2D([], [], lw=1.6, **style) for style in styles]
    with _drawing(handles, list(groups)) as (canvas, axes):
        for group, style in zip(values, styles, strict=True):
            shares = np.histogram(group[np.isfinite(group)], edges)[0] / max(len(group), 1)
            axes.stairs(shares, edges, fill=True, color=style["color"], alpha=0.14, lw=0)
            axes.stairs(shares, edges, lw=1.4, **style)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.set_ylim(bottom=0)
        for name, position in (marks or {}).items():
            axes.axvline(position, color=INK, lw=0.9, ls=(0, (3, 2)))
            axes.annotate(
                name, (position, 1), xycoords=axes.get_xaxis_transform(), ha="center", va="bottom", size=SMALL
            )
        return _svg(canvas)


@contextmanager
def _drawing(handles: "list[Line2D]", labels: list[str]) -> "Iterator[tuple[Canvas, Axes]]":
    """An empty plot in the house style with its legend above; the user's own matplotlib settings are kept out."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the reader's browser has its own fonts
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        columns = max(1, min(len(labels), 72 // (max(map(len, labels), default=0) + 8)))
        rows = -(-len(labels) // columns) if len(labels) > 1 else 0
        canvas = Canvas(figsize=(WIDTH, HEIGHT + LEGEND_ROW * rows), layout="constrained", facecolor="none")
        axes = canvas.add_subplot(facecolor="none")
        axes.margins(x=0.015)
        axes.grid(axis="y", color=INK, alpha=0.12, lw=0.6)
        axes.set_axisbelow(True)
        if rows:
            shown = [f"\u200b{label}" if label.startswith("_") else label for label in labels]
            canvas.legend(handles, shown, loc="outside upper left", ncols=columns, handlelength=2.6, borderpad=0)
        yield canvas, axes


def _styles(count: int) -> list[dict[str, Any]]:
    looks = zip(cycle(PALETTE), cycle(DASHES), cycle(MARKERS), range(count), strict=False)
    return [{"color": color, "ls": dash, "marker": marker} for color, dash, marker, _ in looks]


def _log_scale(axes: "Axes", name: Literal["x", "y"]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axis.set_minor_formatter(NullFormatter())


def _name_regions(axes: "Axes", regions: Sequence[Region]) -> None:
    left, right = axes.get_xlim()
    for region in regions:
        low, high = max(region.low, left), min(region.high, right)
        if low >= high:
            continue
        center = np.sqrt(low * high) if axes.get_xscale() == "log" else (low + high) / 2
        above = 13 if region.shaded and len(regions) > 1 else 2
        if region.shaded:
            axes.axvspan(low, high, facecolor=INK, alpha=0.09, lw=0)
            axes.axvspan(low, high, fill=False, hatch="////", edgecolor=INK, alpha=0.25, lw=0)
        axes.axvline(high, color=INK, alpha=0.35, lw=0.6)
        axes.axvline(low, color=INK, alpha=0.35, lw=0.6)
        axes.annotate(
            region.label,
            (center, 1),
            (0, above),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=SMALL,
            weight="bold" if region.shaded else "normal",
        )


def _svg(canvas: "Canvas") -> str:
    """The drawing as one ``<svg>`` element without header, date, page-wide style or unused ids."""
    stream = io.StringIO()
    canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>|\s*<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))

    def clean(tag: str) -> str:
        tag = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", tag)
        return tag.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans', sans-serif")

    text = _edit_tags(text, clean)
    return text.replace("<svg ", '<svg style="stroke-linejoin:round;stroke-linecap:butt" ', 1).strip()


def prefix_ids(svg: str, prefix: str) -> str:
    """``svg`` with ``prefix`` before its ids, so that several drawings can stand in one document."""
    return _edit_tags(svg, lambda tag: re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>{prefix}", tag))


def _edit_tags(svg: str, edit: Callable[[str], str]) -> str:
    """Edit the tags and leave the text between them, which may hold anything."""
    return re.sub(r"<[^>]*>", lambda match: edit(match[0]), svg)
