"""``encenv doctor``: each thing that can be wrong is made wrong, and doctor says what to do."""

import json
import logging
import os
import re
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from moto.server import ThreadedMotoServer
from support.programs import needs
from support.workspace import CANARY

from encenv.errors import KeyUnreachableError
from encenv.format.sealed import KeyEntry
from encenv.keys.aws.probe import KmsProbe
from encenv.testing import KmsServer


@pytest.fixture
def kms(workspace):
    """A KMS that the workspace's environment leads to, its key, and a .env encrypted with it."""
    with KmsServer() as server:
        workspace.environ |= server.environ() | {"AWS_MAX_ATTEMPTS": "1"}
        server.key = server.create_key(alias="alias/shop")
        workspace.write(".env", f"A={CANARY}\n")
        assert workspace.call("encrypt", "--key", server.key, "--context", "stage=prod").code == 0
        server.clear()
        yield server


def look(workspace, *args):
    """Return the findings that are not ok, the exit code, and all findings."""
    result = workspace.call("doctor", *args, "--json")
    assert CANARY not in result.out + result.err
    report = json.loads(result.out)
    assert report["ok"] == all(one["severity"] != "error" for one in report["findings"])
    assert result.code == (not report["ok"])
    assert all(one["hint"] for one in report["findings"] if one["severity"] in {"warning", "error"})
    found = [(one["severity"], one["where"], one["message"], one["hint"]) for one in report["findings"]]
    return [one for one in found if one[0] != "ok"], result.code, found


def test_no_error(workspace, kms):
    """With a key that may be used there is no error, nothing is decrypted, and each line begins with its severity."""
    result = workspace.call("doctor")
    assert result.code == 0
    assert f"{kms.key} opens it (dry run)" in result.out
    assert "clock" in result.out
    assert all(
        line[:7].strip() in {"ok", "skipped", "warning"} or line.startswith(" ")
        for line in result.out.splitlines()
    )
    assert kms.count("Decrypt") == 0  # a dry run is an error to the server
    assert {call.error for call in kms.calls if call.operation == "Decrypt"} == {"DryRunOperationException"}
    bad, code, _ = look(workspace)
    assert (bad, code) == ([("skipped", "git", "this folder is not in a git repository", None)], 0)


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        (lambda kms: kms.disable(kms.key), "is in the state Disabled", "enable it in AWS KMS"),
        (
            lambda kms: kms.schedule_deletion(kms.key),
            "is in the state PendingDeletion",
            "cancel its deletion",
        ),
        (lambda kms: kms.deny("Decrypt"), "AWS KMS refused kms:Decrypt on", "allow kms:Decrypt on this key"),
        (lambda kms: kms.deny(), "AWS KMS refused kms:Decrypt on", "allow kms:Decrypt on this key"),
        (lambda kms: kms.fail("Decrypt"), "AWS KMS could not answer kms:Decrypt on", "try again"),
        (lambda kms: kms.fail("*", code="ThrottlingException"), "ThrottlingException", "quota is used up"),
        (lambda kms: kms.fail("*", code="ExpiredTokenException"), "ExpiredTokenException", "sign in again"),
        (lambda kms: kms.fail("*", code="InvalidSignatureException"), "InvalidSignatureException", "clock"),
        (lambda kms: kms.drop(), "AWS KMS was not reached: ", "check the network"),
        (lambda kms: kms.stop(), "AWS KMS was not reached: ", "check the network"),
    ],
)
def test_kms_fails(workspace, kms, wrong, message, hint):
    """Whatever is wrong with the key is one error with its hint."""
    wrong(kms)
    bad, code, _ = look(workspace)
    broken = [one for one in bad if one[0] == "error"]
    assert code == 1
    assert len(broken) == 1
    assert message in broken[0][2]
    assert hint in broken[0][3]


def test_without_permission_to_describe_the_key(workspace, kms):
    """A role that may decrypt and nothing else has no error."""
    kms.deny("DescribeKey")
    assert look(workspace)[1] == 0


def test_no_network(workspace, kms):
    """Without a network it ends soon and says what it could not check; with --offline it does not try."""
    kms.stop()
    started = time.monotonic()
    bad, code, _ = look(workspace)
    assert code == 1
    assert time.monotonic() - started < 10
    assert ("skipped", "clock", "AWS gave no answer to compare it with", None) in bad
    bad, code, _ = look(workspace, "--offline")
    assert code == 0
    assert "not contacted, because of --offline: credentials, clock and keys are not checked" in [
        one[2] for one in bad
    ]


def test_credentials_and_region(workspace, kms):
    """Without credentials AWS is not contacted; only an alias needs a region."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del workspace.environ[name]
    bad, code, _ = look(workspace)
    assert code == 1
    assert bad[0][:3] == ("error", "credentials", "no AWS credentials found")
    assert kms.calls == []
    workspace.environ |= kms.environ()
    del workspace.environ["AWS_REGION"], workspace.environ["AWS_DEFAULT_REGION"]
    assert look(workspace)[1] == 0
    workspace.write("pyproject.toml", '[tool.encenv]\nkeys = ["alias/shop"]\n')
    assert ("error", "region", "none is set, and an alias needs one", "set AWS_REGION") in look(workspace)[0]
    workspace.environ["AWS_PROFILE"] = "nobody"
    assert look(workspace)[0][0][1:3] == ("credentials", "the AWS profile does not exist")


def test_identity(workspace, kms):
    """It names the owner of the credentials if AWS STS answers, and continues if it does not."""
    assert [one[2] for one in look(workspace)[2] if one[1] == "credentials"] == ["found (env)"]
    sts = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    sts.start()
    try:
        workspace.environ["AWS_ENDPOINT_URL_STS"] = "http://{}:{}".format(*sts.get_host_and_port())
        (said,) = (one[2] for one in look(workspace)[2] if one[1] == "credentials")
    finally:
        sts.stop()
    assert re.fullmatch(r"found \(env\); they belong to arn:aws:sts::\d{12}:\S+", said)
    findings = look(workspace)
    assert [one[2] for one in findings[2] if one[1] == "credentials"] == ["found (env)"]
    assert findings[1] == 0


def test_credentials_that_are_refused(workspace, kms):
    """It says with which code AWS refuses to let the credentials assume the role that the configuration names."""

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(403)
            self.end_headers()
            code = "<Code>AccessDenied</Code><Message>not text of ours</Message>"
            self.wfile.write(f"<ErrorResponse><Error>{code}</Error></ErrorResponse>".encode())

        def log_message(self, *args):
            pass

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del workspace.environ[name]
    role = "[profile shop]\nrole_arn = arn:aws:iam::111122223333:role/shop\nsource_profile = own\n"
    own = "[profile own]\naws_access_key_id = A\naws_secret_access_key = B\n"
    workspace.environ["AWS_CONFIG_FILE"] = str(workspace.write("aws", role + own))
    workspace.environ["AWS_PROFILE"] = "shop"
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as sts:
        threading.Thread(target=sts.serve_forever, daemon=True).start()
        workspace.environ["AWS_ENDPOINT_URL_STS"] = "http://{}:{}".format(*sts.server_address)
        bad, code, _ = look(workspace)
        sts.shutdown()
    assert code == 1
    assert bad[0][:3] == ("error", "credentials", "AWS gave no credentials: AccessDenied")
    assert "may assume it" in bad[0][3]


def test_credentials_that_do_not_come(workspace, kms, monkeypatch):
    """A credential process that hangs is an error, and nothing waits for its end."""
    monkeypatch.setattr("encenv.keys.aws.probe.CREDENTIALS_SECONDS", 0.2)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del workspace.environ[name]
    config = workspace.write("aws", "[default]\ncredential_process = sleep 3\n")
    workspace.environ["AWS_CONFIG_FILE"] = str(config)
    bad, code, _ = look(workspace)
    assert code == 1
    assert bad[0][:3] == ("error", "credentials", "no AWS credentials came within 0.2 seconds")
    assert kms.calls == []


def test_a_silent_region_is_asked_once(workspace, kms, monkeypatch):
    """A region that cannot be reached is waited for once, whatever the number of its keys; others are asked."""
    for variable, text in workspace.environ.items():
        monkeypatch.setenv(variable, text)
    far = kms.create_key("eu-west-1")
    probe = KmsProbe()
    kms.clear()
    kms.drop(times=1)
    for _ in range(3):
        with pytest.raises(KeyUnreachableError, match="not reached"):
            probe.state(kms.key)
    assert len(kms.calls) == 1
    assert probe.state(far) == "Enabled"
    kms.fail("DescribeKey", code="ThrottlingException", region="eu-west-1", times=1)
    with pytest.raises(KeyUnreachableError, match="Throttling"):
        probe.state(far)
    assert probe.state(far) == "Enabled"


def test_permission_to_encrypt(workspace, kms):
    """For the keys of pyproject.toml it says whether one may encrypt, add values as a contributor, or neither."""
    workspace.write("pyproject.toml", '[tool.encenv]\nkeys = ["alias/shop"]\ncontext = { stage = "prod" }\n')
    assert ("ok", "encrypting", "under alias/shop is permitted (dry run)", None) in look(workspace)[2]
    kms.deny("GenerateDataKey", unless_context={"encenv-add": "1"})
    assert ("ok", "encrypting", "under alias/shop is permitted to a contributor (dry run)", None) in look(
        workspace
    )[2]
    kms.deny("GenerateDataKey")
    found = [one for one in look(workspace)[0] if one[1] == "encrypting"]
    assert found[0][0] == "warning"
    assert found[0][2].startswith("AWS KMS refused kms:GenerateDataKey on alias/shop")


def test_multi_region(workspace, kms):
    """A multi-Region key is tried in the region of the process first, and one that works is enough."""
    key = kms.create_key("eu-west-1", multi_region=True)
    near = kms.replicate(key, "us-east-1")
    workspace.write("m.env", "A=1\n")
    workspace.call("encrypt", "--key", key, "m.env")
    found = look(workspace, "m.env")[2]
    assert [one[2] for one in found if one[1].startswith("data key")] == [
        f"{near} opens it (dry run)", f"{key} opens it (dry run)",
    ]  # fmt: skip
    kms.disable(key)
    bad, code, _ = look(workspace, "m.env")
    assert code == 0
    assert bad[0][0] == "warning"
    assert "another key opens it" in bad[0][2]


def test_clock(workspace, kms, monkeypatch):
    """A clock that AWS would refuse is an error; one that is a little off is a warning."""
    entry_text = next(
        line for line in (workspace.folder / ".env").read_text().splitlines() if "ENCENV_KEY_" in line
    )
    name, _, value = entry_text.partition("=")
    entry = KeyEntry.parse(name[-8:], value)
    for variable, text in workspace.environ.items():
        monkeypatch.setenv(variable, text)
    probe = KmsProbe(os.environ, now=lambda: time.time() + 1000)
    assert probe.skew is None
    probe.may_unwrap(entry.items[0], {"encenv": "1", "stage": "prod"})
    assert probe.skew == pytest.approx(1000, abs=5)
    for seconds, state, said in (
        (1000, "error", "seconds ahead of"),
        (-90, "warning", "seconds behind"),
        (0, "ok", "the same as AWS's"),
    ):
        monkeypatch.setattr(
            "encenv.cli.key_health.KmsProbe",
            lambda s=seconds: KmsProbe(os.environ, now=lambda: time.time() + s),
        )
        found = [one for one in look(workspace)[2] if one[1] == "clock"]
        assert found[0][0] == state
        assert said in found[0][2]


def test_local_key(sealed):
    """A local key that is missing, readable by others or the wrong one is an error, with what to do."""
    assert look(sealed)[1] == 0
    key = sealed.home / ".config/encenv/local.key"
    key.chmod(0o644)
    bad, code, _ = look(sealed)
    assert code == 1
    assert [one[3][:15] for one in bad if one[0] == "error"] == ["run: chmod 600 "]
    key.unlink()
    assert "a file of mode 600" in str(look(sealed)[0])
    sealed.call("keygen")
    bad, code, _ = look(sealed)
    assert code == 1
    assert "ask a colleague" in str([one for one in bad if one[0] == "error"])
    sealed.environ["ENCENV_LOCAL_KEY"] = key.read_text()
    assert "ENCENV_LOCAL_KEY is set" in str(look(sealed)[2])


def test_files(sealed):
    """Damage and plaintext are named by line and variable; permissions that are too wide are named, too."""
    path = sealed.folder / ".env"
    with path.open("a") as file:
        file.write(f"C={CANARY}\nD=encenv:1:broken\n")
    path.chmod(0o646)
    bad, code, _ = look(sealed)
    assert code == 1
    texts = [f"{severity} {message} {hint}" for severity, _, message, hint in bad]
    report = sealed.call("doctor").out
    assert re.search(r"^error    \.env:5: D: .*\n         -> restore the line from git", report, re.MULTILINE)
    assert (
        "warning  .env:4: C: plaintext that must be encrypted\n         -> run: encenv encrypt .env\n"
        in report
    )
    assert any("error everybody can write it (mode 646) run: chmod go-w .env" in text for text in texts)
    assert any("warning others can read its plaintext" in text for text in texts)
    assert look(sealed, "gone.env")[0][0][:3] == ("error", "gone.env", "the file gone.env does not exist")


def test_long_files(sealed):
    """Of many findings in a file, it shows the first five of a kind, and how many more there are."""
    with (sealed.folder / ".env").open("a") as file:
        file.writelines(f"PLAIN_{i}=1\nDAMAGED_{i}=encenv:1:x\n" for i in range(7))
    bad, code, _ = look(sealed)
    assert code == 1
    for severity in ("warning", "error"):
        of_file = [one for one in bad if one[:2] == (severity, ".env") and "others can read" not in one[2]]
        assert len(of_file) == 6
        assert of_file[-1][2:] == ("2 more", "see them all: encenv check .env")


def test_settings(sealed):
    """Settings that cannot be read are an error, and the other checks continue."""
    sealed.write("pyproject.toml", '[tool.encenv]\nkey = "local"\n')
    bad, code, found = look(sealed)
    assert code == 1
    assert bad[0][1] == "settings"
    assert any("opens it" in one[2] for one in found)
    sealed.write("pyproject.toml", '[tool.encenv]\nkeys = ["local"]\nsettings = "nowhere:Settings"\n')
    bad, _, found = look(sealed)
    assert bad[0][1] == "settings"
    assert any(one[1] == "local key" and one[0] == "ok" for one in found)


def test_a_name_that_looks_like_an_option(sealed):
    """A command that doctor suggests does not take a file that begins with a hyphen for an option."""
    sealed.write("-x.env", "".join(f"PLAIN_{i}=1\n" for i in range(7))).chmod(0o646)
    out = sealed.call("doctor", "--", "-x.env").out
    for command in ("encenv encrypt", "encenv check", "chmod go-w", "chmod 600"):
        assert f"{command} ./-x.env" in out, out


@needs("git")
def test_git(sealed):
    """In a repository it says whether the hooks and the drivers are in place, and how to install them."""
    subprocess.run(["git", "init", "-q"], cwd=sealed.folder, env=sealed.environ, check=True)
    bad, code, _ = look(sealed)
    assert code == 0
    assert {one[3] for one in bad if one[1] == "git"} == {"run: encenv hook install"}
    assert sealed.call("hook", "install").code == 0
    assert [one for one in look(sealed)[0] if one[1] == "git"] == []


def test_an_empty_folder(workspace):
    """In an empty folder there is no error."""
    bad, code, _ = look(workspace)
    assert code == 0
    assert {one[0] for one in bad} == {"skipped"}


def test_the_identity_is_not_logged(workspace, kms, monkeypatch, caplog):
    """Nothing of the question to AWS STS is in botocore's debug log."""
    caplog.set_level(logging.DEBUG)
    sts = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    sts.start()
    try:
        workspace.environ["AWS_ENDPOINT_URL_STS"] = "http://{}:{}".format(*sts.get_host_and_port())
        for variable, text in workspace.environ.items():
            monkeypatch.setenv(variable, text)
        identity = KmsProbe().identity()
    finally:
        sts.stop()
    assert identity is not None
    assert identity not in caplog.text
