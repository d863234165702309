"""``encenv export``: what each format's own reader makes of it, and that no plaintext leaves unasked."""

import base64
import contextlib
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.programs import needs
from support.workspace import CANARY, in_words

from encenv import decrypt_environ
from encenv.errors import MalformedError
from encenv.export.formats import FORMATS, Variables
from encenv.keys.unwrap import clear_cache

AWS = Path(sys.executable).with_name("aws")
# Its own function, by the version whose function has these arguments.
LIBSYSTEMD = next(Path("/usr/lib").glob("*/systemd/libsystemd-shared-252.so"), None)

# What breaks one format or another; each is text that python-dotenv can give.
HARD = {
    "EMPTY": "",
    "SPACES": "  two  words  ",
    "QUOTES": """it's "quoted" `so`""",
    "BACKSLASH": "a\\b\\\\c\\n \\",
    "DOLLAR": "$HOME ${HOME} $$ $(id) `id` %{if} $${x} %%{y} %n",
    "HASH": "a #b ; c # d",
    "LINES": "one\ntwo\n\n three \n",
    "TAB": "a\tb",
    "UNICODE": "zoë 🔑 \u2028 \ufeff",
    "YES": "yes",
    "NUMBER": "0x1F",
    "SEXAGESIMAL": "1:20",
    "JSON": '{"a": [1, "b"]}',
    "YAML": "- a: b\n- *c",
    "HEREDOC": "x<<ENCENV_END\nENCENV_END\n",
    "PERCENT": "100%25 %0A",
    "EQUALS": "a=b==",
    "BANG": "a!b *? [c] ~",
}


def from_json(text: bytes, _: Path) -> dict:
    """Read *text* as any JSON reader does."""
    return json.loads(text)


def from_shell(text: bytes, folder: Path, shell: str = "sh") -> dict:
    """Source *text* in a shell, and return what a child of that shell gets."""
    (folder / "file.sh").write_bytes(text)
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    environ = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [shell, "-c", '. ./file.sh; exec "$@"', "sh", sys.executable, "-c", code],
        cwd=folder, env=environ, capture_output=True, check=True,
    )  # fmt: skip
    assert not done.stderr
    found = json.loads(done.stdout)
    return {
        name: value
        for name, value in found.items()
        if name not in {"PATH", "PWD", "_", "LC_CTYPE", "SHLVL", "OLDPWD"}
    }


@contextlib.contextmanager
def listener(method: str, path: str, reply: bytes) -> Iterator[tuple[str, list[dict]]]:
    """Run a server; give its address, and the bodies that it gets for *path*."""
    bodies: list[dict] = []

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if path in self.path and self.command == method:
                bodies.append(json.loads(body))
            self.send_response(200 if method == "PUT" or not body else 201)
            self.send_header("Api-Version", "1.40")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(0 if self.command == "HEAD" else len(reply)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply)

        do_HEAD = do_GET = do_POST = do_PUT = answer  # noqa: N815 (as http.server calls them)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
        server.shutdown()


def from_docker(text: bytes, folder: Path) -> dict:
    """Return what the docker client reads in *text*, by what it sends to its daemon, which is ours here."""
    (folder / "docker.env").write_bytes(text)
    with listener("POST", "/containers/create", b'{"Id": "1", "Warnings": []}') as (url, bodies):
        host = url.replace("http", "tcp", 1)
        done = subprocess.run(
            ["docker", "create", "--env-file", "docker.env", "image"],
            cwd=folder, env={"PATH": os.environ["PATH"], "HOME": str(folder), "DOCKER_HOST": host},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert bodies, done.stderr
    return dict(line.split("=", 1) for line in bodies[0]["Env"])


def from_systemd(text: bytes, folder: Path) -> dict:
    """Read *text* with systemd's own function for an EnvironmentFile; it drops what it refuses."""
    (folder / "file.env").write_bytes(text)
    library = ctypes.CDLL(LIBSYSTEMD)
    found = ctypes.POINTER(ctypes.c_char_p)()
    code = library.load_env_file(None, str(folder / "file.env").encode(), ctypes.byref(found))
    assert code >= 0, os.strerror(-code)
    lines = []
    while found and found[len(lines)] is not None:
        lines.append(found[len(lines)])
    return dict(line.decode("utf-8", "surrogateescape").split("=", 1) for line in lines)


def from_terraform(text: bytes, folder: Path) -> dict:
    """Return what Terraform reads in *text* as a .tfvars file."""
    (folder / "main.tf").write_text('variable "environment" { type = map(string) }\n')
    (folder / "x.tfvars").write_bytes(text)
    done = subprocess.run(
        ["terraform", "console", "-no-color", "-var-file=x.tfvars"],
        cwd=folder, input="base64encode(jsonencode(var.environment))\n", capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "CHECKPOINT_DISABLE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(base64.b64decode(done.stdout.strip().strip('"')))


def from_lambda(text: bytes, folder: Path) -> dict:
    """Return what the AWS command line reads in *text*, by what it sends to AWS, which is ours here."""
    (folder / "in.json").write_bytes(text)
    with listener("PUT", "/configuration", b"{}") as (url, bodies):
        done = subprocess.run(
            [sys.executable, AWS, "lambda", "update-function-configuration", "--function-name", "f", "--cli-input-json", "file://in.json",
             "--endpoint-url", url, "--region", "us-east-1"],
            cwd=folder, capture_output=True, text=True, timeout=60, check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return bodies[0]["Environment"]["Variables"]


def from_kubernetes(text: bytes, folder: Path) -> dict:
    """Read the manifest *text* with PyYAML, and with kubectl if it is installed."""
    found = yaml.safe_load(text)
    assert (found["apiVersion"], found["metadata"]) == ("v1", {"name": "env"})
    data = found["data"] if found["kind"] == "ConfigMap" else found["stringData"]
    if shutil.which("kubectl"):
        (folder / "m.yaml").write_bytes(text)
        done = subprocess.run(
            ["kubectl", "annotate", "--local", "-f", "m.yaml", "a=b", "-o", "json"],
            cwd=folder, env={"PATH": os.environ["PATH"], "HOME": str(folder)}, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        also = json.loads(done.stdout)
        assert (also["data"] if found["kind"] == "ConfigMap" else also["stringData"]) == data
    return data


def from_github(text: bytes, _: Path) -> dict:
    """Read *text* as the runner reads GITHUB_ENV: NAME=value, or NAME<<END, lines, END (FileCommandManager.cs)."""
    found = {}
    lines = iter(text.decode().split("\n")[:-1])
    for line in lines:
        equals, heredoc = line.find("="), line.find("<<")
        if equals >= 0 and (heredoc < 0 or equals < heredoc):
            found[line[:equals]] = line[equals + 1 :]
            continue
        name, _, end = line.partition("<<")
        value = []
        while (one := next(lines)) != end:
            value.append(one)
        found[name] = "\n".join(value)
    return found


READERS = [
    pytest.param("json", from_json, id="json"),
    pytest.param("shell", from_shell, id="sh"),
    pytest.param("shell", lambda text, folder: from_shell(text, folder, "bash"), id="bash", marks=needs("bash")),
    pytest.param("docker", from_docker, id="docker", marks=needs("docker")),
    pytest.param("systemd", from_systemd, id="systemd", marks=needs("systemd 252", available=LIBSYSTEMD is not None)),
    pytest.param("terraform", from_terraform, id="terraform", marks=needs("terraform")),
    pytest.param("lambda", from_lambda, id="lambda", marks=needs("aws", available=AWS.exists())),
    pytest.param("k8s", from_kubernetes, id="k8s"),
    pytest.param("github", from_github, id="github"),
]  # fmt: skip
FAST = [one for one in READERS if one.id in {"json", "systemd", "k8s", "github"}]


def accepted(form: str, values: dict[str, str]) -> dict[str, str]:
    """Return those of *values* that the format takes, after checking that it refuses the others by name."""
    found = {}
    for name, value in values.items():
        try:
            FORMATS[form].write(Variables({name: value}))
        except MalformedError as error:
            assert error.variables == (name,)  # noqa: PT017 (the errors of others are tested, too)
        else:
            found[name] = value
    return found


def test_each_format_is_read_and_documented(workspace):
    """Each format has a reader here and a line in the verb's help."""
    assert set(FORMATS) == {reader.values[0] for reader in READERS}
    shown = workspace.call("export", "--help").out
    assert set(FORMATS) <= set(re.findall(r"^  (\w+)  +", shown, re.MULTILINE))


@pytest.mark.parametrize(("form", "reader"), READERS)
def test_hard_values(tmp_path, form, reader):
    """A format's own reader gets every character that was written."""
    values = accepted(form, HARD)
    missing = {"docker": {"LINES", "YAML", "HEREDOC"}, "json": set(), "lambda": set(), "k8s": set()}
    assert HARD.keys() - values.keys() == missing.get(form, set())
    secret = frozenset(values)
    assert reader(FORMATS[form].write(Variables(values, secret)).text.encode(), tmp_path) == values


@pytest.mark.parametrize(("form", "reader"), FAST)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), max_size=5)
)
def test_any_value(tmp_path, form, reader, texts):
    """Any text arrives unchanged, or is refused."""
    values = accepted(form, {f"N{index}": text for index, text in enumerate(texts)})
    if form == "k8s":
        shutil_which, shutil.which = shutil.which, lambda _: None
        try:
            assert (reader(FORMATS[form].write(Variables(values)).text.encode(), tmp_path) or {}) == values
        finally:
            shutil.which = shutil_which
    else:
        assert reader(FORMATS[form].write(Variables(values)).text.encode(), tmp_path) == values


@pytest.mark.parametrize(("form", "reader"), READERS)
def test_encrypted(sealed, tmp_path, form, reader):
    """An encrypted export holds no plaintext, and a service decrypts what its reader gives it."""
    environ = dict(sealed.environ)
    with_long_names(sealed)
    result = sealed.call("export", "--format", form, "-o", "out")
    assert (result.code, result.out, result.err) == (0, "", "")
    data = (sealed.folder / "out").read_bytes()
    assert CANARY.encode() not in data
    assert b"ENCENV_KEY_" in data
    found = reader(data, tmp_path)
    assert next(iter(found)).startswith("ENCENV_KEY_") or form in {"shell", "terraform", "docker"}
    assert decrypted(environ, found) == {"KEY_A": CANARY, "KEY_B": f"{CANARY} # 2"}


def with_long_names(workspace) -> None:
    """Encrypt the workspace's values under longer names: AWS Lambda refuses names of one letter."""
    workspace.write(".env", f"KEY_A={CANARY}\nKEY_B='{CANARY} # 2'\n")
    assert workspace.call("encrypt", "--key", "local").code == 0


def decrypted(environ: dict[str, str], found: dict[str, str]) -> dict[str, str]:
    """Decrypt *found* as a service that has the workspace's local key."""
    before = dict(os.environ)
    clear_cache()
    try:
        os.environ.update(environ)
        return decrypt_environ(found)
    finally:
        os.environ.clear()
        os.environ.update(before)
        clear_cache()


@pytest.mark.parametrize(("form", "reader"), READERS)
def test_plaintext(sealed, tmp_path, form, reader):
    """--plaintext exports plaintext without key entries, into a file that only its owner can read."""
    with_long_names(sealed)
    assert sealed.call("export", "--format", form, "--plaintext", "-o", "out").code == 0
    path = sealed.folder / "out"
    assert reader(path.read_bytes(), tmp_path) == {"KEY_A": CANARY, "KEY_B": f"{CANARY} # 2"}
    assert path.stat().st_mode & 0o777 == 0o600


REFERS = (
    "HOST=db.internal\nPASSWORD=hunter2\nURL=postgres://me:${PASSWORD}@${HOST:-none}/\nPLAIN='${HOST}/x'\n"
)


def test_references_arrive_expanded(workspace):
    """An encrypted value that refers to others is expanded and encrypted again; the others keep their text."""
    workspace.write(".env", REFERS)
    workspace.call("keygen")
    workspace.call("encrypt", "--key", "local")
    before = dotenv_values(workspace.folder / ".env", interpolate=False)
    result = workspace.call("export", "--format", "json")
    assert result.err == ".env: expanded and encrypted again: URL, PLAIN\n"
    found = json.loads(result.out)
    assert {name for name in before if found[name] != before[name]} == {"URL", "PLAIN"}
    assert decrypted(workspace.environ, found) == {
        "HOST": "db.internal", "PASSWORD": "hunter2", "URL": "postgres://me:hunter2@db.internal/", "PLAIN": "db.internal/x",
    }  # fmt: skip
    plain = json.loads(workspace.call("export", "--format", "json", "--plaintext").out)
    assert plain == decrypted(workspace.environ, found)


def test_plaintext_that_refers_to_an_encrypted_value(workspace):
    """Plaintext that refers to an encrypted value is encrypted; other plaintext is exported expanded."""
    workspace.write("pyproject.toml", '[tool.encenv]\nplain = ["HOST", "URL", "SITE"]\nkeys = ["local"]\n')
    workspace.write(".env", "HOST=h\nPASSWORD=hunter2\nURL=x://${PASSWORD}@${HOST}\nSITE=https://${HOST}/\n")
    workspace.call("keygen")
    assert "encrypted 1 value" in workspace.call("encrypt").err
    result = workspace.call("export", "--format", "json")
    found = json.loads(result.out)
    assert found["SITE"] == "https://h/"
    assert found["URL"].startswith("encenv:1:")
    assert decrypted(workspace.environ, found)["URL"] == "x://hunter2@h"
    asis = workspace.call("export", "--format", "json", "--as-is")
    assert json.loads(asis.out)["URL"] == "x://${PASSWORD}@${HOST}"
    assert "exported with ${NAME}, which refers to encrypted values: URL" in asis.err


def test_without_a_key(workspace):
    """Without a key, export fails and names --as-is, which exports the file's own texts and warns."""
    workspace.write(".env", REFERS)
    workspace.call("keygen")
    workspace.call("encrypt", "--key", "local")
    before = dotenv_values(workspace.folder / ".env", interpolate=False)
    (workspace.home / ".config/encenv/local.key").unlink()
    message, hint = in_words(workspace.call("export", "--format", "json"))
    assert message.startswith("HOST, PASSWORD, URL, PLAIN: the local key ")
    assert hint.endswith("or, if no value refers to others by ${NAME}: --as-is")
    result = workspace.call("export", "--format", "json", "--as-is")
    assert json.loads(result.out) == before
    assert "not decrypted: HOST, PASSWORD, URL, PLAIN; if they refer to others" in result.err
    only = workspace.call("export", "--format", "json", "--as-is", "--only", "H*", "--except", "URL")
    assert [name for name in json.loads(only.out) if not name.startswith("ENCENV_KEY_")] == ["HOST"]


def test_plaintext_that_must_be_encrypted(sealed):
    """Plaintext that must be encrypted is only exported with --plaintext."""
    with (sealed.folder / ".env").open("a") as file:
        file.write(f"C={CANARY}\n")
    (sealed.folder / ".env").rename(sealed.folder / "my app.env")
    for more in ((), ("--as-is",)):
        message, hint = in_words(sealed.call("export", "--format", "shell", "my app.env", *more))
        assert message == "C: not encrypted, but must be"
        assert hint.startswith("run: encenv encrypt 'my app.env'; or ")


def test_missing_entry(sealed):
    """An encrypted value is not exported without its key entry."""
    path = sealed.folder / ".env"
    path.write_text(
        "".join(line for line in path.read_text().splitlines(keepends=True) if "ENCENV_KEY" not in line)
    )
    for more in ((), ("--as-is",)):
        assert (
            "there is no key entry ENCENV_KEY_"
            in in_words(sealed.call("export", "--format", "json", *more))[0]
        )


def test_damaged_values_are_named(sealed):
    """Encrypted values that are cut off are all named, whether the export decrypts or not."""
    path = sealed.folder / ".env"
    path.write_text(re.sub(r"(=encenv:1:.{30}).*", r"\1", path.read_text()))
    for more in ((), ("--as-is",)):
        message, _ = in_words(sealed.call("export", "--format", "json", *more))
        assert message == "A, B: the encrypted value is cut off or changed"


def test_entries_of_one_data_key_are_merged(sealed):
    """Two key entries of one data key become one variable with the wrapped keys of both."""
    path = sealed.folder / ".env"
    entry = next(line for line in path.read_text().splitlines() if line.startswith("ENCENV_KEY_"))
    name, _, value = entry.partition("=")
    head, item = value.split("+")
    path.write_text(
        f"{name}={head}+aws-kms:AAAA:arn:aws:kms:eu-west-1:111122223333:key/x\n" + path.read_text()
    )
    found = json.loads(sealed.call("export", "--format", "json").out)
    assert found[name] == f"{head}+aws-kms:AAAA:arn:aws:kms:eu-west-1:111122223333:key/x+{item}"


def test_lambda_warns_of_its_limit(workspace):
    """Over 4,096 bytes of one JSON text, export warns; --name sets FunctionName."""
    workspace.write(".env", "".join(f"NAME_{i}={'x' * 32}\n" for i in range(40)))
    workspace.call("keygen")
    workspace.call("encrypt", "--key", "local")
    result = workspace.call("export", "--format", "lambda", "--name", "shop")
    found = json.loads(result.out)
    assert list(found) == ["FunctionName", "Environment"]
    size = len(json.dumps(found["Environment"]["Variables"], separators=(",", ":")))
    assert f"the variables have {size:,} bytes, and AWS Lambda takes 4,096" in result.err
    workspace.write("reserved.env", "AWS_REGION=x\nA=1\n")
    message, _ = in_words(workspace.call("export", "--format", "lambda", "--plaintext", "reserved.env"))
    assert "AWS_REGION: AWS Lambda reserves this name" in message
    assert "A: AWS Lambda takes no variable of this name" in message


def test_lambda_bytes_are_those_of_status(workspace):
    """The bytes that ``export`` warns of are those that ``status`` shows: of one JSON text in UTF-8, without spaces."""
    workspace.write("pyproject.toml", '[tool.encenv]\nplain = ["*"]\n')
    lines = [f"NAME_{i}='zoë 🔑 \"{i}\"\t{'x' * 80}'\n" for i in range(40)]
    workspace.write(".env", "".join(["NAME_0=of two lines the last counts\n", *lines]))
    found = json.loads(workspace.call("export", "--format", "json").out)
    assert len(found) == 40
    size = len(json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode())
    (status,) = json.loads(workspace.call("status", "--json").out)["files"]
    assert (status["lambda_bytes"], status["lambda_bytes_left"]) == (size, 4096 - size)
    assert f"the variables have {size:,} bytes" in workspace.call("export", "--format", "lambda").err


def test_github_masks(workspace):
    """In a step, masks for secrets are printed first, and the variables are appended to GITHUB_ENV."""
    workspace.write("pyproject.toml", '[tool.encenv]\nplain = ["DEBUG"]\nkeys = ["local"]\n')
    workspace.write(".env", 'DEBUG=true\nKEY="-----\na%b\n-----"\n')
    workspace.call("keygen")
    workspace.call("encrypt")
    message, hint = in_words(workspace.call("export", "--format", "github"))
    assert message == "GITHUB_ENV is not set: this is not a step of a GitHub workflow"
    assert "-o FILE" in hint
    target = workspace.write("github_env", "EARLIER=1\n")
    workspace.environ["GITHUB_ENV"] = str(target)
    assert workspace.call("export", "--format", "github").out == ""  # nothing secret in it
    assert "KEY=encenv:1:" in target.read_text()
    target.write_text("EARLIER=1\n")
    result = workspace.call("export", "--format", "github", "--plaintext")
    assert result.out == "::add-mask::-----%0Aa%25b%0A-----\n::add-mask::-----\n::add-mask::a%25b\n"
    assert from_github(target.read_bytes(), workspace.folder) == {
        "EARLIER": "1",
        "DEBUG": "true",
        "KEY": "-----\na%b\n-----",
    }
    # Sent into GITHUB_ENV with the variables, the masks would mask nothing and be shown.
    message, _ = in_words(workspace.call("export", "--format", "github", "--plaintext", "-o", "-"))
    assert message == "standard output cannot take the variables and the commands that mask plaintext"
    assert "KEY=encenv:1:" in workspace.call("export", "--format", "github", "-o", "-").out
    target.write_text("EARLIER=1")  # another program left its line open
    workspace.call("export", "--format", "github", "--only", "DEBUG")
    assert from_github(target.read_bytes(), workspace.folder) == {"EARLIER": "1", "DEBUG": "true"}
    workspace.environ["GITHUB_ENV"] = str(workspace.folder / "no/such")
    assert "cannot append to" in in_words(workspace.call("export", "--format", "github"))[0]


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "Runner_Temp", "node_options"])
def test_names_that_github_reserves(name):
    """A name that the runner refuses, in any case, is refused before anything is appended."""
    with pytest.raises(MalformedError, match=f"{name}: GitHub Actions reserves this name"):
        FORMATS["github"].write(Variables({name: "x"}))
    assert FORMATS["github"].write(Variables({"NODE_OPTIONS_2": "x"})).text == "NODE_OPTIONS_2=x\n"


def test_kinds_of_kubernetes_objects(sealed):
    """Encrypted values are a ConfigMap, plaintext is a Secret, and a name that Kubernetes refuses is refused."""
    assert (
        yaml.safe_load(sealed.call("export", "--format", "k8s", "--name", "shop").out)["kind"] == "ConfigMap"
    )
    assert yaml.safe_load(sealed.call("export", "--format", "k8s", "--plaintext").out)["kind"] == "Secret"
    message, _ = in_words(sealed.call("export", "--format", "k8s", "--name", "Shop_1"))
    assert message == "'Shop_1' cannot be the name of a Kubernetes object"


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_to_export(workspace, form):
    """A file without variables can be exported in every format."""
    workspace.write(".env", "# nothing\nBARE\n")
    assert workspace.call("export", "--format", form, "-o", "-").code == 0


def test_wrong_calls(sealed):
    """Options that exclude each other are refused."""
    assert sealed.call("export").code == 2
    assert sealed.call("export", "--format", "toml").code == 2
    assert sealed.call("export", "--format", "json", "--name", "x").code == 2
    assert sealed.call("export", "--format", "json", "--plaintext", "--as-is").code == 2
