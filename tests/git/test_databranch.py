"""A data branch: what one repository does, alone, with several writers, with kills, and beside stock git."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from oracle import ObjectFormat, fsck, git, git_line

from gpa_maint import fs
from gpa_maint.databranch import DataBranch, LayoutWarning
from gpa_maint.databranch.drivers import format_stamp
from gpa_maint.errors import GitFailed, GpaError, Locked, ObjectMissing, SystemFailed

LAYOUTS = ["hash/3", "path", "table/2", "git-annex"]


def new_repository(path: Path, object_format: str = "sha1", *more: str) -> Path:
    git(path.parent, "init", "--quiet", "--bare", f"--object-format={object_format}", *more, path.name)
    return path


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo.git")


def names(layout: str) -> tuple[str, str, str, str]:
    if layout == "git-annex":
        return "SHA256E-s1--a.log", "SHA256E-s2--b.log", "SHA256E-s3--c.log.web", "uuid.log"
    return "users/1", "users/2", "log", "uuid.log"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_changes_are_seen_in_a_transaction_after_it_and_by_git(
    tmp_path: Path, object_format: ObjectFormat, layout: str
) -> None:
    repo = new_repository(tmp_path / "repo.git", object_format)
    one, two, log, other = names(layout)
    with DataBranch(repo, layout=layout) as db:
        with db.transaction("first") as change:
            change.set(one, b"1")
            change.append(log, b"a\n")
            change[other] = b"\0\t\n\\x"
            assert (b"1", b"a\n", None) == (change.get(one), change.get(log), db.get(one))
        with db.transaction() as change:
            change.append(log, b"b\n")
            change.delete(one)
            change.set(two, b"2")
        assert {two: b"2", log: b"a\nb\n", other: b"\0\t\n\\x"} == dict(db.items())
        assert {two, log, other} == set(db.keys())
        assert [two] == list(db.keys(two))
        assert one not in db
        with pytest.raises(ObjectMissing, match=one):
            db[one]
        assert [None, b"1"] == [value for _, value in db.history(one)]
        assert b"1" == db.at("meta~1").get(one)
        assert [] == db.check()
    fsck(repo)
    assert "update first" == " ".join(git(repo, "log", "--format=%s", "meta").stdout.split())


def test_an_error_in_a_transaction_leaves_nothing_of_it(repo: Path) -> None:
    with DataBranch(repo) as db:
        with pytest.raises(RuntimeError), db.transaction() as change:
            change.set("a", b"1")
            raise RuntimeError
        assert ("", [], {}) == (db.head, list(db), db.pending())


KEYS = [
    "",
    ".",
    "..",
    ".git",
    "GIT~1",
    "a/b",
    "a\\b",
    "%41",
    "x" * 700,
    "é" * 300,
    "nul\0",
    "tab\tnew\nline",
    " ",
    "a.",
    ".gpa-data",
]


@pytest.mark.parametrize("layout", ["hash/1", "hash/3", "table/1"])
def test_every_text_is_a_key(repo: Path, layout: str) -> None:
    with DataBranch(repo, layout=layout) as db:
        for key in KEYS:
            db.set(key, key.encode())
        db.commit()
        assert {key: key.encode() for key in KEYS} == dict(db.items())
        assert KEYS == [key for key in KEYS if db[key] == key.encode()]
        assert [] == db.check()
    fsck(repo)
    git(repo, "clone", "--quiet", "-b", "meta", ".", str(repo.parent / "clone"))


@pytest.mark.parametrize("key", ["", "a//b", "/a", "a/", ".git/x", "a/.GIT", "a/../b", "git~1", "nul\0", ".gpa-data"])
def test_a_key_that_is_no_path_is_refused_by_the_layout_path(repo: Path, key: str) -> None:
    with DataBranch(repo, layout="path") as db:
        with pytest.raises(GpaError, match="cannot be a path"):
            db.set(key, b"1")
        assert {} == db.pending()


def test_a_key_below_another_one_is_refused_by_the_layout_path(repo: Path) -> None:
    with DataBranch(repo, layout="path") as db:
        with db.transaction() as change:
            change.set("a", b"1")
        for key, words in {"a/b": "lies below"}.items():
            with pytest.raises(GpaError, match=words), db.transaction() as change:
                change.set(key, b"2")
        with db.transaction() as change:
            change.set("c/d", b"1")
        with pytest.raises(GpaError, match="keys below 'c'"), db.transaction() as change:
            change.set("c", b"2")
        assert {"a", "c/d"} == set(db)


def test_another_layout_than_the_recorded_one_is_refused(repo: Path) -> None:
    with DataBranch(repo, layout="hash/2") as db:
        db.set("a", b"1")
    with pytest.raises(GpaError, match="has the layout hash/2, not path"):
        DataBranch(repo, layout="path")
    with pytest.raises(GpaError, match="unknown layout 'hash/99'"):
        DataBranch(repo, "other", layout="hash/99")


def test_relayout_keeps_all_keys_and_merges_what_a_clone_had_in_the_old_layout(repo: Path, tmp_path: Path) -> None:
    with DataBranch(repo, layout="hash/1") as db, db.transaction() as change:
        for number in range(50):
            change.set(f"k{number}", b"%d" % number)
    git(tmp_path, "clone", "--quiet", "--bare", "repo.git", "clone.git")
    with DataBranch(tmp_path / "clone.git") as clone:
        clone.set("k1", b"changed")
        clone.delete("k2")
    with DataBranch(repo) as db:
        db.relayout("table/1")
        assert ("table/1", 50) == (db.settings.layout, len(db))
        git(repo, "fetch", "--quiet", "../clone.git", "meta:refs/remotes/clone/meta")
        db.merge()
        assert (b"changed", None, 49) == (db["k1"], db.get("k2"), len(db))
        db.relayout("path")
        assert 49 == len(db)
        assert [] == db.check()
    fsck(repo)


def test_check_says_which_layout_would_fit(repo: Path) -> None:
    with DataBranch(repo, layout="hash/1") as db:
        with (
            pytest.warns(LayoutWarning, match=r"hash/1 has \d+ keys in one folder, and hash/2"),
            db.transaction() as made,
        ):
            for number in range(6000):
                made.set(str(number), b"")
        (line,) = db.check()
    assert "hash/2 fits 6000 keys" in line


def test_threads_share_commits_and_lose_nothing(repo: Path) -> None:
    with DataBranch(repo) as db:

        def work(number: int) -> None:
            for count in range(10):
                with db.transaction() as change:
                    change.append("log", b"%d %d\n" % (number, count))
                    change.set(f"{number}/{count}", b"x")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 80 == len(db["log"].splitlines())
        assert 81 == len(db)
    assert 80 >= int(git_line(repo, "rev-list", "--count", "meta"))
    fsck(repo)


WRITER = """
import sys
from gpa_maint.databranch import DataBranch
path, name, count, durable = sys.argv[1:]
db = DataBranch(path, commit_sets=7)
print("ready", flush=True)
for number in range(int(count)):
    key = f"{name}/{number}"
    if durable == "set":
        db.set(key, key.encode())
    else:
        with db.transaction() as change:
            change.set(key, key.encode())
            change.append("all", key.encode() + b"\\n")
    print(key, flush=True)
db.close()
"""


def start_writer(repo: Path, name: str, count: int, how: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WRITER, str(repo), name, str(count), how]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_processes_that_commit_at_the_same_time_lose_nothing(repo: Path) -> None:
    writers = [start_writer(repo, f"w{number}", 15, "commit") for number in range(4)]
    for writer in writers:
        writer.communicate()
        assert 0 == writer.returncode
    with DataBranch(repo) as db:
        assert 60 == len(db["all"].splitlines()) == len(db) - 1
    fsck(repo)


def kill_writers(repo: Path, kills: int, seed: int, sets: int = 400) -> list[str]:
    """Start writers, kill each with SIGKILL at some moment, and return the keys that they had acknowledged."""
    chance, acknowledged = random.Random(seed), []
    for number in range(kills):
        writer = start_writer(repo, f"w{seed}-{number}", sets, chance.choice(["set", "set", "commit"]))
        assert writer.stdout
        lines = chance.randrange(1, int(os.environ.get("GPA_TEST_LINES", "60")))
        for line in (next(writer.stdout) for _ in range(lines)):
            acknowledged.append(line.strip())
        writer.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
        writer.wait()
    return [key for key in acknowledged if key != "ready"]


def test_kill_9_takes_nothing_that_was_acknowledged(repo: Path) -> None:
    acknowledged = kill_writers(repo, 8, 1)
    with DataBranch(repo) as db:
        assert [] == [key for key in acknowledged if db.get(key) != key.encode()]
        assert {} == db.pending()
        assert len(acknowledged) <= len(list(db.keys()))
    assert [] == list((repo / "gpa" / "data").rglob("*.intents"))
    fsck(repo)


@pytest.mark.slow
def test_writers_at_the_same_time_are_killed_and_nothing_is_lost(repo: Path) -> None:
    kills = int(os.environ.get("GPA_TEST_KILLS", "200"))
    found: list[str] = []

    def work(seed: int) -> None:
        found.extend(kill_writers(repo, kills // 8, seed))

    done = threading.Event()

    def maintain() -> None:
        """As on a server: otherwise each commit would list tens of thousands of packs."""
        while not done.wait(3):
            git(repo, "gpa", "run", "-q", check=False)
            git(repo, "gpa", "expire", "-q", "--grace=20.seconds", check=False)

    maintainer = threading.Thread(target=maintain)
    maintainer.start()
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    maintainer.join()
    with DataBranch(repo) as db:
        there = dict(db.items())
        assert [] == [key for key in found if there.get(key) != key.encode()]
    print(f"{kills} kills, {len(found)} acknowledged sets, {git_line(repo, 'rev-list', '--count', 'meta')} commits")
    fsck(repo)


def test_what_was_committed_just_before_a_crash_is_not_set_again_over_a_newer_value(repo: Path) -> None:
    db = DataBranch(repo)
    db.set("a", b"old")
    db.set("a", b"mine")
    (intents,) = (repo / "gpa" / "data").rglob("*.intents")
    db._intents.clear = lambda: None  # type: ignore[method-assign]  # killed between the ref and the file
    db.commit()
    left = intents.read_bytes()
    assert b"\nc " in left
    with DataBranch(repo) as other, other.transaction() as change:
        change.set("a", b"newer")
    del db._intents.clear
    db._intents.clear()
    db.close()
    intents.write_bytes(left)
    with DataBranch(repo) as db:
        assert b"newer" == db["a"]


def test_a_line_of_intents_without_its_end_is_not_there(repo: Path) -> None:
    db = DataBranch(repo)
    db.set("a", b"1")
    (intents,) = (repo / "gpa" / "data").rglob("*.intents")
    whole = intents.read_bytes()
    db.commit()
    db.close()
    intents.write_bytes(whole + b"s " + b"1" * 40 + b" b")
    with DataBranch(repo) as db:
        assert ["a"] == list(db)


def test_a_lock_on_the_ref_is_waited_for_and_then_named(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpa_maint.databranch.branch.LOCK_SECONDS", 0.3)
    with DataBranch(repo) as db:
        with db.transaction() as change:
            change.set("a", b"1")
        lock = repo / "refs" / "heads" / "meta.lock"
        lock.touch()
        db.set("b", b"2")
        with pytest.raises(Locked, match=r"meta\.lock"):
            db.commit()
        assert {"b": b"2"} == db.pending()
        lock.unlink()
        db.commit()
        assert {} == db.pending()
    assert "2" == git_line(repo, "rev-list", "--count", "meta")


def test_a_read_only_repository_is_read_and_merged_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, other = new_repository(tmp_path / "repo.git"), new_repository(tmp_path / "other.git")
    for path, key in ((repo, "a"), (other, "b")):
        with DataBranch(path) as db, db.transaction() as change:
            change.set(key, b"1")
    git(repo, "fetch", "--quiet", "../other.git", "meta:refs/remotes/other/meta")
    before = sorted(str(path) for path in repo.rglob("*"))
    monkeypatch.setattr("gpa_maint.databranch.branch._may_write", lambda *_: False)
    with DataBranch(repo) as db:
        assert ["a", "b"] == sorted(db)
        with pytest.raises(SystemFailed, match="read-only"):
            db.set("c", b"1")
        with pytest.raises(SystemFailed, match="read-only"), db.transaction() as change:
            change.set("c", b"1")
    assert before == sorted(str(path) for path in repo.rglob("*"))


def test_a_full_disk_is_one_clear_error_and_nothing_acknowledged_is_lost(repo: Path) -> None:
    db = DataBranch(repo)
    db.set("a", b"1")

    def full(operation: str, path: str) -> None:
        if operation == "write" and path.endswith(".intents"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    fs.door.before_step = full
    try:
        with pytest.raises(SystemFailed, match="No space left"):
            db.set("b", b"2")
    finally:
        fs.door.before_step = None
    assert {"a": b"1"} == db.pending()
    db.close()
    with DataBranch(repo) as db:
        assert ["a"] == list(db)


def test_worktrees_reftable_and_full_names_work(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "work")
    git(tmp_path / "work", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x")
    git(tmp_path / "work", "worktree", "add", "--quiet", "--detach", "../other")
    with DataBranch(tmp_path / "other", "refs/data/meta") as db:
        db.set("a", b"1")
    with DataBranch(tmp_path / "work", "refs/data/meta") as db:
        assert b"1" == db["a"]
        git(tmp_path / "work", "pack-refs", "--all")
        with db.transaction() as change:
            change.set("a", b"2")
        git(tmp_path / "work", "pack-refs", "--all", "--prune")
        assert b"2" == db["a"]
    fsck(tmp_path / "work")


def test_a_branch_in_reftable(tmp_path: Path) -> None:
    made = git(tmp_path, "init", "--quiet", "--bare", "--ref-format=reftable", "repo.git", check=False)
    if made.returncode:
        pytest.skip("this git has no reftable")
    with DataBranch(tmp_path / "repo.git") as db, DataBranch(tmp_path / "repo.git") as other:
        for number in range(3):
            with db.transaction() as change:
                change.set("a", b"%d" % number)
            with other.transaction() as change:
                assert b"%d" % number == change.get("a")
                change.set("b", b"%d" % number)
        assert {"a": b"2", "b": b"2"} == dict(db._refresh().snapshot.items())


def test_a_bad_name_or_revision_is_one_clear_error(repo: Path) -> None:
    with pytest.raises(GitFailed):
        DataBranch(repo, "a..b")
    with DataBranch(repo) as db, pytest.raises(GitFailed):
        db.at("nothing")


def test_stock_git_reads_clones_collects_and_changes_it(repo: Path, tmp_path: Path) -> None:
    with DataBranch(repo, layout="path") as db:
        with db.transaction() as change:
            change.set("users/42", b"name\n")
        git(tmp_path, "clone", "--quiet", "-b", "meta", "repo.git", "clone")
        (tmp_path / "clone" / "users" / "43").write_text("other\n")
        git(tmp_path / "clone", "add", ".")
        git(tmp_path / "clone", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x")
        git(tmp_path / "clone", "push", "--quiet", "origin", "meta")
        with db.transaction() as change:
            assert b"other\n" == change.get("users/43")
            change.set("users/44", b"")
        git(repo, "gc", "--quiet", "--prune=now")
        assert ["users/42", "users/43", "users/44"] == list(db.keys("users/"))
    assert "name" == git_line(repo, "show", "meta:users/42")
    fsck(repo)


def test_a_branch_without_settings_is_read_as_paths(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "-b", "main", "work")
    (tmp_path / "work" / "file").write_text("text")
    git(tmp_path / "work", "add", ".")
    git(tmp_path / "work", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x")
    with DataBranch(tmp_path / "work", "main") as db:
        assert ("path", {"file": b"text"}) == (db.settings.layout, dict(db.items()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version 2\nlayout path\n", "version '2'"),
        ("version 1\nlayout nothing\n", "unknown layout"),
        ("version 1\nlayout path\nserial x\n", "no number"),
        ("version 1\nlayout path\nfuture x\n", "not known here"),
        ("version 1\nlayout path\nmerge x\n", "line 3"),
        ("", "version ''"),
    ],
)
def test_damaged_or_newer_settings_are_refused(repo: Path, text: str, words: str) -> None:
    blob = git(repo, "hash-object", "-w", "--stdin", input=text).stdout.strip()
    tree = git(repo, "mktree", input=f"100644 blob {blob}\t.gpa-data\n").stdout.strip()
    commit = git(repo, "-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", "-m", "x", tree).stdout.strip()
    git(repo, "update-ref", "refs/heads/meta", commit)
    with pytest.raises(GpaError, match=words):
        DataBranch(repo)


def test_intents_whose_blob_is_not_here_yet_stay(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may be recovering the journal with the blob at this moment."""
    monkeypatch.setattr("gpa_maint.databranch.branch.BLOB_SECONDS", 0)
    with DataBranch(repo) as db:
        db.set("a", b"1")
        (intents,) = (repo / "gpa" / "data").rglob("*.intents")
        left = intents.read_bytes()
    blob = git(repo, "hash-object", "--stdin", input="late").stdout.strip()
    intents.write_bytes(left + f"s {blob} b\n".encode())
    with DataBranch(repo) as db:
        assert ["a"] == list(db)
        assert ["gone" in line for line in db.check()] == [True]
        assert intents.exists()
        git(repo, "hash-object", "-w", "--stdin", input="late")
        assert 2 == db.recover()
        assert {"a": b"1", "b": b"late"} == dict(db.items())
    assert not intents.exists()


def test_a_forked_process_goes_on_and_leaves_the_parents_sets_to_it(repo: Path) -> None:
    with DataBranch(repo) as db:
        db.append("log", b"parent\n")
        child = os.fork()
        if not child:
            try:
                assert {} == db.pending()
                db.set("child", b"1")
                db.append("log", b"child\n")
                db.commit()
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        db.commit()
        assert [b"child", b"parent"] == sorted(db["log"].splitlines())
        assert b"1" == db["child"]
    fsck(repo)


def test_a_disk_that_is_full_for_pages_fails_a_commit_and_the_next_one_has_it_all(repo: Path) -> None:
    is_full = False

    def step(operation: str, path: str, size: int) -> tuple[int, int]:
        return (errno.ENOSPC, 0) if is_full and operation == "write" else (0, size)

    fs.door.before_core_step = step
    try:
        with DataBranch(repo) as db:
            db.set("a", b"1")
            db.commit()
            before = db.head
            is_full = True
            with pytest.raises(SystemFailed, match="No space left"):
                db.set("b", b"2")
            with pytest.raises(SystemFailed, match="No space left"), db.transaction() as change:
                change.set("c", b"3")
            assert (before, {}) == (db.head, db.pending())
            assert ["a"] == list(db)
            is_full = False
            db.set("b", b"2")
        fsck(repo)
    finally:
        fs.door.before_core_step = None
    with DataBranch(repo) as db:
        assert {"a": b"1", "b": b"2"} == dict(db.items())


def test_a_log_from_a_clock_that_is_ahead_is_followed_and_warned_of(repo: Path) -> None:
    ahead = time.time_ns() + 3 * 86_400 * 10**9
    with DataBranch(repo, rules=[("*", "presence")]) as db:
        db.set("key", format_stamp(ahead) + b" 1 other\n" + format_stamp(ahead) + b" 1 here\n")
        with pytest.warns(LayoutWarning, match="3 days ahead|2 days ahead"):
            db.gone("key", "here")
        assert {"other"} == db.where("key")
        db.here("key", "new")
        assert {"other", "new"} == db.where("key")


def test_what_a_forgotten_commit_has_is_not_made_again(tmp_path: Path) -> None:
    """A process died after its commit and before it emptied its journal; then the history was forgotten."""
    git(tmp_path, "init", "--quiet", "--bare", "repo")
    repo = tmp_path / "repo"
    with DataBranch(repo) as db:
        with db.transaction() as change:
            change.append("key", b"1")
        commit = db.head
        db.forget()
    blob = git(repo, "hash-object", "-w", "--stdin", input="1").stdout.strip()
    lines = f"b \na {blob} key\n"
    folder = repo / "gpa" / "data" / "refs%2Fheads%2Fmeta"
    (folder / "1-00000000.intents").write_text(f"{lines}c {commit} {len(lines)}\n")
    with DataBranch(repo) as db:
        assert b"1" == db.get("key")
    assert [] == list(folder.glob("*.intents"))
