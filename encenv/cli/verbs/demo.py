"""``encenv demo``: the whole of it in a temporary folder, without a key or a network."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from encenv.errors import EncenvError
from encenv.files.atomic import edit_file
from encenv.files.document import parse
from encenv.files.encrypt import KeyName, Writer, encrypt
from encenv.format.sealed import WrappedKey
from encenv.keys.cache import clear_cache
from encenv.keys.local import TEXT_VARIABLE, LocalKeys, generate_key_text

SECRET = "correct-horse-battery-staple"  # noqa: S105 (nobody's)
PLAIN = f"""\
# A service's configuration, as it lies in many repositories
DEBUG=false
SECRET_KEY='c4nn0t-be#guessed'   # signs the sessions
DATABASE_PASSWORD={SECRET}
DATABASE_URL=postgres://shop:${{DATABASE_PASSWORD}}@db.internal:5432/shop
ALLOWED_HOSTS=["shop.example", "www.shop.example"]
"""
COLUMNS = 79  # of a line that is shown: a terminal has 80


class _Counted(LocalKeys):
    """The local key, counting how often it is asked."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.unwraps = 0

    def unwrap(self, item: WrappedKey, context: Mapping[str, str], timeout: float) -> bytes:
        """Count, and return the data key in *item*."""
        self.unwraps += 1
        return super().unwrap(item, context, timeout)


@click.command()
def command() -> None:
    """Show encenv at work: encrypt a .env file, load it typed, and see what a changed value gives.

    Everything happens in a temporary folder, with a key that is made for it and forgotten.
    """
    keys = _Counted({TEXT_VARIABLE: generate_key_text()})
    # Whatever this process has in its environment stays out of it.
    with _folder() as folder, _process_variables({}):
        path = folder / ".env"
        path.write_text(PLAIN)
        _title("1. A plain .env file")
        _show(PLAIN)

        _title("2. The same file after: encenv encrypt --key local .env")
        with edit_file(path) as file:
            file.replace(
                encrypt(file.data.decode(), Writer((KeyName("local", ""),), providers=[keys])).text.encode()
            )
        sealed = path.read_text()
        _show(sealed)

        clear_cache()  # the encryption's own data key: loading starts as another process would
        _title("3. Loaded by a settings class, from the file and from the process environment")
        _load(path, sealed, keys)

        _title("4. What a changed value gives")
        lines = sealed.splitlines(keepends=True)
        at = next(i for i, line in enumerate(lines) if line.startswith("SECRET_KEY="))
        value = lines[at].split(":")[3]
        lines[at] = lines[at].replace(value, value[:20] + ("A" if value[20] != "A" else "B") + value[21:])
        path.write_text("".join(lines))
        _fail(path, keys)
        click.echo()
        click.secho("Your turn: ", bold=True, nl=False)
        click.echo("encenv keygen && encenv encrypt --key local .env")


def _load(path: Path, sealed: str, keys: _Counted) -> None:
    # A lazy door: a settings class cannot be declared without pydantic, and its import costs most of this command.
    from pydantic import PostgresDsn, SecretStr

    from encenv.load.settings import EncryptedSettings

    class Settings(EncryptedSettings, env_file=path, key_providers=[keys], extra="ignore"):
        debug: bool
        secret_key: SecretStr
        allowed_hosts: list[str]
        database_url: PostgresDsn | None = None

    from_file = Settings()
    for name, value in from_file:
        shown = value.unicode_string() if isinstance(value, PostgresDsn) else str(value)
        _echo(f"  {name:14}{type(value).__name__:13}", shown.replace(SECRET, "***"))
    variables = {
        binding.name: binding.value for binding in parse(sealed).bindings if binding.name and binding.value
    }
    del variables["DATABASE_URL"]  # ${NAME} means something in a file only
    with _process_variables(variables):
        from_process = Settings(_env_file=None)
    same = (
        from_process.secret_key == from_file.secret_key
        and from_process.allowed_hosts == from_file.allowed_hosts
    )
    click.echo(f"  from the process environment: {'the same values' if same else 'other values'}")
    click.secho(f"  unwraps of the data key: {keys.unwraps}", bold=True, nl=False)
    click.echo(f", for two loads of {sealed.count('=encenv:')} values")


def _fail(path: Path, keys: _Counted) -> None:
    from encenv.load.dotenv import dotenv_values  # a lazy door: as above

    try:
        dotenv_values(path, key_providers=[keys])
    except EncenvError as error:
        for label, text in (("error", error.message), ("hint", error.hint)):
            click.echo(
                click.wrap_text(f"{label}: {text}", COLUMNS, initial_indent="  ", subsequent_indent="    ")
            )


def _title(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _show(text: str) -> None:
    for line in text.splitlines():
        _echo("  ", line)


def _echo(head: str, text: str) -> None:
    text, mark, comment = text.partition(
        "   # "
    )  # what is cut is a value, so that one sees that comments stay
    room = COLUMNS - len(head + mark + comment)
    click.echo(head + (text if len(text) <= room else text[: room - 3] + "...") + mark + comment)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="encenv-demo-")
    try:
        yield Path(folder)
    finally:
        with suppress(ValueError):  # in a thread, which no Ctrl-C interrupts
            before = signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # a second one is not to stop the tidying up
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(ValueError):
            signal.signal(signal.SIGINT, before)


@contextmanager
def _process_variables(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
