"""encenv.dotenv_values and load_dotenv: an encrypted .env file behaves exactly as its plaintext did."""

import inspect
import io
import logging
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import dotenv
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.canary import CANARY, assert_silent, caught
from support.programs import needs_ascii_path, needs_linux
from support.python_process import WITHOUT_PRIVILEGE, run
from support.workspace import without_coverage

import encenv
from encenv import (
    AuthenticationError,
    ConflictError,
    EncenvError,
    FileError,
    KeyEntryError,
    LocalKeys,
    MalformedError,
    PolicyError,
)
from encenv.files.document import parse
from encenv.files.encrypt import encrypt
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.format.sealed import claims, entry_kid
from encenv.keys.local import generate_key_text

KEYS = LocalKeys({"ENCENV_LOCAL_KEY": generate_key_text()})
WRITER = Writer((KeyName("local", ""),), environ={}, providers=[KEYS])
READ = {"key_providers": [KEYS]}
PROCESS_KEY, PROCESS_ENTRY, _ = WRITER.new_key(WRITER.keys, ())

# Names that differ in case only, quoted ones, one that looks like a key word, and two that only processes have.
NAMES = ("A", "B", "a", "SECRET_KEY", "'Q K'", "'QUOTED'", "ü", "a.b", "export", "\ufeffX")
PROCESS_NAMES = ("A", "B", "a", "QUOTED", "P", "SEALED")
REFERRED = (*(name.strip("'") for name in NAMES), "P", "SEALED", "NOWHERE", "")
NEWLINES = ("\n", "\r\n", "\r")
REFERENCES = st.builds(
    "${{{}{}}}".format, st.sampled_from(REFERRED), st.sampled_from(["", "", ":-", ":-d f", ":-$"])
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
PIECES = (
    st.sampled_from(
        [*"abc '\"\\#$={}:%\t\n\r\x0b\xa0\u2028é", "\r\n", " #", "\\n", "\\'", '\\"', "\\\\", "$A", "encenv:"]
    )
    | REFERENCES
    | TEXT
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)
BARE = TEXTS.map(lambda text: "".join(text.splitlines()).lstrip())
SINGLE = TEXTS.map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")
DOUBLE = TEXTS.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
COMMENTS = st.sampled_from(["", "", "", " # comment", "   ", "\t# it's \""])
STATEMENTS = st.one_of(
    st.tuples(
        st.sampled_from(["", "", "  ", "export "]),
        st.sampled_from(NAMES),
        st.sampled_from(["=", "=", " = ", "=\t"]),
        BARE | SINGLE | DOUBLE | REFERENCES | st.just(""),
        COMMENTS,
    ).map("".join),
    st.tuples(st.sampled_from(NAMES), COMMENTS).map("".join),  # no "=": no value
    st.sampled_from(["", "  ", "# comment", "  # A=comment"]),
)


@st.composite
def env_texts(draw):
    """Return whole files that python-dotenv can parse, with and without an end and a byte order mark.

    No value looks like an encrypted one: such a value is an error.
    """
    newlines = st.sampled_from(draw(st.sampled_from([("\n",), ("\r\n",), ("\r",), NEWLINES])))
    text = "".join(draw(STATEMENTS) + draw(newlines) for _ in range(draw(st.integers(0, 7))))
    text = draw(st.sampled_from(["", "", "\ufeff"])) + text + draw(st.just("") | STATEMENTS)
    bindings = parse(text).bindings
    assume(not any(binding.error or claims(binding.value or "") for binding in bindings))
    return text


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | REFERENCES
PROCESSES = st.dictionaries(st.sampled_from(PROCESS_NAMES), st.tuples(VALUES, st.booleans()), max_size=4)


def environments(process):
    """Return a process environment in plain text, and the same one with some values encrypted and their key entry."""
    plain = {name: value for name, (value, _) in process.items()}
    sealed = {
        name: PROCESS_KEY.encrypt(name, value) if is_sealed else value
        for name, (value, is_sealed) in process.items()
    }
    return plain, sealed | {PROCESS_ENTRY.name: str(PROCESS_ENTRY)}


def in_environment(environ, call):
    """Return the result of *call* in the process environment *environ*, and that environment afterwards."""
    with patch.dict(os.environ, environ, clear=True):
        return call(), dict(os.environ)


@contextmanager
def both(text):
    """Give the paths of a plain file with exactly *text* in it, and of its encrypted twin."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "plain.env"), Path(folder, "sealed.env")
        for path, content in zip(paths, (text, encrypt(text, WRITER).text), strict=True):
            path.write_bytes(content.encode())
        yield paths


# --- the law -----------------------------------------------------------------------------------------------------


@given(text=env_texts(), process=PROCESSES, interpolate=st.booleans())
@example(text="A=1\nB=${A}\nA=2\nC=${A}${P:-d}${SEALED}", process={"SEALED": ("s", True)}, interpolate=True)
@example(text="\ufeff'Q K'='a\r\nb'\rA=\rB\rA", process={}, interpolate=True)
@settings(max_examples=150, deadline=None)
def test_values_are_those_of_the_plain_file(text, process, interpolate):
    """dotenv_values of the encrypted file gives what python-dotenv gives of the plain one, in the same order."""
    plain_environ, sealed_environ = environments(process)
    with both(text) as (plain, sealed):
        expected, _ = in_environment(
            plain_environ, lambda: dotenv.dotenv_values(plain, interpolate=interpolate)
        )
        read = lambda **source: encenv.dotenv_values(**source, interpolate=interpolate, **READ)  # noqa: E731
        found, after = in_environment(sealed_environ, lambda: read(dotenv_path=sealed))
        assert list(found.items()) == list(expected.items())
        assert after == sealed_environ
        with sealed.open(encoding="utf-8") as stream:
            found, _ = in_environment(sealed_environ, lambda: read(stream=stream))
        assert found == expected


@given(text=env_texts(), process=PROCESSES, override=st.booleans(), interpolate=st.booleans())
@example(text="A=1\nB=${A}", process={"A": ("p", True)}, override=False, interpolate=True)
@example(text="A=1\nB=${A}", process={"A": ("p", True)}, override=True, interpolate=True)
@settings(max_examples=150, deadline=None)
def test_the_process_environment_becomes_that_of_the_plain_file(text, process, override, interpolate):
    """load_dotenv makes os.environ what python-dotenv makes of it; a value that is encrypted there stays encrypted."""
    plain_environ, sealed_environ = environments(process)
    how = {"override": override, "interpolate": interpolate}
    with both(text) as (plain, sealed):
        expected, plain_after = in_environment(plain_environ, lambda: dotenv.load_dotenv(plain, **how))
        found, after = in_environment(sealed_environ, lambda: encenv.load_dotenv(sealed, **how, **READ))
    assert found == expected
    assert encenv.decrypt_environ(after, **READ) == plain_after
    untouched = [name for name in sealed_environ if name in after and not override]
    assert {name: after[name] for name in untouched} == {name: sealed_environ[name] for name in untouched}
    assert {name for name in after if entry_kid(name)} == {PROCESS_ENTRY.name}  # none of the file's


@given(text=env_texts())
@example(text="\n\n  # c\r\n\r\n export A = 'x' # c\rB=\"1\"")
@settings(max_examples=150, deadline=None)
def test_no_byte_outside_the_values_changes(text):
    """Encryption replaces values and adds one line above the first of them; all else stays to the byte."""
    outcome = encrypt(text, WRITER)
    changed = outcome.text
    if outcome.entry is not None:
        start = changed.index(f"{outcome.entry.name}={outcome.entry}")
        lines = parse(changed).bindings
        at = next(i for i, binding in enumerate(lines) if binding.name == outcome.entry.name)
        end = start + len(lines[at].text.lstrip())
        assert changed[start:end].rstrip("\r\n") == f"{outcome.entry.name}={outcome.entry}"
        assert (lines[at + 1].name, lines[at + 1].line) == (outcome.names[0], lines[at].line + 1)
        changed = changed[:start] + changed[end:]
    before, after = parse(text), parse(changed)
    assert after.head == before.head
    assert [b.name for b in after.bindings] == [b.name for b in before.bindings]
    for old, new in zip(before.bindings, after.bindings, strict=True):
        if old.value is None:
            assert new.text == old.text
            continue
        assert new.value.startswith("encenv:1:")
        prefix, _, suffix = new.text.partition(new.value)
        assert old.text.startswith(prefix)
        assert old.text.endswith(suffix)
        source = old.text[len(prefix) : len(old.text) - len(suffix)]
        assert source == old.value or source[:1] + source[-1:] in ("''", '""')


@given(text=env_texts(), junk=st.sampled_from(["junk line", "=x", "A B=C", '="']), at=st.integers(0, 8))
@settings(max_examples=50, deadline=None)
def test_lines_that_cannot_be_parsed_are_skipped_as_python_dotenv_does(text, junk, at):
    """A line that someone broke after encryption costs no more than python-dotenv makes it cost: a warning."""
    text = "# a name may begin with U+FEFF, but not at the start of a file\n" + text.lstrip("\ufeff")
    sealed = encrypt(text, WRITER).text
    texts = []
    for whole in (text, sealed):
        file = parse(whole)
        lines = [b.text for b in file.bindings if not entry_kid(b.name or "")]
        entries = [b.text.lstrip() for b in file.bindings if entry_kid(b.name or "")]
        lines = [line if line.endswith(("\n", "\r")) else line + "\n" for line in lines]
        texts.append(file.head + "".join([*lines[:at], junk + "\n", *lines[at:], *entries]))
    with patch.dict(os.environ, {}, clear=True):
        expected = dotenv.dotenv_values(stream=io.StringIO(texts[0], newline=None))
        assert encenv.dotenv_values(stream=io.StringIO(texts[1], newline=None), **READ) == expected


@pytest.mark.parametrize("text", ["A='a\r\nb'\r\nB=\"c\rd\"", "A=1\rB=2\r"])
def test_a_stream_is_read_as_it_comes(text):
    """Newlines in a stream are those that the stream gives: python-dotenv does not translate them either."""
    for newline in (None, ""):
        expected = dotenv.dotenv_values(stream=io.StringIO(text, newline=newline))
        assert encenv.dotenv_values(stream=io.StringIO(text, newline=newline)) == expected
    sealed = encrypt("S=sealed\n", WRITER).text
    values = encenv.dotenv_values(stream=io.StringIO(sealed + text, newline=""), **READ)
    assert values == {"S": "sealed", **dotenv.dotenv_values(stream=io.StringIO(text, newline=""))}


# --- key entries, rules, names -----------------------------------------------------------------------------------


def sealed_file(tmp_path, text, name=".env", writer=WRITER):
    """Write *text* encrypted, and return its path and the outcome."""
    outcome = encrypt(text, writer)
    path = tmp_path / name
    path.write_bytes(outcome.text.encode())
    return path, outcome


def test_a_key_entry_may_be_in_the_process(tmp_path, monkeypatch):
    """A value's key entry is looked for in the file and then in the process; a process variable's as well."""
    path, outcome = sealed_file(tmp_path, "A=one\nB=${P}\n")
    path.write_text(outcome.text.replace(f"{outcome.entry.name}={outcome.entry}\n", ""))
    with pytest.raises(KeyEntryError) as error:
        encenv.dotenv_values(path, **READ)
    assert error.value.variables == ("A", "B")
    monkeypatch.setenv(outcome.entry.name, str(outcome.entry))
    monkeypatch.setenv(PROCESS_ENTRY.name, str(PROCESS_ENTRY))
    monkeypatch.setenv("P", PROCESS_KEY.encrypt("P", "two"))
    assert encenv.dotenv_values(path, **READ) == {"A": "one", "B": "two"}


def test_a_variable_of_the_process_is_not_decrypted(tmp_path, monkeypatch):
    """Without override, load_dotenv needs no key for names that are set already: a test run has none."""
    path, outcome = sealed_file(tmp_path, "A=one\nB=${A}\nC=three\n")
    lines = outcome.text.splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("ENCENV_KEY_")))
    for name in "ABC":
        monkeypatch.setenv(name, name.lower())
    assert encenv.load_dotenv(path, key_providers=[])
    assert (os.environ["A"], os.environ["B"], os.environ["C"]) == ("a", "b", "c")
    with pytest.raises(KeyEntryError) as error:
        encenv.load_dotenv(path, override=True)
    assert error.value.variables == ("A", "B", "C")


def test_only_the_last_of_several_lines_is_decrypted(tmp_path):
    """A line that a later line replaces is not decrypted, unless a line between them refers to it."""
    path, outcome = sealed_file(tmp_path, "A=one\nB=two\nA=three\n")
    broken = outcome.text.replace("\nA=encenv:1:", "\nA=encenv:1:AAAAAAAA:A\nX=encenv:1:", 1)
    path.write_text(broken.replace("\nX=", "\n#"))
    assert encenv.dotenv_values(path, **READ) == {"A": "three", "B": "two"}
    path.write_text(broken.replace("\nX=", "\nY=${A}\n#"))
    with pytest.raises(EncenvError) as error:
        encenv.dotenv_values(path, **READ)
    assert error.value.variables == ("A",)


def test_nothing_is_set_if_anything_fails(tmp_path, monkeypatch):
    """load_dotenv sets all variables or none, plain ones too."""
    path, outcome = sealed_file(tmp_path, "A=one\nB=two\n")
    text = outcome.text
    path.write_text("PLAIN=1\n" + text.replace("\nB=", "\nC="))
    before = dict(os.environ)
    with pytest.raises(AuthenticationError) as error:
        encenv.load_dotenv(path, **READ)
    assert error.value.variables == ("C",)
    assert dict(os.environ) == before


@pytest.mark.parametrize("line", ["B='a\0b'", "'B=C'=1"])
def test_a_value_that_no_environment_can_hold_sets_nothing(line, tmp_path):
    """A name or value that os.environ refuses is refused before anything is set, and only by load_dotenv."""
    path, _ = sealed_file(tmp_path, f"A={CANARY}\n")
    with path.open("a") as file:
        file.write(line)
    before = dict(os.environ)
    error = caught(lambda: encenv.load_dotenv(path, **READ))
    assert isinstance(error, MalformedError)
    assert error.variables == tuple(name for name in dotenv.dotenv_values(path) if name.startswith("B"))
    assert_silent(error, CANARY)
    assert dict(os.environ) == before
    assert encenv.dotenv_values(path, **READ).keys() == {"A", *error.variables}


@needs_ascii_path
def test_a_locale_without_the_character(tmp_path):
    """Where os.environ is not UTF-8, a value that it cannot hold is refused by name and nothing is set."""
    path, _ = sealed_file(tmp_path, "A=one\nB=☕\n")
    code = (
        "import os, sys, encenv\n"
        "try: encenv.load_dotenv(sys.argv[1])\n"
        "except encenv.MalformedError as error: print(error.variables, 'A' in os.environ, '☕' in str(error))\n"
    )
    environ = {
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "LC_ALL": "en_US.ISO-8859-1",
        "PATH": os.environ["PATH"],
    }
    environ["ENCENV_LOCAL_KEY"] = KEYS._environ["ENCENV_LOCAL_KEY"]
    locale = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"],
        env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    if "utf" in locale.stdout:
        pytest.skip("this machine has no locale without UTF-8")
    (tmp_path / "load.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "load.py", path], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout == "('B',) False False\n", done.stderr


@pytest.mark.parametrize("value", ["encenv-local-key:1:abc", "'x'"])
def test_a_local_key_inside_the_file_is_refused(value, tmp_path):
    """The local key beside the values that it decrypts is an error, unless it is empty."""
    path, outcome = sealed_file(tmp_path, "A=one\n")
    path.write_text(f"{outcome.text}ENCENV_LOCAL_KEY={value}\n")
    for read in (encenv.dotenv_values, encenv.load_dotenv):
        error = caught(lambda read=read: read(path, **READ))
        assert isinstance(error, PolicyError)
        assert "ENCENV_LOCAL_KEY" in error.message
        assert "abc" not in str(error)
    path.write_text(f"{outcome.text}ENCENV_LOCAL_KEY=\n")
    assert encenv.dotenv_values(path, **READ) == {"A": "one", "ENCENV_LOCAL_KEY": ""}


def test_the_prefix_is_removed_only_with_the_option(tmp_path):
    """Names are unchanged; with encrypted_prefix an encrypted ENC_NAME supplies NAME, and to set both is a conflict."""
    path, outcome = sealed_file(tmp_path, "ENC_A=one\nB=${ENC_A}\n")
    path.write_text(outcome.text + "ENC_PLAIN=1\n")
    assert encenv.dotenv_values(path, **READ) == {"ENC_A": "one", "B": "one", "ENC_PLAIN": "1"}
    mapped = encenv.dotenv_values(path, encrypted_prefix="ENC_", **READ)
    assert mapped == {"A": "one", "B": "one", "ENC_PLAIN": "1"}
    with patch.dict(os.environ, {"A": "mine"}):
        assert encenv.load_dotenv(path, encrypted_prefix="ENC_", **READ)
        assert (os.environ["A"], os.environ["B"]) == ("mine", "one")
        assert "ENC_A" not in os.environ
    path.write_text(path.read_text() + "A=1\n")
    with pytest.raises(ConflictError, match="A and ENC_A are both set"):
        encenv.dotenv_values(path, encrypted_prefix="ENC_", **READ)
    assert encenv.dotenv_values(path, **READ)["A"] == "1"


@pytest.mark.parametrize("read", [encenv.dotenv_values, encenv.load_dotenv, encenv.decrypt_environ])
def test_a_misspelt_rule_is_not_ignored(read):
    """An option that does not exist is a TypeError, as with any function: a pin must not be lost to a typing error."""
    with pytest.raises(TypeError, match="trusted_key'"):
        read(trusted_key=["local:AAAAAAAA"])


# --- python-dotenv's interface -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dotenv_values", "load_dotenv"])
def test_signatures_are_python_dotenvs(name):
    """Each argument of python-dotenv is there, in its place, with its default; encenv's own are keywords behind them."""
    theirs = list(inspect.signature(getattr(dotenv, name)).parameters.values())
    ours = list(inspect.signature(getattr(encenv, name)).parameters.values())
    shape = lambda parameters: [(p.name, p.kind, p.default) for p in parameters]  # noqa: E731
    assert shape(ours[: len(theirs)]) == shape(theirs)
    assert [p.kind for p in ours[len(theirs) :]] == [inspect.Parameter.VAR_KEYWORD]


@pytest.mark.parametrize("value", ["1", "true", "T", "Yes", "y", "0", "", "no", "on", " 1"])
def test_python_dotenv_disabled(value, tmp_path, monkeypatch):
    """PYTHON_DOTENV_DISABLED stops load_dotenv for the same values as in python-dotenv, and never dotenv_values."""
    monkeypatch.setenv("PYTHON_DOTENV_DISABLED", value)
    plain = tmp_path / "plain.env"
    plain.write_text("A=1\n")
    sealed, _ = sealed_file(tmp_path, "A=1\n")
    with patch.dict(os.environ):
        expected = dotenv.load_dotenv(plain), os.environ.pop("A", None)
        assert (encenv.load_dotenv(sealed, **READ), os.environ.pop("A", None)) == expected
    assert encenv.dotenv_values(sealed, **READ) == {"A": "1"}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "A\n", "A=\n", "junk line\n", "A=1\n"])
def test_what_load_dotenv_returns(text, tmp_path):
    """The return value says whether the file has any variable, key entries not counted."""
    plain, sealed = tmp_path / "plain.env", tmp_path / "sealed.env"
    plain.write_text(text)
    sealed.write_text(text if "junk" in text else encrypt(text, WRITER).text)
    with patch.dict(os.environ):
        expected = dotenv.load_dotenv(plain)
    with patch.dict(os.environ):
        assert encenv.load_dotenv(sealed, **READ) is expected
    sealed.write_text(f"{PROCESS_ENTRY.name}={PROCESS_ENTRY}\n")
    assert encenv.load_dotenv(sealed) is False


@pytest.mark.parametrize("path", ["missing.env", "folder", "missing/.env", ""])
def test_without_a_file_there_are_no_variables(path, tmp_path, monkeypatch, caplog):
    """A missing file, a folder and an empty path give nothing, as in python-dotenv; verbose says so in the log."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    caplog.set_level(logging.INFO)
    assert encenv.dotenv_values(path) == dotenv.dotenv_values(path) == {}
    assert encenv.load_dotenv(path) is dotenv.load_dotenv(path) is False
    assert not caplog.records
    assert encenv.dotenv_values(path, verbose=True) == dotenv.dotenv_values(path, verbose=True)
    ours, theirs = caplog.records
    assert (ours.name, ours.levelname, theirs.levelname) == ("encenv", "INFO", "INFO")
    assert (path or ".env") in ours.getMessage()
    stream = "S=1\n"
    expected = dotenv.dotenv_values(path, io.StringIO(stream))
    assert encenv.dotenv_values(path, io.StringIO(stream)) == expected == {"S": "1"}


def test_a_file_wins_over_a_stream(tmp_path):
    """Of a file that exists and a stream, the file is read, as in python-dotenv."""
    path, _ = sealed_file(tmp_path, "A=file\n")
    assert encenv.dotenv_values(path, io.StringIO("A=stream"), **READ) == {"A": "file"}
    assert encenv.dotenv_values(os.fspath(path), **READ) == {"A": "file"}


def test_broken_lines_are_logged_by_number(tmp_path, caplog):
    """A statement that cannot be parsed is a warning with its line, without its text."""
    path = tmp_path / ".env"
    path.write_text(f"A=1\n{CANARY} {CANARY}\nB=2\n")
    assert encenv.dotenv_values(path) == {"A": "1", "B": "2"}
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("encenv", "WARNING")
    assert "line 2" in record.getMessage()
    assert CANARY not in record.getMessage()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "utf-8-sig", None])
def test_the_encoding_is_the_callers(encoding, tmp_path):
    """encoding= means the same as for open(); None is the locale's."""
    outcome = encrypt("A=naïve\n# ü\n", WRITER)
    for text, name in (("A=naïve\n# ü\n", "plain.env"), (outcome.text, "sealed.env")):
        (tmp_path / name).write_text(text, encoding=encoding)
    expected = dotenv.dotenv_values(tmp_path / "plain.env", encoding=encoding)
    assert (
        encenv.dotenv_values(tmp_path / "sealed.env", encoding=encoding, **READ) == expected == {"A": "naïve"}
    )


def test_undecodable_bytes_are_an_error_without_the_bytes(tmp_path):
    """The error names file, line and encoding; nothing of the file can be reached from it."""
    path = tmp_path / ".env"
    path.write_bytes(f"A={CANARY}\nB=".encode() + b"\xff\n")
    for read in (encenv.dotenv_values, encenv.load_dotenv):
        error = caught(lambda read=read: read(path))
        assert isinstance(error, FileError)
        assert error.message == f"{path} is not UTF-8: see line 2"
        assert_silent(error, CANARY)
    with path.open(encoding="utf-8") as stream:
        error = caught(lambda: encenv.dotenv_values(stream=stream))
    assert isinstance(error, FileError)
    assert_silent(error, CANARY)
    with pytest.raises(FileError, match="no encoding 'klingon'"):
        encenv.dotenv_values(path, encoding="klingon")


def test_a_failing_load_keeps_no_value(tmp_path):
    """Nothing that was decrypted before another value failed can be reached from the error."""
    path, outcome = sealed_file(tmp_path, f"A={CANARY}\nB=two\nC=${{A}}\n")
    path.write_text(outcome.text.replace("\nB=", "\nD="))
    for read in (encenv.dotenv_values, encenv.load_dotenv):
        error = caught(lambda read=read: read(path, **READ))
        assert isinstance(error, AuthenticationError)
        assert_silent(error, CANARY)


def test_a_fifo_is_read_once(tmp_path):
    """A FIFO, as process substitution and secret managers give it, is a file."""
    text = encrypt("A=one\nB=${A}\n", WRITER).text
    path = tmp_path / "fifo"
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_text, args=(text,))
    thread.start()
    assert encenv.dotenv_values(path, **READ) == {"A": "one", "B": "one"}
    thread.join()


@needs_linux
def test_a_file_without_permission(tmp_path):
    """A file without permission to read it is an error: the program may need its values."""
    path, _ = sealed_file(tmp_path, "A=one\n")
    path.chmod(0)
    code = """
    import encenv, sys
    try:
        encenv.dotenv_values(sys.argv[1])
    except encenv.FileError as error:
        print(error.message)
    """
    printed = run(code, os.environ, str(path), through=WITHOUT_PRIVILEGE)
    assert printed == f"no permission to read the file {path}\n"


# --- find_dotenv -------------------------------------------------------------------------------------------------

PRINTS = """
import dotenv, encenv, os, sys
{setup}
def via(library):
    values = {read}
    return values.get("WHERE")
print(via(dotenv), via(encenv))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return nested folders, some with a .env of their own: which one is found shows where the search began."""
    root = tmp_path_factory.mktemp("find")
    for name in ("", "app/", "elsewhere/"):
        (root / name).mkdir(exist_ok=True)
        (root / name / ".env").write_text(f"WHERE={name or 'root'}\n")
    (root / "app/package/deep").mkdir(parents=True)
    (root / "lib").mkdir()
    (root / "lib/helper.py").write_text(
        "import dotenv, encenv\ndef via(library): return library.dotenv_values()\n"
    )
    return root


def ran(arguments, folder, stdin=None):
    """Return what a Python started in *folder* prints."""
    # python-dotenv takes coverage's tracer for a debugger, and then looks in the current folder.
    environ = without_coverage({name: value for name, value in os.environ.items() if name != "WHERE"})
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environ,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CASES = {
    "a script": ("", "library.dotenv_values()", "app/ app/"),
    "load_dotenv": ("", "library.load_dotenv() and {'WHERE': os.environ.pop('WHERE')}", "app/ app/"),
    "keywords": ("", "library.dotenv_values(verbose=True)", "app/ app/"),
    "a helper elsewhere": (
        "sys.path.append(os.path.join(os.path.dirname(__file__), '../../../lib')); import helper",
        "helper.via(library)",
        "root root",
    ),
    "code without a file": ("", "eval('library.dotenv_values()')", "app/ app/"),
    "a debugger": ("sys.settrace(lambda *_: None)", "library.dotenv_values()", "elsewhere/ elsewhere/"),
    "a prompt": ("sys.ps1 = '>>> '", "library.dotenv_values()", "elsewhere/ elsewhere/"),
    "a frozen program": ("sys.frozen = True", "library.dotenv_values()", "elsewhere/ elsewhere/"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_file_is_looked_for_as_by_python_dotenv(case, folders):
    """Without a path, .env is looked for upwards from the calling file; from the current folder where there is none."""
    setup, read, expected = CASES[case]
    script = folders / "app/package/deep/script.py"
    script.write_text(PRINTS.format(setup=setup, read=read))
    assert ran([script], folders / "elsewhere") == expected


def test_the_file_is_looked_for_without_a_script(folders):
    """Code of ``python -c`` and a program from standard input have no file: the current folder is where they start."""
    code = PRINTS.format(setup="", read="library.dotenv_values()")
    assert ran(["-c", code], folders / "elsewhere") == "elsewhere/ elsewhere/"
    # python-dotenv itself stops here with an AssertionError.
    code = code.replace("via(dotenv)", "None")
    assert ran(["-"], folders / "app/package", stdin=code) == "None app/"


def test_nothing_is_found_above(tmp_path):
    """With no .env up to the root there are no variables and no error."""
    if any((parent / ".env").exists() for parent in tmp_path.parents):
        pytest.skip("this machine has a .env above its temporary folder")
    code = PRINTS.format(setup="", read="library.dotenv_values()")
    assert ran(["-c", code], tmp_path) == "None None"
