"""Names, mistakes, verdicts, and the files of a reproduction."""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smoothscore import ImageSet, InputError
from smoothscore.reproduce import ENTRIES, Row, names, reproduce
from smoothscore.reproduce.result import printed


def test_unknown_names_are_refused_with_the_list():
    with pytest.raises(InputError, match=r"'table-9'.*table-3.*gmm-panels"):
        reproduce("table-9")
    assert set(names()) == set(ENTRIES)


def test_unknown_scale_is_refused():
    with pytest.raises(InputError, match="quick"):
        reproduce("table-3", scale="medium")


@pytest.mark.parametrize("name", ["table-4-5", "figure-4", "collapse-time"])
def test_entries_on_cifar_say_that_they_need_it(name):
    with pytest.raises(InputError, match="data="):
        reproduce(name, scale="quick")


def test_panels_need_a_score_of_the_shape_of_the_images():
    with pytest.raises(InputError, match="score="):
        reproduce("gmm-panels", scale="quick")
    other = ImageSet.from_array(np.zeros((2, 1, 5, 5), np.uint8))
    with pytest.raises(InputError, match="shape"):
        reproduce("gmm-panels", scale="quick", score="empirical:digits", data=other)


@given(value=st.floats(1e-3, 1e12), digits=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_printed_interval_is_what_rounds_to_the_print(value, digits):
    text = f"{value:.{digits}e}"
    assume(float(text[: digits + 2]) > 1)  # just below 1.000 the unit of the print is finer
    low, high = printed(text)
    assert low <= value * (1 + 1e-12)
    assert high >= value * (1 - 1e-12)
    width = high - low
    assert f"{low + 0.01 * width:.{digits}e}" == f"{high - 0.01 * width:.{digits}e}" == text
    assert f"{high + 0.01 * width:.{digits}e}" != text


def test_verdict_is_the_interval_and_nothing_else():
    assert Row("x", 2.0, "2", (1.5, 2.0)).verdict == "hit"
    assert Row("x", math.nextafter(2.0, 3), "2", (1.5, 2.0)).verdict == "missed"
    assert Row("x", math.inf, "never", (10, math.inf)).verdict == "hit"
    assert Row("x", math.nan, "2", (1.5, 2.0)).verdict == "missed"
    assert Row("x", 2.0).verdict == "shown"


def test_files_hold_every_row_with_setting_and_verdict(tmp_path):
    result = reproduce("table-3", seed=5)
    saved = json.loads(result.save_json(tmp_path / "table.json").read_text())
    assert saved["kind"] == "reproduction"
    assert saved["setting"]["seed"] == 5
    assert [(row["ours"], row["verdict"]) for row in saved["rows"]] == [(row.ours, row.verdict) for row in result.rows]
    page = result.save_html(tmp_path / "table.html").read_text()
    for row in result.rows:
        assert row.quantity in page
        assert row.paper in page
    text = repr(result)
    assert "17 of 18" in text
    assert "schedule" in text
