"""The shell programs that git runs: hook.sh and driver.sh, beside this file."""

import shlex
import sys
from importlib import resources
from pathlib import Path


def read_script(name: str) -> str:
    """Return the text of the shell program *name*, with this Python written into it."""
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    return text.replace("@PYTHON@", shlex.quote(Path(sys.executable).as_posix()))
