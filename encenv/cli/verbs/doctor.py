"""``encenv doctor``: find what keeps encenv from working here, and say what to do. It changes nothing."""

import importlib.metadata
import os
import platform
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from encenv import __version__
from encenv.cli import report
from encenv.cli.files import exists, place, read_text
from encenv.cli.key_health import key_findings
from encenv.cli.options import DEFAULT_FILE, json_option, named_files_argument
from encenv.cli.report import Finding, errors, failure, write_json, write_lines
from encenv.cli.terminal import count
from encenv.errors import EncenvError
from encenv.files.disk import shell_argument
from encenv.files.inspect import Inspection, inspect
from encenv.git.install import status
from encenv.git.repository import is_repository
from encenv.policy.project import Project, project_of
from encenv.policy.rules import Policy

FINDINGS_MAX = 5  # findings of one kind in one file
_PACKAGES = ("pydantic-settings", "python-dotenv", "cryptography", "boto3")


@click.command()
@named_files_argument
@click.option("--offline", is_flag=True, help="Don't contact AWS.")
@json_option
def command(files: tuple[str, ...], offline: bool, as_json: bool) -> int:
    """Check everything that decrypting FILE (.env) needs; say what is wrong and what to do.

    It checks pyproject.toml, the files and their permissions, the local key, the AWS credentials and whose they are,
    region and clock, whether each key is enabled and you may use it (as a dry run: nothing is decrypted), and the git
    hooks and drivers. It changes nothing and shows no value. The exit code is 1 if there is an error.

    \b
    Example:
      encenv doctor
      encenv doctor .env.prod --json
    """
    findings = list(_findings(files, offline=offline))
    if as_json:
        write_json(report.as_json(findings))
    else:
        write_lines(report.as_checklist(findings))
    return 1 if errors(findings) else 0


def _findings(files: tuple[str, ...], *, offline: bool) -> Iterator[Finding]:
    versions = [f"Python {platform.python_version()}", *map(_version, _PACKAGES)]
    yield Finding("ok", "versions", f"encenv {__version__} on {', '.join(versions)}")
    here, policy = Project(), Policy()
    try:
        here = project_of(files[0] if files else DEFAULT_FILE)
        no_table = "no [tool.encenv]: every value must be encrypted"
        yield Finding("ok", "settings", no_table if here.path is None else here.where)
        policy = here.policy()
    except EncenvError as error:
        yield failure("settings", error)
    if not files and exists(DEFAULT_FILE):
        files = (DEFAULT_FILE,)
    elif not files:
        yield Finding("skipped", "files", f"there is no {DEFAULT_FILE} here", "name one: encenv doctor FILE")
    inspections: list[Inspection] = []
    for path in files:
        try:
            inspection = inspect(read_text(path))
        except EncenvError as error:
            yield failure(place(path), error)
        else:
            yield from _file(path, inspection, policy)
            inspections.append(inspection)
    entries = {entry.kid: entry for one in inspections for entry in one.entries_in_use}
    yield from key_findings(entries.values(), here.keys, here.context or (), offline=offline)
    yield from _git(here)


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} (version unknown)"


def _file(path: str, inspection: Inspection, policy: Policy) -> Iterator[Finding]:
    where = place(path)
    file = shell_argument(where)
    # Plaintext does not keep encenv from working; `encenv check` fails for it.
    plaintext = report.plaintext(where, inspection, policy, f"run: encenv encrypt {file}")
    damage = sorted(report.damage(where, inspection), key=lambda one: one.line or 0)
    for findings in (damage, [replace(one, severity="warning") for one in plaintext]):
        yield from findings[:FINDINGS_MAX]
        if more := findings[FINDINGS_MAX:]:
            yield Finding(more[0].severity, where, f"{len(more)} more", f"see them all: encenv check {file}")
    encrypted = sum(one.state == "sealed" for one in inspection.variables)
    yield Finding("ok", where, f"{encrypted} of {count(len(inspection.variables), 'variable')} encrypted")
    if path == "-" or os.name != "posix":  # elsewhere the permission bits say nothing
        return
    mode = stat.S_IMODE(Path(path).stat().st_mode)
    if mode & stat.S_IWOTH:
        message = f"everybody can write it (mode {mode:o})"
        yield Finding("error", where, message, f"run: chmod go-w {file}")
    if mode & (stat.S_IRGRP | stat.S_IROTH) and any(one.state == "plain" for one in inspection.variables):
        message = f"others can read its plaintext (mode {mode:o})"
        yield Finding("warning", where, message, f"run: chmod 600 {file}")


def _git(here: Project) -> Iterator[Finding]:
    if not is_repository():
        yield Finding("skipped", "git", "this folder is not in a git repository")
        return
    try:
        for part, is_there in status(here).items():
            if is_there:
                yield Finding("ok", "git", f"{part}: in place")
            else:
                yield Finding("warning", "git", f"{part}: not in place", "run: encenv hook install")
    except EncenvError as error:
        yield failure("git", error)
