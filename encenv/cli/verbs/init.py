"""``encenv init``: from a repository to one in which secrets can be committed."""

import json
import os
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import click

from encenv.cli.key_options import key_options
from encenv.cli.options import quiet
from encenv.cli.terminal import fail, say
from encenv.cli.verbs import keygen
from encenv.errors import ConflictError, EncenvError, FileError, MalformedError
from encenv.files.atomic import create, edit_file
from encenv.files.data_key_choice import Writer
from encenv.files.document import parse
from encenv.files.inspect import survey
from encenv.files.key_names import KeyName, Pairs, parse_keys
from encenv.files.read import read
from encenv.files.secret_names import mask_name
from encenv.files.text import printable
from encenv.format.sealed import WrappedKey
from encenv.git import install as arming
from encenv.git.key_owner import hint_of
from encenv.git.repository import contents, git, history, is_ignored, is_repository, top_level
from encenv.keys.local import FILE_VARIABLE, TEXT_VARIABLE, default_path
from encenv.policy.project import Project, project
from encenv.policy.rules import Policy

_HEADER = re.compile(r"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*encenv[ \t]*\][^\r\n]*(?:\r\n|\n|\Z)", re.MULTILINE)
BLOB_MAX = 1024 * 1024  # bytes of a text that is looked at; what is longer is no .env file
NAMES_SHOWN = 20


@click.command()
@key_options
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: a local key, unless --key says otherwise.")
@quiet
def command(keys: tuple[KeyName, ...], context: Pairs | None, yes: bool) -> None:
    """Make this project ready: a wrapping key, [tool.encenv] in pyproject.toml, the git hook and drivers.

    KEY is local, the ARN of a KMS key, or alias/<name>. If it is left out, you are asked; the keys of what is sealed
    already are proposed, else a local key, which is made if there is none. What is there already stays, so it can be run again, and by everyone who clones the project.

    \b
    Example:
      encenv init
      encenv init --key alias/staging --context stage=staging
    """
    found = project()
    if found.keys:
        _keep(found, keys)
    else:
        _choose(found, keys or _asked(_in_use(found), yes=yes), context or ())
    found = project()
    if not is_repository():
        say("not a git repository: begin one (git init), then run: encenv hook install")
        return
    for line in arming.arm(found.files):
        say(line)
    _look_at_files(found)
    _look_back(found)


def _keep(found: Project, keys: tuple[KeyName, ...]) -> None:
    """Say which keys the project has, and whether they can be used here."""
    if keys and {*keys} != {*found.keys}:
        raise ConflictError(
            f"{found.where} names other wrapping keys: {', '.join(map(str, found.keys))}",
            hint="change them there, then run: encenv rewrap --add KEY --remove KEY for each file",
        )
    say(f"{found.where}: the wrapping keys are {', '.join(map(str, found.keys))}")
    try:
        found.writer().new_key(found.keys, found.context or ())
    except EncenvError as error:  # whoever has just cloned it may commit all the same
        say(f"you cannot use them yet: {error.message}")
        say(f"to do so, {hint_of(error)}")


def _choose(found: Project, names: tuple[KeyName, ...], context: Pairs) -> None:
    """See that the keys can be used, then write them down."""
    if KeyName("local", "") in names and not _has_local_key():
        click.get_current_context().invoke(keygen.command, output=None)
    _, entry = Writer(names, context or None).new_key(names, context)
    references = [_named(item) for item in entry.items]
    named = [str(name) for name in names if "alias/" in name.key]
    lines = [f"keys = {json.dumps(references)}" + (f"  # {', '.join(named)}" if named else "")]
    table: dict[str, object] = {"keys": references}
    if context:
        lines.append(f"context = {{ {', '.join(f'{json.dumps(k)} = {json.dumps(v)}' for k, v in context)} }}")
        table["context"] = dict(context)
    path = found.path or _pyproject()
    _write(path, lines, table)
    say(f"{printable(os.path.relpath(path))}: the wrapping keys are {', '.join(references)}")


def _named(item: WrappedKey) -> str:
    """Return the wrapping key of *item* as --key takes it."""
    return str(KeyName(item.provider, item.reference))


def _in_use(found: Project) -> tuple[KeyName, ...]:
    """Return the wrapping keys of what is sealed here already, if that is the same everywhere."""
    used = {
        tuple(sorted((KeyName(item.provider, item.reference) for item in entry.items), key=str))
        for path in _files(found)
        for entry in survey(_text(path)).entries
    }
    return used.pop() if len(used) == 1 else ()


def _asked(in_use: tuple[KeyName, ...], *, yes: bool) -> tuple[KeyName, ...]:
    """Return the wrapping keys that the person chooses: those *in_use*, or a local one, if nobody is asked."""
    default = in_use or (KeyName("local", ""),)
    if yes or sys.stdin is None or not sys.stdin.isatty():
        return default
    if in_use:
        say("What is sealed here already is under the key that stands in brackets.")
    else:
        say(
            "A wrapping key is what opens everything else: local for a key file of your own, the ARN of an AWS KMS"
        )
        say("key, or alias/NAME of one. More people: KMS. One person, or a first try: local.")
    while True:
        answer: str = click.prompt("Wrapping key", default=" ".join(map(str, default)), err=True)
        try:
            return parse_keys(answer.split()) or default
        except MalformedError as error:
            fail(error.message, error.hint)


def _has_local_key() -> bool:
    named = os.environ.get(FILE_VARIABLE)
    return (
        bool(os.environ.get(TEXT_VARIABLE))
        or (Path(named).expanduser() if named else default_path(os.environ)).exists()
    )


def _pyproject() -> Path:
    """Return the nearest pyproject.toml upwards to the top level, or where it is to be made."""
    here = Path.cwd()
    top = top_level() if is_repository() else None
    folders = [here, *(one for one in here.parents if top is not None and one.is_relative_to(top))]
    there = (folder / "pyproject.toml" for folder in folders)
    return next((path for path in there if path.is_file()), (top or here) / "pyproject.toml")


def _write(path: Path, lines: list[str], table: dict[str, object]) -> None:
    """Add *lines* to [tool.encenv] in the file *path*, every other byte of it kept.

    Raises:
        FileError: If TOML would then say anything but what it said before, and *table*.
    """
    if not path.exists():
        create(path, "\n".join(["[tool.encenv]", *lines, ""]).encode(), 0o666)
        return
    with edit_file(path) as file:
        try:
            text = file.data.decode()
            new = _with_lines(text, lines)
            tool = tomllib.loads(text).get("tool", {})
            expected = tomllib.loads(text) | {"tool": tool | {"encenv": tool.get("encenv", {}) | table}}
            good = tomllib.loads(new) == expected
        except (ValueError, TypeError, AttributeError):  # TOML's and UTF-8's errors; tool is no table
            good, new = False, ""
        if not good:
            raise FileError(
                f"{printable(os.path.relpath(path))} cannot be added to without changing what it says",
                hint=f"add this yourself: [tool.encenv] with {'; '.join(lines)}",
            )
        file.replace(new.encode())


def _with_lines(text: str, lines: list[str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    added = "".join(line + newline for line in lines)
    header = _HEADER.search(text)
    if header is not None:
        gap = "" if header[0].endswith("\n") else newline
        return text[: header.end()] + gap + added + text[header.end() :]
    gap = "" if not text or text.endswith("\n") else newline
    return f"{text}{gap}{newline if text else ''}[tool.encenv]{newline}{added}"


def _look_at_files(found: Project) -> None:
    """Say of the .env files in the project's folder what is to be done with them."""
    names = [path.name for path in _files(found)]
    for name in names or [".env"]:
        path = os.path.relpath(found.folder / name)
        if is_ignored(path):
            rule = os.fsdecode(git("check-ignore", "--verbose", "--", path)).split("\t")[0]
            say(
                f"{printable(path)} is ignored by git ({printable(rule)}): a sealed file is meant to be committed,"
            )
            say("  so take that line out once it is encrypted")
    plain = [
        name
        for name in names
        if any(one.state == "plain" for one in survey(_text(found.folder / name)).variables)
    ]
    if plain:
        files = " ".join(printable(os.path.relpath(found.folder / name)) for name in plain)
        say(f"next: encenv encrypt {files} && git add {files}")


def _files(found: Project) -> list[Path]:
    return sorted(path for path in found.folder.iterdir() if path.is_file() and found.covers(path))


def _text(path: Path) -> str:
    return read(path).decode("utf-8", "surrogateescape")


def _look_back(found: Project) -> None:
    """Say which plaintexts history holds, by name: whoever has a clone has them."""
    top = top_level() or Path()
    covers = cache(lambda path: found.covers(top / path))
    versions = [version for version in history() if covers(version.path)]
    names: dict[str, None] = {}
    files: dict[str, None] = {}
    commits: set[str] = set()
    try:
        policy = found.policy()
    except EncenvError:  # the application's class cannot be imported here; check says so
        policy = Policy()
    for version, data in zip(versions, contents([one.blob for one in versions]), strict=True):
        if len(data) > BLOB_MAX:
            continue
        text = data.decode("utf-8", "surrogateescape")
        bindings = parse(text).bindings
        plain = [
            mask_name(one.name)
            for one in survey(text).variables
            if one.state == "plain" and bindings[one.index].value and policy.requires(one.name)
        ]
        if plain:
            names |= dict.fromkeys(plain)
            files[version.path] = None
            commits.add(version.commit)
    if not names:
        return
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    count = "1 commit" if len(commits) == 1 else f"{len(commits)} commits"
    say(f"plaintext in history ({count}, {', '.join(map(printable, files))}):")
    say(f"  {', '.join(list(map(printable, names))[:NAMES_SHOWN])}{more}")
    say("rotate these where they were issued: encrypting the file now does not take them out of the clones")
