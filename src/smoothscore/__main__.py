"""``python -m smoothscore``."""

from smoothscore.cli import main

main()
