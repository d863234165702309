"""Variables in the text that another place reads: each format with what that place cannot take.

A writer gives a text that its reader turns into exactly the same names and values, or an error that names the
variable. What stands for itself in every format, as a sealed value and a key entry do, is written bare.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from encenv.errors import EncenvError, MalformedError, combine

LAMBDA_MAX = 4096  # bytes, AWS Lambda quotas: "Environment variables"
DOCKER_LINE_MAX = (
    65_535  # bytes, bufio.MaxScanTokenSize of the Go library that reads the file, less the newline
)
KUBERNETES_MAX = 1_048_576  # bytes, of all values of a ConfigMap or a Secret

_BARE = re.compile(r"[A-Za-z0-9_.:/@%+,=-]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # POSIX.1-2017, Base Definitions 3.235
_LAMBDA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]+")  # Lambda API reference, Environment
_KUBERNETES_NAME = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,252}")  # of a key in the data and of a variable
_OBJECT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")  # RFC 1123, as Kubernetes takes it
# Words that a reader of YAML 1.1 takes for something else than a text.
_YAML_WORDS = {"", "~", "false", "n", "no", "null", "off", "on", "true", "y", "yes"}
_LAMBDA_RESERVED = {  # AWS Lambda developer guide, "Defined runtime environment variables": these cannot be set
    "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "_HANDLER",
}  # fmt: skip

_GITHUB_RESERVED = re.compile(r"GITHUB_|RUNNER_|NODE_OPTIONS$")  # in capitals; GitHub's "Workflow commands"


@dataclass(frozen=True, slots=True)
class Variables:
    """What is to be written.

    Attributes:
        values: The values by name, key entries among them, in the order in which they are written.
        secret: The names whose values are secrets in plaintext.
        title: What the whole is called there, where it has a name.
    """

    values: Mapping[str, str] = field(repr=False)
    secret: frozenset[str] = frozenset()
    title: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A text for another place.

    Attributes:
        text: What it reads.
        masks: What a log of that place is told to hide, before anything else happens.
        warnings: What a person should know about it.
    """

    text: str = field(repr=False)
    masks: str = field(default="", repr=False)
    warnings: tuple[str, ...] = ()


def write(name: str, variables: Variables) -> Written:
    """Return *variables* as the format *name* of `FORMATS` has them.

    Raises:
        EncenvError: If the place cannot take a variable; all of them are reported together.
    """
    return FORMATS[name](variables)


def _json(variables: Variables) -> Written:
    _check(variables, "JSON", value=_is_unicode)
    return Written(json.dumps(dict(variables.values), indent=2) + "\n")


def _shell(variables: Variables) -> Written:
    _check(variables, "a shell", name=_NAME)
    lines = (f"export {name}={_shell_word(value)}\n" for name, value in variables.values.items())
    return Written("".join(lines))


def _shell_word(value: str) -> str:
    return value if _BARE.fullmatch(value) else "'" + value.replace("'", "'\\''") + "'"


def _docker(variables: Variables) -> Written:
    # Neither quotes nor escapes: all of a line behind the = is the value.
    _check(variables, "docker --env-file", name=re.compile(r"[^\s=#\x00][^\s=\x00]*"), value=_is_docker)
    return Written("".join(f"{name}={value}\n" for name, value in variables.values.items()))


def _is_docker(name: str, value: str) -> bool:
    line = f"{name}={value}"
    return (
        _is_unicode(name, value)
        and "\n" not in line
        and not line.endswith("\r")
        and not line.startswith("\ufeff")
        and len(line.encode()) <= DOCKER_LINE_MAX
    )


def _systemd(variables: Variables) -> Written:
    _check(variables, "systemd", name=_NAME, value=_is_systemd)
    lines = (f"{name}={_systemd_word(value)}\n" for name, value in variables.values.items())
    return Written("".join(lines))


def _systemd_word(value: str) -> str:
    # systemd.exec(5), EnvironmentFile=: inside double quotes a backslash escapes these four.
    return value if not value or _BARE.fullmatch(value) else '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'


def _is_systemd(name: str, value: str) -> bool:
    # Of the control characters it takes the tab and the newline; a variable with others is dropped.
    return _is_unicode(name, value) and not re.search(r"[\x01-\x08\x0b-\x1f\x7f]", value)


def _lambda(variables: Variables) -> Written:
    _check(variables, "AWS Lambda", name=_LAMBDA_NAME, value=_is_unicode, reserved=_LAMBDA_RESERVED)
    values = dict(variables.values)
    whole = {"FunctionName": variables.title} if variables.title else {}
    # Lambda measures the variables as one JSON text, names and punctuation included.
    size = len(json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode())
    over = f"the variables have {size:,} bytes, and AWS Lambda takes {LAMBDA_MAX:,}: it will refuse them"
    return Written(
        json.dumps(whole | {"Environment": {"Variables": values}}, indent=2) + "\n",
        warnings=(over,) if size > LAMBDA_MAX else (),
    )


def _terraform(variables: Variables) -> Written:
    _check(variables, "Terraform", value=_is_terraform)
    title = variables.title or "environment"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", title):
        raise _bad_title(title, "a Terraform variable", "letters, digits, _ and -")
    lines = (f"  {_hcl(name)} = {_hcl(value)}\n" for name, value in variables.values.items())
    return Written(f"{title} = {{\n{''.join(lines)}}}\n")


def _hcl(text: str) -> str:
    # HCL native syntax, "Template Expressions": ${ and %{ begin one unless their first character is doubled.
    return _double_quoted(text, hexadecimal=False).replace("${", "$${").replace("%{", "%%{")


def _is_terraform(name: str, value: str) -> bool:
    # Terraform normalises every text; what is not in that form would arrive as another one.
    return _is_unicode(name, value) and all(unicodedata.is_normalized("NFC", text) for text in (name, value))


def _github(variables: Variables) -> Written:
    reserved = {name for name in variables.values if _GITHUB_RESERVED.match(name.upper())}
    _check(variables, "GitHub Actions", name=_NAME, value=_is_github, reserved=reserved)
    masks: dict[str, None] = {}
    for name, value in variables.values.items():
        if name in variables.secret:
            # The whole and each of its lines: the log is searched line by line.
            masks.update((text, None) for text in (value, *value.split("\n")) if text.strip())
    return Written(
        "".join(_github_lines(name, value) for name, value in variables.values.items()),
        masks="".join(f"::add-mask::{_github_data(text)}\n" for text in masks),
    )


def _github_lines(name: str, value: str) -> str:
    if _BARE.fullmatch(value):
        return f"{name}={value}\n"
    delimiter = "ENCENV_END"
    while delimiter in value:
        delimiter += "_"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


def _github_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")  # GitHub's "Workflow commands"


def _is_github(name: str, value: str) -> bool:
    return _is_unicode(name, value) and "\r" not in value  # where it ends a line it is taken away


def _kubernetes(variables: Variables) -> Written:
    _check(variables, "Kubernetes", name=_KUBERNETES_NAME, value=_is_unicode)
    title = variables.title or "env"
    if not _OBJECT_NAME.fullmatch(title):
        raise _bad_title(title, "a Kubernetes object", "lower-case letters, digits, - and .")
    kind, data = ("Secret", "stringData") if variables.secret else ("ConfigMap", "data")
    lines = (f"  {_yaml_key(name)}: {_yaml(value)}\n" for name, value in variables.values.items())
    size = sum(len(value.encode()) for value in variables.values.values())
    over = f"the values have {size:,} bytes, and Kubernetes takes {KUBERNETES_MAX:,} in one object"
    head = f"apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {_yaml(title)}\n{data}:"
    text = head + ("\n" + "".join(lines) if variables.values else " {}\n")
    return Written(text, warnings=(over,) if size > KUBERNETES_MAX else ())


def _yaml(value: str) -> str:
    # A sealed value and a key entry have letters and a colon; a bare text without would perhaps be a number.
    is_plain = value.startswith(("encenv:1:", "1:")) and len(value) > 40 and _BARE.fullmatch(value)
    return value if is_plain else _double_quoted(value, hexadecimal=True)


def _yaml_key(name: str) -> str:
    return name if _NAME.fullmatch(name) and name.lower() not in _YAML_WORDS else _yaml(name)


def _double_quoted(text: str, *, hexadecimal: bool) -> str:
    known = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(known.get(c) or _escaped(c, hexadecimal=hexadecimal) for c in text) + '"'


def _escaped(character: str, *, hexadecimal: bool) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if hexadecimal and code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _is_unicode(name: str, value: str) -> bool:
    """Return whether there are no bytes in it that are not UTF-8; they stand as lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" or c == "\0" for c in name + value)


def _check(
    variables: Variables,
    place: str,
    name: re.Pattern[str] | None = None,
    value: Callable[[str, str], bool] = lambda _, value: "\0" not in value,
    reserved: frozenset[str] | set[str] = frozenset(),
) -> None:
    failures: list[EncenvError] = []
    for one, text in variables.values.items():
        if name is not None and not name.fullmatch(one):
            what, hint = (
                f"{place} takes no variable of this name",
                "give it another name, or leave it out: --except NAME",
            )
        elif one in reserved:
            what, hint = (
                f"{place} keeps this name for itself",
                "give it another name, or leave it out: --except NAME",
            )
        elif not value(one, text):
            what, hint = f"{place} would not take the value as it is", _HINT
        else:
            continue
        failures.append(MalformedError(what, hint=hint, variables=[one]))
    if failures:
        raise combine(failures, whole="the file", done="exported")


_HINT = "seal it (a sealed value can go anywhere), or encode it, for example as base64"


def _bad_title(title: str, what: str, letters: str) -> MalformedError:
    return MalformedError(f"{title!a} cannot be the name of {what}", hint=f"give a --name of {letters}")


FORMATS: dict[str, Callable[[Variables], Written]] = {
    "json": _json,
    "shell": _shell,
    "docker": _docker,
    "lambda": _lambda,
    "terraform": _terraform,
    "github": _github,
    "systemd": _systemd,
    "k8s": _kubernetes,
}
TITLED: Sequence[str] = ("lambda", "terraform", "k8s")  # whose place has a name for the whole
