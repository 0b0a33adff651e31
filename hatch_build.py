"""What hatchling calls when it makes a wheel or installs the package from its sources: compiles the loops."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path(__file__).resolve().parent / "src" / "smoothscore"


class Loops(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the libraries into the package, and says that the wheel belongs to this kind of machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Without a compiler the package holds the sources alone, which are compiled where they are first needed."""
        compilation = runpy.run_path(str(PACKAGE / "compilation.py"))
        try:
            compilation["build"](PACKAGE)
        except RuntimeError as error:
            self.app.display_warning(f"The loops of smoothscore were not compiled: {error}")
            return
        found = compilation["libraries"](PACKAGE).values()
        build_data["artifacts"] += [f"/src/smoothscore/{path.name}" for path in found]
        build_data["pure_python"], build_data["infer_tag"] = False, True
