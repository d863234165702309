"""The final values of a .env file's variables, for a place that does not expand ``${NAME}``.

Encrypted values stay encrypted. An encrypted value that refers to others is expanded and encrypted again, and so is a
plain value that refers to an encrypted one. No plaintext of an encrypted value is returned, unless it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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

# encrypted  encrypted values stay encrypted, and are decrypted to see whether they refer to others
# plaintext  without key entries; values that must be encrypted are secrets in any case
# as-is      without a key: encrypted values, and those that refer to them, as the file has them
Form = Literal["encrypted", "plaintext", "as-is"]


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
def final_values(  # noqa: PLR0913, PLR0917 (what the command knows, handed on in one call)
    text: str, where: str, writer: Writer, selects: NameTest, requires: NameTest, form: Form
) -> FinalValues:
    """Return the variables of the file *text*, which messages call *where*, in *form*.

    *writer* encrypts, *selects* accepts the names to take, and *requires* those that the policy wants encrypted.

    Raises:
        EncenvError: It reports all values that cannot be decrypted or, unless plaintext is asked for, that must be
            encrypted and are not.
    """
    source = _Source(text, where, writer, selects)
    if form == "plaintext":
        values = source.decrypt()
        return FinalValues(
            values, frozenset(one for one in values if requires(one) or one not in source.plain)
        )
    source.refuse_plaintext(requires)
    return source.encrypted() if form == "encrypted" else source.as_is()


def needs_a_key(failure: EncenvError) -> bool:
    """Return whether *failure* is only that there is no key."""
    kinds = (KeyEntryError, KeyRefusedError, KeyUnreachableError)
    return all(isinstance(one, kinds) for one in failure.failures)


class _Source:
    """The chosen variables of a file, within one session."""

    def __init__(self, text: str, where: str, writer: Writer, selects: NameTest) -> None:
        self._text, self._where, self._writer = text, where, writer
        self._session = Session(writer.environ, entries=KeyEntries(where=where))
        self._file = LoadedFile(self._session, text, where)
        self._session.entries.add(writer.environ.items())
        raws = ((name, self._file.raw(name)) for name in self._file.last)
        self._raw = {name: raw for name, raw in raws if raw is not None and selects(name)}
        # The final values that are not encrypted and do not refer to encrypted ones.
        self.plain = {name: self._file.value(name) or "" for name in self._raw if self._file.is_plain(name)}

    def refuse_plaintext(self, requires: NameTest) -> None:
        """Raise if a value is plaintext that *requires* to be encrypted."""
        error = PolicyError(
            "not encrypted, but must be",
            hint=f"run: encenv encrypt {shell_argument(self._where)}; or name in [tool.encenv] what may stay"
            ' plaintext: plain = ["DEBUG"]; --plaintext exports plaintext',
        )
        for name in filter(requires, self.plain):
            self._session.fail(name, error)
        self._raise_failures()

    def decrypt(self) -> dict[str, str]:
        """Return all final values in plaintext."""
        self._session.prepare(self._file.sealed_texts(self._raw))
        values = {name: self._file.value(name) or "" for name in self._raw}
        self._raise_failures()
        return values

    def encrypted(self) -> FinalValues:
        """Return the values that are not plain as they are, or expanded and encrypted again if they refer to others."""
        expansions = {
            name: final
            for name, final in self.decrypt().items()
            if name not in self.plain
            and not (claims(self._raw[name]) and self._session.decrypt(name, self._raw[name]) == final)
        }
        values = self._raw | self.plain
        if expansions:
            values |= self._encrypt(expansions)
        return FinalValues(self._with_entries(values), encrypted_again=tuple(expansions))

    def as_is(self) -> FinalValues:
        """Return the values that are not plain as they are."""
        values = self._raw | self.plain
        undecrypted = tuple(name for name, value in values.items() if claims(value))
        unexpanded = tuple(name for name in values if name not in self.plain and not claims(values[name]))
        for name in unexpanded:
            self._session.decrypt(name, values[name])  # fails if an encrypted value is only a part of it
        self._raise_failures()
        return FinalValues(self._with_entries(values), undecrypted=undecrypted, unexpanded=unexpanded)

    def _raise_failures(self) -> None:
        self._session.raise_failures(whole="the file", done="exported")

    def _encrypt(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Return *texts* encrypted under the file's data key; if that is new, add its entry to those of the session."""
        lines = classify(parse(self._text), self._where)
        data_key, entry, is_new = choose_data_key(lines, self._writer)
        if is_new:
            self._session.entries.add([(entry.name, str(entry))])
        values: dict[str, str] = {}
        for name, text in texts.items():
            try:
                values[name] = data_key.encrypt(name, text)
                if data_key.decrypt_text(name, values[name]) != text:
                    raise FileError("it could not be decrypted again", hint="report this bug")
            except EncenvError as error:
                self._session.fail(name, error)
        self._raise_failures()
        return values

    def _with_entries(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return *values* with each key entry before the first value that needs it.

        All key entries of a data key become one: elsewhere, there is only one variable of a name.
        """
        result: dict[str, str] = {}
        for name, value in values.items():
            if claims(value):
                try:
                    kid = SealedValue.parse(value).kid
                    entry = merge(self._session.entries.of(kid))
                    if entry is None:
                        file = shell_argument(self._where)
                        raise ConflictError(
                            f"the key entries {ENTRY_PREFIX}{kid} cannot be merged into one variable",
                            hint=f"put all values under one key entry: encenv rotate {file}",
                        )
                    # Parsed, so that an entry outside the format is never exported.
                    result.setdefault(entry.name, str(KeyEntry.parse(kid, str(entry))))
                except EncenvError as error:
                    self._session.fail(name, error)
            result[name] = value
        self._raise_failures()
        return result
