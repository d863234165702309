"""``encenv check``: the gate before a commit, a push, a release. An exit code, and names; never a value."""

import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click

from encenv.cli.files import STANDARD_INPUT, place, read_text
from encenv.cli.options import FILE, quiet
from encenv.cli.options import as_json as json_option
from encenv.cli.terminal import BOLD, YELLOW, painted, progress, say, write
from encenv.errors import EncenvError
from encenv.files.document import name_shown, parse
from encenv.files.inspect import Survey, survey
from encenv.files.text import decode, printable
from encenv.format.sealed import claims, entry_kid
from encenv.git import repository as git
from encenv.load.environ import Load
from encenv.policy.project import Project, project
from encenv.policy.rules import Policy

SHORT = 10  # characters of a commit's id


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend, or to know.

    Attributes:
        file: The file.
        commit: The commit that the file is of; None for the staged or the present one.
        line: The line, or None.
        name: The variable, or None.
        problem: What is wrong, without any value.
        hint: What to do.
        is_warning: Whether it is no failure.
    """

    file: str
    commit: str | None
    line: int | None
    name: str | None
    problem: str
    hint: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class _Text:
    """A version of a file, read when its turn comes."""

    shown: str
    path: str
    commit: str | None
    read: Callable[[], str]
    is_staged: bool = False


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)
@click.option("--staged", is_flag=True, help="Look at what is staged instead: what git would commit.")
@click.option("--range", "revisions", metavar="A..B", help="Look at every version in these commits instead.")
@click.option(
    "--open", "is_opening", is_flag=True, help="Prove that every sealed value opens; this needs the key."
)
@json_option
@quiet
def command(
    files: tuple[str, ...], staged: bool, revisions: str | None, is_opening: bool, as_json: bool
) -> None:
    """Fail if FILE (.env) holds what must not be committed, and name it by file, line and variable.

    That is: plaintext that must be sealed, also in a commented-out assignment; a private key's text; a line that
    cannot be parsed, or reads like a piece of a secret; a damaged sealed value, or one whose key entry is missing.
    Neither a key nor a network is needed, except for --open.

    With --staged and --range it is about the project's .env files (files = in pyproject.toml), or FILE among them.

    What must be sealed, [tool.encenv] in pyproject.toml says. settings = "app.config:Settings": the fields whose
    types hold a secret must, those whose types cannot hold one need not. seal = ["*_KEY"] and plain = ["LOG_*"]: the
    others, by their names. Whatever these leave open must be sealed; without them, everything.

    \b
    Example:
      encenv check --staged
      encenv check --range origin/main..HEAD
      encenv check --open .env
    """
    if staged and revisions is not None:
        raise click.UsageError("--staged and --range exclude each other")
    projects = _Projects()
    if staged:
        texts = _staged(files, projects)
    elif revisions is not None:
        if revisions.startswith("-"):
            raise click.UsageError(f"--range: {revisions!r} is no range of commits")
        texts = _in_history(files, revisions, projects)
    else:
        texts = [_Text(place(path), path, None, partial(read_text, path)) for path in files or (".env",)]
    findings: dict[Finding, None] = {}
    for text in progress(texts, "checking"):
        found = sorted(_judged(text, projects, is_opening=is_opening), key=lambda one: one.line or 0)
        findings.update(dict.fromkeys(found))
    failures = [finding for finding in findings if not finding.is_warning]
    if as_json:
        answer = {"ok": not failures, "findings": [asdict(finding) for finding in findings]}
        write((json.dumps(answer, indent=2) + "\n").encode())
    else:
        write("".join(f"{_line(finding)}\n" for finding in findings).encode("utf-8", "backslashreplace"))
    if failures:
        raise _Failed(failures)
    if as_json:
        return
    what = {True: "staged "}.get(staged, "") + ("version" if revisions is not None else "file")
    say(f"{len(texts):,} {what}{'' if len(texts) == 1 else 's'} checked: nothing that must not be committed")


class _Failed(click.ClickException):
    """The gate is closed."""

    def __init__(self, failures: Sequence[Finding]) -> None:
        many = len(failures) != 1
        super().__init__(f"{len(failures):,} {'things have' if many else 'thing has'} to be mended")
        hints = dict.fromkeys(finding.hint for finding in failures)
        first, *others = hints
        self.hint = f"{first}; then see the rest: encenv check --json" if others else first


class _Projects:
    """The projects that the files belong to, each looked for and asked once."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, Project] = {}
        self._policies: dict[Path, Policy] = {}

    def of(self, path: str) -> Project:
        """Return the project of the file *path*; its folder may be gone since."""
        folder = Path() if path == "-" else Path(path).parent
        if folder not in self._by_folder:
            self._by_folder[folder] = project(folder)
        return self._by_folder[folder]

    def policy(self, path: str) -> Policy:
        """Return which variables of the file *path* must be sealed."""
        of = self.of(path)
        if of.folder not in self._policies:
            self._policies[of.folder] = of.policy()
        return self._policies[of.folder]

    def covers(self, path: str) -> bool:
        """Return whether *path* is a .env file of its project."""
        return self.of(path).covers(os.path.abspath(path))  # noqa: PTH100 (a link stays one)


def _staged(files: Sequence[str], projects: _Projects) -> list[_Text]:
    git.git(
        "rev-parse", "--git-dir"
    )  # outside of a repository git diff means something else, and complains of that
    return [
        _Text(printable(path), path, None, partial(_recorded_text, path, blob), is_staged=True)
        for path, blob in git.staged_files().items()
        if _is_meant(path, files, projects)
    ]


def _recorded_text(path: str, blob: str) -> str:
    return decode(git.content(blob), printable(path))


def _in_history(files: Sequence[str], revisions: str, projects: _Projects) -> list[_Text]:
    top = git.top_level()
    versions = [
        (os.path.relpath(top / version.path) if top else version.path, version)
        for version in git.history(revisions)
    ]
    return [
        _Text(printable(path), path, version.commit[:SHORT], partial(_recorded_text, path, version.blob))
        for path, version in versions
        if _is_meant(path, files, projects)
    ]


def _is_meant(path: str, files: Sequence[str], projects: _Projects) -> bool:
    if files:
        return _whole(path) in {_whole(file) for file in files}
    return projects.covers(path)


def _whole(path: str) -> Path:
    """Return *path* from the root: a link on the way to the file is followed, the file's own is not."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100 (a link stays one)
    return whole.parent.resolve() / whole.name


def _judged(text: _Text, projects: _Projects, *, is_opening: bool) -> Iterator[Finding]:
    """Yield what is to be said of one version of a file."""
    where = (text.shown, text.commit)
    try:
        source = text.read()
        found = survey(source)
    except EncenvError as error:
        if text.commit is None:
            raise
        yield Finding(*where, None, None, error.message, error.hint)  # an old version may be anything
        return
    path = f"./{text.path}" if text.path.startswith("-") and text.path != STANDARD_INPUT else text.path
    file = shlex.quote(path)
    seal = f"run: encenv encrypt {file}" + (f" && git add {file}" if text.is_staged else "")
    if text.commit is not None:
        seal = "encrypt the file and rewrite these commits; replace the secret if anyone else may have them"
    yield from _about_variables(where, found, projects.policy(text.path), seal)
    for remark in found.problems:
        yield Finding(*where, remark.line, None, remark.text, remark.hint)
    for line in found.private_keys:
        problem = "the text of a private key"
        yield Finding(*where, line, None, problem, "remove it, and make a new one if it was ever committed")
    for remark in found.warnings:
        yield Finding(*where, remark.line, None, remark.text, remark.hint, is_warning=True)
    if is_opening:
        yield from _unopened(where, source, found)


def _about_variables(
    where: tuple[str, str | None], found: Survey, policy: Policy, seal: str
) -> Iterator[Finding]:
    for variable in found.variables:
        at = (*where, variable.line, name_shown(variable.name))
        if variable.problem is not None:
            hint = "copy it again from where it was written, with its key entry, or set it anew"
            yield Finding(*at, variable.problem, hint)
        elif variable.state == "plain" and policy.requires(variable.name):
            yield Finding(*at, "plaintext that must be sealed", seal)
    for name, line in found.commented:
        if policy.requires(name):
            problem = "plaintext that must be sealed, in a comment"
            yield Finding(*where, line, name_shown(name), problem, "delete the comment, or its value")


def _unopened(where: tuple[str, str | None], source: str, found: Survey) -> Iterator[Finding]:
    """Yield the sealed values that do not open, and why. Those that are known to be unfit were named before."""
    bindings = parse(source).bindings
    for variable, failure in _failures(
        (binding.name or "", binding.value) for binding in bindings if binding.value is not None
    ):
        lines = [one.line for one in found.variables if one.name == variable and one.state == "sealed"]
        if not variable:
            yield Finding(*where, None, None, failure.message, failure.hint)
        elif lines:
            yield Finding(
                *where, lines[-1], name_shown(variable), f"does not open: {failure.message}", failure.hint
            )


def _failures(variables: Iterable[tuple[str, str | None]]) -> Iterator[tuple[str, EncenvError]]:
    load = Load({}, os.environ)
    kept = [(name, value) for name, value in variables if value is not None]
    load.add_entries(kept)
    sealed = [(name, value) for name, value in kept if claims(value) and entry_kid(name) is None]
    load.prepare(value for _, value in sealed)
    yield from (("", failure) for failure in load.failures)  # of the file as a whole
    for name, value in sealed:
        before = len(load.failures)
        load.decrypt(name, value)
        for failure in load.failures[before:]:
            yield name, failure


def _line(finding: Finding) -> str:
    place = f"{finding.file}:{finding.line}" if finding.line else finding.file
    commit = f"{finding.commit} " if finding.commit else ""
    name = f"{printable(finding.name)}: " if finding.name else ""
    warning = f"{painted('warning:', YELLOW)} " if finding.is_warning else ""
    return f"{commit}{painted(place, BOLD)}: {warning}{name}{printable(finding.problem)}"
