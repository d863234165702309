"""encenv.decrypt_environ, and what every load promises: checks first, failures together, no value in an error."""

import io
import itertools
import logging
import os
import re
import time

import pytest
from support.canary import CANARY, assert_silent, assert_unsaid, caught, said_by

from encenv import (
    AuthenticationError,
    ConflictError,
    EncenvError,
    KeyEntryError,
    KeyRefusedError,
    KeyUnreachableError,
    LoadError,
    LocalKeys,
    MalformedError,
    PolicyError,
    clear_cache,
    decrypt_environ,
    dotenv_values,
)
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, WrappedKey, encryption_context
from encenv.keys.local import generate_key_text, parse_keys
from encenv.load.options import ReaderOptions
from encenv.load.reader_session import OPTIONS

KEY_TEXT, OTHER_TEXT = generate_key_text(), generate_key_text()
KEY_ID = next(iter(parse_keys(KEY_TEXT, "here")))
OTHER_KEYS = LocalKeys({"ENCENV_LOCAL_KEY": OTHER_TEXT})


class Counting(LocalKeys):
    """The local key; it counts its unwraps."""

    unwraps = 0

    def unwrap(self, item, context, timeout):
        """Count, and unwrap."""
        Counting.unwraps += 1
        return super().unwrap(item, context, timeout)


KEYS = Counting({"ENCENV_LOCAL_KEY": KEY_TEXT})
READ = {"key_providers": [KEYS]}


@pytest.fixture(autouse=True)
def fresh():
    """Each test begins without data keys and without a count."""
    clear_cache()
    Counting.unwraps = 0
    yield
    clear_cache()


def entry_of(key, *providers, context=()):
    """Return the key entry of *key*, wrapped by each of *providers*."""
    wrapped = [p.wrap(key.expose_key(), "", encryption_context(context)) for p in providers or [KEYS]]
    return KeyEntry(key.commitment, context, tuple(wrapped))


def sealed(context=(), **values):
    """Return *values* encrypted under a new data key, with its entry."""
    key = DataKey.generate()
    entry = entry_of(key, context=context)
    return {entry.name: str(entry)} | {name: key.encrypt(name, value) for name, value in values.items()}


def entry_name(variables):
    """Return the name of the key entry among *variables*."""
    return next(name for name in variables if name.startswith("ENCENV_KEY_"))


def refused(variables, **options):
    """Return the error with which *variables* are refused, having looked at how it reads."""
    error = caught(lambda: decrypt_environ(variables, **{**READ, **options}))
    assert isinstance(error, EncenvError), repr(error)
    for failure in (error, *error.failures):
        said = re.sub(r"^[^:a-z]+( and \d+ more)?: ", "", failure.message)
        assert re.match(r"[a-z]|\d+ variables|A and ENC_A|ENCENV_KEY_", said), said
        assert failure.hint[:1].islower(), failure.hint
        assert not failure.hint.endswith(".")
    return error


# --- the result --------------------------------------------------------------------------------------------------


def test_the_process_environment_stays_as_it_is(monkeypatch):
    """A decrypted copy of os.environ without any key, in its order; os.environ itself is not written."""
    monkeypatch.setenv("ENCENV_LOCAL_KEY", KEY_TEXT)
    for name, value in sealed(ZZ_SECRET="s3cret", ZZ_EMPTY="").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ZZ_PLAIN", "plain")
    before = dict(os.environ)
    found = decrypt_environ()
    assert dict(os.environ) == before
    keys = {"ENCENV_LOCAL_KEY", entry_name(before)}
    assert list(found) == [name for name in before if name not in keys]
    assert (found["ZZ_SECRET"], found["ZZ_EMPTY"], found["ZZ_PLAIN"]) == ("s3cret", "", "plain")
    found["ZZ_PLAIN"] = "changed"
    assert os.environ["ZZ_PLAIN"] == "plain"


def test_only_the_names_of_the_call_are_decrypted():
    """Other encrypted variables are left out, even broken ones, and their data keys are not unwrapped."""
    variables = sealed(A="one", B="two") | sealed(FOREIGN="x") | {"PLAIN": "p"}
    variables |= {"BROKEN": "encenv:1:x", "URL": f"postgres://{variables['A']}@db"}
    for names in (["A", "MISSING"], {"A"}, iter(["A"])):
        assert decrypt_environ(variables, names, **READ) == {"A": "one", "PLAIN": "p"}
    assert Counting.unwraps == 1
    assert decrypt_environ(variables, [], **READ) == {"PLAIN": "p"}
    assert refused(variables, names=["A", "BROKEN", "URL"]).variables == ("BROKEN", "URL")
    with pytest.raises(TypeError, match="list of names"):
        decrypt_environ(variables, "A", **READ)


def test_plaintext_needs_no_key():
    """A plaintext environment is copied: no provider is looked for, and no log record written."""
    assert decrypt_environ({"A": "1", "B": "encenv:", "C": "encenv:word"}, key_providers=[]) == {
        "A": "1",
        "B": "encenv:",
        "C": "encenv:word",
    }


def test_the_prefix_is_a_mapping_of_names():
    """With encrypted_prefix an encrypted ENC_NAME supplies NAME, bound to its own whole name; plain ones stay."""
    variables = sealed(ENC_A="one", ENC_ENC_B="two", ENC_="bare", C="three") | {"ENC_PLAIN": "p"}
    plain = {"ENC_A": "one", "ENC_ENC_B": "two", "ENC_": "bare", "C": "three", "ENC_PLAIN": "p"}
    assert decrypt_environ(variables, **READ) == plain
    assert decrypt_environ(variables, encrypted_prefix="", **READ) == plain
    mapped = {"A": "one", "ENC_B": "two", "ENC_": "bare", "C": "three", "ENC_PLAIN": "p"}
    assert decrypt_environ(variables, encrypted_prefix="ENC_", **READ) == mapped
    some = decrypt_environ(variables, ["A", "ENC_ENC_B"], encrypted_prefix="ENC_", **READ)
    assert some == {"A": "one", "ENC_ENC_B": "two", "ENC_PLAIN": "p"}
    renamed = {name.removeprefix("ENC_"): value for name, value in variables.items() if name != "ENC_"}
    assert refused(renamed).variables == ("A", "ENC_B")


def test_both_names_are_a_conflict():
    """NAME and an encrypted ENC_NAME in one source are an error that names both, if NAME is wanted."""
    variables = sealed(ENC_A="one") | {"A": "1", "B": "2"}
    for names in (None, ["A"]):
        error = refused(variables, encrypted_prefix="ENC_", names=names)
        assert isinstance(error, ConflictError)
        assert "A and ENC_A are both set" in error.message
    assert decrypt_environ(variables, ["B"], encrypted_prefix="ENC_", **READ) == {"A": "1", "B": "2"}
    both = decrypt_environ(variables, ["A", "ENC_A"], encrypted_prefix="ENC_", **READ)
    assert both == {"ENC_A": "one", "A": "1", "B": "2"}


# --- failures ----------------------------------------------------------------------------------------------------


def test_all_failures_of_a_load_are_reported_together():
    """Malformed, tampered and without an entry, in one load: one error that names each, with its own remedy."""
    variables = sealed(GOOD=CANARY, SWAPPED="x", CUT="y", QUOTED="z")
    variables |= {
        "SWAPPED": variables["CUT"],
        "CUT": variables["CUT"][:30],
        "QUOTED": f"'{variables['QUOTED']}'",
    }
    variables |= {"LOST": "encenv:1:AAAAAAAA:" + "A" * 40, "NEWER": "encenv:2:x"}
    error = refused(variables)
    assert isinstance(error, LoadError)
    assert {failure.variables: type(failure) for failure in error.failures} == {
        ("SWAPPED",): AuthenticationError,
        ("CUT",): MalformedError,
        ("QUOTED",): MalformedError,
        ("LOST",): KeyEntryError,
        ("NEWER",): MalformedError,
    }
    text = str(error)
    assert text.startswith("5 variables cannot be loaded:\n")
    for failure in error.failures:
        assert f"  {failure.message}\n    hint: {failure.hint}\n" in text
    assert len({failure.hint for failure in error.failures}) == 5
    assert_silent(error, CANARY)


def test_failures_with_one_cause_are_one_line():
    """A missing key entry is reported once, with all the variables that need it; a long list is cut."""
    variables = sealed(**{f"V{number}": "x" for number in range(12)})
    name = entry_name(variables)
    del variables[name]
    error = refused(variables)
    assert isinstance(error, KeyEntryError)
    assert error.variables == tuple(f"V{number}" for number in range(12))
    assert error.message.startswith("V0, V1, V2, V3, V4, V5, V6, V7 and 4 more: there is no key entry")
    assert name in error.message
    assert name in error.hint


def test_rules_stop_before_any_unwrap():
    """If the reader's rules forbid one value, no data key is unwrapped, not even for the values that they permit."""
    variables = sealed(PROD="1", context=(("stage", "prod"),)) | sealed(DEV="2", context=(("stage", "dev"),))
    error = refused(variables, encryption_context={"stage": "prod"})
    assert isinstance(error, PolicyError)
    assert set(error.variables) == {"PROD", "DEV"}
    assert "required context stage=prod" in str(error)
    refused(variables, trusted_keys=["local:AAAAAAAA"])
    assert Counting.unwraps == 0
    assert decrypt_environ(variables, ["PROD"], encryption_context={"stage": "prod"}, **READ) == {"PROD": "1"}
    assert Counting.unwraps == 1
    refused(variables, trusted_keys=["local:AAAAAAAA"])
    assert Counting.unwraps == 1


def test_malformed_text_does_not_hide_the_rest():
    """A value or key entry that cannot be parsed is reported; the other values are decrypted nevertheless."""
    variables = sealed(A="1") | sealed(B="2")
    broken = {**variables, "C": variables["A"], "D": "encenv:1:x"}
    first = entry_name(variables)
    broken[first] = broken[first][:-3]
    error = refused(broken)
    assert {f.variables for f in error.failures} == {("A", "C"), ("D",)}
    assert Counting.unwraps == 1


def test_thirty_three_data_keys():
    """A load needs at most 32 data keys: with one more nothing is unwrapped at all."""
    variables = {}
    for number in range(33):
        variables |= sealed(**{f"V{number}": "x"})
    error = refused(variables)
    assert isinstance(error, PolicyError)
    assert "more than 32 data keys" in error.message
    assert set(error.variables) == {f"V{number}" for number in range(33)}
    assert Counting.unwraps == 0
    assert len(decrypt_environ(variables, [f"V{number}" for number in range(32)], **READ)) == 32
    assert Counting.unwraps == 32


def test_entries_of_one_data_key_add_up():
    """Two entries of one data key, each with one copy, are as one entry with two; order makes no difference."""
    key = DataKey.generate()
    entries = [entry_of(key, OTHER_KEYS, context=(("stage", "dev"),)), entry_of(key, KEYS)]
    for one, two in (entries, entries[::-1]):
        clear_cache()
        text = f"{one.name}={one}\n{two.name}={two}\nA={key.encrypt('A', 'x')}\n"
        assert dotenv_values(stream=io.StringIO(text), **READ) == {"A": "x"}
    other = one._replace(commitment=key.commitment[:5] + bytes(27))
    good = sealed(B="y")
    text += f"{other.name}={other}\n" + "".join(f"{name}={value}\n" for name, value in good.items())
    with pytest.raises(ConflictError, match="different data keys") as error:
        dotenv_values(stream=io.StringIO(text), **READ)
    assert error.value.variables == ("A",)
    assert_silent(error.value)


class Recording:
    """A provider that refuses every unwrap, and keeps the references."""

    name = "aws-kms"

    def __init__(self, name="aws-kms"):
        self.name = name
        self.asked = []

    def unwrap(self, item, context, timeout):
        """Note, and refuse."""
        self.asked.append(item.reference)
        raise KeyRefusedError("not this one", hint="try the next one")


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_copies_are_tried_in_a_set_order(variable, monkeypatch):
    """A local copy is tried first, then AWS KMS in the process's own region, then in other regions, then plug-ins."""
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv(variable, "eu-west-1")
    arns = [f"arn:aws:kms:{region}:111122223333:key/k" for region in ("us-east-1", "eu-west-1", "eu-north-1")]
    key = DataKey.generate()
    items = [WrappedKey("vault", b"x", "v"), *(WrappedKey("aws-kms", b"x", arn) for arn in arns)]
    entry = KeyEntry(key.commitment, (), (*items, *entry_of(key, OTHER_KEYS).items))
    kms, vault = Recording(), Recording("vault")
    variables = {entry.name: str(entry), "A": key.encrypt("A", "x")}
    error = refused(variables, key_providers=[kms, vault, KEYS])
    assert kms.asked == [arns[1], arns[0], arns[2]]
    assert vault.asked == ["v"]
    assert error.message.index("local key") < error.message.index("not this one")
    both = KeyEntry(key.commitment, (), (*items, *entry_of(key, KEYS).items))
    kms.asked.clear()
    variables[entry.name] = str(both)
    assert decrypt_environ(variables, key_providers=[kms, vault, KEYS]) == {"A": "x"}
    assert kms.asked == []


def test_a_provider_that_hangs_is_not_waited_for():
    """unwrap_timeout bounds all unwraps of a load together."""

    class Hanging(Counting):
        def unwrap(self, item, context, timeout):
            time.sleep(timeout + 0.3)
            return super().unwrap(item, context, timeout)

    started = time.monotonic()
    variables = sealed(A="1") | sealed(B="2")
    slow = Hanging({"ENCENV_LOCAL_KEY": KEY_TEXT})
    error = refused(variables, key_providers=[slow], unwrap_timeout=0.1)
    assert isinstance(error, KeyUnreachableError)
    assert time.monotonic() - started < 2
    time.sleep(0.5)  # until the provider has done, so that no other test hears of it


# --- the log -----------------------------------------------------------------------------------------------------


def test_one_record_a_load(caplog):
    """A load that decrypted anything leaves one record: counts, key ids, providers, milliseconds; no names, no values."""
    caplog.set_level(logging.DEBUG)
    variables = sealed(A=CANARY, B="s3cret") | sealed(C="x")
    kids = [name.removeprefix("ENCENV_KEY_") for name in variables if name.startswith("ENCENV_KEY_")]
    decrypt_environ(variables, **READ)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("encenv", "INFO")
    message = record.getMessage()
    assert message.startswith(
        f"decrypted 3 variables under data keys {kids[0]}, {kids[1]}: 2 unwrapped by local, "
    )
    assert message.endswith(" ms")
    caplog.clear()
    decrypt_environ(variables, ["C"], **READ)
    decrypt_environ({"PLAIN": "x"}, **READ)
    assert "decrypted 1 variables" in caplog.text or "decrypted 1 variable " in caplog.text
    assert "0 unwrapped" in caplog.text
    assert len(caplog.records) == 1
    caplog.clear()
    refused({**variables, "D": variables["A"]})
    assert not caplog.records
    assert_unsaid(said_by(caplog.records), CANARY)


def test_the_record_holds_no_secret(caplog):
    """Neither the text nor the arguments of a record lead to a value or a key."""
    caplog.set_level(logging.DEBUG)
    key = DataKey.generate()
    entry = entry_of(key)
    decrypt_environ({entry.name: str(entry), "A": key.encrypt("A", CANARY)}, **READ)
    assert caplog.records
    assert_unsaid(said_by(caplog.records), CANARY, key.expose_key())


# --- attacks -----------------------------------------------------------------------------------------------------

SECRETS = {"TOKEN": "s3cret-" + CANARY, "OTHER": "0ther-" + CANARY, "THIRD": ""}
ALPHABET = "Ae72_-:+=.%/ \n\0é\ud800"


def is_refused(variables, *names):
    """Assert that *variables* are refused, by an error that names *names* with a remedy and holds no secret."""
    with pytest.raises(EncenvError) as info:
        decrypt_environ(variables, **READ)
    error = info.value
    assert set(error.variables) == set(names), error
    assert error.message
    assert error.hint
    assert CANARY not in f"{error}{error!r}{[vars(failure) for failure in error.failures]}"
    assert error.__cause__ is error.__context__ is None


def changes(text):
    """Yield *text* with each character replaced by others, doubled, and taken away."""
    for at, character in enumerate(text):
        for other in ALPHABET + character.swapcase():
            if other != character:
                yield at, text[:at] + other + text[at + 1 :]
        yield at, text[:at] + text[at + 1 :]
        yield at, text[:at] + character + text[at:]


def test_no_changed_value_decrypts():
    """Every change of one character of an encrypted value is refused, unless it makes a text that claims to be none.

    "fncenv:1:…" is plaintext by the format: only a reader's own rule can say that plaintext must not stand there.
    """
    variables = sealed(**SECRETS)
    for at, text in changes(variables["TOKEN"]):
        if at < len("encenv:1") and not re.search(r"^encenv:[0-9]|encenv:[0-9]+:[A-Z2-7]{8}:", text):
            assert decrypt_environ({"TOKEN": text}, **READ) == {"TOKEN": text}
        elif text != variables["TOKEN"]:
            is_refused({**variables, "TOKEN": text}, "TOKEN")


def test_no_changed_key_entry_is_accepted():
    """Every change of one character of a key entry is refused, for all values under it."""
    variables = sealed(context=(("stage", "prod"), ("app", "web")), **SECRETS)
    name = entry_name(variables)
    for _, text in changes(variables[name]):
        if text != variables[name]:
            is_refused({**variables, name: text}, *SECRETS)
    for _, other in changes(name):
        if other != name:
            renamed = {other if key == name else key: value for key, value in variables.items()}
            with pytest.raises(KeyEntryError) as error:
                decrypt_environ(renamed, names=SECRETS, **READ)
            assert set(error.value.variables) == set(SECRETS)


def test_no_value_decrypts_in_the_place_of_another():
    """Every exchange of two values is refused, both named; a value under another name too."""
    variables = sealed(**SECRETS)
    for one, two in itertools.combinations(SECRETS, 2):
        is_refused({**variables, one: variables[two], two: variables[one]}, one, two)
    for one, two in itertools.permutations(SECRETS, 2):
        is_refused({**variables, one: variables[two]}, one)
    is_refused({**variables, "NEW": variables["TOKEN"]}, "NEW")
    assert decrypt_environ({**variables, "token": variables["TOKEN"]}, **READ)["token"] == SECRETS["TOKEN"]


def test_no_foreign_entry_or_copy_is_accepted():
    """Entry, copy, commitment and context of another environment are refused, also if they are genuine there."""
    variables, foreign = sealed(**SECRETS), sealed(X="x", context=(("stage", "dev"),))
    name, other = entry_name(variables), entry_name(foreign)
    own, theirs = (KeyEntry.parse(n[11:], v[n]) for n, v in ((name, variables), (other, foreign)))
    is_refused({**variables, name: foreign[other]}, *SECRETS)
    is_refused({**variables, name: str(own._replace(items=theirs.items))}, *SECRETS)
    is_refused({**variables, name: str(theirs._replace(commitment=own.commitment))}, *SECRETS)
    is_refused({**variables, name: str(own._replace(context=theirs.context))}, *SECRETS)
    is_refused({**variables, "TOKEN": foreign["X"]} | {other: foreign[other]}, "TOKEN")
    parts = variables["TOKEN"].split(":")
    is_refused({**variables, **foreign, "TOKEN": ":".join([*parts[:2], other[11:], parts[3]])}, "TOKEN")
    attackers = DataKey.generate()
    forged = own._replace(items=entry_of(attackers).items)
    is_refused({**variables, name: str(forged), "TOKEN": attackers.encrypt("TOKEN", "evil")}, *SECRETS)


def test_a_bad_copy_beside_a_good_one_does_not_matter():
    """A copy that cannot be unwrapped, or gives another data key, is skipped for one that gives the right one."""
    key, another = DataKey.generate(), DataKey.generate()
    good = entry_of(key).items[0]
    for bad in (
        *entry_of(another, OTHER_KEYS).items,
        *entry_of(key, OTHER_KEYS).items,
        WrappedKey("vault", b"x", "v"),
    ):
        for items in ((bad, good), (good, bad)):
            clear_cache()
            entry = KeyEntry(key.commitment, (), items)
            variables = {entry.name: str(entry), "A": key.encrypt("A", "x")}
            assert decrypt_environ(variables, key_providers=[KEYS]) == {"A": "x"}


def test_a_failing_load_keeps_no_value():
    """Nothing that was decrypted before another value failed, and no key, can be reached from the error."""
    key = DataKey.generate()
    entry = entry_of(key)
    variables = {entry.name: str(entry), "A": key.encrypt("A", CANARY), "B": key.encrypt("C", "x")}
    key_bytes = key.expose_key()
    del key
    error = caught(lambda: decrypt_environ(variables, **READ))
    assert error.variables == ("B",)
    assert_silent(error, CANARY, key_bytes)


def test_the_names_of_the_options():
    """The options at run time are those that type checkers know."""
    assert ReaderOptions.__annotations__.keys() == OPTIONS
