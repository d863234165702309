"""Test the sample function under the real runtime client: from its folder, and from the zip that its build makes."""

import ast
import hashlib
import hmac
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.util import cache_from_source
from pathlib import Path

import hcl2
import pytest
import yaml
from support.lambda_runtime import SNAP_START, environment, memory, run
from support.markdown import blocks
from support.programs import needs, needs_linux
from support.workspace import Workspace

from encenv import decrypt_environ
from encenv.files.document import parse
from encenv.testing import KmsServer

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "lambda"
SEED = b"samples/lambda"
HOST = "db.internal"
EMPTY_EVENT = "{}"
pytestmark = [
    needs_linux,
    pytest.mark.timeout(600),  # the build installs packages
]


@pytest.fixture
def kms():
    """The KMS that has the key of the sample."""
    with KmsServer() as server:
        key = server.create_key("eu-central-1", material=hashlib.sha256(SEED).digest())
        assert key in (SAMPLE / "pyproject.toml").read_text()
        yield server


@pytest.fixture
def secrets(kms, monkeypatch):
    """The sample's variables, decrypted."""
    for name, value in kms.environ().items():
        monkeypatch.setenv(name, value)
    plain = decrypt_environ(sample_variables())
    kms.clear()
    return plain


def sample_variables():
    """Return the variables of the sample's file, encrypted."""
    lines = parse((SAMPLE / "prod.env").read_text()).bindings
    return {line.name: line.value for line in lines if line.name and line.value is not None}


def template():
    """Return the properties of the function in the SAM template."""
    (resource,) = yaml.safe_load((SAMPLE / "template.yaml").read_text())["Resources"].values()
    assert resource["Type"] == "AWS::Serverless::Function"
    return resource["Properties"]


def functions_environment(kms):
    """Return the environment of the function in the template, with this KMS instead of AWS's."""
    return {**environment(), **kms.environ(), **template()["Environment"]["Variables"]}


def expected(secrets):
    """Return what the handler answers to an empty event."""
    key = secrets["SECRET_KEY"].encode()
    return {"database": HOST, "signature": hmac.digest(key, EMPTY_EVENT.encode(), "sha256").hex()}


def bodies(done):
    """Return what a run of the handler answered."""
    assert all(response["statusCode"] == 200 for response in done.responses), done
    return [json.loads(response["body"]) for response in done.responses]


def test_cold_and_warm(kms, secrets):
    """The handler works with the variables of the template: one Decrypt at the cold start, none afterwards."""
    done = run(SAMPLE, template()["Handler"], functions_environment(kms), 3)
    assert bodies(done) == [expected(secrets)] * 3
    assert [call.operation for call in kms.calls] == ["Decrypt"]
    assert not [value for name, value in secrets.items() if name != "LOG_LEVEL" and value in done.output]


def test_restored_from_a_snapshot(kms, secrets):
    """With the template's variables no secret is in the snapshot's memory; restored, the handler answers the same."""
    images, before = [], []

    def snapshot(process):
        images.append(memory(process))
        before.append(kms.count("Decrypt"))

    done = run(SAMPLE, template()["Handler"], functions_environment(kms) | SNAP_START, 2, snapshot=snapshot)
    assert bodies(done) == [expected(secrets)] * 2
    assert (before, kms.count("Decrypt")) == ([1], 2)
    (image,) = images
    # The encrypted text is found, so a secret would be found, too.
    assert sample_variables()["SECRET_KEY"].encode() in image
    parts = [secrets["SECRET_KEY"], secrets["STRIPE_KEY"], "s4mple-p%40ss"]
    assert "s4mple-p%40ss" in secrets["DATABASE_URL"]
    assert not [part for part in parts if part.encode() in image]


def test_the_policy_file(workspace):
    """policy.json is what `encenv iam-policy` prints, and the template has the same statement."""
    workspace.write("prod.env", (SAMPLE / "prod.env").read_text())
    done = workspace.call("iam-policy", "prod.env")
    assert done.code == 0
    assert (SAMPLE / "policy.json").read_text() == done.out
    assert template()["Policies"] == [json.loads(done.out)]


def test_the_template(workspace):
    """cfn-lint finds nothing wrong in the SAM template, whose variables are those of the file."""
    done = workspace.shell(f"cfn-lint {shlex.quote(str(SAMPLE / 'template.yaml'))}")
    assert (done.code, done.out) == (0, ""), done
    variables = template()["Environment"]["Variables"]
    assert sample_variables().items() <= variables.items()
    assert template()["SnapStart"] == {"ApplyOn": "PublishedVersions"}


def test_the_terraform():
    """main.tf parses and makes the same function as the template, with the policy of the file."""
    text = (SAMPLE / "main.tf").read_text()
    found = {}
    for block in hcl2.loads(text)["resource"]:
        ((kind, named),) = ((k, v) for k, v in block.items() if not k.startswith("__"))
        ((_, body),) = ((k, v) for k, v in named.items() if not k.startswith("__"))
        found[kind.strip('"')] = body
    function, own = found["aws_lambda_function"], template()
    for ours, theirs in {"runtime": "Runtime", "handler": "Handler"}.items():
        assert function[ours].strip('"') == own[theirs]
    assert (function["memory_size"], function["timeout"]) == (own["MemorySize"], own["Timeout"])
    assert found["aws_iam_role_policy"]["policy"] == '${file("${path.module}/policy.json")}'
    added = own["Environment"]["Variables"].items() - sample_variables().items()
    assert dict(added) == dict(re.findall(r'(PYTHONMALLOC|GLIBC_TUNABLES|LD_BIND_NOW) *= "(.+)"', text))


@needs("terraform")
def test_the_terraform_format(tmp_path):
    """`terraform fmt` would change nothing. test_the_terraform parses the file without Terraform."""
    shutil.copy(SAMPLE / "main.tf", tmp_path)
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the sample after the README's commands, and what they printed."""
    workspace = Workspace(tmp_path_factory.mktemp("sample"))
    shutil.copytree(
        SAMPLE, workspace.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", "*.zip")
    )
    # The build needs this machine's settings of pip.
    workspace.environ |= {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))
    }
    workspace.environ |= {"PYTHON": sys.executable, "ENCENV": str(ROOT)}
    with KmsServer() as kms:
        kms.create_key("eu-central-1", material=hashlib.sha256(SEED).digest())
        workspace.environ |= kms.environ()
        variables, build, _ = blocks(SAMPLE / "README.md", "sh")
        before = (workspace.folder / "prod.env").read_text()
        done = workspace.shell("set -e\n" + variables)
        assert done.code == 0, done.err
        assert (workspace.folder / "prod.env").read_text() == before
        made = subprocess.run(
            ["sh", "-c", build],
            cwd=workspace.folder,
            env=workspace.environ,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    assert made.returncode == 0, made.stdout + made.stderr
    return workspace.folder


def test_the_commands_of_the_readme(built):
    """The README's commands make the sample's policy, and the variables of both templates, again."""
    assert (built / "policy.json").read_text() == (SAMPLE / "policy.json").read_text()
    assert json.loads((built / "prod.json").read_text()) == sample_variables()
    lines = hcl2.loads((built / "prod.auto.tfvars").read_text())["environment"]
    assert {k.strip('"'): v.strip('"') for k, v in lines.items() if "__" not in k} == sample_variables()
    (hook,) = blocks(SAMPLE / "README.md", "python")
    ast.parse(hook)
    (wiping,) = (block for block in blocks(SAMPLE / "README.md", "sh") if block.startswith("export"))
    variables = template()["Environment"]["Variables"]
    names = ("PYTHONMALLOC", "GLIBC_TUNABLES", "LD_BIND_NOW")
    assert wiping == f"export {' '.join(f'{name}={variables[name]}' for name in names)}\n"


def test_the_zip_has_no_boto3(built):
    """The zip leaves out what Lambda's runtime has, holds everything compiled, and has the size that the README tells."""
    with zipfile.ZipFile(built / "function.zip") as archive:
        names = archive.namelist()
    tops = {re.split(r"[./-]", name)[0].lower() for name in names}
    assert not tops & {"boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six", "bin"}
    assert {"function", "encenv", "pydantic_settings", "cryptography", "dotenv"} <= tops
    sources = [name for name in names if name.endswith(".py")]
    assert {cache_from_source(name) for name in sources} <= {*names}
    (told,) = re.findall(r"The zip has about\s+(\d+) MB", (SAMPLE / "README.md").read_text())
    size = (built / "function.zip").stat().st_size / 1e6
    assert 0.8 * int(told) < size < 1.25 * int(told)


def test_the_handler_in_the_zip(built, kms, secrets, tmp_path):
    """The handler answers with nothing but the zip and the runtime client, without boto3."""
    with zipfile.ZipFile(built / "function.zip") as archive:
        archive.extractall(tmp_path / "task")
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    packages = Path(sysconfig.get_path("platlib"))
    for pattern in ("awslambdaric", "runtime_client*.so", "simplejson", "snapshot_restore_py.py"):
        (found,) = packages.glob(pattern)
        (runtime / found.name).symlink_to(found)
    environ = functions_environment(kms)
    environ.pop("COVERAGE_PROCESS_CONFIG", None)  # coverage is not in the zip either
    environ["PYTHONPATH"] = f"{tmp_path / 'task'}:{runtime}"
    done = run(tmp_path / "task", "function.handler", environ, 2, options=("-S",))  # -S: no site-packages
    assert bodies(done) == [expected(secrets)] * 2
    assert kms.count("Decrypt") == 1
