"""What a file's text tells without a key."""

import json

import pytest

from encenv.files.document import parse
from encenv.files.encrypt import encrypt
from encenv.files.inspect import measure, survey
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.keys.local import TEXT_VARIABLE, generate_key_text

WRITER = Writer((KeyName("local", ""),), (("stage", "x"),), {TEXT_VARIABLE: generate_key_text()})
PEM = "-----BEGIN RSA PRIVATE KEY-----"


def sealed(text: str) -> str:
    """Return *text* with its values sealed."""
    return encrypt(text, WRITER).text


def states(text: str) -> dict[str, str]:
    """Return the state of each variable of *text*."""
    return {variable.name: variable.state for variable in survey(text).variables}


def test_states():
    """Each variable has its state, its line and its key; a key entry is no variable."""
    text = sealed("# top\n\nA=1\nB=''\n") + "C=plain\nD=\nexport E\n"
    found = survey(text)
    assert [(v.name, v.state, v.line) for v in found.variables] == [
        ("A", "sealed", 4),
        ("B", "sealed", 5),
        ("C", "plain", 6),
        ("D", "plain", 7),
        ("E", "bare", 8),
    ]
    (entry,) = found.entries
    assert [v.kid for v in found.variables] == [entry.kid, entry.kid, None, None, None]
    assert entry.context == (("stage", "x"),)
    assert all(parse(text).bindings[v.index].name == v.name for v in found.variables)
    assert not found.problems
    assert not found.warnings


def test_damaged_and_unopenable():
    """A sealed value that is cut, quoted into a text or newer is damaged; one without its entry is unopenable."""
    entry, line = sealed("A=1\n").splitlines()
    value = line.removeprefix("A=")
    assert states(
        f"{entry}\nA={value[:-30]}\nB='x {value}'\nC={value.replace(':1:', ':2:')}\nD={value}\n"
    ) == {
        "A": "damaged",
        "B": "damaged",
        "C": "damaged",
        "D": "sealed",
    }
    (gone,) = survey(line + "\n").variables
    assert (gone.state, gone.problem) == ("unopenable", f"its key entry ENCENV_KEY_{gone.kid} is missing")
    found = survey(f"{entry[:-3]}!\n{line}\n")
    assert found.variables[0].problem == f"its key entry ENCENV_KEY_{gone.kid} is malformed"
    assert found.problems[0].line == 1


def test_entries_that_disagree_or_were_renamed():
    """Two entries of one KID with other commitments, and an entry in another case, are problems."""
    entry, line = sealed("A=1\n").splitlines()
    name, _, value = entry.partition("=")
    found = survey(f"{name.lower()}={value}\n{line}\n")
    assert [remark.text for remark in found.problems] == [
        f"{name.lower()} is a key entry whose name was changed in case"
    ]
    assert found.variables[-1].state == "unopenable"
    assert survey(f"{entry}\n{entry}\n{line}\n").problems == ()


def test_alike_names():
    """Names that differ in case alone are warned of where both are sealed, and only there."""
    assert len(survey(sealed("foo=1\nFOO=2\nBar=3\n")).warnings) == 1
    assert not survey(sealed("foo=1\n") + "FOO=2\n").warnings
    assert not survey(sealed("foo=1\nfoo=2\n")).warnings


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("# SECRET=abc", ["SECRET"]),
        ("#SECRET = abc # old", ["SECRET"]),
        ("  ## export SECRET='abc'", ["SECRET"]),
        ("\n\n# SECRET=abc", ["SECRET"]),
        ("A=1 # SECRET=abc", ["SECRET"]),
        ("A='1 # B=2' # SECRET=abc", ["SECRET"]),
        ("A='# B=2'", []),
        ("# SECRET=", []),
        ("# SECRET=<your secret>", []),
        ("# SECRET=''", []),
        ("# SECRET=...", []),
        ("# SECRET=xxxx", []),
        ("# set SECRET=abc in production", []),
        ("# see https://example.com/?a=b", []),
        ("# SECRET=encenv:1:AAAAAAAA:AAAA", []),
        ("# SECRET=encenv:1:AAAAAAAA:AAAA # B=abc", ["B"]),
        ("# SECRET=encenv:1: abc", ["SECRET"]),
        ("# SECRET=#abc", ["SECRET"]),
        ("# SECRET= # abc", []),
        ("# - `SECRET=abc`", ["SECRET"]),
        ("// # ; SECRÉT=abc", ["SECRÉT"]),
        ("# --secret=abc", []),
        ("A=1 # was A=abc", ["A"]),
        ("A=1\n# until May: A=abc", ["A"]),
        ("A=1 # set A=<secret> first, or A=..., if A==1", []),
        ("A=1 # https://example.com/?A=b", []),
        ('A="\\t1" # SECRET=abc', ["SECRET"]),
        ("A= # SECRET=abc", ["SECRET"]),
        ("A # SECRET=abc", ["SECRET"]),
        ("A='1\n# B=2\n' # SECRET=abc", ["SECRET"]),
        ("A=1#SECRET=abc", []),
    ],
)
def test_commented_out(line, names):
    """An assignment in a comment is found where it has a value; prose and placeholders are not."""
    assert [name for name, _ in survey(line + "\n").commented] == names


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_private_keys(newline):
    """The text of a private key is found by its line: in a value, a comment or a line that cannot be parsed."""
    lines = [
        "A=1",
        f'KEY="{PEM}',
        'MII"',
        f"# {PEM}",
        "-----BEGIN PUBLIC KEY-----",
        "X=LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t",
        "# AGE-SECRET-KEY-1ABC",
        "X=LS0tLS1CRUdJTiBEU0EgUFJJVkFURSBLRVktLS0tLQ",
        "# PuTTY-User-Key-File-3: ssh-rsa",
    ]
    assert survey(newline.join(lines)).private_keys == (2, 4, 6, 7, 8, 9)


def test_local_key_beside_values():
    """A local key in the file is a problem, and its text a private key."""
    found = survey(f"ENCENV_LOCAL_KEY={generate_key_text()}\n")
    assert [remark.line for remark in found.problems] == [1]
    assert found.private_keys == (1,)


def test_size_is_that_of_the_json_object():
    """Sizes are what AWS Lambda measures: one JSON object of the last value of each name, key entries included."""
    text = sealed('A=1\nB="x\\"y"\n') + 'C=ü\nC="line\\nline"\nD\n'
    expected = {b.name: b.value for b in parse(text).bindings if b.name and b.value is not None}
    size = len(json.dumps(expected, separators=(",", ":"), ensure_ascii=False).encode())
    assert survey(text).size == size
    assert survey(text).left == 4096 - size
    assert measure([]) == len("{}")


def test_no_fact_holds_a_value():
    """Nothing of a survey shows what a variable says."""
    text = "A=hunter2\n# B=hunter2\nENCENV_LOCAL_KEY=hunter2\n'hunter2\nC='encenv:1:hunter2'\n"
    assert "hunter2" not in repr(survey(text))


@pytest.mark.parametrize(
    ("name", "is_piece"),
    [
        ("KEY", False),
        ("2FA_SECRET", False),
        ("oauth2ClientSecretKey", False),
        ("A_VERY_LONG_NAME_OF_2026_WITH_10_WORDS", False),
        ("SERVICEACCOUNTKEY2048BITS", False),
        ("MIICdQIBADANBgkqhkiG9w0BAQEFAASCAl8wggJbAgEAAoGBAKrH3KsCr", True),
        ("vKdj3zRiy+dOggWoE5aBFtxPyPYyWhfpLwMUuM6CQauYGlJF0OZ0Wpn/", True),
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", True),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", True),
        ("postgres://user:hunter2@host/db?sslmode", True),
    ],
)
def test_a_piece_of_a_secret_is_no_name(name, is_piece):
    """What reads like a piece of a secret that lost its quotes is a problem, also where its value is sealed."""
    for text in (f"{name}\n", f"{name}=1\n", f"{name}=encenv:1:AAAAAAAA:{'A' * 40}\n"):
        problems = survey(text).problems
        assert bool(problems) == is_piece
        assert name not in str(problems)
