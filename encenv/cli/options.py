"""Options and arguments that several verbs have, each with one meaning."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import click

from encenv.cli.terminal import quietly
from encenv.errors import EncenvError, MalformedError
from encenv.files.disk import read
from encenv.files.document import parse
from encenv.files.key_names import Pairs, parse_context, parse_keys
from encenv.format.sealed import LOCAL_KEY_NAME, entry_kid
from encenv.policy.rules import matches

F = TypeVar("F", bound=Callable[..., Any])
STANDARD_INPUT = STANDARD_OUTPUT = "-"
DEFAULT_FILE = ".env"
_USED_BY = f"{__name__}.standard_input"  # in Context.meta: what uses it in this call


class Misuse(click.UsageError):
    """A wrong call, with what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def use_standard_input(context: click.Context, user: str) -> None:
    """Record that this call uses standard input for *user*; a second use is a Misuse, for it would find nothing."""
    first = context.meta.setdefault(_USED_BY, user)
    if first is not user:
        message = f"standard input cannot be used twice: {first} and {user}"
        raise Misuse(message, "name a file for one of them")


# Files


class _InputFile(click.Path):
    """The path of a file to read, or ``-``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if path == STANDARD_INPUT and param is not None and ctx is not None and not ctx.resilient_parsing:
            name = param.opts[0] if isinstance(param, click.Option) else param.human_readable_name
            use_standard_input(ctx, f"{name.strip('[].')} {STANDARD_INPUT}")
        return path


# The file is looked at only when it is opened; this type lets shells complete its path.
FILE = _InputFile(readable=False, allow_dash=True)

file_argument = click.argument("file", metavar="[FILE]", default=DEFAULT_FILE, type=FILE)
_files_argument = partial(click.argument, "files", metavar="[FILE]...", nargs=-1, type=FILE)
files_argument = _files_argument(callback=lambda _, __, files: files or (DEFAULT_FILE,))
named_files_argument = _files_argument()  # without a default
_file_option = partial(click.option, "-f", "--file", metavar="FILE", type=FILE)
file_option = _file_option(default=DEFAULT_FILE, show_default=True, help="The file; - is standard input.")
files_option = _file_option("files", multiple=True, help="A .env file; a later one wins over an earlier one.")


def _check_not_empty(_ctx: click.Context, _param: click.Parameter, path: str | None) -> str | None:
    if path == "":  # such as "$OUT" where OUT is not set
        raise click.BadParameter("the name of the file is empty")
    return path


# A new file to write, or standard output.
_output = click.Path(readable=False, allow_dash=True)
output_option = partial(
    click.option, "-o", "--output", metavar="FILE", type=_output, callback=_check_not_empty
)


# Reports

json_option = click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
quiet = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, _, is_used: ctx.with_resource(quietly()) if is_used else None,
    help="Print only warnings and errors.",
)


# Keys


def _parse_pairs(texts: tuple[str, ...]) -> Pairs | None:
    for text in texts:
        if "=" not in text:
            raise click.UsageError(f"--context: {text!r} is not KEY=VALUE")
    return parse_context(text.partition("=")[::2] for text in texts) or None


def _parsed_option(
    parse_texts: Callable[[tuple[str, ...]], Any], *names: str, **attributes: Any
) -> Callable[[F], F]:
    """Add an option, which may be repeated, that *parse_texts* reads; malformed text is a wrong call."""

    def callback(_: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> Any:
        try:
            return parse_texts(texts)
        except MalformedError as error:
            raise Misuse(f"{option.opts[0]}: {error.message}", error.hint) from None

    return click.option(*names, multiple=True, callback=callback, **attributes)


key_option = partial(_parsed_option, parse_keys, metavar="KEY")
context_option = partial(_parsed_option, _parse_pairs, "--context", metavar="KEY=VALUE")


def key_options(command: F) -> F:
    """Add ``--key`` and ``--context``: what to encrypt with."""
    command = context_option(help="Add a pair to the encryption context.")(command)
    return key_option("--key", "keys", help="Encrypt with KEY; repeat it for several keys.")(command)


# Names of variables


def complete_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a variable of the file that the command line names, else of .env."""
    named = ctx.params.get("file") or ctx.params.get("files") or DEFAULT_FILE
    names: dict[str, None] = {}
    for path in (named,) if isinstance(named, str) else named:
        with suppress(EncenvError):
            bindings = parse(read(path).decode("utf-8", "surrogateescape")).bindings
            names |= dict.fromkeys(binding.name for binding in bindings if binding.name)
    own = (name for name in names if entry_kid(name) is None and name != LOCAL_KEY_NAME)
    return [name for name in own if name.upper().startswith(incomplete.upper())]


name_argument = click.argument("name", metavar="NAME", shell_complete=complete_names)
_globs_option = partial(click.option, metavar="GLOB", multiple=True, shell_complete=complete_names)
only_option = _globs_option("--only", help="Take only variables that match GLOB; repeat it for several.")
except_option = _globs_option("--except", "exclude", help="Skip variables that match GLOB.")


def chooser(
    only: tuple[str, ...], exclude: tuple[str, ...], otherwise: Callable[[str], bool] = lambda _: True
) -> Callable[[str], bool]:
    """Return the test of a variable's name: it is in ``--only``, else passes *otherwise*, and not in ``--except``."""
    return lambda name: (matches(name, only) if only else otherwise(name)) and not matches(name, exclude)
