"""No reader fails while our maintenance deletes without a grace, and our readers do not while git's own does.

`make stress` takes minutes for each, and prints the table.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oracle import fsck, git
from running import gpa
from stress import GITS, OURS, stress, table
from test_long_day import server

__all__ = ["server"]

SECONDS = float(os.environ.get("GPA_TEST_SECONDS", "8"))
SETTINGS = {"pageObjects": "60", "autoPages": "4", "autoLoose": "20", "expireGrace": "now"}


@pytest.fixture
def hurried(server: Path) -> Path:
    """A server whose maintenance is ever at work, by the loops and not by the hooks."""
    git(server, "gpa", "uninstall")
    for key, value in SETTINGS.items():
        git(server, "config", f"gpa.{key}", value)
    for key in ("receive.unpackLimit", "transfer.unpackLimit"):
        git(server, "config", key, "1")
    for key in ("gc.auto", "maintenance.auto"):
        git(server, "config", key, "0")
    return server


def assert_all_there(server: Path, pushed: list[str]) -> None:
    fsck(server)
    names = "".join(f"{commit}\n" for commit in pushed)
    assert "missing" not in git(server, "cat-file", "--batch-check", input=names).stdout


def test_no_reader_fails_while_ours_deletes_without_grace(hurried: Path, tmp_path: Path) -> None:
    """I2, I6"""
    day = stress(hurried, tmp_path, OURS, seconds=SECONDS)
    print(f"\n{table({'git-gpa': day})}")
    assert [] == day.errors
    assert_all_there(hurried, day.pushed)


def test_our_readers_do_not_fail_whoever_deletes(hurried: Path, tmp_path: Path) -> None:
    """I2. Stock git's own readers do fail beside stock git's own maintenance.

    It may also leave an index that names a pack which another of its commands deletes at that moment: the next run
    of ours mends that, and no object is lost.
    """
    day = stress(hurried, tmp_path, {**OURS, **GITS}, seconds=SECONDS)
    print(f"\n{table({'git-gpa and git': day})}")
    assert [] == [error for error in day.errors if error.startswith(("PageStore", "libgit2"))]
    gpa(hurried, "run")
    assert_all_there(hurried, day.pushed)
