"""``encenv demo``: show all of encenv in a temporary folder, without a key or a network."""

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import click

from encenv.errors import EncenvError
from encenv.files.document import parse
from encenv.files.encrypt import encrypt
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.keys.local import TEXT_VARIABLE, LocalKeys, generate_key_text
from encenv.keys.unwrap import clear_cache
from encenv.load.dotenv import dotenv_values

SECRET = "correct-horse-battery-staple"  # noqa: S105 (nobody's)
PLAIN = f"""\
# A service's configuration, as many repositories hold it
DEBUG=false
SECRET_KEY='c4nn0t-be#guessed'   # signs the sessions
DATABASE_PASSWORD={SECRET}
DATABASE_URL=postgres://shop:${{DATABASE_PASSWORD}}@db.internal:5432/shop
ALLOWED_HOSTS=["shop.example", "www.shop.example"]
"""
COLUMNS = 79  # a terminal has 80


@click.command()
def command() -> None:
    """Show encenv at work: encrypt a .env file, load it as typed settings, and change an encrypted value.

    Everything happens in a temporary folder, with a key that exists only as long as the demo.
    """
    keys = LocalKeys({TEXT_VARIABLE: generate_key_text()})
    with TemporaryDirectory(prefix="encenv-demo-") as folder, patch.dict(os.environ, clear=True):
        path = Path(folder, ".env")
        click.secho("\n1. A plain .env file", bold=True)
        _show(PLAIN)

        click.secho("\n2. The same file after: encenv encrypt --key local .env", bold=True)
        text = encrypt(PLAIN, Writer((KeyName("local", ""),), providers=[keys])).text
        path.write_text(text)
        _show(text)

        clear_cache()  # forgets the data key that encrypted: loading starts as in a new process
        click.secho("\n3. Loaded by a settings class, from the file and from the environment", bold=True)
        _load(path, text, keys)

        click.secho("\n4. Loaded after somebody changed an encrypted value", bold=True)
        first_characters = r"(SECRET_KEY=encenv:1:\w{8}:.{20})(.)"
        changed = re.sub(first_characters, lambda m: m[1] + ("B" if m[2] == "A" else "A"), text)
        path.write_text(changed)
        try:
            dotenv_values(path, key_providers=[keys])
        except EncenvError as error:
            for label, line in (("error", error.message), ("hint", error.hint)):
                click.echo(click.wrap_text(f"{label}: {line}", COLUMNS, "  ", "    "))
        click.secho("\nYour turn: ", bold=True, nl=False)
        click.echo("encenv keygen && encenv encrypt --key local .env")


def _load(path: Path, text: str, keys: LocalKeys) -> None:
    # A lazy door: a settings class cannot be declared without pydantic, and its import costs most of this command.
    from pydantic import PostgresDsn, SecretStr

    from encenv.load.settings import EncryptedSettings

    class Settings(EncryptedSettings, env_file=path, key_providers=[keys], extra="ignore"):
        debug: bool
        secret_key: SecretStr
        allowed_hosts: list[str]
        database_url: PostgresDsn | None = None

    variables = {one.name: one.value for one in parse(text).bindings if one.name and one.value}
    del variables["DATABASE_URL"]  # ${NAME} means something in a file only
    with patch.object(keys, "unwrap", wraps=keys.unwrap) as unwrap:
        from_file = Settings()
        with patch.dict(os.environ, variables):
            from_process = Settings(_env_file=None)
    for name, value in from_file:
        plain = value.unicode_string() if isinstance(value, PostgresDsn) else str(value)
        _echo(f"  {name:14}{type(value).__name__:13}", plain.replace(SECRET, "***"))
    same = from_process == from_file.model_copy(update={"database_url": None})
    click.echo(f"  from the environment: {'the same values' if same else 'other values'}")
    click.secho(f"  unwraps of the data key: {unwrap.call_count}", bold=True, nl=False)
    click.echo(f", for two loads of {text.count('=encenv:')} values")


def _show(text: str) -> None:
    for line in text.splitlines():
        _echo("  ", line)


def _echo(head: str, text: str) -> None:
    text, mark, comment = text.partition("   # ")  # the value is cut, so that the comment is seen
    room = COLUMNS - len(head + mark + comment)
    click.echo(head + (text if len(text) <= room else text[: room - 3] + "...") + mark + comment)
