"""Measure how long a stored secret is, and how many fit AWS Lambda. The real tools store them."""

import functools
import json
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from peers import ENCENV, WORK, Peers, kms_process

TITLE = "The size of a stored secret"
NAME_CHARACTERS = 16
SECRET_CHARACTERS = 32
LAMBDA_BYTES = 4096  # AWS Lambda quotas: all environment variables of a function
MOST = 100  # secrets; fewer fit even in plaintext

# Each peer program reads a JSON object of plaintexts and writes one of stored texts.
ENCRYPTION_SDK = """
import base64, json, sys
import aws_encryption_sdk as sdk
from aws_encryption_sdk.identifiers import Algorithm
key, suite = sys.argv[1:]
client = sdk.EncryptionSDKClient()
keys = sdk.StrictAwsKmsMasterKeyProvider(key_ids=[key])
chosen = {"algorithm": Algorithm[suite]} if suite != "default" else {}
stored = {}
for name, text in json.load(sys.stdin).items():
    message, header = client.encrypt(source=text.encode(), key_provider=keys, **chosen)
    assert message[0] == 2 and header.version.value == 2
    stored[name] = base64.b64encode(message).decode()
json.dump(stored, sys.stdout)
"""
RAW_KMS = """
import base64, json, sys
import boto3
kms = boto3.client("kms")
json.dump(
    {
        name: base64.b64encode(kms.encrypt(KeyId=sys.argv[1], Plaintext=text.encode())["CiphertextBlob"]).decode()
        for name, text in json.load(sys.stdin).items()
    },
    sys.stdout,
)
"""

Variables = dict[str, str]


@dataclass
class Way:
    """One way to store secrets: how, and what is counted.

    Attributes:
        store: Takes names and plaintexts; returns all variables that are stored for them.
        counted: What these are, in words.
    """

    name: str
    store: Callable[[Variables], Variables]
    counted: str


def measure(rounds: int, work: Path) -> dict[str, Any]:
    """Store secrets in every way, and find out how many fit.

    Returns:
        ``rows``, one for each way: ``value_characters`` of one stored secret without its name; ``beside_bytes``, which are
        stored once beside the secrets; ``fit``, the number of secrets in the largest set that Lambda accepts;
        ``fit_without_beside``, the same without the bytes beside them.
    """
    peers = Peers(work)
    versions = peers.install()
    with tempfile.TemporaryDirectory() as name, kms_process() as (key, aws):
        rows = [_row(way) for way in _ways(peers, Path(name), key, aws)]
    return {
        "name_characters": NAME_CHARACTERS,
        "secret_characters": SECRET_CHARACTERS,
        "limit_bytes": LAMBDA_BYTES,
        "counting": "all variables as one JSON object, names and punctuation included, without white space",
        "versions": versions,
        "rows": rows,
    }


def _row(way: Way) -> dict[str, Any]:
    names = [f"SERVICE_TOKEN_{i:02}" for i in range(MOST)]
    plain = {name: secrets.token_hex(SECRET_CHARACTERS // 2) for name in names}
    assert {len(text) for pair in plain.items() for text in pair} == {NAME_CHARACTERS, SECRET_CHARACTERS}

    @functools.cache
    def stored(number: int) -> tuple[Variables, Variables]:
        variables = way.store(dict(list(plain.items())[:number]))
        ours = {name: variables[name] for name in names[:number]}
        if way.name != "plaintext" and any(plain[name] in text for name, text in ours.items()):
            raise RuntimeError(f"{way.name} left a secret as it was")
        return variables, ours

    variables, ours = stored(1)
    (text,) = ours.values()

    def fitting(part: int) -> int:
        low, high = 0, min(MOST, LAMBDA_BYTES // len(text) + 1)  # so many fit; so many do not
        while high - low > 1:
            middle = (low + high) // 2
            fits = _bytes(stored(middle)[part]) <= LAMBDA_BYTES
            low, high = (middle, high) if fits else (low, middle)
        return low

    return {
        "way": way.name,
        "value_characters": len(text),
        "beside_bytes": _bytes(variables) - _bytes(ours),
        "fit": fitting(0),
        "fit_without_beside": fitting(1),
        "counted": way.counted,
    }


def _bytes(variables: Mapping[str, str]) -> int:
    """Return what AWS Lambda counts."""
    return len(json.dumps(variables, separators=(",", ":"), ensure_ascii=False).encode())


def _ways(peers: Peers, folder: Path, key: str, aws: dict[str, str]) -> list[Way]:
    cloud = peers.environ(aws)
    own = peers.environ({"ENCENV_LOCAL_KEY_FILE": str(folder / "local.key")})
    subprocess.run([ENCENV, "keygen"], env=own, check=True, capture_output=True)
    recipient = peers.age_key(folder / "age.key")
    fernet = Fernet(Fernet.generate_key())

    def filter_through(environ: dict[str, str], *words: str | Path) -> Callable[[Variables], Variables]:
        """Return a store that gives a tool a plain .env on standard input and reads an encrypted one from its output."""

        def store(plain: Variables) -> Variables:
            text = "".join(f"{name}={value}\n" for name, value in plain.items())
            done = subprocess.run(
                words, env=environ, cwd=folder, input=text, check=True, capture_output=True, text=True
            )
            return _lines(done.stdout)

        return store

    def program(code: str, *words: str) -> Callable[[Variables], Variables]:
        def store(plain: Variables) -> Variables:
            command = [peers.python, "-c", code, *words]
            done = subprocess.run(
                command, env=cloud, input=json.dumps(plain), check=True, capture_output=True, text=True
            )
            answer: Variables = json.loads(done.stdout)
            return answer

        return store

    def dotenvx(plain: Variables) -> Variables:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            file = Path(place, ".env")
            file.write_text("".join(f"{name}={value}\n" for name, value in plain.items()))
            subprocess.run(
                [peers.dotenvx, "encrypt"], env=peers.environ(), cwd=place, check=True, capture_output=True
            )
            return {name: text for name, text in _lines(file.read_text()).items() if name in plain}

    sops = [
        peers.sops,
        "encrypt",
        "--input-type",
        "dotenv",
        "--output-type",
        "dotenv",
        "--filename-override",
        ".env",
    ]
    once = "beside them, once, the key entry"
    metadata = "beside them, once, the sops_ lines, without which SOPS does not decrypt"
    elsewhere = "has to come from elsewhere"
    whole = "each a whole message with its own wrapped data key, in base64"
    return [
        Way("plaintext", dict, "the secrets as they are"),
        Way("encenv, KMS", filter_through(cloud, ENCENV, "encrypt", "-q", "--key", key, "-"), once),
        Way(
            "encenv, local key",
            filter_through(own, ENCENV, "encrypt", "-q", "--key", "local", "-"),
            f"{once}; the key {elsewhere}",
        ),
        Way("SOPS, KMS", filter_through(cloud, *sops, "--kms", key), metadata),
        Way(
            "SOPS, age",
            filter_through(peers.environ(), *sops, "--age", recipient),
            f"{metadata}; the key {elsewhere}",
        ),
        Way("dotenvx", dotenvx, f"the key {elsewhere}; DOTENV_PUBLIC_KEY, which only encrypts, is left out"),
        Way(
            "raw KMS",
            program(RAW_KMS, key),
            "each a CiphertextBlob of the test KMS, of 184 bytes as AWS's today",
        ),
        Way(
            "Encryption SDK",
            program(ENCRYPTION_SDK, key, "default"),
            f"{whole}; the default suite, which signs",
        ),
        Way(
            "Encryption SDK, unsigned",
            program(ENCRYPTION_SDK, key, "AES_256_GCM_HKDF_SHA512_COMMIT_KEY"),
            f"{whole}; the suite with commitment and without signature",
        ),
        Way(
            "Fernet",
            lambda plain: {name: fernet.encrypt(text.encode()).decode() for name, text in plain.items()},
            f"the key {elsewhere}",
        ),
    ]


def _lines(text: str) -> Variables:
    """Return the variables of a .env file unparsed; the tools quote only their keys."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: value.strip('"') for name, value in (line.split("=", 1) for line in lines)}


if __name__ == "__main__":
    print(json.dumps(measure(1, WORK), indent=2))
