"""``encenv rewrap``: other wrapping keys for .env files whose values stay as they are."""

import dataclasses

import click

from encenv.cli.files import place
from encenv.cli.key_options import Misuse, context_of, keys_of, rewrite
from encenv.cli.options import FILE, quiet
from encenv.cli.terminal import progress, say, through_values, warn
from encenv.errors import PolicyError
from encenv.files.encrypt import KeyName, Writer
from encenv.files.rewrap import Rewrapped, rewrap
from encenv.policy.project import project_of


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)
@click.option("--add", metavar="KEY", multiple=True, help="A wrapping key that shall open the file as well.")
@click.option("--remove", metavar="KEY", multiple=True, help="A wrapping key whose copy goes.")
@click.option(
    "--context", metavar="KEY=VALUE", multiple=True, help="Wrap every copy anew with this encryption context."
)
@quiet
def command(
    files: tuple[str, ...], add: tuple[str, ...], remove: tuple[str, ...], context: tuple[str, ...]
) -> None:
    """Add, remove or refresh the wrapping keys of FILE (.env); every value keeps its bytes.

    Without an option each copy of the data key is wrapped anew under the key that it is under, for example after
    that was rotated in AWS KMS. From one KMS key to another of the same region the data key never leaves KMS.

    With --context every copy is wrapped anew, or the file stays as it is. What AWS KMS made, AWS KMS vouches for:
    encenv check --open proves that the file opens, before another copy of it goes.

    Removing is not revoking: who could unwrap the data key may have kept it. To shut someone out, encenv rotate,
    and change the secrets.

    \b
    Example:
      encenv rewrap --add alias/ci .env
      encenv rewrap --add alias/new --remove arn:aws:kms:eu-west-1:111122223333:key/ID .env.production
    """
    added, removed, pairs = keys_of(add, "--add"), keys_of(remove, "--remove"), context_of(context)
    for key in removed:
        if not key.is_exact and key.provider == "aws-kms":
            raise Misuse(
                PolicyError("a copy names no alias", hint="name the key by its ARN; encenv status shows it"),
                "--remove",
            )
    if {*added} & {*removed}:
        raise click.UsageError("--add and --remove name the same wrapping key")
    files = files or (".env",)
    for path in progress(files, "rewrapping"):
        # Not the project's own context: without --context each copy keeps the one that it has.
        writer = dataclasses.replace(project_of(path).writer(each=through_values), context=pairs)

        def change(text: str, path: str = path, writer: Writer = writer) -> tuple[str, Rewrapped]:
            outcome = rewrap(text, writer, place(path), add=added, remove=removed)
            return outcome.text, outcome

        _report(place(path), rewrite(path, change, among=files))
    if removed:
        say("removing is not revoking: to shut someone out, run encenv rotate, and change the secrets")


def _report(where: str, outcome: Rewrapped) -> None:
    parts = [
        f"{what} {', '.join(_shown(key) for key in keys)}"
        for what, keys in (
            ("added", outcome.added),
            ("removed", outcome.removed),
            ("wrapped anew under", outcome.refreshed),
        )
        if keys
    ]
    say(f"{where}: {'; '.join(parts) or 'nothing to change'}")
    for key, error in outcome.stale:
        warn(f"{where}: the copy under {_shown(key)} stays as it is: {error.message}")


def _shown(key: KeyName) -> str:
    return f"{key.provider}:{key.key}"
