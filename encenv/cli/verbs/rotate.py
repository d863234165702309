"""``encenv rotate``: a new data key for .env files."""

import click

from encenv.cli.files import for_each_file, key_texts, place, report, rewrite
from encenv.cli.options import files_argument, key_options, quiet
from encenv.cli.terminal import count, progress, say, warn
from encenv.files.encrypt import EncryptResult, rotate
from encenv.files.inspect import inspect
from encenv.files.key_names import KeyName, Pairs
from encenv.format.sealed import ADDED_BY_WRITER
from encenv.policy.project import project_of


@click.command()
@files_argument
@key_options
@quiet
def command(files: tuple[str, ...], keys: tuple[KeyName, ...], context: Pairs | None) -> None:
    """Encrypt all encrypted values of FILE (.env) again, under a new data key that replaces all others.

    Values that contributors added are merged. KEY and the context can change; if they are left out, those of pyproject.toml
    are used, else the file's. No other key opens the file afterwards; a warning names each that did. Plaintext stays
    plaintext.

    People who could decrypt before can still decrypt the versions in git. When someone leaves, change the secrets
    themselves as well.

    \b
    Example:
      encenv rotate .env .env.staging
      encenv rotate --key alias/production --context stage=production .env.production
    """
    rotated: list[str] = []

    def rotate_file(path: str) -> None:
        writer = project_of(path).writer(keys, context, progress)
        before: set[str] = set()  # the keys that opened it, without those of contributors' entries

        def change(text: str) -> EncryptResult:
            for entry in inspect(text).entries:
                if ADDED_BY_WRITER not in entry.context:
                    before.update(key_texts(entry))
            return rotate(text, writer, place(path))

        outcome = rewrite(path, change)
        if outcome.entry is None:
            say(f"{place(path)}: no value is encrypted, so there is nothing to rotate")
            return
        rotated.append(path)
        report(path, f"rotated {count(len(outcome.names), 'value')}", outcome)
        for key in sorted(before - key_texts(outcome.entry)):
            warn(f"{place(path)}: {key} no longer opens it; to add it again: encenv rewrap --add KEY")

    for_each_file(files, "rotating", rotate_file)
    if rotated:
        say("earlier versions of the file can still be decrypted: change the secrets that they hold")
