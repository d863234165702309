"""pydantic-settings' own sources, made to read sealed values.

The source objects stay what they are; only what they read from is replaced: `env_vars` by a mapping that decrypts
when it is first looked at, and `get_field_value` of the secret files' source. By then the source's `current_state`
tells what the sources before it have given, so nothing is decrypted that would not be used.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pydantic_settings
from pydantic.fields import FieldInfo
from pydantic_settings import (
    CliSettingsSource,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
)
from pydantic_settings.sources.utils import parse_env_vars

from encenv.format.sealed import claims, embeds, entry_kid
from encenv.load.asked import Asked, fields_of
from encenv.load.envfiles import LoadedFile, is_file_or_fifo, read_text
from encenv.load.environ import Load, without_prefix

MASK = "**********"  # what pydantic's own SecretStr shows
_ABSENT = object()


class Reader(Protocol):
    """What one source reads from, in one load."""

    def entries(self) -> Iterable[tuple[str, str | None]]:
        """Return the variables among which key entries may be."""
        ...

    def needs(self, taken: set[str]) -> list[str]:
        """Return the sealed values that will be read for fields that are not *taken*; then take its fields."""
        ...


class SettingsLoad(Load):
    """One load of a settings class.

    Args:
        config: The class's `model_config`.

    Attributes:
        prefix: What stands before the name of a sealed variable that supplies another name.
        decrypted_keys: Keys of the model's data that hold something decrypted.
        plain_texts: Texts of plain variables by such keys; these an error may show.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)  # type: ignore[arg-type]  # it holds the reader's options and more
        prefix = config.get("encrypted_prefix")
        self.prefix: str = "ENC_" if prefix is None else prefix
        self.decrypted_keys: set[str] = set()
        self.plain_texts: dict[str, set[str]] = {}
        self._readers: dict[
            int, tuple[PydanticBaseSettingsSource, Reader]
        ] = {}  # the sources are kept: an id is only theirs while they live
        self._order: Sequence[object] = ()
        self._gathered = False

    def adopt(self, sources: Sequence[Any]) -> None:
        """Make those of *sources* that read variables read sealed ones; *sources* are in order of precedence."""
        self._order = sources
        for source in sources:
            if id(source) not in self._readers:
                reader = _reader_for(self, source)
                if reader is not None:
                    self._readers[id(source)] = source, reader
                    source.encenv_load = self  # CliApp hands the sources on, not this

    def open(self, reader: Reader) -> None:
        """Unwrap what *reader* needs, side by side with what the sources after it will certainly need."""
        if not self._gathered:
            self._gathered = True
            self.add_entries(self.environ.items())
            for _, other in self._readers.values():
                self.add_entries(other.entries())
        taken: set[str] = set()
        texts = reader.needs(taken)
        behind = False
        for source in self._order:
            known = self._readers.get(id(source))
            if behind and known is None:
                break  # a source of the application's: what it gives is not known beforehand
            if behind and known is not None:
                texts += known[1].needs(taken)
            behind = behind or (known is not None and known[1] is reader)
        self.prepare(texts)

    @property
    def opened(self) -> bool:
        """Whether a data key was looked for, so that the frames of this load may hold one."""
        return bool(self._copies)

    def forget(self, built: Iterable[Any]) -> None:
        """Take what was decrypted out of the sources, *built* among them: they outlive the load in frames of `CliApp`."""
        for source in (*self._order, *built):
            if isinstance(source, PydanticBaseSettingsSource):
                source._set_current_state({})  # noqa: SLF001 (what gave it the decrypted values)
                source._set_settings_sources_data({})  # noqa: SLF001
                vars(source).pop("encenv_load", None)
                if isinstance(source, SecretsSettingsSource):
                    vars(source).pop("get_field_value", None)
                if isinstance(source, EnvSettingsSource) and isinstance(source.env_vars, LazyVariables):
                    source.env_vars = {}

    def names_by_source(self) -> str:
        """Return what the sources have given, by name, highest first."""
        states = next((s.settings_sources_data for s, _ in self._readers.values()), {})
        lines = [f"  {name}: {', '.join(state) or 'nothing'}" for name, state in states.items()]
        return "\n".join(["Resolving settings (names only, because values were decrypted):", *lines])

    def note(self, asked: Asked, name: str, text: str | None, *, plain: bool) -> None:
        """Note for the errors whether what the variable *name* gave the model was decrypted."""
        for key in asked.keys_of(name) or (name,):
            if not plain:
                self.decrypted_keys.add(key)
            elif text is not None:
                found = asked.find(name)
                self.plain_texts.setdefault(key, set()).update([text, *(found[1] if found else ())])

    def source_names(self) -> set[str]:
        """Return what the sources are called in errors."""
        return {type(source).__name__ for source in self._order}

    def states(self) -> Iterator[tuple[Mapping[str, Any], bool]]:
        """Yield what each of pydantic-settings' own sources has given, and whether nothing of it was decrypted."""
        states = next((s.settings_sources_data for s, _ in self._readers.values()), {})
        for name, state in states.items():
            sources = [source for source in self._order if type(source).__name__ == name]
            # What a source of the application's gives may have been made from what was decrypted.
            own = getattr(pydantic_settings, name, None)
            if own is not None and all(type(source) is own for source in sources):
                readers = [self._readers[id(s)][1] for s in sources if id(s) in self._readers]
                yield state, all(isinstance(r, Variables) and not r.reads_sealed for r in readers)


def _reader_for(load: SettingsLoad, source: Any) -> Reader | None:
    if isinstance(source, SecretsSettingsSource):
        return SecretFiles(load, source) if source.secrets_dir is not None else None
    if isinstance(source, CliSettingsSource) or not isinstance(source, EnvSettingsSource):
        return None
    if isinstance(source, NestedSecretsSettingsSource):
        files: dict[str, str | None] = {}
        for folder in source.secrets_paths:
            files.update(source.load_secrets(folder))
        return Variables(load, source, files)
    if isinstance(source, DotEnvSettingsSource):
        return EnvFiles.of(load, source)
    # A subclass that loads its variables from elsewhere (AWS, Azure, …) is left alone, and not even looked at.
    if type(source)._load_env_vars is EnvSettingsSource._load_env_vars:  # noqa: SLF001 (compared, not called)
        return Variables(load, source, os.environ)
    return None


class LazyVariables(Mapping[str, "str | None"]):
    """Variables that are decrypted when they are first looked at."""

    def __init__(self, read: Callable[[], Mapping[str, str | None]]) -> None:
        self._read = read
        self._found: Mapping[str, str | None] | None = None

    def _variables(self) -> Mapping[str, str | None]:
        if self._found is None:
            self._found = self._read()
        return self._found

    def __getitem__(self, name: str) -> str | None:
        return self._variables()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables())

    def __len__(self) -> int:
        return len(self._variables())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # names and values would be decrypted by a look


class Variables:
    """The process environment, or nested secret files, as one source's variables."""

    def __init__(
        self, load: SettingsLoad, source: EnvSettingsSource, variables: Mapping[str, str | None]
    ) -> None:
        self._load, self._source, self._variables = load, source, variables
        self._names: list[tuple[str, str]] = []  # as the variable is called, and what it supplies
        if any(value is not None and "encenv:" in value for value in variables.values()):
            self._asked = Asked(source)
            supplied = _supplied(load, source, self._asked, variables.items())
            self._names = [
                (name, to) for name, to in zip(variables, supplied, strict=True) if entry_kid(name) is None
            ]
            source.env_vars = LazyVariables(self._read)

    @property
    def reads_sealed(self) -> bool:
        """Whether any of the variables is sealed; else the source is left as it is."""
        return bool(self._names)

    def entries(self) -> Iterable[tuple[str, str | None]]:
        return self._variables.items()

    def needs(self, taken: set[str]) -> list[str]:
        if not self._names:
            return []
        free = [name for name, to in self._names if self._wanted(to) and not self._fields(to) & taken]
        taken |= self._fields(*(to for _, to in self._names))
        return [self._variables[name] or "" for name in free]

    def _fields(self, *names: str) -> set[str]:
        return fields_of(self._asked, (_fold(self._source, name) for name in names))

    def _wanted(self, to: str) -> bool:
        folded = _fold(self._source, to)
        return self._asked.find(folded) is not None and not self._asked.is_given(
            folded, self._source.current_state
        )

    def _read(self) -> Mapping[str, str | None]:
        self._load.open(self)
        return _settle(self._source, [(to, partial(self._value, name, to)) for name, to in self._names])

    def _value(self, name: str, to: str) -> object:
        raw = self._variables[name]
        if raw is None or not self._wanted(to):
            return _ABSENT if raw is not None and claims(raw) else raw
        text = self._load.decrypt(name, raw)
        if text is not None and isinstance(self._source, NestedSecretsSettingsSource):
            text = text.strip()  # as the source strips the text of a plain file
        self._load.note(self._asked, _fold(self._source, to), text, plain=not claims(raw))
        return _ABSENT if text is None else text


class EnvFiles:
    """The files of ``env_file``, where a later file wins."""

    def __init__(self, load: SettingsLoad, source: DotEnvSettingsSource, files: Sequence[LoadedFile]) -> None:
        self._load, self._source = load, source
        self._asked = Asked(source)
        self._files = [
            (file, dict(zip(file.last, _supplied(load, source, self._asked, file.raw_items()), strict=True)))
            for file in reversed(files)
        ]
        source.env_vars = LazyVariables(self._read)

    @classmethod
    def of(cls, load: SettingsLoad, source: DotEnvSettingsSource) -> "Reader | None":
        """Return the reader of *source*'s files; None if nothing in them is sealed, then they are read at once."""
        unread = isinstance(source.env_file, Withheld)
        if isinstance(source.env_file, Withheld):
            source.env_file = source.env_file.env_file
        paths = list(_existing_files(source))
        if not unread and any(path.is_fifo() for path in paths):
            # A source that the application made itself has emptied the FIFO already; upper case is how key entries
            # are called, and one name with any other to the binding.
            return Variables(load, source, {name.upper(): value for name, value in source.env_vars.items()})
        encoding = source.env_file_encoding or "utf-8"
        files = [LoadedFile(load, read_text(path, encoding), str(path)) for path in paths]
        if all(file.is_plain(*file.last) and not file.has_entries for file in files):
            read: dict[str, str | None] = {}
            for file in files:
                read.update(_parsed(source, {name: file.value(name) for name in file.last}))
            source.env_vars = read
            return None
        return cls(load, source, files)

    def entries(self) -> Iterable[tuple[str, str | None]]:
        return ()  # each file has told the load about its own

    def needs(self, taken: set[str]) -> list[str]:
        texts: list[str] = []
        later: set[str] = set()
        for file, supplied in self._files:
            names = {name: _fold(self._source, to) for name, to in supplied.items()}
            free = [
                name
                for name, folded in names.items()
                if folded not in later
                and self._wanted(folded)
                and not fields_of(self._asked, [folded]) & taken
            ]
            texts += file.sealed_texts(free)
            later.update(names.values())
        taken |= fields_of(self._asked, later)
        return texts

    def _wanted(self, folded: str) -> bool:
        source = self._source
        if self._asked.find(folded) is not None:
            return not self._asked.is_given(folded, source.current_state)
        prefix = _fold(source, source.env_prefix)
        filtering = getattr(source, "dotenv_filtering", None)  # not in pydantic-settings 2.13
        handed_on = filtering == "match_prefix" if filtering else source.config.get("extra") == "allow"
        # Without a filter the source hands on lines without the prefix as well, under their whole names.
        if filtering and not folded.startswith(prefix):
            return False
        return handed_on and folded.removeprefix(prefix) not in source.current_state

    def _read(self) -> Mapping[str, str | None]:
        self._load.open(self)
        found: dict[str, str | None] = {}
        for file, supplied in self._files:
            names = [(name, to) for name, to in supplied.items() if _fold(self._source, to) not in found]
            get = [(to, partial(self._value, file, name, to)) for name, to in names]
            found = {**_settle(self._source, get), **found}
        return found

    def _value(self, file: LoadedFile, name: str, to: str) -> object:
        folded = _fold(self._source, to)
        plain = file.is_plain(name)
        if not plain and not self._wanted(folded):
            # An unused sealed line is reported by name where its plain text would be, and dropped elsewhere.
            is_extra = self._asked.find(folded) is None
            return MASK if is_extra and self._source.config.get("extra") == "forbid" else _ABSENT
        text = file.value(name)
        prefix = _fold(self._source, self._source.env_prefix)
        key = folded if self._asked.find(folded) is not None else folded.removeprefix(prefix)
        self._load.note(self._asked, key, text, plain=plain)
        return text


class SecretFiles:
    """The files of ``secrets_dir``, each called as its variable."""

    def __init__(self, load: SettingsLoad, source: SecretsSettingsSource) -> None:
        self._load, self._source = load, source
        self._original = source.get_field_value
        self._results: dict[str, tuple[Any, str, bool]] | None = None
        source.get_field_value = self._get_field_value  # type: ignore[method-assign]  # the public way to its texts

    def entries(self) -> Iterator[tuple[str, str | None]]:
        folders = self._source.secrets_dir
        for folder in [folders] if isinstance(folders, (str, os.PathLike)) else folders or ():
            path = Path(folder).expanduser()
            for file in sorted(path.iterdir()) if path.is_dir() else ():
                if entry_kid(file.name) is not None and file.is_file():
                    yield file.name, read_text(file).strip()

    def needs(self, taken: set[str]) -> list[str]:  # noqa: ARG002 (a file is read when it is asked for)
        return []

    def _get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if self._results is None:
            self._results = self._read()
        return self._results.get(field_name) or self._original(field, field_name)

    def _read(self) -> dict[str, tuple[Any, str, bool]]:
        source, load = self._source, self._load
        asked = Asked(
            EnvSettingsSource(
                source.settings_cls,
                case_sensitive=source.case_sensitive,
                env_prefix=source.env_prefix,
                env_prefix_target=source.env_prefix_target,
            )
        )
        results: dict[str, tuple[Any, str, bool]] = {}
        sealed: dict[str, tuple[str, str]] = {}
        for field_name, field in source.settings_cls.model_fields.items():
            text, key, is_complex = results[field_name] = self._original(field, field_name)
            names = asked.fields[field_name].names
            name, supplied = self._supplied(asked, names, text)
            if supplied is not None and "encenv:" in supplied:
                results[field_name] = None, key, is_complex
                if not asked.is_given(names[0], source.current_state):
                    sealed[field_name] = name, supplied
            elif isinstance(text, str):
                load.note(asked, names[0], text, plain=True)
        if sealed:
            load.open(self)
            load.prepare(text for _, text in sealed.values())
        for field_name, (name, text) in sealed.items():
            value = load.decrypt(name, text)
            load.note(asked, asked.fields[field_name].names[0], value, plain=not claims(text))
            if value is not None:
                # Stripped after decryption, too, as the source strips the text of a plain file.
                results[field_name] = value.strip(), *results[field_name][1:]
        return results

    def _supplied(self, asked: Asked, names: Iterable[str], text: Any) -> tuple[str, str | None]:
        """Return the name and text of the file that supplies *names*: one so called, or ``ENC_`` and so called."""
        prefix = self._load.prefix
        own = self._find(names)
        other = self._find(_fold(self._source, prefix + name) for name in names) if prefix else None
        if other is None or asked.find(_fold(self._source, other.name)) is not None:
            return own.name if own else "", text if isinstance(text, str) else None
        content = read_text(other).strip()
        if not claims(content):
            return own.name if own else "", text if isinstance(text, str) else None
        if own is not None:
            without_prefix(self._load, [(own.name, None), (prefix + own.name, content)], prefix)
        return other.name, content

    def _find(self, names: Iterable[str]) -> Path | None:
        """Return the file that the source itself would read first for *names*."""
        for name in names:
            for folder in reversed(self._source.secrets_paths):
                path = self._source.find_case_path(folder, name, self._source.case_sensitive)
                if path is not None and path.is_file():
                    return path
        return None


class Withheld(tuple[()]):
    """No ``.env`` file at all to pydantic-settings, and which file it is to encenv.

    So a file is read once, by encenv: a FIFO cannot be read twice, and python-dotenv would expand ``${NAME}`` before
    anything is decrypted.
    """

    env_file: Any

    def __new__(cls, env_file: Any) -> "Withheld":
        withheld = super().__new__(cls)
        withheld.env_file = env_file
        return withheld


def _fold(source: EnvSettingsSource | SecretsSettingsSource, name: str) -> str:
    return name if source.case_sensitive else name.lower()


def _supplied(
    load: SettingsLoad, source: EnvSettingsSource, asked: Asked, variables: Iterable[tuple[str, str | None]]
) -> list[str]:
    """Return the names that *variables* supply, those of sealed ones without the prefix where that is asked for."""
    pairs = list(variables)
    names = {name for name, _ in pairs} | {name.removeprefix(load.prefix) for name, _ in pairs}
    return without_prefix(
        load, pairs, load.prefix, {n for n in names if asked.find(_fold(source, n)) is not None}
    )


def _settle(
    source: EnvSettingsSource, variables: Sequence[tuple[str, Callable[[], object]]]
) -> Mapping[str, str | None]:
    """Return *variables* as the source keeps them: of names that it takes for one the last one, if that counts."""
    kept: dict[str, Any] = {}
    folded: set[str] = set()
    for name, get in reversed(variables):
        if _fold(source, name) in folded:
            continue
        value = get()
        if value is _ABSENT or (source.env_ignore_empty and value == ""):
            continue
        kept[name] = value
        folded.add(_fold(source, name))
    return _parsed(source, {name: kept[name] for name, _ in variables if name in kept})


def _parsed(source: EnvSettingsSource, variables: Mapping[str, str | None]) -> Mapping[str, str | None]:
    return parse_env_vars(
        variables, source.case_sensitive, source.env_ignore_empty, source.env_parse_none_str
    )


def _existing_files(source: DotEnvSettingsSource) -> Iterator[Path]:
    """Return the files that the source would read: in this folder, or up to ``env_file_depth`` folders above."""
    files = source.env_file
    for file in [files] if isinstance(files, (str, os.PathLike)) else files or ():
        path = Path(file).expanduser()
        depth = getattr(source, "env_file_depth", None) or 0  # not in pydantic-settings 2.13
        above = [] if path.is_absolute() else [parent / path for parent in islice(Path.cwd().parents, depth)]
        found = next((candidate for candidate in [path, *above] if is_file_or_fifo(candidate)), None)
        if found is not None:
            yield found
