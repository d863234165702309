"""``encenv rename``: give a variable of a .env file another name."""

import click

from encenv.cli.files import place, report, rewrite
from encenv.cli.options import complete_names, file_option, key_options, quiet
from encenv.cli.terminal import progress
from encenv.files.disk import printable
from encenv.files.edit import rename
from encenv.files.key_names import KeyName, Pairs
from encenv.policy.project import project_of


@click.command()
@click.argument("old", metavar="OLD", shell_complete=complete_names)
@click.argument("new", metavar="NEW")
@file_option
@key_options
@quiet
def command(old: str, new: str, file: str, keys: tuple[KeyName, ...], context: Pairs | None) -> None:
    """Give the variable OLD of the file (.env) the name NEW.

    An encrypted value is bound to its name, so it is decrypted and encrypted again. A NEW that exists already is an
    error. ${OLD} in other values is not renamed.

    \b
    Example:
      encenv rename DB_URL DATABASE_URL
    """
    writer = project_of(file).writer(keys, context, progress)
    outcome = rewrite(file, lambda text: rename(text, old, new, writer, place(file)))
    report(file, f"renamed {printable(old)} to {printable(new)}", outcome)
