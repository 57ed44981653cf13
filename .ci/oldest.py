"""Print the oldest versions that pyproject.toml allows, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
extras = project["optional-dependencies"]
for wanted in [
    *project["dependencies"],
    *(each for name in ("images", "keras", "lsp", "pdf", "view", "dev") for each in extras[name]),
]:
    if found := re.fullmatch(r"([\w-]+)>=([\w.]+)(,.*)?", wanted):
        print(f"{found[1]}=={found[2]}")
