"""Pictures to be marked: the page, and the script in a headless browser."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smoothscore.report import Item, Page, Review, Section, Text
from smoothscore.report.review import SCRIPT, script_hash

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def review(count: int = 5, side: int = 8, channels: int = 3, text: str = "note") -> Review:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 2, channels, side, side), dtype=np.uint8)
    items = [
        Item(
            f"sample {i}",
            [("sample", pixels[i, 0]), ("train", pixels[i, 1])],
            {"ratio": (i * 7 % count) / 10},
            ["flagged"] if i % 2 else [],
            text,
        )
        for i in range(count)
    ]
    return Review(items, "the same?", ("copy", "no copy"), "Look.", {"samples": "abc"})


def page(block: Review | Text) -> str:
    return Page("Report", "Lead.", [Section("Pairs", [block])], {"seed": 0}).html()


def test_the_only_script_is_the_one_whose_hash_the_policy_names() -> None:
    text = page(review())
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert scripts == [SCRIPT]
    assert f"script-src '{script_hash()}'" in text
    assert "<script" not in page(Text("nothing"))
    assert "script-src" not in page(Text("nothing"))
    assert "http" not in SCRIPT


def test_every_tile_shows_its_picture() -> None:
    block = review(4, channels=1)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(block.sheet.split(",")[1]))))
    for row, item in enumerate(block.items):
        for column, (_, pixels) in enumerate(item.pictures):
            np.testing.assert_array_equal(sheet[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8], pixels[0])
    assert block.tile == (64, 64)
    positions = re.findall(r"background-position:-(\d+)px -(\d+)px", page(block))
    assert positions == [(str(64 * column), str(64 * row)) for row in range(4) for column in range(2)]


def test_large_pictures_are_reduced_and_the_page_says_so() -> None:
    block = review(2, side=200)
    assert Image.open(io.BytesIO(base64.b64decode(block.sheet.split(",")[1]))).size == (128, 128)
    assert "reduced to 64 x 64" in page(block)


def test_text_is_escaped() -> None:
    text = page(review(text="<b>\"'&"))
    assert "<b>" not in text
    assert html.escape("<b>\"'&", quote=False) in text.replace("&#34;", '"').replace("&#39;", "'")


PROBE = """
<script>
addEventListener("load", () => {
  const find = (role) => document.querySelector(`[data-role="${role}"]`);
  const change = (role, value) => { find(role).value = value; find(role).dispatchEvent(new Event("change")); };
  const all = () => [...document.querySelectorAll(".review li")];
  const names = () => all().filter((li) => !li.hidden).map((li) => li.dataset.name);
  const seen = { first: names() };
  change("order", '["ratio", -1]'); seen.sorted = names();
  change("tag", "flagged"); seen.flagged = names();
  document.querySelector('li[data-name="sample 3"] input[value="copy"]').click();
  change("mark", "copy"); seen.marked = names();
  change("tag", ""); change("mark", ""); seen.status = find("status").textContent;
  const make = URL.createObjectURL; let blob;
  URL.createObjectURL = (given) => { blob = given; return make.call(URL, given); };
  HTMLAnchorElement.prototype.click = function () { seen.name = this.download; };
  find("export").click();
  blob.text().then((text) => { seen.file = text; document.title = JSON.stringify(seen); });
});
</script>
"""


def browse(text: str, folder: Path) -> str:
    """The page after its scripts have run."""
    assert CHROMIUM
    file = folder / "page.html"
    file.write_text(text)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000"]
    return subprocess.run([CHROMIUM, *options, file.as_uri()], capture_output=True, text=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_sorting_filtering_marking_and_saving(tmp_path: Path) -> None:
    text = page(review()).replace("</body>", PROBE + "</body>")
    text = text.replace(f"script-src '{script_hash()}'", "script-src 'unsafe-inline'")
    title = re.search(r"<title>(.*?)</title>", browse(text, tmp_path))
    assert title
    seen = json.loads(html.unescape(title[1]))
    assert seen["first"] == [f"sample {i}" for i in range(5)]
    assert seen["sorted"] == [f"sample {i}" for i in (2, 4, 1, 3, 0)]
    assert seen["flagged"] == ["sample 1", "sample 3"]
    assert seen["marked"] == ["sample 3"]
    assert seen["status"] == "5 of 5 shown, 1 marked"
    assert seen["name"] == "marks.json"
    assert json.loads(seen["file"]) == {"samples": "abc", "marks": {"sample 3": "copy"}}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_policy_lets_the_script_run(tmp_path: Path) -> None:
    shown = browse(page(review()), tmp_path)
    assert "5 of 5 shown, 0 marked" in shown
    assert re.search(r'class="controls"[^>]*hidden', shown) is None
