"""Find what has to be fixed in the text of a .env file. No key is needed."""

from collections.abc import Iterator

from encenv.cli.report import Finding
from encenv.files.inspect import Inspection
from encenv.files.plaintext_leaks import mask_name
from encenv.policy.rules import Policy


def damage(where: str, inspection: Inspection) -> Iterator[Finding]:
    """Yield what keeps values of the file *where* from being read, and what is odd about its lines."""
    for variable in inspection.variables:
        if variable.problem is not None:
            name = mask_name(variable.name)
            hint = f"restore the line from git, or set it again: encenv set {name}"
            yield Finding("error", where, variable.problem, hint, variable.line, name)
    for remark in inspection.problems:
        yield Finding("error", where, remark.text, remark.hint, remark.line)
    for remark in inspection.warnings:
        yield Finding("warning", where, remark.text, remark.hint, remark.line)


def plaintext(where: str, inspection: Inspection, policy: Policy, hint: str) -> Iterator[Finding]:
    """Yield the plaintext in the file *where* that must be encrypted; *hint* says how."""
    message = "plaintext that must be encrypted"
    for variable in inspection.variables:
        if variable.state == "plain" and policy.requires(variable.name):
            yield Finding("error", where, message, hint, variable.line, mask_name(variable.name))
    for name, line in inspection.commented:
        if policy.requires(name):
            hint_of_comment = "delete the comment, or its value"
            yield Finding("error", where, f"{message}, in a comment", hint_of_comment, line, mask_name(name))
    for line in inspection.private_keys:
        hint_of_key = "remove it, and make a new one if it was ever committed"
        yield Finding("error", where, "the text of a private key", hint_of_key, line)
