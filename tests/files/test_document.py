"""encenv.files.document: it reads what python-dotenv reads, and a change touches no other byte of a file."""

import ast
import tempfile
import time
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from dotenv.parser import parse_stream
from hypothesis import example, given
from hypothesis import strategies as st
from support.env_texts import ENV_TEXTS, NEWLINES, SEALED, TEXTS

from encenv.errors import EncenvError, FileError
from encenv.files import document, dotenv_names
from encenv.files.document import parse, quote, with_name, with_value


def read_by_dotenv(text):
    """Return what python-dotenv itself reads from a real file with the bytes of *text*."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ".env")
        path.write_bytes(text.encode("utf-8"))
        with path.open(encoding="utf-8") as stream:
            statements = list(parse_stream(stream))
        values = dotenv_values(path, interpolate=False)
    assert values == {s.key: s.value for s in statements if s.key is not None}
    return [(s.key, s.value, s.error) for s in statements]


def readings(file):
    """Return what encenv reads, to compare with `read_by_dotenv`."""
    return [(binding.name, binding.value, binding.error) for binding in file.bindings]


def named(pairs):
    """Return *pairs* without blank lines and comments."""
    return [(name, value) for name, value, error in pairs if name is not None or error]


def only(text):
    """Return the one statement of *text*."""
    (binding,) = parse(text).bindings
    return binding


@given(ENV_TEXTS)
@example("\ufeff")
@example("\ufeff\ufeffA=1")
@example("\ufeff\r\nA='x\r\ny'\r")
@example('A="x\ry"\r\r\nB')
def test_text_survives_and_reads_as_python_dotenv_reads_the_file(text):
    """Every text comes back exactly, with the statements that python-dotenv finds in the same bytes."""
    file = parse(text)
    assert str(file) == text
    assert readings(file) == read_by_dotenv(text)
    assert all(binding.text for binding in file.bindings)


@given(ENV_TEXTS)
def test_line_is_that_of_the_statement(text):
    """The line of a binding is the line of its name in an editor, not that of the blank lines before it."""
    lines = list(StringIO(text.removeprefix("\ufeff"), newline=None))
    for binding in parse(text).bindings:
        if binding.name is not None:
            first = binding.name.split("\n")[0]
            assert first in lines[binding.line - 1]


@given(ENV_TEXTS, st.just(SEALED) | TEXTS)
@example("KEY=abc # c", SEALED)
@example("KEY= # c\n", "a b")
@example('KEY="abc"#comment', SEALED)
@example("\ufeffX=1\n\ufeffX=2", SEALED)
def test_every_value_can_be_replaced(text, value):
    """A new value of any binding reads back as that value, and name, comment, spaces and other lines stay."""
    file = parse(text)
    expected = [list(reading) for reading in readings(file)]
    changes = {}
    for index, binding in enumerate(file.bindings):
        if binding.value is None:
            continue
        changes[index] = changed = with_value(binding, value)
        expected[index][1] = value
        start, end = document._spans(binding)[1]
        old = binding.text[start:end]
        assert old == binding.value or old[0] == old[-1] in "'\""
        assert changed.text.startswith(binding.text[:start])
        assert changed.text.endswith(binding.text[end:])
        new = changed.text[start : len(changed.text) - len(binding.text) + end]
        assert new in {value, *document._value_forms(value, document._newline_of(binding.text))}
        assert (changed.name, changed.line) == (binding.name, binding.line)
    after = "".join(changes.get(i, b).text for i, b in enumerate(file.bindings))
    try:
        result = file.replace(changes)
    except FileError:
        # Only if the new quotes would close a stray one.
        assert any(binding.error for binding in file.bindings)
        assert named(read_by_dotenv(file.head + after)) != named(map(tuple, expected))
    else:
        assert str(result) == file.head + after
        assert named(read_by_dotenv(str(result))) == named(map(tuple, expected))


@given(ENV_TEXTS)
def test_values_replaced_and_put_back_read_the_same(text):
    """A file reads as before after all its values were replaced and put back."""
    file = parse(text)
    values = {i: b.value for i, b in enumerate(file.bindings) if b.value is not None}
    try:
        sealed = file.replace({i: with_value(file.bindings[i], SEALED) for i in values})
        assert all(sealed.bindings[i].value == SEALED for i in values)
        back = sealed.replace({i: with_value(sealed.bindings[i], value) for i, value in values.items()})
    except FileError:
        assert any(binding.error for binding in file.bindings)
    else:
        assert named(readings(back)) == named(readings(file))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("KEY=abc\n", f"KEY={SEALED}\n"),
        ("KEY=abc", f"KEY={SEALED}"),
        ("KEY=\n", f"KEY={SEALED}\n"),
        ("KEY= # comment\n", f"KEY={SEALED} # comment\n"),
        ("KEY=abc # comment\r\n", f"KEY={SEALED} # comment\r\n"),
        ("KEY='a b' # comment\n", f"KEY={SEALED} # comment\n"),
        ('KEY="abc"#comment\n', f'KEY="{SEALED}"#comment\n'),
        ("KEY=''#comment\n", f"KEY='{SEALED}'#comment\n"),
        ("KEY=abc#def  \n", f"KEY={SEALED}  \n"),
        ("KEY = abc\x0c\n", f"KEY = {SEALED}\x0c\n"),
        ("  export\tKEY =\t'abc'\n", f"  export\tKEY =\t{SEALED}\n"),
        ("'a key'=\"x\r\ny\"\r\n", f"'a key'={SEALED}\r\n"),
        ("\r\n\n\rKEY=a\u2028b\x85\r", f"\r\n\n\rKEY={SEALED}\x85\r"),
        ("KEY\n", f"KEY={SEALED}\n"),
        ("export KEY # comment", f"export KEY={SEALED} # comment"),
    ],
)
def test_only_the_value_is_replaced(before, after):
    """Sealed text is written bare, or in quotes where the comment would otherwise become part of it."""
    assert with_value(only(before), SEALED).text == after


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("", ""),
        ("abc", "abc"),
        (SEALED, SEALED),
        ("postgres://u:p%40@${HOST:-db}:5432/x", "postgres://u:p%40@${HOST:-db}:5432/x"),
        ("a b", "'a b'"),
        ("a#b", "'a#b'"),
        ("pa$$word", "'pa$$word'"),
        ('{"a": 1}', "'{\"a\": 1}'"),
        ("it's", '"it\'s"'),
        ('it\'s "x"', "'it\\'s \"x\"'"),
        ("C:\\dir", "'C:\\\\dir'"),
        ("a\nb", "'a\nb'"),
        ("a\r\nb", '"a\\r\\nb"'),
        ("x\\", "'x\\\\'"),
    ],
)
def test_the_plainest_form_is_chosen(value, form):
    """A value is written bare if that is safe, else in the quotes that need fewer escapes."""
    assert quote(value) == form


@given(TEXTS)
def test_quote_round_trips_through_a_file(value):
    """Any text without surrogates comes back unchanged from a real file."""
    assert read_by_dotenv(f"K={quote(value)}\nL=1\n") == [("K", value, False), ("L", "1", False)]


def test_a_multi_line_value_takes_the_newlines_of_its_line():
    """A file with CRLF keeps CRLF also inside a new value."""
    changed = with_value(only(f"KEY={SEALED}\r\n"), "a\nb")
    assert changed.text == "KEY='a\r\nb'\r\n"
    assert only(changed.text).value == "a\nb"


@given(ENV_TEXTS, st.data())
def test_a_line_is_inserted_above_a_statement(text, data):
    """The new line is between the blank lines and the statement, with the file's newline; nothing else moves."""
    file = parse(text)
    if not file.bindings:
        return
    index = data.draw(st.integers(0, len(file.bindings) - 1))
    result = file.insert_above(index, "ENCENV_KEY_ABCDEFGH", "1:x+local:y:z")
    line = "ENCENV_KEY_ABCDEFGH=1:x+local:y:z"
    start = str(result).index(line)
    rest = str(result)[start + len(line) :]
    newline = next(newline for newline in ("\r\n", "\n", "\r") if rest.startswith(newline))
    assert str(result)[:start] + rest[len(newline) :] == text
    assert newline == next((c for c in _newlines(text)), "\n")
    assert (result.bindings[index].name, result.bindings[index].line) == (
        "ENCENV_KEY_ABCDEFGH",
        file.bindings[index].line if file.bindings[index].text.strip() else result.bindings[index].line,
    )
    expected = readings(file)
    expected.insert(index, ("ENCENV_KEY_ABCDEFGH", "1:x+local:y:z", False))
    assert named(readings(result)) == named(expected)


def _newlines(text):
    for line in StringIO(text, newline=""):
        stripped = line.rstrip("\r\n")
        if stripped != line:
            yield line[len(stripped) :]


@given(ENV_TEXTS, TEXTS)
def test_a_line_is_appended(text, value):
    """The new line is the last one, whatever the file ends with, and the text before it is unchanged."""
    file = parse(text)
    try:
        result = file.append("NEW", value)
    except FileError:
        assert any(binding.error for binding in file.bindings)
        return
    assert str(result).startswith(text)
    assert str(result).endswith(("\n", "\r"))
    assert named(readings(result)) == [*named(readings(file)), ("NEW", value)]


@given(ENV_TEXTS, st.data())
def test_statements_are_dropped(text, data):
    """A dropped statement leaves only the blank lines above it; all others read as before."""
    file = parse(text)
    gone = data.draw(st.sets(st.integers(0, max(len(file.bindings) - 1, 0))))
    keep = [binding for index, binding in enumerate(file.bindings) if index not in gone]
    try:
        result = file.without(gone)
    except FileError:
        # The dropped line separated two stray quotes, or a byte order mark from the start of the file.
        assert any(binding.error or "\ufeff" in (binding.name or "") for binding in file.bindings)
        return
    assert named(readings(result)) == [(b.name, b.value) for b in keep if b.error or b.name is not None]


def test_blank_lines_stay_where_they_are():
    """A diff of a dropped or inserted line shows only that line."""
    file = parse("A=1\r\n\r\n  \r\n  B=2\r\n\r\n# c\r\nC=3")
    assert str(file.without([1])) == "A=1\r\n\r\n  \r\n\r\n# c\r\nC=3"
    assert str(file.without([3])) == "A=1\r\n\r\n  \r\n  B=2\r\n\r\n# c\r\n"
    assert str(file.insert_above(1, "K", "1")) == "A=1\r\n\r\n  \r\nK=1\r\n  B=2\r\n\r\n# c\r\nC=3"
    assert str(file.append("D", "4")) == str(file) + "\r\nD=4\r\n"
    assert [binding.line for binding in file.bindings] == [1, 4, 6, 7]


def test_a_line_is_added_to_an_empty_file():
    """A line can be added to an empty file, and to one that holds only a byte order mark."""
    assert str(parse("").append("A", "1")) == "A=1\n"
    assert str(parse("\ufeff").append("A", "1")) == "\ufeffA=1\n"
    assert str(parse("\ufeffB=1").insert_above(0, "A", "1")) == "\ufeffA=1\nB=1"


def test_a_name_is_replaced():
    """A binding is renamed in place; export, spaces, value and comment stay."""
    assert with_name(only("\nexport A = 'x' # c\n"), "B").text == "\nexport B = 'x' # c\n"
    assert with_name(only("A\n"), "a key").text == "'a key'\n"
    assert with_name(only("'a key'=1"), "B").text == "B=1"


@pytest.mark.parametrize("name", ["", "a'b=c", "'a'", "\ufeff'#", "it's #1"])
def test_an_impossible_name_is_refused(name):
    """A name that python-dotenv would not read back is refused before anything is written."""
    with pytest.raises(FileError):
        with_name(only("A=1"), name)
    with pytest.raises(FileError):
        parse("A=1\n").append(name, "2")


def test_new_quotes_do_not_close_a_stray_one():
    """A change that would alter how another line reads is refused; the hint names the line to fix."""
    file = parse("B=1\nA='open\n")
    with pytest.raises(FileError) as caught:
        file.append("C", "secret word")
    assert "line 2" in caught.value.hint
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None
    assert str(file.append("C", SEALED)) == f"B=1\nA='open\nC={SEALED}\n"


@pytest.mark.parametrize("text", ["# comment", "junk line", "  \n"])
def test_only_named_statements_have_a_value(text):
    """A comment, a blank line or junk cannot be given a value."""
    with pytest.raises(ValueError, match="no name"):
        with_value(only(text), "x")


def test_a_text_is_refused_if_python_dotenv_drops_some_of_it(monkeypatch):
    """If python-dotenv drops characters, the file is refused instead of being written without them."""
    monkeypatch.setattr(document, "parse_stream", lambda stream: list(parse_stream(stream))[:-1])
    with pytest.raises(FileError):
        parse("A=1\nB=2\n")


def test_errors_and_reprs_hold_no_value():
    """The repr of a binding, the repr of a file, and errors hold no value."""
    file = parse("A=secret\nB='secret word'\n")
    assert "secret" not in repr(file)
    assert "secret" not in repr(with_value(file.bindings[0], "secret two"))
    with pytest.raises(EncenvError) as caught:
        file.append("it's #1", "secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("newline", NEWLINES)
def test_time_is_linear(newline):
    """Ten times the lines take about ten times the time."""

    def seconds(count):
        text = "".join(f"# c{newline}NAME_{i}='a b'{newline}{newline}" for i in range(count))
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            assert len(parse(text).bindings) >= 2 * count
            best = min(best, time.process_time() - start)
        return best

    assert seconds(5000) < 10 * 3 * seconds(500)


def test_python_dotenv_parses_once(monkeypatch):
    """A file is parsed once, whatever its newlines."""
    calls = []
    monkeypatch.setattr(document, "parse_stream", lambda stream: calls.append(1) or parse_stream(stream))
    parse("A=1\nB=2\n")
    parse("A=1\r\nB=2\r")
    assert len(calls) == 2


def test_no_private_name_of_python_dotenv_is_used():
    """Only names without an underscore are taken from python-dotenv."""
    tree = ast.parse(Path(dotenv_names.__file__).read_text(encoding="utf-8"))
    names = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"parser", "variables"}
    }
    parsing = {"Binding", "Reader", "parse_key", "parse_stream", "parse_value"}
    assert names == parsing | {"Atom", "Variable", "parse_variables"}
