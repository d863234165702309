"""The settings class is imported in another process, without its secrets, whatever its module does."""

import json
from pathlib import Path

import pytest

from encenv import PolicyError, UserCodeError
from encenv.policy.project import project


def written(folder: Path, table: str, **modules: str) -> Path:
    """Write a project with modules of a package app."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(f"[tool.encenv]\n{table}\n")
    (folder / "app").mkdir(exist_ok=True)
    for name, text in {"__init__": "", **modules}.items():
        (folder / "app" / f"{name}.py").write_text(text)
    return folder


CLASS = """
from pydantic import SecretStr
from encenv import EncryptedSettings
class Settings(EncryptedSettings, env_file=".env"):
    secret_key: SecretStr
    debug: bool = False
"""
USES = {
    "nothing else": "",
    "an instance": "settings = Settings()\n",
    "a default of one": "settings = Settings()\nassert settings.debug is False\n",
    "a value of one": "settings = Settings()\nKEY = settings.secret_key.get_secret_value()\n",
    "the environment": "import os\nKEY = os.environ['SECRET_KEY_OF_NOBODY']\n",
    "an exit": "raise SystemExit(3)\n",
    "noise": "print('{}')\nimport sys; print('x', file=sys.stderr)\n",
    "a thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n",
}


@pytest.mark.parametrize("use", USES)
def test_importing_needs_no_secrets(tmp_path, use):
    """The class is imported whatever its module does next: make an instance, use its values, fail."""
    (tmp_path / ".env").write_text("SECRET_KEY=encenv:1:AAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
    folder = written(tmp_path, 'settings = "app.config:Settings"', config=CLASS + USES[use])
    policy = project(folder).policy()
    assert policy.requires("SECRET_KEY")
    assert not policy.requires("DEBUG")


def test_importing_comes_before_other_instances(tmp_path):
    """The import also survives instances of other classes, load_dotenv, and a package that imports its settings."""
    before = """
from encenv import EncryptedSettings, dotenv_values, load_dotenv
from pydantic import SecretStr
load_dotenv()
assert dotenv_values(".env") == {}
class Other(EncryptedSettings):
    needed: SecretStr
    def __init__(self):
        super().__init__()
Other()
"""
    (tmp_path / ".env").write_text("SECRET_KEY=encenv:1:AAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
    modules = {"__init__": "from app.config import settings\nsettings.secret_key\n", "config": before + CLASS}
    modules["config"] += "settings = Settings()\n"
    assert project(written(tmp_path, 'settings = "app.config:Settings"', **modules)).policy().requires("x")
    (tmp_path / "src").mkdir()
    (tmp_path / "app").rename(tmp_path / "src" / "app")
    assert not project(tmp_path).policy().requires("DEBUG")


@pytest.mark.parametrize(
    ("settings", "text", "error", "message"),
    [
        ("nowhere.config:Settings", "", PolicyError, "there is no module nowhere"),
        ("app.config:Nothing", CLASS, PolicyError, "there is no Nothing in app.config"),
        ("app.config:SecretStr", CLASS, PolicyError, "is not a settings class"),
        ("app.config:Settings", "import nope_at_all", PolicyError, "needs the module nope_at_all"),
        ("app.config:Settings", "1 / 0", UserCodeError, "raised ZeroDivisionError at config.py:1"),
        ("app.config:Settings", "def", UserCodeError, "raised SyntaxError at config.py:1"),
        ("app.config:Settings", "import os; os._exit(1)", PolicyError, "ended the process"),
    ],
)
def test_class_that_cannot_be_imported(tmp_path, settings, text, error, message):
    """The error says what to do, and shows no text of an exception, which may hold a value."""
    folder = written(tmp_path, f"settings = {json.dumps(settings)}", config=text)
    with pytest.raises(error, match=message):
        project(folder).policy()
