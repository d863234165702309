"""`decrypt_environ`: the process environment, decrypted."""

import os
from collections.abc import Iterable, Mapping

from encenv.errors import frameless
from encenv.format.sealed import LOCAL_KEY_NAME, claims, embeds, entry_kid
from encenv.load.reader_session import ReaderSession

TYPE_CHECKING = False  # not typing's: a load with nothing encrypted should cost nothing
if TYPE_CHECKING:
    from typing import Unpack

    from encenv.load.options import ReaderOptions


@frameless
def decrypt_environ(
    environ: Mapping[str, str] = os.environ,
    names: Iterable[str] | None = None,
    **options: "Unpack[ReaderOptions]",
) -> dict[str, str]:
    """Return a decrypted copy of *environ*, which itself does not change.

    Args:
        environ: Variables, encrypted or plaintext, with their key entries.
        names: Which encrypted variables to decrypt and return; None for all. Plaintext ones are always returned.
        **options: The reader's rules, see `ReaderOptions`.

    Returns:
        The variables without key entries and ``ENCENV_LOCAL_KEY``. With the option ``encrypted_prefix``, an encrypted
        variable ``<prefix>NAME`` is returned as ``NAME``.

    Raises:
        EncenvError: If a value cannot be decrypted. All failures are reported together.
    """
    if isinstance(names, str):
        raise TypeError("names is one string; give a list of names")
    wanted_names = None if names is None else set(names)
    session = ReaderSession(options)
    session.entries.add(environ.items())
    variables = [
        (name, value) for name, value in environ.items() if entry_kid(name) is None and name != LOCAL_KEY_NAME
    ]
    selection = [
        (supplied, name, value)
        for supplied, name, value in session.without_prefix(variables, wanted_names)
        if value is not None
        and (wanted_names is None or supplied in wanted_names or not (claims(value) or embeds(value)))
    ]
    session.prepare(value for _, _, value in selection)
    plaintexts = {supplied: session.decrypt(name, value) for supplied, name, value in selection}
    session.finish()
    return {name: text for name, text in plaintexts.items() if text is not None}
