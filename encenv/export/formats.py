"""Write variables in the format that another place reads, and refuse what that place cannot take.

A format's reader turns the text into exactly the same names and values. A value that needs no quotes in any format,
such as an encrypted value or a key entry, is written bare.
"""

import json
import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from encenv.errors import EncenvError, MalformedError, combine
from encenv.files.inspect import LAMBDA_BYTES, measure

# Bytes without the newline: bufio.MaxScanTokenSize of the Go library that reads the file.
DOCKER_LINE_MAX = 65_535
KUBERNETES_MAX = 1_048_576  # bytes, of all values of a ConfigMap or a Secret

_BARE = re.compile(r"[A-Za-z0-9_.:/@%+,=-]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # POSIX.1-2017, Base Definitions 3.235
_DOCKER_NAME = re.compile(r"[^\s=#\x00][^\s=\x00]*")
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
# GitHub's "Workflow commands"; in any case.
_GITHUB_RESERVED = re.compile(r"GITHUB_|RUNNER_|NODE_OPTIONS$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables to write, key entries among them, in their order."""

    values: Mapping[str, str] = field(repr=False)
    secret: frozenset[str] = frozenset()  # the names whose values are secrets in plaintext
    title: str = ""  # the name of the function, variable or object, in formats that have one


@dataclass(frozen=True, slots=True)
class Output:
    """What to give to the reader of a format."""

    text: str = field(repr=False)
    masks: str = field(default="", repr=False)  # for a job to print first, so that its log hides the secrets
    warnings: tuple[str, ...] = ()  # what a person should know about the text


def _is_unicode(name: str, value: str) -> bool:
    """Return whether both are Unicode without NUL; bytes that are not UTF-8 are lone surrogates here."""
    return not any("\ud800" <= c <= "\udfff" or c == "\0" for c in name + value)


@dataclass(frozen=True, slots=True)
class Format:
    """A format, and what its reader takes."""

    reader: str  # what messages call it
    form: Callable[[Variables], Output]
    name: re.Pattern[str] | None = None  # of a variable; None for any
    takes: Callable[[str, str], bool] = _is_unicode  # given a name and a value
    reserves: Callable[[str], object] = lambda _: False  # true of the names that cannot be set
    has_title: bool = False  # whether the variables together have a name

    def write(self, variables: Variables) -> Output:
        """Return *variables* in this format; one MalformedError names all that the reader would refuse or change."""
        rename = "rename it, or leave it out: --except NAME"
        encrypt = "encrypt it (an encrypted value can go anywhere), or encode it, for example as base64"
        failures: list[EncenvError] = []
        for name, value in variables.values.items():
            if self.name is not None and not self.name.fullmatch(name):
                what, hint = "takes no variable of this name", rename
            elif self.reserves(name):
                what, hint = "reserves this name", rename
            elif not self.takes(name, value):
                what, hint = "would change or refuse the value", encrypt
            else:
                continue
            failures.append(MalformedError(f"{self.reader} {what}", hint=hint, variables=[name]))
        if failures:
            raise combine(failures, whole="the file", done="exported")
        return self.form(variables)


def _lines(line: Callable[[str, str], str]) -> Callable[[Variables], Output]:
    """Return the function that writes a *line* for each name and value, and nothing else."""
    return lambda variables: Output("".join(line(*one) for one in variables.values.items()))


def _takes_docker(name: str, value: str) -> bool:
    # There are no quotes and no escapes: everything after the = is the value.
    line = f"{name}={value}"
    return (
        _is_unicode(name, value)
        and "\n" not in line
        and not line.endswith("\r")
        and not line.startswith("\ufeff")
        and len(line.encode()) <= DOCKER_LINE_MAX
    )


def _systemd_line(name: str, value: str) -> str:
    if value and not _BARE.fullmatch(value):
        # systemd.exec(5), EnvironmentFile=: inside double quotes a backslash escapes these four.
        value = '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'
    return f"{name}={value}\n"


def _takes_systemd(name: str, value: str) -> bool:
    # A variable with a control character other than tab and newline is dropped.
    return _is_unicode(name, value) and not re.search(r"[\x01-\x08\x0b-\x1f\x7f]", value)


def _lambda(variables: Variables) -> Output:
    whole = {"FunctionName": variables.title} if variables.title else {}
    text = json.dumps(whole | {"Environment": {"Variables": dict(variables.values)}}, indent=2) + "\n"
    size = measure(variables.values.items())
    excess = f"the variables have {size:,} bytes, and AWS Lambda takes {LAMBDA_BYTES:,}: it will refuse them"
    return Output(text, warnings=(excess,) if size > LAMBDA_BYTES else ())


def _terraform(variables: Variables) -> Output:
    title = variables.title or "environment"
    _check_title(title, _HCL_NAME, "a Terraform variable", "letters, digits, _ and -")
    lines = (f"  {_hcl(name)} = {_hcl(value)}\n" for name, value in variables.values.items())
    return Output(f"{title} = {{\n{''.join(lines)}}}\n")


def _hcl(text: str) -> str:
    # HCL native syntax, "Template Expressions": ${ and %{ begin one unless their first character is doubled.
    return _double_quoted(text).replace("${", "$${").replace("%{", "%%{")


def _takes_terraform(name: str, value: str) -> bool:
    # Terraform normalises every text, so a text in another form would change.
    return _is_unicode(name, value) and all(unicodedata.is_normalized("NFC", text) for text in (name, value))


def _github(variables: Variables) -> Output:
    secrets = [value for name, value in variables.values.items() if name in variables.secret]
    # The whole and each of its lines: the log is searched line by line.
    masks = dict.fromkeys(text for value in secrets for text in (value, *value.split("\n")) if text.strip())
    return Output(
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


def _takes_github(name: str, value: str) -> bool:
    return _is_unicode(name, value) and "\r" not in value  # GitHub removes it at the end of a line


def _kubernetes(variables: Variables) -> Output:
    title = variables.title or "env"
    _check_title(title, _OBJECT_NAME, "a Kubernetes object", "lower-case letters, digits, - and .")
    kind, data = ("Secret", "stringData") if variables.secret else ("ConfigMap", "data")
    lines = (f"  {_yaml_key(name)}: {_yaml(value)}\n" for name, value in variables.values.items())
    size = sum(len(value.encode()) for value in variables.values.values())
    excess = f"the values have {size:,} bytes, and Kubernetes takes {KUBERNETES_MAX:,} in one object"
    head = f"apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {_yaml(title)}\n{data}:"
    text = head + ("\n" + "".join(lines) if variables.values else " {}\n")
    return Output(text, warnings=(excess,) if size > KUBERNETES_MAX else ())


def _yaml(value: str) -> str:
    # Encrypted values and key entries have letters and a colon; other bare texts could be read as a number.
    is_plain = value.startswith(("encenv:1:", "1:")) and len(value) > 40 and _BARE.fullmatch(value)
    return value if is_plain else _double_quoted(value)


def _yaml_key(name: str) -> str:
    return name if _NAME.fullmatch(name) and name.lower() not in _YAML_WORDS else _yaml(name)


def _double_quoted(text: str) -> str:
    """Return *text* with escapes that HCL and YAML share."""
    short = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(short.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in text) + '"'


def _check_title(title: str, pattern: re.Pattern[str], what: str, letters: str) -> None:
    if not pattern.fullmatch(title):
        raise MalformedError(f"{title!a} cannot be the name of {what}", hint=f"give a --name of {letters}")


FORMATS = {
    "json": Format("JSON", lambda variables: Output(json.dumps(dict(variables.values), indent=2) + "\n")),
    "shell": Format(
        "a shell",
        _lines(lambda name, value: f"export {name}={shlex.quote(value)}\n"),
        _NAME,
        lambda _, value: "\0" not in value,
    ),
    "docker": Format("docker --env-file", _lines("{}={}\n".format), _DOCKER_NAME, _takes_docker),
    "lambda": Format(
        "AWS Lambda", _lambda, _LAMBDA_NAME, reserves=_LAMBDA_RESERVED.__contains__, has_title=True
    ),
    "terraform": Format("Terraform", _terraform, takes=_takes_terraform, has_title=True),
    "github": Format("GitHub Actions", _github, _NAME, _takes_github, _GITHUB_RESERVED.match),
    "systemd": Format("systemd", _lines(_systemd_line), _NAME, _takes_systemd),
    "k8s": Format("Kubernetes", _kubernetes, _KUBERNETES_NAME, has_title=True),
}
