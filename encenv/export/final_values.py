"""The variables of a .env file as another place gets them: final, for nothing there expands ``${NAME}``.

Sealed ones stay sealed. One whose text refers to others is expanded and encrypted anew; a plain one that refers to a
sealed one is encrypted as well. No plaintext of a sealed value is in what is returned, unless it was asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from encenv.errors import (
    ConflictError,
    EncenvError,
    FileError,
    KeyEntryError,
    KeyRefusedError,
    KeyUnreachableError,
    PolicyError,
    combine,
    frameless,
)
from encenv.files.data_key_choice import Writer
from encenv.files.document import parse
from encenv.files.lines import judge
from encenv.format.sealed import ENTRY_PREFIX, KeyEntry, SealedValue, claims, embeds
from encenv.keys.entries import KeyEntries, merge
from encenv.keys.session import Session
from encenv.load.dotenv import LoadedFile

Wanted = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Portable:
    """The variables of a file, each with its final value.

    Attributes:
        values: By name, in the file's order; a key entry stands before the first value that needs it.
        secret: The names whose values are secrets in plaintext.
        renewed: The names whose values were expanded and encrypted anew.
        unopened: The names of sealed values that nobody looked into.
        unexpanded: The names of values that still refer to others.
    """

    values: dict[str, str] = field(repr=False)
    secret: frozenset[str] = frozenset()
    renewed: tuple[str, ...] = ()
    unopened: tuple[str, ...] = ()
    unexpanded: tuple[str, ...] = ()


class _Source:
    """A file within one load."""

    def __init__(self, text: str, where: str, environ: Mapping[str, str], wanted: Wanted) -> None:
        self.where = where
        self.session = Session(environ, entries=KeyEntries(where=where))
        self.file = LoadedFile(self.session, text, where)
        self.session.entries.add(environ.items())
        self.text = text
        self.raw = {name: raw for name, raw in self.file.raw_items() if raw is not None and wanted(name)}

    def reaches_sealed(self, name: str) -> bool:
        """Return whether the value of *name* is sealed or refers to one that is."""
        return not self.file.is_plain(name)


@frameless
def plain_variables(
    text: str, where: str, environ: Mapping[str, str], wanted: Wanted, requires: Wanted
) -> Portable:
    """Return the variables of the .env file *text* in plaintext, without the key entries.

    Args:
        text: The file's text.
        where: What to call the file in messages.
        environ: The process environment.
        wanted: Which names.
        requires: Which names have to be sealed; their values are secrets also where they are not.

    Raises:
        EncenvError: If a value cannot be decrypted.
    """
    source = _Source(text, where, environ, wanted)
    source.session.prepare(source.file.sealed_texts(source.raw))
    values = {name: source.file.value(name) or "" for name in source.raw}
    failure = source.session.failure()
    if failure is not None:
        raise failure
    secret = frozenset(name for name in values if requires(name) or source.reaches_sealed(name))
    return Portable(values, secret=secret)


@frameless
def sealed_variables(text: str, where: str, writer: Writer, wanted: Wanted, requires: Wanted) -> Portable:
    """Return the variables of the .env file *text* with the sealed ones sealed.

    Args:
        text: The file's text.
        where: What to call the file in messages.
        writer: Who encrypts what has to be encrypted anew.
        wanted: Which names.
        requires: Which names have to be sealed.

    Raises:
        EncenvError: If a value has to be sealed and is not, or cannot be decrypted: without that nobody knows
            whether it refers to others.
    """
    source = _Source(text, where, writer.environ, wanted)
    _refuse_plain(source, requires)
    source.session.prepare(source.file.sealed_texts(source.raw))
    values: dict[str, str] = {}
    anew: dict[str, str] = {}
    for name, raw in source.raw.items():
        final = source.file.value(name) or ""
        if claims(raw) and source.session.decrypt(name, raw) == final:
            values[name] = raw
        elif source.reaches_sealed(name):
            values[name], anew[name] = "", final
        else:
            values[name] = final
    failure = source.session.failure()
    if failure is not None:
        raise failure
    entries = source.session.entries
    if anew:
        values |= _sealed_anew(source, writer, anew, entries)
    return Portable(_with_entries(values, entries, where), renewed=tuple(anew))


@frameless
def unopened_variables(
    text: str, where: str, environ: Mapping[str, str], wanted: Wanted, requires: Wanted
) -> Portable:
    """Return the variables of the .env file *text* with the sealed ones as they stand; no key is needed.

    Raises:
        EncenvError: If a value has to be sealed and is not, or a key entry is missing.
    """
    source = _Source(text, where, environ, wanted)
    _refuse_plain(source, requires)
    values: dict[str, str] = {}
    unexpanded = []
    for name, raw in source.raw.items():
        if claims(raw):
            SealedValue.parse(raw)
            values[name] = raw
        elif source.reaches_sealed(name):
            if embeds(raw):
                source.session.decrypt(name, raw)  # which notes that this is an error
            values[name] = raw
            unexpanded.append(name)
        else:
            values[name] = source.file.value(name) or ""
    failure = source.session.failure()
    if failure is not None:
        raise failure
    unopened = tuple(name for name, value in values.items() if claims(value))
    return Portable(
        _with_entries(values, source.session.entries, where), unopened=unopened, unexpanded=tuple(unexpanded)
    )


def without_key(failure: EncenvError) -> bool:
    """Return whether *failure* says nothing but that no key could be had."""
    return all(
        isinstance(one, (KeyEntryError, KeyRefusedError, KeyUnreachableError)) for one in failure.failures
    )


def _refuse_plain(source: _Source, requires: Wanted) -> None:
    plain = [
        name
        for name, raw in source.raw.items()
        if not claims(raw) and not source.reaches_sealed(name) and requires(name)
    ]
    if plain:
        what = PolicyError(
            "not encrypted, and has to be",
            hint='run: encenv encrypt; or, in [tool.encenv], name what need not be: plain = ["DEBUG"];'
            " --plaintext exports plaintext",
            variables=plain,
        )
        raise combine([what], whole="the file", done="exported")


def _sealed_anew(
    source: _Source, writer: Writer, texts: Mapping[str, str], entries: KeyEntries
) -> dict[str, str]:
    """Return *texts* encrypted under the file's data key, or a new one, whose entry is added to *entries*."""
    data_key, entry, is_new = judge(parse(source.text), source.where).data_key(writer)
    if is_new:
        entries.add([(entry.name, str(entry))])
    done: dict[str, str] = {}
    failures: list[EncenvError] = []
    for name, text in texts.items():
        try:
            done[name] = data_key.encrypt(name, text)
            proven = data_key.decrypt(name, SealedValue.parse(done[name])) == text
        except EncenvError as error:
            failures.append(error.of(name))
        else:
            if not proven:
                failures.append(FileError("it would not open again", hint="report this", variables=[name]))
    if failures:
        raise combine(failures, whole="the file", done="exported")
    return done


def _with_entries(values: Mapping[str, str], entries: KeyEntries, where: str) -> dict[str, str]:
    """Return *values* with each key entry that they need before the first value that needs it."""
    whole: dict[str, str] = {}
    failures: list[EncenvError] = []
    for name, value in values.items():
        if claims(value):
            try:
                entry = _one_entry(SealedValue.parse(value).kid, entries, where)
            except EncenvError as error:
                failures.append(error.of(name))
            else:
                whole.setdefault(entry.name, str(entry))
        whole[name] = value
    if failures:
        raise combine(failures, whole="the file", done="exported")
    return whole


def _one_entry(kid: str, entries: KeyEntries, where: str) -> KeyEntry:
    """Return one key entry with all wrapped keys of *kid*: elsewhere, there is only one variable of a name."""
    entry = merge(entries.of(kid))
    if entry is None:
        raise ConflictError(
            f"the key entries {ENTRY_PREFIX}{kid} cannot be merged into one variable",
            hint=f"give {where} one data key: encenv rotate {where}",
        )
    return KeyEntry.parse(kid, str(entry))
