"""The law, on random settings classes: an encrypted environment behaves exactly as its plaintext did.

Each seed makes one class (names, aliases, nested models, options) and values for it in two or three sources that
overlap. It is loaded from plaintext over `BaseSettings`, then over `EncryptedSettings` with nothing encrypted, with
everything encrypted, and with random parts encrypted.

Four cases cannot agree, because encenv does not decrypt what no field is read from. The generator leaves them out:

* A name that begins with ``ENC_``: encrypted, it supplies the name behind the prefix.
* A line of a ``.env`` file that no field is read from, and whose value is empty: pydantic-settings skips such a
  line, and nothing but decryption tells that an encrypted one is empty.
* A value that an earlier source replaces, and that is not valid JSON: it is not decrypted, so nobody finds out.
* One name twice in two cases in one place: which one is meant depends on their order, and the test reorders them.
"""

import random
import shutil
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, AliasGenerator, AliasPath, BaseModel, Field, ValidationError, create_model
from pydantic.alias_generators import to_camel
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from support.equivalence import Case, assert_equivalent, is_same, outcome

from encenv import EncryptedSettings
from encenv.load.pydantic_names import VERSION

SEEDS = 200  # some 20 seconds
WAYS = 3  # random parts that are encrypted, of each seed


class Inner(BaseModel):
    """A part of a part."""

    key: str = "inner"
    count: int = 0


class Part(BaseModel):
    """A part of a model."""

    user: str = "nobody"
    password: str = "unset"
    Host: str = "nowhere"
    inner: Inner = Inner()
    tags: list[str] = []
    aliased: str = Field("unset", validation_alias=AliasChoices("alias", "other"))


class Strict(BaseModel):
    """A part without defaults, and without room for more."""

    model_config = {"extra": "forbid"}
    user: str
    password: str


# Each type with texts that a variable of it may have; some are not valid.
TYPES: dict[str, tuple[Any, list[str]]] = {
    "str": (str, ["text", "other text", " spaced ", "", "null", "[1]", '{"user": "x"}']),
    "int": (int, ["1", "2", "x", "", "null"]),
    "str or None": (str | None, ["text", "", "null"]),
    "list": (list[str], ['["a"]', '["b", "c"]', "[]", "not json", ""]),
    "dict": (dict[str, str], ['{"user": "json"}', "{}", '{"a": "json", "b": "json"}', "not json"]),
    "dict of parts": (dict[str, Part], ['{"a": {"user": "json"}}', "{}"]),
    "Part": (
        Part,
        ['{"user": "json"}', '{"password": "json"}', "{}", '{"inner": {"key": "json"}}', "", "null"],
    ),
    "Strict": (Strict, ['{"user": "json"}', '{"user": "json", "password": "json"}', "{}"]),
    "Part or None": (Part | None, ['{"user": "json"}', "null", "{}"]),
    "Part or str": (Part | str, ['{"user": "json"}', "not json", ""]),
    "Any": (Any, ["text", '{"a": 1}', ""]),
}
NESTED = ["dict", "dict of parts", "Part", "Strict", "Part or None", "Part or str"]
BELOW = [
    "user",
    "password",
    "PASSWORD",
    "host",
    "Host",
    "inner",
    "inner{d}key",
    "INNER{d}count",
    "tags",
    "alias",
    "x",
]
NAMES = ["db", "database", "a", "user_name", "Db", "x_a"]
ALIASES = ["db", "database", "dB", "DB", "userName", "a", "b", "x_db", "USER_NAME"]
TEXTS_BELOW = ["text", "other", "3", "", "null", '["j"]', '{"key": "json"}']


Place = tuple[str, str, int]  # as `Case.places` names it


@dataclass
class Example:
    """One settings class and the values that it is loaded from."""

    fields: dict[str, tuple[str, Any, bool]] = field(
        default_factory=dict
    )  # type, alias, whether it is required
    config: dict[str, Any] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, str | None]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    hook: str = ""


def draw_alias(draw: random.Random) -> Any:
    """Return an alias of a field, or None."""

    def path():
        return AliasPath(
            draw.choice(ALIASES), *draw.choices([0, 1, "user", "password", "a"], k=draw.randint(0, 2))
        )

    def choice():
        return path() if draw.random() < 0.25 else draw.choice(ALIASES)

    kind = draw.random()
    if kind < 0.4:
        return None
    if kind < 0.6:
        return draw.choice(ALIASES)
    if kind < 0.7:
        return path()
    return AliasChoices(*(choice() for _ in range(draw.randint(1, 3))))


def draw_config(draw: random.Random) -> dict[str, Any]:
    """Return options of the class, most of them unset."""
    delimiter = draw.choice(["__", "__", "__", "_", None])
    config: dict[str, Any] = {"extra": draw.choice(["ignore", "ignore", "forbid", "allow"])}
    options = {
        "env_nested_delimiter": ([delimiter], 1.0),
        "env_nested_max_split": ([1, 2], 0.2),
        "case_sensitive": ([True], 0.25),
        "env_prefix": (["x_", "X_"], 0.2),
        "env_prefix_target": (["alias", "all"], 0.2),
        "env_ignore_empty": ([True], 0.25),
        "env_parse_none_str": (["null"], 0.25),
        "env_parse_enums": ([True], 0.1),
        "nested_model_default_partial_update": ([True], 0.15),
        "dotenv_filtering": (["only_existing", "match_prefix"], 0.2),
        "validate_by_name": ([True], 0.4),
        "strict": ([True], 0.05),
        "alias_generator": ([to_camel, AliasGenerator(validation_alias=str.upper)], 0.2),
    }
    for name, (choices, chance) in options.items():
        if draw.random() < chance:
            config[name] = draw.choice(choices)
    if config.get("validate_by_name") and draw.random() < 0.2:
        config["validate_by_alias"] = False
    return config


def names_read(example: Example) -> dict[str, str]:
    """Return the variables that the fields are read from, each with its field's type."""
    config, names = example.config, {}
    prefix, target = config.get("env_prefix", ""), config.get("env_prefix_target", "variable")
    generator = config.get("alias_generator")
    for name, (kind, alias, _) in example.fields.items():
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias] if alias else []
        heads = [choice.path[0] if isinstance(choice, AliasPath) else choice for choice in choices]
        if generator and not heads:
            heads = [generator(name) if generator is to_camel else name.upper()]
        if config.get("validate_by_alias") is False:
            heads = []
        names |= {(prefix if target != "variable" else "") + head: kind for head in heads}
        if not heads or config.get("validate_by_name"):
            names[(prefix if target != "alias" else "") + name] = kind
    return names


def is_read(example: Example, name: str) -> bool:
    """Return whether a field is read from the variable *name*."""
    fold = str if example.config.get("case_sensitive") else str.lower
    delimiter = example.config.get("env_nested_delimiter")
    return any(
        fold(name) == fold(own)
        or (delimiter and kind in NESTED and fold(name).startswith(fold(own) + delimiter))
        for own, kind in names_read(example).items()
    )


def draw_variables(draw: random.Random, example: Example) -> dict[str, str]:
    """Return some variables, among them parts of nested models and some that no field is read from."""
    delimiter = example.config.get("env_nested_delimiter")
    variables: dict[str, str] = {}
    names = names_read(example) | {name: kind for name, (kind, *_) in example.fields.items()}
    for _ in range(draw.randint(1, 4)):
        name = draw.choice(list(names))
        kind = names[name]
        texts = TYPES[kind][1]
        if delimiter and (kind in NESTED or draw.random() < 0.1) and draw.random() < 0.75:
            name += delimiter + draw.choice(BELOW).format(d=delimiter)
            texts = TEXTS_BELOW
        if draw.random() < 0.1:
            name, texts = draw.choice(["other", "x_other", "extra__user"]), ["text", "other"]
        if not example.config.get("case_sensitive") or draw.random() < 0.3:
            name = draw.choice([name, name.upper(), name.lower()])
        if name.lower() not in map(str.lower, variables):
            variables[name] = draw.choice(texts)
    return variables


def draw_init(draw: random.Random, example: Example) -> dict[str, Any]:
    """Return arguments of the call."""
    init: dict[str, Any] = {}
    for name in draw.sample(list(names_read(example)), k=draw.randint(0, 1)):
        kind = names_read(example)[name]
        init[name] = (
            draw.choice([{"user": "init"}, {}]) if kind in NESTED else draw.choice(["init", "7", ["init"]])
        )
    return init


def draw_file(draw: random.Random, example: Example) -> dict[str, str | None]:
    """Return the lines of a ``.env`` file: some without a value, some that refer to another variable."""
    lines: dict[str, str | None] = dict(draw_variables(draw, example))
    for name in lines:
        chance = draw.random()
        if chance < 0.05:
            lines[name] = None
        elif chance < 0.15 and (is_read(example, name) or example.config["extra"] != "forbid"):
            lines[name] = "${" + draw.choice([*lines, *example.environ]) + "}"
    return lines


def draw_example(draw: random.Random) -> Example:
    """Return a class, and values for it in two or three sources."""
    example = Example(config=draw_config(draw))
    for name in draw.sample(NAMES, k=draw.randint(1, 3)):
        kind = draw.choice([*TYPES, *NESTED])
        example.fields[name] = kind, draw_alias(draw), draw.random() < 0.2
    kinds = draw.sample(
        ["init", "environ", "environ", "first", "first", "second", "secrets"], k=draw.randint(2, 5)
    )
    if "init" in kinds:
        example.init = draw_init(draw, example)
    if "environ" in kinds:
        example.environ = draw_variables(draw, example)
    for kind in ("first", "second"):
        if kind in kinds:
            example.files[kind] = draw_file(draw, example)
    if "secrets" in kinds:
        example.secrets["run"] = draw_variables(draw, example)
        example.hook = draw.choice(["", "", "nested secrets"])
    if draw.random() < 0.1:
        example.hook = draw.choice(["reversed", "twice", "a source of its own"])
    return example


def loader(example: Example) -> Any:
    """Return a function that makes the class of *example* over a base, and loads it."""

    def hook(cls, settings_cls, **sources):
        if example.hook == "nested secrets":
            sources["file_secret_settings"] = NestedSecretsSettingsSource(sources["file_secret_settings"])
        if example.hook == "twice":
            sources["again"] = EnvSettingsSource(settings_cls)
        if example.hook == "a source of its own":
            sources = {"own": lambda: {"db": {"user": "own"}}, **sources}
        ordered = tuple(sources.values())
        return ordered[::-1] if example.hook == "reversed" else ordered

    def load(base: type[BaseSettings]) -> BaseSettings:
        fields: dict[str, Any] = {}
        for name, (kind, alias, is_required) in example.fields.items():
            fields[name] = (
                TYPES[kind][0],
                Field(... if is_required else None, validation_alias=alias, validate_default=False),
            )
        config: Any = {
            **example.config,
            "env_file": tuple(example.files),
            "secrets_dir": tuple(example.secrets) or None,
            "protected_namespaces": (),
        }
        space = {
            "model_config": SettingsConfigDict(**config),
            "settings_customise_sources": classmethod(hook),
        }
        parent = type("Parent", (base,), space if example.hook else {"model_config": space["model_config"]})
        made = create_model("Made", __base__=parent, **fields)
        return made(**example.init)

    return load


def case_of(example: Example) -> Case:
    """Return *example* as a case, its files as texts."""
    files = {
        name: "".join(
            name_of + "\n" if text is None else f"{name_of}={quoted(text)}\n"
            for name_of, text in lines.items()
        )
        for name, lines in example.files.items()
    }
    secrets = {
        f"{top}/{name}": text for top, files_in in example.secrets.items() for name, text in files_in.items()
    }
    return Case(loader(example), example.environ, files, secrets)


def quoted(text: str) -> str:
    """Return *text* as a value of a ``.env`` file."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def may_be_encrypted(example: Example, place: Place) -> bool:
    """Return whether the value at *place* can behave as its plaintext, see above."""
    kind, where, number = place
    if kind != "files" or example.config["extra"] != "forbid":
        return True
    name, text = list(example.files[where].items())[number]
    return is_read(example, name) or text != ""


def differences(root: Path, example: Example, draw: random.Random) -> list[str]:
    """Return in which ways *example* does not behave as its plaintext."""
    case = case_of(example)
    places = [place for place in case.places() if may_be_encrypted(example, place)]
    ways = [set(), set(places)] + [{place for place in places if draw.random() < 0.5} for _ in range(WAYS)]
    expected = outcome(root / "plain", case, BaseSettings, set(), "")
    texts = []
    for number, way in enumerate(ways):
        found = outcome(root / str(number), case, EncryptedSettings, way, "")
        if not is_same(found, expected) and not (
            expected[0] is SettingsError and is_as_if_valid(root / "valid", example, found, way, set())
        ):
            texts.append(f"encrypted: {sorted(way)}\n   found {found}\nexpected {expected}")
    return texts


def is_as_if_valid(root: Path, example: Example, found: Any, places: set[Place], done: set[Place]) -> bool:
    """Return whether *found* is what plaintext gives with valid JSON at some of *places*."""
    for place in places - done:
        valid = done | {place}
        shutil.rmtree(root, ignore_errors=True)
        expected = outcome(root, case_of(with_json(example, valid)), BaseSettings, set(), "")
        if is_same(found, expected):
            return True
        if expected[0] is SettingsError and is_as_if_valid(root, example, found, places, valid):
            return True
    return False


def with_json(example: Example, places: set[Place]) -> Example:
    """Return *example* with an empty JSON object at *places*."""
    changed = deepcopy(example)
    for kind, where, number in places:
        if kind == "environ":
            changed.environ[where] = "{}"
        elif kind == "files":
            changed.files[where][list(changed.files[where])[number]] = "{}"
        else:
            top, _, name = where.partition("/")
            changed.secrets[top][name] = "{}"
    return changed


@pytest.mark.parametrize("start", range(0, SEEDS, 25))
def test_random_classes(tmp_path, start):
    """The outcome is that of the plaintext, whatever the class and the sources, and whatever is encrypted."""
    for seed in range(start, start + 25):
        root = tmp_path / str(seed)
        root.mkdir()
        draw = random.Random(seed)
        example = draw_example(draw)
        found = differences(root, example, draw)
        shutil.rmtree(root)
        assert not found, f"seed {seed}: {example}\n" + "\n".join(found)


NESTED_IN_TWO_SOURCES = {
    "a choice of aliases": (AliasChoices("database", "db"), {}),
    "a choice of aliases, by name": (AliasChoices("database", "db"), {"validate_by_name": True}),
    "an alias generator, by name": (None, {"alias_generator": to_camel, "validate_by_name": True}),
    "an alias, by name": ("DATABASE", {"validate_by_name": True}),
}


@pytest.mark.parametrize("name", NESTED_IN_TWO_SOURCES)
@pytest.mark.parametrize(
    "places", [("environ", "files"), ("environ", "secrets"), ("files", "files")], ids=str
)
def test_parts_of_one_model_in_two_sources(tmp_path, name, places):
    """Where the field's own name is one of several keys, parts that two sources give make one model."""
    alias, config = NESTED_IN_TWO_SOURCES[name]
    config = {"extra": "ignore", "env_nested_delimiter": "__", **config}
    example = Example({"db": ("Strict", alias, True)}, config, hook="nested secrets")
    first, second = {"DB__USER": "u"}, {"DB__PASSWORD": "p"}
    if places == ("files", "files"):
        example.files = {"1": {**first}, "2": {**second}}
    else:
        example.environ = first
        setattr(example, places[1], {"1": second})
    case = case_of(example)
    made = {"user": "u", "password": "p"}
    assert assert_equivalent(tmp_path, case)[1] == {"db": made}


def test_a_line_that_is_read_and_refused(tmp_path):
    """With dotenv_filtering="match_prefix", a line whose field has another key is refused, encrypted or not."""
    config = {"extra": "forbid", "env_nested_delimiter": "__", "dotenv_filtering": "match_prefix"}
    example = Example({"db": ("dict", AliasChoices("dB", "a"), False)}, config)
    example.environ, example.files = {"DB__X": "1"}, {"1": {"A__X": "2"}}
    expected = assert_equivalent(tmp_path, case_of(example))
    if VERSION >= (
        2,
        14,
    ):  # before, there is no such option, and pydantic-settings itself raises an AttributeError
        assert expected == (ValidationError, "Made", [("extra_forbidden", ("a__x",))])


def test_a_key_of_two_fields(tmp_path):
    """An argument under a key of two fields does not hide what only one of them is read from."""
    fields = {"Db": ("Part or str", "a", False), "a": ("dict", "DB", False)}
    example = Example(fields, {"extra": "ignore", "validate_by_name": True}, init={"DB": {}})
    example.secrets = {"run": {"DB": '{"user": "json"}'}}
    assert assert_equivalent(tmp_path, case_of(example))[2] == {"Db", "a"}
