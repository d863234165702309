"""encenv.files.expand: what python-dotenv would have made of the plaintext, decrypting no more than that needs."""

import os
import time
from io import StringIO
from unittest import mock

import pytest
from dotenv import dotenv_values
from dotenv.main import resolve_variables
from hypothesis import example, given
from hypothesis import strategies as st

from encenv.files.document import parse
from encenv.files.expand import Expansion

NAMES = st.sampled_from(["A", "B", "C", "a", "", "P", "Q", "D E", "ü"])
ATOMS = st.one_of(
    st.sampled_from(
        ["x", "y z", "$", "{", "}", "${", ":-", "\n", "$A", "${A:+b}", "${A:-${B}}", "$${B}", "${A"]
    ),
    NAMES.map("${{{}}}".format),
    st.tuples(NAMES, st.sampled_from(["", "d", "$B", "a b"])).map("${{{0[0]}:-{0[1]}}}".format),
)
PLAIN = st.lists(ATOMS, max_size=4).map("".join)
MARK = "encenv:1:"


def seal(text):
    """Return *text* in a toy form that shows nothing of it."""
    return MARK + text[::-1]


def unseal(text):
    """Return the plaintext of *text*, which is *text* itself unless it was sealed."""
    return text[len(MARK) :][::-1] if text.startswith(MARK) else text


VALUES = PLAIN | PLAIN.map(seal)
BINDINGS = st.lists(st.tuples(NAMES, st.none() | VALUES), max_size=8)
ENVIRONS = st.dictionaries(NAMES.filter(bool), VALUES, max_size=4)


class Recorder:
    """The two ways to decrypt, with a note of each call."""

    def __init__(self):
        self.indexes = []
        self.names = []

    def binding(self, index, name, raw):
        """Decrypt a binding."""
        self.indexes.append(index)
        return unseal(raw)

    def process(self, name, raw):
        """Decrypt a process variable."""
        self.names.append(name)
        return unseal(raw)

    def expansion(self, bindings, environ, **options):
        """Return an expansion that decrypts through this recorder."""
        return Expansion(
            bindings, environ, decrypt_binding=self.binding, decrypt_process=self.process, **options
        )


def expand(bindings, environ, **options):
    """Return all values of *bindings*, one after the other."""
    expansion = Recorder().expansion(bindings, environ, **options)
    return [expansion.value(index) for index in range(len(bindings))]


def expected(bindings, environ, override):
    """Return what python-dotenv makes of the plaintext, for each binding and not only for the last of its name."""
    plain = [(name, value if value is None else unseal(value)) for name, value in bindings]
    with mock.patch.dict(os.environ, {name: unseal(value) for name, value in environ.items()}, clear=True):
        return [
            resolve_variables(plain[: index + 1], override=override)[name]
            for index, (name, _) in enumerate(plain)
        ]


@given(BINDINGS, ENVIRONS, st.booleans())
@example(bindings=[("A", "1"), ("B", "${A}"), ("A", "2"), ("C", "${A}")], environ={"A": "p"}, override=True)
@example(bindings=[("A", "1"), ("B", "${A}"), ("A", "2"), ("C", "${A}")], environ={"A": "p"}, override=False)
@example(bindings=[("A", None), ("B", "${A:-d}")], environ={"A": "p"}, override=True)
@example(bindings=[("A", "${A}${a:-d}")], environ={"A": "p", "a": ""}, override=True)
def test_expands_like_python_dotenv(bindings, environ, override):
    """Sealed or not, a binding's value is what python-dotenv would give for the plaintext environment."""
    assert expand(bindings, environ, override=override) == expected(bindings, environ, override)


@given(BINDINGS, ENVIRONS, st.booleans(), st.data())
def test_only_what_is_reached_is_decrypted_and_that_once(bindings, environ, override, data):
    """Asking for some values, in any order, decrypts just what they refer to, each raw value a single time."""
    indexes = data.draw(st.lists(st.integers(0, len(bindings) - 1), max_size=9)) if bindings else []
    recorder = Recorder()
    expansion = recorder.expansion(bindings, environ, override=override)
    values = [expansion.value(index) for index in indexes]
    all_values = expected(bindings, environ, override)
    assert values == [all_values[index] for index in indexes]
    assert len(set(recorder.indexes)) == len(recorder.indexes)
    assert len(set(recorder.names)) == len(recorder.names)
    # With everything in plain view, `references` sees the same without being told how to decrypt.
    plain = [(name, value if value is None else unseal(value)) for name, value in bindings]
    reached, names = Recorder().expansion(plain, environ, override=override).references(indexes)
    assert set(recorder.names) == names
    assert set(recorder.indexes) == {index for index in reached if bindings[index][1] is not None}


@given(BINDINGS, ENVIRONS, st.booleans(), st.data())
def test_references_stop_at_what_is_sealed(bindings, environ, override, data):
    """What shows without decryption is part of what is needed, and finding it decrypts nothing."""
    indexes = data.draw(st.sets(st.integers(0, len(bindings) - 1))) if bindings else set()
    recorder = Recorder()
    expansion = recorder.expansion(bindings, environ, override=override)
    reached, names = expansion.references(indexes)
    assert (recorder.indexes, recorder.names) == ([], [])
    assert indexes <= reached
    for index in indexes:
        expansion.value(index)
    assert {index for index in reached if bindings[index][1] is not None} <= set(recorder.indexes)
    assert names <= set(recorder.names)
    if not any((value or "").startswith(MARK) for _, value in bindings):
        assert names == set(recorder.names)


@given(BINDINGS, ENVIRONS)
def test_without_interpolation_values_are_only_decrypted(bindings, environ):
    """With interpolate=False nothing is expanded and nothing but the binding itself is needed."""
    values = expand(bindings, environ, interpolate=False)
    assert values == [value if value is None else unseal(value) for _, value in bindings]
    expansion = Recorder().expansion(bindings, environ, interpolate=False)
    assert expansion.references(range(len(bindings))) == (set(range(len(bindings))), set())


@pytest.mark.parametrize("override", [True, False])
def test_a_file_reads_like_dotenv_values(tmp_path, monkeypatch, override):
    """From text to final values, the two modules together give what python-dotenv gives for the file."""
    monkeypatch.setenv("HOST", "process-host")
    text = (
        "\ufeffHOST=db\r\nUSER='${NOBODY:-me}'\r\nexport URL=\"pg://${USER}@${HOST}/x\\r\"\r\n"
        "HOST=other\r\nJUNK LINE\r\nLAST=${HOST}-${URL}-${EMPTY:-d}\r\nEMPTY\r\nUSER=${EMPTY:-d}|"
    )
    path = tmp_path / ".env"
    path.write_bytes(text.encode())
    pairs = [(b.name, b.value) for b in parse(text).bindings if b.name is not None]
    values = dict(zip((name for name, _ in pairs), expand(pairs, os.environ, override=override), strict=True))
    with path.open(encoding="utf-8") as stream:
        raw = [(b.name, b.value) for b in parse(stream.read()).bindings if b.name is not None]
    assert values == resolve_variables(raw, override=override)
    if override:
        assert values == dotenv_values(path) == dotenv_values(stream=StringIO(text, newline=None))


def test_references_inside_decrypted_text_are_followed():
    """A sealed value is decrypted first and its plaintext expanded, through as many steps as it takes."""
    bindings = [("A", seal("1")), ("B", seal("<${A}>")), ("C", "${B}${P}")]
    assert expand(bindings, {"P": seal("${A}")}) == ["1", "<1>", "<1>${A}"]


def test_a_process_variable_is_final():
    """References in the text of a process variable are left as they are, decrypted or not."""
    assert expand([("A", "1"), ("B", "${P}${Q}")], {"P": "${A}", "Q": seal("${A}")})[1] == "${A}${A}"


def test_what_failed_counts_as_empty():
    """A value that could not be decrypted is empty, here and where it is referred to, and no default stands in."""
    expansion = Expansion(
        [("A", seal("1")), ("B", "<${A:-d}${P:-d}>")],
        {"P": seal("2")},
        decrypt_binding=lambda index, name, raw: None if index == 0 else raw,
        decrypt_process=lambda name, raw: None,
    )
    assert (expansion.value(1), expansion.value(0)) == ("<>", "")


def test_the_environment_is_as_it_was_before():
    """Changes to the process environment after the start are not seen, and no name is too odd to be looked up."""
    environ = {"P": "before"}
    expansion = Recorder().expansion([("A", "${P}"), ("B", "${\ud800}")], environ)
    environ["P"] = "after"
    assert expansion.value(0) == "before"
    assert Recorder().expansion([("A", "${\ud800:-d}")], os.environ).value(0) == "d"


def test_long_chains_need_no_recursion():
    """A chain of 10,000 references is followed from its end."""
    count = 10_000
    bindings = [("V0", "x"), *((f"V{i}", seal(f"${{V{i - 1}}}")) for i in range(1, count))]
    recorder = Recorder()
    expansion = recorder.expansion(bindings, {})
    assert expansion.value(count - 1) == "x"
    assert len(recorder.indexes) == count
    plain = [(name, unseal(value)) for name, value in bindings]
    assert len(Recorder().expansion(plain, {}).references([count - 1])[0]) == count


def test_time_is_linear():
    """Ten times the lines take about ten times the time, in whatever way they refer to each other."""

    def seconds(count):
        bindings = [(f"V{i % 7}", f"${{V{(i + 3) % 7}:-d}}" if i % 5 else "${PATH}") for i in range(count)]
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            expand(bindings, os.environ)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(5000) < 10 * 3 * seconds(500)
