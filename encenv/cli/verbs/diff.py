"""``encenv diff``: show what happened to each variable, between two files or two revisions of one."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import click

from encenv.cli.files import exists, place, read_text
from encenv.cli.options import DEFAULT_FILE, FILE, json_option
from encenv.cli.report import STATES, write_json, write_lines
from encenv.cli.terminal import DIM, GREEN, RED, YELLOW, painted, say
from encenv.errors import EncenvError, FileError
from encenv.files.compare import Assignment, Difference, compare, compare_plaintexts
from encenv.files.disk import decode, printable
from encenv.files.document import parse, quote
from encenv.files.opening import open_values, reading_session
from encenv.files.plaintext_leaks import mask_name
from encenv.format.sealed import claims
from encenv.git import repository as git

_SIGNS = {"added": "+", "removed": "-"}
_STYLES = {"added": GREEN, "encrypted": GREEN, "removed": DIM}
_WORDS = {
    "encrypted": "encrypted: was plaintext",
    "decrypted": "DECRYPTED: was encrypted, is plaintext",
    "re-encrypted": "re-encrypted: under another data key; the value may have changed",
    "re-wrapped": "re-wrapped: same value, other keys or context",
}
_WORDS_OF_SHOW = _WORDS | {"re-encrypted": "re-encrypted: same value"}


@dataclass(slots=True)
class _Side:
    """One of the two texts; with --show, also the decrypted values that differ, by index."""

    where: str
    text: str = field(repr=False)
    values: Mapping[int, str] = field(repr=False, default_factory=dict)

    def value(self, of: Assignment | None) -> str | None:
        """Return the decrypted value *of* an assignment; None if there is none."""
        return None if of is None else self.values.get(of.index)


@click.command()
@click.argument("before", metavar="[A]", required=False, type=FILE)
@click.argument("after", metavar="[B]", required=False, type=FILE)
@click.option("--show", is_flag=True, help="Show the values in plaintext; needs the keys.")
@json_option
def command(before: str | None, after: str | None, show: bool, as_json: bool) -> None:
    """Show what happened to each variable from A to B, by name; no key is needed.

    A and B are files, files in a git revision (REVISION:FILE; :FILE is the staged one), or revisions, which means
    their .env. Without B, a revision A is compared with the file as it is now, and a file A with its last commit.
    Without both, .env is compared with its last commit.

    \b
    Example:
      encenv diff HEAD
      encenv diff main:.env.prod .env.prod --show
    """
    first, second = [_side(text) for text in _names(before, after)]
    differences, rewrapped = compare(first.text, second.text)
    for side in (first, second):
        for binding in parse(side.text).bindings:
            if binding.error:
                say(f"{side.where}: line {binding.line} cannot be parsed, and is not compared")
    if show:
        first.values = _decrypted(first, (one.before for one in differences))
        second.values = _decrypted(second, (one.after for one in differences))
        differences = [compare_plaintexts(one, first.values, second.values) for one in differences]
    if as_json:
        report = {
            "from": first.where,
            "to": second.where,
            "variables": [_as_json(one, first, second, show=show) for one in differences],
            "rewrapped": rewrapped,
        }
        write_json(report)
        return
    width = max((len(printable(mask_name(one.name))) for one in differences), default=0)
    lines = []
    for one in differences:
        lines.append(_line(one, width, _WORDS_OF_SHOW if show else _WORDS))
        if show and one.change not in {"re-wrapped", "re-encrypted"}:
            lines += _value_lines(one, first, second)
    for kid, parts in rewrapped.items():
        lines += [f"* data key {kid}: re-wrapped", *(f"    {part}" for part in parts)]
    if not lines:
        say(f"{first.where} and {second.where} hold the same variables")
    write_lines(lines)


def _names(before: str | None, after: str | None) -> tuple[str, str]:
    """Return what to compare, as A and B name it."""
    if before is not None and after is not None:
        return before, after
    if before is None or exists(before):
        return f"HEAD:{before or DEFAULT_FILE}", before or DEFAULT_FILE
    return before, before.partition(":")[2] if ":" in before else DEFAULT_FILE


def _side(text: str) -> _Side:
    """Return what *text* names: a file if there is one, else a file in a revision, else the .env of a revision."""
    revision, colon, path = text.partition(":")
    is_path = not colon and (text.startswith(".") or "/" in text)
    if exists(text) or (is_path and not git.is_repository()):  # reading says if there is no such file
        return _Side(place(text), read_text(text))
    path = path or DEFAULT_FILE
    try:
        data = git.show(revision, path) if revision or not colon else git.staged(path)
    except FileError as error:
        if not colon:
            error.message = f"{printable(text)} is neither a file nor a revision: {error.message}"
        raise
    if data is None:
        present = f"in the revision {printable(revision)}" if revision else "staged"
        hint = "name it as REVISION:FILE; see git ls-tree --name-only REVISION"
        raise FileError(f"{printable(path)} is not {present}", hint=hint)
    where = printable(f"{revision}:{path}")
    return _Side(where, decode(data, where))


def _decrypted(side: _Side, assignments: Iterable[Assignment | None]) -> dict[int, str]:
    """Return the values of *assignments* of *side* decrypted, by index; the key entries of the other side are not used."""
    texts = {
        one.index: (one.name, one.text) for one in assignments if one is not None and one.text is not None
    }
    plain = {index: text for index, (_, text) in texts.items() if not claims(text)}
    values = {index: value for index, value in texts.items() if index not in plain}
    try:
        return plain | open_values(values, reading_session(parse(side.text), os.environ))
    except EncenvError as error:
        error.message = f"{side.where}: {error.message}"
        error.hint += "; without --show no key is needed"
        raise


def _line(one: Difference, width: int, words: Mapping[str, str]) -> str:
    value = one.after or one.before
    word = words.get(one.change, one.change)
    if one.change in _SIGNS and value is not None and value.form == "plain":
        word = f"{one.change}, in plaintext"
    has_new_plaintext = one.after is not None and one.after.form == "plain"
    style = RED if has_new_plaintext else _STYLES.get(one.change, YELLOW)
    return f"{_SIGNS.get(one.change, '~')} {printable(mask_name(one.name)):<{width}}  {painted(word, style)}"


def _value_lines(one: Difference, first: _Side, second: _Side) -> Iterator[str]:
    for sign, value, side in (("-", one.before, first), ("+", one.after, second)):
        if value is not None:
            yield f"    {sign} {_quoted(side.value(value))}"


def _quoted(text: str | None) -> str:
    """Return a value on one line, without control characters."""
    if text is None:
        return "(no value)"
    try:
        return quote(text) if text.isprintable() else ascii(text)
    except FileError:
        return ascii(text)


def _as_json(one: Difference, first: _Side, second: _Side, *, show: bool) -> dict[str, str | None]:
    values = {"value_before": first.value(one.before), "value_after": second.value(one.after)}
    return {
        "name": mask_name(one.name),
        "change": one.change,
        "before": STATES[one.before.form] if one.before else None,
        "after": STATES[one.after.form] if one.after else None,
        **(values if show else {}),
    }
