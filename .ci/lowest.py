"""The lowest versions that pyproject.toml names, as constraints for pip.

Of torch the version of constraints.txt: older ones are to be had with gigabytes of CUDA only.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
torch = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
for line in project["dependencies"]:
    name, lowest = re.match(r"([\w-]+)>=([\d.]+)", line).groups()
    print(torch[0] if name == "torch" else f"{name}=={lowest}")
