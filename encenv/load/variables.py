"""The variables that a source reads while a settings class loads, decrypted where the model uses them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from encenv.format.sealed import claims
from encenv.load.field_names import FieldNames, ModelNames, as_kept
from encenv.load.pydantic_names import HAS_FILTERING
from encenv.load.reader_session import Reader, SettingsSession, both_set

MASK = "**********"  # what pydantic's own SecretStr shows
_ABSENT = object()


class EncryptedVariable:
    """A variable whose value is encrypted, or refers to one that is.

    Args:
        name: Its name in its place.
        raw: Its text.
        texts: The encrypted values that it needs, as far as is visible without a key.
        decrypt: Returns its value; if that fails, it notes this in the session.
    """

    def __init__(self, name: str, raw: str, texts: list[str], decrypt: Callable[[], str | None]) -> None:
        self.name, self.raw, self.texts, self.decrypt = name, raw, texts, decrypt
        self.value: object = _ABSENT  # once it is decrypted
        self.below: object = _ABSENT  # what it replaces, used again where its value is empty and ignored
        self.rival = ""  # a variable of the same place that supplies the same name


# The variables of one place by name, without key entries.
Place = Mapping[str, "str | EncryptedVariable | None"]


class DecryptingVariables(Reader, Mapping[str, "str | None"]):
    """The variables of one source, which takes this for its `env_vars`; decrypted when the source first reads one.

    Args:
        session: The session of the load.
        source: The source.
        places: Where the variables are; the last one wins.
    """

    def __init__(self, session: SettingsSession, source: EnvSettingsSource, places: Sequence[Place]) -> None:
        super().__init__(session, source)
        self._passes_on = isinstance(source, DotEnvSettingsSource)
        self._filtering = source.dotenv_filtering if HAS_FILTERING and self._passes_on else None  # type: ignore[attr-defined]
        self._fold: Callable[[str], str] = str if source.case_sensitive else str.lower
        self._prefix = self._fold(source.env_prefix)
        self._model = ModelNames(source)
        # By the name that is supplied, as the source compares names.
        self._variables: dict[str, Any] = {}
        for place in places:
            self._add(place)
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
        return f"<{type(self).__name__}>"  # the base would decrypt and show values

    def needs(self, state: Mapping[str, Any], taken: set[str]) -> list[str]:
        """Return the encrypted values that will be read, as far as that is certain before any is decrypted."""
        texts: list[str] = []

        def value(name: str) -> Any:
            variable = self._variables[name]
            if not isinstance(variable, EncryptedVariable):
                return variable
            texts.extend(variable.texts)
            return MASK

        self._visit(state, value, taken)
        taken.update(role.field for name in self._variables for role in self._model.roles(name))
        return texts

    def plain_texts(self) -> Iterator[tuple[str, str]]:
        """Yield each plaintext and the names below its field, with every key of the model's data for them."""
        for name, variable in self._variables.items():
            while isinstance(variable, EncryptedVariable):
                variable = variable.below  # noqa: PLW2901 (what it replaces)
            if variable is not _ABSENT:
                steps = [step for role in self._model.roles(name) for step in role.path]
                for key in self._keys(name):
                    yield from ((key, text) for text in (variable, *steps) if text is not None)

    def _add(self, place: Place) -> None:
        """Put the variables of *place* above those that are there."""
        variables, prefix, ignores_empty = (
            self._variables,
            self._session.prefix,
            self._source.env_ignore_empty,
        )
        rivals: dict[str, EncryptedVariable] = {}
        for own, value in place.items():
            name = self._fold(own)
            if isinstance(value, EncryptedVariable):
                if prefix and own.startswith(prefix) and claims(value.raw):
                    name = self._supplied(name, self._fold(own.removeprefix(prefix)))
                    value.rival = next(
                        (
                            other
                            for other in place
                            if self._fold(other) == name != self._fold(own) and place[other] is not None
                        ),
                        "",
                    )
                    if value.rival:
                        rivals[name] = value
                value.below = variables.get(name, _ABSENT)
                variables[name] = value
            elif value != "" or not ignores_empty:
                variables[name] = value
        variables.update(rivals)

    def _supplied(self, name: str, other: str) -> str:
        """Return which name the encrypted variable *name* supplies: *other*, without the prefix, if the model reads that alone."""
        return other if self._model.roles(other) and not self._model.roles(name) else name

    def _read(self) -> Mapping[str, str | None]:
        state = self._source.current_state
        if self._state is not state:  # a hook may read before anything is given
            self._session.before_read(self, state)
            self._values, self._state = self._decrypt(state), state
        return self._values

    def _decrypt(self, state: Mapping[str, Any]) -> Mapping[str, str | None]:
        values: dict[str, Any] = {}

        def value(name: str) -> Any:
            if name not in values:
                values[name] = self._value(name)
            return None if values[name] is _ABSENT else values[name]

        hidden = self._visit(state, value)
        for name, variable in self._variables.items():
            if name not in values:
                unused = self._replacement(name) if isinstance(variable, EncryptedVariable) else variable
                values[name] = _ABSENT if name in hidden else unused
        # In their own order, which pydantic-settings goes by where two names differ in case alone.
        present = {name: values[name] for name in self._variables if values[name] is not _ABSENT}
        return as_kept(self._source, present)

    def _visit(
        self, state: Mapping[str, Any], value: Callable[[str], Any], skip: Collection[str] = ()
    ) -> set[str]:
        """Call *value* with each name that the source will use, for fields that are not in *skip*.

        Returns:
            Names to hide from the source: where a field's first name is withheld, it would fall back to these.
        """
        hidden: set[str] = set()
        withheld: set[str] = set()  # fields whose encrypted value the source does not get
        for field in self._model.fields.values():
            for index, name in enumerate(field.names):
                if self._variables.get(name) is None:  # it is missing, or a line without a value
                    continue
                # The first name that has a value is taken, whatever it is; the source looks at no other.
                if self._is_needed(field, index, (), state, skip):
                    if value(name) is None and (field.name,) not in self._session.lost:
                        continue
                elif isinstance(self._variables[name], EncryptedVariable):
                    withheld.add(field.name)
                    hidden.update(field.names[index + 1 :])
                break
        skip = {*skip, *withheld}
        for name, variable in self._variables.items():
            if withheld or isinstance(variable, EncryptedVariable):
                roles = self._model.roles(name) if self._source.env_nested_delimiter else ()
                below = [role for role in roles if role.path]
                hidden.update(name for role in below if role.field in withheld)
                fields = ((self._model.fields[role.field], role) for role in below)
                is_used = any(
                    self._is_needed(field, role.position, role.path, state, skip) for field, role in fields
                )
                if is_used or (self._passes_on and self._is_passed_on(name, state)):
                    value(name)
        return hidden

    def _is_needed(
        self,
        field: FieldNames,
        index: int,
        path: tuple[str, ...],
        state: Mapping[str, Any],
        skip: Collection[str],
    ) -> bool:
        lost = self._session.lost
        if field.name in skip or (lost and (field.name, *path) in lost):
            return False
        return not state or not self._model.is_given(field, index, path, state, self._variables)

    def _is_passed_on(self, name: str, state: Mapping[str, Any]) -> bool:
        """Return whether the model uses the line *name* of a ``.env`` beyond the fields that are read from it."""
        source, prefix, filtering = self._source, self._prefix, self._filtering
        extra, roles = source.config.get("extra"), self._model.roles(name)
        if filtering == "match_prefix":
            if not name.startswith(prefix):
                return False
        elif filtering or roles or (prefix and name in source.settings_cls.model_fields):
            return False
        key = name if extra == "forbid" and not filtering else name.removeprefix(prefix)
        # With "forbid", an extra line is reported by name and not decrypted, unless a field is read from it as well.
        is_used = extra == "allow" or key in self._model.keys or (extra == "forbid" and roles)
        return bool(is_used) and key not in state

    def _value(self, name: str) -> object:
        """Return the value of *name*, decrypted; absent if there is none, or if that failed, which is noted."""
        session, variable = self._session, self._variables[name]
        while isinstance(variable, EncryptedVariable):
            before = len(session.failures)
            if variable.rival:
                session.fail(variable.rival, both_set(variable.rival, variable.name))
            if variable.value is _ABSENT:
                variable.value = variable.decrypt()
            value = variable.value
            if len(session.failures) > before:
                session.lost.update((role.field, *role.path) for role in self._model.roles(name))
                return _ABSENT
            if value != "" or not self._source.env_ignore_empty:
                session.decrypted_keys.update(self._keys(name))
                return value
            variable = variable.below
        return variable

    def _replacement(self, name: str) -> object:
        """Return what replaces a value that is not decrypted: a mask where the model reports the line by its name."""
        is_reported = (
            self._passes_on and self._source.config.get("extra") == "forbid" and not self._model.roles(name)
        )
        return MASK if is_reported else _ABSENT

    def _keys(self, name: str) -> set[str]:
        """Return under which keys of the model's data an error may show the variable *name*."""
        keys = {key for role in self._model.roles(name) for key in self._model.fields[role.field].loc_keys}
        return keys or {name.removeprefix(self._prefix)}
