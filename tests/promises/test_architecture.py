"""Check that the package is built as support/house.py says: who may import what, and what an import costs."""

import ast
import json
import os
import re
import subprocess
import sys
import tokenize
from importlib import import_module
from pathlib import Path

import pytest
from support.house import DOORS, FACES, HOUSE, OWNERS, ROOMS, files, imports, tree
from support.workspace import without_coverage

import encenv

LINES_MAX = 400


def test_every_file_has_its_place():
    """The tables name every source file of the package, and no file that does not exist."""
    assert set(files()) == {*HOUSE, *FACES, *DOORS}


def test_rooms_hold_their_own_files():
    """A room lists the files of its own folder only, none of them twice."""
    assert len(HOUSE) == len(set(HOUSE))
    for room in ROOMS:
        folders = {name.rpartition(".")[0] or name for name in room.files}
        assert folders == {room.name}


@pytest.mark.parametrize("name", HOUSE)
def test_imports_follow_the_order(name):
    """A file imports only files that are listed before it, even for the type checker; so there is no circle."""
    before = HOUSE[: HOUSE.index(name)]
    for one in imports(files()[name]):
        if one.target is None:
            continue
        if one.target == "" and name.startswith("cli."):  # for __version__
            continue
        assert one.target in before, f"{name} imports {one.target} in line {one.line}"


@pytest.mark.parametrize("name", FACES)
def test_faces_import_what_they_may(name):
    """A face for users imports only what the table allows, and the package's own __init__ imports nothing eagerly."""
    for one in imports(files()[name]):
        if one.target is not None:
            assert one.target in FACES[name], f"{name} imports {one.target} in line {one.line}"
            assert one.is_lazy or one.is_typing or name == "__main__" or name.startswith("testing")


@pytest.mark.parametrize("name", sorted(DOORS))
def test_rooms_have_empty_doors(name):
    """The __init__ of a room is its docstring, so that importing one of its files imports no other."""
    assert len(tree(files()[name]).body) == 1


def dependencies(name: str) -> dict[str, int]:
    """Return what a file imports from outside the standard library and encenv, each with its line."""
    return {
        one.what: one.line
        for one in imports(files()[name])
        if one.target is None and one.what.partition(".")[0] not in sys.stdlib_module_names
    }


def owners(dependency: str) -> set[str] | None:
    """Return the files that may import a library or a module of it; None if it is not in the table."""
    named = OWNERS.get(dependency) or OWNERS.get(dependency.partition(".")[0])
    rooms = {room.name: room.files for room in ROOMS}
    return named and {file for name in named for file in rooms.get(name, (name,))}


@pytest.mark.parametrize("name", sorted(files()))
def test_each_dependency_has_its_owner(name):
    """A file imports a library, even for the type checker, only if the table makes it one of its owners."""
    for what, line in dependencies(name).items():
        allowed = owners(what)
        assert allowed, f"{name} imports {what} in line {line}, which has no owner"
        assert name in allowed, f"{name} imports {what} in line {line}; it belongs to {sorted(allowed)}"


@pytest.mark.parametrize("dependency", OWNERS)
def test_every_owner_imports_what_it_owns(dependency):
    """The table of owners names no file that does not import the library."""
    for name in owners(dependency):
        assert any(f"{what}.".startswith(f"{dependency}.") for what in dependencies(name)), name


@pytest.mark.parametrize("name", [*HOUSE, *FACES])
def test_lazy_doors_have_a_reason(name):
    """An import inside a function has a comment beside it, or above the group of imports that it belongs to."""
    path = files()[name]
    with tokenize.open(path) as lines:
        tokens = list(tokenize.generate_tokens(lines.readline))
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    lazy = {one.line for one in imports(path) if one.is_lazy}
    for block in ast.walk(tree(path)):
        body = block.body if isinstance(block, ast.FunctionDef | ast.If | ast.With | ast.Try) else []
        start = None
        for statement in body:
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                start = None
                continue
            start = start or statement.lineno
            around = range(start - 1, (statement.end_lineno or statement.lineno) + 1)
            assert statement.lineno not in lazy or commented & set(around), f"{name}, line {statement.lineno}"


def test_only_the_command_line_prints():
    """Only cli, and the test KMS as a program, print, exit, or use the standard streams."""
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
def test_no_file_is_too_long(name):
    """A file has at most 400 lines, and opens with a docstring that says what it is."""
    assert len(files()[name].read_text(encoding="utf-8").splitlines()) <= LINES_MAX
    assert ast.get_docstring(tree(files()[name]))


# The state of the whole process

HOLDERS = {"local", "ContextVar", "Lock", "RLock", "Condition", "Event", "Semaphore"}
CHANGES = {
    *("append", "extend", "insert", "remove", "pop", "popitem", "clear", "sort", "reverse"),
    *("add", "discard", "update", "setdefault"),
}


def root_of(node: ast.AST) -> str | None:
    """Return the variable whose content ``variable[…]`` or ``variable.attribute`` is."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def changed_in(function: ast.AST) -> set[str]:
    """Return the variables of the module whose content a function changes, or which it assigns."""
    nodes = list(ast.walk(function))
    changed = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            changed |= {root_of(node) or ""} - own
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            changed |= {root_of(node.func) or ""} - own
    return changed


def process_state(path: Path) -> set[str]:
    """Return the names of a module that hold state of the whole process."""
    module = tree(path)
    values = {
        target.id: node.value
        for node in module.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    holders = {
        name
        for name, value in values.items()
        if isinstance(value, ast.Call)
        and (ast.unparse(value.func).rpartition(".")[2] in HOLDERS or "Weak" in ast.unparse(value.func))
    }
    functions = [
        node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    memos = {
        function.name
        for function in functions
        for decorator in function.decorator_list
        if re.match(r"(functools\.)?(lru_)?cache\b", ast.unparse(decorator))
    }
    changed = set().union(*map(changed_in, functions)) & set(values)
    return holders | memos | changed


def test_process_state_is_listed():
    """The docstring of keys/process_safety.py lists all state that the whole process shares, and nothing else."""
    text = ast.get_docstring(tree(files()["keys.process_safety"])) or ""
    lists = [line.partition(": ")[0] for line in text.splitlines() if line.startswith("- ")]
    listed = [name for line in lists for name in re.findall("`(.+?)`", line)]
    assert sorted(listed) == sorted(
        f"{name}.{variable}" for name, path in files().items() for variable in process_state(path)
    )


# The public names


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
    assert declared() == encenv._MODULES
    assert list(encenv._MODULES) == sorted(encenv._MODULES)
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


# The cost of an import


def modules_of(code: str) -> set[str]:
    """Return the modules that *code* adds in a fresh interpreter."""
    script = f"import json, sys\nbefore = set(sys.modules)\n{code}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=without_coverage(os.environ),
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
        "from encenv import decrypt_environ\nfrom encenv.files.encrypt import encrypt\n"
        "from encenv.files.key_names import KeyName\nfrom encenv.files.writer import Writer\n"
        "from encenv.files.document import parse\n"
        "text = encrypt('A=1', Writer((KeyName('local', ''),))).text\n"
        "assert decrypt_environ({b.name: b.value for b in parse(text).bindings}) == {'A': '1'}"
    )
    assert not tops(modules_of(from_text)) & (COSTLY - {"cryptography"})
