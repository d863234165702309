"""Test the local key file: where it is, which files are accepted, and the errors about all others."""

import os
import re
import shlex
import stat
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.programs import needs_root

from encenv.errors import (
    ConflictError,
    EncenvError,
    FileError,
    KeyRefusedError,
    KeyUnreachableError,
    MalformedError,
)
from encenv.format.sealed import WrappedKey, b64encode
from encenv.keys.local import (
    FILE_MAX,
    FILE_VARIABLE,
    PREFIX,
    TEXT_VARIABLE,
    LocalKeys,
    default_path,
    generate_key_text,
    parse_keys,
)

CONTEXT = {"encenv": "1"}
DATA_KEY = bytes(range(32))
SECONDS = 1.0
USER = 1000
OTHER_USER = 1001


@pytest.fixture
def key_text():
    """The text of a new local key."""
    return generate_key_text()


@pytest.fixture
def key_file(tmp_path, key_text):
    """A key file as keygen writes it."""
    return write(tmp_path / "local.key", key_text)


def write(path, text, mode=0o600):
    """Write a key file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def key_in_use(provider):
    """Return the id of the local key that *provider* uses, after a round trip."""
    item = provider.wrap(DATA_KEY, "", CONTEXT)
    assert provider.unwrap(item, CONTEXT, SECONDS) == DATA_KEY
    return item.reference


def id_of(text):
    """Return the id of the one key in *text*."""
    (key_id,) = parse_keys(text, "the test")
    return key_id


def failure(provider, *secrets):
    """Return the error of using *provider*; neither it nor its frames hold any of *secrets*."""
    with pytest.raises(EncenvError) as caught:
        provider.wrap(DATA_KEY, "", CONTEXT)
    error = caught.value
    assert error.hint
    shown = f"{error} {error!r} {vars(error)} {error.__cause__!r} {error.__context__!r}"
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    shown += "".join(repr(frame.locals) for frame in frames if frame.filename != __file__)
    for secret in secrets:
        assert secret not in shown
    return error


# -- where it is looked for


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {"HOME": "/home/ann"}, "/home/ann/.config/encenv/local.key"),
        ("linux", {"HOME": "/home/ann", "XDG_CONFIG_HOME": "/etc/ann"}, "/etc/ann/encenv/local.key"),
        ("linux", {"HOME": "/home/ann", "XDG_CONFIG_HOME": ""}, "/home/ann/.config/encenv/local.key"),
        ("linux", {"HOME": "/home/ann", "XDG_CONFIG_HOME": "here"}, "/home/ann/.config/encenv/local.key"),
        ("linux", {"HOME": "/home/ann", "XDG_CONFIG_HOME": "~/c"}, "/home/ann/.config/encenv/local.key"),
        ("freebsd14", {"HOME": "/home/ann"}, "/home/ann/.config/encenv/local.key"),
        (
            "darwin",
            {"HOME": "/Users/ann", "XDG_CONFIG_HOME": "/x"},
            "/Users/ann/Library/Application Support/encenv/local.key",
        ),
        ("win32", {"APPDATA": "/Users/ann/Roaming", "HOME": "/x"}, "/Users/ann/Roaming/encenv/local.key"),
    ],
)
def test_default_path(monkeypatch, platform, environ, expected):
    """The default path is the one of the platform's convention."""
    monkeypatch.setattr(sys, "platform", platform)
    assert default_path(environ) == Path(expected)


def test_default_path_without_variables(monkeypatch, tmp_path):
    """Without HOME in the given environment, the home directory is the system's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path({}) == tmp_path / ".config" / "encenv" / "local.key"
    monkeypatch.setattr(sys, "platform", "win32")
    assert default_path({}) == tmp_path / "AppData" / "Roaming" / "encenv" / "local.key"


@pytest.mark.parametrize("environ", [{}, {FILE_VARIABLE: "~/local.key"}, {FILE_VARIABLE: "~no-such-user/x"}])
def test_no_home(monkeypatch, environ):
    """A user without a home directory, as in a container, is told to set the variable."""

    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    error = failure(LocalKeys(environ))
    assert type(error) is KeyUnreachableError
    assert FILE_VARIABLE in error.hint


def test_which_key_is_used(tmp_path, monkeypatch):
    """A given path comes before ENCENV_LOCAL_KEY, then ENCENV_LOCAL_KEY_FILE, then the default path."""
    texts = [generate_key_text() for _ in range(4)]
    default = write(tmp_path / "home/.config/encenv/local.key", texts[0])
    named = write(tmp_path / "home/named.key", texts[1])
    given = write(tmp_path / "given.key", texts[3])
    home = {"HOME": str(tmp_path / "home")}
    monkeypatch.setattr(sys, "platform", "linux")
    by_file = home | {FILE_VARIABLE: str(named)}
    by_text = by_file | {TEXT_VARIABLE: texts[2]}
    assert key_in_use(LocalKeys(home)) == id_of(texts[0])
    assert key_in_use(LocalKeys(by_file)) == id_of(texts[1])
    assert key_in_use(LocalKeys(home | {FILE_VARIABLE: "~/named.key"})) == id_of(texts[1])
    assert key_in_use(LocalKeys(by_text)) == id_of(texts[2])
    assert key_in_use(LocalKeys(by_text, path=given)) == id_of(texts[3])
    assert key_in_use(LocalKeys(by_text, path=str(given))) == id_of(texts[3])
    empty = home | {FILE_VARIABLE: "", TEXT_VARIABLE: ""}
    assert key_in_use(LocalKeys(empty)) == id_of(texts[0]), (
        "an empty variable, as CI gives it, is one that is not set"
    )
    assert default.exists()


def test_a_wrong_variable_is_an_error(key_file):
    """A wrong ENCENV_LOCAL_KEY is an error, even if there is a good file."""
    error = failure(LocalKeys({TEXT_VARIABLE: "canary-text", FILE_VARIABLE: str(key_file)}), "canary-text")
    assert type(error) is MalformedError
    assert "line 1 of ENCENV_LOCAL_KEY " in error.message


def test_the_file_is_read_each_time(key_file):
    """A long-lived provider sees a key that was added to its file."""
    provider = LocalKeys({}, path=key_file)
    first = key_in_use(provider)
    write(key_file, generate_key_text())
    assert key_in_use(provider) != first


# -- which files are believed


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_own_file(key_file, mode):
    """This user's own file is accepted if nobody else can read or write it."""
    key_file.chmod(mode)
    assert key_in_use(LocalKeys({}, path=key_file))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o610])
def test_own_file_open_to_others(key_file, key_text, mode):
    """This user's own file is refused if others have any permission, with the command that fixes it."""
    key_file.chmod(mode)
    error = failure(LocalKeys({}, path=key_file), key_text)
    assert type(error) is FileError
    assert error.message == f"the local key file {key_file} can be read or written by others"
    assert error.hint == f"run: chmod 600 {shlex.quote(str(key_file))}"


def test_the_command_can_be_pasted(tmp_path, key_text):
    """The command in the hint is quoted for the shell."""
    path = write(tmp_path / "my keys; rm x" / "k", key_text, 0o644)
    assert failure(LocalKeys({}, path=path)).hint == f"run: chmod 600 '{path}'"


OWNERS = [
    # uid of the file, its mode, whether it is on a read-only file system, whether USER may use it
    (USER, 0o600, False, None),
    (USER, 0o444, False, "can be read or written by others"),
    (USER, 0o444, True, "can be read or written by others"),
    (0, 0o444, False, None),  # Docker's and Swarm's secrets
    (0, 0o644, True, None),  # Kubernetes
    (0, 0o644, False, None),
    (0, 0o640, False, None),  # Kubernetes with fsGroup
    (0, 0o777, True, None),
    (0, 0o664, False, "belongs to root, and others can write it"),
    (0, 0o646, False, "belongs to root, and others can write it"),
    (OTHER_USER, 0o600, False, "belongs to another user"),
    (OTHER_USER, 0o444, False, "belongs to another user"),
    (OTHER_USER, 0o444, True, "belongs to another user"),
]


@pytest.mark.parametrize("row", OWNERS)
def test_owners(key_file, key_text, monkeypatch, row):
    """Root's file that nobody else can write is accepted, as containers mount it; another user's file never is."""
    uid, mode, read_only, refusal = row
    fstat = os.fstat
    monkeypatch.setattr(os, "geteuid", lambda: USER)

    def status(descriptor):
        real = list(fstat(descriptor))
        real[stat.ST_MODE], real[stat.ST_UID] = stat.S_IFREG | mode, uid
        return os.stat_result(real)

    monkeypatch.setattr(os, "fstat", status)
    flags = os.ST_RDONLY if read_only else 0
    real = list(os.statvfs(key_file))
    real[8] = flags
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result(real))
    if refusal is None:
        assert key_in_use(LocalKeys({}, path=key_file))
    else:
        error = failure(LocalKeys({}, path=key_file), key_text)
        assert type(error) is FileError
        assert error.message == f"the local key file {key_file} {refusal}"


@needs_root
def test_real_owners(key_file, key_text):
    """As root: root's mounted secret is accepted; a file of another user, or that others can change, is not."""
    key_file.chmod(0o444)
    assert key_in_use(LocalKeys({}, path=key_file))
    key_file.chmod(0o644)
    assert "others" in failure(LocalKeys({}, path=key_file), key_text).message
    key_file.chmod(0o600)
    os.chown(key_file, OTHER_USER, OTHER_USER)
    assert "another user" in failure(LocalKeys({}, path=key_file), key_text).message


@needs_root
def test_real_owners_as_a_user(tmp_path, key_text):
    """As a user: root's read-only file is used, root's own is not readable, and another user's is refused."""
    folder = Path("/tmp") / f"encenv-test-{os.getpid()}"  # pytest's own folder is closed to other users
    try:
        mounted = write(folder / "mounted.key", key_text, 0o444)
        private = write(folder / "private.key", key_text, 0o400)
        others = write(folder / "others.key", key_text, 0o444)
        os.chown(others, OTHER_USER, OTHER_USER)
        folder.chmod(0o755)
        os.seteuid(USER)
        try:
            assert key_in_use(LocalKeys({}, path=mounted))
            assert "Permission denied" in failure(LocalKeys({}, path=private)).message
            assert "another user" in failure(LocalKeys({}, path=others), key_text).message
        finally:
            os.seteuid(0)
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_a_symlink(key_file, tmp_path):
    """A symbolic link to a good file is followed, as Kubernetes mounts secrets; a link in a circle is an error."""
    link = tmp_path / "link"
    link.symlink_to(key_file)
    assert key_in_use(LocalKeys({}, path=link)) == key_in_use(LocalKeys({}, path=key_file))
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    assert type(failure(LocalKeys({}, path=circle))) is FileError
    link.unlink()
    link.symlink_to(tmp_path / "gone")
    assert type(failure(LocalKeys({}, path=link))) is KeyUnreachableError


def test_what_is_not_a_regular_file(tmp_path):
    """A FIFO, a folder, a device or a socket is refused at once, and its descriptor is closed."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))
    for path in (fifo, tmp_path, Path("/dev/zero"), Path("/dev/null")):
        error = failure(LocalKeys({}, path=path))
        assert type(error) is FileError
        assert error.message == f"the local key file {path} is not a regular file"
        assert "chmod" not in error.hint
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("missing", KeyUnreachableError),
        ("missing/below", KeyUnreachableError),
        ("local.key/below", KeyUnreachableError),
        ("x" * 300, FileError),
        ("a\0b", FileError),
    ],
)
def test_no_such_file(key_file, name, kind):
    """A path without a file is an error that names it and says what to do."""
    error = failure(LocalKeys({}, path=f"{key_file.parent}/{name}"))
    assert type(error) is kind
    assert name in error.message


# -- what it holds


@pytest.mark.parametrize(
    "wrapping",
    [
        "{0}",
        "{0}\n",
        "{0}\r\n",
        "\n\n  {0}\t \n\n",
        "# my key\n{0}\n# the end",
        "  # my key\r\n\r\n{0}\r\n",
        "# my key\r{0}\r",
        "{0}\n{0}\n",
        "#" + "x" * (FILE_MAX - 100) + "\n{0}",
    ],
    ids=range(9),
)
def test_what_may_be_beside_a_key(tmp_path, key_text, wrapping):
    """Comments, blank lines, white space and any line ends may be beside a key."""
    assert key_in_use(LocalKeys({}, path=write(tmp_path / "k", wrapping.format(key_text)))) == id_of(key_text)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", " \t\r\n"])
def test_a_file_without_a_key(tmp_path, text):
    """A file without a key is an error that says how to make one."""
    path = write(tmp_path / "k", text)
    error = failure(LocalKeys({}, path=path))
    assert type(error) is KeyUnreachableError
    assert error.message == f"{path} holds no local key"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text + "=",
        lambda text: text[:-1] + chr(ord(text[-1]) + 1),  # bits that no byte uses
        lambda text: text.replace(":1:", ":2:"),
        lambda text: text.upper(),
        lambda text: f'"{text}"',
        lambda text: f"{TEXT_VARIABLE}={text}",
        lambda text: text + " # my key",
        lambda text: text + " " + text,
        lambda text: text.removeprefix(PREFIX),
        lambda text: "\ufeff" + text,
        lambda text: "\u00a0" + text,
        lambda text: text[:40] + "\u00e4" + text[41:],
        lambda text: "-----BEGIN PRIVATE KEY-----" + text,
        lambda text: PREFIX,
        lambda text: "\0",
    ],
    ids=range(17),
)
def test_a_line_that_is_not_a_key(tmp_path, change):
    """Any other line is an error that names the file and the line, and holds nothing of its text."""
    text = PREFIX + b64encode(bytes(range(100, 132)))
    path = write(tmp_path / "k", f"# a comment\n{generate_key_text()}\n{change(text)}\n")
    error = failure(LocalKeys({}, path=path), text[-20:-2])
    assert type(error) is MalformedError
    assert error.message == f"line 3 of {path} is not a local key"


@pytest.mark.parametrize("content", [b"x" * (FILE_MAX + 1), b"#" * 10_000_000])
def test_a_huge_file(tmp_path, content):
    """A file that is far too long is refused without being read whole."""
    error = failure(LocalKeys({}, path=write(tmp_path / "k", content)))
    assert type(error) is FileError
    assert "too long" in error.message


def test_two_keys(tmp_path):
    """The id chooses one of several keys; without an id the error lists them."""
    texts = [generate_key_text() for _ in range(2)]
    provider = LocalKeys({}, path=write(tmp_path / "k", "\n".join(texts)))
    ids = [id_of(text) for text in texts]
    for key_id in ids:
        item = provider.wrap(DATA_KEY, key_id, CONTEXT)
        assert item.reference == key_id
        assert provider.unwrap(item, CONTEXT, SECONDS) == DATA_KEY
    error = failure(provider, *texts)
    assert type(error) is ConflictError
    assert all(key_id in error.message for key_id in ids)


@pytest.mark.parametrize("by", ["file", "variable"])
def test_a_key_that_is_not_there(key_file, key_text, by):
    """A data key under a key that this user does not have is unreachable, and the hint says where the key belongs."""
    environ = {FILE_VARIABLE: str(key_file)} if by == "file" else {TEXT_VARIABLE: key_text}
    where = str(key_file) if by == "file" else TEXT_VARIABLE
    item = LocalKeys({TEXT_VARIABLE: generate_key_text()}).wrap(DATA_KEY, "", CONTEXT)
    with pytest.raises(
        KeyUnreachableError, match=f"the local key {item.reference} is not in {re.escape(where)}"
    ) as e:
        LocalKeys(environ).unwrap(item, CONTEXT, SECONDS)
    assert e.value.hint.endswith(f"add that line to {where}")


@pytest.mark.parametrize("length", [0, 1, 27, 28, 59, 61, 1000])
def test_a_wrapped_key_of_another_length(key_text, length):
    """A wrapped key that is not 60 bytes long is refused like one that was changed."""
    provider = LocalKeys({TEXT_VARIABLE: key_text})
    with pytest.raises(KeyRefusedError, match="was changed"):
        provider.unwrap(WrappedKey("local", bytes(length), id_of(key_text)), CONTEXT, SECONDS)


@given(
    st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_keys(keys, line_end):
    """Any keys are read back from their text."""
    text = line_end.join(f" {PREFIX}{b64encode(key)}\t{line_end}# {index}" for index, key in enumerate(keys))
    assert set(parse_keys(text, "the test").values()) == set(keys)


@given(st.text(max_size=80))
def test_any_text(text):
    """Any other text gives keys or an EncenvError."""
    try:
        parse_keys(text, "the test")
    except EncenvError as error:
        assert len(text) < 4 or text not in f"{error}"  # noqa: PT017 (most texts raise; those that are comments do too)
