"""``encenv rewrap``: change the wrapping keys of .env files, and no value."""

import dataclasses

import click

from encenv.cli.files import for_each_file, place, rewrite
from encenv.cli.options import Misuse, context_option, files_argument, key_option, quiet
from encenv.cli.terminal import progress, say, warn
from encenv.files.key_names import AWS_KMS, KeyName, Pairs
from encenv.files.rewrap import RewrapResult, rewrap
from encenv.policy.project import project_of


@click.command()
@files_argument
@key_option("--add", help="Also let KEY open the file.")
@key_option("--remove", help="No longer let KEY open the file.")
@context_option(help="Change the encryption context to these pairs, for every key.")
@quiet
def command(
    files: tuple[str, ...], add: tuple[KeyName, ...], remove: tuple[KeyName, ...], context: Pairs | None
) -> None:
    """Add, remove or refresh the keys that open FILE (.env); no value changes.

    The file holds one copy of its data key for each KEY. Without an option, each copy is encrypted again under its
    own KEY, for example after that was rotated in AWS KMS. Between two KMS keys of one region, the data key never
    leaves KMS.

    With --context, either all copies change or none. encenv cannot look into a copy that AWS KMS makes: check with
    encenv check --open that the file opens, before you remove another key.

    Removing is not revoking: people with a removed key may have kept the data key. To shut someone out, run encenv
    rotate, and change the secrets.

    \b
    Example:
      encenv rewrap --add alias/ci .env
      encenv rewrap --add alias/new --remove arn:aws:kms:eu-west-1:111122223333:key/ID .env.production
    """
    if any(key.provider == AWS_KMS and not key.is_exact for key in remove):
        raise Misuse(
            "--remove: a .env file names its keys by ARN, not by alias",
            "name the key by its ARN; encenv status shows it",
        )
    if {*add} & {*remove}:
        raise click.UsageError("--add and --remove name the same key")

    def rewrap_file(path: str) -> None:
        # The project's context is not used: without --context, each copy keeps its own.
        writer = dataclasses.replace(project_of(path).writer(progress=progress), context=context)
        where = place(path)
        _report(where, rewrite(path, lambda text: rewrap(text, writer, where, add=add, remove=remove)))

    for_each_file(files, "rewrapping", rewrap_file)
    if remove:
        say("removing is not revoking: to shut someone out, run encenv rotate, and change the secrets")


def _report(where: str, outcome: RewrapResult) -> None:
    changes = {"added": outcome.added, "removed": outcome.removed, "refreshed": outcome.refreshed}
    parts = [f"{what} {', '.join(map(_text, keys))}" for what, keys in changes.items() if keys]
    say(f"{where}: {'; '.join(parts) or 'nothing to change'}")
    for key, error in outcome.stale:
        warn(f"{where}: its data key under {_text(key)} was not refreshed: {error.message}")


def _text(key: KeyName) -> str:
    return f"{key.provider}:{key.key}"
