"""encenv.files.atomic: a file is old or new, never half, never lost, whatever happens on the way."""

import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from encenv.errors import ConflictError, EncenvError, FileError
from encenv.files import atomic
from encenv.files.atomic import create, read, rewriting

OLD = b"A=old\n" * 1000
NEW = b"A=encenv:1:new\n" * 3000


@pytest.fixture
def path(tmp_path):
    """Return a file that holds OLD, alone in its folder."""
    path = tmp_path / ".env"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def alone(path):
    """Return whether *path* is all that its folder holds."""
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def rewrite(path, data=NEW):
    """Make *data* the content of *path*."""
    with rewriting(path) as file:
        file.replace(data)


def test_replaces_content_and_keeps_mode_and_owner(path):
    """The new content is there under the old permissions and owner, and nothing else is left in the folder."""
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
        path.chmod(0o4640)  # a bit that chown takes away
    before = path.stat()
    with rewriting(path) as file:
        assert file.data == OLD
        file.replace(NEW)
        assert file.data == NEW
        file.replace(NEW + b"B=2\n")
    after = path.stat()
    assert path.read_bytes() == NEW + b"B=2\n"
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
    assert alone(path)


def test_the_same_content_leaves_the_file_untouched(path):
    """A rewrite that changes nothing does not touch the file, so no build tool sees a change."""
    before = path.stat()
    rewrite(path, OLD)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_another_group_gets_no_more_than_everyone(path, monkeypatch):
    """Where the group cannot be kept, the permissions meant for it are not given to one's own group."""

    def refuse(*args):
        raise PermissionError(errno.EPERM, "no")

    path.chmod(0o664)
    monkeypatch.setattr(os, "fchown", refuse)
    rewrite(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="extended attributes are Linux's")
def test_extended_attributes_are_kept(path):
    """What is attached to the file, as access lists are, is attached to the new one."""
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        pytest.skip("this file system has none")
    rewrite(path)
    assert os.getxattr(path, "user.note") == b"kept"


def test_the_temporary_file_is_private(path, monkeypatch):
    """Until it takes the original's place, the temporary file is nobody else's, however open the original is."""
    path.chmod(0o666)
    modes = []
    liken = atomic._liken

    def look(descriptor, temporary, like):
        modes.append(stat.S_IMODE(temporary.stat().st_mode))
        assert temporary.parent == path.parent
        liken(descriptor, temporary, like)

    monkeypatch.setattr(atomic, "_liken", look)
    rewrite(path)
    assert modes == [0o600]


def test_symbolic_links_are_refused(path):
    """A link is not followed: the error names its target, so that it can be given instead."""
    link = path.parent / "link"
    link.symlink_to(path.name)
    with pytest.raises(FileError, match="symbolic link") as caught:
        rewrite(link)
    assert str(path) in caught.value.message
    assert str(path) in caught.value.hint
    assert path.read_bytes() == OLD
    assert link.is_symlink()


def test_hard_links_are_refused(path):
    """A file with two names is refused, for the other name would keep the old content."""
    os.link(path, path.parent / "other")
    with pytest.raises(FileError, match="hard link"):
        rewrite(path)
    assert path.read_bytes() == OLD


def test_folders_pipes_and_devices_are_refused(tmp_path):
    """What is not a regular file is refused at once, without waiting for the other end of a pipe."""
    os.mkfifo(tmp_path / "pipe")
    for other, words in [(tmp_path, "is a folder"), (tmp_path / "pipe", "a pipe"), ("/dev/null", "a device")]:
        with pytest.raises(FileError, match=words):
            rewrite(other)


def test_what_came_to_stand_there_meanwhile_is_refused(path, monkeypatch):
    """A link, a pipe or a second name that takes the file's place after the first look is not opened."""
    lstat, found = Path.lstat, path.lstat()
    monkeypatch.setattr(Path, "lstat", lambda self: found if self == path else lstat(self))
    target = path.rename(path.parent / "target")
    path.symlink_to(target)
    with pytest.raises(FileError):
        rewrite(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FileError, match="a pipe"):
        rewrite(path)
    path.unlink()
    os.link(target, path)
    with pytest.raises(FileError, match="hard link"):
        rewrite(path)
    assert target.read_bytes() == OLD


def _append(path):
    with path.open("ab") as file:
        file.write(b"B=2\n")


def _put_anew(path):
    path.unlink()
    path.write_bytes(b"C=3\n")


@pytest.mark.parametrize("change", [_append, _put_anew, Path.unlink, lambda path: path.chmod(0o600)])
def test_changes_by_others_are_not_overwritten(path, change):
    """What an editor that knows no lock did meanwhile stays; the rewrite is refused."""
    with rewriting(path) as file:
        change(path)
        seen = path.read_bytes() if path.exists() else None
        with pytest.raises(ConflictError) as caught:
            file.replace(NEW)
    assert caught.value.__context__ is None
    assert (path.read_bytes() if path.exists() else None) == seen
    assert alone(path) or not list(path.parent.iterdir())


def test_create_makes_a_private_file(tmp_path):
    """A new file holds the data, can be read by its owner alone, and leaves nothing beside it."""
    path = tmp_path / "new"
    create(path, NEW)
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_nlink == 1
    assert alone(path)


def test_create_respects_the_umask(tmp_path):
    """Asked for an open file, the umask still has its say."""
    before = os.umask(0o027)
    try:
        create(tmp_path / "new", NEW, mode=0o666)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@pytest.mark.parametrize("links", [True, False])
def test_create_never_overwrites(path, monkeypatch, links):
    """What exists already is kept, be it a broken link, also where there are no hard links."""
    if not links:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
        monkeypatch.setattr(Path, "hardlink_to", _refuse(errno.EPERM))
    with pytest.raises(ConflictError, match="exists already"):
        create(path, NEW)
    assert path.read_bytes() == OLD
    assert alone(path)
    broken = path.parent / "broken"
    broken.symlink_to("nowhere")
    with pytest.raises(ConflictError):
        create(broken, NEW)
    assert broken.is_symlink()
    assert not broken.exists()


def test_create_where_there_are_no_hard_links(tmp_path, monkeypatch):
    """On a file system without hard links a new file is made too, and none is left if that fails."""
    monkeypatch.setattr(os, "link", _refuse(errno.EPERM))
    monkeypatch.setattr(Path, "hardlink_to", _refuse(errno.ENOTSUP))
    path = tmp_path / "new"
    create(path, NEW)
    assert path.read_bytes() == NEW
    assert alone(path)
    monkeypatch.setattr(Path, "replace", _refuse(errno.EIO))
    with pytest.raises(FileError):
        create(tmp_path / "newer", NEW)
    assert alone(path)


def test_read(path):
    """A plain read follows links and says what it was reading when it fails."""
    (path.parent / "link").symlink_to(path)
    assert read(path.parent / "link") == OLD
    assert read(str(path)) == OLD
    with pytest.raises(FileError, match=r"the local key file .* does not exist"):
        read(path.parent / "missing", "local key file")
    with pytest.raises(FileError, match="is a folder"):
        read(path.parent)


def _refuse(code):
    def refuse(*args, **options):
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("step", ["write", "chmod", "fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "no space is left"),
        (errno.EROFS, "read-only file system"),
        (errno.EACCES, "no permission to write into the folder"),
        (errno.EIO, "input/output error"),
    ],
)
def test_failures_leave_the_old_file(path, monkeypatch, step, code, words):
    """Whichever step the system refuses, the file is as it was, nothing lies beside it, and the error says why."""

    def opened(path, mode, **options):
        return (_refuse(code) if mode == "xb" else open)(path, mode, **options)

    owner, name, fail = {
        "write": (atomic, "open", opened),
        "chmod": (Path, "chmod", _refuse(code)),
        "fsync": (os, "fsync", _refuse(code)),
        "replace": (Path, "replace", _refuse(code)),
    }[step]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fail, raising=step != "write")
        with pytest.raises(FileError, match=words) as caught:
            rewrite(path)
    assert caught.value.__context__ is None
    assert "A=" not in str(caught.value)
    assert path.read_bytes() == OLD
    assert alone(path)


def test_a_full_disk_halfway_leaves_the_old_file(path):
    """If the system takes a part of the new content and no more, the old file stays whole."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(NEW) // 2, hard))  # a real short write, then EFBIG
    try:
        with pytest.raises(FileError, match="file too large"):
            rewrite(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert path.read_bytes() == OLD
    assert alone(path)


@pytest.mark.parametrize("act", [rewrite, lambda path: create(path, NEW), read])
def test_paths_that_lead_nowhere(tmp_path, act):
    """A missing folder, a file taken for a folder and a name that is too long each have their own message."""
    (tmp_path / "file").write_bytes(b"")
    for where, words in [
        (tmp_path / "missing" / ".env", "does not exist"),
        (tmp_path / "file" / ".env", "is not a folder"),
        (tmp_path / ("x" * 300), "too long"),
    ]:
        with pytest.raises(FileError, match=words) as caught:
            act(where)
        assert caught.value.hint
        assert caught.value.__context__ is None


def test_no_permission_to_read(path, monkeypatch):
    """A file that may not be read is reported as that."""
    monkeypatch.setattr(atomic, "open", _refuse(errno.EACCES), raising=False)
    with pytest.raises(FileError, match="no permission to read the file"):
        rewrite(path)


def test_odd_names_are_shown_escaped(tmp_path):
    """A name with control characters cannot write to the terminal."""
    with pytest.raises(FileError, match=r"\\x1b"):
        rewrite(tmp_path / "\x1b[2J")


class _Steps:
    """Counts every call that the module makes, before and after it, and acts at a chosen one."""

    def __init__(self, at, act):
        self.seen = 0
        self.at = at
        self.act = act

    def __call__(self, frame, event, _):
        if event in ("c_call", "c_return") and frame.f_code.co_filename == atomic.__file__:
            # A second interrupt while the first is being cleaned up after is one too many.
            if frame.f_code.co_name in ("_remove", "_locked") and self.act is _interrupt:
                return
            self.seen += 1
            if self.seen == self.at:
                sys.setprofile(None)
                self.act()


def _interrupt():
    raise KeyboardInterrupt


def _at_each_step(work, act):
    """Run *work* again and again, with *act* one step later each time; yield each run's outcome."""
    at = 0
    reached = True
    while reached:
        at += 1
        steps = _Steps(at, act)
        before = sys.getprofile()
        try:
            sys.setprofile(steps)
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(before)
        reached = steps.seen >= at
        yield at
    assert at > 10


# An interrupt between the opening of a file and the block that closes it leaves that to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("verb", ["rewrite", "create"])
def test_an_interrupt_at_any_step_leaves_nothing_behind(path, verb):
    """Control-C at any moment leaves the old file or the new, no temporary file and no lock."""
    new = path.parent / "new"
    work = (lambda: rewrite(path)) if verb == "rewrite" else (lambda: create(new, NEW))
    outcomes = set()
    for _ in _at_each_step(work, _interrupt):
        outcome = path.read_bytes() if verb == "rewrite" else new.exists() and new.read_bytes()
        outcomes.add(outcome)
        assert {entry.name for entry in path.parent.iterdir()} <= {path.name, new.name}
        descriptor = os.open(path.parent, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        path.write_bytes(OLD)
        new.unlink(missing_ok=True)
    assert outcomes == {OLD if verb == "rewrite" else False, NEW}


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_atomic import NEW, OLD, _Steps, create, rewrite, rewriting

path, new, verb = Path(sys.argv[2]), Path(sys.argv[2] + ".new"), sys.argv[3]
at, outcomes = 0, set()
while True:
    at += 1
    path.write_bytes(OLD)
    new.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        sys.setprofile(_Steps(at, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        rewrite(path) if verb == "rewrite" else create(new, NEW)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    target = path if verb == "rewrite" else new
    outcomes.add(target.read_bytes() if target.exists() else None)
    if verb == "create" and hasattr(os, "O_TMPFILE"):  # it may be plaintext that was asked for: nothing of it lies about
        assert {entry.name for entry in path.parent.iterdir()} <= {path.name, new.name}, at
    # The next writer is not kept out, and clears away what the killed one left.
    if target.exists():
        with rewriting(target) as file:
            assert file.data in (OLD, NEW)
    else:
        create(target, b"")
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, new.name}, at
    if status == 0:
        break
assert at > 30, at
assert outcomes == {OLD if verb == "rewrite" else None, NEW}
"""


@pytest.mark.parametrize("verb", ["rewrite", "create"])
def test_a_kill_at_any_step_leaves_the_old_file_or_the_new(path, verb):
    """A process killed at any moment leaves the old file or the new, whole, and the next writer is not kept out."""
    subprocess.run([sys.executable, "-c", KILLED, Path(__file__).parent, path, verb], check=True, timeout=100)


RACER = """
import sys
from encenv.files.atomic import rewriting
for _ in range(60):
    with rewriting(sys.argv[1]) as file:
        file.replace(b"%d" % (int(file.data) + 1))
"""


def test_racing_writers_lose_nothing(path):
    """Of hundreds of rewrites by processes and threads at the same time, each builds on the one before."""
    path.write_bytes(b"0")
    racers = [subprocess.Popen([sys.executable, "-c", RACER, path]) for _ in range(3)]

    def race():
        for _ in range(30):
            with rewriting(path) as file:
                file.replace(b"%d" % (int(file.data) + 1))

    threads = [threading.Thread(target=race) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    assert path.read_bytes() == b"240"
    assert alone(path)


def test_readers_never_see_half_a_file(path):
    """A reader that asks no lock sees the old content or the new at any moment."""
    stop = threading.Event()
    seen = set()

    def look():
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for turn in range(200):
            rewrite(path, OLD if turn % 2 else NEW)
    finally:
        stop.set()
        reader.join()
    assert seen <= {OLD, NEW}


def test_one_of_many_creators_wins(tmp_path):
    """Of several who create the same file at the same time, one succeeds and the others are told."""
    for turn in range(30):
        path = tmp_path / f"new{turn}"
        results = []

        def attempt(mine, path=path, results=results):
            try:
                create(path, mine)
                results.append(mine)
            except ConflictError:
                pass

        threads = [threading.Thread(target=attempt, args=(b"%d" % i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [path.read_bytes()]


def test_waiting_for_the_lock_has_an_end(path, monkeypatch):
    """If another writer does not end, the wait does, with an error that says so."""
    monkeypatch.setattr(atomic, "LOCK_SECONDS", 0.2)
    start = time.monotonic()
    with rewriting(path), pytest.raises(ConflictError, match="another encenv") as caught:
        rewrite(path)
    assert 0.2 <= time.monotonic() - start < 5
    assert caught.value.__context__ is None
    rewrite(path)
    assert path.read_bytes() == NEW


FORKED = """
import os, sys, time
from encenv.files.atomic import rewriting
with rewriting(sys.argv[1]):
    child = os.fork()
    if not child:
        os.close(1)
        time.sleep(60)
print(child)
"""

FORKED_AND_GONE = """
import os, sys
from encenv.errors import ConflictError
from encenv.files import atomic
atomic.LOCK_SECONDS = 0.2
with atomic.rewriting(sys.argv[1]):
    if not os.fork():
        sys.exit()
    os.wait()
    try:
        with atomic.rewriting(sys.argv[1]):
            sys.exit("not locked any more")
    except ConflictError:
        pass
"""


def test_a_forked_child_neither_keeps_nor_drops_the_lock(path, monkeypatch):
    """The lock is the parent's: it ends with its block, whether a child of the process lives longer or not."""
    subprocess.run([sys.executable, "-c", FORKED_AND_GONE, path], check=True, timeout=50)
    monkeypatch.setattr(atomic, "LOCK_SECONDS", 1)
    result = subprocess.run(
        [sys.executable, "-c", FORKED, path], stdout=subprocess.PIPE, check=True, timeout=50
    )
    try:
        rewrite(path)
    finally:
        os.kill(int(result.stdout), signal.SIGKILL)


def test_a_file_system_without_locks(path, monkeypatch):
    """Where folders cannot be locked, the comparison before the replacement still guards the file."""
    monkeypatch.setattr(fcntl, "flock", _refuse(errno.ENOLCK))
    rewrite(path)
    with rewriting(path) as file:
        path.write_bytes(OLD)
        with pytest.raises(ConflictError):
            file.replace(b"")
    monkeypatch.setattr(atomic, "fcntl", None)
    rewrite(path)
    assert path.read_bytes() == NEW


def test_leftovers_are_cleared_away_and_nothing_else(path):
    """What a killed writer left is removed by the next one; files of others are not touched."""
    left = path.parent / ".encenv-0123456789abcdef.tmp"
    left.write_bytes(b"")
    other = path.parent / ".encenv-notes.tmp"
    other.write_bytes(b"")
    rewrite(path)
    assert not left.exists()
    assert other.exists()


def test_an_exception_in_the_block_changes_nothing(path):
    """If the caller fails, the file is as it was and the lock is free."""
    with pytest.raises(EncenvError), rewriting(path):
        raise FileError("it failed", hint="mend it")
    rewrite(path)
    assert alone(path)
