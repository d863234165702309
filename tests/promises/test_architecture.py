"""The house, in executable form: which file may import which, what each heavy dependency belongs to, and what it costs."""

import ast
import io
import json
import os
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from support.workspace import unmeasured

import encenv

PACKAGE = Path(encenv.__file__).parent

# Top to bottom: a file imports only what stands above it. A new file gets its place here.
HOUSE = (
    "errors",
    "format.sealed",
    "format.cipher",
    "format.envelope",
    "keys.provider",
    "keys.trust",
    "keys.process_safety",
    "keys.idle",
    "keys.local",
    "keys.snapshot",
    "keys.aws.sigv4",
    "keys.aws.endpoint",
    "keys.aws.http",
    "keys.aws.credentials",
    "keys.aws.ca_store",
    "keys.aws.errors",
    "keys.aws.request",
    "keys.aws.kms",
    "keys.aws.probe",
    "keys.unwrap",
    "files.atomic",
    "files.text",
    "files.document",
    "files.expand",
    "files.inspect",
    "files.compare",
    "files.data_key_choice",
    "files.lines",
    "files.encrypt",
    "files.edit",
    "files.rewrap",
    "load.options",
    "load.config",
    "load.environ",
    "load.dotenv",
    "load.prefetch",
    "load.field_names",
    "load.variables",
    "load.sources",
    "load.safe_errors",
    "load.snapstart",
    "load.settings",
    "policy.secret_types",
    "policy.rules",
    "policy.settings_class",
    "policy.project",
    "export.formats",
    "export.final_values",
    "git.repository",
    "git.key_owner",
    "git.install",
    "git.textconv",
    "git.merge_entry",
    "git.merge",
    "cli.terminal",
    "cli.files",
    "cli.options",
    "cli.key_options",
    "cli.ram_folder",
    "cli.verbs.keygen",
    "cli.verbs.hook",
    "cli.verbs.init",
    "cli.verbs.encrypt",
    "cli.verbs.decrypt",
    "cli.verbs.set",
    "cli.verbs.get",
    "cli.verbs.unset",
    "cli.verbs.rename",
    "cli.verbs.edit",
    "cli.verbs.rotate",
    "cli.verbs.rewrap",
    "cli.verbs.run",
    "cli.verbs.status",
    "cli.verbs.check",
    "cli.verbs.diff",
    "cli.verbs.export",
    "cli.verbs.iam_policy",
    "cli.verbs.doctor",
    "cli.verbs.demo",
    "cli.group",
    "cli.main",
)
# For users, not for the rooms: nothing but these imports them, and what they import is said here.
FACES = {
    "": set(HOUSE),  # the public names, lazily
    "__main__": {"cli.main"},
    "testing.request": set[str](),
    "testing.signature": {"testing.request"},
    "testing.keys": {"testing.request"},
    "testing.operations": {"testing.request", "testing.keys"},
    "testing.faults": {"testing.request", "testing.operations"},
    "testing.certificate": set[str](),
    "testing.listener": set[str](),
    "testing.server": {
        *("testing.request", "testing.signature", "testing.keys", "testing.operations", "testing.faults"),
        *("testing.certificate", "testing.listener"),
    },
    "testing.fixtures": {"testing.server", "keys.unwrap", "keys.local"},
    "testing": {"testing.signature", "testing.server", "testing.fixtures"},
    "testing.__main__": {"testing.server"},
}
ROOMS = {
    *("format", "keys", "keys.aws", "files", "load", "policy", "export", "git", "cli", "cli.verbs"),
}  # their __init__ is a docstring

# Each heavy dependency by the files that may import it; there are no others.
OWNERS = {
    "boto3": {"keys.aws.kms", "keys.aws.probe"},
    "botocore": {"keys.aws.kms", "keys.aws.errors", "keys.aws.probe"},
    "click": {
        "cli.options",
        "cli.verbs.status",
        "cli.verbs.check",
        "cli.verbs.edit",
        "cli.verbs.get",
        "cli.verbs.rename",
        "cli.verbs.rewrap",
        "cli.verbs.rotate",
        "cli.verbs.set",
        "cli.verbs.unset",
        "cli.key_options",
        "cli.verbs.diff",
        "cli.verbs.doctor",
        "cli.verbs.export",
        "cli.verbs.iam_policy",
        "cli.verbs.hook",
        "cli.verbs.init",
        "cli.verbs.keygen",
        "cli.verbs.encrypt",
        "cli.verbs.decrypt",
        "cli.verbs.run",
        "cli.verbs.demo",
        "cli.group",
    },
    "cryptography": {"format.cipher", "testing.keys", "testing.certificate"},
    "dotenv.parser": {"files.document"},
    "dotenv.variables": {"files.expand"},
    "mypy_boto3_kms": {"keys.aws.kms", "keys.aws.probe"},  # for the type checker
    "pydantic": {
        "load.field_names",
        "load.variables",
        "policy.secret_types",
        "load.settings",
        "cli.verbs.demo",
    },  # the demo declares a settings class
    "pydantic_core": {"load.safe_errors"},
    "pydantic_settings": {
        "policy.settings_class",  # where no settings class loads
        "policy.rules",  # for the type checker
        "load.config",
        "policy.secret_types",
        "load.field_names",
        "load.safe_errors",
        "load.variables",
        "load.snapstart",
        "load.settings",
        "load.sources",
    },
    "pytest": {"testing.fixtures"},
    "snapshot_restore_py": {"keys.snapshot"},  # AWS's, which Lambda's Python runtime brings along
    "typing_extensions": {"load.options"},
}
LINES_MAX = 400


@dataclass(frozen=True)
class Import:
    """One import of a file: what, in which line, where in the file, and whether only for the type checker."""

    what: str
    line: int
    is_lazy: bool
    is_typing: bool


def files() -> dict[str, Path]:
    """Return every source file by its name within the package."""
    names = {
        path: path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        for path in PACKAGE.rglob("*.py")
    }
    return {
        "" if name == "__init__" else name.removesuffix(".__init__"): path
        for path, name in sorted(names.items())
    }


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[Import]:
    """Yield what a file imports; of ``from encenv.x import y`` the module x.y, if that is one."""
    known = {f"encenv.{name}".rstrip(".") for name in files()}

    def walk(node: ast.AST, *, lazy: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, lazy, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively in line {node.lineno}"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield Import(whole if whole in known else node.module or "", node.lineno, lazy, typing)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from walk(child, lazy=lazy, typing=True)
        else:
            inner = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, lazy=inner, typing=typing)

    yield from walk(tree(path), lazy=False, typing=False)


def test_every_file_has_its_place():
    """Each source file stands in the house or is a face of it, and what stands there exists."""
    assert set(files()) == {*HOUSE, *FACES, *ROOMS}


@pytest.mark.parametrize("name", HOUSE)
def test_arrows_go_down(name):
    """A file imports only files above it in the house; one that is only a type may stand below it in the same room."""
    above = HOUSE[: HOUSE.index(name)]
    room = name.partition(".")[0]
    for found in imports(files()[name]):
        target = found.what.removeprefix("encenv").lstrip(".")
        if not found.what.startswith("encenv") or (
            room == "cli" and found.what == "encenv"
        ):  # its __version__
            continue
        same_room = found.is_typing and target.partition(".")[0] == room
        assert target in above or same_room, f"{name} imports {target} in line {found.line}"


@pytest.mark.parametrize("name", FACES)
def test_faces_look_inwards(name):
    """A face imports only what is said of it, and its users' imports pay for nothing that they do not call."""
    for found in imports(files()[name]):
        if found.what.startswith("encenv"):
            target = found.what.removeprefix("encenv.")
            assert target in FACES[name], f"{name} imports {target} in line {found.line}"
            assert found.is_lazy or found.is_typing or name == "__main__" or name.startswith("testing")


@pytest.mark.parametrize("name", sorted(ROOMS))
def test_rooms_have_empty_doors(name):
    """The __init__ of a room is its docstring, so that importing one of its files imports no other."""
    assert len(tree(files()[name]).body) == 1


def test_each_dependency_has_its_owner():
    """Whatever is not in the standard library is imported by the files that own it, and by no other."""
    for name, path in files().items():
        for found in imports(path):
            top = found.what.partition(".")[0]
            if top == "encenv" or top in sys.stdlib_module_names:
                continue
            owners = OWNERS.get(found.what) or OWNERS.get(top)
            assert owners, f"{name} imports {found.what} in line {found.line}, which nobody owns"
            assert name in owners, f"{name} imports {found.what} in line {found.line}; it belongs to {owners}"


def test_no_owner_is_named_in_vain():
    """The table of owners names no file that does not import what it is said to own."""
    for dependency, owners in OWNERS.items():
        for name in owners:
            found = [one.what for one in imports(files()[name])]
            assert any(what == dependency or what.startswith(dependency + ".") for what in found), (
                dependency,
                name,
            )


@pytest.mark.parametrize("name", [*HOUSE, *FACES])
def test_lazy_doors_have_a_reason(name):
    """An import inside a function has a comment beside it, or above the imports that it stands with."""
    text = files()[name].read_text(encoding="utf-8")
    commented = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    for function in ast.walk(tree(files()[name])):
        body = function.body if isinstance(function, ast.FunctionDef | ast.If | ast.With | ast.Try) else []
        in_function = isinstance(function, ast.FunctionDef)
        begin = None
        for statement in body:
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                begin = None
                continue
            begin = begin or statement.lineno
            is_lazy = in_function or any(
                one.is_lazy and one.line == statement.lineno for one in imports(files()[name])
            )
            lines = range(begin - 1, (statement.end_lineno or statement.lineno) + 1)
            assert not is_lazy or commented & set(lines), f"{name}, line {statement.lineno}"


def test_only_the_command_line_speaks():
    """Outside of cli nothing prints, exits, or touches the standard streams, but the test KMS as a program."""
    spoken = {"print", "exit", "quit", "input", "breakpoint"}
    attributes = {("sys", "exit"), ("sys", "stdout"), ("sys", "stderr"), ("sys", "stdin"), ("os", "_exit")}
    for name, path in files().items():
        # The two programs beside it: the test KMS, and the child that imports a settings class.
        if name.partition(".")[0] == "cli" or name in {"testing.__main__", "policy.settings_class"}:
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in spoken, f"{name}, line {node.lineno}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in attributes, f"{name}, line {node.lineno}"


@pytest.mark.parametrize("name", [*HOUSE, *FACES])
def test_no_file_is_a_palace(name):
    """A file has at most 400 lines, and opens with a docstring that says what it is."""
    assert len(files()[name].read_text(encoding="utf-8").splitlines()) <= LINES_MAX
    assert ast.get_docstring(tree(files()[name]))


# The public face


def declared() -> dict[str, str]:
    """Return the public names that the type checker sees, with the modules that they are from."""
    (block,) = (node for node in tree(files()[""]).body if isinstance(node, ast.If))
    found: dict[str, str] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.name == alias.asname
            found[alias.name] = node.module or ""
    return found


def test_public_names_agree():
    """What the type checker sees, what is exported and what is resolved lazily are the same names, sorted."""
    assert declared() == encenv._HOMES
    assert list(encenv._HOMES) == sorted(encenv._HOMES)
    assert sorted(encenv.__all__) == sorted([*declared(), "__version__"]) == dir(encenv)


@pytest.mark.parametrize("name", sorted(declared()))
def test_public_name_is_there(name):
    """Each public name is resolved to what its module calls by that name, and says so in its docstring."""
    value = getattr(encenv, name)
    assert value is getattr(import_module(declared()[name]), name)
    assert value.__doc__


def test_unknown_name():
    """A name that is not public is an AttributeError that names it, as of any module."""
    with pytest.raises(AttributeError, match="module 'encenv' has no attribute 'Settings'"):
        _ = encenv.Settings


# What is paid for


def modules_of(code: str) -> set[str]:
    """Return the modules that *code* adds in a fresh interpreter."""
    script = f"import json, sys\nbefore = set(sys.modules)\n{code}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=unmeasured(os.environ),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return set(json.loads(done.stdout))


def tops(modules: set[str]) -> set[str]:
    """Return the top-level names of *modules*."""
    return {name.partition(".")[0] for name in modules}


COSTLY = {"asyncio", "boto3", "botocore", "click", "cryptography", "http", "socket", "ssl", "urllib3"}
PLAIN = """
import os
from pydantic import SecretStr
from pydantic_settings import BaseSettings
from dotenv import dotenv_values, load_dotenv
os.environ["SECRET_KEY"] = "plain"
class Settings(BaseSettings):
    secret_key: SecretStr
Settings(_env_file=os.devnull, _secrets_dir=None)
dotenv_values(os.devnull)
load_dotenv(os.devnull)
"""


def test_import_costs_nothing():
    """``import encenv`` imports nothing but encenv: not even typing or importlib.metadata."""
    assert modules_of("import encenv") == {"encenv"}


def test_nothing_sealed_costs_nothing():
    """Without a sealed value, settings and .env files pay for neither cryptography, ssl, http, boto3 nor click."""
    ours = PLAIN.replace(
        "from pydantic_settings import BaseSettings", "from encenv import EncryptedSettings as BaseSettings"
    )
    ours = (
        ours.replace("from dotenv", "from encenv")
        + "from encenv import decrypt_environ\ndecrypt_environ(os.environ)\n"
    )
    added = modules_of(ours) - modules_of(PLAIN)  # pydantic-settings itself imports asyncio, and that ssl
    assert not tops(added) & COSTLY
    assert {name for name in tops(added) if name not in sys.stdlib_module_names} == {"encenv"}
    assert not [
        name
        for name in added
        if name.startswith(("encenv.cli", "encenv.keys.aws.kms", "encenv.format.cipher"))
    ]


def test_plain_environ_costs_nothing():
    """A plain environment is copied by decrypt_environ, and a .env file read, without pydantic and all that it imports."""
    added = modules_of(
        "from encenv import decrypt_environ, dotenv_values\nimport os\n"
        "assert decrypt_environ({'A': '1'}) == {'A': '1'}\nassert dotenv_values(os.devnull) == {}"
    )
    assert not tops(added) & (COSTLY | {"pydantic", "pydantic_settings"})


def test_local_key_costs_no_network():
    """A value under a local key is opened without boto3, ssl, http or click."""
    from_text = (
        "import os\nos.environ['ENCENV_LOCAL_KEY'] = 'encenv-local-key:1:' + 'A' * 43\n"
        "from encenv import decrypt_environ\nfrom encenv.files.encrypt import *\n"
        "from encenv.files.document import parse\n"
        "text = encrypt('A=1', Writer((KeyName('local', ''),))).text\n"
        "assert decrypt_environ({b.name: b.value for b in parse(text).bindings}) == {'A': '1'}"
    )
    assert not tops(modules_of(from_text)) & (COSTLY - {"cryptography"})
