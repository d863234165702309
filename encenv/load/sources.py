"""Make pydantic-settings' own sources read encrypted values.

The source objects stay the same. Only the place that they read from is replaced: `env_vars` by a mapping that decrypts
on first use, and `get_field_value` of the secret files' source. A source with nothing encrypted stays unchanged.
"""

import functools
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
from encenv.load.field_names import ModelNames, Role
from encenv.load.pydantic_names import HAS_DEPTH, HAS_FILTERING, LOADERS, clear_state, parse_env_vars
from encenv.load.reader_session import ABSENT, EncryptedVariable, Place, Reader, SettingsSession

if TYPE_CHECKING:
    from encenv.files import disk
    from encenv.load import dotenv, secrets_dir
else:
    disk = lazily("encenv.files.disk")
    dotenv = lazily("encenv.load.dotenv")
    secrets_dir = lazily("encenv.load.secrets_dir")

MASK = "**********"  # what pydantic's own SecretStr shows
_TRUE = {"1", "true", "yes", "on"}  # what pydantic-settings takes for PYDANTIC_SETTINGS_DEBUG


class HiddenEnvFile(list[str]):
    """Hides the ``.env`` file from pydantic-settings, which gets an empty list, and names it to encenv.

    The file is then read once, by encenv: a FIFO cannot be read twice, and python-dotenv would expand ``${NAME}``
    before anything is decrypted.
    """

    def __init__(self, env_file: Any) -> None:
        super().__init__()
        self.env_file = env_file


class DecryptingVariables(Reader, Mapping[str, "str | None"]):
    """The `env_vars` of one source, decrypted when the source first reads one.

    The last of several *places* that have a variable wins.
    """

    def __init__(self, session: SettingsSession, source: EnvSettingsSource, places: Sequence[Place]) -> None:
        self._session, self._source = session, source
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
        """Return the value of *name*, or *default*, as the base does, with half as many calls."""
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

    def needs(self, state: Mapping[str, Any], earlier_fields: set[str]) -> list[str]:
        """Return the encrypted values that are certain to be read; see the base."""
        texts: list[str] = []

        def value(name: str) -> Any:
            variable = self._variables[name]
            if not isinstance(variable, EncryptedVariable):
                return variable
            texts.extend(variable.texts)
            return MASK

        self._visit(state, value, earlier_fields)
        earlier_fields.update(role.field.name for name in self._variables for role in self._model.roles(name))
        return texts

    def plain_texts(self) -> Iterator[tuple[str, str]]:
        """Yield each plaintext and the names below its field, with every key of the model's data for them."""
        for name, variable in self._variables.items():
            while isinstance(variable, EncryptedVariable):
                variable = variable.below  # noqa: PLW2901 (what it replaces)
            if variable is not ABSENT:
                steps = [step for role in self._model.roles(name) for step in role.path]
                for key in self._keys(name):
                    yield from ((key, text) for text in (variable, *steps) if text is not None)

    def _add(self, place: Place) -> None:
        """Put the variables of *place* above those that are there."""
        with_duplicates: dict[str, EncryptedVariable] = {}
        roles = self._model.roles
        for own, value in place.items():
            name = self._fold(own)
            if isinstance(value, EncryptedVariable):
                other = self._fold(own.removeprefix(self._session.prefix))
                # A variable with the prefix supplies the name without it, if the model reads only that name.
                if other != name and claims(value.raw) and roles(other) and not roles(name):
                    name = other
                    with_value = (one for one, text in place.items() if text is not None)
                    value.duplicate = next((one for one in with_value if self._fold(one) == name), "")
                    if value.duplicate:
                        with_duplicates[name] = value
                value.below = self._variables.get(name, ABSENT)
                self._variables[name] = value
            elif value != "" or not self._source.env_ignore_empty:
                self._variables[name] = value
        self._variables.update(with_duplicates)

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
            return None if values[name] is ABSENT else values[name]

        hidden_names = self._visit(state, value)
        reports_extra = self._passes_on and self._source.config.get("extra") == "forbid"
        for name, variable in self._variables.items():
            if name in values:
                continue
            stand_in = variable
            if isinstance(variable, EncryptedVariable):  # a mask where the model reports the line by its name
                stand_in = MASK if reports_extra and not self._model.roles(name) else ABSENT
            values[name] = ABSENT if name in hidden_names else stand_in
        # In their own order, which decides between two names that differ only in case.
        present = {name: values[name] for name in self._variables if values[name] is not ABSENT}
        return as_kept(self._source, present)

    def _visit(
        self, state: Mapping[str, Any], value: Callable[[str], Any], skip: Collection[str] = ()
    ) -> set[str]:
        """Call *value* with each name that the source will use, for fields that are not in *skip*.

        Return names to hide from the source: where a field's first name is withheld, it would fall back to these.
        """
        hidden_names: set[str] = set()
        withheld_fields: set[str] = set()  # fields whose encrypted value the source does not get
        for field in self._model.fields.values():
            for role, name in zip(field.roles, field.names, strict=True):
                if self._variables.get(name) is None:  # it is missing, or a line without a value
                    continue
                # The first name that has a value is taken, whatever it is; the source looks at no other.
                if self._is_needed(role, state, skip):
                    if value(name) is None and (field.name,) not in self._session.lost_paths:
                        continue
                elif isinstance(self._variables[name], EncryptedVariable):
                    withheld_fields.add(field.name)
                    hidden_names.update(field.names[role.position + 1 :])
                break
        skip = {*skip, *withheld_fields}
        for name, variable in self._variables.items():
            if withheld_fields or isinstance(variable, EncryptedVariable):
                roles = self._model.roles(name) if self._source.env_nested_delimiter else ()
                below = [role for role in roles if role.path]
                hidden_names.update(name for role in below if role.field.name in withheld_fields)
                is_needed = any(self._is_needed(role, state, skip) for role in below)
                if is_needed or (self._passes_on and self._is_passed_on(name, state)):
                    value(name)
        return hidden_names

    def _is_needed(self, role: Role, state: Mapping[str, Any], skip: Collection[str]) -> bool:
        field, lost_paths = role.field.name, self._session.lost_paths
        if field in skip or (lost_paths and (field, *role.path) in lost_paths):
            return False
        return not state or not self._model.is_given(role, state, self._variables)

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
        """Return the value of *name*, decrypted; `ABSENT` if there is none or the session got a failure."""
        session, variable = self._session, self._variables[name]
        while isinstance(variable, EncryptedVariable):
            before = len(session.failures)
            if variable.duplicate:
                session.fail_both_set(variable.duplicate, variable.name)
            if variable.value is ABSENT:
                variable.value = variable.decrypt()
            value = variable.value
            if len(session.failures) > before:
                session.lost_paths.update((role.field.name, *role.path) for role in self._model.roles(name))
                return ABSENT
            if value != "" or not self._source.env_ignore_empty:
                session.decrypted_keys.update(self._keys(name))
                return value
            variable = variable.below
        return variable

    def _keys(self, name: str) -> set[str]:
        """Return the keys of the model's data under which an error may show the variable *name*."""
        keys = {key for role in self._model.roles(name) for key in role.field.loc_keys}
        return keys or {name.removeprefix(self._prefix)}


def adopt(session: SettingsSession, sources: Sequence[Any]) -> None:
    """Make *sources* read encrypted variables if they read variables; they are in order of precedence."""
    session.hook_arguments = session.hook_arguments or sources
    session.sources, session.order = sources, []
    for source in sources:
        if id(source) not in session.readers:
            session.readers[id(source)] = source, _reader(session, source)
        reader = session.readers[id(source)][1]
        # The values of the application's own source are unknown; any other source without a reader is left out.
        if reader is not None or not isinstance(source, (EnvSettingsSource, SecretsSettingsSource)):
            session.order.append(reader)


def states(session: SettingsSession) -> dict[str, dict[str, Any]]:
    """Return what the sources have given, by the names of their classes, highest first."""
    sources = (source for source in session.sources if isinstance(source, PydanticBaseSettingsSource))
    return next((source.settings_sources_data for source in sources), {})


def forget(session: SettingsSession) -> None:
    """Remove decrypted values from the sources, because frames of `CliApp` keep these after the load."""
    for source in (*session.sources, *session.cli_sources):
        if isinstance(source, PydanticBaseSettingsSource):
            clear_state(source)
            vars(source).pop("session", None)
            if isinstance(source, SecretsSettingsSource):
                secrets_dir.release(source)
            if isinstance(source, EnvSettingsSource) and isinstance(source.env_vars, DecryptingVariables):
                vars(source.env_vars).clear()  # not replaced: it shows that the source has served a load


def _reader(session: SettingsSession, source: Any) -> Reader | None:
    """Return the reader of *source*; None if the source stays unchanged."""
    if isinstance(source, SecretsSettingsSource):
        return None if source.secrets_dir is None else secrets_dir.SecretFiles(session, source)
    if not isinstance(source, EnvSettingsSource) or isinstance(source, CliSettingsSource):
        return None
    loaders = next(loaders for family, loaders in LOADERS.items() if isinstance(source, family))
    if any(getattr(type(source), name) is not loader for name, loader in loaders.items()):
        return None  # a subclass that reads from elsewhere (AWS, Azure, …)
    # The application has kept the source, which has served another load.
    if isinstance(source.env_vars, DecryptingVariables):
        source.env_vars = loaders["_load_env_vars"](source)  # as when it was made
    try:
        places = (
            _files(session, source) if isinstance(source, DotEnvSettingsSource) else _texts(session, source)
        )
    except EncenvError as error:  # of a file
        session.failures.append(error.of(*error.variables))
        places = [{}]
    return DecryptingVariables(session, source, places) if places else None


def _texts(session: SettingsSession, source: EnvSettingsSource) -> Sequence[Place]:
    """Return what *source* reads, the process environment or folders; nothing if nothing there is encrypted."""
    # Names are in lower case unless the source compares cases.
    prefixes, variables = (ENTRY_PREFIX, ENTRY_PREFIX.lower()), source.env_vars.items()
    if not any(name.startswith(prefixes) or "encenv:" in (text or "") for name, text in variables):
        return []
    if isinstance(source, NestedSecretsSettingsSource):

        def decrypt(name: str, text: str) -> str | None:
            plain = session.decrypt(name, text)
            return plain and plain.strip()  # as the source strips the text of a plaintext file

        return [_place(session, source.load_secrets(path), decrypt) for path in source.secrets_paths]
    texts = dict(os.environ)  # copied once: each read of os.environ decodes the text again
    # A subclass may have changed the variables; if not, their original names are used.
    is_unchanged = source.env_vars == as_kept(source, texts)
    return [_place(session, texts if is_unchanged else _names_upper(source))]


def _files(session: SettingsSession, source: DotEnvSettingsSource) -> Sequence[Place]:
    """Return the files of *source*; if nothing in them is encrypted, read them at once and return none."""
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
    places = [file.variables() for file in files]
    is_plain = not any(isinstance(value, EncryptedVariable) for place in places for value in place.values())
    if not is_plain or any(file.has_entries for file in files):
        return places
    if is_hidden:
        source.env_vars = {name: text for place in places for name, text in as_kept(source, place).items()}
    return []


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


def as_kept(source: EnvSettingsSource, variables: Mapping[str, Any]) -> Mapping[str, str | None]:
    """Return *variables* as *source* keeps them."""
    if not source.env_ignore_empty and source.env_parse_none_str is None:  # then it changes nothing but names
        return variables if source.case_sensitive else {name.lower(): variables[name] for name in variables}
    return parse_env_vars(
        variables, source.case_sensitive, source.env_ignore_empty, source.env_parse_none_str
    )


def _names_upper(source: EnvSettingsSource) -> dict[str, str | None]:
    """Return what *source* has read already, key entries under their upper-case names."""
    return {
        name.upper() if entry_kid(name.upper()) else name: value for name, value in source.env_vars.items()
    }


def _existing_files(source: DotEnvSettingsSource, *, report: bool) -> Iterator[Path]:
    """Yield the files that the source would read: in this folder, or up to ``env_file_depth`` folders above."""
    log = logging.getLogger("pydantic_settings")
    report = report and os.environ.get("PYDANTIC_SETTINGS_DEBUG", "").strip().lower() in _TRUE
    depth = max(0, source.env_file_depth or 0) if HAS_DEPTH else 0
    files = [source.env_file] if isinstance(source.env_file, (str, os.PathLike)) else source.env_file or ()
    for file in files:
        path = Path(file).expanduser()
        above = [] if path.is_absolute() else [parent / path for parent in islice(Path.cwd().parents, depth)]
        existing = next((candidate for candidate in [path, *above] if disk.is_file_or_fifo(candidate)), None)
        if report:  # as the source itself would
            message = "Loading env file: %s" if existing else "Env file not found, skipping: %s"
            log.debug(message, (existing or path).resolve())
        if existing is not None:
            yield existing
