"""The command line. Only in this room is anything printed or exited.

Data goes to standard output, everything else to standard error: ``encenv: error:`` says what happened,
``encenv: hint:`` what to do. Exit code 0 is success, 1 an error, 2 a wrong call.
"""

import importlib
import os
import sys

import click

from encenv import __version__
from encenv.errors import EncenvError

_VERBS = {  # name: its module; imported when the verb is called, so that none pays for another's imports
    "decrypt": "encenv.cli.decrypt",
    "demo": "encenv.cli.demo",
    "encrypt": "encenv.cli.encrypt",
    "keygen": "encenv.cli.keygen",
    "run": "encenv.cli.run",
}


class _Verbs(click.Group):
    """The group of all verbs, each in a module of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _VERBS:
            return None
        command: click.Command = importlib.import_module(_VERBS[cmd_name]).command
        return command


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A first look: encenv demo",
)
@click.version_option(__version__, message="encenv %(version)s")
def encenv() -> None:
    """Encrypt the values of .env files and environment variables, and use them as before."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        args: The arguments; the process's own if left out.
    """
    try:
        code = encenv.main(args, prog_name="encenv", standalone_mode=False)
    except EncenvError as error:
        code = _fail(error.message, error.hint)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "encenv"
        code = _fail(_one_line(error.format_message()), f"see: {path} --help", code=2)
    except click.ClickException as error:
        code = _fail(_one_line(error.format_message()), "see: encenv --help")
    except (click.Abort, KeyboardInterrupt):
        code = _fail("interrupted", "run it again; no file was left half written")
    except BrokenPipeError:
        # Whoever read the output has enough. The interpreter must not find that out again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        code = _fail(
            f"the system refused: {error.strerror}", "check the disk, the folder and its permissions"
        )
    except Exception as error:  # noqa: BLE001 (its text and its frames may hold a value)
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else "?"  # noqa: PTH119
        code = _fail(
            f"internal error: {type(error).__name__} at {where}", "report this with the command you ran"
        )
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, hint: str, code: int = 1) -> int:
    click.echo(f"{click.style('encenv: error:', fg='red', bold=True)} {message}", err=True)
    click.echo(f"{click.style('encenv: hint:', bold=True)} {hint}", err=True)
    return code


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].lower() + text[1:].rstrip(".")
