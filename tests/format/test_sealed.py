"""Test that the parser, which is written by hand, accepts what the grammar of the specification accepts."""

import re
from base64 import urlsafe_b64decode

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from encenv.errors import MalformedError
from encenv.format.sealed import (
    KeyEntry,
    SealedValue,
    WrappedKey,
    aws_region,
    b64encode,
    entry_kid,
    is_region,
    kid_of,
)

# FORMAT.md, as regular expressions.
KID = "[A-Z2-7]{8}"
ALPHABET = "[A-Za-z0-9_.:/-]"
SEALED = re.compile(rf"encenv:1:{KID}:[A-Za-z0-9_-]*")
REGION = re.compile("(?:[a-z]+-){2,3}[0-9]+")
ARN = re.compile(rf"arn:(aws|aws-[a-z0-9-]+):kms:({REGION.pattern}):[0-9]{{12}}:key/[A-Za-z0-9-]{{1,128}}")
ITEM = re.compile(rf"[a-z][a-z0-9-]{{0,31}}:[A-Za-z0-9_-]+:{ALPHABET}{{1,512}}")
PAIR = re.compile(rf"{ALPHABET}{{1,128}}={ALPHABET}{{1,384}}")

COMMITMENT = bytes(32)
LOCAL = WrappedKey("local", bytes(60), "A" * 8)
ARN_OF_A_KEY = "arn:aws:kms:us-east-1:111122223333:key/mrk-0"


def near(*texts):
    """Return a strategy of *texts*, some with a character removed, added or changed."""
    strange = st.sampled_from([*"Aa09:-_/.=+ \n\0é²Ⅷ", "", "٣"])

    @st.composite
    def changed(draw):
        text = draw(st.sampled_from(texts))
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.integers(0, len(text)))
            text = text[:place] + draw(strange) + text[place + draw(st.integers(0, 1)) :]
        return text

    return changed()


def parses(parse, *args):
    """Return whether *parse* accepts the text."""
    try:
        parse(*args)
    except MalformedError:
        return False
    return True


@given(near("us-east-1", "us-gov-west-1", "eu-isoe-west-12", "us-1", "a-b-c-d-1", "ap--1", ""))
def test_a_region(text):
    """The parser accepts the names of AWS regions, and nothing else."""
    assert is_region(text) == bool(REGION.fullmatch(text))


@given(
    near(
        ARN_OF_A_KEY,
        "arn:aws-us-gov:kms:us-gov-west-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "arn:aws-:kms:us-east-1:111122223333:key/a",
        f"arn:aws:kms:us-east-1:111122223333:key/{'a' * 128}",
        "arn:aws:kms:us-east-1:111122223333:alias/a",
    )
)
def test_an_arn(text):
    """The parser returns the region of a key's full ARN, and accepts nothing else."""
    match = ARN.fullmatch(text)
    if match is None:
        with pytest.raises(MalformedError):
            aws_region(text)
    else:
        assert aws_region(text) == match[2]


@given(near("ENCENV_KEY_ABCDEFG7", "ENCENV_KEY_", "encenv_key_ABCDEFG7", "ENCENV_KEY_ABCDEFG"))
def test_the_name_of_an_entry(name):
    """The parser finds the KID in the name of a key entry, and in no other name."""
    match = re.fullmatch(f"ENCENV_KEY_({KID})", name)
    assert entry_kid(name) == (match[1] if match else None)


@given(
    near("encenv:1:ABCDEFG7:" + "A" * 40, "encenv:1:ABCDEFG7:", "encenv:1:ABCDEFG7", "encenv:2:ABCDEFG7:AAAA")
)
@example("encenv:1:ABCDEFG7:" + "A" * 39)
def test_a_sealed_value(text):
    """The parser refuses each text that the grammar refuses. Of the others it refuses those that are cut off."""
    assume(re.match("encenv:[0-9]", text))
    why = ""
    try:
        assert str(SealedValue.parse(text)) == text
    except MalformedError as error:
        why = error.message
    assert (not why or "cut off" in why) == bool(SEALED.fullmatch(text))


@given(
    near(
        "plug-in:AAAA:ref/1",
        f"a{'b' * 31}:AA:{'r' * 512}",
        f"a{'b' * 32}:AA:r",
        f"a:AA:{'r' * 513}",
        "a:AA",
        "a::r",
        "a",
    )
)
def test_an_item(text):
    """The parser accepts each wrapped copy of an unknown provider that the grammar accepts."""
    assume("+" not in text and not text.startswith(("context:", "aws-kms:", "local:")))
    is_canonical = ITEM.fullmatch(text) and b64encode_again(text.split(":")[1])
    assert parses_entry(str(LOCAL), text) == bool(is_canonical)


@given(near("stage=prod", f"{'k' * 128}={'v' * 384}", f"{'k' * 129}=v", f"k={'v' * 385}", "k=", "=v", "k"))
def test_a_pair(text):
    """The parser accepts each pair of an encryption context that the grammar accepts."""
    assume("+" not in text and not text.lower().startswith(("encenv", "aws:")))
    assert parses_entry(f"context:{text}", str(LOCAL)) == bool(PAIR.fullmatch(text))


def parses_entry(*items):
    """Return whether an entry with *items* parses."""
    return parses(KeyEntry.parse, kid_of(COMMITMENT), "+".join([f"1:{b64encode(COMMITMENT)}", *items]))


def b64encode_again(text):
    """Return whether encoding the bytes of *text* gives *text*."""
    return len(text) % 4 != 1 and b64encode(urlsafe_b64decode(text + "=" * (-len(text) % 4))) == text
