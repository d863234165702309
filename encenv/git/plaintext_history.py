"""Find, in git history, plaintext that must be encrypted. Everyone who has a clone has it."""

import os
from dataclasses import dataclass
from functools import cache

from encenv.errors import EncenvError
from encenv.files.document import parse
from encenv.files.inspect import inspect
from encenv.files.plaintext_leaks import mask_name
from encenv.git.repository import contents, history
from encenv.policy.project import Project
from encenv.policy.rules import Policy

BLOB_MAX = 1024 * 1024  # bytes; a longer text is not a .env file


@dataclass(frozen=True, slots=True)
class PlaintextHistory:
    """Where history holds plaintext: the names of the variables, the files, and the number of commits."""

    names: tuple[str, ...]
    files: tuple[str, ...]
    commits: int


def plaintext_history(project: Project) -> PlaintextHistory:
    """Return the plaintext in all versions of the .env files of *project* that branches and tags lead to.

    Raises:
        EncenvError: If git fails.
    """
    covers = cache(lambda path: project.covers(os.path.abspath(path)))  # noqa: PTH100 (a link stays one)
    versions = [version for version in history() if covers(version.path)]
    try:
        policy = project.policy()
    except EncenvError:  # the settings class cannot be imported here; check reports that
        policy = Policy()
    found = [
        (version, name)
        for version, data in zip(versions, contents([one.blob for one in versions]), strict=True)
        for name in _plaintext_names(data, policy)
    ]
    return PlaintextHistory(
        names=tuple(dict.fromkeys(name for _, name in found)),
        files=tuple(dict.fromkeys(version.path for version, _ in found)),
        commits=len({version.commit for version, _ in found}),
    )


def _plaintext_names(data: bytes, policy: Policy) -> list[str]:
    """Return what to call the variables that are plaintext in the file *data* and must be encrypted."""
    if len(data) > BLOB_MAX:
        return []
    text = data.decode("utf-8", "surrogateescape")
    bindings = parse(text).bindings
    return [
        mask_name(one.name)
        for one in inspect(text).variables
        if one.state == "plain" and bindings[one.index].value and policy.requires(one.name)
    ]
