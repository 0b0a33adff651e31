import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

import smoothscore
from smoothscore.report import Result, Section, Text
from smoothscore.report.result import plain


@dataclass(frozen=True, eq=False)
class Measured(Result):
    ratio: NDArray[np.float64]
    name: str = "a.png"

    kind: ClassVar[str] = "measured"
    title: ClassVar[str] = "Measured [bold]ratios[/bold]"

    def values(self) -> Mapping[str, object]:
        return {"ratio": self.ratio, "worst": self.ratio.min()}

    def setting(self) -> Mapping[str, object]:
        return {"seed": np.int64(3), "folder": Path("a/b")}

    def summary(self) -> Sequence[tuple[str, str]]:
        return [("images", str(len(self.ratio))), ("worst", f"{self.name} [0.1, 0.2]")]

    def lead(self) -> str:
        return "One of two images is a copy."

    def sections(self) -> Sequence[Section]:
        return [Section("Result", [Text("In words.")])]


MEASURED = Measured(np.array([0.125, math.nan, math.inf, -math.inf]))


def strict(text: str) -> object:
    """The value of a JSON text; NaN and Infinity, which are not JSON, are errors."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_json_is_valid_and_names_version_kind_and_setting(tmp_path: Path) -> None:
    text = MEASURED.save_json(tmp_path / "a.json").read_text(encoding="utf-8")
    assert strict(text) == {
        "smoothscore": smoothscore.__version__,
        "kind": "measured",
        "setting": {"seed": 3, "folder": "a/b"},
        "ratio": [0.125, None, "inf", "-inf"],
        "worst": None,
    }
    assert strict(text) == MEASURED.to_dict()
    assert len(text.splitlines()) == 2 + 5, "one name a line"


def test_html_holds_title_lead_sections_and_setting(tmp_path: Path) -> None:
    text = MEASURED.save_html(tmp_path / "a.html").read_text(encoding="utf-8")
    for part in ("Measured [bold]ratios[/bold]", MEASURED.lead(), "In words.", "<dd>a/b</dd>"):
        assert part in text


def test_repr_is_the_summary_and_not_the_arrays() -> None:
    assert repr(MEASURED) == "Measured [bold]ratios[/bold]\n  images  4\n  worst   a.png [0.1, 0.2]"


def test_rich_prints_the_summary_and_takes_brackets_as_text() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(MEASURED)
    text = console.export_text()
    for part in ("Measured [bold]ratios[/bold]", "images", "a.png [0.1, 0.2]"):
        assert part in text


class Wordy(Measured):
    def summary(self) -> Sequence[tuple[str, str]]:
        return [("a quantity whose name alone fills most of the line of a terminal", "word " * 40)]


def test_a_long_name_leaves_its_value_half_of_a_narrow_terminal() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Wordy(np.ones(1)))
    assert len(console.export_text().splitlines()) <= 1 + 7


@dataclass(frozen=True)
class Pair:
    low: float
    high: float


class Rate(float):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Rate(0.5), 0.5),
        (True, True),
        (np.float32(0.5), 0.5),
        (np.float32("nan"), None),
        (np.bool_(True), True),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(["a", "b"]), ["a", "b"]),
        (torch.tensor([1.0, math.inf]), [1.0, "inf"]),
        (torch.tensor(2), 2),
        (torch.Size((3, 32, 32)), [3, 32, 32]),
        ({3: Pair(0.0, math.nan)}, {"3": {"low": 0.0, "high": None}}),
        ({2, 1}, [1, 2]),
        (MEASURED.setting(), {"seed": 3, "folder": "a/b"}),
    ],
)
def test_plain(value: object, expected: object) -> None:
    found = plain(value)
    assert found == expected
    assert json.loads(json.dumps(found)) == expected


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        plain({"a": object()})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None)
@given(values)
def test_plain_values_survive_json_and_a_second_pass(value: object) -> None:
    once = plain(value)
    assert strict(json.dumps(once, allow_nan=False)) == once == plain(once)
