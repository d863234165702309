"""``encenv encrypt``: encrypt the values of .env files."""

import click

from encenv.cli.inputs import STANDARD_INPUT, place, read_text
from encenv.cli.terminal import say, shown, write
from encenv.errors import EncenvError, MalformedError
from encenv.files.atomic import create, rewriting
from encenv.files.rewrite import KeyName, Rewritten, Writer, encrypt, reencrypt
from encenv.format.sealed import ADDED_BY_WRITER, check_context
from encenv.load.envfiles import decode

OUTPUT_MODE = 0o644  # less the umask: what is in the file is encrypted, and is meant to be committed


class _Misuse(click.UsageError):
    """A wrong call, with what to do about it."""

    def __init__(self, error: EncenvError, option: str) -> None:
        super().__init__(f"{option}: {error.message}")
        self.hint = error.hint


@click.command(short_help="Encrypt the values of .env files.")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--key", "keys", metavar="KEY", multiple=True, help="A wrapping key; repeat it for several.")
@click.option(
    "--context", "context", metavar="KEY=VALUE", multiple=True, help="A pair of the encryption context."
)
@click.option(
    "-o", "--output", metavar="FILE", help="Write there instead, under a data key of its own; - is stdout."
)
def command(
    files: tuple[str, ...], keys: tuple[str, ...], context: tuple[str, ...], output: str | None
) -> None:
    """Encrypt every value in FILE (.env) that is not encrypted yet.

    The file is rewritten in place; comments, order and all else stay. For - standard input is read and standard
    output written. KEY is local, the ARN of a KMS key, or alias/<name>. A file that has encrypted values keeps
    using its data key, so then KEY may be left out.

    \b
    Example:
      encenv keygen
      encenv encrypt --key local .env
      encenv encrypt --key alias/staging --context stage=staging .env.staging
    """
    writer = Writer(_keys(keys), _context(context) if context else None)
    files = files or (".env",)
    if output is not None and len(files) > 1:
        raise click.UsageError("-o takes one FILE")
    for path in files:
        to = STANDARD_INPUT if output is None and path == STANDARD_INPUT else output
        if to is None:
            with rewriting(path) as file:
                outcome = encrypt(decode(file.data, shown(path)), writer, shown(path))
                file.replace(outcome.text.encode())
            _report(shown(path), outcome)
            continue
        outcome = reencrypt(read_text(path), writer, place(path))
        if to == STANDARD_INPUT:
            write(outcome.text.encode())
        else:
            create(to, outcome.text.encode(), OUTPUT_MODE)
        _report("standard output" if to == STANDARD_INPUT else shown(to), outcome)


def _keys(texts: tuple[str, ...]) -> tuple[KeyName, ...]:
    try:
        return tuple(dict.fromkeys(KeyName.parse(text) for text in texts))
    except MalformedError as error:
        misuse = _Misuse(error, "--key")
    raise misuse


def _context(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--context: {text!r} is not KEY=VALUE")
        if (key, value) == ADDED_BY_WRITER:
            raise click.UsageError(f"--context: {text} is encenv's own")
        pairs.append((key, value))
    try:
        check_context(tuple(pairs), where="the encryption context")
    except MalformedError as error:
        misuse = _Misuse(error, "--context")
    else:
        return tuple(pairs)
    raise misuse


def _report(where: str, outcome: Rewritten) -> None:
    entry = outcome.entry
    if entry is None:
        kept = f" ({_count(outcome.kept)} encrypted already)" if outcome.kept else ""
        say(f"{where}: nothing to encrypt{kept}")
        return
    under = ", ".join(f"{item.provider}:{item.reference}" for item in entry.items)
    what = "new data key" if outcome.is_new else "data key"
    say(f"{where}: encrypted {_count(len(outcome.names))} under {what} {entry.kid} ({under})")
    if outcome.is_new and ADDED_BY_WRITER in entry.context:
        say(
            f"{where}: the data key that it had could not be used, for decrypting with it is not permitted here"
        )


def _count(number: int) -> str:
    return "1 value" if number == 1 else f"{number} values"
