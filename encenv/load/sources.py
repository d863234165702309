"""One load of a settings class: pydantic-settings' own sources, made to read encrypted values.

The source objects stay what they are; only what they read from is replaced: `env_vars` by a mapping that decrypts when
it is first looked at, and `get_field_value` of the secret files' source. By then the source's `current_state` tells
what the sources before it have given, so nothing is decrypted that would not be used.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic_settings
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
)

from encenv.errors import EncenvError
from encenv.format.sealed import ENTRY_PREFIX, entry_kid
from encenv.keys.process_safety import lazily
from encenv.load.environ import Load
from encenv.load.field_names import as_kept
from encenv.load.pydantic_names import LOADERS, clear_state, env_file_depth
from encenv.load.record import Record
from encenv.load.variables import DecryptingVariables, Layer, NamedTexts, Reader

if TYPE_CHECKING:
    from encenv.files import disk
    from encenv.load import dotenv, secrets_dir
else:
    disk = lazily("encenv.files.disk")
    dotenv = lazily("encenv.load.dotenv")
    secrets_dir = lazily("encenv.load.secrets_dir")

_TRUE = {"1", "true", "yes", "on"}  # what pydantic-settings takes for PYDANTIC_SETTINGS_DEBUG


class SettingsLoad(Load):
    """One load of a settings class.

    Attributes:
        settings_cls: The class.
        record: What is known about the values that the model was given.
        in_hook: Whether `settings_customise_sources` is running.
    """

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        config: Any = settings_cls.model_config  # it holds the reader's options and more
        super().__init__(config, os.environ)
        self.settings_cls = settings_cls
        self.record = Record(self, config.get("encrypted_prefix") or "")
        self.in_hook = False
        # By the id of the source, which is kept: as long as it lives its id is its own.
        self._readers: dict[int, tuple[object, Reader | None]] = {}
        self._order: Sequence[object] = ()
        self._hook_arguments: Sequence[object] = ()  # the sources that pydantic-settings has made

    def adopt(self, sources: Sequence[Any]) -> None:
        """Make those of *sources* that read variables read encrypted ones; they are in order of precedence."""
        self._hook_arguments = self._hook_arguments or sources
        self._order = sources
        for source in sources:
            if id(source) not in self._readers:
                reader: Reader | None
                try:
                    reader = self._reader_for(source)
                except EncenvError as error:
                    self.failures.append(error.of(*error.variables))
                    reader = self._variables(source, [])  # only files fail here
                self._readers[id(source)] = source, reader

    @property
    def may_hold_values(self) -> bool:
        """Whether a data key was looked for, so that the frames of this load may hold one, or a value."""
        return self.has_decrypted or self.needed_a_key

    def source_names(self) -> set[str]:
        """Return what the sources are called in errors."""
        return {type(source).__name__ for source in self._order}

    def states(self) -> Iterator[tuple[Mapping[str, Any], bool]]:
        """Yield what each of pydantic-settings' own sources has given, and whether nothing of it was decrypted."""
        for name, state in self._states().items():
            sources = [source for source in self._order if type(source).__name__ == name]
            # What a source of the application's gives may have been made from what was decrypted.
            if hasattr(pydantic_settings, name) and all(self._is_pydantics(source) for source in sources):
                yield state, all(self._readers[id(source)][1] is None for source in sources)

    def names_by_source(self) -> str:
        """Return what the sources have given, by name, highest first."""
        lines = [f"  {name}: {', '.join(state) or 'nothing'}" for name, state in self._states().items()]
        head = f"Resolving settings for {self.settings_cls.__name__!r} (names only, because values were decrypted):"
        return "\n".join([head, *lines])

    def forget(self, built: Iterable[Any]) -> None:
        """Take what was decrypted out of the sources, *built* among them: they outlive the load in frames of `CliApp`."""
        for source in (*self._order, *built):
            if isinstance(source, PydanticBaseSettingsSource):
                clear_state(source)
                vars(source).pop("load", None)
                if isinstance(source, SecretsSettingsSource):
                    secrets_dir.release(source)
                if isinstance(source, EnvSettingsSource) and isinstance(source.env_vars, DecryptingVariables):
                    vars(source.env_vars).clear()  # not replaced: by this it is known to have served a load

    def _before_read(self, reader: Reader, state: Mapping[str, Any]) -> None:
        """Unwrap what *reader* needs, side by side with what the sources after it will certainly need."""
        # As they are now, whatever a hook has put there; by name, as to look at a value decodes it.
        entries = [(name, self.environ.get(name)) for name in self.environ if name.startswith(ENTRY_PREFIX)]
        for _, other in self._readers.values():
            try:
                entries += () if other is None else other.entries()
            except EncenvError as error:
                self.failures.append(error.of(*error.variables))
        self.entries.add(entries)
        if len(self.entries) == 1:
            return  # nothing to do side by side: the first value that is decrypted asks for the one data key there is
        taken: set[str] = set()
        texts = reader.needs(state, taken)
        is_behind = False
        for source in self._order:
            _, other = self._readers[id(source)]
            if is_behind and other is not None:
                texts += other.needs(state, taken)
            elif is_behind and not isinstance(source, (EnvSettingsSource, SecretsSettingsSource)):
                break  # a source of the application's: what it gives is not known beforehand
            is_behind = is_behind or other is reader
        self.prepare(texts)

    def _reader_for(self, source: Any) -> Reader | None:
        """Return what *source* is to read from; None if it is left as it is."""
        if isinstance(source, SecretsSettingsSource):
            if source.secrets_dir is None:
                return None
            return secrets_dir.SecretFiles(self.record, source, self._before_read)
        if not isinstance(source, EnvSettingsSource) or isinstance(source, CliSettingsSource):
            return None
        loaders = next(loaders for family, loaders in LOADERS.items() if isinstance(source, family))
        if any(getattr(type(source), name) is not loader for name, loader in loaders.items()):
            return None  # a subclass that reads from elsewhere (AWS, Azure, …)
        if isinstance(
            source.env_vars, DecryptingVariables
        ):  # the application keeps it: it has served another load
            source.env_vars = loaders["_load_env_vars"](source)  # as when it was made
        if isinstance(source, DotEnvSettingsSource):
            layers = _files(self.record, source)
        else:
            layers = _texts(self.record, source)
        return self._variables(source, layers) if layers else None

    def _variables(self, source: EnvSettingsSource, layers: Sequence[Layer]) -> Reader:
        return DecryptingVariables(self.record, source, layers, self._before_read)

    def _is_pydantics(self, source: object) -> bool:
        """Return whether *source* is pydantic-settings' own, with values that the application has not made."""
        cls = type(source)
        # What the application hands to a source as init arguments it may have decrypted itself.
        is_built_in = cls is not InitSettingsSource or any(source is one for one in self._hook_arguments)
        return is_built_in and cls is getattr(pydantic_settings, cls.__name__, None)

    def _states(self) -> dict[str, dict[str, Any]]:
        sources = (source for source in self._order if isinstance(source, PydanticBaseSettingsSource))
        return next((source.settings_sources_data for source in sources), {})


class HiddenEnvFile(list[str]):
    """No ``.env`` file at all to pydantic-settings, and which file it is to encenv.

    So a file is read once, by encenv: a FIFO cannot be read twice, and python-dotenv would expand ``${NAME}`` before
    anything is decrypted.
    """

    def __init__(self, env_file: Any) -> None:
        super().__init__()
        self.env_file = env_file


def _texts(record: Record, source: EnvSettingsSource) -> Sequence[Layer]:
    """Return what *source* reads from: the process environment, or folders; nothing if nothing there is encrypted."""
    # A copy: each look at os.environ decodes the text again.
    texts = _names_upper(source) if isinstance(source, NestedSecretsSettingsSource) else dict(os.environ)
    if not any(name.startswith(ENTRY_PREFIX) or "encenv:" in (value or "") for name, value in texts.items()):
        return []
    if isinstance(source, NestedSecretsSettingsSource):
        return [NamedTexts(record, source.load_secrets(path), strip=True) for path in source.secrets_paths]
    # A subclass may have changed what it found; else the names are taken unchanged.
    unchanged = source.env_vars == as_kept(source, texts)
    return [NamedTexts(record, texts if unchanged else _names_upper(source))]


def _files(record: Record, source: DotEnvSettingsSource) -> Sequence[Layer]:
    """Return the files of *source*; if nothing in them is encrypted, none, and they are read at once."""
    is_hidden = isinstance(source.env_file, HiddenEnvFile)
    if isinstance(source.env_file, HiddenEnvFile):
        source.env_file = source.env_file.env_file
    if not source.env_file:
        return []
    paths = list(_existing_files(source, report=is_hidden))
    if not is_hidden and any(path.is_fifo() for path in paths):
        # A source that the application made itself has emptied the FIFO already.
        return [NamedTexts(record, _names_upper(source))]
    encoding = source.env_file_encoding or "utf-8"
    files = [dotenv.LoadedFile(record.session, disk.read_text(path, encoding), str(path)) for path in paths]
    if not all(file.is_plain(*file.last) and not file.has_entries for file in files):
        return files
    if is_hidden:
        texts: dict[str, str | None] = {}
        for file in files:
            texts.update(as_kept(source, {name: file.value(name) for name in file.last}))
        source.env_vars = texts
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
    files = source.env_file
    for file in [files] if isinstance(files, (str, os.PathLike)) else files or ():
        path = Path(file).expanduser()
        depth = env_file_depth(source)
        above = [] if path.is_absolute() else [parent / path for parent in islice(Path.cwd().parents, depth)]
        existing = next((candidate for candidate in [path, *above] if disk.is_file_or_fifo(candidate)), None)
        if report:  # as the source itself would
            message = "Loading env file: %s" if existing else "Env file not found, skipping: %s"
            log.debug(message, (existing or path).resolve())
        if existing is not None:
            yield existing
