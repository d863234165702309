"""The variables of a .env file as another place gets them: final, for nothing there expands ``${NAME}``.

Sealed ones stay sealed. One whose text refers to others is expanded and encrypted anew; a plain one that refers to a
sealed one is encrypted as well. No plaintext of a sealed value is in what is returned, unless it was asked for.
"""

from collections.abc import Callable, Iterable, Mapping
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
)
from encenv.files.data_key_choice import Writer, data_key_for
from encenv.files.document import parse
from encenv.files.lines import judge
from encenv.format.sealed import ENTRY_PREFIX, KeyEntry, SealedValue, claims, embeds, entry_kid
from encenv.load.dotenv import LoadedFile
from encenv.load.environ import Load, frameless

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
        self.environ = environ
        self.load = Load({}, environ)
        self.file = LoadedFile(self.load, text, where)
        self.load.add_entries(environ.items())
        self.text = text
        self.raw = {name: raw for name, raw in self.file.raw_items() if raw is not None and wanted(name)}

    def reaches_sealed(self, name: str) -> bool:
        """Return whether the value of *name* is sealed or refers to one that is."""
        return not self.file.is_plain(name)

    def entries(self) -> dict[str, list[KeyEntry]]:
        """Return the key entries of the data keys that values name, those of the file before those of the process."""
        kids = {SealedValue.parse(raw).kid for raw in self.raw.values() if claims(raw)}
        lines = ((binding.name or "", binding.value) for binding in parse(self.text).bindings)
        found: dict[str, list[KeyEntry]] = {}
        for name, value in (*lines, *self.environ.items()):
            kid = entry_kid(name)
            if kid in kids and value is not None:
                entry = KeyEntry.parse(kid, value)
                if entry not in found.setdefault(kid, []):
                    found[kid].append(entry)
        return found


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
    source.load.prepare(source.file.sealed_texts(source.raw))
    values = {name: source.file.value(name) or "" for name in source.raw}
    failure = source.load.finish()
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
    source.load.prepare(source.file.sealed_texts(source.raw))
    values: dict[str, str] = {}
    anew: dict[str, str] = {}
    for name, raw in source.raw.items():
        final = source.file.value(name) or ""
        if claims(raw) and source.load.decrypt(name, raw) == final:
            values[name] = raw
        elif source.reaches_sealed(name):
            values[name], anew[name] = "", final
        else:
            values[name] = final
    failure = source.load.finish()
    if failure is not None:
        raise failure
    entries = source.entries()
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
                source.load.decrypt(name, raw)  # which notes that this is an error
            values[name] = raw
            unexpanded.append(name)
        else:
            values[name] = source.file.value(name) or ""
    failure = source.load.finish()
    if failure is not None:
        raise failure
    unopened = tuple(name for name, value in values.items() if claims(value))
    return Portable(
        _with_entries(values, source.entries(), where), unopened=unopened, unexpanded=tuple(unexpanded)
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
    source: _Source, writer: Writer, texts: Mapping[str, str], entries: dict[str, list[KeyEntry]]
) -> dict[str, str]:
    """Return *texts* encrypted under the file's data key, or a new one, whose entry is added to *entries*."""
    known = judge(parse(source.text), source.where).keys.values()
    data_key, entry, is_new = data_key_for(writer, [*known], source.where)
    if is_new or entry.kid not in entries:
        entries[entry.kid] = [entry]
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


def _with_entries(
    values: Mapping[str, str], entries: Mapping[str, list[KeyEntry]], where: str
) -> dict[str, str]:
    """Return *values* with each key entry that they need before the first value that needs it."""
    whole: dict[str, str] = {}
    failures: list[EncenvError] = []
    for name, value in values.items():
        if claims(value):
            kid = SealedValue.parse(value).kid
            try:
                entry = _joined(kid, entries.get(kid, ()), where)
            except EncenvError as error:
                failures.append(error.of(name))
            else:
                whole.setdefault(entry.name, str(entry))
        whole[name] = value
    if failures:
        raise combine(failures, whole="the file", done="exported")
    return whole


def _joined(kid: str, entries: Iterable[KeyEntry], where: str) -> KeyEntry:
    """Return one entry that says what all *entries* do: elsewhere a variable stands only once."""
    entries = list(entries)
    if not entries:
        raise KeyEntryError(
            f"there is no key entry {ENTRY_PREFIX}{kid} in {where}",
            hint="add its line as well: it stands where the value was copied from",
        )
    if len({(entry.commitment, tuple(sorted(entry.context))) for entry in entries}) > 1:
        raise ConflictError(
            f"several key entries {ENTRY_PREFIX}{kid} cannot be joined into one variable",
            hint=f"give {where} one data key: encenv rotate {where}",
        )
    items = {(item.provider, item.reference): item for entry in entries for item in entry.items}
    return KeyEntry.parse(
        kid, str(KeyEntry(entries[0].commitment, entries[0].context, tuple(items.values())))
    )
