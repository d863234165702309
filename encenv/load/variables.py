"""What the sources read from while a settings class loads: variables and secret files that may be sealed."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource, SecretsSettingsSource

from encenv.errors import ConflictError
from encenv.format.sealed import ENTRY_PREFIX, claims, embeds, entry_kid
from encenv.keys.process_safety import lazily
from encenv.load.environ import Load
from encenv.load.field_names import ModelNames, Use, as_kept, fold, loc_keys
from encenv.load.pydantic_names import dotenv_filtering

if TYPE_CHECKING:
    from encenv.files import read
    from encenv.load.sources import SettingsLoad
else:
    read = lazily("encenv.files.read")

MASK = "**********"  # what pydantic's own SecretStr shows
_ABSENT = object()


class Reader(Protocol):
    """What one source reads from, in one load."""

    def entries(self) -> Iterable[tuple[str, str]]:
        """Return the key entries that the load does not know yet."""
        ...

    def needs(self, state: Mapping[str, Any], taken: set[str]) -> list[str]:
        """Return the sealed values that will be read for fields that are not *taken*; then take its fields."""
        ...


class Layer(Protocol):
    """Variables of one place; of several layers the last one wins. `LoadedFile` is one, `Texts` the other."""

    def raw_items(self) -> list[tuple[str, str | None]]:
        """Return each name with its text as it stands."""
        ...

    def sealed_texts(self, names: Iterable[str]) -> list[str]:
        """Return the sealed values that *names* need, as far as is visible without a key."""
        ...

    def is_plain(self, *names: str) -> bool:
        """Return whether nothing in the values of *names* is sealed."""
        ...

    def value(self, name: str) -> str | None:
        """Return the value of *name*, decrypted; what cannot be decrypted is noted in the load."""
        ...


class Texts:
    """The variables of the process environment, or of a folder of secret files."""

    def __init__(self, load: Load, texts: Mapping[str, str | None], *, strip: bool = False) -> None:
        self._load, self._strip = load, strip
        self._texts: dict[str, str | None] = {}
        self._sealed: set[str] = set()
        for name, text in texts.items():
            if name.startswith(ENTRY_PREFIX) and entry_kid(name) is not None:
                load.entries.add([(name, text)])
                continue
            self._texts[name] = text
            if text is not None and "encenv:" in text and (claims(text) or embeds(text)):
                self._sealed.add(name)
        self._values: dict[str, str | None] = {}

    def raw_items(self) -> list[tuple[str, str | None]]:
        """Return each name with its text as it stands."""
        return list(self._texts.items())

    def sealed_texts(self, names: Iterable[str]) -> list[str]:
        """Return the sealed values among those of *names*."""
        return [text for name in names if (text := self._texts[name]) is not None and claims(text)]

    def is_plain(self, *names: str) -> bool:
        """Return whether nothing in the values of *names* is sealed."""
        return self._sealed.isdisjoint(names)

    def value(self, name: str) -> str | None:
        """Return the value of *name*, decrypted."""
        if name not in self._values:
            raw = self._texts[name]
            text = None if raw is None else self._load.decrypt(name, raw)
            # Stripped after decryption, too, as the source strips the text of a plain file.
            self._values[name] = text.strip() if self._strip and text else text
        return self._values[name]


class Variables(Mapping[str, "str | None"]):
    """The variables of one source, which takes this for its `env_vars`; decrypted when they are first looked at."""

    def __init__(self, load: "SettingsLoad", source: EnvSettingsSource, layers: Sequence[Layer]) -> None:
        self._load, self._source = load, source
        self._names_read = ModelNames(source)
        # By the name that is supplied, as the source compares names.
        self._places: dict[str, list[tuple[Layer, str]]] = {}
        for layer in layers:
            for name, raw in layer.raw_items():
                self._places.setdefault(self._supplied(name, raw), []).append((layer, name))
        self._state: Mapping[str, Any] | None = None
        self._found: Mapping[str, str | None] = {}
        source.env_vars = self

    def __getitem__(self, name: str) -> str | None:
        return self._variables()[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of *name*, or *default*: what the base does, with half as many calls."""
        return self._variables().get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables())

    def __len__(self) -> int:
        return len(self._variables())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # values would be decrypted by a look

    def entries(self) -> Iterable[tuple[str, str]]:
        """Return none: each layer has told the load about its own."""
        return ()

    def needs(self, state: Mapping[str, Any], taken: set[str]) -> list[str]:
        """Return the sealed values that will be read, as far as that is certain before any is decrypted."""
        texts: list[str] = []

        def look(name: str) -> str | None:
            for layer, own in reversed(self._places[name]):
                if not layer.is_plain(own):
                    texts.extend(layer.sealed_texts([own]))
                    return MASK
                if not self._is_ignored(text := layer.value(own)):
                    return text
            return None

        self._visit(state, look, taken)
        taken |= {use.field for name in self._places for use in self._names_read.uses(name)}
        return texts

    def _variables(self) -> Mapping[str, str | None]:
        state = self._source.current_state
        if self._state is not state:  # a hook may look before anything is given
            self._load.open(self, state)
            self._found, self._state = self._read(state), state
        return self._found

    def _read(self, state: Mapping[str, Any]) -> Mapping[str, str | None]:
        values: dict[str, Any] = {}

        def get(name: str) -> Any:
            if name not in values:
                values[name] = self._value(name, wanted=True)
            return None if values[name] is _ABSENT else values[name]

        hidden = self._visit(state, get)
        found: dict[str, Any] = {}
        for name in self._places:
            if name not in values:
                values[name] = _ABSENT if name in hidden else self._value(name, wanted=False)
            if values[name] is not _ABSENT:
                found[name] = values[name]
        return as_kept(self._source, found)

    def _visit(
        self, state: Mapping[str, Any], get: Callable[[str], str | None], skip: Collection[str] = ()
    ) -> set[str]:
        """Call *get* with each name that the source will use, for fields that are not in *skip*.

        Returns:
            Names that the source must not see: with one sealed value kept from it, it would turn to these instead.
        """
        hidden: set[str] = set()
        kept: set[str] = set()  # fields whose value is kept from the source
        for field in self._names_read.fields.values():
            for index, name in enumerate(field.names):
                # For one that is needed `get` says the same; of two, one may have no value.
                places = self._places.get(name, ())
                if not places or (len(places) > 1 and self._is_nothing(name)):
                    continue
                # The first name that has a value is taken, whatever comes of it; those behind it are not looked at.
                if self._is_needed(field.uses[index], state, skip):
                    if get(name) is None and (field.name,) not in self._load.lost:
                        continue
                elif self._is_nothing(name):
                    continue
                elif not all(layer.is_plain(own) for layer, own in self._places[name]):
                    kept.add(field.name)
                    hidden.update(field.names[index + 1 :])
                break
        hands_on = isinstance(self._source, DotEnvSettingsSource)
        for name in self._places if hands_on or self._names_read.has_nested else ():
            uses = self._names_read.uses(name)
            nested = [use for use in uses if use.path]
            hidden.update(name for use in nested if use.field in kept)
            needed = any(use.field not in kept and self._is_needed(use, state, skip) for use in nested)
            if needed or (hands_on and self._is_passed_on(name, state)):
                get(name)
        return hidden

    def _is_nothing(self, name: str) -> bool:
        """Return whether all there is of *name* is empty and ignored, or a line without a value."""
        for layer, own in reversed(self._places[name]):
            if not layer.is_plain(own):
                return False
            if not self._is_ignored(text := layer.value(own)):
                return text is None
        return True

    def _is_needed(self, use: Use, state: Mapping[str, Any], skip: Collection[str]) -> bool:
        if use.field in skip or (self._load.lost and (use.field, *use.path) in self._load.lost):
            return False
        return not state or not self._names_read.is_given(use, state, self._places)

    def _is_passed_on(self, name: str, state: Mapping[str, Any]) -> bool:
        """Return whether the model uses the line *name* of a ``.env`` beyond the fields that are read from it."""
        source, uses = self._source, self._names_read.uses(name)
        extra, prefix = source.config.get("extra"), fold(source, source.env_prefix)
        filtering = dotenv_filtering(source)
        if filtering == "match_prefix":
            if not name.startswith(prefix):
                return False
        elif filtering or uses or (prefix and name in source.settings_cls.model_fields):
            return False
        key = name if extra == "forbid" and not filtering else name.removeprefix(prefix)
        # What a model refuses is refused by name; only where a field is read from it, too, a mask would come to that.
        is_used = extra == "allow" or key in self._names_read.keys or (extra == "forbid" and uses)
        return bool(is_used) and key not in state

    def _value(self, name: str, *, wanted: bool) -> object:
        uses = self._names_read.uses(name)
        for layer, own in reversed(self._places[name]):
            plain = layer.is_plain(own)
            if not plain and not wanted:
                # An unused sealed line is reported by name where its plain text would be, and dropped elsewhere.
                is_reported = self._source.config.get("extra") == "forbid" and not uses
                return MASK if is_reported and isinstance(self._source, DotEnvSettingsSource) else _ABSENT
            failures = len(self._load.failures)
            if wanted and len(self._places[name]) > 1:
                self._refuse_two(layer, name)
            text = layer.value(own)
            if len(self._load.failures) > failures:
                self._load.lost.update((use.field, *use.path) for use in uses)
                return _ABSENT
            if text or not self._is_ignored(text):
                self._note(name, uses, text, plain=plain)
                return text
        return _ABSENT

    def _note(self, name: str, uses: Sequence[Use], text: str | None, *, plain: bool) -> None:
        source = self._source
        for use in uses:
            self._load.note(self._names_read.fields[use.field].loc_keys, [text, *use.path], plain=plain)
        if not uses:
            self._load.note([name.removeprefix(fold(source, source.env_prefix))], [text], plain=plain)

    def _is_ignored(self, text: str | None) -> bool:
        return self._source.env_ignore_empty and text == ""

    def _supplied(self, name: str, raw: str | None) -> str:
        """Return which name the variable *name* supplies, as the source compares names."""
        own, prefix = fold(self._source, name), self._load.prefix
        if not name.startswith(prefix) or raw is None or not claims(raw):
            return own
        other = fold(self._source, name.removeprefix(prefix))
        return other if self._names_read.uses(other) and not self._names_read.uses(own) else own

    def _refuse_two(self, layer: Layer, name: str) -> None:
        names = {
            fold(self._source, own): own
            for place, own in self._places[name]
            if place is layer
            and not (layer.is_plain(own) and layer.value(own) is None)  # a line of only a name
        }
        if len(names) > 1:
            self._load.fail(names.pop(name), _both_set(name, *names.values()))


class SecretFiles:
    """The files of ``secrets_dir``, each called as its variable. They are read when their fields are reached."""

    def __init__(self, load: "SettingsLoad", source: SecretsSettingsSource) -> None:
        self._load, self._source = load, source
        self._get, self._find = source.get_field_value, source.find_case_path
        self._found: _Found | None = None  # the file that was found last
        self._names_read: ModelNames | None = None
        self._state: Mapping[str, Any] | None = None
        self._results: dict[str, tuple[Any, str, bool]] = {}
        # The public ways to a file's text, and to which file it is.
        source.get_field_value = self._get_field_value  # type: ignore[method-assign]
        source.find_case_path = self._find_case_path  # type: ignore[method-assign,assignment]

    def entries(self) -> Iterator[tuple[str, str]]:
        """Return the key entries in the folders."""
        folders = self._source.secrets_dir
        for folder in [folders] if isinstance(folders, (str, os.PathLike)) else folders or ():
            path = Path(folder).expanduser()
            for file in sorted(path.iterdir()) if path.is_dir() else ():
                if entry_kid(file.name) is not None and file.is_file():
                    yield file.name, read.read_text(file).strip()

    def needs(self, state: Mapping[str, Any], taken: set[str]) -> list[str]:  # noqa: ARG002 (a protocol)
        """Return nothing: which file is read is not known beforehand."""
        return []

    def _get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        state = self._source.current_state
        if self._state is not state:
            self._results, self._state = self._read(state), state
        return self._results.get(field_name) or self._get(field, field_name)

    def _read(self, state: Mapping[str, Any]) -> dict[str, tuple[Any, str, bool]]:
        load = self._load
        results: dict[str, tuple[Any, str, bool]] = {}
        sealed: dict[str, tuple[_Found, str]] = {}
        for field_name, field in self._source.settings_cls.model_fields.items():
            self._found = None
            text, key, is_complex = results[field_name] = self._get(field, field_name)
            if self._found is None or not isinstance(text, str):
                continue
            if not claims(text) and not embeds(text):
                load.note(loc_keys(field_name, field, self._source.config), [text], plain=True)
                continue
            results[field_name] = None, key, is_complex
            asked = self._names()
            use = Use(field_name, asked.fields[field_name].names.index(self._found.asked))
            if (field_name,) not in load.lost and not asked.is_given(use, state):
                sealed[field_name] = self._found, text
        if sealed:
            load.open(self, state)
            load.prepare(text for _, text in sealed.values())
        for field_name, (found, text) in sealed.items():
            if found.rival is not None:
                load.fail(found.rival.name, _both_set(found.rival.name, found.file.name))
            value = load.decrypt(found.file.name, text)
            field = self._source.settings_cls.model_fields[field_name]
            load.note(loc_keys(field_name, field, self._source.config), (), plain=False)
            if value is not None:
                # Stripped after decryption, too, as the source strips the text of a plain file.
                results[field_name] = value.strip(), *results[field_name][1:]
        return results

    def _find_case_path(self, folder: Path, name: str, case_sensitive: bool) -> Path | None:
        """Find the file *name* as the source would; in its place a sealed one of that name with the prefix."""
        own, prefix = self._find(folder, name, case_sensitive), self._load.prefix
        other = self._find(folder, prefix + name, case_sensitive) if prefix else None
        if other is not None and other.name.startswith(prefix) and self._stands_in(other):
            self._found = _Found(name, other, own)
        elif own is not None:
            self._found = _Found(name, own, None)
        else:
            return None
        return self._found.file

    def _stands_in(self, other: Path) -> bool:
        if not other.is_file() or not claims(read.read_text(other).strip()):
            return False
        return not self._names().uses(fold(self._source, other.name))

    def _names(self) -> ModelNames:
        if self._names_read is None:
            source = self._source
            self._names_read = ModelNames(
                EnvSettingsSource(
                    source.settings_cls,
                    case_sensitive=source.case_sensitive,
                    env_prefix=source.env_prefix,
                    env_prefix_target=source.env_prefix_target,
                    env_nested_delimiter="",
                )
            )
        return self._names_read


class _Found:
    """A file: by which name it was looked for, and the plain file whose place a sealed one with the prefix would take."""

    def __init__(self, asked: str, file: Path, rival: Path | None) -> None:
        self.asked, self.file, self.rival = asked, file, rival


def _both_set(name: str, other: str) -> ConflictError:
    return ConflictError(
        f"{name} and {other} are both set", hint=f"remove {name}, or give {other} another name"
    )
