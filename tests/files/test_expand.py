"""encenv.files.expand: it expands as python-dotenv expands the plaintext, and decrypts only what that needs."""

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
    """Return *text* in a toy form in which it cannot be found."""
    return MARK + text[::-1]


def unseal(text):
    """Return the plaintext of *text*, which is *text* itself unless it is sealed."""
    return text[len(MARK) :][::-1] if text.startswith(MARK) else text


VALUES = PLAIN | PLAIN.map(seal)
BINDINGS = st.lists(st.tuples(NAMES, st.none() | VALUES), max_size=8)
ENVIRONS = st.dictionaries(NAMES.filter(bool), VALUES, max_size=4)


class Recorder:
    """The two decrypt functions; records each call."""

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
    """Return all values of *bindings* in order."""
    expansion = Recorder().expansion(bindings, environ, **options)
    return [expansion.value(index) for index in range(len(bindings))]


def expected(bindings, environ, override):
    """Return python-dotenv's value of each binding in plaintext, not only of the last one of a name."""
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
    """A binding's value is what python-dotenv gives for the plaintext environment, sealed or not."""
    assert expand(bindings, environ, override=override) == expected(bindings, environ, override)


@given(BINDINGS, ENVIRONS, st.booleans(), st.data())
def test_only_needed_values_are_decrypted_and_only_once(bindings, environ, override, data):
    """Reading some values, in any order, decrypts only what they refer to, and each raw value once."""
    indexes = data.draw(st.lists(st.integers(0, len(bindings) - 1), max_size=9)) if bindings else []
    recorder = Recorder()
    expansion = recorder.expansion(bindings, environ, override=override)
    values = [expansion.value(index) for index in indexes]
    all_values = expected(bindings, environ, override)
    assert values == [all_values[index] for index in indexes]
    assert len(set(recorder.indexes)) == len(recorder.indexes)
    assert len(set(recorder.names)) == len(recorder.names)
    # If nothing is sealed, `references` finds the same without decrypting.
    plain = [(name, value if value is None else unseal(value)) for name, value in bindings]
    reached, names = Recorder().expansion(plain, environ, override=override).references(indexes)
    assert set(recorder.names) == names
    assert set(recorder.indexes) == {index for index in reached if bindings[index][1] is not None}


@given(BINDINGS, ENVIRONS, st.booleans(), st.data())
def test_references_stop_at_sealed_values(bindings, environ, override, data):
    """references() returns a part of what is needed, and decrypts nothing."""
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


@pytest.mark.parametrize("override", [True, False])
def test_a_file_reads_like_dotenv_values(tmp_path, monkeypatch, override):
    """The parser and the expansion together give what python-dotenv gives for a file."""
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
    """A sealed value is decrypted before its references are expanded, through several steps too."""
    bindings = [("A", seal("1")), ("B", seal("<${A}>")), ("C", "${B}${P}")]
    assert expand(bindings, {"P": seal("${A}")}) == ["1", "<1>", "<1>${A}"]


def test_a_process_variable_is_final():
    """References in a process variable are not expanded, decrypted or not."""
    assert expand([("A", "1"), ("B", "${P}${Q}")], {"P": "${A}", "Q": seal("${A}")})[1] == "${A}${A}"


def test_a_failed_value_counts_as_empty():
    """A value that cannot be decrypted is empty, also where it is referred to, and no default replaces it."""
    expansion = Expansion(
        [("A", seal("1")), ("B", "<${A:-d}${P:-d}>")],
        {"P": seal("2")},
        decrypt_binding=lambda index, name, raw: None if index == 0 else raw,
        decrypt_process=lambda name, raw: None,
    )
    assert (expansion.value(1), expansion.value(0)) == ("<>", "")


def test_the_environment_is_copied():
    """Later changes of the process environment are not seen, and every name can be looked up."""
    environ = {"P": "before"}
    expansion = Recorder().expansion([("A", "${P}"), ("B", "${\ud800}")], environ)
    environ["P"] = "after"
    assert expansion.value(0) == "before"
    assert Recorder().expansion([("A", "${\ud800:-d}")], os.environ).value(0) == "d"


def test_long_chains_need_no_recursion():
    """A chain of 10,000 references is expanded without a RecursionError."""
    count = 10_000
    bindings = [("V0", "x"), *((f"V{i}", seal(f"${{V{i - 1}}}")) for i in range(1, count))]
    recorder = Recorder()
    expansion = recorder.expansion(bindings, {})
    assert expansion.value(count - 1) == "x"
    assert len(recorder.indexes) == count
    plain = [(name, unseal(value)) for name, value in bindings]
    assert len(Recorder().expansion(plain, {}).references([count - 1])[0]) == count


def test_time_is_linear():
    """Ten times the lines take about ten times the time, whatever they refer to."""

    def seconds(count):
        bindings = [(f"V{i % 7}", f"${{V{(i + 3) % 7}:-d}}" if i % 5 else "${PATH}") for i in range(count)]
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            expand(bindings, os.environ)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(5000) < 10 * 3 * seconds(500)
