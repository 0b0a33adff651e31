"""Write results of ``smoothscore reproduce NAME --json FILE`` into the tables of the guide: give it the files.

    python docs/reproduce_table.py results/*.json

Files of entries that the tables have already are not looked for: the tables hold what is given, in the catalog's order.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothscore.reproduce import names

GUIDE = Path(__file__).resolve().parent / "reproduce.md"
FOLDERS = re.compile(r"(?<!\w)/(?:[\w.-]+/)+")


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """One line an entry, then one line a number that was compared or shown."""
    lines = ["| entry | agree | seconds | setting |", "|---|---|---|---|"]
    for result in results:
        verdicts = [row["verdict"] for row in result["rows"]]
        hits, missed = verdicts.count("hit"), verdicts.count("missed")
        agree = f"{hits} of {hits + missed}" if hits + missed else "none printed"
        lines.append(f"| `{result['name']}` | {agree} | {result['seconds']:.0f} | {setting(result['setting'])} |")
    lines += ["", "| entry | quantity | ours | paper | verdict |", "|---|---|---|---|---|"]
    for result in results:
        for row in result["rows"]:
            verdict = "**missed**" if row["verdict"] == "missed" else row["verdict"]
            cells = (
                f"`{result['name']}`",
                escaped(row["quantity"]),
                number(row["ours"]),
                escaped(row["paper"]),
                verdict,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def setting(given: Mapping[str, Any]) -> str:
    """The setting in one cell, files without their folders."""
    return escaped(", ".join(f"{name} {value}" for name, value in given.items()))


def escaped(text: str) -> str:
    """A text that stays in its cell."""
    return FOLDERS.sub("", text).replace("|", "\\|")


def number(value: float | str | None) -> str:
    """Four digits; JSON has texts for what is not finite."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def main() -> None:
    """Put the files' results between the marks of the guide."""
    results = [json.loads(Path(file).read_text()) for file in sys.argv[1:]]
    order = {name: position for position, name in enumerate(names())}
    results.sort(key=lambda result: order[result["name"]])
    text = GUIDE.read_text()
    start, end = "<!-- results -->\n", "<!-- /results -->"
    before, after = text.split(start)[0], text.split(end)[1]
    GUIDE.write_text(f"{before}{start}{tables(results)}\n{end}{after}")


if __name__ == "__main__":
    main()
