"""Test that each wrapped key is unwrapped once per process: threads, forks, failures, deadlines, interrupts."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.encrypted_variables import encrypted_variables
from support.python_process import CHILD_SECONDS, run, wait_until

from encenv import decrypt_environ
from encenv.errors import (
    EncenvError,
    FileError,
    KeyRefusedError,
    KeyUnreachableError,
    LoadError,
    PolicyError,
)
from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, WrappedKey, encryption_context
from encenv.keys import unwrap as unwrapping
from encenv.keys.aws.kms import AwsKms
from encenv.keys.unwrap import UnwrapRequest, UnwrapResult, clear_cache, unwrap

pytest_plugins = ["encenv.testing"]

SECONDS = 10.0
SECRET = "canary-of-a-plug-in"


class Stub:
    """A provider that returns or raises its `answer`, and records the calls."""

    name = "stub"

    def __init__(self, answer, name="stub"):
        self.answer = answer
        self.name = name
        self.calls = []
        self._lock = threading.Lock()

    def unwrap(self, item, context, timeout):
        """Return or raise the answer."""
        with self._lock:
            self.calls.append(item)
        answer = self.answer(item) if callable(self.answer) else self.answer
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Gate:
    """An answer that is held back until the gate is open."""

    def __init__(self, answer):
        self.reached = threading.Event()
        self.open = threading.Event()
        self._answer = answer

    def __call__(self, item):
        """Wait, and return the answer."""
        self.reached.set()
        assert self.open.wait(CHILD_SECONDS)
        return self._answer


KEY = bytes(range(32))
COMMITMENT = DataKey(KEY).commitment


def request_of(name="stub", wrapped=b"wrapped", reference="ref", context=(), commitment=COMMITMENT):
    """Return a request for `KEY`, or one that differs from it in the arguments."""
    return UnwrapRequest(WrappedKey(name, wrapped, reference), context, commitment)


def unwrap_one(provider, *copies, seconds=SECONDS):
    """Return the result for one data key."""
    providers = {p.name: p for p in (provider if isinstance(provider, list) else [provider])}
    (result,) = unwrap([copies or (request_of(),)], providers.__getitem__, seconds)
    return result


@pytest.fixture(autouse=True)
def _nothing_kept():
    clear_cache()
    yield
    clear_cache()


# -- once per process


def test_one_unwrap_for_classes_threads_and_children(encenv_kms, encenv_kms_key):
    """50 encrypted variables, three classes, 20 threads and then 4 forked children: KMS is called once."""
    names = [f"VARIABLE_{number}" for number in range(50)]
    environ = encenv_kms.environ(os.environ) | encrypted_variables(encenv_kms_key, *names)
    encenv_kms.clear()
    encenv_kms.delay(0.3)  # so that all threads join the first one's attempt
    printed = run(
        """
        import os, sys, threading, traceback
        from pydantic import create_model
        from encenv import EncryptedSettings

        names = [f"variable_{number}" for number in range(50)]
        fields = {name: (str, ...) for name in names}
        classes = [create_model(f"S{n}", __base__=EncryptedSettings, **fields) for n in range(3)]
        expected = {name: f"value of {name.upper()}" for name in names}
        right = []

        def load():
            right.append(all(cls().model_dump() == expected for cls in classes))

        threads = [threading.Thread(target=load) for _ in range(20)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert right == [True] * 20, right
        assert threading.active_count() == 1, threading.enumerate()
        children = []
        for _ in range(4):
            child = os.fork()
            if not child:
                load()
                os._exit(0 if right[-1] else 1)
            children.append(child)
        print([os.waitpid(child, 0)[1] for child in children])
        """,
        environ,
    )
    assert json.loads(printed) == [0] * 4
    assert [(call.operation, call.key) for call in encenv_kms.calls] == [("Decrypt", encenv_kms_key)]


def test_threads_share_one_answer():
    """Threads share one attempt; only one result says that it was not cached."""
    gate = Gate(KEY)
    stub = Stub(gate)
    results = []
    threads = [threading.Thread(target=lambda: results.append(unwrap_one(stub))) for _ in range(20)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(next(iter(unwrapping._cache.attempts.values())).events) == 20)
    gate.open.set()
    for thread in threads:
        thread.join(SECONDS)
    assert len(stub.calls) == 1
    assert {result.key for result in results} == {results[0].key}
    assert sorted(result.cached for result in results) == [False] + [True] * 19
    assert unwrap_one(stub).cached
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encenv")]


def test_no_thread_is_left(monkeypatch):
    """When a load has its keys, the threads of its attempts have ended."""
    finish = unwrapping.Attempt.finish
    monkeypatch.setattr(unwrapping.Attempt, "finish", lambda *args: (finish(*args), time.sleep(0.1)))
    unwrap_one(Stub(KEY))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encenv")]


def test_one_wrapped_key_in_two_groups():
    """A wrapped key in two groups of one load is requested once."""
    stub = Stub(KEY)
    first, second = unwrap([[request_of()], [request_of()]], lambda _: stub, SECONDS)
    assert first.key is second.key
    assert len(stub.calls) == 1


def test_distinct_keys_are_unwrapped_side_by_side():
    """Five data keys are requested at the same time: each request waits for all five."""
    barrier = threading.Barrier(5)

    def answer(item):
        barrier.wait(SECONDS)
        return item.wrapped

    keys = [bytes([number]) * 32 for number in range(5)]
    groups = [[request_of(wrapped=key, commitment=DataKey(key).commitment)] for key in keys]
    results = unwrap(groups, lambda _: Stub(answer), SECONDS)
    assert [result.key.expose_key() for result in results] == keys


def test_distinct_keys_at_kms(encenv_kms, encenv_kms_key):
    """KMS has five requests of one environment before it answers the first."""
    environ = {}
    for number in range(5):
        environ |= encrypted_variables(encenv_kms_key, f"V{number}")
    encenv_kms.clear()
    encenv_kms.delay(1.5)
    results = []
    thread = threading.Thread(target=lambda: results.append(decrypt_environ(environ)))
    thread.start()
    wait_until(lambda: encenv_kms.calls)
    first = time.monotonic()
    wait_until(lambda: len(encenv_kms.calls) == 5)
    assert time.monotonic() - first < 1.4  # before the first answer
    assert not results
    thread.join(SECONDS)
    assert results == [{f"V{number}": f"value of V{number}" for number in range(5)}]


def test_while_waiting(monkeypatch):
    """A provider whose unwrap has the parameter runs the import of cryptography; any other does not."""
    imported = []
    monkeypatch.setattr(unwrapping.Attempt, "_import", lambda _: imported.append(1))
    callbacks = []

    class Remote(Stub):
        def unwrap(self, item, context, timeout, while_waiting=None):
            callbacks.append(while_waiting)
            while_waiting()
            return KEY

    class Derived(Remote):  # its own unwrap is called, without the parameter
        def unwrap(self, item, context, timeout):
            return KEY

    assert isinstance(unwrap_one(Remote(KEY)), UnwrapResult)
    assert (len(callbacks), imported) == (1, [1])
    for provider in (Stub(KEY), Derived(KEY)):
        clear_cache()
        assert isinstance(unwrap_one(provider), UnwrapResult)
    assert (len(callbacks), imported) == (1, [1])


def test_while_waiting_may_fail():
    """An import that fails while the provider waits is reported where it is needed, and not to the provider."""

    class Remote(Stub):
        def unwrap(self, item, context, timeout, while_waiting=None):
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(unwrapping.__dict__, "envelope", None)
                while_waiting()
            return KEY

    assert isinstance(unwrap_one(Remote(KEY)), UnwrapResult)


# -- forks


@pytest.mark.parametrize(
    "moment", ["while boto3 is imported", "while KMS is called by boto3", "while KMS is called without"]
)
def test_a_fork_during_an_attempt(encenv_kms, encenv_kms_key, tmp_path, moment):
    """A child that is forked during an attempt loads for itself, and neither process hangs."""
    environ = encenv_kms.environ(os.environ) | encrypted_variables(encenv_kms_key, "SECRET")
    if "boto3" in moment:
        (tmp_path / "config").touch()
        environ["AWS_CONFIG_FILE"] = str(tmp_path / "config")
    encenv_kms.clear()
    encenv_kms.delay(1)
    printed = run(
        """
        import os, signal, sys, threading, time
        from encenv import decrypt_environ
        from encenv.keys import unwrap as unwrapping

        results = []
        thread = threading.Thread(target=lambda: results.append(decrypt_environ()["SECRET"]))
        thread.start()
        module = {"imported": "boto3", "boto3": "stringprep"}.get(sys.argv[1].split()[-1], "encenv.keys.aws.kms")
        while module not in sys.modules:
            pass
        if "KMS" in sys.argv[1]:
            time.sleep(0.5)
        assert unwrapping._cache.attempts
        child = os.fork()
        if not child:
            signal.alarm(20)
            print(decrypt_environ()["SECRET"], flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
        thread.join()
        print(results[0])
        """,
        environ,
        moment,
        # What is imported while a fork waits may register fork handlers, whose first half then has not run.
        is_silent="imported" not in moment,
    )
    assert sorted(printed.splitlines()) == ["0", "value of SECRET", "value of SECRET"]
    assert encenv_kms.count("Decrypt") == 2


@pytest.mark.parametrize("plug_in", ["time.sleep(1)", "os.fork() or os._exit(0)"], ids=["slow", "forks"])
def test_a_fork_while_a_plug_in_is_imported(tmp_path, plug_in):
    """A fork waits until another thread has imported a plug-in, but not for its own thread."""
    key = KeyEntry(COMMITMENT, (), (WrappedKey("vault", KEY, "ref"),))
    info = tmp_path / "vault-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vault\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[encenv.providers]\nvault = vault:Vault\n")
    (tmp_path / "vault.py").write_text(
        f"import os, time\nSTARTED = True\n{plug_in}\n"
        "class Vault:\n"
        "    name = 'vault'\n"
        "    def __init__(self, environ): pass\n"
        "    def unwrap(self, item, context, timeout): return item.wrapped\n"
    )
    environ = {key.name: str(key), "SECRET": DataKey(KEY).encrypt("SECRET", "x"), "PYTHONPATH": str(tmp_path)}
    printed = run(
        """
        import os, signal, sys, threading
        from encenv import decrypt_environ

        results = []
        thread = threading.Thread(target=lambda: results.append(decrypt_environ()["SECRET"]))
        thread.start()
        while not hasattr(sys.modules.get("vault"), "STARTED"):
            pass
        child = os.fork()
        if not child:
            signal.alarm(20)
            os._exit(decrypt_environ()["SECRET"] != "x")
        thread.join()
        print(results[0], os.waitpid(child, 0)[1])
        """,
        os.environ | environ,
        seconds=20,
    )
    assert printed == "x 0\n"


@pytest.mark.parametrize("moment", ["before the call", "before the thread", "after the thread"])
def test_a_signal_handler(encenv_kms, encenv_kms_key, moment):
    """A signal handler may load and fork, even while it interrupts a load of the same key."""
    environ = encenv_kms.environ(os.environ) | encrypted_variables(encenv_kms_key, "SECRET")
    printed = run(
        """
        import os, signal, sys, threading
        from encenv import clear_cache, decrypt_environ
        from encenv.keys import unwrap

        def handle(*_):
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            print(decrypt_environ()["SECRET"], flush=True)
            child = os.fork()
            if not child:
                signal.alarm(20)
                clear_cache()
                os._exit(decrypt_environ()["SECRET"] != "value of SECRET")
            print(os.waitpid(child, 0)[1], flush=True)

        def interrupted(function, after):
            def call(*args):
                after or signal.raise_signal(signal.SIGUSR1)
                result = function(*args)
                after and signal.raise_signal(signal.SIGUSR1)
                return result
            return call

        signal.signal(signal.SIGUSR1, handle)
        if sys.argv[1] == "before the call":
            unwrap._Call.provider = interrupted(unwrap._Call.provider, False)
        else:
            threading.Thread.start = interrupted(threading.Thread.start, sys.argv[1].startswith("after"))
        print(decrypt_environ()["SECRET"])
        """,
        environ,
        moment,
        seconds=20,
    )
    assert printed.splitlines() == ["value of SECRET", "0", "value of SECRET"]


# -- failures


def test_a_failure_is_not_kept(encenv_kms, encenv_kms_key):
    """After a refusal the next load calls KMS again, and succeeds."""
    environ = encrypted_variables(encenv_kms_key, "SECRET")
    encenv_kms.clear()
    encenv_kms.deny("Decrypt")
    for _ in range(2):
        with pytest.raises(KeyRefusedError, match=r"SECRET: .*AccessDeniedException"):
            decrypt_environ(environ)
    encenv_kms.heal()
    assert decrypt_environ(environ) == {"SECRET": "value of SECRET"}
    assert [call.error for call in encenv_kms.calls] == ["AccessDeniedException"] * 2 + [None]


def test_threads_share_one_failure():
    """Threads share one failed attempt; a later load starts another."""
    gate = Gate(KeyRefusedError("no", hint="ask"))
    stub = Stub(gate)
    results = []
    threads = [threading.Thread(target=lambda: results.append(unwrap_one(stub))) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(next(iter(unwrapping._cache.attempts.values())).events) == 5)
    gate.open.set()
    for thread in threads:
        thread.join(SECONDS)
    assert [type(result) for result in results] == [KeyRefusedError] * 5
    assert len(stub.calls) == 1
    stub.answer = KEY
    assert isinstance(unwrap_one(stub), UnwrapResult)
    assert len(stub.calls) == 2


class OwnError(KeyUnreachableError):
    """A plug-in's own error, with other arguments."""

    def __init__(self):
        super().__init__("the vault is sealed", hint="unseal it")


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (KeyUnreachableError("not there", hint="go"), KeyUnreachableError, "not there"),
        (FileError("bad file", hint="fix it"), FileError, "bad file"),
        (OwnError(), KeyUnreachableError, "the vault is sealed"),
        (EncenvError("bare", hint="go"), KeyRefusedError, "bare"),
        (RuntimeError(SECRET), KeyRefusedError, "its key provider failed at test_unwrap.py:"),
        (SystemExit(SECRET), KeyRefusedError, "its key provider failed at test_unwrap.py:"),
        (KeyboardInterrupt(SECRET), KeyRefusedError, "its key provider failed at test_unwrap.py:"),
        (None, KeyRefusedError, "not 32 bytes long"),
        (SECRET, KeyRefusedError, "not 32 bytes long"),
        (KEY[:31], KeyRefusedError, "not 32 bytes long"),
        (bytes(32), KeyRefusedError, "does not give the data key"),
    ],
    ids=str,
)
def test_whatever_a_provider_does(answer, kind, told):
    """Whatever a provider raises or returns becomes one error with a hint, without its text and frames."""
    error = unwrap_one(Stub(answer))
    assert type(error) is kind
    assert told in error.message
    assert error.hint
    assert SECRET not in f"{error!r} {vars(error)}"
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    assert unwrap_one(Stub(KEY)).key.expose_key() == KEY


@pytest.mark.parametrize(
    "raised", [ImportError(SECRET), KeyRefusedError("no such", hint="install"), OwnError()], ids=repr
)
def test_a_provider_that_cannot_be_imported(raised):
    """A provider that cannot be found or imported fails the keys under it, and not the others."""
    stub = Stub(KEY)

    def find(name):
        if name == "broken":
            raise raised
        return stub

    both = [request_of("broken"), request_of()]
    error, found = unwrap([both[:1], both], find, SECONDS)
    assert isinstance(error, EncenvError)
    assert SECRET not in str(error)
    assert "importlib" not in str(error)
    assert found.provider == "stub"


def test_an_interrupted_import():
    """Ctrl-C while a plug-in is imported is raised, and leaves no attempt that a later load waits for."""

    def find(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unwrap([[request_of()]], find, SECONDS)
    assert not unwrapping._cache.attempts
    assert isinstance(unwrap_one(Stub(KEY)), UnwrapResult)


def test_clear_cache():
    """After clear_cache the next load unwraps again, and the answer of a running attempt is not kept."""
    stub = Stub(KEY)
    assert [unwrap_one(stub).cached for _ in range(2)] == [False, True]
    clear_cache()
    assert not unwrap_one(stub).cached
    clear_cache()
    gate = Gate(KEY)
    thread = threading.Thread(target=unwrap_one, args=(Stub(gate),))
    thread.start()
    assert gate.reached.wait(SECONDS)
    clear_cache()
    gate.open.set()
    thread.join(SECONDS)
    assert not unwrap_one(stub).cached


# -- several copies


def test_the_first_success_is_used():
    """The wrapped keys are tried in their order, and none after the one that succeeds."""
    broken, good, unused = Stub(RuntimeError(), "broken"), Stub(KEY), Stub(KEY, "unused")
    result = unwrap_one([broken, good, unused], request_of("broken"), request_of(), request_of("unused"))
    assert result.provider == "stub"
    assert [len(provider.calls) for provider in (broken, good, unused)] == [1, 1, 0]


def test_any_cached_key_is_enough():
    """A wrapped key that was unwrapped before serves an entry that holds it beside others."""
    first, second = Stub(KEY, "first"), Stub(KEY, "second")
    unwrap_one(second, request_of("second"))
    assert unwrap_one([first, second], request_of("first"), request_of("second")).cached
    assert not first.calls


def test_a_hanging_provider_leaves_the_next_its_share():
    """If a provider does not answer, the next wrapped key is tried before the deadline."""
    gate = Gate(KEY)
    result = unwrap_one([Stub(gate), Stub(KEY, "second")], request_of(), request_of("second"), seconds=2)
    gate.open.set()
    assert result.provider == "second"


def test_a_slow_provider_may_still_succeed():
    """An answer that comes after its share of the time is used if the others fail."""
    gate = Gate(KEY)

    def refuse(item):
        gate.open.set()
        return KeyRefusedError("no", hint="ask")

    second = Stub(refuse, "second")
    result = unwrap_one([Stub(gate), second], request_of(), request_of("second"), seconds=2)
    assert result.provider == "stub"
    assert second.calls


def test_all_failures_are_reported():
    """If no key works, the error has all reasons, and the hint for the KMS key instead of the one for the local key."""
    local = Stub(KeyUnreachableError("no key file", hint="run: encenv keygen"), "local")
    server = Stub(KeyRefusedError("AWS KMS refused", hint="allow kms:Decrypt"), "aws-kms")
    error = unwrap_one([local, server], request_of("local"), request_of("aws-kms"))
    assert type(error) is KeyRefusedError
    assert "no key file; AWS KMS refused" in error.message
    assert error.hint == "allow kms:Decrypt"


# -- the deadline


def test_the_deadline_holds(encenv_kms, encenv_kms_key):
    """If KMS has not answered by the deadline, the load ends and names the key; a later load works."""
    environ = encrypted_variables(encenv_kms_key, "SECRET")
    encenv_kms.clear()
    encenv_kms.delay(5, times=1)
    started = time.monotonic()
    with pytest.raises(
        KeyUnreachableError, match=r"did not (answer .*|unwrap the data key) within 0\.5 seconds"
    ) as caught:
        decrypt_environ(environ, unwrap_timeout=0.5)
    assert time.monotonic() - started < 4
    assert encenv_kms_key in caught.value.message
    assert "unwrap_timeout" in caught.value.hint
    # An abandoned attempt is not joined.
    assert decrypt_environ(environ) == {"SECRET": "value of SECRET"}


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_no_time_at_all(seconds):
    """Without any time left no provider is called."""
    stub = Stub(KEY)
    assert isinstance(unwrap_one(stub, seconds=seconds), KeyUnreachableError)
    assert not stub.calls


@pytest.mark.parametrize("seconds", [float("inf"), 1e300])
def test_unlimited_time(seconds):
    """A deadline that is longer than a thread can wait is not an error."""
    assert isinstance(unwrap_one(Stub(KEY), seconds=seconds), UnwrapResult)


def test_a_provider_that_hangs_for_ever():
    """An attempt that hangs is abandoned after twice its time: a later load starts another."""
    gate = Gate(KEY)
    hung = Stub(gate)
    assert isinstance(unwrap_one(hung, seconds=0.1), KeyUnreachableError)
    time.sleep(0.15)
    assert isinstance(unwrap_one(Stub(KEY)), UnwrapResult)
    gate.open.set()


def test_a_slow_import(encenv_kms, encenv_kms_key):
    """An answer in time counts, however long the import of cryptography takes, and the next region is called in time."""
    plain, item = AwsKms().generate(encenv_kms_key, encryption_context(()))
    data_key = DataKey(plain)
    alone, other = (AwsKms().wrap(plain, encenv_kms.create_key(), encryption_context(())) for _ in range(2))
    sealed = {"SECRET": data_key.encrypt("SECRET", "value of SECRET")}
    code = """
    import sys, time
    class Slow:
        def find_spec(name, path, target=None):
            time.sleep(6 * (name == "cryptography"))
    sys.meta_path.insert(0, Slow)
    import encenv
    print(encenv.decrypt_environ(unwrap_timeout=5, hedge_delay=1)["SECRET"])
    """

    def load(copies):
        entry = KeyEntry(data_key.commitment, (), copies)
        return run(code, encenv_kms.environ(os.environ) | sealed | {entry.name: str(entry)})

    encenv_kms.delay(math.inf, key=encenv_kms_key)
    encenv_kms.clear()
    with ThreadPoolExecutor() as pool:  # at once: both mostly sleep
        loads = pool.map(load, [(alone,), (item, other)])
    assert [*loads] == ["value of SECRET\n"] * 2
    calls = [call.key for call in encenv_kms.calls]
    assert sorted(calls) == sorted(copy.reference for copy in (alone, item, other))
    assert calls.index(item.reference) < calls.index(other.reference)


def test_no_more_threads(monkeypatch):
    """If no thread can be started, as when the interpreter exits, the provider is called all the same."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert isinstance(unwrap_one(Stub(KEY)), UnwrapResult)


def test_ctrl_c_is_heard(encenv_kms, encenv_kms_key):
    """Ctrl-C during an unwrap ends the load at once."""
    environ = encenv_kms.environ(os.environ) | encrypted_variables(encenv_kms_key, "SECRET")
    encenv_kms.clear()
    encenv_kms.delay(30)
    code = "import encenv\ntry: encenv.decrypt_environ()\nexcept KeyboardInterrupt: print('heard')"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        wait_until(lambda: encenv_kms.calls)
        started = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=CHILD_SECONDS)
    assert (out, err, child.returncode) == ("heard\n", "", 0)
    assert time.monotonic() - started < 5  # before boto3 gave up


def test_an_exit_during_an_attempt(encenv_kms, encenv_kms_key):
    """A program that exits does not wait for a running attempt."""
    environ = encenv_kms.environ(os.environ) | encrypted_variables(encenv_kms_key, "SECRET")
    encenv_kms.delay(30)
    code = """
    import encenv, time
    try:
        encenv.decrypt_environ(unwrap_timeout=0.5)
    except encenv.KeyUnreachableError:
        print(time.time())
    """
    ended = float(run(code, environ))
    assert time.time() - ended < 4


# -- what the cache is keyed by


@pytest.mark.parametrize(
    "other",
    [
        request_of(context=(("stage", "prod"),)),
        request_of(commitment=DataKey(bytes(32)).commitment),
        request_of(reference="ref2"),
        request_of(wrapped=b"wrapped2"),
        request_of(name="other"),
    ],
    ids=["context", "commitment", "reference", "wrapped bytes", "provider"],
)
def test_the_cache_key(other):
    """A request that differs in anything is not served from the cache."""
    unwrap_one(Stub(KEY))
    stub = Stub(KeyRefusedError("no", hint="ask"), other.wrapped_key.provider)
    assert unwrap_one(stub, other).message == "no"
    assert len(stub.calls) == 1


def test_the_order_of_the_context():
    """A context written in another order is the same context."""
    stub = Stub(KEY)
    unwrap_one(stub, request_of(context=(("a", "1"), ("b", "2"))))
    assert unwrap_one(stub, request_of(context=(("b", "2"), ("a", "1")))).cached


def test_a_rewritten_context(encenv_kms, encenv_kms_key):
    """If the context in a key entry is rewritten after a load, KMS refuses it: the cache does not serve it."""
    environ = encrypted_variables(encenv_kms_key, "SECRET", context=(("stage", "prod"),))
    assert decrypt_environ(environ)
    rewritten = {name: value.replace("stage=prod", "stage=test") for name, value in environ.items()}
    with pytest.raises(KeyRefusedError, match="InvalidCiphertextException"):
        decrypt_environ(rewritten)


def test_a_strict_reader_after_a_lax_one(encenv_kms, encenv_kms_key):
    """A reader whose rules refuse the entry gets an error although the key is cached, and KMS is not called."""
    environ = encrypted_variables(encenv_kms_key, "SECRET")
    assert decrypt_environ(environ)
    encenv_kms.clear()
    for rules in (
        {"trusted_keys": ["arn:aws:kms:us-east-1:999999999999:key/*"]},
        {"trusted_keys": []},
        {"encryption_context": {"stage": "prod"}},
    ):
        with pytest.raises(PolicyError):
            decrypt_environ(environ, **rules)
    assert decrypt_environ(environ, trusted_keys=[encenv_kms_key]) == {"SECRET": "value of SECRET"}
    assert encenv_kms.calls == []


def test_more_keys_than_a_load_may_have(encenv_kms, encenv_kms_key):
    """33 data keys in one load are refused before KMS is called; 32 are not."""
    environ = {}
    for number in range(33):
        environ |= encrypted_variables(encenv_kms_key, f"V{number}", provider=_PROVIDER)
    encenv_kms.clear()
    with pytest.raises((PolicyError, LoadError), match="more than 32 data keys"):
        decrypt_environ(environ)
    assert encenv_kms.calls == []
    assert len(decrypt_environ(environ, names=[f"V{number}" for number in range(32)])) == 32


_PROVIDER = AwsKms()
