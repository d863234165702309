"""``encenv rewrap``: other wrapping keys for .env files whose values stay as they are."""

import dataclasses

import click

from encenv.cli.files import place
from encenv.cli.key_options import context_option, key_option, rewrite
from encenv.cli.options import FILE, Misuse, quiet
from encenv.cli.terminal import progress, say, through_values, warn
from encenv.files.encrypt import Writer
from encenv.files.key_names import KeyName, Pairs
from encenv.files.rewrap import Rewrapped, rewrap
from encenv.policy.project import project_of


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)
@key_option("--add", text="Also let KEY open the file.")
@key_option("--remove", text="No longer let KEY open the file.")
@context_option("Wrap every copy again, with this encryption context.")
@quiet
def command(
    files: tuple[str, ...], add: tuple[KeyName, ...], remove: tuple[KeyName, ...], context: Pairs | None
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
    for key in remove:
        if not key.is_exact and key.provider == "aws-kms":
            raise Misuse(
                "--remove: a .env file names its keys by ARN, not by alias",
                "name the key by its ARN; encenv status shows it",
            )
    if {*add} & {*remove}:
        raise click.UsageError("--add and --remove name the same wrapping key")
    files = files or (".env",)
    for path in progress(files, "rewrapping"):
        # Not the project's own context: without --context each copy keeps the one that it has.
        writer = dataclasses.replace(project_of(path).writer(each=through_values), context=context)

        def change(text: str, path: str = path, writer: Writer = writer) -> tuple[str, Rewrapped]:
            outcome = rewrap(text, writer, place(path), add=add, remove=remove)
            return outcome.text, outcome

        _report(place(path), rewrite(path, change, among=files))
    if remove:
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
