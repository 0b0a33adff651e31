"""A report with the keyboard and a screen reader: names, roles, order and contrast, as a headless browser has them."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smoothscore.report import (
    Code,
    Fact,
    Facts,
    Figure,
    Gallery,
    Group,
    Item,
    Page,
    Picture,
    Review,
    Section,
    Series,
    Table,
    Text,
    curves,
    histogram,
)
from smoothscore.report.review import script_hash

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

# What the browser says of the page, after WCAG 2.2: 1.1.1, 1.3.1, 1.4.3, 2.4.3, 2.4.7, 2.5.8 and 4.1.2.
PROBE = """
<script>
addEventListener("load", () => {
  const faults = [], seen = {};
  const all = (selector) => [...document.querySelectorAll(selector)];
  const shown = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const what = (element) => element.outerHTML.slice(0, 90);
  const name = (element) => (element.getAttribute("aria-label") || element.alt
    || [...(element.labels ?? [])].map((label) => label.textContent).join(" ") || element.textContent).trim();
  for (const e of all("img, [role=img], [role=region], [role=group], nav, button, a, select, input, summary, output"))
    if (!name(e) && !(e.matches("output"))) faults.push("no name: " + what(e));
  const levels = all("h1, h2, h3, h4, h5, h6").map((e) => +e.tagName[1]);
  levels.forEach((level, i) => { if (level > (levels[i - 1] ?? 0) + 1) faults.push("heading skips to h" + level); });
  for (const e of all("fieldset")) if (!e.querySelector("legend")?.textContent.trim()) faults.push("no legend");
  for (const e of all("table")) if (!e.caption?.textContent.trim()) faults.push("no caption: " + what(e));
  for (const e of all("[id]")) if (all("#" + CSS.escape(e.id)).length > 1) faults.push("id twice: " + e.id);
  for (const e of all("[tabindex]")) if (e.tabIndex > 0) faults.push("order changed: " + what(e));
  for (const e of all("*")) if (shown(e) && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1
    && ["auto", "scroll"].includes(getComputedStyle(e).overflowX) && e.tabIndex < 0
    && !e.querySelector("a, button, input")) faults.push("scrolls without a key: " + what(e));
  const focusable = all("a[href], button, select, input, summary, [tabindex='0']").filter(shown);
  for (const e of focusable) {
    e.focus({ focusVisible: true });
    if (document.activeElement !== e) faults.push("no focus: " + what(e));
    else if (getComputedStyle(e).outlineStyle === "none") faults.push("focus unseen: " + what(e));
  }
  for (const e of all("button, select, input, summary").filter(shown)) {
    const target = (e.labels?.[0] ?? e).getBoundingClientRect();
    if (target.height < 24 || target.width < 24) faults.push(`small target ${target.height}: ` + what(e));
  }
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => channels(color).slice(0, 3)
    .map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor, [, , , alpha = 1] = channels(color);
    if (alpha > 0) return color; } return "rgb(255, 255, 255)"; };
  seen.contrast = 21;
  for (const e of all("body *")) {
    const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !shown(e) || e.closest("svg, .skip, .unseen")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    seen.contrast = Math.min(seen.contrast, ratio);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ` + what(e));
  }
  seen.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const inputs = all(".review input");
  inputs[0].focus();
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const at = () => document.activeElement.closest("li")?.dataset.name;
  seen.keys = [at()]; press("j"); seen.keys.push(at()); press("j"); press("k"); seen.keys.push(at());
  seen.live = document.querySelector("[aria-live]").textContent;
  seen.first = focusable[0].textContent;
  seen.groups = all("fieldset").map((e) => e.querySelector("legend").textContent);
  document.title = JSON.stringify({ faults, ...seen });
});
</script>
"""


def whole_page() -> str:
    """Every kind of block on one page."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    items = [Item(f"sample {i}", [("sample", pixels[i]), ("train", pixels[5])], {"ratio": i / 9}) for i in range(4)]
    values = np.linspace(0.1, 3, 30)
    wide = [f"a long column name number {i}" for i in range(14)]
    blocks = [
        Facts([Fact("flagged", 3, "of 10", "Samples called copies."), Fact("excess", "+1.0%")]),
        Text("A plain paragraph."),
        Text("Something to know.", "note"),
        Text("Something to heed.", "warning"),
        Code("smoothscore audit " + "x" * 200, "Again:"),
        Figure(
            curves(values, [Series("one", values), Series("two", 2 * values)], x_label="x", y_label="y"),
            "Curves.",
            "Two lines.",
        ),
        Figure(histogram({"samples": values}, x_label="x"), "Counts.", "A histogram."),
        Table(["test", *wide], [["one", *range(14)]], caption="Votes", definitions={wide[0]: "What it says."}),
        Gallery([Group([Picture(p, f"train {i}")], "note") for i, p in enumerate(pixels)], "Pictures", shown=2),
        Review(items, "a copy of the training image?", ("copy", "no copy"), "Look.", {"samples": "abc"}),
    ]
    return Page("Audit for copies", "Three are copies.", [Section("All", blocks)], {"seed": 0, "alpha": 0.05}).html()


def looked_at(folder: Path, *, dark: bool) -> dict[str, Any]:
    text = whole_page().replace("</body>", PROBE + "</body>")
    text = text.replace(f"script-src '{script_hash()}'", "script-src 'unsafe-inline'")
    file = folder / "page.html"
    file.write_text(text)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--window-size=900,2000"]
    options += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    assert CHROMIUM
    done = subprocess.run([CHROMIUM, *options, file.as_uri()], capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_names_order_keys_and_contrast(tmp_path: Path, dark: bool) -> None:
    found = looked_at(tmp_path, dark=dark)
    assert found["faults"] == []
    assert found["dark"] is dark
    assert found["contrast"] >= 4.5
    assert found["first"] == "Skip to the content"
    assert found["keys"] == ["sample 0", "sample 1", "sample 1"]
    assert found["live"] == "4 of 4 shown, 0 marked"
    assert found["groups"][1] == "sample 1: a copy of the training image?"
