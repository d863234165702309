"""Write variables in the format that another place reads, and refuse what that place cannot take.

A writer returns a text that its reader turns into exactly the same names and values, or raises an error that names
the variable. A value that needs no quotes in any format, such as an encrypted value or a key entry, is written bare.
"""

import json
import re
import shlex
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from encenv.errors import EncenvError, MalformedError, combine
from encenv.files.inspect import LAMBDA_BYTES, measure

DOCKER_LINE_MAX = (
    65_535  # bytes without the newline: bufio.MaxScanTokenSize of the Go library that reads the file
)
KUBERNETES_MAX = 1_048_576  # bytes, of all values of a ConfigMap or a Secret

_BARE = re.compile(r"[A-Za-z0-9_.:/@%+,=-]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # POSIX.1-2017, Base Definitions 3.235
_LAMBDA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]+")  # Lambda API reference, Environment
_KUBERNETES_NAME = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,252}")  # of a key in the data and of a variable
_HCL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OBJECT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")  # RFC 1123, as Kubernetes takes it
# Words that a reader of YAML 1.1 does not take for a text.
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
    """The variables to write, key entries among them, in their order."""

    values: Mapping[str, str] = field(repr=False)
    secret: frozenset[str] = frozenset()  # the names whose values are secrets in plaintext
    title: str = ""  # the name of the whole, in formats that have one


@dataclass(frozen=True, slots=True)
class Formatted:
    """Variables in a format: the text to give to the reader."""

    text: str = field(repr=False)
    masks: str = field(default="", repr=False)  # for a job to print first, so that its log hides the secrets
    warnings: tuple[str, ...] = ()  # what a person should know about the text


def _json(variables: Variables) -> Formatted:
    _check(variables, "JSON", value=_is_unicode)
    return Formatted(json.dumps(dict(variables.values), indent=2) + "\n")


def _shell(variables: Variables) -> Formatted:
    _check(variables, "a shell", name=_NAME)
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.values.items())
    return Formatted("".join(lines))


def _docker(variables: Variables) -> Formatted:
    # There are no quotes and no escapes: everything after the = is the value.
    _check(variables, "docker --env-file", name=re.compile(r"[^\s=#\x00][^\s=\x00]*"), value=_is_docker)
    return Formatted("".join(f"{name}={value}\n" for name, value in variables.values.items()))


def _is_docker(name: str, value: str) -> bool:
    line = f"{name}={value}"
    return (
        _is_unicode(name, value)
        and "\n" not in line
        and not line.endswith("\r")
        and not line.startswith("\ufeff")
        and len(line.encode()) <= DOCKER_LINE_MAX
    )


def _systemd(variables: Variables) -> Formatted:
    _check(variables, "systemd", name=_NAME, value=_is_systemd)
    lines = (f"{name}={_systemd_word(value)}\n" for name, value in variables.values.items())
    return Formatted("".join(lines))


def _systemd_word(value: str) -> str:
    # systemd.exec(5), EnvironmentFile=: inside double quotes a backslash escapes these four.
    return value if not value or _BARE.fullmatch(value) else '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'


def _is_systemd(name: str, value: str) -> bool:
    # A variable with a control character other than tab and newline is dropped.
    return _is_unicode(name, value) and not re.search(r"[\x01-\x08\x0b-\x1f\x7f]", value)


def _lambda(variables: Variables) -> Formatted:
    _check(variables, "AWS Lambda", name=_LAMBDA_NAME, value=_is_unicode, reserved=_LAMBDA_RESERVED)
    values = dict(variables.values)
    whole = {"FunctionName": variables.title} if variables.title else {}
    size = measure(values.items())
    excess = f"the variables have {size:,} bytes, and AWS Lambda takes {LAMBDA_BYTES:,}: it will refuse them"
    return Formatted(
        json.dumps(whole | {"Environment": {"Variables": values}}, indent=2) + "\n",
        warnings=(excess,) if size > LAMBDA_BYTES else (),
    )


def _terraform(variables: Variables) -> Formatted:
    _check(variables, "Terraform", value=_is_terraform)
    title = _title(
        variables.title or "environment", _HCL_NAME, "a Terraform variable", "letters, digits, _ and -"
    )
    lines = (f"  {_hcl(name)} = {_hcl(value)}\n" for name, value in variables.values.items())
    return Formatted(f"{title} = {{\n{''.join(lines)}}}\n")


def _hcl(text: str) -> str:
    # HCL native syntax, "Template Expressions": ${ and %{ begin one unless their first character is doubled.
    return _double_quoted(text, _unicode_escape).replace("${", "$${").replace("%{", "%%{")


def _is_terraform(name: str, value: str) -> bool:
    # Terraform normalises every text, so a text in another form would change.
    return _is_unicode(name, value) and all(unicodedata.is_normalized("NFC", text) for text in (name, value))


def _github(variables: Variables) -> Formatted:
    reserved = {name for name in variables.values if _GITHUB_RESERVED.match(name.upper())}
    _check(variables, "GitHub Actions", name=_NAME, value=_is_github, reserved=reserved)
    masks: dict[str, None] = {}
    for name, value in variables.values.items():
        if name in variables.secret:
            # The whole and each of its lines: the log is searched line by line.
            masks.update((text, None) for text in (value, *value.split("\n")) if text.strip())
    return Formatted(
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
    return _is_unicode(name, value) and "\r" not in value  # GitHub removes it at the end of a line


def _kubernetes(variables: Variables) -> Formatted:
    _check(variables, "Kubernetes", name=_KUBERNETES_NAME, value=_is_unicode)
    letters = "lower-case letters, digits, - and ."
    title = _title(variables.title or "env", _OBJECT_NAME, "a Kubernetes object", letters)
    kind, data = ("Secret", "stringData") if variables.secret else ("ConfigMap", "data")
    lines = (f"  {_yaml_key(name)}: {_yaml(value)}\n" for name, value in variables.values.items())
    size = sum(len(value.encode()) for value in variables.values.values())
    excess = f"the values have {size:,} bytes, and Kubernetes takes {KUBERNETES_MAX:,} in one object"
    head = f"apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {_yaml(title)}\n{data}:"
    text = head + ("\n" + "".join(lines) if variables.values else " {}\n")
    return Formatted(text, warnings=(excess,) if size > KUBERNETES_MAX else ())


def _yaml(value: str) -> str:
    # Encrypted values and key entries have letters and a colon; other bare texts could be read as a number.
    is_plain = value.startswith(("encenv:1:", "1:")) and len(value) > 40 and _BARE.fullmatch(value)
    return value if is_plain else _double_quoted(value, _yaml_escape)


def _yaml_key(name: str) -> str:
    return name if _NAME.fullmatch(name) and name.lower() not in _YAML_WORDS else _yaml(name)


def _double_quoted(text: str, escape: Callable[[str], str]) -> str:
    short = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(short.get(c) or (c if c.isprintable() else escape(c)) for c in text) + '"'


def _unicode_escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _yaml_escape(character: str) -> str:
    return f"\\x{ord(character):02x}" if character <= "\xff" else _unicode_escape(character)


def _is_unicode(name: str, value: str) -> bool:
    """Return whether both are Unicode without NUL; bytes that are not UTF-8 are lone surrogates here."""
    return not any("\ud800" <= c <= "\udfff" or c == "\0" for c in name + value)


def _check(
    variables: Variables,
    place: str,
    name: re.Pattern[str] | None = None,
    value: Callable[[str, str], bool] = lambda _, value: "\0" not in value,
    reserved: Collection[str] = (),
) -> None:
    rename = "rename it, or leave it out: --except NAME"
    encrypt = "encrypt it (an encrypted value can go anywhere), or encode it, for example as base64"
    failures: list[EncenvError] = []
    for one, text in variables.values.items():
        if name is not None and not name.fullmatch(one):
            what, hint = "takes no variable of this name", rename
        elif one in reserved:
            what, hint = "reserves this name", rename
        elif not value(one, text):
            what, hint = "would change or refuse the value", encrypt
        else:
            continue
        failures.append(MalformedError(f"{place} {what}", hint=hint, variables=[one]))
    if failures:
        raise combine(failures, whole="the file", done="exported")


def _title(title: str, pattern: re.Pattern[str], what: str, letters: str) -> str:
    if pattern.fullmatch(title):
        return title
    raise MalformedError(f"{title!a} cannot be the name of {what}", hint=f"give a --name of {letters}")


FORMATS: dict[str, Callable[[Variables], Formatted]] = {
    "json": _json,
    "shell": _shell,
    "docker": _docker,
    "lambda": _lambda,
    "terraform": _terraform,
    "github": _github,
    "systemd": _systemd,
    "k8s": _kubernetes,
}
TITLED = ("lambda", "terraform", "k8s")  # the formats that have a name for the whole
