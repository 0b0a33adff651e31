"""What ``import smoothscore`` brings in."""

import subprocess
import sys


def test_importing_the_library_takes_only_what_every_use_needs() -> None:
    heavy = ("accelerate", "faiss", "jinja2", "matplotlib", "rich", "scipy", "sklearn", "typer")
    code = f"import sys, smoothscore; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
