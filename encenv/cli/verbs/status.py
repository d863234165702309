"""``encenv status``: what stands in .env files, without a key."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from encenv.cli.files import place, read_text
from encenv.cli.options import STANDARD_INPUT, files_argument
from encenv.cli.options import as_json as json_option
from encenv.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, painted, write
from encenv.files.inspect import LAMBDA_BYTES, Survey, Variable, survey
from encenv.files.secret_names import mask_name
from encenv.files.text import printable
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry
from encenv.policy.project import project_of
from encenv.policy.rules import Policy


@dataclass(frozen=True, slots=True)
class _File:
    """A file that was looked at."""

    path: str
    found: Survey
    policy: Policy

    def must(self, variable: Variable) -> bool:
        """Return whether *variable* must be sealed, and is not."""
        return variable.state == "plain" and self.policy.requires(variable.name)


@click.command()
@files_argument
@json_option
def command(files: tuple[str, ...], as_json: bool) -> None:
    """Show each variable of FILE (.env): sealed, plaintext, or plaintext that must be sealed; never a value.

    Besides: under which data key and with how many bytes; for the file, its wrapping keys, their encryption
    context, and how much of the 4,096 bytes that an AWS Lambda function may have is left. Neither a key nor a
    network is needed. What must be sealed, pyproject.toml says: see encenv check --help.

    \b
    Example:
      encenv status .env .env.staging
    """
    policies: dict[str, Policy] = {}
    looked: list[_File] = []
    for path in files:
        of = project_of(path)
        at = str(of.folder)
        if at not in policies:
            policies[at] = of.policy()
        looked.append(_File(path, survey(read_text(path)), policies[at]))
    if as_json:
        text = json.dumps({"files": [_as_json(file) for file in looked]}, indent=2) + "\n"
    else:
        text = "\n".join("".join(f"{line}\n" for line in _lines(file)) for file in looked)
    write(text.encode("utf-8", "backslashreplace"))


def _as_json(file: _File) -> dict[str, Any]:
    found, uses = file.found, _uses(file.found)
    return {
        "path": file.path if file.path == STANDARD_INPUT else place(file.path),
        "variables": [
            {
                "name": mask_name(variable.name),
                "line": variable.line,
                "state": variable.state,
                "must_be_sealed": file.policy.requires(variable.name),
                "kid": variable.kid,
                "bytes": variable.size,
                "problem": variable.problem,
            }
            for variable in found.variables
        ],
        "keys": [
            {
                "kid": entry.kid,
                "wrapping_keys": _wrapping_keys(entry),
                "context": {key: value for key, value in entry.context if (key, value) != ADDED_BY_WRITER},
                "contributed": ADDED_BY_WRITER in entry.context,
                "values": uses[entry.kid],
            }
            for entry in found.entries
        ],
        "problems": [{"line": one.line, "problem": one.text} for one in (*found.problems, *found.warnings)],
        "lambda_bytes": found.size,
        "lambda_bytes_left": found.left,
    }


def _lines(file: _File) -> list[str]:
    found, uses = file.found, _uses(file.found)
    lines = [f"{painted(place(file.path), BOLD)}  {_summary(file)}"]
    for entry in found.entries:
        many = uses[entry.kid]
        about = [f"{many:,} value{'' if many == 1 else 's'}"]
        about += [f"{key}={value}" for key, value in entry.context if (key, value) != ADDED_BY_WRITER]
        if ADDED_BY_WRITER in entry.context:
            about.append("added by a contributor: encenv rotate folds it in")
        for index, key in enumerate(_wrapping_keys(entry)):
            lines.append(
                f"  {entry.kid if not index else '':8}  {key}{'' if index else '  ' + ', '.join(about)}"
            )
    room = f"{found.left:,} left" if found.left >= 0 else painted(f"{-found.left:,} too many", RED)
    lines.append(f"  {found.size:,} of AWS Lambda's {LAMBDA_BYTES:,} bytes, {room}")
    lines += _table(file)
    for remarks, style in ((found.problems, RED), (found.warnings, YELLOW)):
        lines += [f"  line {one.line}: {painted(printable(one.text), style)}" for one in remarks]
    return lines


def _summary(file: _File) -> str:
    counts: dict[str, int] = {}
    for variable in file.found.variables:
        word = _word(file, variable)[0]
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{count:,} {word}" for word, count in counts.items()) or "no variables"


def _word(file: _File, variable: Variable) -> tuple[str, str]:
    """Return how *variable* stands, in words, and their style."""
    if file.must(variable):
        return "must be sealed", RED
    words = {
        "sealed": ("sealed", GREEN),
        "plain": ("plaintext", DIM),
        "bare": ("without a value", DIM),
        "damaged": ("damaged", RED),
        "unopenable": ("without its key entry", RED),
    }
    return words[variable.state]


def _table(file: _File) -> list[str]:
    rows = [
        (
            printable(mask_name(variable.name)),
            *_word(file, variable),
            variable.kid or "",
            f"{variable.size:,}",
        )
        for variable in file.found.variables
    ]
    if not rows:
        return []
    names, words, sizes = (max(len(row[column]) for row in rows) for column in (0, 1, 4))
    names = min(names, 40)
    return ["", *(_row(row, (names, words, sizes)) for row in rows)]


def _row(row: Sequence[str], widths: tuple[int, int, int]) -> str:
    name, word, style, kid, size = row
    names, words, sizes = widths
    return f"  {name:{names}}  {painted(f'{word:{words}}', style)}  {kid:8}  {size:>{sizes}}"


def _wrapping_keys(entry: KeyEntry) -> list[str]:
    return [f"{item.provider}:{item.reference}" for item in entry.items]


def _uses(found: Survey) -> Counter[str | None]:
    """Return how many values stand under each data key."""
    return Counter(variable.kid for variable in found.variables)
