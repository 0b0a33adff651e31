"""The table of the larger-time approximation in the guide is what the guide's own code prints."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import smoothscore as ss
from smoothscore.reproduce.kernel import spiral

GUIDE = Path(__file__).parents[2] / "docs" / "scores.md"
ROW = re.compile(r"^\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


def test_the_printed_errors_are_those_of_the_code() -> None:
    points = torch.from_numpy(spiral(np.random.default_rng(0).random(60)))
    names = {"points": points, "empirical": ss.EmpiricalScore(points), "ss": ss, "torch": torch}
    text = GUIDE.read_text()
    function = next(code for code in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if "def errors" in code)
    exec(function.split("\n\n\nfor ")[0], names)
    rows = [[float(cell) for cell in row] for row in ROW.findall(text)]
    assert len(rows) == 12
    for sigma, ratio, *printed in rows[1::8]:
        assert names["errors"](sigma, ratio) == pytest.approx(printed, abs=0.0006)
