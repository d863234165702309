"""``encenv encrypt``: encrypt the values of .env files."""

import click

from encenv.cli.files import place, read_text
from encenv.cli.key_options import FILE_MODE, count, key_options, under
from encenv.cli.options import FILE, OUTPUT, STANDARD_INPUT, chooser, chosen_names, quiet
from encenv.cli.terminal import progress, say, through_values, write
from encenv.files.atomic import create, edit_file
from encenv.files.encrypt import Rewritten, encrypt, reencrypt
from encenv.files.key_names import KeyName, Pairs
from encenv.files.text import decode, printable
from encenv.format.sealed import ADDED_BY_WRITER
from encenv.policy.project import project_of


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)
@key_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OUTPUT,
    help="Write there instead, under a data key of its own; - is stdout.",
)
@chosen_names
@quiet
def command(  # noqa: PLR0913, PLR0917 (its options)
    files: tuple[str, ...],
    keys: tuple[KeyName, ...],
    context: Pairs | None,
    output: str | None,
    only: tuple[str, ...],
    excepted: tuple[str, ...],
) -> None:
    """Encrypt every value in FILE (.env) that must be sealed and is not encrypted yet.

    The file is rewritten in place; comments, order and all else stay. For - standard input is read and standard
    output written. KEY is local, the ARN of a KMS key, or alias/<name>. A file that has encrypted values keeps
    using its data key, so then KEY may be left out.

    Every value must be sealed, unless pyproject.toml says otherwise: see encenv check --help. With --only the
    values that it matches are encrypted instead. pyproject.toml may give KEY and the context, too.

    \b
    Example:
      encenv keygen
      encenv encrypt --key local .env
      encenv encrypt --key alias/staging --context stage=staging .env.staging
    """
    files = files or (".env",)
    if output is not None and len(files) > 1:
        raise click.UsageError("-o takes one FILE")
    for path in progress(files, "encrypting"):
        to = STANDARD_INPUT if output is None and path == STANDARD_INPUT else output
        of = project_of(path)
        writer = of.writer(keys, context, through_values)
        wanted = chooser(only, excepted, (lambda _: True) if only else of.policy().requires)
        if to is None:
            with edit_file(path) as file:
                outcome = encrypt(decode(file.data, printable(path)), writer, printable(path), wanted)
                file.replace(outcome.text.encode())
            _report(printable(path), outcome)
            continue
        outcome = reencrypt(read_text(path), writer, place(path), wanted)
        if to == STANDARD_INPUT:
            write(outcome.text.encode())
        else:
            create(to, outcome.text.encode(), FILE_MODE)
        _report("standard output" if to == STANDARD_INPUT else printable(to), outcome)


def _report(where: str, outcome: Rewritten) -> None:
    entry = outcome.entry
    if entry is None:
        kept = f" ({count(outcome.kept)} encrypted already)" if outcome.kept else ""
        say(f"{where}: nothing to encrypt{kept}")
        return
    what = "new data key" if outcome.is_new else "data key"
    say(f"{where}: encrypted {count(len(outcome.names))} under {what} {entry.kid} ({under(entry)})")
    if outcome.is_new and ADDED_BY_WRITER in entry.context:
        say(
            f"{where}: it is a contributor's, for decrypting is not permitted here; encenv rotate folds it in"
        )
