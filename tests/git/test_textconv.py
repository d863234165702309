"""encenv.git.textconv: the text for a diff shows each change, and no plaintext."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.env_texts import ENV_TEXTS

from encenv.files.document import parse, quote
from encenv.format.cipher import KEY_BYTES
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, SealedValue, WrappedKey
from encenv.git.textconv import TEXT_MAX, mask

KEY = b"k" * 32
DATA_KEY = DataKey(bytes(KEY_BYTES))
ENTRY = KeyEntry(
    DATA_KEY.commitment,
    (("stage", "test"),),
    (WrappedKey("local", bytes(60), "ABCDEFGH"), WrappedKey("other", b"x", "ref")),
)
SEALED = str(SealedValue(DATA_KEY.kid, b"p" * 37))
MARK = r"\([0-9a-f]{8}\)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"A={SEALED}\n", rf"A: encrypted under {DATA_KEY.kid} {MARK}\n"),
        (f"  export A = '{SEALED}'  # a note\n", rf"A: encrypted under {DATA_KEY.kid} {MARK}  # a note\n"),
        (
            f"{ENTRY.name}={ENTRY}\n",
            rf"data key {DATA_KEY.kid}, context stage=test\n  for local:ABCDEFGH {MARK}\n  for other:ref {MARK}\n",
        ),
        (f"{ENTRY.name}=1:x\n", rf"data key {DATA_KEY.kid}: damaged {MARK}\n"),
        (f"A={SEALED[:-3]}!\n", rf"A: a damaged encrypted value {MARK}\n"),
        ("A='two\r\nlines'\r\n", rf"A: plaintext, not shown {MARK}\n"),
        ("A=\n", "A: empty\n"),
        (
            "MIIEvQIBADAN\nshort\nAbCd==\nAbC=\n",
            rf"(a line that may be part of a value, not shown {MARK}\n){{4}}",
        ),
        ('"url":"a=b"\n', rf"a line that may be part of a value, not shown {MARK}\n"),
        ("# hunter2\n#aBc1\n", rf"# not shown {MARK}\n# not shown {MARK}\n"),
        ("A=1\0\n", rf"not a .env file {MARK}\n"),
        ("A=1\n" * (TEXT_MAX // 4 + 1), rf"not a .env file {MARK}\n"),
        ("\n\n# a note\n\n", "\n\n# a note\n\n"),
        ("# A=old\n# -----BEGIN\n", rf"# not shown {MARK}\n# not shown {MARK}\n"),
        ("# ghp_0123456789012345678901234567890\n", rf"# not shown {MARK}\n"),
        ("=x\n", rf"a line that cannot be parsed, not shown {MARK}\n"),
        ("", ""),
    ],
    ids=[
        "sealed",
        "quoted",
        "entry",
        "bad entry",
        "damaged",
        "plain",
        "empty",
        "lines of a key",
        "a line of JSON",
        "single words",
        "binary",
        "huge",
        "note",
        "comments",
        "token",
        "junk",
        "nothing",
    ],
)
def test_lines(text, shown):
    """Each kind of line has its own description."""
    assert re.fullmatch(shown, mask(text, KEY)), mask(text, KEY)


@given(st.text(st.sampled_from("0123456789"), min_size=9), st.sampled_from(["", "  # a note"]))
def test_no_plaintext(secret, comment):
    """Only a mark of a plaintext is shown; another plaintext has another mark, and so has another clone."""
    shown = mask(f"A={quote(secret)}{comment}\n", KEY)
    assert re.fullmatch(rf"A: plaintext, not shown {MARK}\n", shown)
    assert shown != mask(f"A={quote(secret + '1')}{comment}\n", KEY)
    assert shown != mask(f"A={quote(secret)}{comment}\n", b"l" * 32)
    assert mask(f"A={quote(secret)}{comment}\n", b"") == "A: plaintext, not shown\n"


@given(ENV_TEXTS)
def test_any_text(text):
    """Any text is shown in printable characters, without any value of three characters or more."""
    shown = mask(text, KEY)
    assert all(character.isprintable() or character == "\n" for character in shown)
    for binding in parse(text).bindings:
        if binding.value and binding.name:
            assert f"={binding.value}" not in shown.replace(f"# {binding.value}", "")
