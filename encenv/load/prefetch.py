"""Unwrap data keys ahead of the load, beside the application's own imports, in a thread that nothing waits for."""

import os
import threading
from contextlib import suppress

from encenv.format.sealed import claims
from encenv.keys.process_safety import lazily, on_snapshot
from encenv.load.reader_session import ReaderSession

TYPE_CHECKING = False  # not typing's: this is what an application imports first
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from encenv.files import disk, document
    from encenv.files.disk import StrPath
    from encenv.load.options import ReaderOptions
else:
    document = lazily("encenv.files.document")
    disk = lazily("encenv.files.disk")


def prefetch(
    env_file: "StrPath | Sequence[StrPath] | None" = None, **options: "Unpack[ReaderOptions]"
) -> None:
    """Begin to unwrap the data keys that encrypted variables need; the load that comes later waits for them.

    Call it above the application's own imports, which then run while AWS KMS answers:

        import encenv
        encenv.prefetch()

    The load gives the same with and without it. If a data key cannot be unwrapped, the load that needs it says so.

    Args:
        env_file: A ``.env`` file, or several, whose encrypted variables count besides those of the process environment.
        **options: The reader's rules, see `ReaderOptions`. Give those of the settings class, so that no wrapping key
            is used that it does not trust.

    Raises:
        TypeError: If one of the *options* is misspelt.
        PolicyError: If ``trusted_keys`` or ``encryption_context`` can never be met.
    """
    session = ReaderSession(options)
    paths = [env_file] if isinstance(env_file, (str, os.PathLike)) else list(env_file or ())
    variables = list(os.environ.items())
    if paths or any(claims(value) for _, value in variables):
        with suppress(RuntimeError):  # there may be no more threads: then the load does it all
            arguments = (session, paths, variables)
            threading.Thread(target=_unwrap, args=arguments, name="encenv-prefetch", daemon=True).start()


def _unwrap(session: ReaderSession, paths: "Sequence[StrPath]", variables: list[tuple[str, str]]) -> None:
    lines: list[tuple[str, str | None]] = []
    with suppress(Exception):  # the load reports it
        for path in paths:
            file = os.path.expanduser(path)  # noqa: PTH111 (not pathlib's, which raises where there is no home)
            if os.path.isfile(file):  # noqa: PTH113 (of any path); a FIFO can be read only once
                bindings = document.parse(disk.read_text(file)).bindings
                lines += [(one.name, one.value) for one in bindings if one.name is not None]
        lines += variables
        session.entries.add(lines)
        session.prepare(value for _, value in lines if value is not None)


# Makes a snapshot wait for the thread: it may be the first to import keys.unwrap, whose hook drops the data keys.
on_snapshot(lambda: None)
