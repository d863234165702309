"""What a newcomer does first: the sample service, its frameworks, and every command and program that a README shows."""

import importlib
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dotenv
import pytest
from pydantic_settings import BaseSettings
from support.markdown import blocks
from support.workspace import PROGRAM, Workspace

from encenv.cli.group import encenv as group
from encenv.errors import AuthenticationError
from encenv.export.formats import FORMATS
from encenv.files.document import parse, quote
from encenv.format.sealed import claims, entry_kid
from encenv.keys.local import generate_key_text
from encenv.keys.unwrap import clear_cache
from encenv.load.options import ReaderOptions
from encenv.testing import KmsServer

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "quickstart"
PYTHON = shlex.quote(sys.executable)
VARIANTS = ("plain.env", "plain-crlf.env")
SECRETS = (
    "django-insecure",
    "S3cr3t-with",
    "p%40ss",
    "am%2Fqp",
    "0123456789abcdef",
    "sk_test_",
    "whsec_",
    "p@ss",
    "two words",
    "MIIBVg",
)


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """A workspace with the sample service and a local key on it."""
    with tempfile.TemporaryDirectory() as root:
        workspace = Workspace(Path(root))
        for name in (*VARIANTS, "settings.py"):
            workspace.write(name, (SAMPLE / name).read_bytes().decode())
        workspace.environ["ENCENV_LOCAL_KEY"] = generate_key_text()
        yield workspace


@pytest.fixture
def kms(workspace, monkeypatch) -> Iterator[KmsServer]:
    """A KMS with alias/staging, for the workspace and for this process, whose own environment has no variable of the sample."""
    with KmsServer() as kms:
        kms.create_key(alias="alias/staging")
        workspace.environ |= kms.environ()
        for name, value in kms.environ().items():
            monkeypatch.setenv(name, value)
        for name in dotenv.dotenv_values(SAMPLE / "plain.env"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(workspace.folder)
        clear_cache()
        yield kms
        clear_cache()


def module(base: str = "EncryptedSettings") -> ModuleType:
    """Return the sample's settings.py, or the same with *base* instead of EncryptedSettings."""
    text = (SAMPLE / "settings.py").read_text()
    if base != "EncryptedSettings":
        text = text.replace("from encenv import EncryptedSettings", f"from pydantic_settings import {base}")
        text = text.replace("(EncryptedSettings", f"({base}")
    made = ModuleType(f"sample_{base}")
    sys.modules[made.__name__] = made
    exec(compile(text, "settings.py", "exec"), made.__dict__)
    return made


def dump(settings: BaseSettings) -> dict[str, object]:
    """Return the values of *settings*, secrets and URLs as texts, with their types' names."""

    def plain(value: object) -> object:
        shown = getattr(value, "get_secret_value", value.__str__)()
        return (type(value).__name__, shown)

    return {name: plain(value) for name, value in settings}


def variables_of(path: Path) -> dict[str, str]:
    """Return the variables of a .env file unchanged, as ``docker --env-file`` passes them."""
    return {
        b.name: b.value for b in parse(path.read_bytes().decode()).bindings if b.name and b.value is not None
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_sample_is_realistic(variant):
    """The sample has at least 25 variables and each kind of line that real services have; all of them parse."""
    data = (SAMPLE / variant).read_bytes()
    bindings = parse(data.decode()).bindings
    assert len({b.name for b in bindings if b.name}) >= 25
    assert not any(b.error for b in bindings)
    text = data.decode().replace("\r\n", "\n")
    assert text == (SAMPLE / "plain.env").read_text()
    assert data.count(b"\r\n") == (data.count(b"\n") if variant == "plain-crlf.env" else 0)
    for part in (
        "://",
        "BEGIN PRIVATE KEY-----\n",
        '{"',
        "${",
        ":-",
        "'",
        '"',
        "-#-",
        "Café",
        "=\n",
        "\nexport ",
        "   # ",
        " = ",
    ):
        assert part in text


@pytest.mark.parametrize("variant", VARIANTS)
def test_settings_from_the_file(workspace, kms, variant):
    """The encrypted file gives the same typed settings as the plain one gives a BaseSettings, with one KMS call."""
    sealed = workspace.write(".env", (SAMPLE / variant).read_bytes().decode())
    assert workspace.call("encrypt", "--key", "alias/staging", "--context", "stage=staging").code == 0
    kms.clear()
    settings = module().Settings()
    assert dump(settings) == dump(module("BaseSettings").Settings(_env_file=SAMPLE / variant))
    assert dump(module().Settings()) == dump(settings)
    assert [call.operation for call in kms.calls] == ["Decrypt"]
    assert all(claims(value) for name, value in variables_of(sealed).items() if not entry_kid(name))
    assert not any(secret in sealed.read_text() for secret in SECRETS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_settings_from_the_process(workspace, kms, monkeypatch, variant):
    """The same values in the process environment give the same settings, with one KMS call and no file."""
    plain = {
        name: value for name, value in dotenv.dotenv_values(SAMPLE / variant).items() if value is not None
    }
    sealed = workspace.write(".env", "".join(f"{name}={quote(value)}\n" for name, value in plain.items()))
    assert workspace.call("encrypt", "--key", "alias/staging").code == 0
    twin = module("BaseSettings").Settings(_env_file=SAMPLE / variant)
    for name, value in variables_of(sealed).items():
        monkeypatch.setenv(name, value)
    sealed.unlink()
    kms.clear()
    before = dict(os.environ)
    assert dump(module().Settings()) == dump(twin)
    assert [call.operation for call in kms.calls] == ["Decrypt"]
    assert dict(os.environ) == before


def test_the_sample_shows_no_secret(workspace):
    """Running the sample prints what it loaded, and none of its secrets."""
    workspace.write(".env", (SAMPLE / "plain.env").read_text())
    workspace.call("encrypt", "--key", "local")
    done = workspace.shell(f"{PYTHON} settings.py")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == len(module().Settings.model_fields)
    assert "PostgresDsn('postgresql://***@db.internal:5432/shop?sslmode=require')" in done.out
    assert not [secret for secret in SECRETS if secret in done.out]


# Frameworks

DJANGO = """
from settings import Settings

config = Settings()
SECRET_KEY = config.secret_key.get_secret_value()
DEBUG = config.debug
ALLOWED_HOSTS = config.allowed_hosts
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f":memory:{config.database_url.hosts()[0]['host']}",
        "PASSWORD": config.db_password.get_secret_value(),
    }
}
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "shop_urls"
"""
DJANGO_URLS = """
from django.core import signing
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse(signing.dumps("hello")))]
"""
DJANGO_REQUEST = """
import django, json
from django.conf import settings
from django.test import Client

django.setup()
answer = Client(SERVER_NAME="shop.example").get("/")
stranger = Client(SERVER_NAME="evil.example").get("/")
print(json.dumps([answer.status_code, stranger.status_code, answer.content.decode(), settings.DATABASES["default"]]))
"""


def test_django(workspace, kms):
    """A Django project takes its settings from the encrypted file: real requests, signed with the decrypted key."""
    from django.core import signing

    workspace.write(".env", (SAMPLE / "plain.env").read_text())
    workspace.call("encrypt", "--key", "alias/staging")
    workspace.write("shop_settings.py", DJANGO)
    workspace.write("shop_urls.py", DJANGO_URLS)
    workspace.environ["DJANGO_SETTINGS_MODULE"] = "shop_settings"
    kms.clear()
    assert "no issues" in workspace.shell(f"{PYTHON} -m django check --pythonpath .").out
    done = workspace.shell(f"{PYTHON} -c '{DJANGO_REQUEST}'")
    assert done.code == 0, done.err
    known, stranger, signed, database = json.loads(done.out)
    assert (known, stranger) == (200, 400)
    key = dotenv.dotenv_values(SAMPLE / "plain.env")["SECRET_KEY"]
    assert signing.loads(signed, key=key, fallback_keys=[]) == "hello"
    assert (database["NAME"], database["PASSWORD"]) == (":memory:db.internal", "S3cr3t-with-#-inside")
    assert kms.count("Decrypt") == 2  # one for each process


def test_flask(workspace, kms):
    """A Flask application takes its configuration from the encrypted file, and signs sessions with the decrypted key."""
    import flask

    workspace.write(".env", (SAMPLE / "plain-crlf.env").read_bytes().decode())
    workspace.call("encrypt", "--key", "alias/staging")
    config = module().Settings()
    app = flask.Flask("shop")
    app.config.from_mapping({name.upper(): value for name, value in config})
    app.config["SECRET_KEY"] = config.secret_key.get_secret_value()

    @app.get("/")
    def index() -> str:
        flask.session["name"] = "visitor"
        return f"{app.config['SITE_NAME']} {app.config['FEATURE_FLAGS'].rollout}"

    client = app.test_client()
    answer = client.get("/")
    assert answer.text == f"{config.site_name} 0.25"
    with client.session_transaction() as session:
        assert session["name"] == "visitor"
    assert not any(secret in repr(app.config) for secret in ("S3cr3t-with-#", "sk_test_"))


# The READMEs


def test_sample_readme(workspace):
    """The commands of the sample's README do what it says, one after the other, in a folder of their own."""
    del workspace.environ["ENCENV_LOCAL_KEY"]
    tour, with_kms = blocks(SAMPLE / "README.md", "sh")
    done = workspace.shell("set -e\n" + tour)
    assert done.code == 0, done.err
    assert "made local key" in done.err
    assert ".env: encrypted 29 values" in done.err
    assert "DSN" in done.out.upper()
    assert "REDIS_URL=rediss://default:p%40ss%3Aword@cache.internal:6380/0\n" in done.out
    with KmsServer() as kms:
        kms.create_key(alias="alias/staging")
        workspace.environ |= kms.environ()
        workspace.write(".env", (SAMPLE / "plain.env").read_text())
        done = workspace.shell(with_kms)
        assert done.code == 0, done.err
        assert kms.count("GenerateDataKey") == 1


def test_readme_commands(workspace):
    """The commands under "Use it" in the README work unchanged."""
    del workspace.environ["ENCENV_LOCAL_KEY"]
    workspace.write(".env", "SECRET_KEY=s3cret\n")
    workspace.write("manage.py", "import os, sys\nprint(sys.argv[1], os.environ['SECRET_KEY'])\n")
    (use,) = (block for block in blocks(ROOT / "README.md", "sh") if block.startswith("encenv keygen"))
    done = workspace.shell("set -e\n" + use)
    assert done.code == 0, done.err
    assert done.out == "runserver s3cret\nSECRET_KEY=s3cret\n"


def test_readme_first_commands():
    """The README's first two commands install into a virtual environment, then show the demo, and run the tests."""
    first = [block for block in blocks(ROOT / "README.md", "sh") if "pip install" in block]
    install = "python3 -m venv .venv && .venv/bin/pip install -q "
    assert first == [
        f"{install}. && .venv/bin/encenv demo\n",
        f'{install}-e ".[test]" && .venv/bin/python -m pytest -n auto\n',
    ]
    assert first[1].strip() in (ROOT / ".ci" / "run").read_text()


def test_readme_program(workspace, kms):
    """The README's program loads an encrypted file; with a changed value it gives the error in the README."""
    path = workspace.write(".env", "SECRET_KEY=s3cret\nDATABASE_URL=postgres://shop:s3cret@db/shop\n")
    workspace.call("encrypt", "--key", "alias/staging")
    program = blocks(ROOT / "README.md", "python")[0]
    space: dict[str, BaseSettings] = {"__name__": "readme"}
    sys.modules["readme"] = ModuleType("readme")
    exec(program, space)
    assert dump(space["settings"]) == {
        "secret_key": ("SecretStr", "s3cret"),
        "database_url": ("PostgresDsn", "postgres://shop:s3cret@db/shop"),
        "debug": ("bool", "False"),
    }
    assert kms.count("Decrypt") == 1
    changed = re.sub(
        r"(?<=DATABASE_URL=encenv:1:.{8}:)(.)", lambda found: "AB"[found[0] == "A"], path.read_text()
    )
    path.write_text(changed)
    with pytest.raises(AuthenticationError) as caught:
        exec(program, space)
    (shown,) = blocks(ROOT / "README.md", "text")
    assert f"encenv.errors.AuthenticationError: {caught.value}\n" == shown


def test_readme_prefetch(workspace, kms):
    """The README's example of `prefetch` loads its settings with one Decrypt."""
    (start,) = (block for block in blocks(ROOT / "README.md", "python") if "encenv.prefetch()" in block)
    workspace.environ |= kms.environ()
    workspace.write(".env", "SECRET_KEY=s3cret\n")
    assert workspace.run("encrypt", "--key", kms.create_key()).code == 0
    kms.clear()
    shop = workspace.folder / "shop"
    shop.mkdir()
    (shop / "web.py").write_text("app = None\n")
    (shop / "config.py").write_text(
        "from encenv import EncryptedSettings\nclass Settings(EncryptedSettings):\n    secret_key: str\n"
    )
    (workspace.folder / "start.py").write_text(f"{start}print(settings.secret_key, app)\n")
    workspace.environ |= dict(
        line.split("=", 1) for line in (workspace.folder / ".env").read_text().splitlines()
    )
    done = workspace.shell(f"{PYTHON} start.py")
    assert done.out == "s3cret None\n", done.err
    assert kms.count("Decrypt") == 1


def test_readme_figures(monkeypatch):
    """The figures in the READMEs, and the plot, are those of results.json: tests/benchmarks/report.py draws them."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    report = importlib.import_module("report")
    for path, text in report.written(json.loads((report.HERE / "results.json").read_text())).items():
        assert path.read_text() == text, path


def test_readme_is_complete():
    """The README names each verb of the command line, each format of an export and each option of a reader."""
    text = (ROOT / "README.md").read_text()
    for verb in group.list_commands(group.make_context("encenv", ["demo"])):
        assert f"| `encenv {verb}" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| `encenv export"))
    assert set(FORMATS) <= set(re.findall(r"\w+", row))
    for option in ReaderOptions.__annotations__:
        assert f"| `{option}` |" in text
    assert PROGRAM.exists()
