"""encenv.files.atomic: a file holds the old or the new content, never half of it, whatever happens."""

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
from encenv.files import atomic, disk
from encenv.files.atomic import create, edit_file
from encenv.files.disk import read

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
    with edit_file(path) as file:
        file.replace(data)


def test_replaces_content_and_keeps_mode_and_owner(path):
    """The new content is there under the old permissions and owner, and nothing else is left in the folder."""
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
        path.chmod(0o4640)  # a bit that chown takes away
    before = path.stat()
    with edit_file(path) as file:
        assert file.data == OLD
        file.replace(NEW)
        assert file.data == NEW
        file.replace(NEW + b"B=2\n")
    after = path.stat()
    assert path.read_bytes() == NEW + b"B=2\n"
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
    assert alone(path)


def test_the_same_content_leaves_the_file_untouched(path):
    """Writing the same content does not touch the file, so no build tool sees a change."""
    before = path.stat()
    rewrite(path, OLD)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_another_group_gets_no_more_than_everyone(path, monkeypatch):
    """If the group cannot be kept, our own group does not get the permissions meant for the other."""

    def refuse(*args):
        raise PermissionError(errno.EPERM, "no")

    path.chmod(0o664)
    monkeypatch.setattr(os, "fchown", refuse)
    rewrite(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="extended attributes are Linux's")
def test_extended_attributes_are_kept(path):
    """The extended attributes of the file, which include access lists, are copied to the new one."""
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        pytest.skip("this file system has none")
    rewrite(path)
    assert os.getxattr(path, "user.note") == b"kept"


def test_the_temporary_file_is_private(path, monkeypatch):
    """The temporary file is readable by its owner alone until it is renamed, whatever the original's mode."""
    path.chmod(0o666)
    modes = []
    copy_permissions = atomic._copy_permissions

    def look(descriptor, temporary, like):
        modes.append(stat.S_IMODE(temporary.stat().st_mode))
        assert temporary.parent == path.parent
        copy_permissions(descriptor, temporary, like)

    monkeypatch.setattr(atomic, "_copy_permissions", look)
    rewrite(path)
    assert modes == [0o600]


def test_symbolic_links_are_refused(path):
    """A symbolic link is not followed; the error names its target, so that the user can give that."""
    link = path.parent / "link"
    link.symlink_to(path.name)
    with pytest.raises(FileError, match="symbolic link") as caught:
        rewrite(link)
    assert str(path) in caught.value.message
    assert str(path) in caught.value.hint
    assert path.read_bytes() == OLD
    assert link.is_symlink()


def test_hard_links_are_refused(path):
    """A file with two names is refused, because the other name would keep the old content."""
    os.link(path, path.parent / "other")
    with pytest.raises(FileError, match="hard link"):
        rewrite(path)
    assert path.read_bytes() == OLD


def test_folders_pipes_and_devices_are_refused(tmp_path):
    """Anything but a regular file is refused at once, without waiting for the other end of a pipe."""
    os.mkfifo(tmp_path / "pipe")
    for other, words in [(tmp_path, "is a folder"), (tmp_path / "pipe", "a pipe"), ("/dev/null", "a device")]:
        with pytest.raises(FileError, match=words):
            rewrite(other)


def test_a_file_swapped_after_the_first_look_is_refused(path, monkeypatch):
    """A link, a pipe or a second name that takes the file's place after the first look is refused."""
    lstat, status = Path.lstat, path.lstat()
    monkeypatch.setattr(Path, "lstat", lambda self: status if self == path else lstat(self))
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


def _recreate(path):
    path.unlink()
    path.write_bytes(b"C=3\n")


@pytest.mark.parametrize("change", [_append, _recreate, Path.unlink, lambda path: path.chmod(0o600)])
def test_changes_by_others_are_not_overwritten(path, change):
    """A change by an editor that uses no lock stays; the replacement is refused."""
    with edit_file(path) as file:
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
    """The umask also applies to a mode that the caller gives."""
    before = os.umask(0o027)
    try:
        create(tmp_path / "new", NEW, mode=0o666)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@pytest.mark.parametrize("links", [True, False])
def test_create_never_overwrites(path, monkeypatch, links):
    """An existing file or broken link is never replaced, also on a file system without hard links."""
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
    """A new file is created without hard links too, and nothing is left if that fails."""
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
    """read() follows links, and its errors say what it was reading."""
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
    """Whichever step the system refuses, the file is unchanged, nothing is left beside it, and the error says why."""

    def refuse_to_create(path, mode, **options):
        return (_refuse(code) if mode == "xb" else open)(path, mode, **options)

    owner, name, fail = {
        "write": (atomic, "open", refuse_to_create),
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
    """If only part of the new content fits on the disk, the old file stays whole."""
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
    """A missing folder, a file used as a folder and a name that is too long each have their own message."""
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
    """The error says that the file may not be read."""
    monkeypatch.setattr(atomic, "open", _refuse(errno.EACCES), raising=False)
    with pytest.raises(FileError, match="no permission to read the file"):
        rewrite(path)


def test_odd_names_are_shown_escaped(tmp_path):
    """A name with control characters cannot write to the terminal."""
    with pytest.raises(FileError, match=r"\\x1b"):
        rewrite(tmp_path / "\x1b[2J")


MODULES = (atomic.__file__, disk.__file__)


class _Steps:
    """Counts every call out of the modules under test, before and after it, and acts at a chosen one."""

    def __init__(self, at, act):
        self.seen = 0
        self.at = at
        self.act = act

    def __call__(self, frame, event, _):
        if event in ("c_call", "c_return") and frame.f_code.co_filename in MODULES:
            # An interrupt during the clean-up, which would be the second, is not promised anything.
            if frame.f_code.co_name in ("_remove", "_lock") and self.act is _interrupt:
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


# If the interrupt comes between open() and the block that closes the file, the garbage collector closes it.
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
from test_atomic import NEW, OLD, _Steps, create, rewrite, edit_file

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
    if verb == "create" and hasattr(os, "O_TMPFILE"):  # it may be plaintext: nothing of it may be left
        assert {entry.name for entry in path.parent.iterdir()} <= {path.name, new.name}, at
    # The next writer gets the lock, and deletes what the killed one left.
    if target.exists():
        with edit_file(target) as file:
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
    """A process killed at any moment leaves the old file or the new one whole, and the lock free."""
    subprocess.run([sys.executable, "-c", KILLED, Path(__file__).parent, path, verb], check=True, timeout=100)


COUNTER = """
import sys
from encenv.files.atomic import edit_file
for _ in range(60):
    with edit_file(sys.argv[1]) as file:
        file.replace(b"%d" % (int(file.data) + 1))
"""


def test_concurrent_writers_lose_nothing(path):
    """Hundreds of changes by processes and threads at the same time each build on the one before."""
    path.write_bytes(b"0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNTER, path]) for _ in range(3)]

    def count():
        for _ in range(30):
            with edit_file(path) as file:
                file.replace(b"%d" % (int(file.data) + 1))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert path.read_bytes() == b"240"
    assert alone(path)


def test_readers_never_see_half_a_file(path):
    """A reader without the lock sees the old content or the new one at any moment."""
    stop = threading.Event()
    seen = set()

    def look():
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for count in range(200):
            rewrite(path, OLD if count % 2 else NEW)
    finally:
        stop.set()
        reader.join()
    assert seen <= {OLD, NEW}


def test_one_of_many_creators_wins(tmp_path):
    """If several create the same file at the same time, one succeeds and the others get an error."""
    for count in range(30):
        path = tmp_path / f"new{count}"
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
    """The wait for another writer ends after LOCK_SECONDS, with an error that says so."""
    monkeypatch.setattr(atomic, "LOCK_SECONDS", 0.2)
    start = time.monotonic()
    with edit_file(path), pytest.raises(ConflictError, match="another encenv") as caught:
        rewrite(path)
    assert 0.2 <= time.monotonic() - start < 5
    assert caught.value.__context__ is None
    rewrite(path)
    assert path.read_bytes() == NEW


FORKED = """
import os, sys, time
from encenv.files.atomic import edit_file
with edit_file(sys.argv[1]):
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
with atomic.edit_file(sys.argv[1]):
    if not os.fork():
        sys.exit()
    os.wait()
    try:
        with atomic.edit_file(sys.argv[1]):
            sys.exit("not locked any more")
    except ConflictError:
        pass
"""


def test_a_forked_child_neither_keeps_nor_drops_the_lock(path, monkeypatch):
    """The lock ends with the parent's block, whether a forked child ends earlier or lives longer."""
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
    """Where folders cannot be locked, the comparison before the replacement still protects the file."""
    monkeypatch.setattr(fcntl, "flock", _refuse(errno.ENOLCK))
    rewrite(path)
    with edit_file(path) as file:
        path.write_bytes(OLD)
        with pytest.raises(ConflictError):
            file.replace(b"")
    monkeypatch.setattr(atomic, "fcntl", None)
    rewrite(path)
    assert path.read_bytes() == NEW


def test_only_leftover_temporary_files_are_deleted(path):
    """The next writer deletes the temporary files of a killed one, and no other file."""
    left = path.parent / ".encenv-0123456789abcdef.tmp"
    left.write_bytes(b"")
    other = path.parent / ".encenv-notes.tmp"
    other.write_bytes(b"")
    rewrite(path)
    assert not left.exists()
    assert other.exists()


def test_an_exception_in_the_block_changes_nothing(path):
    """If the block raises, the file is unchanged and the lock is free."""
    with pytest.raises(EncenvError), edit_file(path):
        raise FileError("it failed", hint="fix it")
    rewrite(path)
    assert alone(path)
