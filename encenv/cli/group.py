"""The group of all verbs. Each kind of failure becomes two lines and an exit code, never a stack trace."""

import importlib
import sys
from typing import TYPE_CHECKING

import click

from encenv import __version__
from encenv.cli.terminal import fail, give_up
from encenv.errors import EncenvError, place_of
from encenv.keys.process_safety import lazily

if TYPE_CHECKING:
    from encenv.git import repository
else:
    repository = lazily("encenv.git.repository")

# In the order that a newcomer needs them. Each is imported only when it is called: other verbs and --help start faster.
_VERBS = {
    "init": "Set up this project for encrypted .env files.",
    "keygen": "Make a local key, for a laptop or for CI.",
    "encrypt": "Encrypt the values of .env files.",
    "decrypt": "Print .env files with their values decrypted.",
    "set": "Encrypt one value into a .env file.",
    "get": "Print one decrypted value of a .env file.",
    "unset": "Remove variables from a .env file.",
    "rename": "Rename a variable of a .env file.",
    "edit": "Edit a .env file decrypted, in your editor.",
    "rotate": "Encrypt all values of .env files again, under a new data key.",
    "rewrap": "Add, remove or refresh the keys that open .env files.",
    "run": "Run a command with decrypted variables.",
    "status": "Show which variables of .env files are encrypted.",
    "check": "Fail if a .env file holds what must not be committed.",
    "diff": "Show which variables were added, removed or changed.",
    "export": "Print the variables for Docker, Lambda, Kubernetes and others.",
    "iam-policy": "Print the IAM policy that a role needs for a .env file.",
    "doctor": "Find out what keeps encenv from working here.",
    "hook": "Install or remove the git hook and drivers.",
    "demo": "See encenv at work, in a temporary folder.",
}
WRONG_CALL = 2


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)  # click would sort them

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            module = (command.name or "").replace("-", "_")
            command = importlib.import_module(f"encenv.cli.verbs.{module}").command
        return name, command, rest


@click.group(
    cls=_Verbs,
    commands={name: click.Command(name, short_help=text) for name, text in _VERBS.items()},
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",  # the same in each version of click
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A first look: encenv demo",
)
@click.version_option(__version__, message="encenv %(version)s")
@click.pass_context
def encenv(ctx: click.Context) -> None:
    """Encrypt the values of .env files and environment variables, and use them as before."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(WRONG_CALL)


def call(args: list[str] | None) -> int:
    """Call the command line with *args* (None: the process's own); return the exit code, or raise KeyboardInterrupt."""
    try:
        code = encenv.main(args, prog_name="encenv", standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None
    except EncenvError as error:
        return fail(error.message, repository.hint_with_key_owner(error))
    except click.UsageError as error:
        hint = getattr(error, "hint", "") or f"see: {_called(error, args)} --help"
        return fail(_one_line(error.format_message()), hint, error.exit_code)
    except BrokenPipeError:  # the reader has closed the output, as head does
        give_up(sys.stdout)
        return 1
    except OSError as error:
        give_up(sys.stdout)
        reason = (error.strerror or type(error).__name__).lower()
        return fail(f"the system refused: {reason}", "check the disk, the folder and its permissions")
    except Exception as error:  # noqa: BLE001 (its text and its frames may hold a value)
        notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("raised at ")]
        place = notes[-1] if notes else f"raised {place_of(error)}"  # a note is from `frameless`
        message = f"internal error: {type(error).__name__} ({place})"
        return fail(message, "report this with the command that you ran")
    return code if isinstance(code, int) else 0


def _called(error: click.UsageError, args: list[str] | None) -> str:
    if error.ctx is not None:
        return error.ctx.command_path
    # An option without its value has no context.
    verb = next(iter(sys.argv[1:] if args is None else args), "")
    return f"encenv {verb}" if verb in _VERBS else "encenv"


def _one_line(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text  # FILE stays
