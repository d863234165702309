"""What a settings class asks an environment for: nothing else is ever decrypted."""

import functools
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from pydantic import AliasChoices, AliasPath
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource, SecretsSettingsSource
from pydantic_settings.sources.utils import parse_env_vars

# How a source says which variables it reads a field from: where nothing of it is replaced, the usual rules hold.
_RULES = {
    name: getattr(EnvSettingsSource, name, None)
    for name in ("get_field_value", "prepare_field_value", "_extract_field_info", "_apply_case_sensitive")
}
_FIRST = ((0,),)  # the lands of one name, which goes to one key


class ModelKey:
    """A key of the model's data under which pydantic looks for a field, perhaps for a path below it."""

    __slots__ = ("is_path", "name")

    def __init__(self, name: str, *, is_path: bool) -> None:
        self.name, self.is_path = name, is_path


class AskedField:
    """One field of the model.

    Attributes:
        name: The field's name.
        names: The variables that it is read from, in order, as the source compares names.
        keys: Where pydantic looks for its value, in order.
        lands: For each of *names* the positions in *keys* at which its value may be handed on.
        has_nested: Whether variables below *names*, such as ``NAME__PART``, are read, too.
        uses: The use of each of *names*, once the whole model is asked.
        loc_keys: What a validation error may call the field.
    """

    __slots__ = ("has_nested", "keys", "lands", "loc_keys", "name", "names", "uses")

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        keys: Sequence[ModelKey],
        lands: Sequence[Sequence[int]],
        *,
        has_nested: bool,
    ) -> None:
        self.name, self.names, self.keys, self.lands, self.has_nested = name, names, keys, lands, has_nested
        self.uses: list[Use] = []
        self.loc_keys = {name}
        for key in keys:
            self.loc_keys.add(key.name)


class Use:
    """One use of a variable: the field, which of its names that is, and the path below it, perhaps empty."""

    __slots__ = ("field", "path", "place")

    def __init__(self, field: str, place: int, path: tuple[str, ...] = ()) -> None:
        self.field, self.place, self.path = field, place, path


class Asked:
    """What one model asks one source for.

    Args:
        source: The source; it is asked itself, so that its own rules for names hold, also in a subclass.

    Attributes:
        fields: The fields of the model, by name.
        has_nested: Whether variables below a field's names are read.
    """

    def __init__(self, source: EnvSettingsSource) -> None:
        self._source = source
        has_plain_names = (
            not source.env_prefix and not source.env_nested_delimiter and _has_usual_rules(source)
        )
        kept = source.env_vars
        try:
            self.fields = {
                # To ask for each field takes a third of what all else does with its variable.
                name: _named_itself(source, name)
                if has_plain_names and field.validation_alias is None
                else _ask(source, name, field)
                for name, field in source.settings_cls.model_fields.items()
            }
        finally:
            source.env_vars = kept
        self.has_nested = bool(source.env_nested_delimiter) and any(
            field.has_nested for field in self.fields.values()
        )
        self._uses: dict[str, list[Use]] = {}
        for field in self.fields.values():
            for place, name in enumerate(field.names):
                use = Use(field.name, place)
                field.uses.append(use)
                if name not in self._uses:
                    self._uses[name] = [use]
                elif self._uses[name][-1].field != field.name:
                    self._uses[name].append(use)
        self._with_nested: set[str] = set()  # names whose uses below another name have been added

    @functools.cached_property
    def keys(self) -> set[str]:
        """The keys of the model's data."""
        return {key.name for field in self.fields.values() for key in field.keys}

    def uses(self, name: str) -> list[Use]:
        """Return what the model uses the variable *name* for; nothing if it does not ask for it."""
        delimiter = self._source.env_nested_delimiter
        if delimiter and delimiter in name and name not in self._with_nested:
            self._with_nested.add(name)
            self._uses[name] = [*self._uses.get(name, ()), *self._nested_uses(name, delimiter)]
        return self._uses.get(name, [])

    def is_given(self, use: Use, state: Mapping[str, Any], present: Container[str] = ()) -> bool:
        """Return whether *state*, which earlier sources filled, leaves nothing for *use* to say.

        Where that depends on pydantic-settings' version, the answer is no: a value too many is decrypted, none is lost.
        The source has the variables *present*: what is nested joins what the field's own name gives.
        """
        if not state:
            return False
        field = self.fields[use.field]
        lands: Sequence[int] = field.lands[use.place]
        if use.path:
            whole = any(name in present for name in field.names)
            lands = range(len(field.keys)) if whole else field.lands[-1]
        # Behind the key that pydantic takes, a value would be an extra one, which a model may also forbid or keep.
        is_dropped = len(lands) > 1 or self._source.config.get("extra") == "ignore"
        return all(
            (is_dropped and _is_behind(field, position, state))
            or self._is_shadowed(field, position, use.path, state)
            for position in lands
        )

    def _nested_uses(self, name: str, delimiter: str) -> Iterator[Use]:
        for field in self.fields.values():
            starts = (index for index, own in enumerate(field.names) if name.startswith(own + delimiter))
            index = next(starts, None) if field.has_nested else None
            if index is not None:
                below = name[len(field.names[index]) + len(delimiter) :]
                yield Use(field.name, index, tuple(below.split(delimiter, self._source.maxsplit)))

    def _is_shadowed(
        self, field: AskedField, position: int, path: tuple[str, ...], state: Mapping[str, Any]
    ) -> bool:
        if field.keys[position].name not in state:
            return False
        value: Any = state[field.keys[position].name]
        target: Any = self._source.settings_cls.model_fields[field.name]
        for step in path:
            if not isinstance(value, dict):
                return True  # a whole value was given where this variable would add to one
            target = self._source.next_field(target, step, self._source.case_sensitive)
            # The parts of a model are found in any case, the keys of a plain dict are not.
            fold = isinstance(target, FieldInfo) and not self._source.case_sensitive
            match = next((k for k in value if k == step or (fold and str(k).lower() == step.lower())), None)
            if match is None:
                return False
            value = value[match]
        return not isinstance(value, dict)  # the dicts of two sources are merged


def _is_behind(field: AskedField, position: int, state: Mapping[str, Any]) -> bool:
    return any(key.name in state and not key.is_path for key in field.keys[:position])


def model_keys(name: str, field: FieldInfo, config: Mapping[str, Any]) -> list[ModelKey]:
    """Return the keys under which pydantic looks for a field's value, in its order."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    keys = [
        ModelKey(str(choice.path[0]), is_path=len(choice.path) > 1)
        if isinstance(choice, AliasPath)
        else ModelKey(choice, is_path=False)
        for choice in choices
        if choice
    ]
    if config.get("validate_by_alias") is False:
        keys = []
    if not keys or _by_name(config):
        keys.append(ModelKey(name, is_path=False))
    return keys


def loc_keys(name: str, field: FieldInfo, config: Mapping[str, Any]) -> set[str]:
    """Return what a validation error may call the field."""
    return {name, *(key.name for key in model_keys(name, field, config))}


def _by_name(config: Mapping[str, Any]) -> bool:
    return bool(config.get("populate_by_name") or config.get("validate_by_name"))


def fold(source: EnvSettingsSource | SecretsSettingsSource, name: str) -> str:
    """Return *name* as *source* compares names."""
    return name if source.case_sensitive else name.lower()


def as_kept(source: EnvSettingsSource, variables: Mapping[str, Any]) -> Mapping[str, str | None]:
    """Return *variables* as *source* keeps them."""
    if not source.env_ignore_empty and source.env_parse_none_str is None:  # then it changes nothing but names
        return variables if source.case_sensitive else {name.lower(): variables[name] for name in variables}
    return parse_env_vars(
        variables, source.case_sensitive, source.env_ignore_empty, source.env_parse_none_str
    )


def _named_itself(source: EnvSettingsSource, name: str) -> AskedField:
    """Return what a field is read from that has no alias, without a prefix and a delimiter: the variable of its name."""
    return AskedField(name, (fold(source, name),), (ModelKey(name, is_path=False),), _FIRST, has_nested=False)


def _ask(source: EnvSettingsSource, name: str, field: FieldInfo) -> AskedField:
    """Let *source* look for *field* in an environment without variables, and note what it looks for."""
    source.env_vars = recorder = _Recorder()
    try:
        _, _, is_complex = source.get_field_value(field, name)
        # Without a delimiter pydantic-settings looks for nothing more; it takes long to find that out.
        if source.env_nested_delimiter or not _is_own(source.prepare_field_value):
            source.prepare_field_value(name, field, None, is_complex)
        has_nested = recorder.was_searched
    except Exception:  # noqa: BLE001 (a subclass may not expect a variable to be missing)
        has_nested = True
    keys = model_keys(name, field, source.config)
    names = recorder.names
    lands: Sequence[Sequence[int]]
    if len(names) == len(keys):
        lands = [_lands(keys, index, name) for index in range(len(keys))]
    else:  # a subclass has rules of its own
        lands = [range(len(keys))] * len(names)
    return AskedField(name, names, keys, lands, has_nested=has_nested)


def _has_usual_rules(source: EnvSettingsSource) -> bool:
    """Return whether *source* says names as pydantic-settings does: no subclass, hook or test has rules of its own."""
    cls = type(source)
    return (
        cls in (EnvSettingsSource, DotEnvSettingsSource)
        and not _RULES.keys() & vars(source).keys()
        and all(getattr(cls, name, None) is own for name, own in _RULES.items())
    )


def _is_own(method: Callable[..., Any]) -> bool:
    """Return whether *method* is pydantic-settings' own."""
    return getattr(method, "__func__", None) is EnvSettingsSource.prepare_field_value


def _lands(keys: list[ModelKey], index: int, name: str) -> tuple[int, ...]:
    # A value goes to its own key, or, in pydantic-settings from 2.14 on, to the first one, if neither is a path.
    # One found by the field's name always stays there.
    if keys[index].is_path or keys[0].is_path or keys[index].name == name:
        return (index,)
    return (0, index)


class _Recorder(Mapping[str, "str | None"]):
    """An environment without variables that notes which ones it is asked for."""

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

    def get(self, name: str, default: Any = None) -> Any:
        """Return *default*, and note *name*: what the base does, without an exception for each name."""
        self.names.append(name)
        return default
