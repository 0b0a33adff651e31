import io
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from smoothscore.errors import InputError
from smoothscore.report import Region, Series, curves, histogram, image_grid, png_uri
from smoothscore.report.figures import PALETTE, prefix_ids

SVG = "{http://www.w3.org/2000/svg}"
X = np.array([0.02, 50.0, 0.5, 4.0, 0.1])
Y = np.array([0.9, 0.05, 0.7, 0.2, 0.95])


def outlines(svg: str, color: str, attribute: str = "stroke") -> list[NDArray[np.float64]]:
    """The corners (n, 2) of the long paths that are drawn in ``color``."""
    found = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        if f"{attribute}: {color.lower()}" in path.get("style", ""):
            numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", path.get("d", ""))]
            if "clip-path" in path.attrib:
                found.append(np.reshape(numbers, (-1, 2)))
    return found


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def straight(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Largest deviation of b from the best straight line in a, in units of b's spread."""
    return float(np.abs(b - np.polyval(np.polyfit(a, b, 1), a)).max() / np.ptp(b))


@pytest.mark.parametrize("log_y", [False, True])
def test_a_line_passes_through_its_points_in_order(log_y: bool) -> None:
    svg = curves(X, [Series("a", Y)], x_label="sigma", y_label="weight", log_y=log_y)
    (line,) = outlines(svg, PALETTE[0])
    order = np.argsort(X)
    assert straight(np.log(X[order]), line[:, 0]) < 1e-6
    assert straight(np.log(Y[order]) if log_y else Y[order], line[:, 1]) < 1e-6
    assert line[0, 0] < line[-1, 0]
    assert line[np.argmax(Y[order]), 1] == line[:, 1].min(), "up is more"


def test_a_linear_axis_is_linear() -> None:
    (line,) = outlines(curves(X, [Series("a", Y)], x_label="x", y_label="y", log_x=False), PALETTE[0])
    assert straight(np.sort(X), line[:, 0]) < 1e-6


def test_a_band_has_the_given_ends() -> None:
    low, high = Y - 0.02, Y + 0.04
    svg = curves(X, [Series("a", Y, low, high)], x_label="sigma", y_label="weight")
    (line,) = outlines(svg, PALETTE[0])
    name, x, y = re.findall(r'<use xlink:href="#(\w+)" x="([\d.]+)" y="([\d.]+)" style="[^"]*fill-opacity', svg)[0]
    (corners,) = re.findall(rf'<path id="{name}" d="([^"]+)"', svg)
    band = np.reshape([float(number) for number in re.findall(r"-?\d+\.?\d*", corners)], (-1, 2))
    band += float(x), float(y)
    unit = (line[:, 1].max() - line[:, 1].min()) / np.ptp(Y)
    for at in line:
        ends = band[np.abs(band[:, 0] - at[0]) < 1e-4, 1]
        np.testing.assert_allclose([ends.min() - at[1], ends.max() - at[1]], [-0.04 * unit, 0.02 * unit], atol=1e-3)


def test_nan_leaves_a_gap() -> None:
    y = np.sort(Y)
    y[2] = np.nan
    svg = curves(np.sort(X), [Series("a", y)], x_label="sigma", y_label="weight")
    (path,) = [
        path.get("d", "")
        for path in ElementTree.fromstring(svg).iter(f"{SVG}path")
        if f"stroke: {PALETTE[0].lower()}" in path.get("style", "") and "clip-path" in path.attrib
    ]
    assert path.count("M") == 2


def test_regions_are_named_at_their_place_and_those_outside_left_out() -> None:
    regions = [Region("copies", 0.02, 1.0), Region("zone", 1.0, 4.0, shaded=True), Region("nowhere", 60.0, 80.0)]
    svg = curves(X, [Series("a", Y)], x_label="sigma", y_label="weight", regions=regions)
    places = {
        "".join(element.itertext()): float(element.get("x", "nan"))
        for element in ElementTree.fromstring(svg).iter(f"{SVG}text")
    }
    (line,) = outlines(svg, PALETTE[0])
    slope, shift = np.polyfit(np.log(np.sort(X)), line[:, 0], 1)
    assert places["zone"] == pytest.approx(slope * np.log(2.0) + shift, abs=0.01)
    assert places["copies"] == pytest.approx(slope * np.log(0.02**0.5) + shift, abs=0.01)
    assert "nowhere" not in places


HOSTILE = ["<script>alert(1)</script>", "$x_1$ costs $5", "_hidden", 'a" id="b', "猫 & 🐈", "#010203 'DejaVu Sans'"]


def test_labels_are_text_whatever_they_hold() -> None:
    svg = curves(X, [Series(label, Y + i) for i, label in enumerate(HOSTILE)], x_label="$a$", y_label="<b>")
    svg = prefix_ids(svg, "drawing-1-")
    shown = [text.strip("\u200b") for text in texts(svg)]
    for label in [*HOSTILE, "$a$", "<b>"]:
        assert label in shown
    tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(svg).iter()}
    assert tags <= {"svg", "g", "defs", "path", "clipPath", "rect", "use", "text", "tspan", "pattern"}


def test_lines_differ_by_more_than_color() -> None:
    svg = curves(X, [Series(str(i), Y + i) for i in range(6)], x_label="x", y_label="y")
    dashes = [
        (re.findall(r"stroke-dasharray: ([^;]+)", path.get("style", "")) or ["solid"])[0]
        for color in PALETTE[:4]
        for path in ElementTree.fromstring(svg).iter(f"{SVG}path")
        if f"stroke: {color.lower()}" in path.get("style", "") and "clip-path" in path.attrib
    ]
    assert len(dashes) == len(set(dashes)) == 4


def test_the_same_data_give_the_same_bytes_whatever_the_users_style() -> None:
    def draw() -> list[str]:
        line = curves(X, [Series("a", Y, Y - 1, Y + 1)], x_label="x", y_label="y", regions=[Region("z", 0.1, 1, True)])
        return [line, histogram({"a": Y}, x_label="x")]

    plain = draw()
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "black", "svg.fonttype": "path", "font.size": 20}):
        before = dict(mpl.rcParams)
        assert draw() == plain
        assert dict(mpl.rcParams) == before, "the user's settings are left alone"


def test_ink_follows_the_page_and_ids_are_all_used_and_prefixed() -> None:
    svg = curves(X, [Series("a", Y), Series("b", Y)], x_label="x", y_label="y", regions=[Region("z", 0.1, 1, True)])
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "#000000" not in svg.lower()
    svg = prefix_ids(svg, "d1-")
    ids = re.findall(r'\bid="([^"]+)"', svg)
    used = re.findall(r'(?:url\(|href=")#([^)"]+)', svg)
    assert len(ids) == len(set(ids)) > 0
    assert set(used) == set(ids)
    assert all(name.startswith("d1-") for name in ids)


def test_histogram_bars_are_shares_of_each_group() -> None:
    groups = {"few": np.array([0.0, 0.1, 0.1, np.nan]), "many": np.repeat([0.75, 1.0], 50)}
    svg = histogram(groups, x_label="ratio", bins=10, marks={"threshold": 0.5})
    top = {}
    for name, color in zip(groups, PALETTE, strict=False):
        (outline,) = outlines(svg, color)
        top[name] = outline[:, 1].max() - outline[:, 1].min()
    assert top["few"] == pytest.approx(top["many"], abs=1e-3), "two of four against fifty of a hundred"
    assert "threshold" in texts(svg)


def random_images(count: int, channels: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


def decode(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_grid_holds_every_pixel(channels: int) -> None:
    images = random_images(5, channels, 6, 4)
    sheet = np.asarray(decode(image_grid(images, columns=3, scale=2, gap=3)))
    assert sheet.shape == (3 + 2 * (12 + 3), 3 + 3 * (8 + 3), 3)
    for index, image in enumerate(images):
        top, left = 3 + index // 3 * 15, 3 + index % 3 * 11
        block = sheet[top : top + 12, left : left + 8]
        expected = np.broadcast_to(image.transpose(1, 2, 0), (6, 4, 3)).repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(block, expected)
    assert (sheet[18:, 25:] == 255).all(), "the place of the missing sixth image stays white"


def test_row_labels_stand_left_of_their_rows() -> None:
    images = random_images(4, 1, 28, 28)
    plain = decode(image_grid(images, 2))
    labelled = decode(image_grid(images, 2, ["empirical", "nearest"]))
    margin = labelled.width - plain.width
    assert margin > 20
    label = np.asarray(labelled)[:, : margin + 3]
    assert label[: label.shape[0] // 2].min() < 100
    assert label[label.shape[0] // 2 :].min() < 100
    np.testing.assert_array_equal(np.asarray(labelled)[:, margin + 3 :], np.asarray(plain)[:, 3:])


@pytest.mark.parametrize(
    "image", [np.zeros((2, 4, 4), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4), np.float32)]
)
def test_what_is_no_image_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"pass uint8 \(C, H, W\)"):
        png_uri(image)
