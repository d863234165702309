"""Make pydantic-settings' own sources read encrypted values.

The source objects stay what they are; only what they read from is replaced: `env_vars` by a mapping that decrypts when
it is first read, and `get_field_value` of the secret files' source. A source with nothing encrypted is left alone.
"""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_settings import (
    CliSettingsSource,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
)

from encenv.errors import EncenvError
from encenv.format.sealed import ENTRY_PREFIX, claims, embeds, entry_kid
from encenv.keys.process_safety import lazily
from encenv.load.field_names import as_kept
from encenv.load.pydantic_names import HAS_DEPTH, LOADERS, clear_state
from encenv.load.reader_session import Reader, SettingsSession
from encenv.load.variables import DecryptingVariables, EncryptedVariable, Place

if TYPE_CHECKING:
    from encenv.files import disk
    from encenv.load import dotenv, secrets_dir
else:
    disk = lazily("encenv.files.disk")
    dotenv = lazily("encenv.load.dotenv")
    secrets_dir = lazily("encenv.load.secrets_dir")

_TRUE = {"1", "true", "yes", "on"}  # what pydantic-settings takes for PYDANTIC_SETTINGS_DEBUG


class HiddenEnvFile(list[str]):
    """No ``.env`` file at all to pydantic-settings, and which file it is to encenv.

    So a file is read once, by encenv: a FIFO cannot be read twice, and python-dotenv would expand ``${NAME}`` before
    anything is decrypted.
    """

    def __init__(self, env_file: Any) -> None:
        super().__init__()
        self.env_file = env_file


def adopt(session: SettingsSession, sources: Sequence[Any]) -> None:
    """Make those of *sources* that read variables read encrypted ones; they are in order of precedence."""
    session.hook_arguments = session.hook_arguments or sources
    session.sources, session.order = sources, []
    for source in sources:
        if id(source) not in session.readers:
            reader: Reader | None
            try:
                reader = _reader(session, source)
            except EncenvError as error:
                session.failures.append(error.of(*error.variables))
                reader = DecryptingVariables(session, source, [])  # only files fail here
            session.readers[id(source)] = source, reader
        reader = session.readers[id(source)][1]
        # A source of the application's own gives nobody knows what; another one without a reader is left out.
        if reader is not None or not isinstance(source, (EnvSettingsSource, SecretsSettingsSource)):
            session.order.append(reader)


def states(session: SettingsSession) -> dict[str, dict[str, Any]]:
    """Return what the sources have given, by the names of their classes, highest first."""
    sources = (source for source in session.sources if isinstance(source, PydanticBaseSettingsSource))
    return next((source.settings_sources_data for source in sources), {})


def forget(session: SettingsSession, built: Iterable[Any]) -> None:
    """Take what was decrypted out of the sources, *built* among them: frames of `CliApp` keep them after the load."""
    for source in (*session.sources, *built):
        if isinstance(source, PydanticBaseSettingsSource):
            clear_state(source)
            vars(source).pop("session", None)
            if isinstance(source, SecretsSettingsSource):
                secrets_dir.release(source)
            if isinstance(source, EnvSettingsSource) and isinstance(source.env_vars, DecryptingVariables):
                vars(source.env_vars).clear()  # not replaced: by this it is known to have served a load


def _reader(session: SettingsSession, source: Any) -> Reader | None:
    """Return what *source* is to read from; None if it is left as it is."""
    if isinstance(source, SecretsSettingsSource):
        return None if source.secrets_dir is None else secrets_dir.SecretFiles(session, source)
    if not isinstance(source, EnvSettingsSource) or isinstance(source, CliSettingsSource):
        return None
    loaders = next(loaders for family, loaders in LOADERS.items() if isinstance(source, family))
    if any(getattr(type(source), name) is not loader for name, loader in loaders.items()):
        return None  # a subclass that reads from elsewhere (AWS, Azure, …)
    if isinstance(
        source.env_vars, DecryptingVariables
    ):  # the application keeps it: it has served another load
        source.env_vars = loaders["_load_env_vars"](source)  # as when it was made
    places = _files(session, source) if isinstance(source, DotEnvSettingsSource) else _texts(session, source)
    return DecryptingVariables(session, source, places) if places else None


def _texts(session: SettingsSession, source: EnvSettingsSource) -> Sequence[Place]:
    """Return what *source* reads from: the process environment, or folders; nothing if nothing there is encrypted."""
    # Names are in lower case unless the source compares cases.
    prefixes = (ENTRY_PREFIX, ENTRY_PREFIX.lower())
    if not any(
        name.startswith(prefixes) or "encenv:" in (text or "") for name, text in source.env_vars.items()
    ):
        return []
    if isinstance(source, NestedSecretsSettingsSource):

        def decrypt(name: str, text: str) -> str | None:
            plain = session.decrypt(name, text)
            return plain and plain.strip()  # as the source strips the text of a plaintext file

        return [_place(session, source.load_secrets(path), decrypt) for path in source.secrets_paths]
    texts = dict(os.environ)  # copied once: each read of os.environ decodes the text again
    # A subclass may have changed what it found; else the names are taken unchanged.
    is_unchanged = source.env_vars == as_kept(source, texts)
    return [_place(session, texts if is_unchanged else _names_upper(source))]


def _place(
    session: SettingsSession,
    texts: Mapping[str, str | None],
    decrypt: Callable[[str, str], str | None] | None = None,
) -> Place:
    """Return the variables *texts* without key entries, which the session gets."""
    place: dict[str, str | EncryptedVariable | None] = dict(texts)
    for name, text in texts.items():
        if name.startswith(ENTRY_PREFIX) and entry_kid(name) is not None:
            session.entries.add([(name, text)])
            del place[name]
        elif text is not None and "encenv:" in text and (claims(text) or embeds(text)):
            value = functools.partial(decrypt or session.decrypt, name, text)
            place[name] = EncryptedVariable(name, text, [text], value)
    return place


def _files(session: SettingsSession, source: DotEnvSettingsSource) -> Sequence[Place]:
    """Return the files of *source*; if nothing in them is encrypted, none, and they are read at once."""
    is_hidden = isinstance(source.env_file, HiddenEnvFile)
    if isinstance(source.env_file, HiddenEnvFile):
        source.env_file = source.env_file.env_file
    if not source.env_file:
        return []
    paths = list(_existing_files(source, report=is_hidden))
    if not is_hidden and any(path.is_fifo() for path in paths):
        # A source that the application made itself has emptied the FIFO already.
        return [_place(session, _names_upper(source))]
    encoding = source.env_file_encoding or "utf-8"
    files = [dotenv.LoadedFile(session, disk.read_text(path, encoding), str(path)) for path in paths]
    places: list[Place] = [file.values(EncryptedVariable) for file in files]
    is_plain = not any(isinstance(value, EncryptedVariable) for place in places for value in place.values())
    if not is_plain or any(file.has_entries for file in files):
        return places
    if is_hidden:
        source.env_vars = {name: text for place in places for name, text in as_kept(source, place).items()}
    return []


def _names_upper(source: EnvSettingsSource) -> dict[str, str | None]:
    """Return what *source* has read already, key entries under their upper-case names."""
    return {
        name.upper() if entry_kid(name.upper()) else name: value for name, value in source.env_vars.items()
    }


def _existing_files(source: DotEnvSettingsSource, *, report: bool) -> Iterator[Path]:
    """Yield the files that the source would read: in this folder, or up to ``env_file_depth`` folders above."""
    log = logging.getLogger("pydantic_settings")
    report = report and os.environ.get("PYDANTIC_SETTINGS_DEBUG", "").strip().lower() in _TRUE
    files, depth = source.env_file, max(0, source.env_file_depth or 0) if HAS_DEPTH else 0
    for file in [files] if isinstance(files, (str, os.PathLike)) else files or ():
        path = Path(file).expanduser()
        above = [] if path.is_absolute() else [parent / path for parent in islice(Path.cwd().parents, depth)]
        existing = next((candidate for candidate in [path, *above] if disk.is_file_or_fifo(candidate)), None)
        if report:  # as the source itself would
            message = "Loading env file: %s" if existing else "Env file not found, skipping: %s"
            log.debug(message, (existing or path).resolve())
        if existing is not None:
            yield existing
