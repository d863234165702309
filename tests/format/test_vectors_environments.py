"""Test what a vector file cannot hold: two loads of one process, defaults, writers, and answers of AWS KMS.

The keys are those of the vector files: K = bytes 00 to 1f, L = bytes 20 to 3f.
"""

import traceback

import boto3
import pytest
from botocore.stub import Stubber

from encenv import (
    AuthenticationError,
    AwsKms,
    ConflictError,
    EncenvError,
    EncryptedSettings,
    FileError,
    KeyEntryError,
    KeyRefusedError,
    KeyUnreachableError,
    LocalKeys,
    MalformedError,
    PolicyError,
    clear_cache,
    decrypt_environ,
    dotenv_values,
)
from encenv.format import cipher
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, SealedValue, WrappedKey, encryption_context
from encenv.keys.local import local_key_id, parse_keys

DATA_KEY = DataKey(bytes(range(32)))
LOCAL_KEY = bytes(range(32, 64))
KEY_TEXT = "encenv-local-key:1:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8"
ENTRY = f"ENCENV_KEY_{DATA_KEY.kid}"
CANARY = "canary-4711"
ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture(autouse=True)
def local_key(monkeypatch):
    """Set the local key and empty the cache."""
    monkeypatch.setenv("ENCENV_LOCAL_KEY", KEY_TEXT)
    clear_cache()
    yield
    clear_cache()


def entry(*pairs):
    """Return the text of the key entry of K under L with these context pairs."""
    item = LocalKeys({"ENCENV_LOCAL_KEY": KEY_TEXT}).wrap(
        DATA_KEY.expose_key(), "", encryption_context(pairs)
    )
    return str(KeyEntry(DATA_KEY.commitment, pairs, (item,)))


def sealed(**values):
    """Return an environment of these values, encrypted, with their key entry for the context stage=prod."""
    return {ENTRY: entry(("stage", "prod"))} | {
        name: DATA_KEY.encrypt(name, value) for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("key", "label", "expected"),
    [
        (
            bytes(range(32)),
            b"encenv:1:commitment",
            "4656847f36929c0cfec933433ff5dec38cdc2084b6a50742ef36d01e632d15ba",
        ),
        (
            bytes(range(32)),
            b"encenv:1:value",
            "a8379f8362da0b7ec586921a7de65a497532c87576a926b50be375b0b1a798dc",
        ),
        (
            LOCAL_KEY,
            b"encenv:1:local-id",
            "e37a44a196410d3c93fc49197c0efc14d3ed418326f653e24e8a2424b189a24d",
        ),
        (
            LOCAL_KEY,
            b"encenv:1:local-wrap",
            "311a5429854d461b0401d70e54dfc06eac026a9ac3f2bd541c83123be387cc59",
        ),
    ],
)
def test_the_four_labels(key, label, expected):
    """Each label derives a different key from the same one."""
    assert cipher.derive(key, label).hex() == expected


def test_names_come_from_what_was_derived():
    """The KID is the start of the commitment, and the local key id that of its derived key; both are public."""
    assert DATA_KEY.commitment.hex().startswith("4656847f36")
    assert DATA_KEY.kid == "IZLII7ZW"
    assert local_key_id(LOCAL_KEY) == "4N5EJIMW"
    assert parse_keys(KEY_TEXT, "here") == {"4N5EJIMW": LOCAL_KEY}


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_data_key_has_32_bytes(length):
    """A data key of another length is refused when it is created, too."""
    with pytest.raises(KeyRefusedError, match="32 bytes"):
        DataKey(bytes(length))


def test_a_writer_never_seals_twice():
    """A writer refuses a text that is, claims to be, or contains a sealed value."""
    value = DATA_KEY.encrypt("TOKEN", "s3cret")
    for text in (value, f"postgres://app:{value}@db", f'"{value}"', "encenv:1st", "encenv:2:x"):
        with pytest.raises(ConflictError):
            DATA_KEY.encrypt("TOKEN", text)
    assert DATA_KEY.decrypt("A", SealedValue.parse(DATA_KEY.encrypt("A", "encenv:word"))) == "encenv:word"


@pytest.mark.parametrize("name", ["", "A\0B", "A\ud800B"])
def test_a_writer_refuses_an_impossible_name(name):
    """A name that no environment can have is refused."""
    with pytest.raises(MalformedError, match="name"):
        DATA_KEY.encrypt(name, "s3cret")


@pytest.mark.parametrize("name", [ENTRY, "ENCENV_KEY_AAAAAAAA", "ENCENV_LOCAL_KEY"])
def test_a_writer_does_not_seal_keys(name):
    """A key entry or local key is not encrypted under its own name, since nobody could read it."""
    with pytest.raises(ConflictError, match=name):
        DATA_KEY.encrypt(name, "s3cret")
    assert DATA_KEY.encrypt(f"{name}_OF_MINE", "s3cret")


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udcc3\udca9"])
def test_a_writer_refuses_what_would_not_come_back(text):
    """NUL, a surrogate that represents no byte, and two that together are UTF-8 are refused."""
    with pytest.raises(MalformedError):
        DATA_KEY.encrypt("TOKEN", text)


def test_no_default_stands_in_for_a_value_that_fails(monkeypatch):
    """If a sealed value does not open, neither the default nor a lower source replaces it."""
    variables = sealed(TOKEN="s3cret") | {"API_KEY": DATA_KEY.encrypt("TOKEN", "s3cret")}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    class Settings(EncryptedSettings):
        token: str = "default"
        api_key: str = "default"

    with pytest.raises(AuthenticationError) as caught:
        Settings()
    assert caught.value.variables == ("API_KEY",)
    monkeypatch.setenv("API_KEY", DATA_KEY.encrypt("API_KEY", "other"))
    assert Settings().model_dump() == {"token": "s3cret", "api_key": "other"}
    monkeypatch.delenv(ENTRY)
    with pytest.raises(KeyEntryError) as lost:
        Settings()
    assert set(lost.value.variables) == {"TOKEN", "API_KEY"}


def test_no_lower_source_stands_in_for_a_value_that_fails(monkeypatch, tmp_path):
    """If a process variable does not open, plaintext in the .env file does not replace it."""
    (tmp_path / ".env").write_text("TOKEN=plaintext\n")
    monkeypatch.setenv(ENTRY, entry())
    monkeypatch.setenv("TOKEN", DATA_KEY.encrypt("OTHER", "s3cret"))

    class Settings(EncryptedSettings, env_file=tmp_path / ".env"):
        token: str

    with pytest.raises(AuthenticationError):
        Settings()


def test_a_rewritten_context_is_not_served_from_the_cache():
    """After a successful load, the same copy under another context is unwrapped again, and fails."""
    variables = sealed(TOKEN="s3cret")
    assert decrypt_environ(variables) == {"TOKEN": "s3cret"}
    for context in ("stage=test", "stage=prod+context:team=a"):
        changed = variables | {ENTRY: variables[ENTRY].replace("stage=prod", context)}
        with pytest.raises(KeyRefusedError):
            decrypt_environ(changed)
    assert decrypt_environ(variables) == {"TOKEN": "s3cret"}


@pytest.mark.parametrize(
    "rules",
    [
        {"trusted_keys": [ARN]},
        {"trusted_keys": ["local:AAAAAAAA"]},
        {"trusted_keys": []},
        {"encryption_context": {"stage": "test"}},
    ],
)
def test_strict_rules_after_a_lax_load(rules):
    """Trusted keys and required context are checked on every load, before the cached data key."""
    variables = sealed(TOKEN="s3cret")
    assert decrypt_environ(variables) == {"TOKEN": "s3cret"}
    with pytest.raises(PolicyError):
        decrypt_environ(variables, **rules)
    assert decrypt_environ(
        variables, trusted_keys="local:4N5EJIMW", encryption_context={"stage": "prod"}
    ) == {"TOKEN": "s3cret"}


@pytest.mark.parametrize(
    ("answered", "good"),
    [(ARN, True), (ARN.replace("-1:", "-2:"), False), (ARN[:-1], False), ("alias/app", False)],
)
def test_kms_answers_with_another_key(answered, good):
    """If AWS KMS answers with another key than the one in the request, its data key is not used."""
    client = boto3.client(
        "kms", region_name="eu-central-1", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x"
    )
    stub = Stubber(client)
    answer = {"KeyId": answered, "Plaintext": DATA_KEY.expose_key()}
    request = {"KeyId": ARN, "CiphertextBlob": b"blob", "EncryptionContext": {"encenv": "1", "stage": "prod"}}
    stub.add_response("decrypt", answer, request)
    item = WrappedKey("aws-kms", b"blob", ARN)
    variables = {
        ENTRY: str(KeyEntry(DATA_KEY.commitment, (("stage", "prod"),), (item,))),
        "TOKEN": DATA_KEY.encrypt("TOKEN", "s3cret"),
    }
    with stub:
        provider = AwsKms(client=client)
        if good:
            assert decrypt_environ(variables, key_providers=[provider]) == {"TOKEN": "s3cret"}
        else:
            with pytest.raises(KeyRefusedError, match="another key"):
                decrypt_environ(variables, key_providers=[provider])
    stub.assert_no_pending_responses()


def holds(error, canary):
    """Return whether *canary* can be reached from *error*, its causes and contexts, in texts and attributes."""
    seen = "".join(traceback.format_exception(error))
    chain = [error]
    while chain[-1].__cause__ or chain[-1].__context__:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    seen += "".join(
        f"{link!r} {link.args!r} {vars(link)!r} {getattr(link, 'object', '')!r}" for link in chain
    )
    return canary in seen


def test_no_unicode_error_keeps_a_value(tmp_path):
    """An error about undecodable text keeps no UnicodeError, whose `object` holds the whole text."""
    file = tmp_path / ".env"
    file.write_bytes(f"TOKEN={CANARY}\xff".encode("latin-1"))
    with pytest.raises(FileError) as unreadable:
        dotenv_values(file)
    assert not holds(unreadable.value, CANARY)
    with pytest.raises(MalformedError) as unwritable:
        DATA_KEY.encrypt("TOKEN", f"{CANARY}\ud800")
    assert not holds(unwritable.value, CANARY)
    with pytest.raises(MalformedError) as unnamed:
        DATA_KEY.encrypt("A\ud800", CANARY)
    assert not holds(unnamed.value, CANARY)
    kept = UnicodeEncodeError("utf-8", CANARY, 0, 1, "the one that must not be there")
    assert holds(kept, CANARY)


def test_a_value_that_is_not_utf8_raises_no_unicode_error():
    """Bytes that are not UTF-8 decrypt to the text that the environment would show for them."""
    text = b"\xff\xc3".decode("utf-8", "surrogateescape") + CANARY
    assert decrypt_environ(sealed(TOKEN=text)) == {"TOKEN": text}


@pytest.mark.parametrize(
    "text",
    [
        f"{KEY_TEXT}",
        f"# a comment\n\n \t{KEY_TEXT}\t \n",
        f"# CR alone ends a line\r{KEY_TEXT}\r",
        f"#\r\n{KEY_TEXT}\r\n\r\n",
        f"{KEY_TEXT}\n{KEY_TEXT}",
    ],
)
def test_a_local_key_text(text):
    """LF, CRLF and CR end a line; spaces, tabs, empty lines and comments are ignored."""
    assert parse_keys(text, "here") == {"4N5EJIMW": LOCAL_KEY}


@pytest.mark.parametrize(
    "white", ["\v", "\f", "\x1c", "\x1f", "\x85", "\xa0", "\u2028", "\u3000", "\ufeff", "\0"]
)
def test_no_other_white_space_in_a_local_key_text(white):
    """Other line ends and white space of Unicode beside a key are an error."""
    for text in (white + KEY_TEXT, KEY_TEXT + white, f"{KEY_TEXT}\n{white}\n"):
        with pytest.raises(MalformedError, match=r"line [12] of here"):
            parse_keys(text, "here")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{KEY_TEXT}\n# caf\u00e9", 2),
        (f"\r\n\r{KEY_TEXT}A", 3),
        (f"{KEY_TEXT}\nencenv-local-key:1:AAAA", 2),
        (f"{KEY_TEXT} # mine", 1),
        (f"{KEY_TEXT}=", 1),
        (f"local={KEY_TEXT}", 1),
        (KEY_TEXT.replace(":1:", ":2:"), 1),
        (KEY_TEXT.upper(), 1),
    ],
)
def test_a_bad_line_spoils_a_local_key_text(text, line):
    """A line that is not a key, or not ASCII, is an error that names the line and does not quote it."""
    with pytest.raises(MalformedError, match=f"line {line} of here") as caught:
        parse_keys(text, "here")
    assert "ICEiIyQl" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_a_local_key_text_without_a_key(text):
    """A key file without a key is an error."""
    with pytest.raises(KeyUnreachableError, match="holds no local key"):
        parse_keys(text, "here")


@pytest.mark.parametrize("content", [b"# caf\xc3\xa9\n" + KEY_TEXT.encode(), KEY_TEXT.encode() + b"\n\xff"])
def test_a_local_key_file_is_ascii(content, tmp_path):
    """A byte outside ASCII is an error, in a comment too."""
    path = tmp_path / "local.key"
    path.write_bytes(content)
    path.chmod(0o600)
    variables = sealed(TOKEN="s3cret")
    with pytest.raises(MalformedError, match=r"line \d of .* is not a local key"):
        decrypt_environ(variables, key_providers=[LocalKeys(path=path)])
    path.write_bytes(b"# fine\r" + KEY_TEXT.encode())
    assert decrypt_environ(variables, key_providers=[LocalKeys(path=path)]) == {"TOKEN": "s3cret"}


@pytest.mark.parametrize("line", [f"ENCENV_LOCAL_KEY={KEY_TEXT}", "export ENCENV_LOCAL_KEY = 'x'"])
def test_a_local_key_in_a_dotenv_file(line, tmp_path):
    """Every reader refuses a .env file that holds a local key; an empty one is not a key."""
    path = tmp_path / ".env"
    path.write_text(f"{line}\nTOKEN=plaintext\n")

    class Settings(EncryptedSettings, env_file=path, extra="ignore"):
        token: str

    for read in (lambda: dotenv_values(path), Settings):
        with pytest.raises(PolicyError, match="ENCENV_LOCAL_KEY") as caught:
            read()
        assert isinstance(caught.value, EncenvError)
        assert "ICEiIyQl" not in str(caught.value)
    path.write_text("ENCENV_LOCAL_KEY=\nENCENV_LOCAL_KEY\nTOKEN=plaintext\n")
    assert Settings().token == "plaintext"
