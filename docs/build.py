"""Run the Python blocks of the guides, and write the demo's table into the README: ``make docs``.

Every guide is one program: its blocks run in order in a fresh interpreter inside ``docs/``, and write the pictures that
the guide shows into ``docs/pictures/``. A block that fails stops the build.
"""

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"(<!-- demo -->\n).*?(<!-- /demo -->)", re.DOTALL)


def program(guide: Path) -> str:
    """The Python blocks of a guide, as one program."""
    return "\n".join(BLOCK.findall(guide.read_text()))


def guides() -> list[Path]:
    """The guides that have code."""
    return [path for path in sorted(DOCS.glob("*.md")) if program(path)]


def write_readme() -> None:
    """Run the demo; its picture goes to ``docs/pictures/demo.png``, its table and setting into the README."""
    from smoothscore import demo

    result = demo.run()
    (DOCS / "pictures" / "demo.png").write_bytes(result.picture())
    rows = [demo.COLUMNS, ["---"] * len(demo.COLUMNS), *(entry.row() for entry in result.entries)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    text = README.read_text()
    assert TABLE.search(text), "README.md has lost its <!-- demo --> marks"
    README.write_text(TABLE.sub(lambda match: f"{match[1]}{table}\n\n{result.caption()}\n{match[2]}", text))


def main() -> None:
    """Run all guides, then the demo."""
    (DOCS / "pictures").mkdir(exist_ok=True)
    for guide in guides():
        print(guide.name, flush=True)
        subprocess.run([sys.executable, "-c", program(guide)], cwd=DOCS, check=True)
    print("README.md", flush=True)
    write_readme()


if __name__ == "__main__":
    main()
