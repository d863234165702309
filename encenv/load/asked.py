"""What a settings class asks an environment for: nothing else is ever decrypted."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, AliasPath
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource


@dataclass(frozen=True, slots=True)
class AskedField:
    """One field of the model.

    Attributes:
        names: The variables that it is read from, in order, as the source compares names.
        key: The key under which the model looks for its value first.
        keys: All keys under which its value can reach the model, or an error name it.
    """

    names: tuple[str, ...]
    key: str
    keys: frozenset[str]


class Asked:
    """What one model asks one source for.

    Args:
        source: The source; it is asked itself, so that its own rules for names hold, also in a subclass.
    """

    def __init__(self, source: EnvSettingsSource) -> None:
        self._delimiter = source.env_nested_delimiter
        self._max_split = source.maxsplit
        self._case_sensitive = source.case_sensitive
        recorder = _Recorder()
        kept, source.env_vars = source.env_vars, recorder
        self.fields: dict[str, AskedField] = {}
        for name, field in source.settings_cls.model_fields.items():
            recorder.names.clear()
            with suppress(
                Exception
            ):  # a subclass may not expect a variable to be missing; its names are noted
                source.get_field_value(field, name)
            keys = model_keys(name, field, source.config)
            self.fields[name] = AskedField(tuple(recorder.names), keys[0], frozenset([name, *keys]))
        source.env_vars = kept
        self._field_of = {n: field for field, asked in reversed(self.fields.items()) for n in asked.names}

    def find(self, name: str) -> tuple[str, list[str]] | None:
        """Return the field that reads the variable *name* and the path below it; None if none does."""
        if name in self._field_of:
            return self._field_of[name], []
        if self._delimiter and self._delimiter in name:
            for candidate, field in self._field_of.items():
                if name.startswith(candidate + self._delimiter):
                    below = name[len(candidate) + len(self._delimiter) :]
                    return field, below.split(self._delimiter, self._max_split)
        return None

    def keys_of(self, name: str) -> set[str]:
        """Return the keys of every field that reads the variable *name*, not only of the first one."""
        return {
            key
            for field in self.fields.values()
            if any(name == n or (self._delimiter and name.startswith(n + self._delimiter)) for n in field.names)
            for key in field.keys
        }

    def is_given(self, name: str, state: Mapping[str, Any]) -> bool:
        """Return whether *state*, which earlier sources filled, leaves nothing for the variable *name* to say."""
        found = self.find(name)
        if found is None:
            return False
        field, path = found
        value: Any = state
        for key in [self.fields[field].key, *path]:
            if not isinstance(value, Mapping):
                return True  # a whole value was given where this variable would add to one
            match = next((k for k in value if self._same(k, key)), None)
            if match is None:
                return False
            value = value[match]
        return not isinstance(value, Mapping)  # mappings of two sources are merged

    def _same(self, one: object, other: str) -> bool:
        return one == other or (
            not self._case_sensitive and isinstance(one, str) and one.lower() == other.lower()
        )


def model_keys(name: str, field: FieldInfo, config: Mapping[str, Any]) -> list[str]:
    """Return the keys under which pydantic looks for a field's value, in its order."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    keys = [str(choice.path[0]) if isinstance(choice, AliasPath) else choice for choice in choices if choice]
    if config.get("validate_by_alias") is False:
        keys = []
    if not keys or config.get("populate_by_name") or config.get("validate_by_name"):
        keys.append(name)
    return keys


class _Recorder(Mapping[str, "str | None"]):
    """An environment without variables that notes which ones it was asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getitem__(self, name: str) -> str | None:
        if name not in self.names:
            self.names.append(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def fields_of(asked: Asked, names: Iterable[str]) -> set[str]:
    """Return the fields that any of the variables *names* belongs to."""
    found = (asked.find(name) for name in names)
    return {match[0] for match in found if match is not None}
