"""Findings of `check` and `doctor`: find what has to be fixed in a .env file, and report it. No key is needed."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from encenv.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, painted, write
from encenv.errors import EncenvError
from encenv.files.disk import printable, shell_option
from encenv.files.inspect import Inspection
from encenv.files.plaintext_leaks import mask_name
from encenv.policy.rules import Policy

Severity = Literal["ok", "skipped", "warning", "error"]
_ENCODE = "encode the value, for example as base64, and encrypt it: it holds a NUL"
_STYLES: dict[Severity, str] = {"ok": GREEN, "skipped": DIM, "warning": YELLOW, "error": f"{BOLD};{RED}"}
# The states of a value (`encenv.files.inspect`, `encenv.files.compare`) as screens and JSON call them.
STATES = {
    "sealed": "encrypted",
    "plain": "plaintext",
    "bare": "no value",
    "damaged": "damaged",
    "unopenable": "key missing",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a file or about this machine; it never holds a value."""

    severity: Severity  # "error" fails the command, "warning" does not, "skipped" was not looked at
    where: str  # the file, or the thing that was looked at, such as "credentials"
    message: str
    hint: str | None = None  # what to do about it
    line: int | None = None  # from 1; None for the whole file
    variable: str | None = None
    commit: str | None = None  # the commit that holds this version; None for the staged or the present one


def failure(where: str, error: EncenvError, severity: Severity = "error") -> Finding:
    """Return the finding that *where* cannot be used because of *error*."""
    return Finding(severity, where, " ".join(error.message.split()), error.hint)


def damage(where: str, inspection: Inspection) -> Iterator[Finding]:
    """Yield what keeps values of the file *where* from being read, and what is odd about its lines."""
    for variable in inspection.variables:
        if variable.problem is not None:
            name = mask_name(variable.name)
            hint = f"restore the line from git, or set it again: encenv set {name}{shell_option(where)}"
            yield Finding("error", where, variable.problem, hint, variable.line, name)
    for remark in inspection.problems:
        yield Finding("error", where, remark.text, remark.hint, remark.line)
    for remark in inspection.warnings:
        yield Finding("warning", where, remark.text, remark.hint, remark.line)


def plaintext(where: str, inspection: Inspection, policy: Policy, hint: str) -> Iterator[Finding]:
    """Yield the plaintext in the file *where* that must be encrypted; *hint* says how."""
    message = "plaintext that must be encrypted"
    for one in inspection.variables:
        if one.state == "plain" and policy.requires(one.name):
            how = _ENCODE if one.has_nul else hint
            yield Finding("error", where, message, how, one.line, mask_name(one.name))
    for name, line in inspection.commented:
        if policy.requires(name):
            delete = "delete the comment, or its value"
            yield Finding("error", where, f"{message}, in a comment", delete, line, mask_name(name))
    for line in inspection.private_keys:
        remove = "remove it, and make a new one if it was ever committed"
        yield Finding("error", where, "the text of a private key", remove, line)


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that fail the command."""
    return [one for one in findings if one.severity == "error"]


def as_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return *findings* as a JSON object."""
    return {"ok": not errors(findings), "findings": [asdict(one) for one in findings]}


def as_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield each of *findings* as a line that begins with its file, as compilers do."""
    label = f"{painted('warning:', YELLOW)} "
    return (_line(one, label if one.severity == "warning" else "") for one in findings)


def as_checklist(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield each of *findings* with its severity before it and its hint below."""
    for one in findings:
        yield f"{painted(f'{one.severity:<7}', _STYLES[one.severity])}  {_line(one)}"
        if one.hint is not None and one.severity != "ok":
            yield f"{'':9}-> {printable(one.hint)}"


def write_json(report: dict[str, Any]) -> None:
    """Write *report* to standard output as one JSON object."""
    write((json.dumps(report, indent=2) + "\n").encode())


def write_lines(lines: Iterable[str]) -> None:
    """Write *lines*, which have no newlines, to standard output."""
    write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def _line(finding: Finding, label: str = "") -> str:
    commit = f"{finding.commit} " if finding.commit else ""
    place = f"{finding.where}:{finding.line}" if finding.line else finding.where
    name = f"{printable(finding.variable)}: " if finding.variable else ""
    return f"{commit}{painted(place, BOLD)}: {label}{name}{printable(finding.message)}"
