"""Test that the format is what FORMAT.md says: a JavaScript reader and writer, made from that page alone, agrees with ours.

One node process costs some 40 ms, so each request to it is a whole batch.
"""

import base64
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.javascript import call_javascript

import encenv
from encenv import EncenvError, LocalKeys, clear_cache, decrypt_environ
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, b64encode, encryption_context, entry_kid
from encenv.keys.local import generate_key_text

FORMAT = Path(encenv.__file__).parent / "format" / "FORMAT.md"
KEY_TEXT = generate_key_text()
ARN = "arn:aws:kms:eu-central-1:123456789012:key/mrk-0123456789abcdef"
LONGEST = 786_383  # bytes: with its mark 8 * 98,298, and 8 more would seal to over 1,048,576 characters
batches = settings(max_examples=12, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def local_key():
    """Give both sides the same local key and an empty cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCENV_LOCAL_KEY", KEY_TEXT)
        clear_cache()
        yield
        clear_cache()


def node_open(environments, key_text=KEY_TEXT):
    """Return the bytes that JavaScript reads from each environment, None where it refuses."""
    answers = call_javascript(
        "open", [{"localKeys": key_text, "variables": variables} for variables in environments]
    )
    return [
        {name: base64.b64decode(text) for name, text in answer["values"].items()}
        | dict.fromkeys(answer["errors"])
        for answer in answers
    ]


def python_open(variables):
    """Return the bytes that Python reads, None where it refuses."""
    clear_cache()
    refused = set()
    while True:  # a load fails as a whole: leave out the variables that it names, and load the others again
        others = {name: text for name, text in variables.items() if name not in refused}
        try:
            values = decrypt_environ(others)
        except EncenvError as error:
            if refused.issuperset(error.variables):
                raise
            refused.update(error.variables)
        else:
            return {name: os.fsencode(text) for name, text in values.items()} | dict.fromkeys(refused)


def entry_of(data_key, pairs=(), key_text=KEY_TEXT):
    """Return name and text of the key entry of *data_key*, wrapped under the local key."""
    keys = LocalKeys(environ={"ENCENV_LOCAL_KEY": key_text})
    wrapped = keys.wrap(data_key.expose_key(), "", encryption_context(pairs))
    entry = KeyEntry(data_key.commitment, pairs, (wrapped,))
    return entry.name, str(entry)


def node_seal(environments, context=None):
    """Return each environment of text values, encrypted by JavaScript."""
    requests = [
        {
            "localKeys": KEY_TEXT,
            "context": context or {},
            "values": {name: base64.b64encode(os.fsencode(text)).decode() for name, text in values.items()},
        }
        for values in environments
    ]
    answers = call_javascript("seal", requests)
    assert [answer["errors"] for answer in answers] == [{}] * len(environments)
    return [answer["variables"] for answer in answers]


def without(char, raw):
    """Return *raw* without *char*, as os.environ has it. Decode last: the bytes around *char* may be one character."""
    return raw.replace(char, b"").decode("utf-8", "surrogateescape")


any_bytes = st.binary(max_size=24).map(lambda raw: without(b"\0", raw))
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=24)
values = (any_text | any_bytes | st.just("")).filter(lambda text: "encenv:" not in text)
names = (
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,11}", fullmatch=True)
    | st.sampled_from(["__proto__", "constructor", "caf\u00e9", "ENCENV_KEY_", "encenv_key_aaaaaaaa"])
    | (any_text | any_bytes).map(lambda text: without(b"=", os.fsencode(text)))
).filter(lambda name: name and entry_kid(name) is None)
context_keys = st.from_regex(r"[A-Za-z0-9_.:/-]{1,12}", fullmatch=True).filter(
    lambda key: not key.lower().startswith(("encenv", "aws:"))
)
contexts = st.lists(
    st.tuples(context_keys, st.from_regex(r"[A-Za-z0-9_.:/-]{1,12}", fullmatch=True)),
    max_size=7,
    unique_by=lambda pair: pair[0].lower(),
).map(tuple)


def test_the_known_answers_of_the_specification_open_in_both():
    """Both implementations read the known answers in section 12 of FORMAT.md."""
    section = FORMAT.read_text("utf-8").split("## 12. Known answers")[1]
    key_text = re.search(r"encenv-local-key:1:\S+", section)[0]
    samples = re.findall(r" name +(\S+)\n +value +(.+)\n(?:.*\n){2} +sealed value +(\S+)", section)
    sealed = {name: text for name, _, text in samples}
    expected = {name: b"" if value == "(empty)" else value.encode() for name, value, _ in samples}
    assert len(expected) == 3
    variables = sealed | dict(re.findall(r"(ENCENV_KEY_[A-Z2-7]{8})=(\S+)", section))
    assert node_open([variables], key_text) == [expected]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCENV_LOCAL_KEY", key_text)
        assert python_open(variables) == expected


@batches
@given(
    st.lists(
        st.tuples(contexts, st.dictionaries(names, st.tuples(values, st.booleans()), max_size=6)), max_size=6
    )
)
def test_what_python_writes_opens_in_javascript(environments):
    """JavaScript reads every value that Python encrypts, and the plaintext beside it, as the same bytes."""
    written = []
    for pairs, content in environments:
        data_key = DataKey.generate()
        variables = dict([entry_of(data_key, pairs)])
        for name, (text, seal) in content.items():
            variables[name] = data_key.encrypt(name, text) if seal else text
        written.append(variables)
    expected = [
        {name: os.fsencode(text) for name, (text, _) in content.items()} for _, content in environments
    ]
    assert node_open(written) == expected


@batches
@given(contexts, st.lists(st.dictionaries(names, values, max_size=6), max_size=6))
def test_what_javascript_writes_opens_in_python(pairs, environments):
    """Python reads every value that JavaScript encrypts as the same text, and would write the same key entry."""
    written = node_seal(environments, dict(pairs))
    assert [decrypt_environ(variables) for variables in written] == environments
    for variables in written:
        for name, text in variables.items():
            if kid := entry_kid(name):
                assert str(KeyEntry.parse(kid, text)) == text
            else:
                assert len(text) == len(DataKey.generate().encrypt(name, decrypt_environ(variables)[name]))


def python_sealed():
    """Return an environment of one sealed value that Python wrote."""
    data_key = DataKey.generate()
    return dict([entry_of(data_key)]) | {"TOKEN": data_key.encrypt("TOKEN", "s3cret")}


def javascript_sealed():
    """Return an environment of one sealed value that JavaScript wrote."""
    return node_seal([{"TOKEN": "s3cret"}])[0]


@pytest.mark.parametrize("write", [python_sealed, javascript_sealed])
def test_a_changed_value_is_refused_by_both(write):
    """Both refuse a sealed value with a flipped character, a missing part, an addition or a line break."""
    variables = write()
    sealed = variables["TOKEN"]
    changed = [sealed[:end] for end in range(len("encenv:1"), len(sealed))]
    for index in range(len("encenv:1:"), len(sealed)):
        other = "B" if sealed[index] == "A" else "A"
        changed.append(sealed[:index] + other + sealed[index + 1 :])
        changed.append(sealed[:index] + sealed[index + 1 :])
    changed += [sealed + tail for tail in ("A", "AAAA", "=", "\n", " ", sealed)]
    changed += [f'"{sealed}"', f" {sealed}", f"\n{sealed}", f"postgres://u:{sealed}@host"]
    changed += [sealed.replace(":1:", version) for version in (":2:", ":0:", ":01:", ":10:", ":1::")]
    environments = [variables | {"TOKEN": text} for text in changed]
    assert node_open(environments) == [{"TOKEN": None}] * len(changed)
    assert [python_open(environment) for environment in environments] == [{"TOKEN": None}] * len(changed)


def test_a_value_opens_under_its_own_name_only():
    """Both refuse a value moved to another name; only the case of ASCII letters may change."""
    data_key = DataKey.generate()
    named = ["TOKEN", "caf\u00e9", "stra\u00dfe", "K", "i", "\udcffX", "\udce9"]
    moved = [
        "TOKEN",
        "token",
        "ToKeN",
        "TOKEN_",
        "ENC_TOKEN",
        "CAF\u00e9",
        "CAF\u00c9",
        "cafe\u0301",
        "STRASSE",
        "stra\u00dfe",
    ]
    moved += ["k", "\u212a", "I", "\u0131", "\u0130", "\udcffx", "\udcfex", "\udcc9", "\udce9", "X"]
    pairs = [(name, to) for name in named for to in moved]
    entry = dict([entry_of(data_key)])
    environments = [{**entry, to: data_key.encrypt(name, "s3cret")} for name, to in pairs]
    read = node_open(environments)
    assert read == [python_open(environment) for environment in environments]
    opened = [(name, to) for (name, to), found in zip(pairs, read, strict=True) if found[to]]
    assert opened == [
        ("TOKEN", "TOKEN"),
        ("TOKEN", "token"),
        ("TOKEN", "ToKeN"),
        ("caf\u00e9", "CAF\u00e9"),
        ("stra\u00dfe", "stra\u00dfe"),
        ("K", "k"),
        ("i", "I"),
        ("\udcffX", "\udcffx"),
        ("\udce9", "\udce9"),
    ]


def entry_cases():
    """Return a data key and, by description, texts of entries with whether they give access to its values."""
    data_key = DataKey.generate()
    other = DataKey.generate()

    def wrapped(pairs=(), key=data_key):
        return str(
            LocalKeys(environ={"ENCENV_LOCAL_KEY": KEY_TEXT}).wrap(
                key.expose_key(), "", encryption_context(pairs)
            )
        )

    def context(*pairs):
        return "".join(f"+context:{key}={value}" for key, value in pairs)

    def with_context(*pairs):
        return f"{head}{context(*pairs)}+{wrapped(pairs)}"

    head = f"1:{b64encode(data_key.commitment)}"
    item = wrapped()
    good = f"{head}+{item}"
    _, blob, reference = item.split(":")
    kms = f"aws-kms:AAAA:{ARN}"
    last = head[-1]
    stray = (
        head[:-1]
        + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(last) | 1
        ]
    )
    seven = [(f"k{number}", "v") for number in range(7)]
    unknown = [f"vault:AAAA:r{number}" for number in range(16)]
    return data_key, {
        "as written": (good, True),
        "contexts in another order": (with_context(("b", "1"), ("a", "2")), True),
        "a-b sorts before a in the AAD": (with_context(("a", "1"), ("a-b", "1")), True),
        "seven contexts": (with_context(*seven), True),
        "a colon and a slash in a context": (with_context(("a:b/c", "x:/.-_")), True),
        "longest context": (with_context(("k" * 128, "v" * 384)), True),
        "encenv-add=1": (with_context(("encenv-add", "1")), True),
        "a key that only holds encenv": (with_context(("my-encenv", "1"), ("aws", "1")), True),
        "an unknown provider first": (f"{head}+{unknown[0]}+{item}", True),
        "a reference with colons": (f"{head}+x-9:AA:a:b/c.d-e_f+{item}", True),
        "sixteen items": ("+".join([head, *unknown[:15], item]), True),
        "a KMS copy beside it": (f"{head}+{kms}+{item}", True),
        "one provider, two references": (f"{head}+{item}+local:{blob}:AAAAAAAA", True),
        "a provider of 32 characters": (f"{head}+{'p' * 32}:AA:r+{item}", True),
        "a reference of 512 characters": (f"{head}+p:AA:{'r' * 512}+{item}", True),
        "a copy of another data key, then a good one": (
            f"{head}+local:{wrapped((), other).split(':')[1]}:AAAAAAAA+{item}",
            True,
        ),
        "empty": ("", False),
        "no item": (head, False),
        "only a context": (head + context(("a", "1")), False),
        "only an unknown provider": (f"{head}+{unknown[0]}", False),
        "only another data key": (f"{head}+{wrapped((), other)}", False),
        "another commitment": (f"1:{b64encode(other.commitment)}+{item}", False),
        "a commitment that shares the KID": (
            f"1:{b64encode(data_key.commitment[:5] + other.commitment[5:])}+{item}",
            False,
        ),
        "a short commitment": (f"1:{b64encode(data_key.commitment[:31])}+{item}", False),
        "stray bits in the commitment": (f"{stray}+{item}", False),
        "padding": (f"{head}=+{item}", False),
        "the standard alphabet": (f"{head}+local:{'/' * 80}:{reference}+{item}", False),
        "version 2": ("2" + good[1:], False),
        "version 01": ("0" + good, False),
        "version 0": ("0" + good[1:], False),
        "version 10": ("10" + good[1:], False),
        "an Arabic-Indic one": ("\u0661" + good[1:], False),
        "no version": (good[2:], False),
        "a space before": (" " + good, False),
        "a newline after": (good + "\n", False),
        "quotes": (f'"{good}"', False),
        "an empty part": (f"{head}++{item}", False),
        "a plus at the end": (good + "+", False),
        "eight contexts": (with_context(*seven, ("k7", "v")), False),
        "eight contexts with encenv-add": (with_context(*seven, ("encenv-add", "1")), False),
        "a context twice": (f"{head}{context(('a', '1'), ('a', '1'))}+{wrapped((('a', '1'),))}", False),
        "contexts alike but for case": (with_context(("Stage", "1"), ("stage", "1")), False),
        "encenv=1 written out": (f"{head}{context(('encenv', '1'))}+{item}", False),
        "encenv-add=2": (with_context(("encenv-add", "2")), False),
        "ENCENV-ADD=1": (with_context(("ENCENV-ADD", "1")), False),
        "encenv-other": (with_context(("encenv-other", "1")), False),
        "a context of AWS": (with_context(("AWS:x", "1")), False),
        "a context after an item": (f"{head}+{wrapped((('a', '1'),))}{context(('a', '1'))}", False),
        "a context without =": (f"{head}+context:a+{item}", False),
        "a context without value": (f"{head}+context:a=+{item}", False),
        "a context with two =": (f"{head}+context:a=b=c+{item}", False),
        "a context key too long": (with_context(("k" * 129, "v")), False),
        "a context value too long": (with_context(("k", "v" * 385)), False),
        "a context value outside ASCII": (f"{head}+context:a=\u00e9+{item}", False),
        "a context changed": (f"{head}{context(('a', '2'))}+{wrapped((('a', '1'),))}", False),
        "a context added": (f"{head}{context(('a', '1'))}+{item}", False),
        "a context taken off": (f"{head}+{wrapped((('a', '1'),))}", False),
        "a provider named context": (f"{head}+context:AAAA:r+{item}", False),
        "a provider in capitals": (f"{head}+Vault:AAAA:r+{item}", False),
        "a provider beginning with a digit": (f"{head}+1p:AAAA:r+{item}", False),
        "a provider of 33 characters": (f"{head}+{'p' * 33}:AA:r+{item}", False),
        "an unknown provider with stray bits": (f"{head}+p:AB:r+{item}", False),
        "an unknown provider of an impossible length": (f"{head}+p:AAAAA:r+{item}", False),
        "an unknown provider without bytes": (f"{head}+p::r+{item}", False),
        "an unknown provider without reference": (f"{head}+p:AA:+{item}", False),
        "an item of one part": (f"{head}+local+{item}", False),
        "a reference of 513 characters": (f"{head}+p:AA:{'r' * 513}+{item}", False),
        "a reference with a character outside": (f"{head}+p:AA:a@b+{item}", False),
        "seventeen items": ("+".join([head, *unknown, item]), False),
        "one wrapping key twice": (f"{good}+{item}", False),
        "an unknown wrapping key twice": (f"{good}+p:AA:r+p:AAAA:r", False),
        "a local copy too short": (f"{head}+local:AAAA:AAAAAAAA+{item}", False),
        "a local reference in lower case": (f"{head}+local:{blob}:{reference.lower()}", False),
        "a local reference too long": (f"{good}+local:{blob}:{reference}A", False),
        "a local reference that is not there": (f"{head}+local:{blob}:AAAAAAAA", False),
        "a local copy flipped": (
            f"{head}+local:{'B' if blob[0] == 'A' else 'A'}{blob[1:]}:{reference}",
            False,
        ),
        "a KMS alias": (f"{good}+aws-kms:AAAA:arn:aws:kms:eu-west-1:123456789012:alias/a", False),
        "a KMS account too short": (f"{good}+aws-kms:AAAA:arn:aws:kms:eu-west-1:12345678901:key/a", False),
        "a KMS region without a number": (
            f"{good}+aws-kms:AAAA:arn:aws:kms:eu-west:123456789012:key/a",
            False,
        ),
        "a KMS partition in capitals": (f"{good}+aws-kms:AAAA:{ARN.replace('aws', 'AWS', 1)}", False),
        "a KMS key with a tail": (f"{good}+aws-kms:AAAA:{ARN}/b", False),
        "a KMS copy of 6144 bytes": (f"{good}+aws-kms:{b64encode(bytes(6144))}:{ARN}", True),
        "a KMS copy too long": (f"{good}+aws-kms:{b64encode(bytes(6145))}:{ARN}", False),
        "the longest entry": (
            f"{good}+p:{'A' * (32_768 - len(good) - 5)}:r",
            True,
        ),
        "an entry one character too long": (f"{good}+p:{'A' * (32_768 - len(good) - 4)}:r", False),
    }


def test_key_entries_are_judged_alike():
    """Both use each well-formed entry, and neither uses a malformed one."""
    data_key, cases = entry_cases()
    name = f"ENCENV_KEY_{data_key.kid}"
    sealed = data_key.encrypt("TOKEN", "s3cret")
    environments = [{name: text, "TOKEN": sealed} for text, _ in cases.values()]
    expected = dict(
        zip(cases, [{"TOKEN": b"s3cret" if good else None} for _, good in cases.values()], strict=True)
    )
    assert dict(zip(cases, node_open(environments), strict=True)) == expected
    assert dict(zip(cases, map(python_open, environments), strict=True)) == expected


@batches
@given(st.data())
def test_damaged_key_entries_are_judged_alike(data):
    """Whatever one side can read with an edited entry, the other can read, too."""
    data_key = DataKey.generate()
    name, text = entry_of(data_key, (("stage", "prod"), ("a-b", "1")))
    sealed = data_key.encrypt("TOKEN", "s3cret")
    pieces = [*"+:=1-A \n", "+context:", "+local:", "+p:AA:r", "encenv-add=1", "\u0661", ""]
    edits = st.tuples(st.integers(0, len(text)), st.integers(0, 3), st.sampled_from(pieces))
    damaged = data.draw(st.lists(edits, min_size=1, max_size=24))
    environments = [
        {name: text[:start] + piece + text[start + gone :], "TOKEN": sealed} for start, gone, piece in damaged
    ]
    assert node_open(environments) == [python_open(environment) for environment in environments]


@batches
@given(
    st.lists(
        st.lists(st.sampled_from([*":1209 \n\u0661'", "encenv:", "ENCENV:", "AAAAAAAA:", "KID"])), max_size=40
    )
)
def test_values_are_recognised_alike(texts):
    """Both agree which text is plaintext, which claims to be a sealed value and which embeds one."""
    data_key = DataKey.generate()
    sealed = data_key.encrypt("TEXT", "s3cret")
    entry = dict([entry_of(data_key)])
    environments = [
        entry | {"TEXT": "".join(sealed if piece == "KID" else piece for piece in text)} for text in texts
    ]
    assert node_open(environments) == [python_open(environment) for environment in environments]


def test_one_bad_variable_leaves_the_others_to_both():
    """A variable without its key entry, or with a wrong one, fails alone."""
    own, lost, foreign = DataKey.generate(), DataKey.generate(), DataKey.generate()
    variables = dict([entry_of(own), entry_of(foreign, key_text=generate_key_text())])
    for name, data_key in {"OWN": own, "LOST": lost, "FOREIGN": foreign}.items():
        variables[name] = data_key.encrypt(name, "s3cret")
    variables |= {"PLAIN": "x", f"encenv_key_{own.kid}": "1:x", f"ENCENV_KEY_{own.kid}A": "1:x"}
    expected = {"OWN": b"s3cret", "LOST": None, "FOREIGN": None, "PLAIN": b"x"}
    expected |= {f"encenv_key_{own.kid}": b"1:x", f"ENCENV_KEY_{own.kid}A": b"1:x"}
    assert node_open([variables]) == [expected]
    assert python_open(variables) == expected


def test_neither_unwraps_more_than_32_data_keys():
    """Both unwrap 32 data keys in one load; of 33, neither unwraps any."""
    keys = [DataKey.generate() for _ in range(33)]
    for count, value in ((32, b"x"), (33, None)):
        variables = dict(map(entry_of, keys[:count]))
        variables |= {f"V{number}": key.encrypt(f"V{number}", "x") for number, key in enumerate(keys[:count])}
        expected = {f"V{number}": value for number in range(count)}
        assert node_open([variables]) == [expected]
        assert python_open(variables) == expected


@pytest.mark.parametrize("padding", [1, 2, 7, 8, 9, 500])
def test_any_padding_is_read_by_both(padding):
    """A writer may choose any padding; both read the value without it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from encenv.format import cipher

    data_key = DataKey.generate()
    aead = AESGCM(cipher.derive(data_key.expose_key(), b"encenv:1:value"))
    plaintexts = {"GOOD": b"s3cret\x80" + bytes(padding), "MARK_IN_VALUE": b"\x80" * padding}
    plaintexts |= {"NO_MARK": b"s3cret" + bytes(padding), "ZEROS": bytes(padding), "ZERO_INSIDE": b"a\0b\x80"}
    variables = dict([entry_of(data_key)])
    for name, plaintext in plaintexts.items():
        nonce = os.urandom(12)
        payload = nonce + aead.encrypt(nonce, plaintext, f"encenv:1:{data_key.kid}:{name}".encode())
        variables[name] = f"encenv:1:{data_key.kid}:{b64encode(payload)}"
    expected = {"GOOD": b"s3cret", "MARK_IN_VALUE": b"\x80" * (padding - 1)}
    expected |= dict.fromkeys(["NO_MARK", "ZEROS", "ZERO_INSIDE"])
    assert node_open([variables]) == [expected]
    assert python_open(variables) == expected


@pytest.mark.parametrize(
    ("pattern", "good"),
    [
        ("{key}", True),
        ("\n# a comment\n\n  {key}\t\r\n", True),
        ("{other}\n{key}\n", True),
        ("{key}\n{key}\n", True),
        ("", False),
        ("{key} # a comment", False),
        ("{key}=", False),
        ("{key}\nencenv-local-key:1:AAAA", False),
        ("{key}\nencenv-local-key:2:AAAA", False),
        ("'{key}'", False),
        ("local={key}", False),
    ],
)
def test_local_key_texts_are_judged_alike(pattern, good, monkeypatch):
    """Both read a local key file, or neither does."""
    variables = python_sealed()
    text = pattern.format(key=KEY_TEXT, other=generate_key_text())
    monkeypatch.setenv("ENCENV_LOCAL_KEY", text)
    expected = {"TOKEN": b"s3cret" if good else None}
    assert node_open([variables], text) == [expected]
    assert python_open(variables) == expected


@pytest.mark.parametrize(
    "value",
    ["encenv:1", "encenv:1:AAAAAAAA:", "encenv:9x", "x encenv:2:AAAAAAAA:", "a\0b", "x" * (LONGEST + 1)],
)
def test_neither_encrypts_what_must_not_be_encrypted(value):
    """Neither encrypts a sealed value again, a value with NUL, or one whose text would be too long."""
    request = {
        "localKeys": KEY_TEXT,
        "context": {},
        "values": {"V": base64.b64encode(value.encode()).decode()},
    }
    (answer,) = call_javascript("seal", [request])
    assert list(answer["errors"]) == ["V"]
    assert "V" not in answer["variables"]
    with pytest.raises(EncenvError):
        DataKey.generate().encrypt("V", value)


def test_the_longest_value_is_read_by_both():
    """Each reads the longest value that the other encrypts; neither encrypts one byte more."""
    text = "x" * LONGEST
    (from_javascript,) = node_seal([{"V": text}])
    data_key = DataKey.generate()
    from_python = dict([entry_of(data_key)]) | {"V": data_key.encrypt("V", text)}
    assert len(from_python["V"]) == len(from_javascript["V"]) <= 1_048_576
    assert python_open(from_javascript) == {"V": text.encode()}
    assert node_open([from_python]) == [{"V": text.encode()}]
