"""``encenv rotate``: a new data key for .env files."""

from collections.abc import Iterable

import click

from encenv.cli.files import place
from encenv.cli.key_options import count, key_options, report, rewrite
from encenv.cli.options import FILE, quiet
from encenv.cli.terminal import progress, say, through_values, warn
from encenv.files.encrypt import Rewritten, Writer, rotate
from encenv.files.inspect import survey
from encenv.files.key_names import KeyName, Pairs
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry
from encenv.policy.project import project_of


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)
@key_options
@quiet
def command(files: tuple[str, ...], keys: tuple[KeyName, ...], context: Pairs | None) -> None:
    """Encrypt every sealed value of FILE (.env) anew, under a new data key; the key entries before go.

    What contributors added under data keys of their own is folded in. KEY and the context may change; left out,
    they are those of pyproject.toml, else the file's. A wrapping key of the file that is not among them no longer
    opens it, which is said. Plain values stay plain.

    Whoever could decrypt before still can decrypt what version control kept. So after someone left, change the
    secrets themselves as well.

    \b
    Example:
      encenv rotate .env .env.staging
      encenv rotate --key alias/production --context stage=production .env.production
    """
    changed = False
    files = files or (".env",)
    for path in progress(files, "rotating"):
        writer = project_of(path).writer(keys, context, through_values)

        def change(
            text: str, path: str = path, writer: Writer = writer
        ) -> tuple[str, tuple[Rewritten, set[str]]]:
            outcome = rotate(text, writer, place(path))
            return outcome.text, (outcome, _keys(survey(text).entries) - _keys(survey(outcome.text).entries))

        outcome, dropped = rewrite(path, change, among=files)
        if outcome.entry is None:
            say(f"{place(path)}: nothing to rotate: no value is sealed")
            continue
        changed = True
        report(path, f"rotated {count(len(outcome.names))}", outcome)
        for key in sorted(dropped):
            warn(f"{place(path)}: {key} no longer opens it; if it has to: encenv rewrap --add KEY")
    if changed:
        say("what was encrypted before still opens with the data key before: change secrets that should not")


def _keys(entries: Iterable[KeyEntry]) -> set[str]:
    """Return the wrapping keys of *entries*, but for those that contributors added."""
    kept = (entry for entry in entries if ADDED_BY_WRITER not in entry.context)
    return {f"{item.provider}:{item.reference}" for entry in kept for item in entry.items}
