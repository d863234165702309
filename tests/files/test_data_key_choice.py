"""encenv.files.data_key_choice: under which data key a writer encrypts, and which ones it does not trust."""

import dataclasses

import pytest
from support.canary import CANARY, assert_silent, caught
from support.encrypted_files import (
    CONTEXT,
    KEY_ID,
    KEY_TEXT,
    KEYS,
    LOCAL,
    MINE,
    OTHER_ID,
    OTHER_KEYS,
    OTHER_TEXT,
    UNNAMED,
    decrypted,
    entries,
    kids,
    lines,
    lines_of,
)

from encenv import (
    AuthenticationError,
    ConflictError,
    KeyRefusedError,
    KeyUnreachableError,
    LocalKeys,
    MalformedError,
    PolicyError,
    clear_cache,
    decrypt_environ,
)
from encenv.files.edit import set_value
from encenv.files.encrypt import encrypt, reencrypt
from encenv.files.key_names import KeyName
from encenv.files.writer import Writer
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, encryption_context

pytest_plugins = ["encenv.testing"]

MARK = ("encenv-add", "1")


# --- local keys ---------------------------------------------------------------------------------------------------


def test_a_planted_entry_is_not_used():
    """An entry under another wrapping key, even with a value of its own, is not used: a new data key is made."""
    plant = lines_of("PLANTED", "x", provider=OTHER_KEYS)
    outcome = encrypt(plant + "A=secret\n", dataclasses.replace(LOCAL, keys=(MINE,)))
    assert outcome.is_new
    assert [item.reference for item in outcome.entry.items] == [KEY_ID]
    assert outcome.text.startswith(plant)
    assert kids(outcome.text)["A"] != kids(outcome.text)["PLANTED"]


def test_a_planted_copy_is_not_used():
    """A data key that is also wrapped under a key that is not named is not used, in one entry or in two."""
    key = DataKey.generate()
    mine, foreign = (
        provider.wrap(key.expose_key(), "", encryption_context(())) for provider in (KEYS, OTHER_KEYS)
    )
    writer = dataclasses.replace(LOCAL, keys=(MINE,))
    for text in (
        lines_of("P", "x", mine, foreign, key=key),
        lines_of("P", "x", mine, key=key) + lines_of("Q", "x", foreign, key=key),
    ):
        outcome = encrypt(text + "A=secret\n", writer)
        assert outcome.is_new
        assert kids(outcome.text)["A"] != key.kid
    alone = encrypt(lines_of("P", "x", mine, key=key) + "A=secret\n", writer)
    assert kids(alone.text)["A"] == key.kid


def test_an_entry_without_values_is_not_used():
    """An entry without values proves nothing, even under the right wrapping key; it is not parsed either."""
    entry = lines_of("P", "x").splitlines(keepends=True)[0]
    outcome = encrypt(entry + "ENCENV_KEY_AAAAAAAA=nonsense\nA=1\n", LOCAL)
    assert outcome.is_new
    with pytest.raises(PolicyError, match="no key is named"):
        encrypt(entry + "A=1\n", UNNAMED)


def test_entries_of_one_data_key_add_up():
    """Two entries with one data key are one data key, as for a reader; with different data keys they conflict."""
    key = DataKey.generate()
    foreign = OTHER_KEYS.wrap(key.expose_key(), "", encryption_context(()))
    text = lines_of("A", "1", foreign, key=key) + lines_of("B", "2", key=key)
    both = dataclasses.replace(LOCAL, keys=(KeyName("local", KEY_ID), KeyName("local", OTHER_ID)))
    outcome = encrypt(text + "C=3\n", both)
    assert not outcome.is_new
    assert kids(outcome.text) == dict.fromkeys("ABC", key.kid)
    assert decrypted(outcome.text) == {"A": "1", "B": "2", "C": "3"}
    other = KeyEntry(key.commitment[:5] + bytes(27), (), entries(text)[0].items)
    with pytest.raises(ConflictError, match="different data keys"):
        encrypt(f"{text}{other.name}={other}\nC=3\n", both)


def test_a_value_that_does_not_open_stops_the_writer():
    """If values under the data key do not decrypt, nothing is written, and all of them are named."""
    text = encrypt("A=1\nB=2\nC=3\n", LOCAL).text
    broken = text.replace("\nA=", "\nX=").replace("\nB=", "\nY=")
    for function in (encrypt, reencrypt):
        error = caught(lambda function=function: function(f"{broken}D={CANARY}\n", LOCAL))
        assert isinstance(error, AuthenticationError)
        assert error.variables == ("X", "Y")
        assert_silent(error, CANARY)


def test_two_data_keys_under_one_wrapping_key():
    """If the first of several data keys cannot be unwrapped, the next one that the rule permits is used."""
    lost = lines_of("A", "1", provider=OTHER_KEYS)
    mine = lines_of("B", "2")
    outcome = encrypt(lost + mine + "C=3\n", LOCAL)
    assert kids(outcome.text)["C"] == kids(outcome.text)["B"]
    with pytest.raises(KeyUnreachableError, match=OTHER_ID):
        encrypt(lost + "C=3\n", LOCAL)


def test_a_changed_entry_stops_the_writer():
    """If an entry does not unwrap although nobody denies it, it was changed: no second one is made beside it."""
    text = encrypt("A=1\n", dataclasses.replace(LOCAL, context=CONTEXT)).text
    changed = text.replace("context:stage=prod", "context:stage=test") + "B=2\n"
    for writer in (LOCAL, UNNAMED):
        with pytest.raises(KeyRefusedError, match="was changed"):
            encrypt(changed, writer)
    other = dataclasses.replace(LOCAL, context=CONTEXT)
    assert dict(encrypt(changed, other).entry.context) == {"stage": "prod"}


def test_keys_are_never_chosen_silently():
    """If no key is named, the file's only one is used; otherwise the user has to choose."""
    with pytest.raises(PolicyError, match=r"none in config/\.env") as none:
        encrypt("A=1\n", UNNAMED, "config/.env")
    assert "encenv keygen && encenv encrypt --key local config/.env" in none.value.hint
    assert "encenv encrypt --key alias/NAME config/.env" in none.value.hint
    two = lines_of("A", "1") + lines_of("B", "2", provider=OTHER_KEYS) + "C=3\n"
    for function in (encrypt, reencrypt):
        with pytest.raises(ConflictError, match="more than one key"):
            function(two, UNNAMED)
    contexts = lines_of("A", "1", context=CONTEXT) + lines_of("B", "2") + "C=3\n"
    for function, writer in ((encrypt, UNNAMED), (encrypt, LOCAL), (reencrypt, UNNAMED)):
        with pytest.raises(ConflictError, match="more than one encryption context"):
            function(contexts, writer)
    chosen = encrypt(contexts, dataclasses.replace(UNNAMED, context=CONTEXT))
    assert kids(chosen.text)["C"] == kids(chosen.text)["A"]


def test_another_context_is_another_data_key():
    """A context that is not the file's makes a new data key; without one, the file's own is used."""
    text = encrypt("A=1\n", dataclasses.replace(LOCAL, context=CONTEXT)).text
    assert entries(text)[0].context == CONTEXT
    assert not encrypt(text + "B=2\n", LOCAL).is_new
    assert not encrypt(text + "B=2\n", dataclasses.replace(LOCAL, context=CONTEXT)).is_new
    for context in ((), (("stage", "dev"),), (*CONTEXT, ("app", "web"))):
        outcome = encrypt(text + "B=2\n", dataclasses.replace(LOCAL, context=context))
        assert outcome.is_new
        assert {*outcome.entry.context} == {*context}
        assert decrypted(outcome.text) == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    "context", [(("encenv", "2"),), (("aws:x", "1"),), (("a", ""),), (("a", "ü"),), (("a", "1"), ("A", "2"))]
)
def test_a_context_outside_the_format_is_refused(context):
    """A context that readers would refuse is never written."""
    with pytest.raises(MalformedError, match="encryption context"):
        encrypt("A=1\n", dataclasses.replace(LOCAL, context=context))


@pytest.mark.parametrize("text", ["", "nothing", "local:", ":x", "http", "arn", "alias"])
def test_a_text_that_names_no_key(text):
    """A text that is none of the forms of a key name is refused."""
    with pytest.raises(MalformedError, match="does not name a key"):
        KeyName.parse(text)


def test_names_of_wrapping_keys():
    """Each form of a key name is parsed."""
    arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    assert KeyName.parse("local") == KeyName("local", "")
    assert KeyName.parse("local:AAAAAAAA") == KeyName("local", "AAAAAAAA")
    assert KeyName.parse(arn) == KeyName("aws-kms", arn) == KeyName.parse(f"aws-kms:{arn}")
    assert KeyName.parse("alias/prod") == KeyName("aws-kms", "alias/prod")
    assert KeyName.parse("vault:secret/app") == KeyName("vault", "secret/app")


def test_a_wrapping_key_of_an_unknown_provider():
    """The error names a provider that is not installed, and says what to do."""
    with pytest.raises(KeyRefusedError, match="no key provider is called vault"):
        encrypt("A=1\n", dataclasses.replace(LOCAL, keys=(KeyName("vault", "x"),)))


# --- AWS KMS ------------------------------------------------------------------------------------------------------


def kms_writer(*keys, **options):
    """Return a writer for wrapping keys in AWS KMS."""
    return Writer(tuple(KeyName.parse(key) for key in keys), **options)


def test_an_alias_is_the_key_that_it_means(encenv_kms):
    """An alias of the entry's key reuses its data key; an alias of another key does not."""
    arn = encenv_kms.create_key(alias="alias/app")
    encenv_kms.create_key(alias="alias/other")
    text = encrypt("A=1\n", kms_writer("alias/app")).text
    assert [item.reference for item in entries(text)[0].items] == [arn]
    for name in ("alias/app", arn, arn.split(":key/")[0] + ":alias/app"):
        assert not encrypt(text + "B=2\n", kms_writer(name)).is_new, name
    assert not encrypt(text + "B=2\n", kms_writer()).is_new
    assert encrypt(text + "B=2\n", kms_writer("alias/other")).is_new


def test_one_call_to_kms(encenv_kms, encenv_kms_key):
    """Reusing a data key costs one Decrypt, a new one costs one GenerateDataKey, and no change costs nothing."""
    text = encrypt("A=1\nB=2\n", kms_writer(encenv_kms_key)).text
    assert [call.operation for call in encenv_kms.calls] == ["GenerateDataKey"]
    encenv_kms.clear()
    encrypt(text + "C=3\nD=4\n", kms_writer(encenv_kms_key))
    assert [call.operation for call in encenv_kms.calls] == ["Decrypt"]
    encenv_kms.clear()
    encrypt(text, kms_writer(encenv_kms_key))
    assert encenv_kms.calls == []


def test_a_contributor_adds_under_a_new_data_key(encenv_kms):
    """With Decrypt denied, a new entry marked encenv-add=1 is made with the file's context, and never used again."""
    arn = encenv_kms.create_key(alias="alias/app")
    text = encrypt("A=1\n", kms_writer(arn, context=CONTEXT)).text
    encenv_kms.deny("Decrypt")
    for number, name in enumerate((arn, "alias/app", None)):
        outcome = encrypt(f"{text}N{number}=x\n", kms_writer(*[name] if name else ()))
        assert outcome.is_new
        assert {*outcome.entry.context} == {*CONTEXT, MARK}
        assert encenv_kms.calls[-1].context == {"encenv": "1", "stage": "prod", "encenv-add": "1"}
        text = outcome.text
    assert len(entries(text)) == 4
    encenv_kms.heal()
    contributed = {entry.kid for entry in entries(text) if MARK in entry.context}
    outcome = encrypt(text + "B=2\n", kms_writer(arn))
    assert not outcome.is_new
    assert kids(outcome.text)["B"] == kids(outcome.text)["A"]
    assert decrypt_environ(lines(outcome.text)) == {"A": "1", "N0": "x", "N1": "x", "N2": "x", "B": "2"}
    alone = "".join(
        line for line in text.splitlines(keepends=True) if kids(text)["A"] not in line.split("+")[0]
    )
    outcome = encrypt(alone + "B=2\n", kms_writer(arn))
    assert outcome.is_new
    assert outcome.entry.context == CONTEXT
    assert kids(outcome.text)["B"] not in contributed
    with pytest.raises(PolicyError, match="contributors added all values"):
        encrypt(alone + "B=2\n", kms_writer())
    merged = reencrypt(outcome.text, kms_writer(arn))
    assert entries(merged.text) == [merged.entry]
    assert merged.entry.context == CONTEXT


def test_a_contributor_may_only_make_marked_data_keys(encenv_kms, encenv_kms_key):
    """If the key policy permits only marked data keys, one is made."""
    maintained = encrypt("A=1\n", kms_writer(encenv_kms_key)).text
    encenv_kms.deny("Decrypt")
    encenv_kms.deny("GenerateDataKey", unless_context={"encenv-add": "1"})
    for text in ("", maintained):
        outcome = encrypt(text + "B=2\n", kms_writer(encenv_kms_key))
        assert outcome.entry.context == (MARK,)
    encenv_kms.deny()
    with pytest.raises(KeyRefusedError, match=r"GenerateDataKey.*AccessDeniedException"):
        encrypt("B=2\n", kms_writer(encenv_kms_key))


def test_a_changed_kms_entry_stops_the_writer(encenv_kms, encenv_kms_key):
    """A refusal for another reason than a denial may mean a changed entry: nothing is encrypted under its key."""
    text = encrypt("A=1\n", kms_writer(encenv_kms_key, context=CONTEXT)).text
    encenv_kms.clear()
    for writer in (kms_writer(), kms_writer(encenv_kms_key)):
        with pytest.raises(KeyRefusedError, match="InvalidCiphertextException"):
            encrypt(text.replace("stage=prod", "stage=dev") + "B=2\n", writer)
    assert encenv_kms.count("GenerateDataKey") == 0


def test_an_outage_makes_no_second_data_key(encenv_kms, encenv_kms_key):
    """If KMS does not answer, the file stays as it is: only a denial makes a contributor's entry."""
    text = encrypt("A=1\n", kms_writer(encenv_kms_key)).text
    encenv_kms.fail("Decrypt")
    with pytest.raises(KeyUnreachableError):
        encrypt(text + "B=2\n", kms_writer(encenv_kms_key))


@pytest.mark.parametrize("failing", ["junk", "denied"])
def test_only_a_denial_makes_a_contributor(encenv_kms, encenv_kms_key, failing):
    """A denial makes a contributor; if one wrapped key is also damaged, the entry was changed and nothing is written."""
    other = encenv_kms.create_key()
    both = Writer((KeyName.parse(encenv_kms_key), KeyName.parse(other)))
    text = encrypt("A=1\n", both).text
    (entry,) = entries(text)
    if failing == "junk":
        items = (entry.items[0], entry.items[1]._replace(wrapped=bytes(184)))
        text = text.replace(str(entry), str(entry._replace(items=items)))
        encenv_kms.deny("Decrypt", key=encenv_kms_key)
        clear_cache()
        error = caught(lambda: set_value(text, "B", "2", both))
        assert type(error) is KeyRefusedError
    else:
        encenv_kms.deny("Decrypt")
        assert ("encenv-add", "1") in set_value(text, "B", "2", both).entry.context


def test_several_wrapping_keys(encenv_kms, encenv_kms_key):
    """Each of several wrapping keys opens the data key alone; the data key is reused only if all are named."""
    text = encrypt("A=1\n", kms_writer(f"local:{KEY_ID}", encenv_kms_key, providers=[KEYS])).text
    (entry,) = entries(text)
    assert [item.provider for item in entry.items] == ["local", "aws-kms"]
    for item in entry.items:
        clear_cache()
        alone = text.replace(str(entry), str(entry._replace(items=(item,))))
        provider = KEYS if item.provider == "local" else LocalKeys({"ENCENV_LOCAL_KEY": OTHER_TEXT})
        assert decrypted(alone, provider) == {"A": "1"}
    both = kms_writer("local", encenv_kms_key, providers=[KEYS])
    assert not encrypt(text + "B=2\n", both).is_new
    assert encrypt(text + "B=2\n", kms_writer("local", providers=[KEYS])).is_new
    assert encrypt(text + "B=2\n", kms_writer(encenv_kms_key)).is_new


def test_one_wrapping_key_named_twice(encenv_kms):
    """An alias and the ARN that it means are one wrapping key, so the entry has one wrapped key."""
    arn = encenv_kms.create_key(alias="alias/app")
    outcome = encrypt("A=1\n", kms_writer("alias/app", arn))
    assert [item.reference for item in outcome.entry.items] == [arn]


class RecordingKeys(LocalKeys):
    """Local keys that remember the data key they made."""

    def generate(self, key, context):
        """Make a data key, and tell."""
        RecordingKeys.data_key, item = super().generate(key, context)
        return RecordingKeys.data_key, item


def test_a_second_key_that_refuses_leaves_no_data_key_behind(encenv_kms, encenv_kms_key):
    """If one of several wrapping keys cannot be used, nothing is written and the error holds no key material."""
    encenv_kms.deny("Encrypt")
    writer = kms_writer("local", encenv_kms_key, providers=[RecordingKeys({"ENCENV_LOCAL_KEY": KEY_TEXT})])
    error = caught(lambda: encrypt(f"A={CANARY}\n", writer))
    assert isinstance(error, KeyRefusedError)
    assert_silent(error, CANARY, RecordingKeys.data_key)
