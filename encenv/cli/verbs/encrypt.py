"""``encenv encrypt``: encrypt the values of .env files."""

import click

from encenv.cli import options
from encenv.cli.files import FILE_MODE, for_each_file, place, read_text, report, rewrite, write_text
from encenv.cli.terminal import count, progress
from encenv.files.encrypt import encrypt, reencrypt
from encenv.files.key_names import KeyName, Pairs
from encenv.policy.project import project_of


@click.command()
@options.files_argument
@options.key_options
@options.output_option(help="Write a copy to FILE instead, with its own data key; - is standard output.")
@options.only_option
@options.except_option
@options.quiet
def command(  # noqa: PLR0913, PLR0917 (its options)
    files: tuple[str, ...],
    keys: tuple[KeyName, ...],
    context: Pairs | None,
    output: str | None,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
) -> None:
    """Encrypt every plaintext value in FILE (.env) that must be encrypted.

    The file is rewritten in place; comments and order stay. With -, standard input is encrypted to standard output.
    KEY is local, the ARN of an AWS KMS key, or alias/<name>. It can be left out if pyproject.toml names it, or if the
    file has encrypted values: the file then keeps its key.

    Every value must be encrypted, unless pyproject.toml says otherwise: see encenv check --help. With --only, the
    values that match are encrypted instead.

    \b
    Example:
      encenv keygen
      encenv encrypt --key local .env
      encenv encrypt --key alias/staging --context stage=staging .env.staging
    """
    if output is not None and len(files) > 1:
        raise click.UsageError("-o takes one FILE")

    def encrypt_file(path: str) -> None:
        project = project_of(path)
        writer = project.writer(keys, context, progress)
        selects = options.chooser(only, exclude, (lambda _: True) if only else project.policy().requires)
        to = path if output is None else output
        if output is None and path != options.STANDARD_INPUT:
            outcome = rewrite(path, lambda text: encrypt(text, writer, place(path), selects))
        else:
            outcome = reencrypt(read_text(path), writer, place(path), selects)
            write_text(to, outcome.text, FILE_MODE)
        already = f" ({count(outcome.unchanged, 'value')} encrypted already)" if outcome.unchanged else ""
        done = f"encrypted {count(len(outcome.names), 'value')}"
        report(to, done if outcome.entry else f"nothing to encrypt{already}", outcome)

    for_each_file(files, "encrypting", encrypt_file)
