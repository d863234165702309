"""``encenv init``: make a repository ready for encrypted .env files."""

import os
import sys

import click

from encenv.cli.options import key_options, quiet
from encenv.cli.terminal import count, fail, is_terminal, say
from encenv.cli.verbs import keygen
from encenv.errors import ConflictError, EncenvError, MalformedError, listed
from encenv.files.disk import printable, read, shell_argument
from encenv.files.inspect import Inspection, inspect
from encenv.files.key_names import KeyName, Pairs, parse_keys
from encenv.files.writer import Writer
from encenv.git.install import install as protect_clone
from encenv.git.plaintext_history import plaintext_history
from encenv.git.repository import hint_with_key_owner, ignore_rule, is_repository
from encenv.keys.local import LocalKeys
from encenv.policy.project import Project, project, pyproject_paths, write_keys

LOCAL = KeyName("local", "")


@click.command()
@key_options
@click.option("-y", "--yes", is_flag=True, help="Don't ask: take the keys in use, else a local key.")
@quiet
def command(keys: tuple[KeyName, ...], context: Pairs | None, yes: bool) -> None:
    """Make this project ready: a key, [tool.encenv] in pyproject.toml, the git hook and drivers.

    KEY is local, the ARN of an AWS KMS key, or alias/<name>. Without --key, init asks. It proposes the keys that your
    files are encrypted with, or else a local key, and makes that if there is none. It replaces nothing, so everyone
    who clones the project can run it again.

    \b
    Example:
      encenv init
      encenv init --key alias/staging --context stage=staging
    """
    here = project()
    if here.keys:
        _try_keys(here, keys)
    else:
        proposed = _keys_in_use(here) or (LOCAL,)
        if not keys:
            keys = _ask(proposed) if is_terminal(sys.stdin) and not yes else proposed
        _write(here, keys, context or ())
    here = project()
    if not is_repository():
        say("this is not a git repository: make one (git init), then run: encenv hook install")
        return
    for line in protect_clone(here):
        say(line)
    _say_what_is_next(here)
    if past := plaintext_history(here):
        commits = count(len({version.commit for version, _ in past}), "commit")
        files = listed([*dict.fromkeys(version.path for version, _ in past)])
        say(f"plaintext in history ({commits}, {files}):")
        say(f"  {listed([*dict.fromkeys(name for _, name in past)])}")
        say("change these where they were issued: every clone still has them")


def _try_keys(here: Project, keys: tuple[KeyName, ...]) -> None:
    """Say which keys the project has, and whether they can be used here."""
    names = ", ".join(map(str, here.keys))
    if keys and {*keys} != {*here.keys}:
        hint = "change them there, then run: encenv rewrap --add KEY --remove KEY for each file"
        raise ConflictError(f"{here.where} names other keys: {names}", hint=hint)
    say(f"{here.where}: files are encrypted with {names}")
    try:
        here.writer().new_key(here.keys, here.context or ())
    except EncenvError as error:  # someone who has just cloned the project can commit without it
        say(f"you cannot use the key yet: {error.message}")
        say(f"to use it, {hint_with_key_owner(error)}")


def _write(here: Project, keys: tuple[KeyName, ...], context: Pairs) -> None:
    """Write *keys* into pyproject.toml, once a data key could be made with them."""
    if LOCAL in keys and not LocalKeys().exist():
        click.get_current_context().invoke(keygen.command, output=None)
    entry = Writer(keys, context or None).new_key(keys, context).entry
    names = [str(KeyName.of(item)) for item in entry.items]
    aliases = ", ".join(str(key) for key in keys if "alias/" in key.key)
    paths = pyproject_paths()
    path = here.path or next((path for path in paths if path.is_file()), paths[-1])
    write_keys(path, names, context, aliases)
    say(f"{printable(os.path.relpath(path))}: files are encrypted with {', '.join(names)}")


def _ask(proposed: tuple[KeyName, ...]) -> tuple[KeyName, ...]:
    """Return the keys that the person at the terminal names; Enter means *proposed*."""
    if proposed == (LOCAL,):
        say("Choose the key for your files: local, or an AWS KMS key by its ARN or alias/NAME.")
        say("A KMS key serves a team; local, a key in a file of your own, serves one person or a first try.")
    else:
        say("Your files are already encrypted with the key in brackets.")
    while True:
        answer: str = click.prompt("Key", default=" ".join(map(str, proposed)), err=True)
        try:
            return parse_keys(answer.split()) or proposed
        except MalformedError as error:
            fail(error.message, error.hint)


def _inspections(here: Project) -> dict[str, Inspection]:
    """Return what is in the .env files of the project's folder, by their paths from the current one."""
    paths = sorted(path for path in here.folder.iterdir() if path.is_file() and here.covers(path))
    return {os.path.relpath(path): inspect(read(path).decode("utf-8", "surrogateescape")) for path in paths}


def _keys_in_use(here: Project) -> tuple[KeyName, ...]:
    """Return the keys that the project's files are encrypted with, if they are the same everywhere."""
    used = {
        tuple(sorted(map(KeyName.of, entry.items), key=str))
        for inspection in _inspections(here).values()
        for entry in inspection.entries
    }
    return used.pop() if len(used) == 1 else ()


def _say_what_is_next(here: Project) -> None:
    """Say which of the project's files git ignores, and which are not encrypted yet."""
    inspections = _inspections(here)
    for path in inspections or [os.path.relpath(here.folder / ".env")]:
        rule = ignore_rule(path)
        if rule is not None:
            say(
                f"git ignores {printable(path)} ({printable(rule)}): remove that rule once the file is encrypted"
            )
    files = " ".join(
        shell_argument(printable(path))
        for path, inspection in inspections.items()
        if any(one.state == "plain" for one in inspection.variables)
    )
    if files:
        say(f"next: encenv encrypt {files} && git add {files}")
