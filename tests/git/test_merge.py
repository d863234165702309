"""encenv.git.merge applies the changes of both sides; only a variable that both changed is a conflict."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.env_texts import ENV_TEXTS

from encenv.errors import FileError
from encenv.files.document import parse, quote, with_value
from encenv.files.encrypt import encrypt
from encenv.files.inspect import inspect
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.format.cipher import KEY_BYTES
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, WrappedKey, claims, entry_kid
from encenv.git.merge import MergeResult, merge
from encenv.keys.local import TEXT_VARIABLE, LocalKeys, generate_key_text

KEYS = LocalKeys({TEXT_VARIABLE: generate_key_text()})
WRITER = Writer((KeyName("local", ""),), providers=[KEYS])

VALUES = st.text("abc'\"\\$ #\n{}=é", max_size=5)


def variables(text):
    """Return the variables of a text; the later line of one name wins."""
    return {b.name: b.value for b in parse(text).bindings if b.name}


def clean(base, ours, theirs):
    """Return what a merge without a conflict gives."""
    merged = merge(base, ours, theirs)
    assert merged.conflicts == ()
    return merged.text


def sealed(text):
    """Return a file's text encrypted."""
    return encrypt(text, WRITER).text


def entry(number, *references, context=()):
    """Return a key entry of the data key *number* with a wrapped copy for each reference, and its line."""
    key = DataKey(bytes([number]) * KEY_BYTES)
    items = tuple(WrappedKey("aws-kms", bytes([n]), reference(name)) for n, name in references)
    made = KeyEntry(key.commitment, context, items)
    return key, f"{made.name}={made}\n"


def reference(name):
    """Return an ARN that ends in *name*."""
    return f"arn:aws:kms:eu-west-1:123456789012:key/{name}"


@st.composite
def edits(draw):
    """Return a base, and for each side the new values of some variables (None: deleted)."""
    names = draw(st.lists(st.sampled_from("ABCDEFGHIJ"), unique=True, max_size=8))
    lines = []
    for name in names:
        lines += draw(st.lists(st.sampled_from(["", "# one", "# two", "  # three"]), max_size=2))
        lines.append(f"{name}={quote(draw(VALUES))}{draw(st.sampled_from(['', '  # beside']))}")
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    base = newline.join(lines) + draw(st.sampled_from([newline, ""]))
    change = st.dictionaries(st.sampled_from("ABCDEFGHIJKLMN"), st.none() | VALUES, max_size=5)
    return base, draw(change), draw(change)


def applied(text, changes):
    """Return *text* with *changes* made by the library's own editing."""
    file = parse(text)
    for name, value in changes.items():
        at = next((i for i, b in enumerate(file.bindings) if b.name == name), None)
        if value is None and at is not None:
            file = file.without({at})
        elif value is not None and at is None:
            file = file.append(name, value)
        elif value is not None and at is not None and file.bindings[at].value != value:
            file = file.replace({at: with_value(file.bindings[at], value)})
    return str(file)


@given(edits())
def test_disjoint_changes_are_both_applied(edits):
    """Changes of different variables merge without a conflict, to the same variables in either direction."""
    base, mine, others = edits
    others = {name: value for name, value in others.items() if name not in mine}
    ours, theirs = applied(base, mine), applied(base, others)
    both = variables(applied(applied(base, mine), others))
    assert variables(clean(base, ours, theirs)) == variables(clean(base, theirs, ours)) == both


@given(edits())
def test_only_the_same_variable_is_a_conflict(edits):
    """Exactly the variables that both sides changed, and differently, are in conflict."""
    base, mine, others = edits
    ours, theirs = applied(base, mine), applied(base, others)
    old, left, right = variables(base), variables(ours), variables(theirs)
    expected = {
        name
        for name in {*old, *left, *right}
        if left.get(name) != right.get(name) and old.get(name) not in (left.get(name), right.get(name))
    }
    merged = merge(base, ours, theirs)
    assert set(merged.conflicts) == expected
    assert merged.text.count("<<<<<<< ours") == merged.text.count(">>>>>>> theirs") <= len(expected)


@given(edits())
def test_every_other_byte_is_kept(edits):
    """Lines that neither side touched are in the result as they were, in their order, comments and newlines too."""
    base, mine, others = edits
    others = {name: value for name, value in others.items() if name not in mine}
    text = clean(base, applied(base, mine), applied(base, others))
    untouched = [
        b.text.rstrip("\r\n") for b in parse(base).bindings if b.name not in mine and b.name not in others
    ]
    position = 0
    for line in untouched:
        position = text.index(line, position) + len(line)


COMMENTS = st.sampled_from(["", "# one", "# two", "# three", "a line that cannot be parsed"])


@st.composite
def histories(draw):
    """Return the lines of a base and of two sides, with changed, moved and deleted variables and comments."""
    assignments = st.builds("{}={}".format, st.sampled_from("ABCDEFGH"), VALUES.map(quote))
    base = draw(st.lists(assignments, unique_by=lambda line: line[0], max_size=6))
    for comment in draw(st.lists(COMMENTS, max_size=4)):
        base.insert(draw(st.integers(0, len(base))), comment)
    sides = []
    for _ in range(2):
        side = list(base)
        for what in draw(st.lists(st.sampled_from(["set", "drop", "move", "say"]), max_size=4)):
            at = draw(st.integers(0, len(side)))
            if what == "set":
                line = draw(assignments)
                there = [i for i, one in enumerate(side) if one.startswith(line[:2])]
                side[there[0] if there else at : there[0] + 1 if there else at] = [line]
            elif what == "say":
                side.insert(at, draw(COMMENTS) + draw(st.sampled_from(["", " more"])))
            elif at < len(side):
                line = side.pop(at)
                if what == "move":
                    side.insert(draw(st.integers(0, len(side))), line)
        sides.append(side)
    return base, *sides


@given(histories(), st.sampled_from(["\n", "\r\n"]))
def test_whatever_both_did(lines, newline):
    """Each variable is merged as if it were alone, a conflict shows both sides, and no comment is lost."""
    texts = [newline.join([*side, ""]) for side in lines]
    old, left, right = map(variables, texts)
    merged = merge(*texts)
    sides = [
        variables(re.sub(r"<<<<<<< ours\r?\n|=======\r?\n(?:.|\n)*?>>>>>>> theirs\r?\n", "", merged.text)),
        variables(re.sub(r"<<<<<<< ours\r?\n(?:.|\n)*?=======\r?\n|>>>>>>> theirs\r?\n", "", merged.text)),
    ]
    for name in {*old, *left, *right}:
        was, mine, others = old.get(name), left.get(name), right.get(name)
        if name in merged.conflicts:
            assert [side.get(name) for side in sides] == [mine, others]
            continue
        assert mine == others or was in (mine, others)
        chosen = others if mine == was else mine
        assert [side.get(name) for side in sides] == [chosen, chosen]
    kept = {line for line in {*lines[1], *lines[2]} if line and "=" not in line}
    dropped = {line for line in lines[0] if line not in lines[1] or line not in lines[2]}
    assert kept - dropped <= set(merged.text.splitlines())


@given(ENV_TEXTS, ENV_TEXTS)
def test_one_side_alone(base, side):
    """If only one side changed anything, or both did the same, the result is that side, to the byte."""
    assert (
        merge(base, side, base) == merge(base, base, side) == merge(base, side, side) == MergeResult(side, ())
    )


@given(ENV_TEXTS, ENV_TEXTS, ENV_TEXTS)
def test_any_texts(base, ours, theirs):
    """Any texts are merged so that python-dotenv reads the result as its parts, or the error says why not."""
    try:
        merged = merge(base, ours, theirs)
    except FileError:
        return
    if not merged.conflicts:
        read = {(b.name, b.value) for b in parse(merged.text).bindings if b.name}
        sides = {(b.name, b.value) for text in (ours, theirs) for b in parse(text).bindings if b.name}
        assert read <= sides


def test_adjacent_lines():
    """Adjacent variables that each side changed, and lines that both appended, are not a conflict."""
    assert clean("A=1\nB=2\n", "A=x\nB=2\nN=1\n", "A=1\nB=y\nM=1\n") == "A=x\nB=y\nN=1\nM=1\n"


def test_the_same_variable():
    """Only variables that both changed are between markers; adjacent ones share them."""
    merged = merge("A=1\nB=1\nC=1\nD=1\n", "A=1\nB=2\nC=2\nD=4\n", "A=5\nB=3\nC=3\nD=1\n")
    assert merged.conflicts == ("B", "C")
    assert merged.text == "A=5\n<<<<<<< ours\nB=2\nC=2\n=======\nB=3\nC=3\n>>>>>>> theirs\nD=4\n"


def test_deleted_and_changed():
    """A variable that one side deleted and the other changed is a conflict in which one side is empty."""
    merged = merge("A=1\nB=1\n", "B=1\n", "A=2\nB=1\n", marker_size=9)
    assert merged.text == "<<<<<<<<< ours\n=========\nA=2\n>>>>>>>>> theirs\nB=1\n"


def test_both_added_the_file():
    """Without a common ancestor, lines of one side are added, and lines of both sides are there once."""
    text = "# shop\nA=1\n"
    assert clean("", text + "B=2\n", text + "C=3\n") == text + "B=2\nC=3\n"
    assert merge("", "A=1\n", "A=2\n").conflicts == ("A",)


def test_the_same_addition_with_its_comment():
    """A variable and its comment that both sides added, as by a cherry-pick, are there once."""
    added = "\n# mail\nMAIL=1\n"
    assert clean("A=1\n", "A=1\n" + added, "A=1\n" + added + "X=1\n") == "A=1\n" + added + "X=1\n"


def test_comments_stay_with_their_variables():
    """Lines that both sides add in one place keep their order, with comments and blank lines."""
    ours, theirs = "A=1\n\n# mail\nMAIL=1\nZ=1\n", "A=1\n\n# search\nSEARCH=1\nZ=1\n"
    assert clean("A=1\nZ=1\n", ours, theirs) == "A=1\n\n# mail\nMAIL=1\n\n# search\nSEARCH=1\nZ=1\n"


def test_equal_comments():
    """If each side removed another of two equal comments, one of them stays."""
    base = "# one\nA=1\nB=2\n# one\n"
    assert clean(base, "A=1\nB=2\n# one\n", "# one\nA=1\nB=2\n") == "A=1\nB=2\n# one\n"
    assert clean(base, "A=3\nB=2\n", "# one\nA=1\nB=2\n") == "A=3\nB=2\n"


def test_moved_lines():
    """A variable that one side moved and the other changed is in the new place with the new value."""
    assert clean("A=1\nB=2\nC=3\n", "C=3\nA=1\nB=2\n", "A=1\nB=2\nC=4\n") == "C=4\nA=1\nB=2\n"
    assert clean("A=1\nB=2\nC=3\n", "A=1\nB=2\nC=4\n", "C=3\nA=1\nB=2\n") == "C=4\nA=1\nB=2\n"


def test_newlines_and_marks():
    """A change of all newlines, or of the byte order mark, is merged with changes of values."""
    assert clean("A=1\nB=2\n", "A=1\r\nB=2\r\n", "A=1\nB=3\n") == "A=1\r\nB=3\r\n"
    assert clean("A=1\nB=2", "\ufeffA=1\nB=2", "A=1\nB=3") == "\ufeffA=1\nB=3"
    assert clean("A=1", "A=1\nB=2", "A=1\nC=2") == "A=1\nB=2\nC=2"


def test_open_quote():
    """An open quote that would swallow lines of the other side is an error."""
    with pytest.raises(FileError, match="cannot be merged by variable"):
        merge("Z=1\n", "A='x\nZ=1\n", "Z=1\nB='y'\n")


def test_two_data_keys():
    """If both sides added a data key, each key entry is directly above the first value that needs it."""
    ours, theirs = "A=plain\n" + sealed("N=1\n"), "A=plain\n" + sealed("M=1\n")
    lines = clean("A=plain\n", ours, theirs).splitlines()
    assert [line.partition("=")[0][:10] for line in lines] == ["A", "ENCENV_KEY", "N", "ENCENV_KEY", "M"]


def test_rotated_and_added():
    """If one side rotated and the other added a value, the key entry that the new value needs comes back."""
    base = sealed("A=1\nB=2\n")
    ours = sealed("A=1\nB=2\n")
    theirs = encrypt(base + "C=3\n", WRITER).text
    text = clean(base, ours, theirs)
    (old,) = (line for line in base.splitlines() if line.startswith("ENCENV_KEY_"))
    assert text.splitlines()[:3] == ours.splitlines()
    assert text.splitlines()[3:] == [old, theirs.splitlines()[3]]
    assert clean(base, theirs, ours).count("ENCENV_KEY_") == 2


def test_rotated_and_changed():
    """If one side rotated and the other changed a value, either choice in the conflict has its key entry."""
    base, ours = (sealed("A=1\nB=2\n") for _ in range(2))
    theirs = encrypt(re.sub("^B=.*", "B=3", base, flags=re.MULTILINE), WRITER).text
    for merged in (merge(base, ours, theirs), merge(base, theirs, ours)):
        assert merged.conflicts == ("B",)
        for choice in (
            r"<<<<<<< ours\n|=======\n(?:.|\n)*>>>>>>> theirs\n",
            r"<<<<<<< ours\n(?:.|\n)*=======\n|>>>>>>> theirs\n",
        ):
            found = inspect(re.sub(choice, "", merged.text))
            assert [one.state for one in found.variables] == ["sealed", "sealed"]


def test_rotated_twice():
    """If both sides rotated, one conflict has the key entry of each side above its values."""
    base, ours, theirs = (sealed("A=1\nB=2\n") for _ in range(3))
    merged = merge("Z=1\n" + base, "Z=1\n" + ours, "Z=1\n" + theirs)
    assert merged.conflicts == ("A", "B")
    assert merged.text == f"Z=1\n<<<<<<< ours\n{ours}=======\n{theirs}>>>>>>> theirs\n"


def test_wrapped_copies_add_up():
    """A key entry gets the wrapping keys that both sides added, and loses the one that one side removed."""
    key, base = entry(1, (1, "one"), (2, "two"))
    value = f"A={key.encrypt('A', 'x')}\n"
    _, ours = entry(1, (1, "one"), (2, "two"), (3, "three"))
    _, theirs = entry(1, (9, "one"), (4, "four"))
    _, both = entry(1, (9, "one"), (3, "three"), (4, "four"))
    assert clean(base + value, ours + value, theirs + value) == both + value


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (entry(1, (2, "two"))[1], entry(1, (1, "one"))[1]),  # nobody could open it
        (
            entry(1, (1, "one"), (2, "two"), context=(("a", "1"),))[1],
            entry(1, (1, "one"), (2, "two"), (3, "three"))[1],
        ),
    ],
    ids=["nothing left", "another context"],
)
def test_entries_that_do_not_add_up(ours, theirs):
    """A key entry whose two sides cannot be merged is a conflict like any other."""
    key, base = entry(1, (1, "one"), (2, "two"))
    value = f"A={key.encrypt('A', 'x')}\n"
    merged = merge(base + value, ours + value, theirs + value)
    assert [entry_kid(name) for name in merged.conflicts] == [key.kid]
    assert not any(claims(line) for line in merged.text.splitlines())
