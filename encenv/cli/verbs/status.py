"""``encenv status``: show what .env files hold, without a key."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click

from encenv.cli.files import place, read_text
from encenv.cli.options import files_argument, json_option
from encenv.cli.report import STATES, write_json, write_lines
from encenv.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, count, painted
from encenv.files.disk import printable
from encenv.files.inspect import LAMBDA_BYTES, Inspection, Variable, inspect
from encenv.files.plaintext_leaks import mask_name
from encenv.format.sealed import ADDED_BY_WRITER
from encenv.policy.project import Projects
from encenv.policy.rules import Policy

NAME_WIDTH_MAX = 40
_STYLES = {"sealed": GREEN, "plain": DIM, "bare": DIM, "damaged": RED, "unopenable": RED}


@click.command()
@files_argument
@json_option
def command(files: tuple[str, ...], as_json: bool) -> None:
    """Show which variables of FILE (.env) are encrypted, and which must be; no value is shown.

    It also shows the data key and the size of each value, and for the file its keys, their encryption context, and
    what is left of the 4,096 bytes that AWS Lambda allows for all variables. Neither a key nor a network is needed.
    pyproject.toml says what must be encrypted: see encenv check --help.

    \b
    Example:
      encenv status .env .env.staging
    """
    projects = Projects()
    reports = [(path, inspect(read_text(path)), projects.policy(path)) for path in files]
    if as_json:
        write_json({"files": [_as_json(*one) for one in reports]})
    else:
        lines = [line for one in reports for line in ("", *_lines(*one))]
        write_lines(lines[1:])  # an empty line between two files


def _as_json(path: str, inspection: Inspection, policy: Policy) -> dict[str, Any]:
    values = Counter(variable.kid for variable in inspection.variables)
    return {
        "path": printable(path),
        "variables": [
            {
                "name": mask_name(variable.name),
                "line": variable.line,
                "state": STATES[variable.state],
                "must_be_encrypted": policy.requires(variable.name),
                "kid": variable.kid,
                "bytes": variable.size,
                "problem": variable.problem,
            }
            for variable in inspection.variables
        ],
        "keys": [
            {
                "kid": entry.kid,
                "wrapping_keys": [item.wrapping_key for item in entry.items],
                "context": {key: value for key, value in entry.context if (key, value) != ADDED_BY_WRITER},
                "contributed": ADDED_BY_WRITER in entry.context,
                "values": values[entry.kid],
            }
            for entry in inspection.entries
        ],
        "problems": [
            {"line": one.line, "problem": one.text} for one in (*inspection.problems, *inspection.warnings)
        ],
        "lambda_bytes": inspection.size,
        "lambda_bytes_left": LAMBDA_BYTES - inspection.size,
    }


def _lines(path: str, inspection: Inspection, policy: Policy) -> Iterator[str]:
    values = Counter(variable.kid for variable in inspection.variables)
    words = Counter(_word(variable, policy)[0] for variable in inspection.variables)
    summary = ", ".join(f"{number:,} {word}" for word, number in words.items()) or "no variables"
    yield f"{painted(place(path), BOLD)}  {summary}"
    for entry in inspection.entries:
        about = [count(values[entry.kid], "value")]
        about += [f"{key}={value}" for key, value in entry.context if (key, value) != ADDED_BY_WRITER]
        if ADDED_BY_WRITER in entry.context:
            about.append("added by someone who cannot decrypt; encenv rotate merges it")
        first, *others = (item.wrapping_key for item in entry.items)
        yield f"  {entry.kid}  {first}  {', '.join(about)}"
        yield from (f"  {'':{len(entry.kid)}}  {other}" for other in others)
    left = LAMBDA_BYTES - inspection.size
    rest = f"{left:,} left" if left >= 0 else painted(f"{-left:,} too many", RED)
    yield f"  {inspection.size:,} of AWS Lambda's {LAMBDA_BYTES:,} bytes, {rest}"
    yield from _table(inspection.variables, policy)
    for remarks, style in ((inspection.problems, RED), (inspection.warnings, YELLOW)):
        yield from (f"  line {one.line}: {painted(printable(one.text), style)}" for one in remarks)


def _word(variable: Variable, policy: Policy) -> tuple[str, str]:
    """Return the state of *variable* in words, and their style."""
    if variable.state == "plain" and policy.requires(variable.name):
        return "must be encrypted", RED
    return STATES[variable.state], _STYLES[variable.state]


def _table(variables: Sequence[Variable], policy: Policy) -> Iterator[str]:
    rows = [
        (printable(mask_name(one.name)), *_word(one, policy), one.kid or "", f"{one.size:,}")
        for one in variables
    ]
    if rows:
        names, words, sizes = (max(len(row[column]) for row in rows) for column in (0, 1, 4))
        names = min(names, NAME_WIDTH_MAX)
        yield ""
        for name, word, style, kid, size in rows:
            yield f"  {name:{names}}  {painted(f'{word:{words}}', style)}  {kid:8}  {size:>{sizes}}"
