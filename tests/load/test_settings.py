"""EncryptedSettings: a model gets the same values whether they were encrypted or not."""

import enum
import os
import threading
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    Field,
    Json,
    PostgresDsn,
    SecretStr,
    create_model,
)
from pydantic_settings import BaseSettings, ForceDecode, NoDecode, SettingsConfigDict, SettingsError
from support.equivalence import Case, Environment, assert_equivalent, process

from encenv import EncryptedSettings


class Deep(BaseModel):
    """A part of a part, with a field that is not in lower case."""

    value: int = 0
    Mixed: str = "mixed"


class Part(BaseModel):
    """A part of a model, with fields of all kinds."""

    host: str = "nowhere"
    port: int = 1
    secret: SecretStr = SecretStr("")
    deep: Deep = Deep()
    tags: list[str] = []
    aliased: str = Field("unset", validation_alias="fooAlias")


class Cat(BaseModel):
    """One of two models."""

    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    """The other one."""

    kind: Literal["dog"]
    name: str = ""


class Colour(enum.Enum):
    """Names that are not the values."""

    RED = "r"
    BLUE = "b"


def model(fields, **config):
    """Return a loader of a class with *fields* and *config* that passes *config*'s ``init`` to the call."""
    init = config.pop("init", {})
    made = cache(lambda base: create_model("Made", __base__=base, __cls_kwargs__=config, **fields))
    return lambda base: made(base)(**init)


TEXT = {"a": (str, "none"), "b": (str, "none")}
NESTED = {"env_nested_delimiter": "__"}
PART = {"part": (Part, Part())}

PROCESS = {
    "names in any case": (model(TEXT), {"A": "1", "b": "2"}),
    "one name in two cases": (model(TEXT), {"a": "lower", "A": "upper"}),
    "one name in two cases, case-sensitive": (model(TEXT, case_sensitive=True), {"a": "lower", "A": "upper"}),
    "case-sensitive misses": (model(TEXT, case_sensitive=True), {"A": "1", "b": "2"}),
    "types": (
        model({"n": (int, ...), "f": (float, ...), "t": (bool, ...), "d": (PostgresDsn, ...)}),
        {"N": "7", "F": "1.5", "T": "yes", "D": "postgresql://u:p@h/db"},
    ),
    "not of the type": (model({"n": (int, ...), "t": (bool, True)}), {"N": "x", "T": "perhaps"}),
    "missing": (model({"n": (int, ...), "m": (int, ...)}), {"N": "1"}),
    "empty": (model({"a": (str, "none"), "n": (int, 3)}), {"A": "", "N": ""}),
    "empty ignored": (model({"a": (str, "none"), "n": (int, 3)}, env_ignore_empty=True), {"A": "", "N": ""}),
    "empty ignored, in two cases": (model(TEXT, env_ignore_empty=True), {"a": "lower", "A": ""}),
    "none": (model({"a": (str | None, "x")}, env_parse_none_str="null"), {"A": "null"}),
    "none inside": (
        model({"p": (dict[str, str | None], {})}, env_parse_none_str="null", **NESTED),
        {"P__X": "null", "P__Y": "y"},
    ),
    "enum by name": (model({"c": (Colour, Colour.RED)}, env_parse_enums=True), {"C": "BLUE"}),
    "enum by value": (model({"c": (Colour, Colour.RED)}), {"C": "b"}),
    "prefix": (model(TEXT, env_prefix="my_"), {"MY_A": "1", "A": "bare", "MY_B": "2"}),
    "prefix in any case": (model(TEXT, env_prefix="My_"), {"mY_a": "1"}),
    "prefix and case-sensitive": (
        model(TEXT, env_prefix="My_", case_sensitive=True),
        {"My_a": "1", "MY_b": "2"},
    ),
    "text is not stripped": (model(TEXT), {"A": "  padded \n"}),
    "unicode": (model(TEXT), {"A": "žluťoučký 🐎\udc80"}),
    "a name that is not ascii": (model({"größe": (str, "none")}), {"GRÖSSE": "no", "größe": "ja"}),
    "an alias": (model({"a": (str, Field("none", alias="Other"))}), {"OTHER": "1", "A": "2"}),
    "an alias has no prefix": (
        model({"a": (str, Field("none", alias="o"))}, env_prefix="p_"),
        {"O": "1", "P_O": "2"},
    ),
    "by alias or name": (
        model({"a": (str, Field("none", alias="other"))}, populate_by_name=True),
        {"A": "by name"},
    ),
    "by alias and name": (
        model({"a": (str, Field("none", alias="other"))}, populate_by_name=True),
        {"A": "by name", "OTHER": "by alias"},
    ),
    "the first choice": (
        model({"a": (str, Field("none", validation_alias=AliasChoices("one", "two")))}),
        {"TWO": "2", "ONE": "1"},
    ),
    "the second choice": (
        model({"a": (str, Field("none", validation_alias=AliasChoices("one", "two")))}),
        {"TWO": "2"},
    ),
    "an empty first choice": (
        model(
            {"a": (str, Field("none", validation_alias=AliasChoices("one", "two")))}, env_ignore_empty=True
        ),
        {"TWO": "2", "ONE": ""},
    ),
    "a path": (
        model(
            {
                "a": (str, Field("none", validation_alias=AliasPath("all", 0))),
                "b": (str, Field("none", validation_alias=AliasPath("all", 1))),
            }
        ),
        {"ALL": '["x", "y"]'},
    ),
    "a path that leads nowhere": (
        model({"a": (str, Field("none", validation_alias=AliasChoices(AliasPath("all", 5), "b")))}),
        {"ALL": '["x"]', "B": "second"},
    ),
    "json": (
        model({"l": (list[int], []), "m": (dict[str, Deep], {}), "j": (Json, None)}),
        {"L": "[1, 2]", "M": '{"x": {"value": 3}}', "J": '{"a": [null]}'},
    ),
    "not json": (model({"l": (list[int], [])}), {"L": "[1,"}),
    "json of another type": (model({"l": (list[int], [])}), {"L": '{"a": 1}'}),
    "text or list": (
        model({"u": (list[int] | str | None, None), "v": (str | list[int], "")}),
        {"U": "[1]", "V": "[x"},
    ),
    "not decoded": (
        model(
            {"l": (Annotated[str | list[str], NoDecode], ""), "m": (Annotated[list[str], ForceDecode], [])}
        ),
        {"L": "a,b", "M": '["c"]'},
    ),
    "decoding off": (model({"l": (str | list[str], "")}, enable_decoding=False), {"L": '["c"]'}),
    "strict": (model({"n": (int, 0), "t": (bool | None, None)}, strict=True), {"N": "5", "T": "true"}),
    "nested": (
        model(PART, **NESTED),
        {
            "PART__HOST": "h",
            "PART__PORT": "5",
            "PART__SECRET": "s",
            "PART__DEEP__VALUE": "6",
            "PART__TAGS": '["t"]',
        },
    ),
    "nested in any case": (model(PART, **NESTED), {"part__FOOALIAS": "x", "Part__Deep__MIXED": "y"}),
    "nested over json": (
        model(PART, **NESTED),
        {
            "PART": '{"host": "json", "port": 7, "deep": {"value": 1}}',
            "PART__HOST": "h",
            "PART__DEEP__VALUE": "2",
        },
    ),
    "nested json over nested": (
        model(PART, **NESTED),
        {"PART__DEEP__VALUE": "2", "PART__DEEP": '{"value": 1, "Mixed": "m"}'},
    ),
    "nested with prefix": (
        model(PART, env_prefix="app_", **NESTED),
        {"APP_PART__HOST": "h", "PART__HOST": "no"},
    ),
    "nested and not of the type": (model(PART, **NESTED), {"PART__PORT": "x", "PART__DEEP__VALUE": "y"}),
    "nested under an alias": (
        model({"p": (Part, Field(Part(), alias="Other"))}, **NESTED),
        {"OTHER__HOST": "h", "P__PORT": "3"},
    ),
    "nested under two choices": (
        model({"p": (Part, Field(Part(), validation_alias=AliasChoices("one", "two")))}, **NESTED),
        {"ONE__HOST": "h", "TWO__PORT": "3"},
    ),
    "max split": (
        model({"llm": (Part, Part())}, env_nested_delimiter="_", env_nested_max_split=1),
        {"LLM_HOST": "h", "LLM_PORT": "2"},
    ),
    "max split leaves the rest": (
        model({"m": (dict[str, str], {})}, env_nested_delimiter="_", env_nested_max_split=1),
        {"M_A_B": "1", "M_C": "2"},
    ),
    "a delimiter in a plain field's name": (
        model({"a__b": (str, "none"), "a": (dict[str, str], {})}, **NESTED),
        {"A__B": "both"},
    ),
    "no part of a plain field": (model({"a": (str, "none")}, **NESTED), {"A__B": "x", "A": "y"}),
    "dict": (model({"m": (dict[str, int], {})}, **NESTED), {"M": '{"x": 1}', "M__Y": "2", "M__X": "3"}),
    "dict of models": (model({"m": (dict[str, Part], {})}, **NESTED), {"M__X__HOST": "h", "M__Y__PORT": "2"}),
    "optional model": (model({"p": (Part | None, None)}, **NESTED), {"P__HOST": "h"}),
    "one of two models": (
        model({"pet": (Annotated[Cat | Dog, Field(discriminator="kind")], ...)}, **NESTED),
        {"PET__KIND": "dog", "PET__NAME": "Rex"},
    ),
    "neither of two models": (
        model({"pet": (Annotated[Cat | Dog, Field(discriminator="kind")], ...)}, **NESTED),
        {"PET__KIND": "bird"},
    ),
    "default updated in part": (
        model(
            {"p": (Part, Part(host="default", port=9))}, nested_model_default_partial_update=True, **NESTED
        ),
        {"P__PORT": "10"},
    ),
    "init over process": (model(TEXT, init={"a": "init"}), {"A": "1", "B": "2"}),
    "init merges with process": (model(PART, init={"part": {"host": "init"}}, **NESTED), {"PART__PORT": "2"}),
    "init over a part": (
        model(PART, init={"part": {"port": 3}}, **NESTED),
        {"PART__PORT": "2", "PART__HOST": "h"},
    ),
    "init over a part in another case": (
        model(PART, init={"part": {"deep": {"Mixed": "init"}}}, **NESTED),
        {"PART__DEEP__MIXED": "process", "PART__DEEP__VALUE": "4"},
    ),
    "init beside a key in another case": (
        model({"m": (dict[str, str], {})}, init={"m": {"X": "init"}}, **NESTED),
        {"M__X": "process"},
    ),
    "init by alias": (
        model({"a": (str, Field("none", alias="Other"))}, init={"Other": "init"}),
        {"OTHER": "1"},
    ),
    "init by name": (
        model({"a": (str, Field("none", alias="other"))}, populate_by_name=True, init={"a": "init"}),
        {"OTHER": "1", "A": "2"},
    ),
    "whole model over parts": (model(PART, init={"part": Part(host="init")}, **NESTED), {"PART__PORT": "2"}),
    "variables that nobody asked for": (model(TEXT), {"A": "1", "OTHER": "2", "A__B": "3"}),
}
NO_PREFIX = {  # no field has the name, or both NAME and ENC_NAME are set
    "one name in two cases",
    "no part of a plain field",
    "variables that nobody asked for",
    "a path",
}


@pytest.mark.parametrize("name", PROCESS)
def test_process_variables(tmp_path, name):
    """Process variables give the same whether encrypted or not: names, types, aliases, nesting, precedence, errors."""
    load, environ = PROCESS[name]
    assert_equivalent(tmp_path, Case(load, environ), by_prefix=name not in NO_PREFIX)


FILES = {
    "one file": (model(TEXT, env_file=".env"), {}, {".env": "A=1\nb='two words'  # comment\n"}),
    "process over file": (model(TEXT, env_file=".env"), {"A": "process"}, {".env": "A=1\nB=2\n"}),
    "empty process variable": (model(TEXT, env_file=".env"), {"A": ""}, {".env": "A=1\n"}),
    "empty process variable ignored": (
        model(TEXT, env_file=".env", env_ignore_empty=True),
        {"A": ""},
        {".env": "A=1\n"},
    ),
    "a later file wins": (
        model(TEXT, env_file=(".env", ".env.local")),
        {},
        {".env": "A=1\nB=2\n", ".env.local": "a=local\n"},
    ),
    "an empty value in a later file": (
        model(TEXT, env_file=(".env", ".env.local")),
        {},
        {".env": "A=1\nB=2\n", ".env.local": "A=\n"},
    ),
    "an empty value in a later file ignored": (
        model(TEXT, env_file=(".env", ".env.local"), env_ignore_empty=True),
        {},
        {".env": "A=1\nB=2\n", ".env.local": "A=\n"},
    ),
    "no value in a later file": (
        model(TEXT, env_file=(".env", ".env.local")),
        {},
        {".env": "A=1\nB=2\n", ".env.local": "A\n"},
    ),
    "a file that is not there": (model(TEXT, env_file=(".env", ".env.prod")), {}, {".env": "A=1\n"}),
    "last line wins": (model(TEXT, env_file=".env"), {}, {".env": "A=1\nA=2\na=3\n"}),
    "references": (
        model(TEXT, env_file=".env", extra="ignore"),
        {"FROM": "process", "HOST": "process"},
        {".env": "HOST=file\nA=x-${HOST}-${FROM}-${NOWHERE:-default}\nHOST=later\nB=${A}/${HOST}\n"},
    ),
    "a reference inside a value": (
        model(TEXT, env_file=".env", extra="ignore"),
        {},
        {".env": "X=1\nY='${X}2'\nA='${Y}3'\nB='${A}4'\n"},
    ),
    "quotes and newlines": (
        model(TEXT, env_file=".env"),
        {},
        {".env": "export A=\"line\\n two\"\nB='-----BEGIN\nKEY-----\n'\n"},
    ),
    "crlf": (model(TEXT, env_file=".env"), {}, {".env": "A=1\r\nB='x\r\ny'\r\n"}),
    "byte order mark": (model(TEXT, env_file=".env"), {}, {".env": "\ufeffA=1\nB=2\n"}),
    "a line that cannot be parsed": (model(TEXT, env_file=".env"), {}, {".env": "A=1\n'oops\nB=2\n"}),
    "extra forbidden": (model(TEXT, env_file=".env"), {}, {".env": "A=1\nOTHER=2\n"}),
    "extra ignored": (model(TEXT, env_file=".env", extra="ignore"), {}, {".env": "A=1\nOTHER=2\n"}),
    "extra allowed": (model(TEXT, env_file=".env", extra="allow"), {}, {".env": "A=1\nOTHER=2\nOther2=\n"}),
    "extra allowed, with references": (
        model(TEXT, env_file=".env", extra="allow"),
        {},
        {".env": "X=1\nOTHER=y-${X}\n"},
    ),
    "extra allowed, case-sensitive": (
        model(TEXT, env_file=".env", extra="allow", case_sensitive=True),
        {},
        {".env": "A=1\na=2\n"},
    ),
    "extra with prefix allowed": (
        model(TEXT, env_file=".env", extra="allow", env_prefix="MY_"),
        {},
        {".env": "MY_A=1\nMY_MORE=2\nOTHER=3\nA=4\n"},
    ),
    "extra with prefix forbidden": (
        model(TEXT, env_file=".env", env_prefix="MY_"),
        {},
        {".env": "MY_A=1\nMY_MORE=2\nOTHER=3\n"},
    ),
    "extra beside nested": (
        model(PART, env_file=".env", extra="allow", **NESTED),
        {},
        {".env": "PART__HOST=h\nPARTX=1\nPART_HOST=2\n"},
    ),
    "nested over two sources": (
        model(PART, env_file=".env", **NESTED),
        {"PART__HOST": "process"},
        {".env": 'PART={"port": 4, "host": "file"}\nPART__SECRET=s\n'},
    ),
    "json over two sources": (
        model(PART, env_file=".env", **NESTED),
        {"PART": '{"port": 4}'},
        {".env": 'PART={"port": 5, "host": "file"}\n'},
    ),
    "alias in one, name in the other": (
        model(
            {"a": (str, Field("none", alias="other"))}, populate_by_name=True, env_file=".env", extra="ignore"
        ),
        {"A": "by name"},
        {".env": "OTHER=by alias\n"},
    ),
    "name in both": (
        model(
            {"a": (str, Field("none", alias="other"))}, populate_by_name=True, env_file=".env", extra="ignore"
        ),
        {"A": "process"},
        {".env": "A=file\n"},
    ),
    "choices over two sources": (
        model(
            {"a": (str, Field("none", validation_alias=AliasChoices("one", "two")))},
            env_file=".env",
            extra="ignore",
        ),
        {"TWO": "process"},
        {".env": "ONE=file\n"},
    ),
    "a path in one, a name in the other": (
        model(
            {"a": (str, Field("none", validation_alias=AliasChoices(AliasPath("all", 5), "b")))},
            env_file=".env",
            extra="ignore",
        ),
        {"ALL": '["x"]'},
        {".env": "B=file\n"},
    ),
    "a line that comes to an alias": (
        model(
            {"b": (str, Field("none", validation_alias="b"))},
            env_file=".env",
            env_prefix="P_",
            extra="ignore",
        ),
        {},
        {".env": "P_B=1\n"},
    ),
    "at the call": (
        model(TEXT, env_file=".env", init={"_env_file": "other"}),
        {},
        {".env": "A=1\n", "other": "B=2\n"},
    ),
    "none at the call": (model(TEXT, env_file=".env", init={"_env_file": None}), {}, {".env": "A=1\n"}),
    "two at the call": (
        model(TEXT, init={"_env_file": [".env", "other"]}),
        {},
        {".env": "A=1\n", "other": "B=2\nA=3\n"},
    ),
    "no file in the class": (model(TEXT), {}, {".env": "A=1\n"}),
    "prefix at the call": (
        model(TEXT, env_file=".env", init={"_env_prefix": "X_"}),
        {"X_A": "1"},
        {".env": "X_B=2\n"},
    ),
    "case at the call": (
        model(TEXT, env_file=".env", init={"_case_sensitive": True}),
        {"A": "1"},
        {".env": "b=2\n"},
    ),
}
NO_FILE_PREFIX = {  # no field has the name of a reference or an extra variable
    name for name in FILES if name.startswith(("extra", "a reference", "references")) or "line" in name
} | {"last line wins", "a line that cannot be parsed"}


@pytest.mark.parametrize("name", FILES)
def test_env_files(tmp_path, name):
    """Lines of .env files give the same whether encrypted or not: order, references, extra lines, empty ones, errors."""
    load, environ, files = FILES[name]
    assert_equivalent(tmp_path, Case(load, environ, files), by_prefix=name not in NO_FILE_PREFIX)


@pytest.mark.parametrize("extra", ["ignore", "allow", "forbid"])
@pytest.mark.parametrize("filtering", ["only_existing", "match_prefix", None])
@pytest.mark.parametrize("prefix", ["", "MY_"])
def test_dotenv_filtering(tmp_path, filtering, extra, prefix):
    """Which other lines of a .env reach the model does not depend on whether they are encrypted."""
    if filtering and "dotenv_filtering" not in SettingsConfigDict.__annotations__:
        pytest.skip("this pydantic-settings has no dotenv_filtering")
    config = {"dotenv_filtering": filtering} if filtering else {}
    load = model(TEXT | PART, env_file=".env", extra=extra, env_prefix=prefix, **NESTED, **config)
    text = "MY_A=1\nA=2\nMY_MORE=3\nMORE=4\nMY_PART__HOST=h\nMY_NO__HOST=n\n"
    assert_equivalent(tmp_path, Case(load, files={".env": text}))


def test_env_file_encoding(tmp_path):
    """A .env in another encoding is decrypted from that encoding."""
    case = Case(model(TEXT, env_file="e", env_file_encoding="utf-16"), files={"e": "A=é\nB=ü\n"})
    assert_equivalent(tmp_path, Case(case.load, files=case.files, encodings={"e": "utf-16"}))


def test_env_file_in_a_folder_above(tmp_path):
    """An encrypted .env above the working folder is found as far up as the plain one."""
    if "env_file_depth" not in SettingsConfigDict.__annotations__:
        pytest.skip("this pydantic-settings has no env_file_depth")
    for depth in (-1, 0, 1, 2, 3):

        def load(base, depth=depth):
            Path("one/two").mkdir(parents=True)
            os.chdir("one/two")
            return model(TEXT, env_file=".env", env_file_depth=depth)(base)

        (tmp_path / str(depth)).mkdir()
        assert_equivalent(tmp_path / str(depth), Case(load, files={".env": "A=1\n"}))


def test_env_file_positional(tmp_path):
    """_env_file and the other options may be positional arguments, as BaseSettings allows."""

    def load(base):
        made = create_model("Made", __base__=base, **TEXT)
        return made(*[True, None, "X_", None, ".env"])

    assert_equivalent(tmp_path, Case(load, {"X_a": "1", "x_b": "no"}, {".env": "X_b=2\n"}))


@pytest.mark.parametrize("repeated", [False, True])
def test_positional_errors(repeated):
    """An argument too many, or twice the same one, is a TypeError, as with BaseSettings."""
    made = create_model("Made", __base__=EncryptedSettings, **TEXT)
    with pytest.raises(TypeError):
        made(None, _case_sensitive=True) if repeated else made(*[None] * 99)


def test_fifo(tmp_path):
    """A .env that is a FIFO is read once, wherever its values are encrypted."""
    environment = Environment()
    for text in ("A=1\nB=x-${A}\n", _lines(environment.sealed(A="1", B="x-${A}"))):
        path = tmp_path / "fifo"
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_text, args=(text,))
        writer.start()
        with process():
            loaded = model(TEXT, env_file=path)(EncryptedSettings)
        writer.join()
        path.unlink()
        assert (loaded.a, loaded.b) == ("1", "x-1")


def _lines(variables):
    return "".join(f"{name}={value}\n" for name, value in variables.items())


SECRETS = {
    "one folder": (model(TEXT, secrets_dir="s"), {}, {"s/a": "1\n", "s/B": "  2 "}),
    "case-sensitive": (model(TEXT, secrets_dir="s", case_sensitive=True), {}, {"s/a": "1", "s/B": "2"}),
    "two folders": (model(TEXT, secrets_dir=["s", "t"]), {}, {"s/a": "1", "s/b": "2", "t/a": "3"}),
    "prefix": (model(TEXT, secrets_dir="s", env_prefix="X_"), {}, {"s/X_A": "1", "s/b": "2"}),
    "json": (
        model({"l": (list[int], [])} | PART, secrets_dir="s"),
        {},
        {"s/l": "[1]", "s/part": '{"host": "h"}'},
    ),
    "not json": (model({"l": (list[int], [])}, secrets_dir="s"), {}, {"s/l": "[1"}),
    "choices": (
        model({"a": (str, Field("none", validation_alias=AliasChoices("one", "two")))}, secrets_dir="s"),
        {},
        {"s/two": "2", "s/one": "1"},
    ),
    "empty": (model(TEXT, secrets_dir="s"), {}, {"s/a": "", "s/b": " "}),
    "process over folder": (model(TEXT, secrets_dir="s"), {"A": "process"}, {"s/a": "1", "s/b": "2"}),
    "not of the type": (model({"n": (int, ...)}, secrets_dir="s"), {}, {"s/n": "x"}),
    "others": (model(TEXT, secrets_dir="s"), {}, {"s/a": "1", "s/other": "2", "s/deep/b": "3"}),
    "at the call": (model(TEXT, init={"_secrets_dir": "s"}), {}, {"s/a": "1"}),
    "parts": (
        model(PART, secrets_dir="s", **NESTED),
        {"PART__PORT": "3"},
        {"s/part": '{"host": "h"}', "s/part__host": "no"},
    ),
}


@pytest.mark.parametrize("name", SECRETS)
def test_secret_files(tmp_path, name):
    """Files of secrets_dir give the same whether encrypted or not, white space around them stripped."""
    load, environ, secrets = SECRETS[name]
    assert_equivalent(tmp_path, Case(load, environ, secrets=secrets), by_prefix=name != "others")


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("name", ["TOKEN", "ENC_TOKEN"])
def test_secret_files_as_kubernetes_mounts_them(tmp_path, name, inside, recwarn):
    """A secret file may be a link into ..data, as Kubernetes mounts it; one that leads out of the folder is ignored."""
    environment = Environment()
    folder = tmp_path / "secrets"
    data = folder / "..2026" if inside else tmp_path / "outside"
    data.mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    (folder / "..data").symlink_to(data)
    for file, text in environment.sealed(**{name: "canary"}).items():
        (data / file).write_text(text)
        (folder / file).symlink_to(folder / "..data" / file)
    checks_links = "_resolved_secrets_paths" in _names_of_secrets_source()
    with process():
        loaded = model({"token": (str, "default")}, secrets_dir=folder)(EncryptedSettings)
    assert loaded.token == ("canary" if inside or not checks_links else "default")


def _names_of_secrets_source():
    from pydantic_settings import SecretsSettingsSource

    return SecretsSettingsSource.get_field_value.__code__.co_names


def test_nothing_else_changes():
    """A class over EncryptedSettings has the schema, signature and fields of one over BaseSettings."""
    plain, encrypted = (
        create_model("Made", __base__=base, __config__=None, **TEXT, **PART)
        for base in (BaseSettings, EncryptedSettings)
    )
    assert encrypted.model_json_schema() == plain.model_json_schema()
    assert str(encrypted.__signature__) == str(plain.__signature__)
    assert list(encrypted.model_fields) == list(plain.model_fields)


# Names that meet: fields in each other's way, aliases in each other's way, the delimiter everywhere.
NAMES = st.sampled_from(["a", "b", "a__b", "b__a", "A", "c", "alias", "alias__a"])
VALUES = st.sampled_from(
    ["", "1", "x", " y ", "null", '{"a": "1"}', '{"b": {"a": "2"}}', '["3"]', "[", "${A}-${c}"]
)
KINDS = st.sampled_from(
    [str, int, list[str], dict[str, str], dict[str, dict[str, str]], Part, Deep | str, str | None]
)
ALIASES = st.sampled_from(
    [
        None,
        None,
        None,
        "alias",
        AliasChoices("alias", "c"),
        AliasChoices("c", AliasPath("alias", "a")),
        AliasPath("c", 0),
    ]
)
ANNOTATED = st.builds(lambda kind, alias: (kind | None, Field(None, validation_alias=alias)), KINDS, ALIASES)
CONFIGS = st.fixed_dictionaries(
    {"extra": st.sampled_from(["ignore", "allow", "forbid"])},
    optional={
        "env_nested_delimiter": st.sampled_from(["__", "_"]),
        "env_nested_max_split": st.just(1),
        "case_sensitive": st.booleans(),
        "env_ignore_empty": st.booleans(),
        "env_parse_none_str": st.just("null"),
        "populate_by_name": st.booleans(),
        "env_prefix": st.just("a"),
    },
)
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=4)
INIT = st.dictionaries(
    st.sampled_from(["a", "b", "alias"]), st.sampled_from(["1", {"a": "1"}, {}]), max_size=1
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    fields=st.dictionaries(st.sampled_from(["a", "b", "a__b", "c"]), ANNOTATED, min_size=1, max_size=3),
    config=CONFIGS,
    environ=st.dictionaries(NAMES, VALUES, max_size=4),
    files=st.lists(LINES, max_size=2),
    secrets=st.dictionaries(NAMES, VALUES, max_size=2),
    init=INIT,
)
def test_generated_models_and_environments(  # noqa: PLR0917 (what is generated)
    tmp_path_factory, fields, config, environ, files, secrets, init
):
    """Generated classes load the same from generated environments whether all values are encrypted or none."""
    # Whether an unused encrypted line is empty is not looked at: it is forbidden like any other, where the plain one is not.
    assume(config["extra"] != "forbid" or all(value for lines in files for _, value in lines))
    # Of two fields with one alias, an init argument for the one moves the other's value: nobody can mean that.
    aliases = [str(field[1].validation_alias) for field in fields.values() if field[1].validation_alias]
    assume(not init or len(aliases) < 2)
    # With a path and a delimiter, pydantic-settings takes one line for a part of the field and for an extra one.
    assume("env_nested_delimiter" not in config or "AliasPath" not in "".join(aliases))
    names = [f"{number}.env" for number in range(len(files))]
    texts = {
        name: "".join(f"{n}='{v}'\n" for n, v in lines) for name, lines in zip(names, files, strict=True)
    }
    placed = {f"secrets/{name}": value for name, value in secrets.items()}
    config = config | {"env_file": names} | ({"secrets_dir": "secrets"} if placed else {})
    case = Case(model(fields, init=init, **config), environ, texts, placed)
    # A value that is shadowed and cannot be parsed stops a plain load; encrypted, it is not even decrypted.
    assert_equivalent(tmp_path_factory.mktemp("generated"), case, unless=SettingsError)
