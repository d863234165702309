"""Check that the map of the house, encenv/README.md and its picture, says what the source says."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from support.draw_house import PICTURE, PLACES, drawing, owner
from support.house import DOORS, FACES, HOUSE, PACKAGE, tree

ROOT = PACKAGE.parent
MAP = PACKAGE / "README.md"
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob(".github/*.md"), *ROOT.glob("samples/*/README.md"), MAP})


def definitions(path: Path) -> set[str]:
    """Return the names of all functions, methods and classes in a file."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(tree(path)) if isinstance(node, kinds)}


def test_every_room_is_drawn():
    """Each file of the package belongs to a room of the picture, and no place is drawn without a file."""
    assert {owner(file) for file in [*HOUSE, *FACES]} == set(PLACES)


def test_picture_is_up_to_date():
    """The committed picture is what the source gives: PYTHONPATH=tests python -m support.draw_house draws it."""
    assert PICTURE.read_text(encoding="utf-8") == drawing()


def test_every_room_is_described():
    """The map has a row for each room."""
    rows = re.findall(r"^\| \[([\w/.]+)\]", MAP.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) == {"errors.py", "testing/", *(f"{door.replace('.', '/')}/" for door in DOORS)}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    """Every relative link of a page leads to a file or a folder."""
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_into_the_source_distribution(page):
    """The source distribution holds every file that a page links to."""
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        top = (page.parent / link).resolve().relative_to(ROOT).parts[0]
        assert f"/{top}" in targets["sdist"]["include"], link


def test_named_functions_exist():
    """A function or class that the map names after a file is defined in that file."""
    for line in MAP.read_text(encoding="utf-8").splitlines():
        path = None
        for link, name in re.findall(rf"{LINK.pattern}|`(\w+)\(\)`", line):
            if link:
                path = MAP.parent / link
            elif path is not None:
                assert name in definitions(path), f"{path} defines no {name}"


def test_ten_questions_are_answered():
    """The map answers ten questions, each with the name of a file and of something in it."""
    _, _, table = MAP.read_text(encoding="utf-8").partition("## Ten questions")
    rows = [line for line in table.splitlines() if "?" in line]
    assert len(rows) == 10
    assert all(".py](" in row and "()`" in row for row in rows)
