"""``encenv rename``: give a variable of a .env file another name."""

import click

from encenv.cli.files import place
from encenv.cli.key_options import file_option, key_options, report, rewrite
from encenv.cli.options import complete_names, quiet
from encenv.cli.terminal import through_values
from encenv.files.edit import rename
from encenv.files.encrypt import Rewritten
from encenv.files.key_names import KeyName, Pairs
from encenv.files.text import printable
from encenv.policy.project import project_of


@click.command()
@click.argument("old", metavar="OLD", shell_complete=complete_names)
@click.argument("new", metavar="NEW")
@file_option
@key_options
@quiet
def command(old: str, new: str, file: str, keys: tuple[KeyName, ...], context: Pairs | None) -> None:
    """Give the variable OLD of the file (.env) the name NEW.

    A sealed value is bound to its name, so it is decrypted and encrypted anew. A NEW that is there already is
    refused. ${OLD} in other values stays as it is.

    \b
    Example:
      encenv rename DB_URL DATABASE_URL
    """
    writer = project_of(file).writer(keys, context, through_values)

    def change(text: str) -> tuple[str, Rewritten]:
        outcome = rename(text, old, new, writer, place(file))
        return outcome.text, outcome

    report(file, f"renamed {printable(old)} to {printable(new)}", rewrite(file, change))
