"""Report findings of `check` and `doctor`: one class, with one form for people and one for programs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from encenv.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, painted, write
from encenv.errors import EncenvError
from encenv.files.text import printable

Severity = Literal["ok", "skipped", "warning", "error"]
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
    """One fact about a file or about this machine; it never holds a value.

    Attributes:
        severity: ``error`` fails the command, ``warning`` does not, ``skipped`` was not looked at.
        where: The file, or the thing that was looked at, such as ``credentials``.
        message: The fact.
        hint: What to do about it; None if there is nothing to do.
        line: The line of the file, from 1; None for the whole file.
        variable: The variable; None if it is about no single one.
        commit: The commit that holds this version of the file; None for the staged or the present one.
    """

    severity: Severity
    where: str
    message: str
    hint: str | None = None
    line: int | None = None
    variable: str | None = None
    commit: str | None = None


def failure(where: str, error: EncenvError, severity: Severity = "error") -> Finding:
    """Return the finding that *where* cannot be used because of *error*."""
    return Finding(severity, where, " ".join(error.message.split()), error.hint)


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that fail the command."""
    return [one for one in findings if one.severity == "error"]


def write_json(findings: Sequence[Finding]) -> None:
    """Write *findings* to standard output as one JSON object."""
    report = {"ok": not errors(findings), "findings": [asdict(one) for one in findings]}
    write((json.dumps(report, indent=2) + "\n").encode())


def write_lines(findings: Iterable[Finding]) -> None:
    """Write *findings* to standard output, each on a line that begins with its file, as compilers do."""
    label = f"{painted('warning:', YELLOW)} "
    _write(_line(one, label if one.severity == "warning" else "") for one in findings)


def write_checklist(findings: Iterable[Finding]) -> None:
    """Write *findings* to standard output, each with its severity before it and its hint below."""
    _write(line for one in findings for line in _with_severity(one))


def count(number: int, noun: str) -> str:
    """Return *number* and *noun*, in the plural where there is not exactly one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _with_severity(finding: Finding) -> Iterator[str]:
    yield f"{painted(f'{finding.severity:<7}', _STYLES[finding.severity])}  {_line(finding)}"
    if finding.hint is not None and finding.severity != "ok":
        yield f"{'':9}-> {printable(finding.hint)}"


def _line(finding: Finding, label: str = "") -> str:
    commit = f"{finding.commit} " if finding.commit else ""
    place = f"{finding.where}:{finding.line}" if finding.line else finding.where
    name = f"{printable(finding.variable)}: " if finding.variable else ""
    return f"{commit}{painted(place, BOLD)}: {label}{name}{printable(finding.message)}"


def _write(lines: Iterable[str]) -> None:
    write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
