"""Find plaintext in git history that must be encrypted. Every clone has it."""

import os
from functools import cache

from encenv.errors import EncenvError
from encenv.files.document import parse
from encenv.files.inspect import inspect
from encenv.files.plaintext_leaks import mask_name
from encenv.git.repository import Version, contents, history
from encenv.policy.project import Project
from encenv.policy.rules import Policy

BLOB_MAX = 1024 * 1024  # bytes; a longer text is not a .env file


def plaintext_history(project: Project) -> list[tuple[Version, str]]:
    """Return each version of a .env file of *project* with the name of a variable that is plaintext in it."""
    covers = cache(lambda path: project.covers(os.path.abspath(path)))  # noqa: PTH100 (a link stays one)
    versions = [version for version in history() if covers(version.path)]
    try:
        policy = project.policy()
    except EncenvError:  # the settings class cannot be imported here; check reports that
        policy = Policy()
    return [
        (version, name)
        for version, data in zip(versions, contents([one.blob for one in versions]), strict=True)
        for name in _plaintext_names(data, policy)
    ]


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
