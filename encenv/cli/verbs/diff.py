"""``encenv diff``: what became of each variable, between two files or two revisions of one."""

import json
import os
from dataclasses import dataclass, field

import click

from encenv.cli.files import place, read_text
from encenv.cli.options import FILE, STANDARD_INPUT
from encenv.cli.options import as_json as json_option
from encenv.cli.terminal import DIM, GREEN, RED, YELLOW, painted, say, write
from encenv.errors import EncenvError, FileError
from encenv.files.compare import Comparison, Difference, compare, opened
from encenv.files.document import parse
from encenv.files.opening import open_possible, reading_session
from encenv.files.quoting import quote
from encenv.files.secret_names import mask_name
from encenv.files.text import decode, printable
from encenv.format.sealed import claims
from encenv.git import repository as git

USUAL = ".env"
_SIGNS = {"added": "+", "removed": "-"}
_SAID = {
    "encrypted": "encrypted: was plaintext",
    "decrypted": "DECRYPTED: was sealed, is plaintext",
    "re-encrypted": "re-encrypted: another data key, perhaps another value",
    "re-wrapped": "re-wrapped: same value, other wrapping keys or context",
}
_SAID_OPENED = _SAID | {"re-encrypted": "re-encrypted: same value"}


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two that are compared."""

    where: str
    text: str = field(repr=False)


@click.command()
@click.argument("before", metavar="[A]", required=False, type=FILE)
@click.argument("after", metavar="[B]", required=False, type=FILE)
@click.option("--show", is_flag=True, help="Show the values in plaintext; needs the keys.")
@json_option
def command(before: str | None, after: str | None, show: bool, as_json: bool) -> None:
    """Show what became of each variable from A to B, by name; no key is needed.

    A and B are files, files in a git revision (REVISION:FILE; :FILE is what is staged), or revisions: then their .env. Without B,
    A is compared with the file as it is now; a file A with its last commit, and .env with its own where A is
    left out as well.

    \b
    Example:
      encenv diff HEAD
      encenv diff main:.env.prod .env.prod --show
    """
    first, second = _sides(before, after)
    comparison = compare(first.text, second.text)
    for side in (first, second):
        for binding in parse(side.text).bindings:
            if binding.error:
                say(f"{side.where}: line {binding.line} cannot be parsed, and is not compared")
    differences = comparison.differences
    values: tuple[dict[int, str], dict[int, str]] = {}, {}
    if show:
        values = _opened(first, second, comparison)
        differences = opened(comparison, *values)
    if as_json:
        report = {
            "from": first.where,
            "to": second.where,
            "variables": [_object(one, values if show else None) for one in differences],
            "rewrapped": {kid: list(parts) for kid, parts in comparison.rewrapped.items()},
        }
        write((json.dumps(report, indent=2) + "\n").encode())
        return
    width = max((len(printable(mask_name(one.name))) for one in differences), default=0)
    lines = [line for one in differences for line in _lines(one, width, values if show else None)]
    for kid, parts in comparison.rewrapped.items():
        lines += [f"* data key {kid}: re-wrapped", *(f"    {part}" for part in parts)]
    if not lines:
        say(f"{first.where} and {second.where} hold the same variables")
    write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _sides(before: str | None, after: str | None) -> tuple[_Side, _Side]:
    if before is None:
        before, after = f"HEAD:{USUAL}", USUAL
    elif after is None and _is_file(before):
        before, after = f"HEAD:{before}", before
    elif after is None:
        _, colon, path = before.partition(":")
        after = path if colon else USUAL
    return _side(before), _side(after)


def _is_file(text: str) -> bool:
    return text == STANDARD_INPUT or os.path.lexists(text)


def _side(text: str) -> _Side:
    """Return what *text* names: a file if there is one, else a file in a revision, else the .env of a revision.

    Raises:
        EncenvError: If it cannot be had.
    """
    if _is_file(text):
        return _Side(place(text), read_text(text))
    revision, colon, path = text.partition(":")
    if not colon and (text.startswith(".") or "/" in text) and not git.is_repository():
        return _Side(place(text), read_text(text))  # which says that there is no such file
    if colon and not revision:
        data, what = git.staged(path), "not staged"
    else:
        path = path or USUAL
        data, what = _shown_by_git(revision, path, text), f"not in the revision {printable(revision)}"
    if data is None:
        raise FileError(
            f"{printable(path)} is {what}",
            hint="name it as REVISION:FILE; see git ls-tree --name-only REVISION",
        )
    where = f"{revision}:{path}"
    return _Side(printable(where), decode(data, printable(where)))


def _shown_by_git(revision: str, path: str, text: str) -> bytes | None:
    try:
        return git.show(revision, path)
    except FileError as error:
        failure = error
    if ":" not in text:
        failure = FileError(
            f"{printable(text)} is neither a file nor a revision: {failure.message}", hint=failure.hint
        )
    raise failure.with_traceback(None)


def _opened(first: _Side, second: _Side, comparison: Comparison) -> tuple[dict[int, str], dict[int, str]]:
    """Return the plaintexts of what differs, of both sides, by the assignments' indexes.

    Raises:
        EncenvError: If a value cannot be decrypted.
    """
    found: tuple[dict[int, str], dict[int, str]] = {}, {}
    failures: list[EncenvError] = []
    for side, values, which in ((first, found[0], "before"), (second, found[1], "after")):
        # A session for each: the key entries of one side must not open what is on the other.
        session = reading_session(parse(side.text), os.environ)
        texts = {
            value.index: (value.name, value.text)
            for one in comparison.differences
            if (value := getattr(one, which)) is not None and value.text is not None
        }
        values.update({index: text for index, (_, text) in texts.items() if not claims(text)})
        values.update(open_possible({i: text for i, text in texts.items() if i not in values}, session))
        failure = session.failure(whole="the file", done="decrypted")
        if failure is not None:
            failures.append(
                type(failure)(
                    f"{side.where}: {failure.message}",
                    hint=f"{failure.hint}; without --show no key is needed",
                )
            )
    for failure in failures:
        raise failure
    return found


def _lines(one: Difference, width: int, values: tuple[dict[int, str], dict[int, str]] | None) -> list[str]:
    said = (_SAID if values is None else _SAID_OPENED).get(one.change, one.change)
    for value in (one.after, one.before):
        if one.change in {"added", "removed"} and value is not None:
            said = f"{one.change}{', in plaintext' if value.form == 'plain' else ''}"
    lines = [
        f"{_SIGNS.get(one.change, '~')} {printable(mask_name(one.name)):<{width}}  {painted(said, _style(one))}"
    ]
    if values is None or one.change in {"re-wrapped", "re-encrypted"}:
        return lines
    for sign, value, plain in (("-", one.before, values[0]), ("+", one.after, values[1])):
        if value is not None:
            lines.append(f"    {sign} {_quoted(plain.get(value.index))}")
    return lines


def _style(one: Difference) -> str:
    """Return how to paint what became of a variable: red is for plaintext that has come."""
    if one.after is not None and one.after.form == "plain":
        return RED
    return GREEN if one.change in {"added", "encrypted"} else DIM if one.change == "removed" else YELLOW


def _quoted(text: str | None) -> str:
    if text is None:
        return "(no value)"
    if not text.isprintable():
        return ascii(text)  # one line, and nothing that a terminal obeys
    try:
        return quote(text)
    except FileError:
        return ascii(text)


def _object(one: Difference, values: tuple[dict[int, str], dict[int, str]] | None) -> dict[str, str | None]:
    about: dict[str, str | None] = {
        "name": mask_name(one.name),
        "change": one.change,
        "before": one.before.form if one.before else None,
        "after": one.after.form if one.after else None,
    }
    if values is not None:
        about["value_before"] = values[0].get(one.before.index) if one.before else None
        about["value_after"] = values[1].get(one.after.index) if one.after else None
    return about
