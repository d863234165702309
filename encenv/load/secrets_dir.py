"""The files of ``secrets_dir``: each has the name of its variable, and is read when its field is reached."""

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, SecretsSettingsSource

from encenv.format.sealed import claims, embeds, entry_kid
from encenv.keys.process_safety import lazily
from encenv.load.field_names import ModelNames, fold
from encenv.load.reader_session import Reader, SettingsSession

if TYPE_CHECKING:
    from encenv.files import disk
else:
    disk = lazily("encenv.files.disk")


class SecretFiles(Reader):
    """The files that a `SecretsSettingsSource` reads."""

    def __init__(self, session: SettingsSession, source: SecretsSettingsSource) -> None:
        self._session, self._source = session, source
        release(source)
        self._get, self._find = source.get_field_value, source.find_case_path
        # What was looked up last: the name, the file, and the plaintext file that it would replace.
        self._file: tuple[str, Path, Path | None] | None = None
        self._results: dict[str, tuple[Any, str, bool]] = {}
        self._plain: dict[str, str] = {}  # by field
        # Replaces the public methods that read and find a file.
        source.get_field_value = self._get_field_value  # type: ignore[method-assign]
        source.find_case_path = self._find_case_path  # type: ignore[method-assign,assignment]

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield the key entries in the folders."""
        paths = self._source.secrets_dir
        folders = [paths] if isinstance(paths, (str, os.PathLike)) else paths or ()
        for folder in folders:
            path = Path(folder).expanduser()
            for file in sorted(path.iterdir()) if path.is_dir() else ():
                if entry_kid(file.name) is not None and file.is_file():
                    yield file.name, disk.read_text(file).strip()

    def plain_texts(self) -> Iterator[tuple[str, str]]:
        """Yield each plaintext with every key of the model's data for its field."""
        for field_name, text in self._plain.items():
            yield from ((key, text) for key in self._model.fields[field_name].loc_keys)

    def _get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        state = self._source.current_state
        if self._state is not state:
            self._results, self._state = self._read(state), state
        return self._results.get(field_name) or self._get(field, field_name)

    def _read(self, state: Mapping[str, Any]) -> dict[str, tuple[Any, str, bool]]:
        session, fields = self._session, self._source.settings_cls.model_fields
        results: dict[str, tuple[Any, str, bool]] = {}
        encrypted_files: dict[str, tuple[Path, Path | None, str]] = {}
        for field_name, field in fields.items():
            self._file = None
            text, key, is_complex = results[field_name] = self._get(field, field_name)
            if self._file is None or not isinstance(text, str):
                continue
            if not claims(text) and not embeds(text):
                self._plain[field_name] = text
                continue
            results[field_name] = None, key, is_complex
            name, path, plaintext = self._file
            names = self._model.fields[field_name]
            role = names.roles[names.names.index(name)]
            is_given = bool(state) and self._model.is_given(role, state, ())
            if (field_name,) not in session.lost_paths and not is_given:
                encrypted_files[field_name] = path, plaintext, text
        if encrypted_files:
            session.before_read(self, state)
            session.prepare(text for *_, text in encrypted_files.values())
        for field_name, (path, plaintext, text) in encrypted_files.items():
            if plaintext is not None:
                session.fail_both_set(plaintext.name, path.name)
            value = session.decrypt(path.name, text)
            session.decrypted_keys.update(self._model.fields[field_name].loc_keys)
            if value is not None:
                # Stripped after decryption, too, as the source strips the text of a plain file.
                results[field_name] = value.strip(), *results[field_name][1:]
        return results

    def _find_case_path(self, folder: Path, name: str, case_sensitive: bool) -> Path | None:
        """Return the file *name* as the source would, or the encrypted file that supplies the same name."""
        own, prefix = self._find(folder, name, case_sensitive), self._session.prefix
        other = self._find(folder, prefix + name, case_sensitive) if prefix else None
        if other is not None and other.name.startswith(prefix) and self._supplies_another(other):
            self._file = name, other, own
            return other
        if own is not None:
            self._file = name, own, None
        return own

    def _supplies_another(self, file: Path) -> bool:
        if not file.is_file() or not claims(disk.read_text(file).strip()):
            return False
        return not self._model.roles(fold(self._source, file.name))

    @functools.cached_property
    def _model(self) -> ModelNames:
        source = self._source
        return ModelNames(
            EnvSettingsSource(
                source.settings_cls,
                case_sensitive=source.case_sensitive,
                env_prefix=source.env_prefix,
                env_prefix_target=source.env_prefix_target,
                env_nested_delimiter="",
            )
        )


def release(source: SecretsSettingsSource) -> None:
    """Remove from *source* the methods that a load has put into it."""
    for name in ("get_field_value", "find_case_path"):
        vars(source).pop(name, None)
