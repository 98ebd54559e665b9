"""Presence logs beside real git-annex: it reads, merges, checks and forgets what we write, and we what it writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from oracle import fsck, git, git_line

from gpa_maint.databranch import DataBranch

pytestmark = pytest.mark.skipif(shutil.which("git-annex") is None, reason="git-annex is not installed")

OTHER = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def annexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of git-annex with three files."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "a")
        monkeypatch.setenv(f"{name}_EMAIL", "a@example.com")
    git(tmp_path, "init", "--quiet", "-b", "main", "work")
    work = tmp_path / "work"
    git(work, "annex", "init", "--quiet", "here")
    for number in range(3):
        (work / f"file {number}&%:.txt").write_text(f"content {number}")
    git(work, "annex", "add", "--quiet", ".")
    git(work, "commit", "--quiet", "-m", "files")
    return work


def keys_of(work: Path) -> list[str]:
    return git(work, "annex", "find", "--format=${key}\\n").stdout.split()


def test_we_read_what_git_annex_writes(annexed: Path) -> None:
    uuid = git_line(annexed, "config", "annex.uuid")
    with DataBranch(annexed, "git-annex") as db:
        assert "git-annex" == db.settings.layout
        assert [{uuid}] * 3 == [db.where(key) for key in keys_of(annexed)]
        assert uuid in db["uuid.log"].decode()
        assert [] == db.check()


def test_git_annex_reads_and_checks_what_we_write(annexed: Path) -> None:
    keys = keys_of(annexed)
    with DataBranch(annexed, "git-annex") as db:
        db.append("uuid.log", f"{OTHER} other timestamp=1s\n".encode())
        for key in keys:
            db.here(key, OTHER)
        db.gone(keys[0], OTHER)
    found = git(annexed, "annex", "whereis", "--json").stdout.splitlines()
    assert [False, True, True] == [OTHER in line for line in sorted(found, key=lambda line: keys[0] not in line)]
    git(annexed, "annex", "fsck", "--fast", "--quiet")
    fsck(annexed)


def test_both_merge_what_the_other_one_wrote(annexed: Path, tmp_path: Path) -> None:
    key = keys_of(annexed)[0]
    git(tmp_path, "clone", "--quiet", "work", "clone")
    git(tmp_path / "clone", "annex", "init", "--quiet", "there")
    clone_uuid = git_line(tmp_path / "clone", "config", "annex.uuid")
    uuid = git_line(annexed, "config", "annex.uuid")
    git(tmp_path / "clone", "annex", "get", "--quiet", ".")
    with DataBranch(annexed, "git-annex") as db:
        db.here(key, OTHER)
    git(annexed, "fetch", "--quiet", "../clone", "git-annex:refs/remotes/clone/git-annex")
    with DataBranch(annexed, "git-annex") as db:
        assert {uuid, clone_uuid, OTHER} == db.where(key)
    git(tmp_path / "clone", "fetch", "--quiet", "origin")
    git(tmp_path / "clone", "annex", "merge", "--quiet")
    assert OTHER in git(tmp_path / "clone", "annex", "whereis", "--json", "--key", key).stdout
    with DataBranch(tmp_path / "clone", "git-annex") as db:
        assert {uuid, clone_uuid, OTHER} == db.where(key)
    fsck(annexed)


def test_what_git_annex_forgets_is_merged_as_values(annexed: Path, tmp_path: Path) -> None:
    key = keys_of(annexed)[0]
    git(tmp_path, "clone", "--quiet", "work", "clone")
    with DataBranch(tmp_path / "clone", "git-annex") as db:
        db.here(key, OTHER)
    git(annexed, "annex", "forget", "--quiet", "--force")
    git(annexed, "fetch", "--quiet", "../clone", "git-annex:refs/remotes/clone/git-annex")
    with DataBranch(annexed, "git-annex") as db:
        assert OTHER in db.where(key)
    roots = git(annexed, "rev-list", "--max-parents=0", "git-annex").stdout.split()
    assert 1 == len(roots)
    git(annexed, "annex", "fsck", "--fast", "--quiet")


def test_what_git_annex_has_not_committed_is_pending(annexed: Path) -> None:
    git(annexed, "config", "annex.alwayscommit", "false")
    (annexed / "new").write_text("new")
    git(annexed, "annex", "add", "--quiet", "new")
    with DataBranch(annexed, "git-annex") as db:
        assert any(name.endswith(".log") for name in db.pending())


def test_a_key_of_git_annex_lies_where_git_annex_looks(annexed: Path) -> None:
    assert os.path.isdir(annexed)
    listed = git(annexed, "ls-tree", "-r", "--name-only", "git-annex").stdout.split("\n")
    with DataBranch(annexed, "git-annex") as db:
        assert {b"/".join(db._state.layout.path(name)).decode() for name in db} == set(filter(None, listed))
