"""Texts of .env files for property tests: usual ones, odd ones, and ones that no reader accepts."""

from hypothesis import strategies as st

SEALED = "encenv:1:ABCDEFGH:" + "Zm9v-_" * 12

NEWLINES = ("\n", "\r\n", "\r")
SPACES = ("", " ", "\t", "  ", "\x0b", "\x0c", "\xa0", "\x85", "\u2028", "\x1c")
NAMES = st.sampled_from(
    ["A", "B", "a", "SECRET_KEY", "'Q K'", "'QUOTED'", "ü", "a.b", "\ufeffX", "A-B", "export"]
)
PIECES = [
    *"abcAZ019 '\"\\#$={}:%`~!&|;<>*?[]()@+,./-_^\t\r\n\x00\x07\x0b\x0c\x1c\x85\xa0\u2028\u3000\ufeffé😀",
    *["\r\n", " #", "# ", "${A}", "${B:-d}", "\\n", "\\r", "\\'", '\\"', "\\\\", "export ", "encenv:1:"],
]
# Texts of characters that the grammar treats specially; then any text that a UTF-8 file can hold.
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"])
)


def _of(*parts):
    return st.tuples(*(st.sampled_from(part) if isinstance(part, tuple) else part for part in parts)).map(
        "".join
    )


BARE = st.lists(st.sampled_from([piece for piece in PIECES if piece not in NEWLINES]), max_size=6).map(
    "".join
)
SINGLE = TEXTS.map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")
DOUBLE = TEXTS.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
VALUES = (
    BARE | SINGLE | DOUBLE | st.sampled_from(["", SEALED, "'open", '"open', '"escaped\\r\\n"', "'a\r\nb'"])
)
COMMENTS = st.sampled_from(["", "", " # comment", "#comment", "   ", "\t# it's \"", " junk"])
STATEMENTS = st.one_of(
    _of(SPACES, ("", "", "export "), NAMES, SPACES, ("=",), SPACES, VALUES, COMMENTS),
    _of(SPACES, NAMES, COMMENTS),
    _of(SPACES, ("#",), BARE),
    _of(("", "junk line", "=x", "'A", "export", "A B=C", "\ufeff", '"')),
)


@st.composite
def env_texts(draw):
    """Return whole files, of one newline style or several, with and without a last newline and a byte order mark."""
    newlines = st.sampled_from(draw(st.sampled_from([("\n",), ("\r\n",), ("\r",), NEWLINES])))
    text = "".join(draw(STATEMENTS) + draw(newlines) for _ in range(draw(st.integers(0, 8))))
    return draw(st.sampled_from(["", "", "\ufeff"])) + text + draw(st.just("") | STATEMENTS)


ENV_TEXTS = env_texts() | TEXTS
