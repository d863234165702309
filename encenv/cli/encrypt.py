"""``encenv encrypt``: encrypt the values of .env files."""

import os
import sys

import click

from encenv.errors import MalformedError
from encenv.files.atomic import create, read, rewriting
from encenv.files.rewrite import KeyName, Rewritten, Writer, encrypt, reencrypt
from encenv.load.envfiles import decode


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path())
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

    The file is rewritten in place; comments, order and all else stay. KEY is local, the ARN of a KMS key, or
    alias/<name>. A file that has encrypted values keeps using its data key, so then KEY may be left out.

    \b
    Example:
      encenv keygen
      encenv encrypt --key local .env
      encenv encrypt --key alias/staging --context stage=staging .env.staging
    """
    writer = Writer(
        tuple(dict.fromkeys(_key(text) for text in keys)),
        tuple(_pair(text) for text in context) if context else None,
    )
    files = files or (".env",)
    if output is not None and len(files) > 1:
        raise click.UsageError("-o takes one FILE")
    for path in files:
        if output is None:
            with rewriting(path) as file:
                outcome = encrypt(decode(file.data, path), writer, path)
                file.replace(outcome.text.encode())
            _report(path, outcome)
        else:
            source = sys.stdin.buffer.read() if path == "-" else read(path)
            outcome = reencrypt(decode(source, path), writer, path)
            if output == "-":
                sys.stdout.buffer.write(outcome.text.encode())
                sys.stdout.buffer.flush()
            else:
                create(output, outcome.text.encode(), mode=0o644 & ~_umask())
            _report("standard output" if output == "-" else output, outcome)


def _report(path: str, outcome: Rewritten) -> None:
    if outcome.entry is None:
        click.echo(f"{path}: nothing to encrypt ({_count(outcome.kept)} encrypted already)", err=True)
        return
    under = ", ".join(f"{item.provider}:{item.reference}" for item in outcome.entry.items)
    what = "new data key" if outcome.is_new else "data key"
    click.echo(
        f"{path}: encrypted {_count(len(outcome.names))} under {what} {outcome.entry.kid} ({under})", err=True
    )


def _count(number: int) -> str:
    return "1 value" if number == 1 else f"{number} values"


def _key(text: str) -> KeyName:
    try:
        return KeyName.parse(text)
    except MalformedError as error:
        message = error.message
    raise click.BadParameter(message, param_hint="--key")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--context")
    return key, value


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
