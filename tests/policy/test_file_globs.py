"""encenv.policy.file_globs: a glob of ``files =`` selects the same files as the line of .gitattributes made from it."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.programs import needs

from encenv.git.install import add_attributes, has_attributes
from encenv.policy.file_globs import covers
from encenv.policy.project import FILES

HOOKS = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"

PIECES = (
    "a",
    "B",
    "env",
    ".env",
    ".",
    "é",
    "É",
    " ",
    '"',
    "\\",
    "[",
    "]",
    "[attr]",
    "#",
    "!",
    "^",
    "\t",
    "\n",
    "\x7f",
)
NAMES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)
PATHS = st.lists(NAMES.filter(lambda name: name not in {".", ".."}), min_size=1, max_size=4).map("/".join)
GLOBS = st.builds(
    "{}{}".format,
    st.sampled_from(["", "", "!", "/", "!/"]),
    st.lists(
        st.sampled_from([*PIECES, "*", "*", "?", "**", "/", "/**/", "**/", "/**"]), min_size=1, max_size=6
    ).map("".join),
)


@pytest.mark.parametrize(
    ("globs", "selected", "others"),
    [
        (
            FILES,
            [".env", "sub/.env", ".env.local", "prod.env", ".ENV"],
            [".env.example", "env", ".envrc", "a.env.dist"],
        ),
        (["conf/*.env"], ["conf/x.env"], ["conf/sub/x.env", "sub/conf/x.env", "x.env"]),
        (["/.env"], [".env"], ["sub/.env"]),
        (["**/x/.env"], ["x/.env", "a/b/x/.env"], ["ax/.env"]),
        (["a/**/.env"], ["a/.env", "a/b/c/.env"], ["b/.env", "a/x.env"]),
        ([".envs/**"], [".envs/a", ".envs/a/b"], [".envs", "x/.envs/a"]),
        (["a**/.env"], ["ab/.env"], ["a/b/.env", ".env"]),
        ([".env.[ab]"], [".env.[ab]"], [".env.a"]),
        ([".env.?"], [".env.a"], [".env.é"]),  # two bytes of UTF-8
        ([".env.é"], [".env.é", ".ENV.é"], [".env.É"]),
        (["*.env", "!b.env", "x/b.env"], ["a.env", "x/b.env"], ["b.env", "y/b.env"]),
    ],
)
def test_globs(globs, selected, others):
    """Each kind of glob selects these files, and not the others."""
    assert [path for path in [*selected, *others] if covers(globs, path)] == selected


@st.composite
def globs_and_paths(draw):
    """Return a few globs, and many paths: random ones, and globs with something in the place of their wildcards."""
    globs = draw(st.lists(GLOBS, min_size=1, max_size=6))
    fillings = st.lists(st.sampled_from(["", "a", "a/b", "/"]), min_size=6, max_size=6)
    paths = draw(st.lists(PATHS, max_size=30))
    for glob, texts in draw(st.lists(st.tuples(st.sampled_from(globs), fillings), max_size=30)):
        parts = re.split(r"\*+/?|\?", glob.lstrip("!"))
        paths.append("".join(f"{part}{text}" for part, text in zip(parts, [*texts, "a"], strict=False)))
    paths = [os.path.normpath(path.lstrip("/")) for path in paths]
    return globs, [path for path in dict.fromkeys(paths) if not {".", ".."} & {*path.split("/")}]


@needs("git")
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(globs_and_paths())
def test_git_agrees(tmp_path, globs_and_paths):
    """Git selects the same paths by the lines that encenv writes for the globs, if it ignores case."""
    globs, paths = globs_and_paths
    if not (tmp_path / ".git").exists():
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitattributes").unlink(missing_ok=True)
    list(add_attributes(tmp_path, globs))
    assert has_attributes(tmp_path, globs)
    done = subprocess.run(
        ["git", "-c", "core.ignoreCase=true", "check-attr", "-z", "--stdin", "merge"],
        cwd=tmp_path,
        input="".join(f"{path}\0" for path in paths).encode(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    fields = done.stdout.decode().split("\0")
    by_git = {path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == "encenv"}
    assert by_git == {path for path in paths if covers(globs, path)}


@given(
    PATHS
    | st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "a/", "a.b"]),
        st.sampled_from([".env", ".env.a", "env"]),
        st.sampled_from(["", ".dist", ".a", "/b"]),
    )
)
def test_pre_commit_agrees(path):
    """The hook for pre-commit, which cannot read pyproject.toml, selects the files of the default globs."""
    files, exclude = re.findall(r"^  (?:files|exclude): (.+)$", HOOKS.read_text(), re.MULTILINE)
    by_pre_commit = bool(re.search(files, path)) and not re.search(exclude, path)
    assert by_pre_commit == covers(FILES, path)
