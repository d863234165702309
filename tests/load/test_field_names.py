"""Which variables a settings class is read from: shortcuts must agree with pydantic-settings itself."""

import itertools

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, create_model
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource
from pydantic_settings.sources.utils import parse_env_vars

from encenv.load.field_names import ModelNames, names_from_source
from encenv.load.sources import as_kept


class Part(BaseModel):
    """A model below another."""

    a: str = ""


FIELDS = {
    "plain": (str, ...),
    "Mixed_Case": (int, 0),
    "straße": (str, ""),
    "complex": (dict[str, int], {}),
    "model": (Part | None, None),
    "aliased": (str, Field("", alias="ALIAS")),
    "by_validation": (str, Field("", validation_alias="Other")),
    "shown_as": (str, Field("", serialization_alias="elsewhere")),
    "choices": (str, Field("", validation_alias=AliasChoices("ONE", AliasPath("two", 0), "choices"))),
    "path": (str, Field("", validation_alias=AliasPath("above", "below"))),
}
OPTIONS = {
    "case_sensitive": [True, False],
    "env_prefix": ["", "App_"],
    "env_nested_delimiter": [None, "__"],
    "populate_by_name": [False, True],
    "env_ignore_empty": [False, True],
    "env_parse_none_str": [None, "null"],
}
VARIABLES = {"PLAIN": "x", "Mixed_Case": "1", "EMPTY": "", "NOTHING": "null", "plain": "y"}


class OwnNames(EnvSettingsSource):
    """A source that the application made, with another rule for names."""

    def _apply_case_sensitive(self, value: str) -> str:
        return f"own_{value}"


def with_own_method(settings):
    """A source whose method a hook has replaced."""
    source = EnvSettingsSource(settings)
    source._apply_case_sensitive = lambda value: f"own_{value}"
    return source


@pytest.mark.parametrize("cls", [EnvSettingsSource, DotEnvSettingsSource, OwnNames, with_own_method])
@pytest.mark.parametrize("options", [*itertools.product(*OPTIONS.values())], ids=str)
def test_names(cls, options):
    """A source reads a field from the names that it says itself, and keeps variables as pydantic-settings does."""
    config = dict(zip(OPTIONS, options, strict=True))
    settings = create_model("Settings", __base__=BaseSettings, **FIELDS)
    settings.model_config.update(config)
    source = cls(settings)
    names_read = ModelNames(source)
    for name, field in settings.model_fields.items():
        ours, theirs = names_read.fields[name], names_from_source(source, name, field)
        for part in ("name", "has_nested", "loc_keys"):
            assert getattr(ours, part) == getattr(theirs, part)
        assert list(ours.names) == list(theirs.names)
        assert [[*keys] for keys in ours.targets] == [[*keys] for keys in theirs.targets]
        assert [*ours.keys.items()] == [*theirs.keys.items()]
    kept = parse_env_vars(
        VARIABLES, source.case_sensitive, source.env_ignore_empty, source.env_parse_none_str
    )
    assert as_kept(source, VARIABLES) == kept


def test_names_of_a_class_that_was_changed(monkeypatch):
    """Rules that were put onto pydantic-settings' own class hold, too."""
    monkeypatch.setattr(EnvSettingsSource, "_apply_case_sensitive", lambda source, value: f"own_{value}")
    settings = create_model("Settings", __base__=BaseSettings, **FIELDS)
    assert ModelNames(EnvSettingsSource(settings)).fields["plain"].names == ["own_plain"]
