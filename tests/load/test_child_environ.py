"""The environment that `encenv run` gives to a program."""

import pytest
from support.canary import CANARY

from encenv import AuthenticationError, LocalKeys
from encenv.files.encrypt import encrypt
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.keys.local import generate_key_text, parse_keys
from encenv.load.child_environ import child_environ

KEY_TEXT = generate_key_text()
KEY = next(iter(parse_keys(KEY_TEXT, "here")))
ENVIRON = {"PATH": "/bin", "ENCENV_LOCAL_KEY": KEY_TEXT}


def encrypted(text):
    """Return the .env file *text* with all of its values encrypted under the local key."""
    writer = Writer(keys=(KeyName.parse(f"local:{KEY}"),), providers=(LocalKeys(ENVIRON),))
    return encrypt(text, writer).text


def test_what_a_child_gets():
    """It gets the decrypted variables, and neither key entries nor the local key."""
    files = [(encrypted(f"A={CANARY}\nB=1\n"), ".env")]
    assert child_environ(files, ENVIRON, override=False) == {"PATH": "/bin", "A": CANARY, "B": "1"}


@pytest.mark.parametrize(("override", "a"), [(False, "process"), (True, "late")])
def test_which_value_wins(override, a):
    """A later file wins over an earlier one; the process wins over both unless the files override it."""
    files = [
        (encrypted("A=early\nB=early\nC=early\n"), "one.env"),
        (encrypted("A=late\nB=late\n"), "two.env"),
    ]
    child = child_environ(files, {**ENVIRON, "A": "process"}, override=override)
    assert {name: child[name] for name in "ABC"} == {"A": a, "B": "late", "C": "early"}


def test_an_encrypted_process_variable():
    """Encrypted variables of the process are decrypted too."""
    lines = encrypted(f"A={CANARY}\n").split()
    process = dict(line.split("=", 1) for line in lines)
    assert child_environ([], {**ENVIRON, **process}, override=False) == {"PATH": "/bin", "A": CANARY}


def test_a_line_without_a_value():
    """A line without a value gives the child no variable."""
    assert child_environ([("A\nB=\n", ".env")], {}, override=False) == {"B": ""}


def test_only_values_of_the_child_are_decrypted():
    """A value that the process replaces need not decrypt; one that the child would get is an error without it."""
    text = encrypted(f"A={CANARY}\nB=1\n").replace("\nA=", "\nC=")
    files = [(text, ".env")]
    assert child_environ(files, {**ENVIRON, "C": "x"}, override=False)["C"] == "x"
    with pytest.raises(AuthenticationError, match=r"^C: ") as caught:
        child_environ(files, ENVIRON, override=False)
    assert CANARY not in str(caught.value)
