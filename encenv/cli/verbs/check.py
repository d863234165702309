"""``encenv check``: fail if a file holds what must not be committed; for a hook, CI or a release. It shows no value."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import click

from encenv.cli import report
from encenv.cli.files import place, read_text
from encenv.cli.options import DEFAULT_FILE, json_option, named_files_argument, quiet
from encenv.cli.report import Finding, errors, failure, write_json, write_lines
from encenv.cli.terminal import count, fail, progress, say
from encenv.errors import EncenvError
from encenv.files.disk import decode, printable, shell_argument
from encenv.files.document import parse
from encenv.files.inspect import Inspection, inspect
from encenv.files.opening import entries_of, open_possible, values_of
from encenv.files.plaintext_leaks import mask_name
from encenv.format.sealed import claims
from encenv.git import repository as git
from encenv.keys.session import DATA_KEYS_MAX, Session
from encenv.policy.project import Projects

SHORT = 10  # characters of a commit's id
_REWRITE = "encrypt the file and rewrite these commits; change the secret if anyone else may have them"


@click.command()
@named_files_argument
@click.option("--staged", is_flag=True, help="Check what is staged: what git would commit.")
@click.option("--range", "revisions", metavar="A..B", help="Check every version in these commits.")
@click.option("--open", "is_opening", is_flag=True, help="Also try to decrypt every value (needs the key).")
@json_option
@quiet
def command(
    files: tuple[str, ...], staged: bool, revisions: str | None, is_opening: bool, as_json: bool
) -> int:
    """Fail if FILE (.env) holds what must not be committed, and name it by file, line and variable.

    It finds plaintext that must be encrypted (also in a commented-out assignment), the text of a private key, a line
    that cannot be parsed or looks like a piece of a secret, and an encrypted value that is damaged or has lost its
    key. Neither a key nor a network is needed, except for --open.

    With --staged or --range, the project's .env files (files = in pyproject.toml) are checked, or FILE alone.

    [tool.encenv] in pyproject.toml says what must be encrypted. settings = "app.config:Settings" takes it from the
    types of a settings class: a SecretStr must be encrypted, a bool need not be. seal = ["*_KEY"] and
    plain = ["LOG_*"] decide about other variables. All others must be encrypted.

    \b
    Example:
      encenv check --staged
      encenv check --range origin/main..HEAD
      encenv check --open .env
    """
    if staged and revisions is not None:
        raise click.UsageError("--staged and --range exclude each other")
    if revisions is not None and revisions.startswith("-"):
        raise click.UsageError(f"--range: {revisions!r} is not a range of commits")
    projects = Projects()
    if staged:
        versions = _select(git.staged_files(), files, projects)
    elif revisions is not None:
        versions = _select(git.history(revisions), files, projects)
    else:
        versions = [git.Version(path) for path in files or (DEFAULT_FILE,)]
    findings: dict[Finding, None] = {}
    for version in progress(versions, "checking"):
        by_line = sorted(_findings(version, projects, is_opening=is_opening), key=lambda one: one.line or 0)
        findings |= dict.fromkeys(replace(one, commit=version.commit[:SHORT] or None) for one in by_line)
    if as_json:
        write_json(report.as_json(findings))
    else:
        write_lines(report.as_lines(findings))
    if failures := errors(findings):
        first, *others = dict.fromkeys(one.hint or "" for one in failures)
        rest = "; then see the rest: encenv check --json" if others else ""
        return fail(count(len(failures), "problem"), first + rest)
    if not as_json:
        noun = "staged file" if staged else "file" if revisions is None else "version"
        say(f"{count(len(versions), noun)} checked: nothing to fix")
    return 0


def _select(versions: Iterable[git.Version], files: tuple[str, ...], projects: Projects) -> list[git.Version]:
    """Return the *versions* of *files* or, if none is named, of the .env files of their project."""
    if files:
        paths = {_whole(file) for file in files}
        return [one for one in versions if _whole(one.path) in paths]
    return [one for one in versions if projects.of(one.path).covers(os.path.abspath(one.path))]  # noqa: PTH100 (a link stays one)


def _whole(path: str) -> Path:
    """Return the absolute *path*: links to its folder are followed, a link at its end is not."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100 (a link stays one)
    return whole.parent.resolve() / whole.name


def _findings(version: git.Version, projects: Projects, *, is_opening: bool) -> Iterator[Finding]:
    """Yield what has to be fixed in one version of a file."""
    path, blob, commit = version
    where = printable(path) if blob else place(path)
    file = shell_argument(place(path))
    hint = f"run: encenv encrypt {file}" + (f" && git add {file}" if blob else "")
    try:
        text = decode(git.content(blob), where) if blob else read_text(path)
        inspection = inspect(text)
    except EncenvError as error:
        if not commit:
            raise
        yield failure(where, error)  # an old version may be anything
        return
    yield from report.plaintext(where, inspection, projects.policy(path), _REWRITE if commit else hint)
    yield from report.damage(where, inspection)
    if is_opening:
        yield from _decryption_failures(where, text, inspection)


def _decryption_failures(where: str, text: str, inspection: Inspection) -> Iterator[Finding]:
    """Yield the encrypted values that cannot be decrypted, except those that `damage` names."""
    variables = [one for one in inspection.variables if one.state == "sealed"]
    keys = len({one.kid for one in variables})
    if keys > DATA_KEYS_MAX:
        message = f"has {keys} data keys, and a program loads at most {DATA_KEYS_MAX}: no value was decrypted"
        yield Finding("error", where, message, f"run: encenv rotate {shell_argument(where)}")
        return
    lines = {one.name: one.line for one in variables}
    file = parse(text)
    session = Session(os.environ, entries=entries_of(file))
    open_possible({index: value for index, value in values_of(file).items() if claims(value[1])}, session)
    for error in session.failures:
        if not error.variables:  # of the file as a whole
            yield failure(where, error)
        for variable in error.variables:
            if variable in lines:
                message = f"cannot be decrypted: {error.message}"
                yield Finding("error", where, message, error.hint, lines[variable], mask_name(variable))
