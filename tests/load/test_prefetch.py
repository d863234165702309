"""encenv.prefetch: which data keys it unwraps, that a load waits for it, and that it has no other effect."""

import logging
import math
import os
import subprocess
import sys
import textwrap
import threading

import pytest
from pydantic import SecretStr
from support.encrypted_variables import encrypted_variables, env_text
from support.python_process import CHILD_SECONDS, run, wait_for_encenv_threads, wait_until
from support.workspace import without_coverage

import encenv
from encenv import EncryptedSettings, decrypt_environ, dotenv_values
from encenv.errors import KeyDeniedError, PolicyError
from encenv.keys.aws.kms import AwsKms
from encenv.keys.unwrap import clear_cache

pytest_plugins = ["encenv.testing"]

SECONDS = 20.0
DRIVER = "encenv-prefetch"


def decrypts(kms):
    """Return the key and the error of each Decrypt that reached KMS."""
    return [(call.key, call.error) for call in kms.calls if call.operation == "Decrypt"]


@pytest.fixture
def secret(encenv_kms, encenv_kms_key, monkeypatch):
    """One encrypted variable in the process environment; no Decrypt for it has reached KMS."""
    for name, value in encrypted_variables(encenv_kms_key, "SECRET").items():
        monkeypatch.setenv(name, value)
    encenv_kms.clear()
    yield encenv_kms_key
    encenv_kms.heal()
    wait_for_encenv_threads()


def load_secret():
    """Load the one variable."""
    return decrypt_environ()["SECRET"]


# -- what it unwraps


def test_it_begins_at_once(encenv_kms, secret):
    """KMS gets the Decrypt before anything is loaded, and no other from the load."""
    encenv.prefetch()
    wait_until(lambda: decrypts(encenv_kms))
    wait_for_encenv_threads()
    assert load_secret() == "value of SECRET"
    assert decrypts(encenv_kms) == [(secret, None)]


def test_a_load_waits_for_it(encenv_kms, secret):
    """A load that begins before KMS has answered waits for that answer: one Decrypt in all."""
    encenv_kms.delay(0.5)
    encenv.prefetch()
    wait_until(lambda: decrypts(encenv_kms))

    class Settings(EncryptedSettings):
        secret: SecretStr

    assert Settings().secret.get_secret_value() == "value of SECRET"
    assert load_secret() == "value of SECRET"
    assert decrypts(encenv_kms) == [(secret, None)]


def test_a_load_at_the_same_time(encenv_kms, secret):
    """A prefetch and a load right after it send one Decrypt, whichever of them is first."""
    for _ in range(20):
        clear_cache()
        encenv_kms.clear()
        encenv.prefetch()
        assert load_secret() == "value of SECRET"
        wait_for_encenv_threads()
        assert decrypts(encenv_kms) == [(secret, None)]


def test_only_what_is_needed(encenv_kms, secret, monkeypatch):
    """A key entry that no encrypted variable needs is not unwrapped."""
    for name, value in encrypted_variables(encenv_kms.create_key()).items():
        monkeypatch.setenv(name, value)
    encenv_kms.clear()
    encenv.prefetch()
    wait_for_encenv_threads()
    assert decrypts(encenv_kms) == [(secret, None)]


def test_all_that_is_needed(encenv_kms, secret, monkeypatch, tmp_path):
    """Encrypted variables of the environment and of several files count, with their entries in any of these places."""
    keys = [encenv_kms.create_key() for _ in range(3)]
    first, second, split = (encrypted_variables(key, f"V{number}") for number, key in enumerate(keys))
    (tmp_path / "a.env").write_text(env_text(first | dict([next(iter(split.items()))])))
    (tmp_path / "b.env").write_text(env_text(second) + f"V2={split['V2']}\n")
    encenv_kms.clear()
    encenv.prefetch([tmp_path / "a.env", str(tmp_path / "none.env"), str(tmp_path / "b.env")])
    wait_for_encenv_threads()
    assert sorted(decrypts(encenv_kms)) == sorted((key, None) for key in (secret, *keys))


def test_all_at_once(encenv_kms, monkeypatch):
    """Five data keys are requested before the first of them is answered."""
    for number in range(5):
        for name, value in encrypted_variables(encenv_kms.create_key(), f"V{number}").items():
            monkeypatch.setenv(name, value)
    encenv_kms.clear()
    encenv_kms.delay(math.inf)
    encenv.prefetch()
    wait_until(lambda: len(decrypts(encenv_kms)) == 5)
    encenv_kms.stop()
    wait_for_encenv_threads()


def test_a_file_at_home(encenv_kms, encenv_kms_key, monkeypatch, tmp_path):
    """~ is the home folder, as in the env_file of a settings class."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.env").write_text(env_text(encrypted_variables(encenv_kms_key, "SECRET")))
    encenv_kms.clear()
    encenv.prefetch("~/x.env")
    wait_for_encenv_threads()

    class Settings(EncryptedSettings, env_file="~/x.env"):
        secret: str

    assert Settings().secret == "value of SECRET"
    assert len(decrypts(encenv_kms)) == 1


def test_nothing_is_encrypted(encenv_kms, monkeypatch):
    """No thread is started if nothing is encrypted."""
    monkeypatch.setattr(threading.Thread, "start", None)
    encenv.prefetch()
    encenv.prefetch([])
    encenv.prefetch(None)


def test_what_it_costs(encenv_kms):
    """With nothing encrypted, neither cryptography nor an HTTP client is imported."""
    code = """
    import sys, encenv
    encenv.prefetch()
    assert not {"cryptography", "ssl", "http.client", "boto3", "dotenv", "pydantic"} & sys.modules.keys()
    """
    environ = without_coverage(encenv_kms.environ(os.environ))
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environ, timeout=CHILD_SECONDS, check=True
    )


# -- the reader's rules


@pytest.mark.parametrize(
    "options",
    [
        {"trusted_keys": ["arn:aws:kms:*:999900001111:key/*"]},
        {"trusted_keys": "999900001111"},
        {"trusted_keys": []},
        {"encryption_context": {"stage": "prod"}},
    ],
    ids=str,
)
def test_rules(encenv_kms, secret, options):
    """A wrapping key that the reader does not trust is not used, nor is a key entry without the context."""
    encenv.prefetch(**options)
    wait_for_encenv_threads()
    assert decrypts(encenv_kms) == []
    with pytest.raises(PolicyError):
        decrypt_environ(**options)
    assert decrypts(encenv_kms) == []


def test_rules_that_are_met(encenv_kms, secret):
    """A wrapping key that the rules accept is used, and the load with the same rules sends no other Decrypt."""
    encenv.prefetch(trusted_keys=[secret])
    wait_for_encenv_threads()
    assert decrypt_environ(trusted_keys=[secret])["SECRET"] == "value of SECRET"
    assert decrypts(encenv_kms) == [(secret, None)]


def test_a_provider_of_the_application(encenv_kms, secret):
    """A key provider that the application made is used, and no other."""

    class Own(AwsKms):
        calls = 0

        def unwrap(self, *args):
            Own.calls += 1
            return super().unwrap(*args)

    encenv.prefetch(key_providers=[Own()])
    wait_for_encenv_threads()
    assert (Own.calls, len(decrypts(encenv_kms))) == (1, 1)


def test_too_many_keys(encenv_kms, encenv_kms_key, monkeypatch):
    """If a load needs more data keys than it may have, none is requested."""
    for number in range(33):
        for name, value in encrypted_variables(encenv_kms_key, f"V{number}").items():
            monkeypatch.setenv(name, value)
    encenv_kms.clear()
    encenv.prefetch()
    wait_for_encenv_threads()
    assert decrypts(encenv_kms) == []


def test_a_misspelt_option(encenv_kms, secret):
    """A rule that is misspelt, or can never be met, is an error at once: it must not be lost in a thread."""
    with pytest.raises(TypeError, match="trusted_key'"):
        encenv.prefetch(trusted_key=[secret])
    with pytest.raises(PolicyError):
        encenv.prefetch(trusted_keys=["alias/app"])
    wait_for_encenv_threads()
    assert decrypts(encenv_kms) == []


# -- failures


def test_a_load_reports_the_failure(encenv_kms, secret, capfd, caplog):
    """Only the load that needs the key reports the failure; a later load tries again."""
    caplog.set_level(1)
    encenv_kms.deny("Decrypt")
    encenv.prefetch()
    wait_for_encenv_threads()
    assert decrypts(encenv_kms) == [(secret, "AccessDeniedException")]
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name == "encenv"]
    assert decrypt_environ({"OTHER": "plain"}) == {"OTHER": "plain"}
    with pytest.raises(KeyDeniedError):
        load_secret()
    encenv_kms.heal()
    assert load_secret() == "value of SECRET"


def test_a_load_waits_for_a_failure(encenv_kms, secret):
    """A load that waits for the answer takes a refusal, too, and does not try again."""
    encenv_kms.delay(0.5)
    encenv_kms.deny("Decrypt", times=1)
    encenv.prefetch()
    wait_until(lambda: decrypts(encenv_kms))
    with pytest.raises(KeyDeniedError):
        load_secret()
    assert len(decrypts(encenv_kms)) == 1


BAD = {
    "bytes": b"\xff\xfe\x00SECRET=\xff",
    "no lines": b"\x00" * 100,
    "an open quote": b"A='x\nB=2\n",
    "half a sealed value": b"A=encenv:1:AAAAAAAA:x\n",
    "another version": b"A=encenv:2:whatever\n",
    "half an entry": b"ENCENV_KEY_AAAAAAAA=1:x\nA=encenv:1:AAAAAAAA:" + b"A" * 40 + b"\n",
    "a value without a key": b"A=encenv:1:AAAAAAAA:" + b"A" * 40 + b"\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file(secret, tmp_path, capfd, caplog, name):
    """A prefetch is silent about a file that cannot be read, or whose values cannot be decrypted."""
    caplog.set_level(1)
    path = tmp_path / ".env"
    path.write_bytes(BAD[name])
    encenv.prefetch(path)
    wait_for_encenv_threads()
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name != "asyncio"] == []
    assert load_secret() == "value of SECRET"


def test_paths_that_are_not_files(encenv_kms, secret, tmp_path):
    """A prefetch leaves a FIFO to the load, as it can be read only once; it ignores folders and missing files."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    encenv.prefetch([fifo, tmp_path, tmp_path / "none", ""])
    wait_for_encenv_threads()
    assert decrypts(encenv_kms) == [(secret, None)]
    text = env_text(encrypted_variables(secret, "IN_THE_FIFO"))
    writer = threading.Thread(target=fifo.write_text, args=(text,))
    writer.start()
    assert dotenv_values(fifo) == {"IN_THE_FIFO": "value of IN_THE_FIFO"}
    writer.join(SECONDS)


@pytest.mark.usefixtures("encenv_kms", "secret")
def test_a_file_without_permission(tmp_path, capfd, monkeypatch):
    """A prefetch is silent about a file without permission to read it."""

    def read(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / ".env"
    path.touch()
    monkeypatch.setattr("encenv.load.dotenv.read_text", read)
    encenv.prefetch(path)
    wait_for_encenv_threads()
    assert capfd.readouterr() == ("", "")


def test_warnings_about_a_file(encenv_kms, encenv_kms_key, tmp_path, caplog):
    """A prefetch does not repeat the warnings of the load about a file."""
    path = tmp_path / ".env"
    path.write_text(env_text(encrypted_variables(encenv_kms_key, "SECRET")) + "this is no line 'of\nA=1\n")

    class Settings(EncryptedSettings, env_file=path, extra="ignore"):
        secret: str

    Settings()
    alone = [
        (record.name, record.getMessage()) for record in caplog.records if record.levelno >= logging.WARNING
    ]
    caplog.clear()
    encenv.prefetch(path)
    wait_for_encenv_threads()
    Settings()
    both = [
        (record.name, record.getMessage()) for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert alone == both != []


def test_no_more_threads(encenv_kms, secret, monkeypatch):
    """If no thread can be started, the prefetch does nothing and the load works."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == DRIVER:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    encenv.prefetch()
    assert decrypts(encenv_kms) == []
    assert load_secret() == "value of SECRET"


# -- several, forks, and the end


def test_several(encenv_kms, secret):
    """Many calls from many threads send one Decrypt."""
    encenv_kms.delay(0.3)
    threads = [threading.Thread(target=encenv.prefetch) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    encenv.prefetch()
    assert load_secret() == "value of SECRET"
    encenv.prefetch()
    wait_for_encenv_threads()
    assert decrypts(encenv_kms) == [(secret, None)]


@pytest.mark.parametrize("seconds", [0.0, math.inf])
@pytest.mark.parametrize("moment", ["at once", "before the answer"])
def test_an_exit(encenv_kms, secret, seconds, moment):
    """A program that loads nothing ends at once and silently."""
    encenv_kms.delay(seconds)
    code = """
    import sys, time, encenv
    encenv.prefetch()
    if sys.argv[1] != "at once":
        time.sleep(0.7)
    print("ended")
    """
    assert run(code, os.environ, moment) == "ended\n"
    assert len(decrypts(encenv_kms)) <= 1


@pytest.mark.parametrize("moment", ["at once", "while it imports", "before the answer", "after"])
def test_a_fork(encenv_kms, secret, moment):
    """A child that is forked before the answer sends a Decrypt itself; neither process hangs."""
    encenv_kms.delay(1.0)
    code = """
    import os, signal, sys, time
    import encenv
    from encenv import decrypt_environ

    encenv.prefetch()
    moment = sys.argv[1]
    if moment == "while it imports":
        while "encenv.format.cipher" not in sys.modules:
            pass
    elif moment == "before the answer":
        time.sleep(0.7)
    elif moment == "after":
        decrypt_environ()
    child = os.fork()
    if not child:
        signal.alarm(30)
        print(decrypt_environ()["SECRET"], flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1], decrypt_environ()["SECRET"])
    """
    assert run(code, os.environ, moment).splitlines() == ["value of SECRET", "0 value of SECRET"]
    assert decrypts(encenv_kms) == [(secret, None)] * (1 if moment == "after" else 2)


def test_a_fork_that_prefetches(encenv_kms, secret):
    """A child may call it, too, even while the call of its parent runs."""
    encenv_kms.delay(0.7)
    code = """
    import os, signal, encenv
    encenv.prefetch()
    child = os.fork()
    if not child:
        signal.alarm(30)
        encenv.prefetch()
        print(encenv.decrypt_environ()["SECRET"], flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
    """
    assert run(code, os.environ).splitlines() == ["value of SECRET", "0"]


def test_nothing_is_left(encenv_kms, secret):
    """No thread is left, and os.environ is unchanged."""
    encenv.prefetch()
    wait_for_encenv_threads()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encenv")]
    assert os.environ["SECRET"].startswith("encenv:1:")
