"""Print pip constraints for the oldest version of each dependency that pyproject.toml allows."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

for dependency in tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["dependencies"]:
    bound = re.match(r"([A-Za-z0-9._-]+)>=([0-9.]+)", dependency)
    if bound is None:
        raise SystemExit(f"{PYPROJECT}: {dependency} has no lower bound")
    print(f"{bound[1]}=={bound[2]}")
