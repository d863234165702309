"""Test each file under vectors/: it opens or is refused as its header says, in JavaScript as well.

The files are described in vectors/README.md. What needs more than a file is in test_vectors_environments.py.
"""

import base64
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from pydantic import create_model
from support.javascript import call_javascript

import encenv
from encenv import EncenvError, EncryptedSettings, LocalKeys, MalformedError, clear_cache, decrypt_environ
from encenv.errors import KeyRefusedError
from encenv.format import cipher
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, SealedValue, claims, embeds, encryption_context, entry_kid

HERE = Path(__file__).parent
FOLDER = HERE / "vectors"
DATA_KEY = DataKey(bytes(range(32)))
LOCAL_KEY = "encenv-local-key:1:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8"
ONCE = {"expect", "comment", "error", "says", "encrypted_prefix", "fill"}
SEVERAL = {"plain", "failing", "local_key", "provider", "trusted_keys", "encryption_context"}
READER_OPTIONS = {"encrypted_prefix", "provider", "trusted_keys", "encryption_context"}


@dataclass(frozen=True)
class Vector:
    """One file: its header's values by key, and the variables of each of its sources."""

    name: str
    header: dict[str, list[str]]
    sources: list[dict[str, str]]

    @property
    def expect(self):
        """The expected result: opens, refused, refused early."""
        return self.header["expect"][0]

    @property
    def plain(self):
        """The plaintexts of the variables."""
        return dict(line.split("=", 1) for line in self.header.get("plain", []))

    @property
    def failing(self):
        """The names of the variables that are refused."""
        return set(self.header.get("failing", []))

    @property
    def key_text(self):
        """The text of the local key file, or None."""
        return "\n".join(self.header["local_key"]) if "local_key" in self.header else None

    def options(self):
        """Return the reader's options in the header."""
        options = {}
        if "trusted_keys" in self.header:
            options["trusted_keys"] = self.header["trusted_keys"]
        if "encryption_context" in self.header:
            options["encryption_context"] = dict(
                pair.split("=") for pair in self.header["encryption_context"]
            )
        if "encrypted_prefix" in self.header:
            options["encrypted_prefix"] = self.header["encrypted_prefix"][0]
        if "provider" in self.header:
            options["key_providers"] = [Stub(line) for line in self.header["provider"]]
        return options


class Stub:
    """A key provider that knows one reference and the bytes it unwraps to."""

    def __init__(self, line):
        self.name, rest = line.split(":", 1)
        self._reference, self._key = rest.rsplit("=", 1)

    def unwrap(self, item, context, timeout):
        """Return those bytes for an item of that reference."""
        if item.reference != self._reference:
            raise KeyRefusedError("another reference", hint="none")
        return bytes.fromhex(self._key)


class RecordingProvider:
    """A key provider that refuses, and records each call."""

    def __init__(self, name, calls):
        self.name = name
        self._calls = calls

    def unwrap(self, item, context, timeout):
        """Record the call, and refuse."""
        self._calls.append(item)
        raise KeyRefusedError("it was called", hint="none")


def unescape(text):
    """Return *text* with each ``%XX`` as the byte XX."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def read(path):
    """Return the vector in the file *path*."""
    lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    split = [index for index, line in enumerate(lines) if line == "---"]
    header = {}
    for line in lines[: split[0]]:
        key, value = line.split(": ", 1)
        header.setdefault(key, []).append(unescape(value))
    unknown = header.keys() - ONCE - SEVERAL
    twice = [key for key in ONCE if len(header.get(key, [])) > 1]
    assert not unknown, unknown
    assert not twice, twice
    sources = []
    for start, end in zip(split, [*split[1:], len(lines)], strict=True):
        variables = [line.split("=", 1) for line in lines[start + 1 : end]]
        sources.append({unescape(name): unescape(value) for name, value in variables})
        assert len(sources[-1]) == len(variables), "a name is in one source twice"
    if "fill" in header:
        for source in sources:
            for name, value in source.items():
                source[name] = value.replace("~", "A" * (int(header["fill"][0]) - len(value) + 1))
    return Vector(path.stem, header, sources)


VECTORS = [read(path) for path in sorted(FOLDER.glob("*.txt"))]
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)


@pytest.fixture(autouse=True)
def _no_key_and_no_network(monkeypatch, tmp_path):
    """Give the process no key and no network; fail if a test tried to use the network."""
    for name in [*os.environ]:
        if name.startswith(("AWS_", "ENCENV_", "XDG_")):
            monkeypatch.delenv(name)
    for name in ("HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    addresses = []

    def refuse(*address):
        addresses.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    clear_cache()
    yield addresses
    clear_cache()
    assert addresses == []


def load(vector, without=(), **options):
    """Return the values that a process with the vector's local key reads from *vector*, with the variables *without* left out."""
    options = vector.options() | options
    sources = [
        {name: value for name, value in source.items() if name not in without} for source in vector.sources
    ]
    with pytest.MonkeyPatch.context() as patch:
        if vector.key_text is not None:
            patch.setenv("ENCENV_LOCAL_KEY", vector.key_text)
        if len(sources) == 1:
            return decrypt_environ(*sources, **options)
        process, file = sources
        for name, value in process.items():
            patch.setenv(name, value)
        fields = {name.lower(): str for source in sources for name in source if entry_kid(name) is None}
        model = create_model("Settings", __base__=EncryptedSettings, **fields)
        model.model_config.update(options)
        path = Path(os.environ["HOME"]) / "vector.env"
        path.write_text("".join(f"{name}={value}\n" for name, value in file.items()), "utf-8")
        return {name.upper(): value for name, value in model(_env_file=path).model_dump().items()}


def refusal(vector, **options):
    """Return the error with which a reader refuses *vector*."""
    with pytest.raises(EncenvError) as caught:
        load(vector, **options)
    return caught.value


def details(error):
    """Return the class, name and text of *error*, and the names of its variables."""
    return type(error).__name__, str(error), set(error.variables)


@each_vector
def test_each_vector(vector):
    """A vector that opens gives its plaintexts; in one that is refused, the error names exactly the failing variables."""
    if vector.expect == "opens":
        assert load(vector) == vector.plain
        assert not vector.failing
        return
    assert vector.expect in {"refused", "refused early"}
    error = refusal(vector)
    assert type(error).__name__ == vector.header["error"][0]
    assert set(error.variables) == vector.failing
    says = vector.header.get("says", [""])[0]
    assert says in error.message
    assert ("newer" in error.message) is ("newer" in says)
    assert "s3cret" not in f"{error}{error!r}{error.failures}"
    assert load(vector, without=vector.failing) == vector.plain


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if v.expect == "refused early"], ids=lambda vector: vector.name
)
def test_an_early_refusal_calls_no_provider(vector, monkeypatch):
    """An early refusal is the same without a key and with the right key, and calls no provider."""
    calls = []
    providers = [RecordingProvider(name, calls) for name in ("aws-kms", "local", "vault")]
    without_key = details(refusal(vector))
    monkeypatch.setenv("ENCENV_LOCAL_KEY", LOCAL_KEY)
    assert details(refusal(vector)) == without_key
    assert details(refusal(vector, key_providers=providers)) == without_key
    assert calls == []


@each_vector
def test_each_text_is_written_back(vector):
    """A sealed value or key entry that parses is written as the same text, except that a context is sorted."""
    for name, text in (item for source in vector.sources for item in source.items()):
        kid = entry_kid(name)
        if not kid and not claims(text):
            continue
        try:
            parsed = KeyEntry.parse(kid, text) if kid else SealedValue.parse(text)
        except MalformedError:
            assert vector.expect == "refused early" or vector.name == "environment_unused_entry_malformed"
        else:
            again = KeyEntry.parse(kid, str(parsed)) if kid else SealedValue.parse(str(parsed))
            assert str(again) == str(parsed)
            in_order = not kid or list(parsed.context) == sorted(parsed.context)
            assert (str(parsed) == text) is in_order


@each_vector
def test_a_writer_gives_the_same_text(vector):
    """With the same key and nonce, Python writes the same text, except for vectors that only a reader may meet."""
    written = 0
    for name, text in vector.plain.items():
        for sealed in (source.get(name, "") for source in vector.sources):
            if not sealed.startswith(f"encenv:1:{DATA_KEY.kid}:") or vector.expect != "opens":
                continue
            padded = cipher.pad(text.encode("utf-8", "surrogateescape"))
            if len(SealedValue.parse(sealed).payload) == 28 + len(padded) and not claims(text):
                assert DATA_KEY.encrypt(name, text, nonce=b"\2" * 12) == sealed
                written += 1
    if vector.name in {"known_answers", "value_utf8", "value_not_utf8", "name_not_utf8", "name_lower_case"}:
        assert written


@pytest.mark.parametrize("name", ["known_answers", "entry_minimal", "entry_context_sorted_as_strings"])
def test_a_writer_gives_the_same_entry(name):
    """With both keys and the nonce, Python writes the same key entry."""
    vector = next(vector for vector in VECTORS if vector.name == name)
    text = vector.sources[0][f"ENCENV_KEY_{DATA_KEY.kid}"]
    pairs = KeyEntry.parse(DATA_KEY.kid, text).context
    keys = LocalKeys({"ENCENV_LOCAL_KEY": LOCAL_KEY})
    item = keys.wrap(DATA_KEY.expose_key(), "", encryption_context(pairs), nonce=b"\1" * 12)
    assert str(KeyEntry(DATA_KEY.commitment, pairs, (item,))) == text


def test_one_error_for_every_failed_authentication():
    """A wrong tag, a wrong name, a missing mark and a zero inside give the same error."""
    texts = set()
    for vector in VECTORS:
        if vector.header.get("error") == ["AuthenticationError"]:
            error = refusal(vector)
            clear_cache()
            names = ", ".join(name if name.isprintable() else ascii(name) for name in error.variables)
            texts.add(str(error).replace(names, "NAME", 1))
    assert len(texts) == 1


def test_javascript_agrees():
    """A reader written from the specification alone agrees about all vectors that need a local key at most."""
    vectors = [v for v in VECTORS if len(v.sources) == 1 and not v.header.keys() & READER_OPTIONS]
    assert len(vectors) > 100
    requests = [
        # An early refusal must come with the key, too: without it a reader would refuse anyway.
        {
            "localKeys": LOCAL_KEY if v.expect == "refused early" else v.key_text or "",
            "variables": v.sources[0],
        }
        for v in vectors
    ]
    for vector, answer in zip(vectors, call_javascript("open", requests), strict=True):
        values = {name: base64.b64decode(text) for name, text in answer["values"].items()}
        expected = {name: text.encode("utf-8", "surrogateescape") for name, text in vector.plain.items()}
        assert (vector.name, values) == (vector.name, expected)
        assert (vector.name, answer["errors"].keys()) == (vector.name, vector.failing)


def test_the_known_answers_of_the_specification():
    """The known answers in FORMAT.md are those of their vector."""
    specification = (Path(encenv.__file__).parent / "format" / "FORMAT.md").read_text("utf-8")
    section = specification.split("## 12. Known answers")[1]
    (vector,) = [vector for vector in VECTORS if vector.name == "known_answers"]
    entry = re.search(r"^ +(ENCENV_KEY_\w+)=(\S+)$", section, re.MULTILINE)
    sealed = re.findall(r" name +(\S+)\n(?:.*\n){3} +sealed value +(\S+)", section)
    assert dict([entry.groups(), *sealed]) == vector.sources[0]


def test_every_file_is_a_vector_that_the_readme_explains():
    """The folder holds only vectors and their README, which documents each key of their headers."""
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert {path.suffix for path in FOLDER.iterdir()} == {".txt", ".md"}
    for vector in VECTORS:
        assert re.fullmatch(r"[a-z0-9_]+", vector.name)
        assert len(vector.header["comment"]) == 1
        assert all(f"`{key}`" in readme for key in vector.header)
        assert not any(embeds(text) for text in vector.header["comment"])
