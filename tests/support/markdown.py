"""The code blocks of a README, which the tests run."""

import re
from pathlib import Path


def blocks(path: Path, language: str) -> list[str]:
    """Return the code blocks of a language in a README."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
