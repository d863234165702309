"""The house of design: its rooms in order, their files bottom-up, and who may import what.

The architecture test checks the package against these tables, and ``python tests/support/house.py`` draws them as
encenv/house.svg. A new file of the package gets its line here.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "encenv"


@dataclass(frozen=True)
class Room:
    """A room: its folder, what it is for, and its files in the order in which they may import each other.

    A file may import the files listed before it in its own room, and every file of the rooms before it.
    """

    name: str
    purpose: str
    files: tuple[str, ...]


# From the bottom up: no import points to a file that comes later, not even one for the type checker.
ROOMS = (
    Room("errors", "the exception tree", ("errors",)),
    Room(
        "format",
        "text to bytes and back",
        (
            "format.sealed",
            "format.cipher",
            "format.envelope",
        ),
    ),
    Room(
        "keys",
        "from a key entry to a decrypted value",
        (
            "keys.provider",
            "keys.trust",
            "keys.process_safety",
            "keys.local",
            "keys.unwrap",
            "keys.entries",
            "keys.session",
        ),
    ),
    Room(
        "keys.aws",
        "AWS KMS",
        (
            "keys.aws.sigv4",
            "keys.aws.endpoint",
            "keys.aws.http",
            "keys.aws.credentials",
            "keys.aws.ca_store",
            "keys.aws.errors",
            "keys.aws.request",
            "keys.aws.client",
            "keys.aws.kms",
            "keys.aws.probe",
        ),
    ),
    Room(
        "files",
        "a .env file on disk",
        (
            "files.disk",
            "files.atomic",
            "files.dotenv_names",
            "files.document",
            "files.opening",
            "files.expand",
            "files.plaintext_leaks",
            "files.inspect",
            "files.compare",
            "files.key_names",
            "files.writer",
            "files.lines",
            "files.data_key_choice",
            "files.encrypt",
            "files.edit",
            "files.editor_session",
            "files.rewrap",
        ),
    ),
    Room(
        "load",
        "from sources to settings",
        (
            "load.options",
            "load.reader_session",
            "load.environ",
            "load.dotenv",
            "load.child_environ",
            "load.prefetch",
            "load.pydantic_names",
            "load.field_names",
            "load.secrets_dir",
            "load.sources",
            "load.safe_errors",
            "load.snapstart",
            "load.settings",
        ),
    ),
    Room(
        "policy",
        "what must be encrypted, under which key",
        (
            "policy.rules",
            "policy.settings_import",
            "policy.secret_types",
            "policy.settings_class",
            "policy.file_globs",
            "policy.project",
        ),
    ),
    Room(
        "export",
        "variables for another place",
        (
            "export.formats",
            "export.final_values",
        ),
    ),
    Room(
        "git",
        "what git runs",
        (
            "git.repository",
            "git.plaintext_history",
            "git.hooks",
            "git.install",
            "git.textconv",
            "git.merge",
        ),
    ),
    Room(
        "cli",
        "the command line",
        (
            "cli.terminal",
            "cli.report",
            "cli.options",
            "cli.files",
            "cli.editor",
            "cli.key_health",
            "cli.group",
            "cli.main",
        ),
    ),
    Room(
        "cli.verbs",
        "one file a verb",
        (
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
        ),
    ),
)
HOUSE = tuple(file for room in ROOMS for file in room.files)

# For users, not for the rooms: nothing but these imports them, and what each may import is listed here.
FACES = {
    "": set(HOUSE),  # the public names, lazily
    "__main__": {"cli.main"},
    "testing.request": {"keys.aws.sigv4"},
    "testing.keys": {"testing.request", "format.sealed", "keys.aws.endpoint"},
    "testing.operations": {"testing.request", "testing.keys"},
    "testing.faults": {"testing.request", "testing.operations"},
    "testing.listener": set[str](),
    "testing.server": {
        *("testing.request", "testing.keys", "testing.operations", "testing.faults", "testing.listener"),
    },
    "testing.fixtures": {"testing.server", "keys.unwrap", "keys.local"},
    "testing": {"testing.request", "testing.server", "testing.fixtures"},
    "testing.__main__": {"testing.server"},
}

# Folders whose __init__ is a docstring, so that importing one of their files imports no other.
DOORS = {"format", "keys", "keys.aws", "files", "load", "policy", "export", "git", "cli", "cli.verbs"}

# The files that may import each heavy dependency, even for the type checker. A room means all its files.
OWNERS = {
    "boto3": {"keys.aws.client", "keys.aws.kms"},
    "botocore": {"keys.aws.client"},
    "click": {"cli.options", "cli.group", "cli.verbs"},
    "cryptography": {"format.cipher", "testing.keys"},
    "dotenv": {"files.dotenv_names"},
    "mypy_boto3_kms": {"keys.aws.kms"},  # for the type checker
    "pydantic": {
        "load.pydantic_names",
        "load.field_names",
        "load.secrets_dir",
        "policy.secret_types",
        "load.settings",
        "cli.verbs.demo",  # it declares a settings class
    },
    "pydantic_core": {"load.safe_errors"},
    "pydantic_settings": {
        "policy.secret_types",
        "policy.settings_class",  # where no settings class loads
        "load.options",
        "load.pydantic_names",
        "load.field_names",
        "load.safe_errors",
        "load.secrets_dir",
        "load.snapstart",
        "load.settings",
        "load.sources",
    },
    "pytest": {"testing.fixtures"},
    "snapshot_restore_py": {"keys.process_safety"},  # AWS's, which Lambda's Python runtime brings along
    "trustme": {"testing.server"},
    "typing_extensions": {"load.options"},
}


@dataclass(frozen=True)
class Import:
    """One import of a file: what, in which line, where in the file, and whether only for the type checker."""

    what: str
    line: int
    is_lazy: bool
    is_typing: bool

    @property
    def target(self) -> str | None:
        """The file of this package that is imported, by its name within the package; None for any other."""
        top, _, name = self.what.partition(".")
        return name if top == "encenv" else None


def files() -> dict[str, Path]:
    """Return every source file by its name within the package; the package's own __init__ is ""."""
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
    """Yield what a file imports; for ``from encenv.x import y`` the module x.y, if that is one.

    A call of `lazily` is an import, too.
    """
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
            for child in node.orelse:
                yield from walk(child, lazy=lazy, typing=typing)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "lazily":
            yield Import(ast.literal_eval(node.args[0]), node.lineno, is_lazy=True, is_typing=typing)
        else:
            inner = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, lazy=inner, typing=typing)

    yield from walk(tree(path), lazy=False, typing=False)
