"""A paper's numbers beside ours, each with the interval in which ours counts as the same."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar, Literal

import numpy as np

from smoothscore.report import Block, Section, Table
from smoothscore.report.result import Result

__all__ = ["Findings", "Reproduction", "Row", "further_draw", "printed"]

Verdict = Literal["hit", "missed", "shown"]


def printed(text: str) -> tuple[float, float]:
    """The interval of numbers that round to the printed decimal ``text``, e.g. 162750 to 162850 for ``1.628e5``."""
    value = Decimal(text)
    half = Decimal((0, (5,), int(value.as_tuple().exponent) - 1))
    return float(value - half), float(value + half)


def further_draw(draws: Sequence[float]) -> float:
    """How far from the mean of some draws a further one lies at most, in 95 of 100 cases if they are normal."""
    from scipy.special import stdtrit

    spread = float(np.std(draws, ddof=1))
    return float(stdtrit(len(draws) - 1, 0.975)) * spread * math.sqrt(1 + 1 / len(draws))


@dataclass(frozen=True)
class Row:
    """One quantity: ours, the paper's, and what became of the comparison.

    Attributes:
        quantity: what was measured.
        ours: our value.
        paper: the paper's value or claim as it stands there; empty where it prints none.
        accepted: (low, high), both included: where ours must lie to count as the paper's; ``None`` where there is
            nothing to compare with.
        digits: format of ``ours`` in tables; JSON has it in full.
        note: why it is missed, or what one must know to read it.
    """

    quantity: str
    ours: float
    paper: str = ""
    accepted: tuple[float, float] | None = None
    digits: str = ".4g"
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """``hit`` or ``missed``; ``shown`` where there is nothing to compare with."""
        if self.accepted is None:
            return "shown"
        return "hit" if self.accepted[0] <= self.ours <= self.accepted[1] else "missed"


@dataclass(frozen=True)
class Findings:
    """What one entry's function gives back.

    Attributes:
        rows: the comparisons.
        setting: what was done, to be printed beside the numbers.
        blocks: figures and further tables.
    """

    rows: Sequence[Row]
    setting: Mapping[str, object]
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Reproduction(Result):
    """A table or figure of a paper, made again.

    Attributes:
        name: the entry, e.g. ``table-3``.
        paper: title of the paper, and the place in it.
        what: what is measured, in one sentence.
        rows: ours, the paper's and the verdict of each comparison.
        conditions: the setting: scale, seed, data and every option.
        blocks: figures and further tables.
        seconds: time it took.
    """

    name: str
    paper: str
    what: str
    rows: Sequence[Row]
    conditions: Mapping[str, object]
    seconds: float
    blocks: Sequence[Block] = field(default=(), repr=False)

    kind: ClassVar[str] = "reproduction"

    @property
    def title(self) -> str:  # type: ignore[override]
        """Entry and paper."""
        return f"{self.name}: {self.paper}"

    def count(self, verdict: Verdict) -> int:
        """How many rows came out so."""
        return sum(row.verdict == verdict for row in self.rows)

    def values(self) -> Mapping[str, object]:
        """The rows with their verdicts; the time."""
        names = ("quantity", "ours", "paper", "accepted", "verdict", "note")
        rows = [{name: getattr(row, name) for name in names} for row in self.rows]
        return {"name": self.name, "paper": self.paper, "what": self.what, "rows": rows, "seconds": self.seconds}

    def setting(self) -> Mapping[str, object]:
        """What was done, so that it can be done again."""
        return self.conditions

    def summary(self) -> Sequence[tuple[str, str]]:
        """Every comparison on a line, the setting, the count of hits and the time."""
        lines = [("what", self.what), ("setting", _one_line(self.conditions))]
        lines += [(row.quantity, _line(row)) for row in self.rows]
        return [*lines, ("result", f"{self._counts()} in {self.seconds:.1f} s")]

    def lead(self) -> str:
        """What was measured, and how many of the paper's numbers came out."""
        return f"{self.what} {self._counts()}."

    def sections(self) -> Sequence[Section]:
        """The comparisons, then figures and further tables."""
        table = Table(
            ["quantity", "ours", "paper", "accepted", "verdict", "note"],
            [
                [row.quantity, format(row.ours, row.digits), row.paper, _interval(row), row.verdict, row.note]
                for row in self.rows
            ],
            caption=f"Ours beside the paper's. {_one_line(self.conditions)}.",
            definitions={
                "accepted": "The interval in which our value counts as the paper's.",
                "verdict": "hit: ours lies in the accepted interval; missed: it does not, and the note says why; "
                "shown: the paper prints no number to compare with.",
            },
        )
        sections = [Section("Comparison", [table])]
        return [*sections, Section("Details", self.blocks)] if self.blocks else sections

    def _counts(self) -> str:
        hits, missed, shown = (self.count(verdict) for verdict in ("hit", "missed", "shown"))
        text = f"{hits} of {hits + missed} compared numbers agree with the paper's"
        return f"{text}, {shown} more are shown" if shown else text


def _interval(row: Row) -> str:
    if row.accepted is None:
        return ""
    low, high = row.accepted
    return f"{low:.6g} or more" if math.isinf(high) else f"{low:.6g} to {high:.6g}"


def _line(row: Row) -> str:
    paper = f"   paper {row.paper}   {row.verdict}" if row.paper else ""
    return f"{row.ours:{row.digits}}{paper}" + (f"   ({row.note})" if row.note else "")


def _one_line(setting: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())
