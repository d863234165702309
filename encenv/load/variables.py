"""The variables that a source reads while a settings class loads, decrypted where the model uses them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from encenv.errors import ConflictError
from encenv.format.sealed import ENTRY_PREFIX, claims, embeds, entry_kid
from encenv.load.field_names import ModelNames, Use, as_kept
from encenv.load.pydantic_names import dotenv_filtering
from encenv.load.record import Record

MASK = "**********"  # what pydantic's own SecretStr shows
_ABSENT = object()


class Reader(Protocol):
    """What one source reads from, in one load."""

    def entries(self) -> Iterable[tuple[str, str]]:
        """Return the key entries that the session does not know yet."""
        ...

    def needs(self, state: Mapping[str, Any], taken: set[str]) -> list[str]:
        """Return the encrypted values that will be read for fields that are not *taken*; then take its fields."""
        ...


class Layer(Protocol):
    """Variables of one place; of several layers the last one wins. `LoadedFile` is one, `NamedTexts` the other."""

    def raw_items(self) -> Iterable[tuple[str, str | None]]:
        """Return each name with its text, unchanged."""
        ...

    def sealed_texts(self, names: Iterable[str]) -> list[str]:
        """Return the encrypted values that *names* need, as far as is visible without a key."""
        ...

    def is_plain(self, *names: str) -> bool:
        """Return whether nothing in the values of *names* is encrypted."""
        ...

    def value(self, name: str) -> str | None:
        """Return the value of *name*, decrypted; what cannot be decrypted is noted in the session."""
        ...


class NamedTexts:
    """The variables of the process environment, or of a folder of secret files; a `Layer`."""

    def __init__(self, record: Record, texts: Mapping[str, str | None], *, strip: bool = False) -> None:
        self._session, self._strip = record.session, strip
        self._texts: dict[str, str | None] = {}
        self._encrypted: set[str] = set()
        entries: list[tuple[str, str | None]] = []
        for name, text in texts.items():
            if name.startswith(ENTRY_PREFIX) and entry_kid(name) is not None:
                entries.append((name, text))
                continue
            self._texts[name] = text
            if text is not None and "encenv:" in text and (claims(text) or embeds(text)):
                self._encrypted.add(name)
        self._session.entries.add(entries)
        self._values: dict[str, str | None] = {}

    def raw_items(self) -> Iterable[tuple[str, str | None]]:
        """Return each name with its text, unchanged."""
        return self._texts.items()

    def sealed_texts(self, names: Iterable[str]) -> list[str]:
        """Return the encrypted values among those of *names*."""
        return [text for name in names if (text := self._texts[name]) is not None and claims(text)]

    def is_plain(self, *names: str) -> bool:
        """Return whether nothing in the values of *names* is encrypted."""
        return self._encrypted.isdisjoint(names)

    def value(self, name: str) -> str | None:
        """Return the value of *name*, decrypted."""
        text = self._texts[name]
        if text is None or name not in self._encrypted:
            return text.strip() if self._strip and text else text
        if name not in self._values:
            plain = self._session.decrypt(name, text)
            # Stripped after decryption, too, as the source strips the text of a plain file.
            self._values[name] = plain.strip() if self._strip and plain else plain
        return self._values[name]


class DecryptingVariables(Mapping[str, "str | None"]):
    """The variables of one source, which takes this for its `env_vars`; decrypted when they are first looked at.

    Args:
        record: The record of the load.
        source: The source; its `current_state` tells what the sources before it have given, so that nothing is
            decrypted that would not be used.
        layers: Where the variables are; the last one wins.
        before_read: Called with this object and that state before anything is decrypted.
    """

    def __init__(
        self,
        record: Record,
        source: EnvSettingsSource,
        layers: Sequence[Layer],
        before_read: "Callable[[Reader, Mapping[str, Any]], None]",
    ) -> None:
        self._record, self._source, self._before_read = record, source, before_read
        self._fold: Callable[[str], str] = str if source.case_sensitive else str.lower
        self._prefix = self._fold(source.env_prefix)
        self._filtering = dotenv_filtering(source) if isinstance(source, DotEnvSettingsSource) else None
        self._model = ModelNames(source)
        # By the name that is supplied, as the source compares names.
        self._places: dict[str, list[tuple[Layer, str]]] = {}
        for layer in layers:
            for name, raw in layer.raw_items():
                self._places.setdefault(self._supplied(name, raw), []).append((layer, name))
        self._uses = self._model.uses_of(self._places)
        self._state: Mapping[str, Any] | None = None
        self._values: Mapping[str, str | None] = {}
        source.env_vars = self

    def __getitem__(self, name: str) -> str | None:
        return self._read()[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of *name*, or *default*: what the base does, with half as many calls."""
        return self._read().get(name, default)

    def items(self) -> Any:
        """Return all names with their values, decrypted once."""
        return self._read().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # values would be decrypted by a look

    def entries(self) -> Iterable[tuple[str, str]]:
        """Return none: each layer has told the session about its own."""
        return ()

    def needs(self, state: Mapping[str, Any], taken: set[str]) -> list[str]:
        """Return the encrypted values that will be read, as far as that is certain before any is decrypted."""
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
        taken |= {use.field for uses in self._uses.values() for use in uses}
        return texts

    def _read(self) -> Mapping[str, str | None]:
        state = self._source.current_state
        if self._state is not state:  # a hook may look before anything is given
            self._before_read(self, state)
            self._values, self._state = self._decrypt(state), state
        return self._values

    def _decrypt(self, state: Mapping[str, Any]) -> Mapping[str, str | None]:
        values: dict[str, Any] = {}

        def get(name: str) -> Any:
            if name not in values:
                values[name] = self._used_value(name)
            return None if values[name] is _ABSENT else values[name]

        hidden = self._visit(state, get)
        for name in self._places:
            if name not in values:
                values[name] = _ABSENT if name in hidden else self._unused_value(name)
        # In the order of the places, which pydantic-settings goes by where two names differ in case alone.
        present = {name: values[name] for name in self._places if values[name] is not _ABSENT}
        return as_kept(self._source, present)

    def _visit(
        self, state: Mapping[str, Any], get: Callable[[str], str | None], skip: Collection[str] = ()
    ) -> set[str]:
        """Call *get* with each name that the source will use, for fields that are not in *skip*.

        Returns:
            Names to hide from the source: where a field's first name is withheld, it would fall back to these.
        """
        hidden: set[str] = set()
        withheld: set[str] = set()  # fields whose encrypted value the source does not get
        for field in self._model.fields.values():
            for index, name in enumerate(field.names):
                # For one that is needed `get` says the same; of two, one may have no value.
                places = self._places.get(name, ())
                if not places or (len(places) > 1 and self._is_nothing(name)):
                    continue
                # The first name that has a value is taken, whatever comes of it; those behind it are not looked at.
                if self._is_needed(field.uses[index], state, skip):
                    if get(name) is None and (field.name,) not in self._record.lost:
                        continue
                elif self._is_nothing(name):
                    continue
                elif not all(layer.is_plain(own) for layer, own in self._places[name]):
                    withheld.add(field.name)
                    hidden.update(field.names[index + 1 :])
                break
        passes_on = isinstance(self._source, DotEnvSettingsSource)
        for name in self._places if passes_on or self._model.has_nested else ():
            nested = [use for use in self._uses[name] if use.path]
            hidden.update(name for use in nested if use.field in withheld)
            needed = any(use.field not in withheld and self._is_needed(use, state, skip) for use in nested)
            if needed or (passes_on and self._is_passed_on(name, state)):
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
        if use.field in skip or (self._record.lost and (use.field, *use.path) in self._record.lost):
            return False
        return not state or not self._model.is_given(use, state, self._places)

    def _is_passed_on(self, name: str, state: Mapping[str, Any]) -> bool:
        """Return whether the model uses the line *name* of a ``.env`` beyond the fields that are read from it."""
        source, uses, prefix = self._source, self._uses[name], self._prefix
        extra, filtering = source.config.get("extra"), self._filtering
        if filtering == "match_prefix":
            if not name.startswith(prefix):
                return False
        elif filtering or uses or (prefix and name in source.settings_cls.model_fields):
            return False
        key = name if extra == "forbid" and not filtering else name.removeprefix(prefix)
        # What a model refuses is refused by name; only where a field is read from it, too, a mask would come to that.
        is_used = extra == "allow" or key in self._model.keys or (extra == "forbid" and uses)
        return bool(is_used) and key not in state

    def _used_value(self, name: str) -> object:
        """Return the value of *name*, decrypted; absent if there is none, or if that failed, which is noted."""
        failures = self._record.session.failures
        for layer, own in reversed(self._places[name]):
            before = len(failures)
            if len(self._places[name]) > 1:
                self._refuse_two(layer, name)
            text = layer.value(own)
            if len(failures) > before:
                self._record.lost.update((use.field, *use.path) for use in self._uses[name])
                return _ABSENT
            if text or not self._is_ignored(text):
                return self._noted(name, text, is_plain=layer.is_plain(own))
        return _ABSENT

    def _unused_value(self, name: str) -> object:
        """Return the value of *name* if it is plaintext, else what stands for a value that is not decrypted."""
        for layer, own in reversed(self._places[name]):
            if not layer.is_plain(own):
                # It is reported by name where its plaintext would be, and dropped elsewhere.
                is_reported = self._source.config.get("extra") == "forbid" and not self._uses[name]
                return MASK if is_reported and isinstance(self._source, DotEnvSettingsSource) else _ABSENT
            text = layer.value(own)
            if text or not self._is_ignored(text):
                return self._noted(name, text, is_plain=True)
        return _ABSENT

    def _noted(self, name: str, text: str | None, *, is_plain: bool) -> str | None:
        """Return *text*, the value of *name*, after noting for the errors which keys of the model it comes to."""
        keys = {key for use in self._uses[name] for key in self._model.fields[use.field].loc_keys}
        keys = keys or {name.removeprefix(self._prefix)}
        if is_plain:
            self._record.note_plain(keys, [text, *(step for use in self._uses[name] for step in use.path)])
        else:
            self._record.note_decrypted(keys)
        return text

    def _is_ignored(self, text: str | None) -> bool:
        return self._source.env_ignore_empty and text == ""

    def _supplied(self, name: str, raw: str | None) -> str:
        """Return which name the variable *name* supplies, as the source compares names."""
        own, prefix = self._fold(name), self._record.prefix
        if not name.startswith(prefix) or raw is None or not claims(raw):
            return own
        other = self._fold(name.removeprefix(prefix))
        return other if self._model.uses(other) and not self._model.uses(own) else own

    def _refuse_two(self, layer: Layer, name: str) -> None:
        """Note a failure if two variables of *layer* supply *name*, one of them by the prefix."""
        names = {
            self._fold(own): own
            for place, own in self._places[name]
            if place is layer
            and not (layer.is_plain(own) and layer.value(own) is None)  # a line of only a name
        }
        if len(names) > 1:
            self._record.session.fail(names.pop(name), both_set(name, *names.values()))


def both_set(name: str, other: str) -> ConflictError:
    """Return the failure that *name* and *other*, which supplies it, are both there."""
    return ConflictError(
        f"{name} and {other} are both set", hint=f"remove {name}, or give {other} another name"
    )
