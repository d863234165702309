"""encenv.files.inspect: the facts about a file that need no key."""

import json

import pytest

from encenv import EncenvError
from encenv.files.document import parse
from encenv.files.encrypt import decrypt, encrypt
from encenv.files.inspect import inspect, measure
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.keys.local import TEXT_VARIABLE, generate_key_text

WRITER = Writer((KeyName("local", ""),), (("stage", "x"),), {TEXT_VARIABLE: generate_key_text()})
PEM = "-----BEGIN RSA PRIVATE KEY-----"


def sealed(text: str) -> str:
    """Return *text* with its values encrypted."""
    return encrypt(text, WRITER).text


def states(text: str) -> dict[str, str]:
    """Return the state of each variable of *text*."""
    return {variable.name: variable.state for variable in inspect(text).variables}


def test_states():
    """Each variable has its state, its line and its data key; a key entry is not a variable."""
    text = sealed("# top\n\nA=1\nB=''\n") + "C=plain\nD=\nexport E\n"
    facts = inspect(text)
    assert [(v.name, v.state, v.line) for v in facts.variables] == [
        ("A", "sealed", 4),
        ("B", "sealed", 5),
        ("C", "plain", 6),
        ("D", "plain", 7),
        ("E", "bare", 8),
    ]
    (entry,) = facts.entries
    assert [v.kid for v in facts.variables] == [entry.kid, entry.kid, None, None, None]
    assert entry.context == (("stage", "x"),)
    assert all(parse(text).bindings[v.index].name == v.name for v in facts.variables)
    assert not facts.problems
    assert not facts.warnings


def test_damaged_and_unopenable():
    """A sealed value that is cut off, inside a text or newer is damaged; one without its entry is unopenable."""
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
    (gone,) = inspect(line + "\n").variables
    assert (gone.state, gone.problem) == ("unopenable", f"its key entry ENCENV_KEY_{gone.kid} is missing")
    facts = inspect(f"{entry[:-3]}!\n{line}\n")
    assert facts.variables[0].problem == f"its key entry ENCENV_KEY_{gone.kid} is malformed"
    assert facts.problems[0].line == 1


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda value: f"{value[:-3]}!", "is malformed"),
        # The first 5 bytes of the commitment are the KID: an entry of another data key can have the same.
        (lambda value: f"{value[:12]}{'A' * 33}{value[45:]}", "contradicts another one"),
    ],
    ids=["malformed", "another data key"],
)
def test_a_second_key_entry_that_stops_a_load(change, fault, is_first):
    """A value with a good key entry and a bad one of the same KID counts as unopenable, since no program loads it."""
    entry, line = sealed("A=1\n").splitlines()
    name, _, value = entry.partition("=")
    entries = [entry, f"{name}={change(value)}"]
    text = "\n".join([*(reversed(entries) if is_first else entries), line, ""])
    facts = inspect(text)
    assert [(v.state, v.problem) for v in facts.variables] == [
        ("unopenable", f"its key entry {name} {fault}")
    ]
    assert facts.entries == ()
    assert [remark.line for remark in facts.problems] == [1 if is_first and "malformed" in fault else 2]
    with pytest.raises(EncenvError, match=name):
        decrypt(parse(text), WRITER.environ, lambda _: True)


def test_an_entry_in_another_case():
    """A key entry whose name is not in capitals is a problem, and its values cannot be decrypted; a copy is not."""
    entry, line = sealed("A=1\n").splitlines()
    name, _, value = entry.partition("=")
    facts = inspect(f"{name.lower()}={value}\n{line}\n")
    assert [remark.text for remark in facts.problems] == [
        f"{name.lower()} must be in capitals to be a key entry"
    ]
    assert facts.variables[-1].state == "unopenable"
    assert inspect(f"{entry}\n{entry}\n{line}\n").problems == ()


def test_names_that_differ_in_case():
    """Names that differ only in case get a warning, if both are encrypted."""
    assert len(inspect(sealed("foo=1\nFOO=2\nBar=3\n")).warnings) == 1
    assert not inspect(sealed("foo=1\n") + "FOO=2\n").warnings
    assert not inspect(sealed("foo=1\nfoo=2\n")).warnings


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
def test_commented_values(line, names):
    """An assignment in a comment is found if it has a value; prose and placeholders are not."""
    assert [name for name, _ in inspect(line + "\n").commented] == names


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_private_keys(newline):
    """The lines of private keys are found in values, in comments and in lines that cannot be parsed."""
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
    assert inspect(newline.join(lines)).private_keys == (2, 4, 6, 7, 8, 9)


def test_local_key_beside_values():
    """A local key in the file is a problem, and counts as a private key."""
    facts = inspect(f"ENCENV_LOCAL_KEY={generate_key_text()}\n")
    assert [remark.line for remark in facts.problems] == [1]
    assert facts.private_keys == (1,)


def test_size_is_that_of_the_json_object():
    """The size is what AWS Lambda measures: one JSON object with the last value of each name, key entries included."""
    text = sealed('A=1\nB="x\\"y"\n') + 'C=ü\nC="line\\nline"\nD\n'
    expected = {b.name: b.value for b in parse(text).bindings if b.name and b.value is not None}
    size = len(json.dumps(expected, separators=(",", ":"), ensure_ascii=False).encode())
    assert inspect(text).size == size
    assert measure([]) == len("{}")


def test_no_result_holds_a_value():
    """The repr of an inspection holds no value."""
    text = "A=hunter2\n# B=hunter2\nENCENV_LOCAL_KEY=hunter2\n'hunter2\nC='encenv:1:hunter2'\n"
    assert "hunter2" not in repr(inspect(text))


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
def test_a_name_that_looks_like_a_secret(name, is_piece):
    """A name that looks like a piece of a secret is a problem, also if its value is encrypted, and is not shown."""
    for text in (f"{name}\n", f"{name}=1\n", f"{name}=encenv:1:AAAAAAAA:{'A' * 40}\n"):
        problems = inspect(text).problems
        assert bool(problems) == is_piece
        assert name not in str(problems)
