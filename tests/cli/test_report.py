"""Findings: one line each for ``check``, a checklist for ``doctor``, and one JSON object for programs."""

import json

import pytest

from encenv.cli.report import (
    Finding,
    as_checklist,
    as_json,
    as_lines,
    errors,
    failure,
    write_json,
    write_lines,
)
from encenv.cli.terminal import count
from encenv.errors import FileError

FINDINGS = [
    Finding("ok", "clock", "the same as AWS's", "not shown"),
    Finding("skipped", "git", "this folder is not in a git repository"),
    Finding("warning", ".env", "two names differ in case", "keep one of them", 3),
    Finding("error", "a.env", "plaintext\x1b[31m", "encrypt it", 1, "A\nB", "0123456789"),
]


def test_lines(capsysbinary):
    """A line begins with the commit and the place; only a warning says what it is, and nothing controls a terminal."""
    write_lines(as_lines(FINDINGS[2:]))
    assert capsysbinary.readouterr().out.decode().splitlines() == [
        ".env:3: warning: two names differ in case",
        r"0123456789 a.env:1: 'A\nB': 'plaintext\x1b[31m'",
    ]


def test_checklist(capsysbinary):
    """Each finding begins with its severity; hints are below what is not ok."""
    write_lines(as_checklist(FINDINGS))
    assert capsysbinary.readouterr().out.decode().splitlines() == [
        "ok       clock: the same as AWS's",
        "skipped  git: this folder is not in a git repository",
        "warning  .env:3: two names differ in case",
        "         -> keep one of them",
        r"error    0123456789 a.env:1: 'A\nB': 'plaintext\x1b[31m'",
        "         -> encrypt it",
    ]


def test_json(capsysbinary):
    """The JSON object has every finding with all its attributes, and whether there is no error."""
    write_json(as_json(FINDINGS))
    report = json.loads(capsysbinary.readouterr().out)
    assert report["ok"] is False
    assert [Finding(**one) for one in report["findings"]] == FINDINGS
    write_json(as_json(FINDINGS[:3]))
    assert json.loads(capsysbinary.readouterr().out)["ok"] is True


def test_failure():
    """An error becomes one finding on one line, with its hint."""
    error = FileError("2 variables cannot be read:\n  A: x", hint="fix each")
    assert failure("a.env", error) == Finding(
        "error", "a.env", "2 variables cannot be read: A: x", "fix each"
    )
    assert errors(FINDINGS) == FINDINGS[3:]


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (2000, "2,000 files")])
def test_count(number, text):
    """Numbers have their noun in singular or plural."""
    assert count(number, "file") == text
