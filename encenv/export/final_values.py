"""The final values of a .env file's variables, for a place that does not expand ``${NAME}``.

Encrypted values stay encrypted. An encrypted value that refers to others is expanded and encrypted again, and so is a
plain value that refers to an encrypted one. No plaintext of an encrypted value is returned, unless it is asked for.

In all functions *text* is the file's, messages call the file *where*, *writer* encrypts, *selects* accepts the names to
take, and *requires* the names that the policy wants encrypted. One EncenvError reports all values that cannot be
decrypted or, unless plaintext is asked for, that must be encrypted and are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from encenv.errors import (
    ConflictError,
    EncenvError,
    FileError,
    KeyEntryError,
    KeyRefusedError,
    KeyUnreachableError,
    PolicyError,
    frameless,
)
from encenv.files.data_key_choice import choose_data_key
from encenv.files.disk import shell_argument
from encenv.files.document import parse
from encenv.files.lines import NameTest, classify
from encenv.files.writer import Writer
from encenv.format.sealed import ENTRY_PREFIX, KeyEntry, SealedValue, claims
from encenv.keys.entries import KeyEntries, merge
from encenv.keys.session import Session
from encenv.load.dotenv import LoadedFile


@dataclass(frozen=True, slots=True)
class FinalValues:
    """The variables of a file in its order, each with its final value, and the names of some of them.

    A key entry comes before the first value that needs it.
    """

    values: dict[str, str] = field(repr=False)
    secret: frozenset[str] = frozenset()  # their values are secrets in plaintext
    encrypted_again: tuple[str, ...] = ()  # their values were expanded and encrypted again
    # Their values are encrypted and may refer to others: nobody decrypted them.
    undecrypted: tuple[str, ...] = ()
    unexpanded: tuple[str, ...] = ()  # their values still refer to others


@frameless
def plaintext_values(
    text: str, where: str, writer: Writer, selects: NameTest, requires: NameTest
) -> FinalValues:
    """Return the variables in plaintext, without key entries; those that must be encrypted are secrets in any case."""
    source = _Source(text, where, writer.environ, selects)
    source.session.prepare(source.file.sealed_texts(source.raw))
    values = {name: source.file.value(name) or "" for name in source.raw}
    source.raise_failures()
    secret = (name for name in values if requires(name) or not source.file.is_plain(name))
    return FinalValues(values, frozenset(secret))


@frameless
def encrypted_values(
    text: str, where: str, writer: Writer, selects: NameTest, requires: NameTest
) -> FinalValues:
    """Return the variables; encrypted values stay encrypted, and are decrypted to see whether they refer to others."""
    source = _Source(text, where, writer.environ, selects)
    source.refuse_plaintext(requires)
    source.session.prepare(source.file.sealed_texts(source.raw))
    values = dict(source.raw)
    expansions: dict[str, str] = {}
    for name, raw in source.raw.items():
        final = source.file.value(name) or ""
        if source.file.is_plain(name):
            values[name] = final
        elif not claims(raw) or source.session.decrypt(name, raw) != final:
            expansions[name] = final
    source.raise_failures()
    if expansions:
        values |= _encrypt(expansions, source, writer)
    return FinalValues(_with_entries(values, source), encrypted_again=tuple(expansions))


@frameless
def raw_values(text: str, where: str, writer: Writer, selects: NameTest, requires: NameTest) -> FinalValues:
    """Return the variables without a key: encrypted values, and those that refer to them, as the file has them."""
    source = _Source(text, where, writer.environ, selects)
    source.refuse_plaintext(requires)
    values = dict(source.raw)
    unexpanded = []
    for name, raw in source.raw.items():
        if source.file.is_plain(name):
            values[name] = source.file.value(name) or ""
        elif not claims(raw):
            unexpanded.append(name)
            source.session.decrypt(name, raw)  # fails if an encrypted value is only a part of it
    source.raise_failures()
    undecrypted = tuple(name for name, value in values.items() if claims(value))
    return FinalValues(_with_entries(values, source), undecrypted=undecrypted, unexpanded=tuple(unexpanded))


def needs_a_key(failure: EncenvError) -> bool:
    """Return whether *failure* is only that there is no key."""
    kinds = (KeyEntryError, KeyRefusedError, KeyUnreachableError)
    return all(isinstance(one, kinds) for one in failure.failures)


class _Source:
    """The chosen variables of a file, within one session."""

    def __init__(self, text: str, where: str, environ: Mapping[str, str], selects: NameTest) -> None:
        self.text = text
        self.where = where
        self.session = Session(environ, entries=KeyEntries(where=where))
        self.file = LoadedFile(self.session, text, where)
        self.session.entries.add(environ.items())
        raws = ((name, self.file.raw(name)) for name in self.file.last)
        self.raw = {name: raw for name, raw in raws if raw is not None and selects(name)}

    def refuse_plaintext(self, requires: NameTest) -> None:
        """Raise if a value is plaintext that *requires* to be encrypted."""
        error = PolicyError(
            "not encrypted, but must be",
            hint=f"run: encenv encrypt {shell_argument(self.where)}; or name in [tool.encenv] what may stay"
            ' plaintext: plain = ["DEBUG"]; --plaintext exports plaintext',
        )
        for name in self.raw:
            if self.file.is_plain(name) and requires(name):
                self.session.fail(name, error)
        self.raise_failures()

    def raise_failures(self) -> None:
        """Raise what went wrong in this session, if anything did."""
        self.session.raise_failures(whole="the file", done="exported")


def _encrypt(texts: Mapping[str, str], source: _Source, writer: Writer) -> dict[str, str]:
    """Return *texts* encrypted under the file's data key; if that is new, add its entry to those of the session."""
    lines = classify(parse(source.text), source.where)
    data_key, entry, is_new = choose_data_key(lines, writer)
    if is_new:
        source.session.entries.add([(entry.name, str(entry))])
    values: dict[str, str] = {}
    for name, text in texts.items():
        try:
            values[name] = data_key.encrypt(name, text)
            if data_key.decrypt_text(name, values[name]) != text:
                source.session.fail(
                    name, FileError("it could not be decrypted again", hint="report this bug")
                )
        except EncenvError as error:
            source.session.fail(name, error)
    source.raise_failures()
    return values


def _with_entries(values: Mapping[str, str], source: _Source) -> dict[str, str]:
    """Return *values* with each key entry before the first value that needs it.

    All key entries of a data key become one: elsewhere, there is only one variable of a name.
    """
    result: dict[str, str] = {}
    for name, value in values.items():
        if claims(value):
            try:
                kid = SealedValue.parse(value).kid
                entry = merge(source.session.entries.of(kid))
                if entry is None:
                    raise ConflictError(
                        f"the key entries {ENTRY_PREFIX}{kid} cannot be merged into one variable",
                        hint=f"put all values under one key entry: encenv rotate {shell_argument(source.where)}",
                    )
                # Parsed, so that an entry outside the format is never exported.
                result.setdefault(entry.name, str(KeyEntry.parse(kid, str(entry))))
            except EncenvError as error:
                source.session.fail(name, error)
        result[name] = value
    source.raise_failures()
    return result
