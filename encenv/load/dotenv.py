"""Load encrypted ``.env`` files with python-dotenv's two functions: same signatures, same results as for a plain one."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from encenv.errors import FileError, MalformedError, combine, frameless
from encenv.files.disk import StrPath, is_file_or_fifo, read_text
from encenv.files.document import EnvFile, parse, parse_untranslated
from encenv.files.expand import Expansion
from encenv.format.sealed import ENTRY_PREFIX, LOCAL_KEY_NAME, claims, embeds, entry_kid
from encenv.keys.entries import local_key_beside_values
from encenv.keys.session import Session
from encenv.load.reader_session import EncryptedVariable, Place, ReaderSession

if TYPE_CHECKING:
    from typing import Unpack

    from encenv.load.options import ReaderOptions

_OWN_FILES = {__file__, frameless.__code__.co_filename}  # whose frames are not the caller's
_TRUE = {"1", "true", "t", "yes", "y"}  # what python-dotenv takes for PYTHON_DOTENV_DISABLED

logger = logging.getLogger("encenv")


class LoadedFile:
    """The variables of one ``.env`` text within one session, which gets the file's key entries and its failures.

    Messages call it *where*. A file has untranslated newlines; a stream does not, and has another *parser*. With
    *override*, ``${NAME}`` is an earlier line of the file if there is one, else a process variable; without it, a
    process variable comes first. Without *interpolate*, ``${NAME}`` is not expanded.
    """

    def __init__(
        self,
        session: Session,
        text: str,
        where: str = ".env",
        parser: Callable[[str], EnvFile] = parse,
        *,
        override: bool = True,
        interpolate: bool = True,
    ) -> None:
        self._session = session
        self._lines: list[tuple[str, str | None]] = []
        for binding in parser(text).bindings:
            if binding.error:
                logger.warning("%s: the statement on line %d cannot be parsed", where, binding.line)
            elif binding.name is not None:
                self._lines.append((binding.name, binding.value))
        entries = [line for line in self._lines if line[0].startswith(ENTRY_PREFIX) and entry_kid(line[0])]
        session.entries.add(entries)
        if any(name == LOCAL_KEY_NAME and value for name, value in self._lines):
            raise local_key_beside_values(where)
        # For each name, in the order of first lines, the index of its last line, which has its value.
        self.last = {name: index for index, (name, _) in enumerate(self._lines)}
        for name, _ in entries:
            self.last.pop(name, None)
        self.has_entries = bool(entries)
        self._interpolate, self._override = interpolate, override
        self._plain: dict[int, str] = {}  # the decrypted values, by the index of their lines

    @functools.cached_property
    def _expansion(self) -> Expansion:
        return Expansion(
            self._lines,
            self._session.environ,
            override=self._override,
            decrypt_binding=self._decrypt,
            decrypt_process=self._session.decrypt,
        )

    def _decrypt(self, index: int, name: str, raw: str) -> str:
        if index not in self._plain:
            self._plain[index] = self._session.decrypt(name, raw) or ""
        return self._plain[index]

    def raw(self, name: str) -> str | None:
        """Return the text in the line of *name*, neither decrypted nor expanded."""
        return self._lines[self.last[name]][1]

    def value(self, name: str) -> str | None:
        """Return the value of *name*, decrypted and expanded; the session gets what cannot be decrypted."""
        raw = self.raw(name)
        if raw is None or not ("$" in raw or "encenv:" in raw):
            return raw  # there is nothing to expand or to decrypt
        index = self.last[name]
        text = self._decrypt(index, name, raw)
        return self._expansion.value(index) if self._interpolate and "$" in text else text

    def sealed_texts(self, names: Iterable[str]) -> list[str]:
        """Return the encrypted values that *names* need, except for references inside encrypted values."""
        return [text for text in self._texts(names) if claims(text)]

    def variables(self) -> Place:
        """Return the variables by name: plaintext as text, all others as an `EncryptedVariable`."""
        return {
            name: self.value(name) if self.is_plain(name) else self._encrypted(name) for name in self.last
        }

    def _encrypted(self, name: str) -> EncryptedVariable:
        value = functools.partial(self.value, name)
        return EncryptedVariable(name, self.raw(name) or "", self.sealed_texts([name]), value)

    def is_plain(self, name: str) -> bool:
        """Return whether nothing in the value of *name*, or in what it refers to, is encrypted."""
        texts = self._texts([name])
        return not any("encenv:" in text and (claims(text) or embeds(text)) for text in texts)

    def _texts(self, names: Iterable[str]) -> list[str]:
        """Return the texts of *names* and of all that they refer to, except inside encrypted values."""
        indexes = {self.last[name] for name in names}
        process: set[str] = set()
        if self._interpolate and any("$" in (self._lines[index][1] or "") for index in indexes):
            indexes, process = self._expansion.references(indexes)
        texts = [self._lines[index][1] for index in sorted(indexes)]
        texts += [self._session.environ.get(name) for name in sorted(process)]
        return [text for text in texts if text is not None]


@frameless
def dotenv_values(
    dotenv_path: StrPath | None = None,
    stream: IO[str] | None = None,
    verbose: bool = False,
    interpolate: bool = True,
    encoding: str | None = "utf-8",
    **options: "Unpack[ReaderOptions]",
) -> dict[str, str | None]:
    """Return the variables of a ``.env`` file, decrypted, as `dotenv.dotenv_values` does for a plain one.

    Args:
        dotenv_path: The file. If neither it nor *stream* is given, ``.env`` is looked for in the folder of the
            calling file and above.
        stream: A text stream to read instead of a file.
        verbose: Whether to log that there is no file.
        interpolate: Whether to expand ``${NAME}``, after decryption.
        encoding: The file's encoding.
        **options: The reader's rules, see `ReaderOptions`.

    Returns:
        The values by name, without the key entries; None for a line without ``=``.

    Raises:
        EncenvError: If a value cannot be decrypted. All failures are reported together.
    """
    session = ReaderSession(options)
    file = LoadedFile(session, *_read(dotenv_path, stream, verbose, encoding), interpolate=interpolate)
    return _values(session, file, skip=())


@frameless
def load_dotenv(
    dotenv_path: StrPath | None = None,
    stream: IO[str] | None = None,
    verbose: bool = False,
    override: bool = False,
    interpolate: bool = True,
    encoding: str | None = "utf-8",
    **options: "Unpack[ReaderOptions]",
) -> bool:
    """Set the variables of a ``.env`` file, decrypted, in `os.environ`, as `dotenv.load_dotenv` does for a plain one.

    This hands the secrets to everything that this process starts. A settings class or `dotenv_values` does not.

    Args:
        dotenv_path: The file. If neither it nor *stream* is given, ``.env`` is looked for in the folder of the
            calling file and above.
        stream: A text stream to read instead of a file.
        verbose: Whether to log that there is no file.
        override: Whether the file wins over variables that are set already. If not, those are not decrypted.
        interpolate: Whether to expand ``${NAME}``, after decryption.
        encoding: The file's encoding.
        **options: The reader's rules, see `ReaderOptions`.

    Returns:
        Whether the file has any variable. False if ``PYTHON_DOTENV_DISABLED`` is set to a true value.

    Raises:
        EncenvError: If a value cannot be decrypted. All failures are reported together, and nothing is set.
    """
    if os.environ.get("PYTHON_DOTENV_DISABLED", "").casefold() in _TRUE:
        logger.debug("not loaded, because of PYTHON_DOTENV_DISABLED")
        return False
    session = ReaderSession(options)
    source = _read(dotenv_path, stream, verbose, encoding)
    file = LoadedFile(session, *source, override=override, interpolate=interpolate)
    _set(_values(session, file, skip=() if override else os.environ))
    return bool(file.last)


def _set(values: Mapping[str, str | None]) -> None:
    """Set *values* in `os.environ`, without those that are None; set none of them if it cannot hold one."""
    unfit = [name for name, value in values.items() if value is not None and not _fits(name, value)]
    if unfit:
        failure = MalformedError(
            "the process environment cannot hold the name or the value: NUL, or a character that the locale lacks",
            hint="encode it, for example as base64, or use a UTF-8 locale: LC_ALL=C.UTF-8",
        )
        raise combine([failure.of(*unfit)])
    for name, value in values.items():
        if value is not None:
            os.environ[name] = value


def _fits(name: str, value: str) -> bool:
    try:
        return b"=" not in os.fsencode(name) and b"\x00" not in os.fsencode(name) + os.fsencode(value)
    except UnicodeEncodeError:
        return False  # its `object` is the whole text


def _read(
    path: StrPath | None, stream: IO[str] | None, verbose: bool, encoding: str | None
) -> tuple[str, str, Callable[[str], EnvFile]]:
    """Return the text, its name for messages, and its parser."""
    if path is None and stream is None:
        path = _find_dotenv()
    where = os.fspath(path or ".env")
    if path and is_file_or_fifo(path):
        return read_text(path, encoding), where, parse
    if stream is None:
        if verbose:
            logger.info("there is no file %s", where)
        return "", where, parse
    try:
        return stream.read(), "the stream", parse_untranslated
    except UnicodeError:  # its `object` is the whole text
        pass
    raise FileError("the stream cannot be decoded", hint="open the file in its own encoding")


def _values(session: ReaderSession, file: LoadedFile, skip: Container[str]) -> dict[str, str | None]:
    session.entries.add(session.environ.items())
    lines = session.without_prefix([(name, file.raw(name)) for name in file.last])
    names = {supplied: name for supplied, name, _ in lines if supplied not in skip}
    session.prepare(file.sealed_texts(names.values()))
    values = {supplied: file.value(name) for supplied, name in names.items()}
    session.finish()
    return values


def _find_dotenv() -> Path | None:
    """Return the nearest ``.env`` from the folder of the calling file upwards, or None.

    python-dotenv's own function would start at this file, the first one outside of its package.
    """
    interactive = (
        hasattr(sys, "ps1") or hasattr(sys, "ps2") or not hasattr(sys.modules.get("__main__"), "__file__")
    )
    if interactive or sys.gettrace() is not None or getattr(sys, "frozen", False):
        start = Path.cwd()
    else:
        frame = sys._getframe()  # noqa: SLF001 (documented, and the only way to a caller's file)
        while frame.f_back is not None and (
            frame.f_code.co_filename in _OWN_FILES or not os.path.exists(frame.f_code.co_filename)
        ):
            frame = frame.f_back
        start = Path(os.path.abspath(frame.f_code.co_filename)).parent
    paths = (folder / ".env" for folder in (start, *start.parents))
    return next((path for path in paths if is_file_or_fifo(path)), None)
