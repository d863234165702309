"""``encenv doctor``: what would keep encenv from working here, each with its remedy. Changes nothing."""

import importlib.metadata
import json
import os
import platform
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from encenv import __version__
from encenv.cli.files import place, read_text
from encenv.cli.options import FILE
from encenv.cli.options import as_json as json_option
from encenv.cli.terminal import painted, write
from encenv.errors import EncenvError, KeyRefusedError, KeyUnreachableError
from encenv.files.document import name_shown
from encenv.files.inspect import Survey, survey
from encenv.files.key_names import AWS_KMS, KeyName
from encenv.files.text import printable
from encenv.format.envelope import DataKey
from encenv.format.sealed import ADDED_BY_WRITER, LOCAL_KEY_NAME, KeyEntry, WrappedKey, encryption_context
from encenv.git import install as arming
from encenv.git import repository as git
from encenv.keys.aws.kms import replica_of
from encenv.keys.aws.probe import KmsProbe
from encenv.keys.provider import find_provider
from encenv.policy.project import Project, project, project_of
from encenv.policy.rules import Policy

USUAL = ".env"
LOCAL = "local"
UNWRAP_SECONDS = 10.0
SKEW_MAX = 300  # seconds: AWS refuses a signature that is older, or from the future
SKEW_ODD = 60
PROBLEMS_SHOWN = 5  # of one file
_PACKAGES = ("pydantic-settings", "python-dotenv", "cryptography", "boto3")
_STYLES = {"ok": "32", "warn": "33", "broken": "1;31", "skipped": "2"}

State = Literal["ok", "warn", "broken", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What was looked at, in a word or two.
        state: How it is: ``broken`` keeps something from working, ``warn`` should be known, ``skipped`` was not judged.
        message: What was found.
        remedy: What to do, if anything.
    """

    check: str
    state: State
    message: str
    remedy: str | None = None


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)
@click.option("--offline", is_flag=True, help="Ask AWS nothing.")
@json_option
def command(files: tuple[str, ...], offline: bool, as_json: bool) -> int:
    """Look at all that opening FILE (.env) needs, and say what is wrong and what to do.

    The settings in pyproject.toml, the files and their permissions, the local key, AWS credentials and whose they
    are, region and clock, the state of each wrapping key and whether it may be used (as a dry run, nothing is
    decrypted), and the git hooks and drivers. Nothing is changed, no value is shown. The exit code is 1 if something
    is broken.

    \b
    Example:
      encenv doctor
      encenv doctor .env.prod --json
    """
    findings = list(_findings(files, offline=offline))
    broken = sum(finding.state == "broken" for finding in findings)
    if as_json:
        text = json.dumps({"broken": broken, "findings": [asdict(one) for one in findings]}, indent=2) + "\n"
    else:
        text = "".join(f"{line}\n" for line in _lines(findings))
    write(text.encode("utf-8", "backslashreplace"))
    return 1 if broken else 0


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    width = max(len(one.check) for one in findings)
    for one in findings:
        yield f"{painted(f'{one.state:<7}', _STYLES[one.state])}  {one.check:<{width}}  {printable(one.message)}"
        if one.remedy is not None and one.state != "ok":
            yield f"{'':7}  {'':{width}}  -> {printable(one.remedy)}"


def _findings(files: tuple[str, ...], *, offline: bool) -> Iterator[Finding]:
    versions = [f"Python {platform.python_version()}", *map(_version, _PACKAGES)]
    yield Finding("versions", "ok", f"encenv {__version__} on {', '.join(versions)}")
    try:
        of = project_of(files[0]) if files else project()
        keys = of.keys
    except EncenvError as error:
        yield _failed("settings", error)
        of, keys = Project(), ()
    else:
        yield _settings(of)
    requires = Policy.every().requires
    try:
        requires = of.policy().requires
    except EncenvError as error:
        yield _failed("settings", error)
    entries: dict[str, KeyEntry] = {}
    for path in files or ((USUAL,) if os.path.lexists(USUAL) else ()):
        yield from _file(path, requires, entries)
    if not files and not os.path.lexists(USUAL):
        yield Finding(
            "files", "skipped", f"there is no {USUAL} in this folder", "name one: encenv doctor FILE"
        )
    if os.environ.get(LOCAL_KEY_NAME):
        yield Finding("local key", "ok", f"{LOCAL_KEY_NAME} is set, and is used instead of any key file")
    yield from _local(keys)
    yield from _aws(entries, keys, of, offline=offline)
    yield from _git(of)


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} (its version is not known)"


def _failed(check: str, error: EncenvError, state: State = "broken") -> Finding:
    return Finding(check, state, " ".join(error.message.split()), error.hint)


def _settings(of: Project) -> Finding:
    if of.path is None:
        return Finding(
            "settings",
            "ok",
            "no [tool.encenv]: each file's own wrapping keys, and every value must be sealed",
        )
    return Finding("settings", "ok", of.where)


# Files


def _file(path: str, requires: Callable[[str], bool], entries: dict[str, KeyEntry]) -> Iterator[Finding]:
    where = place(path)
    try:
        found = survey(read_text(path))
    except EncenvError as error:
        yield _failed(where, error)
        return
    used = {variable.kid for variable in found.variables}
    entries.update((entry.kid, entry) for entry in found.entries if entry.kid in used)
    bad = [(one.line, one.text, one.hint) for one in found.problems]
    bad += [
        (
            one.line,
            f"{name_shown(one.name)}: {one.problem}",
            "restore its line, or that of its key entry, from version control",
        )
        for one in found.variables
        if one.problem
    ]
    for line, text, hint in sorted(bad)[:PROBLEMS_SHOWN]:
        yield Finding(where, "broken", f"line {line}: {text}", hint)
    if len(bad) > PROBLEMS_SHOWN:
        yield Finding(
            where, "broken", f"{len(bad) - PROBLEMS_SHOWN} more", f"see them all: encenv check {where}"
        )
    yield _contents(where, found, requires)
    if path != "-":
        yield from _mode(path, found)


def _contents(where: str, found: Survey, requires: Callable[[str], bool]) -> Finding:
    sealed = sum(one.state == "sealed" for one in found.variables)
    plain = [name_shown(one.name) for one in found.variables if one.state == "plain" and requires(one.name)]
    if plain:
        names = ", ".join(printable(name) for name in plain[:PROBLEMS_SHOWN]) + (
            ", …" if len(plain) > PROBLEMS_SHOWN else ""
        )
        remedy = f"run: encenv encrypt {shlex.quote(where)}"
        return Finding(where, "warn", f"{len(plain)} must be sealed and are plaintext: {names}", remedy)
    return Finding(where, "ok", f"{sealed} sealed of {len(found.variables)} variables")


def _mode(path: str, found: Survey) -> Iterator[Finding]:
    if os.name != "posix":  # the permission bits say nothing there
        return
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except OSError:
        return
    where, remedy = place(path), f"run: chmod {{}} {shlex.quote(path)}"
    if mode & stat.S_IWOTH:
        yield Finding(where, "broken", f"everybody can write it (mode {mode:o})", remedy.format("go-w"))
    has_plain = any(one.state == "plain" for one in found.variables)
    if has_plain and mode & (stat.S_IRGRP | stat.S_IROTH):
        yield Finding(where, "warn", f"others can read its plaintext (mode {mode:o})", remedy.format("600"))


# Wrapping keys


def _local(keys: Sequence[KeyName]) -> Iterator[Finding]:
    """Judge the local keys that the settings name, for those who encrypt."""
    for key in keys:
        if key.provider == LOCAL:
            try:
                item = find_provider(LOCAL, os.environ).generate(key.key, encryption_context(()))[1]
            except EncenvError as error:
                yield _failed("local key", error)
            else:
                yield Finding("local key", "ok", f"{item.reference} is here")


def _aws(
    entries: dict[str, KeyEntry], keys: Sequence[KeyName], of: Project, *, offline: bool
) -> Iterator[Finding]:
    named = [key.key for key in keys if key.provider == AWS_KMS]
    items = [item for entry in entries.values() for item in entry.items if item.provider == AWS_KMS]
    probe = None
    if not named and not items:
        yield Finding("AWS", "skipped", "no AWS KMS key is named: nothing was asked")
    elif offline:
        yield Finding(
            "AWS", "skipped", "not asked, because of --offline: credentials, clock and keys are not judged"
        )
    else:
        probe = KmsProbe()
        finding = _credentials(probe)
        yield finding
        yield _region(probe, named)
        if finding.state == "broken":
            yield Finding("AWS", "skipped", "not asked without credentials: clock and keys are not judged")
            probe = None
    for entry in entries.values():
        yield from _data_key(entry, probe)
    if probe is not None:
        for key in named:
            yield from _writing(key, of, probe)
        yield from _clock(probe)


def _credentials(probe: KmsProbe) -> Finding:
    try:
        source = probe.credentials()
    except EncenvError as error:
        return _failed("credentials", error)
    who = probe.identity()
    return Finding("credentials", "ok", f"found, by {source}" + (f"; they are {who}" if who else ""))


def _region(probe: KmsProbe, named: Sequence[str]) -> Finding:
    region = probe.region()
    if region is not None:
        return Finding("region", "ok", region)
    needs = any(key.startswith("alias/") for key in named)
    return Finding(
        "region",
        "broken" if needs else "ok",
        "none is set" + (", and an alias is looked up in one" if needs else "; full ARNs need none"),
        "set AWS_REGION",
    )


def _data_key(entry: KeyEntry, probe: KmsProbe | None) -> Iterator[Finding]:
    """Judge whether one of the copies of a data key can be unwrapped here; one is enough."""
    results: list[Finding] = []
    for item in entry.items:
        results += _copy(item, entry, probe)
    opens = any(one.state == "ok" for one in results)
    for one in results:
        if one.state == "broken" and opens:
            yield Finding(
                one.check, "warn", f"{one.message}; another wrapping key of the file opens it", one.remedy
            )
        else:
            yield one


def _copy(item: WrappedKey, entry: KeyEntry, probe: KmsProbe | None) -> list[Finding]:
    check = f"data key {entry.kid}"
    context = encryption_context(entry.context)
    if item.provider == AWS_KMS:
        return [] if probe is None else _kms_copy(item, context, probe, check)
    try:
        provider = find_provider(item.provider, os.environ)
        if item.provider != LOCAL:  # what a plug-in does, nobody knows
            return [Finding(check, "skipped", f"{item.provider} is there; it was not asked")]
        if not DataKey(provider.unwrap(item, context, UNWRAP_SECONDS)).matches(entry.commitment):
            return [
                Finding(
                    check,
                    "broken",
                    f"{LOCAL}:{item.reference} gives another data key",
                    "restore the key entry from version control",
                )
            ]
    except EncenvError as error:
        return [_failed(check, error)]
    return [Finding(check, "ok", f"{LOCAL}:{item.reference} opens it")]


def _kms_copy(item: WrappedKey, context: dict[str, str], probe: KmsProbe, check: str) -> list[Finding]:
    found = []
    closer = replica_of(item.reference, probe.region())
    if closer is not None:
        replica = WrappedKey(item.provider, item.wrapped, closer)
        try:
            probe.may_unwrap(replica, context)
        except EncenvError as error:
            found.append(Finding(check, "warn", f"its replica does not open it: {error.message}", error.hint))
        else:
            found.append(Finding(check, "ok", f"{closer} opens it (dry run)"))
    try:
        probe.may_unwrap(item, context)
    except EncenvError as error:
        # The state says more than a refusal: nobody can use a key that is disabled or about to be deleted.
        found.append(_key_state(item.reference, probe) or _failed(check, error))
    else:
        found.append(Finding(check, "ok", f"{item.reference} opens it (dry run)"))
    return found


def _key_state(key: str, probe: KmsProbe) -> Finding | None:
    """Return what is wrong with the state of *key*; None if nothing is, or it may not be asked: few roles may."""
    try:
        state = probe.state(key)
    except EncenvError:
        return None
    remedies = {
        "Disabled": "enable it in AWS KMS",
        "PendingDeletion": "cancel its deletion in AWS KMS, now",
        "PendingReplicaDeletion": "cancel its deletion in AWS KMS, now",
        "PendingImport": "import its key material in AWS KMS",
        "Unavailable": "connect its custom key store in AWS KMS",
    }
    if state in remedies:
        return Finding("AWS KMS key", "broken", f"{key} is in the state {state}", remedies[state])
    return None


def _writing(key: str, of: Project, probe: KmsProbe) -> Iterator[Finding]:
    """Judge whether values can be added under *key*, which the settings name."""
    context = of.context or ()
    try:
        probe.may_generate(key, encryption_context(context))
    except KeyRefusedError as error:
        failure: EncenvError = error
    except KeyUnreachableError as error:
        yield _failed("encrypting", error)
        return
    else:
        yield Finding("encrypting", "ok", f"under {printable(key)} is permitted (dry run)")
        return
    try:
        probe.may_generate(key, encryption_context((*context, ADDED_BY_WRITER)))
    except EncenvError:
        yield _key_state(key, probe) or _failed("encrypting", failure, "warn")
    else:
        yield Finding("encrypting", "ok", f"under {printable(key)} is permitted to a contributor (dry run)")


def _clock(probe: KmsProbe) -> Iterator[Finding]:
    skew = probe.skew
    if skew is None:
        yield Finding("clock", "skipped", "AWS gave no answer to compare it with")
        return
    state: State = "broken" if abs(skew) > SKEW_MAX else "warn" if abs(skew) > SKEW_ODD else "ok"
    said = (
        "as AWS's"
        if state == "ok"
        else f"{abs(skew):,.0f} seconds {'ahead of' if skew > 0 else 'behind'} AWS's"
    )
    yield Finding("clock", state, said, "set this machine's clock, for example by NTP")


def _git(of: Project) -> Iterator[Finding]:
    if not git.is_repository():
        yield Finding("git", "skipped", "this folder is in no git repository")
        return
    try:
        for part in arming.findings(of.files):
            said = f"{part.what}: {'in place' if part.is_armed else 'not in place'}"
            yield Finding("git", "ok" if part.is_armed else "warn", said, part.hint)
    except EncenvError as error:
        yield _failed("git", error)
