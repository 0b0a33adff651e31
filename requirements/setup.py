"""Create or repair ``.venv`` with the pinned requirements; does nothing, quickly, when it is as it should be.

Run as ``make setup``. Uses nothing but the standard library of the Python that runs it.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "ready"
PINS = ROOT / "requirements" / "dev.txt"

# What makes an environment ours: the pins, how we are packaged, the interpreter, and where it stands
# (the scripts of an environment name its folder).
WANTED = hashlib.sha256(
    b"\0".join([PINS.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), sys.version.encode(), bytes(ROOT)])
).hexdigest()

# Asks the environment itself whether every pin is installed at its version and the package is found.
CHECK = """
import importlib.metadata as metadata, importlib.util as util, sys
for line in open(sys.argv[1]):
    name, _, version = line.partition("#")[0].strip().partition("==")
    if version and metadata.version(name).partition("+")[0] != version:
        sys.exit(f"{name} is not {version}")
for name in ("smoothscore", "torch", "numpy"):
    if util.find_spec(name) is None:
        sys.exit(f"{name} is missing")
"""


def ready() -> bool:
    """Whether the environment is complete, of these pins, and answers."""
    if not STAMP.is_file() or STAMP.read_text() != WANTED:
        return False
    try:
        return subprocess.run([python(), "-c", CHECK, PINS], capture_output=True).returncode == 0
    except OSError:
        return False


def python() -> Path:
    """The environment's interpreter."""
    return VENV / "bin" / "python"


def main() -> None:
    """Build the environment unless it is ready."""
    if sys.version_info < (3, 11):  # noqa: UP036 - it runs before anything has checked the interpreter
        sys.exit(f"This is Python {sys.version.split()[0]}; smoothscore needs 3.11 or newer: make PYTHON=python3.11.")
    if ready():
        subprocess.run([python(), ROOT / "src" / "smoothscore" / "compilation.py"], check=True)
        return
    print("Setting up .venv with the pinned requirements (a few minutes the first time)", flush=True)
    pip = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        subprocess.run([*pip, "--requirement", PINS], check=True)
        subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT], check=True)
    except subprocess.CalledProcessError as error:
        sys.exit(f"Setting up .venv stopped: {error}; mend that and run make setup again.")
    STAMP.write_text(WANTED)


if __name__ == "__main__":
    main()
