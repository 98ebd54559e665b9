"""Hostile data branches: heads of remotes and inboxes, journals of sets. None keeps the branch from being opened."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle import fsck, git, git_line

from gpa_maint.databranch import DataBranch
from gpa_maint.databranch.branch import MergeWarning
from gpa_maint.databranch.inbox import merge_inboxes
from gpa_maint.errors import Refused

Rows = list[tuple[str, bytes, str]]
"""Mode, name and id of each entry of a tree."""

SETTINGS = b"version 1\nlayout path\nserial 1\nepoch 0\n"


@pytest.fixture(params=["path", "hash/2", "table/1"])
def repo(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    made = new_repo(tmp_path / "repo")
    with DataBranch(made, layout=request.param) as db, db.transaction() as change:
        change.set("k", b"mine")
        change.set("z", b"zz")
    return made


def new_repo(path: Path) -> Path:
    git(path.parent, "init", "--quiet", "--bare", path.name)
    return path


def blob(repo: Path, content: bytes) -> str:
    return git(repo, "hash-object", "-w", "--stdin", input=content).stdout.strip()


def tree(repo: Path, rows: Rows) -> str:
    kinds = {"040000": b"tree", "160000": b"commit"}
    lines = b"".join(b"%s %s %s\t%s\0" % (m.encode(), kinds.get(m, b"blob"), o.encode(), n) for m, n, o in rows)
    return git(repo, "mktree", "-z", "--missing", input=lines).stdout.strip()


def head(repo: Path, rows: Rows, settings: bytes | None = SETTINGS) -> str:
    more: Rows = [] if settings is None else [("100644", b".gpa-data", blob(repo, settings))]
    return git_line(repo, "commit-tree", "-m", "x", tree(repo, [*rows, *more]))


def one(repo: Path) -> Rows:
    return [("100644", b"k", blob(repo, b"\xff\0other"))]


def with_settings(settings: bytes) -> Callable[[Path], str]:
    return lambda repo: head(repo, one(repo), settings)


HEADS: dict[str, Callable[[Path], str]] = {
    "a folder in the place of a key": lambda r: head(r, [("040000", b"k", tree(r, one(r)))]),
    "a name that is no text": lambda r: head(r, [("100644", b"\xff\xfe", blob(r, b"v"))]),
    "a submodule": lambda r: head(r, [("160000", b"m", "1" * 40)]),
    "a symbolic link": lambda r: head(r, [("120000", b"l", blob(r, b"/etc/passwd"))]),
    "another value": lambda r: head(r, one(r)),
    "no settings": lambda r: head(r, one(r), None),
    "an unknown layout": with_settings(b"version 1\nlayout nonsense\n"),
    "a layout too deep": with_settings(b"version 1\nlayout hash/99\n"),
    "another layout": with_settings(b"version 1\nlayout hash/3\n"),
    "tables": with_settings(b"version 1\nlayout table/2\n"),
    "an epoch far ahead": with_settings(b"version 1\nlayout path\nepoch 999999999\n"),
    "forgotten commits that are none": with_settings(b"version 1\nlayout path\nepoch 5\nforgot zzz -x\n"),
    "an unknown driver": with_settings(b"version 1\nlayout path\nserial 9\nmerge * nope\n"),
    "json that is none": with_settings(b"version 1\nlayout path\nserial 9\nmerge * json\n"),
    "presence that is none": with_settings(b"version 1\nlayout path\nserial 9\nmerge * presence\n"),
    "a counter that is none": with_settings(b"version 1\nlayout path\nserial 9\nmerge * counter\n"),
    "settings that are none": with_settings(bytes(range(256))),
    "empty settings": with_settings(b""),
    "settings that are a folder": lambda r: head(r, [("040000", b".gpa-data", tree(r, one(r)))], None),
    "an empty tree": lambda r: head(r, [], None),
    "a blob": lambda r: blob(r, b"v"),
    "a tree": lambda r: tree(r, one(r)),
}


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_a_bad_head_keeps_neither_the_branch_nor_a_good_head_away(
    repo: Path, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    git(repo, "update-ref", "refs/remotes/bad/meta", make(repo))
    git(tmp_path, "clone", "--quiet", "--bare", "--single-branch", "--branch=meta", str(repo), "good")
    with DataBranch(tmp_path / "good") as good:
        good["from-good"] = b"1"
    git(repo, "fetch", "--quiet", str(tmp_path / "good"), "meta:refs/remotes/good/meta")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MergeWarning)
        with DataBranch(repo) as db:
            db.set("y", b"2")
            db.commit()
            assert (b"zz", b"2", b"1") == (db.get("z"), db.get("y"), db.get("from-good"))
            assert {"k", "y", "z", "from-good"} <= {key for key, _ in db.items()} | {"k"}
            db.check()
    fsck(repo)


LINES: dict[str, bytes] = {
    "no hex digits": b"s zz key\n",
    "an id of another length": b"s 0123 key\n",
    "an unknown word": b"x key\n",
    "bytes that are no text": b"\xff\xfe\xfd\n",
    "zeros": bytes(1000) + b"\n",
    "a key that the layout cannot hold": b"d \n",
    "a missing value": b"s " + b"1" * 40 + b" key\n",
    "a commit that is none": b"c zz 10\n",
    "a base that is none": b"b zzzz\nd z\n",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_bad_journal_of_sets_stays_and_the_others_are_recovered(
    tmp_path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpa_maint.databranch.branch.BLOB_SECONDS", 0.1)
    repo = new_repo(tmp_path / "repo")
    with DataBranch(repo, layout="path") as db:
        db["z"] = b"zz"
    folder = repo / "gpa" / "data" / "refs%2Fheads%2Fmeta"
    (folder / "1-00000000.intents").write_bytes(line)
    (folder / "1-00000001.intents").write_bytes(b"b \ns " + blob(repo, b"good").encode() + b" good\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MergeWarning)
        with DataBranch(repo) as db:
            assert (b"zz", b"good") == (db.get("z"), db.get("good"))
            db.check()
    assert not (folder / "1-00000001.intents").exists()
    fsck(repo)


def test_a_client_with_an_inbox_changes_no_branch_that_is_no_data_branch(tmp_path: Path) -> None:
    """It may not push to `main`, and the hook must not do it in its place."""
    repo = new_repo(tmp_path / "server")
    main = head(repo, [("100644", b"code", blob(repo, b"good"))], None)
    with DataBranch(repo) as db:
        db["key"] = b"value"
    git(repo, "update-ref", "refs/heads/main", main)
    refs = {
        "refs/data-inbox/evil/main": head(repo, [("100644", b"code", blob(repo, b"evil"))]),
        "refs/data-inbox/evil/new": head(repo, [("100644", b"code", blob(repo, b"evil"))], None),
        "refs/data-inbox/evil/meta": head(repo, [("100644", b"code", blob(repo, b"evil"))], None),
    }
    for ref, oid in refs.items():
        git(repo, "update-ref", ref, oid)
    with DataBranch(repo, merge="never") as db:
        before = db.head
    with pytest.raises(Refused, match="is no data branch"):
        merge_inboxes(repo)
    assert main == git_line(repo, "rev-parse", "main")
    assert before == git_line(repo, "rev-parse", "meta")
    assert 0 != git(repo, "rev-parse", "--verify", "--quiet", "new", check=False).returncode


def test_a_forked_child_does_not_keep_what_its_parent_had_set(tmp_path: Path) -> None:
    """The parent dies by kill -9 while its child lives: the journal is not locked any more."""
    repo = new_repo(tmp_path / "repo")
    (read, write), (forked, has_forked) = os.pipe(), os.pipe()
    parent = os.fork()
    if not parent:
        db = DataBranch(repo)
        db.set("key", b"value")
        if not os.fork():
            os.close(write)
            os.write(has_forked, b".")
            os.read(read, 1)  # until the test has looked
            os._exit(0)
        os.read(forked, 1)
        os.kill(os.getpid(), 9)
    os.waitpid(parent, 0)
    (journal,) = (repo / "gpa" / "data").rglob("*.intents")
    with open(journal) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with DataBranch(repo) as db:
        assert b"value" == db.get("key")
    for fd in (write, read, forked, has_forked):
        os.close(fd)
