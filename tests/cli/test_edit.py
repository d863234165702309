"""``encenv edit``, and what a script cannot test of other verbs that write: terminals, editors, signals, races."""

import shutil
import signal
import stat
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.programs import needs, needs_posix
from support.workspace import CANARY, PROGRAM, in_words, on_a_terminal

from encenv.cli import editor as private

pytestmark = needs_posix


def editor(workspace, script):
    """Make the Python code *script* the editor; ``path`` is the path and ``text`` the text that it is given."""
    program = workspace.write(
        "../editor.py",
        f"import sys, os, time\nfrom pathlib import Path\npath = Path(sys.argv[1])\ntext = path.read_text()\n{script}\n",
    )
    workspace.environ["VISUAL"] = f"'{sys.executable}' '{program}'"


def plaintext_folders():
    """Return the folders that `encenv edit` made and that still exist."""
    return {path for place in ("/dev/shm", "/tmp") for path in Path(place).glob("encenv-*")}


@pytest.fixture(autouse=True)
def nothing_left():
    """Check that the test leaves no plaintext behind."""
    before = plaintext_folders()
    yield
    for _ in range(100):
        if not plaintext_folders() - before:
            return
        time.sleep(0.05)
    raise AssertionError(plaintext_folders() - before)


def test_edit(sealed):
    """A changed value is encrypted, others keep their bytes, and the plaintext is in a private folder."""
    before = (sealed.folder / ".env").read_text()
    editor(
        sealed,
        "state = os.stat(path.parent)\n"
        "Path('seen').write_text(f'{path} {oct(state.st_mode & 0o777)} {oct(os.stat(path).st_mode & 0o777)}')\n"
        "path.write_text(text.replace('A=', 'NEW=1\\nA='))",
    )
    result = sealed.run("edit")
    assert result.code == 0, result.err
    assert result.err.startswith(".env: changed 1 variable (key local:")
    path, folder_mode, mode = (sealed.folder / "seen").read_text().split()
    assert (folder_mode, mode) == ("0o700", "0o600")
    assert path.endswith("/.env")
    assert not Path(path).parent.exists()
    after = (sealed.folder / ".env").read_text().splitlines()
    assert [line for line in after if line not in before.splitlines()] == [
        next(line for line in after if line.startswith("NEW=encenv:1:"))
    ]
    assert sealed.run("get", "NEW").out == "1"


def test_edit_without_change(sealed):
    """An editor that changes nothing, fails or does not exist leaves the file unchanged."""
    path = sealed.folder / ".env"
    state = path.stat()
    editor(sealed, "path.write_text(text)")
    result = sealed.run("edit", ".env")
    assert (result.code, result.err) == (0, ".env: no change\n")
    editor(sealed, "sys.exit(3)")
    assert "ended with exit code 3" in in_words(sealed.run("edit"))[0]
    sealed.environ["VISUAL"] = "no-such-editor --wait"
    result = sealed.run("edit")  # the shell prints its own message first
    assert (
        'encenv: error: the editor "no-such-editor" ended with exit code 127; nothing was changed\n'
        in result.err
    )
    assert (result.code, "export EDITOR=" in result.err) == (1, True)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (state.st_ino, state.st_mtime_ns)


def test_edit_a_missing_file(sealed):
    """A file that does not exist is created if a key is given."""
    editor(sealed, "path.write_text('A=1\\n')")
    assert in_words(sealed.run("edit", "new.env"))[0] == "the file new.env does not exist"
    assert sealed.run("edit", "new.env", "--key", "local").code == 0
    assert sealed.run("get", "A", "-f", "new.env").out == "1"
    assert in_words(sealed.run("edit", "-"), code=2)
    assert (
        in_words(sealed.run("edit", "nowhere/new.env", "--key", "local"))[0]
        == "the folder nowhere does not exist"
    )
    (sealed.folder / "link").symlink_to(".env")
    assert in_words(sealed.run("edit", "link"))[0].startswith("link is a symbolic link to ")
    sealed.write("plain.env", "A=1\n")
    assert in_words(sealed.run("edit", "plain.env"))[0].startswith("no key is named")


def unsaved_text(workspace, result, name=".env.unsaved"):
    """Return the text that was kept, after a check that it is kept only encrypted."""
    said, rest = result.err.removeprefix("Killed\n").split(
        "\n", 1
    )  # the shell prints its own message about a crash
    assert said == f"encenv: warning: your text is kept, encrypted; to see it: encenv get EDITED -f {name}"
    assert rest.startswith("encenv: error: ")
    path = workspace.folder / name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert CANARY not in path.read_text() + result.err
    return workspace.run("get", "EDITED", "-f", name).out


@pytest.mark.parametrize(
    "script", ["", "; sys.exit(1)", "; os.kill(os.getpid(), 9)"], ids=["bad", "given up", "crashed"]
)
def test_a_bad_edit_without_a_terminal(sealed, script):
    """Without a terminal, a text that cannot be saved changes nothing, is not printed, and is kept encrypted."""
    before = (sealed.folder / ".env").read_bytes()
    text = sealed.run("decrypt").out
    editor(sealed, f"path.write_text('{CANARY} not a line é\\n'){script}")
    result = sealed.run("edit")
    assert result.code == 1
    assert unsaved_text(sealed, result) == f"{CANARY} not a line é\n"
    assert (sealed.folder / ".env").read_bytes() == before
    result = sealed.run("edit")
    assert unsaved_text(sealed, result, ".env.unsaved-2")
    assert sealed.run("decrypt").out == text


def test_an_edit_that_cannot_even_be_kept(sealed):
    """If the text can be neither saved nor kept, encenv says so without printing any of it."""
    editor(sealed, f"path.write_bytes(b'A={CANARY}\\0')")
    result = sealed.run("edit")
    (warning,) = [line for line in result.err.splitlines() if "your text could not be kept: " in line]
    assert warning.endswith("; encode it, for example as base64")
    assert CANARY not in result.err
    assert [path.name for path in sealed.folder.iterdir()] == [".env"]


def test_another_program_changes_the_file(sealed):
    """Changes to other variables are merged; a change to the same variable is a conflict, and nothing is lost."""
    editor(
        sealed,
        f"os.system(\"printf other | '{PROGRAM}' set OTHER --stdin -q\")\npath.write_text(text.replace('A=', 'NEW=1\\nA='))",
    )
    result = sealed.run("edit")
    assert result.code == 0, result.err
    assert "merged with what another program changed" in result.err
    assert sealed.run("get", "OTHER").out == "other"
    assert sealed.run("get", "NEW").out == "1"
    editor(
        sealed,
        f"os.system(\"printf theirs | '{PROGRAM}' set OTHER --stdin -q\")\npath.write_text(text.replace('=other', '=mine'))",
    )
    result = sealed.run("edit")
    assert "you and another program changed the same variables of .env: OTHER\n" in result.err
    assert "OTHER=mine" in unsaved_text(sealed, result)
    assert sealed.run("get", "OTHER").out == "theirs"


def test_another_program_creates_the_file(sealed):
    """A new file that another program creates in the meantime gets the variables of both."""
    other = f"printf other | '{PROGRAM}' set OTHER --stdin -q -f new.env --key local"
    editor(sealed, f"os.system({other!r})\npath.write_text('MINE=1\\n')")
    result = sealed.run("edit", "new.env", "--key", "local")
    assert result.code == 0, result.err
    assert "merged with what another program changed" in result.err
    assert sealed.run("decrypt", "new.env").out == "MINE=1\nOTHER=other\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_wiped_when_killed(sealed, number):
    """A signal that ends encenv while the editor is open wipes the plaintext and leaves the file unchanged.

    The text that the editor has saved is kept, encrypted, unless the signal is SIGKILL.
    """
    before = (sealed.folder / ".env").read_bytes()
    editor(
        sealed,
        f"path.write_text('NEW={CANARY}'); Path('seen.tmp').write_text(str(path))\n"
        "os.rename('seen.tmp', 'seen'); time.sleep(5)",
    )
    with sealed.start("edit") as process:
        seen = sealed.folder / "seen"
        for _ in range(200):
            if seen.exists():
                break
            time.sleep(0.05)
        path = Path(seen.read_text())
        assert path.exists()
        process.send_signal(number)
        process.wait(timeout=10)
    for _ in range(100):
        if not path.parent.exists():
            break
        time.sleep(0.05)
    assert not path.parent.exists()
    assert (sealed.folder / ".env").read_bytes() == before
    there = (sealed.folder / ".env.unsaved").exists()
    assert there == (number != signal.SIGKILL)
    if there:
        assert sealed.run("get", "EDITED", "-f", ".env.unsaved").out == f"NEW={CANARY}"
    assert not any(CANARY in path.read_text() for path in sealed.folder.iterdir())


def test_no_folder_in_memory(monkeypatch, tmp_path):
    """Without a folder in memory, the private folder is made elsewhere and reported as not in memory."""
    monkeypatch.setattr(private, "_folder_in_memory", lambda _: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with private.private_folder() as (folder, in_memory):
        assert not in_memory
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "x").write_text(CANARY)
    assert [*tmp_path.iterdir()] == []


def test_which_places_are_in_memory(monkeypatch, tmp_path):
    """A folder counts as in memory if the system says so of its file system, whatever characters are in its path."""
    mounts = tmp_path / "mounts"
    tmp_path /= "a folder \\ of ü"
    tmp_path.mkdir()
    memory = str(tmp_path).replace("\\", r"\134").replace(" ", r"\040")  # as proc(5) writes them
    mounts.write_text(f"x / ext4 rw 0 0\nx {memory} tmpfs rw 0 0\nx {memory}/disk ext4 rw 0 0\nshort\n")
    monkeypatch.setattr(private, "_MOUNTS", mounts)
    (tmp_path / "disk").mkdir()
    (tmp_path / "inner").mkdir()

    def found(name):
        return private._folder_in_memory({"XDG_RUNTIME_DIR": str(name)})

    assert found(tmp_path / "inner") == tmp_path / "inner"
    assert found(tmp_path / "disk") is None
    assert found("relative") is None
    monkeypatch.setattr(private, "_MOUNTS", tmp_path / "none")
    assert found(tmp_path / "inner") is None


# --- a terminal --------------------------------------------------------------------------------------------------


def test_set_asks_for_the_value(sealed):
    """On a terminal set asks for the value and never shows it; get ends its line there."""
    code, screen = on_a_terminal(sealed, [("A (not shown)", CANARY + "\n")], "set", "A")
    assert code == 0, screen
    assert CANARY not in screen
    code, screen = on_a_terminal(sealed, [], "get", "A")
    assert (code, screen) == (0, CANARY + "\n")


@pytest.mark.parametrize("answer", ["\3", "half\3", "\4"], ids=["Ctrl-C", "Ctrl-C halfway", "Ctrl-D"])
def test_set_interrupted(sealed, answer):
    """Ctrl-C and Ctrl-D at the prompt leave the file unchanged."""
    before = (sealed.folder / ".env").read_bytes()
    code, screen = on_a_terminal(sealed, [("A (not shown)", answer)], "set", "A")
    assert code == 1
    assert "interrupted" in screen
    assert (sealed.folder / ".env").read_bytes() == before


def test_set_refuses_a_part_of_a_value(sealed):
    """A pasted certificate would lose all but its first line, so it is refused."""
    code, screen = on_a_terminal(sealed, [("A (not shown)", "-----BEGIN PRIVATE KEY-----\n")], "set", "A")
    assert code == 1
    assert "--from-file" in screen


VI = shutil.which("vi") or ""


@needs("vim", available="vim" in str(Path(VI).resolve()))
@pytest.mark.parametrize("editor", ["vi", f"{VI} -N", ""])
def test_vim_leaves_nothing(sealed, editor):
    """Vim, under any name, writes no deleted text to another file."""
    programs = sealed.root / "bin"
    programs.mkdir()
    (programs / "editor").symlink_to(VI)  # on many machines this command is another editor
    sealed.environ |= {"TERM": "xterm", "PATH": f"{programs}:{sealed.environ['PATH']}"}
    sealed.environ |= {"EDITOR": editor} if editor else {}
    code, screen = on_a_terminal(sealed, [("keep this line", "/^B=\rddp:wq\r")], "edit")
    assert code == 0, screen
    files = [path for path in sealed.root.rglob("*") if path.is_file()]
    assert [path.name for path in files if CANARY.encode() in path.read_bytes()] == []
    assert not (sealed.home / ".viminfo").exists()


def test_a_bad_edit_is_offered_again(sealed):
    """On a terminal, a text that cannot be saved can be edited again; if the person gives up, it is kept."""
    editor(
        sealed,
        "bad = 'not a line' in text\n"
        "path.write_text(text.replace('not a line\\n', 'C=3\\n') if bad else text + 'not a line\\n')",
    )
    code, screen = on_a_terminal(sealed, [("Edit it again?", "y\n")], "edit")
    assert code == 0, screen
    assert "cannot be parsed" in screen
    assert sealed.run("get", "C").out == "3"
    before = (sealed.folder / ".env").read_bytes()
    for answer, said, name in (
        ("n\n", "was not changed", ""),
        ("\3", "interrupted", "-2"),
        ("\4", "", "-3"),
    ):
        code, screen = on_a_terminal(sealed, [("Edit it again?", answer)], "edit")
        assert code == 1
        assert said in screen
        assert (sealed.folder / ".env").read_bytes() == before
        assert sealed.run("get", "EDITED", "-f", f".env.unsaved{name}").out.endswith("C=3\nnot a line\n")


# --- races -------------------------------------------------------------------------------------------------------


def test_many_set_at_once(sealed):
    """When many processes set values in one file, none is lost."""
    sources = [sealed.write(f"v{i}", f"value {i}") for i in range(10)]
    processes = [sealed.start("set", f"N{i}", "--from-file", str(path)) for i, path in enumerate(sources)]
    for process in processes:
        assert process.communicate(timeout=60)[1].startswith(".env: set N")
    assert [sealed.call("get", f"N{i}").out for i in range(10)] == [f"value {i}" for i in range(10)]
    assert (sealed.folder / ".env").read_text().count("ENCENV_KEY_") == 1


def test_killed_while_it_sets(sealed):
    """If set is killed at any moment, the file is the old or the new one and can be decrypted."""
    value = sealed.write("value", "x" * 100_000)
    for attempt in range(12):
        with sealed.start("set", "BIG", "--from-file", str(value)) as process:
            time.sleep(0.12 + attempt * 0.02)
            process.kill()
        assert sealed.call("get", "A").out == CANARY
        assert sealed.call("decrypt").code == 0
    assert sealed.run("set", "BIG", "--from-file", str(value)).code == 0
    assert {path.name for path in sealed.folder.iterdir()} == {".env", "value"}
