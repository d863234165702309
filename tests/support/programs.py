"""Programs that some tests need. Where a machine lacks one, its tests are skipped with a reason."""

import os
import shutil
import sys

import pytest

ASCII_PATH = "a folder whose name is ASCII: Python before 3.13 does not start in an ASCII locale otherwise"

# Neither Debian nor PyPI is sure to have them, so a run with --no-skips may skip their tests.
RARE_PROGRAMS = ("docker", "terraform", "systemd 252", "root", ASCII_PATH)


def _reason(program: str) -> str:
    return f"needs {program}"


def needs(program: str, *, available: bool | None = None) -> pytest.MarkDecorator:
    """Skip a test without *program*, which is a command on PATH unless *available* is given."""
    missing = shutil.which(program) is None if available is None else not available
    return pytest.mark.skipif(missing, reason=_reason(program))


needs_root = needs("root", available=hasattr(os, "geteuid") and os.geteuid() == 0)
needs_posix = needs("POSIX, for which the command line is made", available=os.name == "posix")
needs_linux = needs("Linux", available=sys.platform == "linux")
# The .pth file of an editable install holds the folder's name, and is read in the encoding of the locale.
needs_ascii_path = needs(ASCII_PATH, available=sys.version_info >= (3, 13) or __file__.isascii())


def skip_without(program: str) -> None:
    """Skip the tests of a fixture where *program* is not on PATH."""
    if shutil.which(program) is None:
        pytest.skip(_reason(program))


def is_allowed_skip(reason: str) -> bool:
    """Return whether a run with --no-skips accepts a skip for this *reason*."""
    return reason.removeprefix("Skipped: ") in map(_reason, RARE_PROGRAMS)
