"""Two local keys, writers that use them, and what an encrypted .env text holds: for the tests of the files room."""

import dataclasses
from difflib import ndiff

from hypothesis import strategies as st

from encenv import LocalKeys, decrypt_environ
from encenv.files.document import parse, quote
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, SealedValue, encryption_context, entry_kid
from encenv.keys.local import generate_key_text, parse_keys

KEY_TEXT, OTHER_TEXT = generate_key_text(), generate_key_text()
KEY_ID, OTHER_ID = (next(iter(parse_keys(text, "here"))) for text in (KEY_TEXT, OTHER_TEXT))
KEYS, OTHER_KEYS = (LocalKeys({"ENCENV_LOCAL_KEY": text}) for text in (KEY_TEXT, OTHER_TEXT))
BOTH_KEYS = LocalKeys({"ENCENV_LOCAL_KEY": f"{KEY_TEXT}\n{OTHER_TEXT}"})
MINE, THEIRS = KeyName("local", KEY_ID), KeyName("local", OTHER_ID)
LOCAL = Writer((KeyName("local", ""),), environ={}, providers=[KEYS])
OTHER = Writer((KeyName("local", ""),), environ={}, providers=[OTHER_KEYS])
UNNAMED = dataclasses.replace(LOCAL, keys=())
BOTH = Writer(environ={}, providers=[BOTH_KEYS])
WITHOUT_KEYS = Writer(environ={}, providers=[])
CONTEXT = (("stage", "prod"),)

VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).filter(
    lambda text: "encenv:" not in text
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not entry_kid(name))
FILES = st.lists(
    st.one_of(
        st.tuples(NAMES, VALUES).map(lambda pair: f"{pair[0]}={quote(pair[1])}"),
        st.sampled_from(["", "# a comment", "export E=1  # why", "BARE", "  S = 'x y'"]),
    ),
    max_size=6,
).map(lambda items: "".join(f"{line}\n" for line in items))


def lines(text):
    """Return the variables of *text*, sealed or plain, as written."""
    return {binding.name: binding.value for binding in parse(text).bindings if binding.value is not None}


def decrypted(text, *providers):
    """Return the plaintext variables of the encrypted file *text*."""
    return decrypt_environ(lines(text), key_providers=[*providers] or [KEYS])


def entries(text):
    """Return the key entries in *text*, in order."""
    pairs = [(entry_kid(binding.name or ""), binding.value) for binding in parse(text).bindings]
    return [KeyEntry.parse(kid, value) for kid, value in pairs if kid]


def kids(text):
    """Return, for each sealed variable in *text*, the KID that it names."""
    return {
        name: SealedValue.parse(value).kid
        for name, value in lines(text).items()
        if value.startswith("encenv:")
    }


def difference(before, after):
    """Return the lines that a diff from *before* to *after* would show, cut after the name."""
    diff = ndiff(before.splitlines(), after.splitlines())
    return [line.split("=")[0] for line in diff if line[:1] in "+-"]


def lines_of(name, value, *items, key=None, context=(), provider=KEYS):
    """Return a key entry line and the line of one value under it, as somebody else might have written them."""
    key = key or DataKey.generate()
    items = items or (provider.wrap(key.expose_key(), "", encryption_context(context)),)
    entry = KeyEntry(key.commitment, context, items)
    return f"{entry.name}={entry}\n{name}={key.encrypt(name, value)}\n"
