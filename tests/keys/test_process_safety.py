"""Test that fork and exit wait for imports and cryptography in other threads, and never for the network."""

import hmac
import ssl
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support.encrypted_variables import encrypted_variables

from encenv import decrypt_environ
from encenv.format.envelope import DataKey
from encenv.keys import process_safety as forks
from encenv.keys.local import LocalKeys
from encenv.keys.unwrap import clear_cache
from encenv.testing import KmsServer

pytest_plugins = ["encenv.testing"]

SECONDS = 60  # a child that runs longer hangs

BEGUN = """
import os, sys, threading, time
from encenv.keys.process_safety import fork_waits

begun = threading.Event()

def work():
    with fork_waits():
        begun.set()
        time.sleep(0.3)
        print("worked", flush=True)

threading.Thread(target=work, daemon=True).start()
begun.wait()
"""


def run(code):
    """Run *code* in a new Python and return the lines it printed; it must print no error."""
    child = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (child.returncode, child.stderr) == (0, "")
    return child.stdout.splitlines()


def test_exit_waits():
    """A program that exits lets other threads finish their guarded block."""
    assert run(BEGUN) == ["worked"]


def test_a_fork_waits():
    """A fork lets other threads finish their guarded block."""
    assert run(BEGUN + "print('forks', flush=True) if os.fork() else os._exit(0)") == ["worked", "forks"]


def test_no_block_begins_at_exit():
    """A thread that reaches a guarded block after the program has begun to exit does not enter it."""
    code = """
    import atexit, threading, time
    at_end, seen = threading.Event(), threading.Event()
    def late():
        at_end.set()
        seen.wait(1)  # time for the thread to do what it must not do
    atexit.register(late)  # the last handler to run
    from encenv.keys.process_safety import fork_waits

    def work():
        at_end.wait()
        with fork_waits():
            print("worked", flush=True)
            seen.set()

    threading.Thread(target=work, daemon=True).start()
    """
    assert run(code) == []


def test_a_load_at_exit():
    """A program may load while it exits: in its own thread, and in a new one where Python still starts one."""
    code = """
    import atexit
    def late():
        work()
        thread = threading.Thread(target=work)
        try:
            thread.start()
        except RuntimeError:
            print("no thread")  # from Python 3.12 on none is started
        else:
            thread.join()
    atexit.register(late)
    import threading
    from encenv.keys.process_safety import fork_waits

    def work():
        with fork_waits():
            print("worked", flush=True)
    """
    started = "no thread" if sys.version_info[:2] == (3, 12) else "worked"
    assert run(code) in (["worked", started], ["worked", "worked"])


def test_nothing_begins_while_another_thread_forks():
    """No block begins between a fork's look at the other threads and the fork itself."""
    order = []

    def work():
        with forks.fork_waits():
            order.append("worked")

    thread = threading.Thread(target=work)
    forks._before_fork()
    try:
        thread.start()
        thread.join(0.2)
        order.append("forked")
    finally:
        forks._after_fork_in_parent()
    thread.join(SECONDS)
    assert order == ["forked", "worked"]
    assert (forks._guarded, forks._forking) == ([], [])


def test_blocks_in_blocks():
    """A block inside another one never waits, because the fork may wait for the outer one."""
    done = []

    def work():
        with forks.fork_waits():
            forks._forking.append(-1)  # another thread
            try:
                with forks.fork_waits():
                    done.append(1)
            finally:
                forks._forking.remove(-1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(SECONDS)
    assert done == [1]


def test_a_lazy_module(tmp_path, monkeypatch):
    """A lazy module is imported once, at the first use of one of its names, and a fork waits for the import."""
    (tmp_path / "costly.py").write_text(
        "import threading\nfrom encenv.keys import process_safety\n"
        "IS_GUARDED = threading.get_ident() in process_safety._guarded\nLOADS = []\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    costly = forks.lazily("costly")
    assert "costly" not in sys.modules
    assert costly.IS_GUARDED
    assert forks._guarded == []
    assert costly.LOADS is sys.modules.pop("costly").LOADS
    assert costly.LOADS == []
    assert "costly" not in sys.modules


def test_a_lazy_module_that_is_missing():
    """A lazy module that cannot be imported is an ImportError at each use."""
    missing = forks.lazily("encenv_missing")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="encenv_missing"):
            _ = missing.name
    assert forks._guarded == []


@pytest.fixture
def cryptography_calls(monkeypatch):
    """Record each piece of cryptography, and whether a fork would wait for it."""
    seen = {}

    def watch(owner, name):
        original = getattr(owner, name)

        def call(*args, **options):
            if threading.current_thread().name == "encenv-unwrap":  # not a thread of the server
                seen.setdefault(name, set()).add(threading.get_ident() in forks._guarded)
            return original(*args, **options)

        monkeypatch.setattr(owner, name, call)

    watch(ssl.SSLSocket, "do_handshake")
    watch(ssl.SSLSocket, "recv_into")
    watch(ssl.SSLSocket, "sendall")
    watch(ssl.SSLContext, "load_verify_locations")
    watch(ssl.SSLContext, "wrap_socket")
    watch(hmac, "digest")
    watch(DataKey, "__init__")
    watch(DataKey, "matches")
    return seen


def test_cryptography_without_boto3(monkeypatch, cryptography_calls):
    """A fork waits for all cryptography of a load over TLS, but not for the answer of AWS KMS."""
    with KmsServer(tls=True) as kms:
        for name, value in kms.environ().items():
            monkeypatch.setenv(name, value)
        environ = encrypted_variables(kms.create_key(), "SECRET")
        clear_cache()
        kms.clear()
        kms.delay(1.0)
        cryptography_calls.clear()
        thread = threading.Thread(target=decrypt_environ, args=(environ,))
        thread.start()
        while not kms.calls:
            time.sleep(0.005)
        forks._before_fork()  # waits until the request is sent
        forks._after_fork_in_parent()
        assert thread.is_alive()
        thread.join(SECONDS)
    assert {name: found for name, found in cryptography_calls.items() if found != {True}} == {}
    assert cryptography_calls.keys() == {
        "do_handshake",
        "recv_into",
        "sendall",
        "load_verify_locations",
        "wrap_socket",
        "digest",
        "__init__",
        "matches",
    }


def test_cryptography_of_a_local_key(encenv_local_key, cryptography_calls):
    """A fork waits for all cryptography of a local key."""
    environ = encrypted_variables("", "SECRET", provider=LocalKeys())
    clear_cache()
    cryptography_calls.clear()
    assert decrypt_environ(environ)["SECRET"] == "value of SECRET"
    assert cryptography_calls == {"digest": {True}, "__init__": {True}, "matches": {True}}
    assert forks._guarded == []
