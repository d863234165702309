"""The variables that a source reads for a settings class: nothing else is ever decrypted."""

import functools
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import AliasChoices, AliasPath
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource, SecretsSettingsSource

from encenv.load.pydantic_names import PREFERS_FIRST_KEY, RULES, field_info


class FieldNames:
    """The names of one field of a model, in the variables of a source and in the model's data."""

    __slots__ = ("has_nested", "keys", "loc_keys", "name", "names", "roles", "targets")

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        keys: Mapping[str, bool],
        targets: Sequence[Sequence[str]],
        *,
        has_nested: bool,
    ) -> None:
        self.name = name
        self.names = names  # the variables that it is read from, in order, as the source compares names
        self.keys = keys  # where pydantic looks for its value, as `model_keys` returns them
        # For each of *names* the keys under which the source may pass on its value; the last item is for the value
        # that variables below them build, such as ``NAME__PART``.
        self.targets = targets
        self.has_nested = has_nested  # whether it is read from such variables
        self.loc_keys = {name, *keys}  # what a validation error may call the field
        self.roles = [Role(self, position) for position in range(len(names))]  # of each of *names*


class Role:
    """The meaning of a variable for the model: a field, the position among its names, and the path below, if any."""

    __slots__ = ("field", "path", "position")  # not a named tuple: making its class takes long

    def __init__(self, field: FieldNames, position: int, path: tuple[str, ...] = ()) -> None:
        self.field, self.position, self.path = field, position, path


class ModelNames:
    """The variables that one source reads for one model, and the fields of that model by name.

    The source itself finds them, so that its own rules for names hold, also in a subclass.
    """

    def __init__(self, source: EnvSettingsSource) -> None:
        self._source = source
        has_plain_names = (
            not source.env_prefix and not source.env_nested_delimiter and _has_usual_rules(source)
        )
        env_vars = source.env_vars
        try:
            self.fields = {
                # A source takes long to find a field: a third as long as all other work for the field's variable.
                name: FieldNames(
                    name, (fold(source, name),), {name: False}, ((name,), (name,)), has_nested=False
                )
                if has_plain_names and field.validation_alias is None
                else names_from_source(source, name, field)
                for name, field in source.settings_cls.model_fields.items()
            }
        finally:
            source.env_vars = env_vars
        self._roles: dict[str, list[Role]] = {}
        for field in self.fields.values():
            for role, name in zip(field.roles, field.names, strict=True):
                if name not in field.names[: role.position]:
                    self._roles.setdefault(name, []).append(role)
        self._with_nested: set[str] = set()  # names whose roles below another name have been added

    @functools.cached_property
    def keys(self) -> Mapping[str, int]:
        """The keys of the model's data, each with the number of fields that pydantic looks up there."""
        return Counter(key for field in self.fields.values() for key in field.keys)

    def roles(self, name: str) -> list[Role]:
        """Return what the variable *name* is for the model; nothing if the model does not read it."""
        delimiter = self._source.env_nested_delimiter
        if delimiter and delimiter in name and name not in self._with_nested:
            self._with_nested.add(name)
            self._roles[name] = [*self._roles.get(name, ()), *self._nested_roles(name, delimiter)]
        return self._roles.get(name, [])

    def is_given(self, role: Role, state: Mapping[str, Any], present: Container[str]) -> bool:
        """Return whether *state*, which earlier sources filled, leaves a variable with *role* without effect.

        In doubt the answer is no: then a value too many is decrypted, and none is lost. *present* has the variables of
        the source itself: a nested value joins the value of a variable of the whole field.
        """
        field = role.field
        others = (other.field for name in field.names[role.position + 1 :] for other in self.roles(name))
        if any(other is not field for other in others):
            return False  # the source would turn to that name, which cannot be hidden from one field alone
        targets: Iterable[str] = field.targets[-1 if role.path else role.position]
        if role.path and any(name in present for name in field.names):
            targets = field.keys
        return all(
            self._is_behind(field, target, state) or self._is_shadowed(role, target, state)
            for target in targets
        )

    def _nested_roles(self, name: str, delimiter: str) -> Iterator[Role]:
        for field in self.fields.values():
            starts = (index for index, own in enumerate(field.names) if name.startswith(own + delimiter))
            index = next(starts, None) if field.has_nested else None
            if index is not None:
                below = name[len(field.names[index]) + len(delimiter) :]
                yield Role(field, index, tuple(below.split(delimiter, self._source.maxsplit)))

    def _is_behind(self, field: FieldNames, target: str, state: Mapping[str, Any]) -> bool:
        """Return whether pydantic takes the value of a key before *target*, and ignores *target*."""
        if self._source.config.get("extra") != "ignore":
            return False  # what is ignored for the field is an extra key of the model
        if any(self.keys[key] > 1 for key in field.keys):
            return False  # a key of two fields may be renamed on behalf of the other one
        first = next((key for key in field.keys if key in state or key == target), target)
        return first != target and not field.keys[first]

    def _is_shadowed(self, role: Role, target: str, state: Mapping[str, Any]) -> bool:
        """Return whether *state* has a value under *target*, at the path of *role*, that no other is merged with."""
        if target not in state:
            return False
        value: Any = state[target]
        part: Any = self._source.settings_cls.model_fields[role.field.name]
        for step in role.path:
            if not isinstance(value, dict):
                return True  # a whole value was given where this variable would add to one
            part = self._source.next_field(part, step, self._source.case_sensitive)
            # The parts of a model are found in any case, the keys of a plain dict are not.
            any_case = isinstance(part, FieldInfo) and not self._source.case_sensitive
            match = next(
                (k for k in value if k == step or (any_case and str(k).lower() == step.lower())), None
            )
            if match is None:
                return False
            value = value[match]
        return not isinstance(value, dict)  # the dicts of two sources are merged


def model_keys(name: str, field: FieldInfo, config: Mapping[str, Any]) -> dict[str, bool]:
    """Return the keys of the model's data under which pydantic looks for a field's value, in its order.

    Each comes with whether it holds a container of the value (`AliasPath`).
    """
    alias = field.validation_alias
    keys: dict[str, bool] = {}
    if alias and config.get("validate_by_alias") is not False:
        for choice in alias.choices if isinstance(alias, AliasChoices) else [alias]:
            path = choice.path if isinstance(choice, AliasPath) else [choice]
            keys.setdefault(str(path[0]), len(path) > 1)
    if not keys or _is_read_by_name(config):
        keys.setdefault(name, False)
    return keys


def _is_read_by_name(config: Mapping[str, Any]) -> bool:
    return bool(config.get("populate_by_name") or config.get("validate_by_name"))


def fold(source: EnvSettingsSource | SecretsSettingsSource, name: str) -> str:
    """Return *name* as *source* compares names."""
    return name if source.case_sensitive else name.lower()


def names_from_source(source: EnvSettingsSource, name: str, field: FieldInfo) -> FieldNames:
    """Return the names that *source* looks up for *field*, in an environment without variables."""
    source.env_vars = no_variables = _NoVariables()
    info: list[tuple[str, str, bool]] = []
    try:
        _, _, is_complex = source.get_field_value(field, name)
        info = field_info(source, field, name)
        # Without a delimiter pydantic-settings looks for nothing more, and takes long to find that out.
        prepare = getattr(source.prepare_field_value, "__func__", None)
        if source.env_nested_delimiter or prepare is not RULES["prepare_field_value"]:
            source.prepare_field_value(name, field, None, is_complex)
        has_nested = no_variables.was_searched
    except Exception:  # noqa: BLE001 (a subclass may not expect a variable to be missing)
        has_nested = True
    keys, names = model_keys(name, field, source.config), no_variables.names
    if names == [own for _, own, _ in info]:
        targets: Sequence[Sequence[str]] = _targets(info, name, is_by_name=_is_read_by_name(source.config))
    else:  # a subclass has rules of its own
        targets = [[*keys]] * (len(names) + 1)
    return FieldNames(name, names, keys, targets, has_nested=has_nested)


def _targets(info: Sequence[tuple[str, str, bool]], name: str, *, is_by_name: bool) -> list[tuple[str]]:
    """Return the key under which a source passes on each variable of the field *name*; the last is for nested ones.

    *info* has for each variable the key, the variable, and whether it is a container. With *is_by_name*, pydantic
    looks for the field's own name, too.
    """
    first, _, first_is_container = info[0]
    targets: list[tuple[str]] = []
    for key, _, is_container in info:
        stays = is_container or (is_by_name and key == name)
        moves = PREFERS_FIRST_KEY and not stays and not first_is_container
        targets.append((first if moves else key,))
    # Without a value of its own a field has the key of its last variable.
    moves = not stays and not (PREFERS_FIRST_KEY and first_is_container)
    return [*targets, (first if moves else key,)]


def _has_usual_rules(source: EnvSettingsSource) -> bool:
    """Return whether *source* finds names as pydantic-settings does, without rules of a subclass, hook or test."""
    cls = type(source)
    return (
        cls in (EnvSettingsSource, DotEnvSettingsSource)
        and not RULES.keys() & vars(source).keys()
        and all(getattr(cls, name) is rule for name, rule in RULES.items())
    )


class _NoVariables(Mapping[str, "str | None"]):
    """An environment without variables, which records the names looked up in it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.was_searched = False

    def __getitem__(self, name: str) -> str | None:
        self.names.append(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        self.was_searched = True
        return iter(())

    def __len__(self) -> int:
        return 0
