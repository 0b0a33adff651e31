import base64
import html
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from smoothscore.report import (
    Block,
    Code,
    Fact,
    Facts,
    Figure,
    Gallery,
    Group,
    Page,
    Picture,
    Section,
    Series,
    Table,
    Text,
    curves,
    image_grid,
)
from smoothscore.report.blocks import number

DRAWING = curves([0.1, 1.0], [Series("weight", [1.0, 0.5])], x_label="sigma", y_label="weight")
VOID = {"meta", "link", "img", "br", "input"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def digits(count: int, channels: int = 1, side: int = 28, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


def page_of(text: str = "A report", blocks: list[Block] | None = None) -> Page:
    """A page that has every kind of block, with ``text`` in every place for text."""
    pictures = digits(4)
    every: list[Block] = [
        Text(text),
        Text(text, "warning"),
        Code(text, text),
        Facts([Fact(text, text, text, text), Fact("plain", 0.25)]),
        Table([text, "n"], [[text, 12], [text, None]], text, text, {text: text}),
        Figure(DRAWING, text, text),
        Figure(DRAWING, text, text),
        Figure(image_grid(pictures, 2), text, text),
        Gallery([Group([Picture(pictures[i % 3], text), Picture(pictures[3], text)], text) for i in range(5)], text, 2),
    ]
    chosen = every if blocks is None else blocks
    return Page(text, text, [Section(text, chosen, text), Section(text, [])], {text: {text: [text, 1]}, "seed": 0})


class Reader(HTMLParser):
    """Reads a page: its tags in order, its attributes, its text, and whether every element is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == [], "elements left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"attribute twice in {tag}"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


READ = Reader(page_of().html())


def test_nothing_is_fetched_and_nothing_runs() -> None:
    for tag, attributes in READ.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    source = page_of().html()
    assert "url(" not in re.sub(r"url\(#", "", source)
    assert "@import" not in source
    (policy,) = [meta["content"] for meta in READ.all("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_ids_are_unique_and_every_link_leads_somewhere() -> None:
    ids = [attributes["id"] for _, attributes in READ.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes.get("href", attributes.get("xlink:href", "")) for attributes in READ.all("a", "use")]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(ids)


def test_structure_for_those_who_do_not_see_it() -> None:
    headings = [tag for tag, _ in READ.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) == {"h2"}
    assert READ.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in READ.all("img"))
    assert all(attributes["aria-label"] for _, attributes in READ.tags if attributes.get("role") in ("img", "region"))
    assert {cell["scope"] for cell in READ.all("th")} == {"col", "row"}
    assert READ.all("a")[0]["class"] == "skip"
    assert {"header", "nav", "main"} <= {tag for tag, _ in READ.tags}


@settings(max_examples=25, deadline=None)
@given(st.text(min_size=1).filter(lambda text: text.strip() and not re.search(r"\s", text)))
def test_text_from_data_never_becomes_markup(text: str) -> None:
    hostile = f"{text}<script>alert(1)</script>\"'&amp;</title><!--"
    found, harmless = (Reader(page_of(title).html()) for title in (hostile, "x" * len(hostile)))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in harmless.tags]
    names, expected = ([sorted(attributes) for _, attributes in read.tags] for read in (found, harmless))
    assert names == expected
    assert found.text.count("<script>alert(1)</script>") == READ.text.count("A report")


def test_definitions_appear_on_hover_and_once_in_the_glossary() -> None:
    ratio = "Nearest distance over the second distinct nearest one."
    facts = Facts([Fact("mean ratio", 0.5, definition=ratio)])
    table = Table(["score", "mean ratio"], [["empirical", 0.1]], definitions={"mean ratio": ratio})
    page = page_of(blocks=[facts, table, facts])
    assert page.glossary() == {"mean ratio": ratio}
    found = Reader(page.html())
    assert [link["title"] for link in found.all("a") if link.get("class") == "term"] == [ratio] * 3
    assert found.text.count(ratio) == 1
    other = Facts([Fact("mean ratio", 0.5, definition="Another.")])
    with pytest.raises(ValueError, match="'mean ratio' has two definitions"):
        page_of(blocks=[facts, other]).html()


def addresses(source: str) -> list[str]:
    return re.findall(r'(?:src|href)="data:image/png;base64,([^"]+)"', source)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_embedded_without_loss(channels: int) -> None:
    images = digits(3, channels, 32)
    source = page_of(blocks=[Gallery([Group([Picture(image, "train")]) for image in images])]).html()
    for image, data in zip(images, addresses(source), strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).reshape(32, 32, channels)
        np.testing.assert_array_equal(pixels.transpose(2, 0, 1), image)


def test_a_repeated_picture_is_embedded_once_and_shown_each_time() -> None:
    images = digits(3)
    groups = [Group([Picture(images[0].copy(), f"train {i}"), Picture(images[1], "train")]) for i in range(50)]
    source = page_of(blocks=[Gallery([*groups, Group([Picture(images[2], "once")])])]).html()
    assert len(addresses(source)) == len(set(addresses(source))) == 3
    assert len(Reader(source).all("use")) == 100


@pytest.mark.parametrize(("side", "shown"), [(28, 84), (32, 96), (64, 128), (96, 96), (512, 96)])
def test_pictures_are_scaled_to_be_seen_and_large_ones_reduced(side: int, shown: int) -> None:
    source = page_of(blocks=[Gallery([Group([Picture(digits(1, 3, side)[0], "train")])], "Pairs.")]).html()
    (image,) = Reader(source).all("img")
    assert int(image["width"]) == int(image["height"]) == shown
    (data,) = addresses(source)
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (min(side, 192),) * 2
    assert ("reduced to 192 pixels" in source) == (side > 192)


def test_later_groups_open_on_demand() -> None:
    gallery = Gallery([Group([Picture(image, f"sample {i}")]) for i, image in enumerate(digits(10))], shown=4)
    source = page_of(blocks=[gallery]).html()
    before, after = source.split("<summary>6 more</summary>")
    assert before.count("<img") == 4
    assert after.count("<img") == 6
    assert "<summary>" not in page_of(blocks=[Gallery(gallery.groups, shown=10)]).html()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.10", "0.10"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
        (1234567, "1,234,567"),
        (-3, "−3"),
        (0.0, "0"),
        (0.98765, "0.988"),
        (999.6, "1,000"),
        (15000.4, "15,000"),
        (0.00001234, "1.23e−05"),
        (3.2e9, "3.20e+09"),
        (np.float32(0.5), "0.5"),
    ],
)
def test_numbers_in_cells(value: float | str | None, text: str) -> None:
    assert number(value) == text


def test_columns_of_numbers_and_only_those_are_set_flush_right() -> None:
    rows = [["empirical", 0.5, "0.98 [0.95, 0.99]", "3 of them", None], ["Gaussian", None, "–", "none", None]]
    assert Table(list("abcde"), rows).numeric == [False, True, True, False, True]


def luminance(color: str) -> float:
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_contrast_is_at_least_wcag_aa(scheme: int) -> None:
    colors = dict(
        re.findall(r"--(\w+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", page_of().html(), re.DOTALL)[scheme])
    )
    for ground in ("paper", "tint"):
        for ink in ("ink", "quiet", "link", "alarm"):
            light, dark = sorted((luminance(colors[ground]), luminance(colors[ink])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, ink)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_no_sideways_scrolling_at_phone_and_desktop_width(tmp_path: Path) -> None:
    """Chromium lays the page out at three widths; tables and drawings scroll in their own boxes, the page does not."""
    wide = Table(
        [f"a long column name {i}" for i in range(9)], [["n" * 60] + ["0.98 [0.95, 0.99]"] * 8], "A table that is wide."
    )
    long = Text("fingerprint_" * 30)
    blocks = [*page_of().sections[0].blocks, wide, long, Code("smoothscore " + "--option value " * 20)]
    source = html.escape(page_of("Averylongtitle" * 6, blocks).html())
    script = "document.title = Array.from(frames, f => f.document.documentElement.scrollWidth).join(' ')"
    frames = "".join(
        f'<iframe srcdoc="{source}" style="border:0" width={width}></iframe>' for width in (320, 360, 1200)
    )
    path = tmp_path / "frames.html"
    path.write_text(f'<title>no answer</title><body onload="{script}">{frames}')
    assert CHROMIUM is not None
    options = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
    command = [CHROMIUM, *(f"--{option}" for option in options.split()), "--disable-component-update", "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    answer = subprocess.run(
        [*command, profile, "--hide-scrollbars", path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert re.findall(r"<title>(.*?)</title>", answer.stdout)[0] == "320 360 1200"
