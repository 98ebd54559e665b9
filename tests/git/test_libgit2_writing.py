"""What pygit2 writes through a PageStore: into pages, seen by git as soon as a commit is, and never lost or loose."""

from __future__ import annotations

import errno
import gc
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pygit2
import pytest
from histories import History, HistorySpec, alternates_repo, cruft_pack_repo, init_server, pushed_history, worktree_repo
from oracle import all_objects, fsck, git, git_line, objects_dir, pack_dir
from packwriter import Whole, add_pack, oid_hex
from pygit2.enums import FileMode, ObjectType
from running import gpa
from writing import assert_ends_well, forked, journals, left_behind, loose_count

from gpa_maint import PageStore, fs
from gpa_maint.integrations.libgit2 import attach, open_repository

AUTHOR = pygit2.Signature("A", "a@example.com", 1_700_000_000, 0)
MIB = 1 << 20


@pytest.fixture
def history(tmp_path: Path) -> History:
    return pushed_history(tmp_path / "history", HistorySpec(kind="tree", pushes=12, waiting=4))


@pytest.fixture
def server(history: History) -> Path:
    return history.server


def store_of(repo: Path) -> PageStore:
    return PageStore.open(objects_dir(repo), object_format="sha1")


def attached(path: Path, store: PageStore | None = None, **options: Any) -> pygit2.Repository:
    repo = pygit2.Repository(os.fspath(path))
    attach(repo, store_of(path) if store is None else store, **options)
    return repo


def commit_file(repo: pygit2.Repository, ref: str | None, content: bytes, *parents: pygit2.Oid) -> pygit2.Oid:
    builder = repo.TreeBuilder()
    builder.insert("file", repo.create_blob(content), FileMode.BLOB)
    made: pygit2.Oid = repo.create_commit(ref, AUTHOR, AUTHOR, "a change", builder.write(), list(parents))
    return made


def loose_files(path: Path) -> set[str]:
    return {file.parent.name + file.name for file in objects_dir(path).glob("??/*")}


def assert_sound(path: Path) -> None:
    fsck(path)
    assert 0 == loose_count(path)


# -- Into pages


def test_a_commit_and_what_it_is_of_are_a_page_when_it_is_there(server: Path) -> None:
    repo, before = attached(server), set(all_objects(server))
    blob = repo.create_blob(b"new\n")
    builder = repo.TreeBuilder()
    builder.insert("file", blob, FileMode.BLOB)
    tree = builder.write()
    assert before == set(all_objects(server)) and journals(server)
    assert b"new\n" == repo[blob].read_raw() and 1 == len(repo[tree])
    commit = repo.create_commit("refs/heads/new", AUTHOR, AUTHOR, "new", tree, [repo.head.target])
    assert {str(oid) for oid in (blob, tree, commit)} == set(all_objects(server)) - before
    assert "new" == git_line(server, "log", "-1", "--format=%s", "refs/heads/new")
    assert_sound(server)


def test_a_tag_is_sealed_with_what_waits(server: Path) -> None:
    repo = attached(server)
    blob = repo.create_blob(b"tagged")
    repo.create_tag("v1", blob, ObjectType.BLOB, AUTHOR, "a blob")
    assert "tagged" == git_line(server, "cat-file", "blob", "v1^{blob}")
    assert_sound(server)


def test_what_waits_is_seen_by_git_when_the_writer_seals(server: Path) -> None:
    store = store_of(server)
    repo = attached(server, store)
    oid = repo.odb.write(ObjectType.BLOB, b"waits")
    assert oid in repo.odb and str(oid) in {str(one) for one in repo.odb}
    store.writer().seal()
    assert "waits" == git_line(server, "cat-file", "blob", str(oid))


def test_streams_are_written_whatever_their_size(server: Path, tmp_path: Path) -> None:
    repo = attached(server)
    large = random.Random(1).randbytes(17 * MIB)
    (tmp_path / "large").write_bytes(large)
    oids = [
        repo.create_blob_fromdisk(os.fspath(tmp_path / "large")),
        repo.create_blob_fromiobase(io.BytesIO(b"a stream")),
        repo.create_blob_fromiobase(io.BytesIO(b"")),
        repo.create_blob_fromiobase(io.BytesIO(large[: 3 * MIB])),
    ]
    for oid, content in zip(oids, (large, b"a stream", b"", large[: 3 * MIB]), strict=True):
        assert oid_hex("blob", content) == str(oid)
        assert content == repo[oid].data
    assert oids[1] == repo.create_blob_fromiobase(io.BytesIO(b"a stream"))
    commit_file(repo, "refs/heads/large", b"and a commit")
    assert {str(oid) for oid in oids} <= set(all_objects(server))
    assert_sound(server)


def test_an_index_and_its_trees_are_written(server: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", server, clone)
    store, before = store_of(clone), loose_files(clone)
    repo = attached(clone, store)
    (clone / "added").write_text("added\n")
    repo.index.add("added")
    repo.index.write()
    tree = repo.index.write_tree()
    store.writer().seal()
    assert before == loose_files(clone)
    assert str(tree) == git_line(clone, "write-tree")
    assert ["A  added"] == git(clone, "status", "--porcelain").stdout.splitlines()
    fsck(clone)


def test_merges_write_their_trees(server: Path) -> None:
    repo = attached(server)
    tip = repo.head.target
    ours, theirs = (commit_file(repo, None, content, tip) for content in (b"one\n", b"one\n"))
    merged = repo.merge_commits(ours, theirs).write_tree(repo)
    repo.create_commit("refs/heads/merged", AUTHOR, AUTHOR, "merge", merged, [ours, theirs])
    assert_sound(server)


def test_a_batch_makes_one_page_of_many_commits(server: Path) -> None:
    store = store_of(server)
    repo, pages = attached(server, store), len(list(pack_dir(server).glob("*.pack")))
    with store.batch():
        parents: list[pygit2.Oid] = []
        for number in range(20):
            parents = [commit_file(repo, None, b"%d" % number, *parents)]
    repo.create_reference("refs/heads/bulk", parents[0])
    assert pages + 1 == len(list(pack_dir(server).glob("*.pack")))
    assert "20" == git_line(server, "rev-list", "--count", "bulk")
    assert_sound(server)


def test_a_linked_worktree_writes_into_its_repository(tmp_path: Path) -> None:
    path, worktree = worktree_repo(tmp_path)
    before = loose_files(path)
    commit_file(open_repository(worktree), "refs/heads/from-the-worktree", b"from the worktree")
    assert before == loose_files(path)
    assert "from the worktree" == git_line(path, "cat-file", "blob", "from-the-worktree:file")


def test_a_new_repository_is_written_to(tmp_path: Path) -> None:
    pygit2.init_repository(os.fspath(tmp_path / "new"), bare=True)
    repo = open_repository(tmp_path / "new")
    commit_file(repo, "HEAD", b"first")
    assert 3 == len(list(repo.odb))
    assert_sound(tmp_path / "new")


# -- What is there already


def test_what_is_there_is_not_written_again_but_its_pack_made_young(server: Path) -> None:
    """As git does, so that `git gc` does not delete what was written just now. Not each time: every two seconds."""
    store = store_of(server)
    repo = attached(server, store)
    blob = next(oid for oid, (kind, _, _) in all_objects(server).items() if kind == "blob")
    old = time.time() - 1e6
    for pack in pack_dir(server).glob("*.pack"):
        os.utime(pack, (old, old))
    kind, content = repo.odb.read(blob)
    for write in (lambda: repo.create_blob(content), lambda: repo.odb.write(kind, content)):
        assert blob == str(write())
    assert 0 == store.writer().stats().object_count
    assert 1 == sum(pack.stat().st_mtime > old + 1000 for pack in pack_dir(server).glob("*.pack"))


def test_what_only_a_cruft_pack_has_is_written_anew(tmp_path: Path) -> None:
    """Its age is in the .mtimes file, which says that it may be deleted soon."""
    path = cruft_pack_repo(tmp_path)
    cruft = next(pack_dir(path).glob("*.mtimes")).with_suffix(".pack")
    before = cruft.stat().st_mtime_ns
    others = {oid for idx in pack_dir(path).glob("*.idx") if idx.stem != cruft.stem for oid in index_oids(path, idx)}
    only = index_oids(path, cruft.with_suffix(".idx")) - others
    store = store_of(path)
    repo = attached(path, store)
    known = [idx.stem for idx in pack_dir(path).glob("*.idx")]
    for oid in only:
        kind, content = repo.odb.read(oid)
        assert oid == str(repo.odb.write(kind, content))
    pages = store.writer().save(known).pages
    assert only and only == {oid for page in pages for oid in index_oids(path, Path(page.paths[1]))}
    assert before == cruft.stat().st_mtime_ns


def index_oids(path: Path, idx: Path) -> set[str]:
    return {line.split()[1] for line in git(path, "show-index", input=idx.read_bytes()).stdout.splitlines()}


# -- As loose objects, where that is asked for

LOOSE: list[dict[str, Any]] = [{"mode": "add"}, {"new_objects": "loose"}]


@pytest.mark.parametrize("options", LOOSE, ids=["add", "loose"])
def test_new_objects_are_loose(server: Path, options: dict[str, Any]) -> None:
    repo = attached(server, **options)
    blob = repo.create_blob(b"new\n")
    stream = repo.create_blob_fromiobase(io.BytesIO(b"streamed\n"))
    assert {str(oid) for oid in (blob, stream)} == loose_files(server)
    assert b"new\n" == repo[blob].read_raw() and b"streamed\n" == repo[stream].read_raw()
    assert not (server / "gpa").exists()


@pytest.mark.parametrize("options", LOOSE, ids=["add", "loose"])
def test_known_objects_are_made_young(server: Path, options: dict[str, Any]) -> None:
    repo = attached(server, **options)
    loose = str(repo.create_blob(b"loose"))
    file = objects_dir(server) / loose[:2] / loose[2:]
    packed = next(oid for oid, (kind, _, _) in all_objects(server).items() if kind == "blob" and oid != loose)
    for path in [file, *pack_dir(server).glob("*.pack")]:
        os.utime(path, (1e9, 1e9))
    repo.create_blob(b"loose")
    repo.create_blob(repo[packed].data)
    assert file.stat().st_mtime > 1.5e9
    assert 1 == sum(pack.stat().st_mtime > 1.5e9 for pack in pack_dir(server).glob("*.pack"))
    assert {loose} == loose_files(server)


def test_a_repository_that_may_not_be_written_to_is_read(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    repo = attached(server)
    assert repo[repo.head.target].type == ObjectType.COMMIT
    assert not (server / "gpa").exists()


def test_another_way_of_writing_is_refused(server: Path) -> None:
    with pytest.raises(ValueError, match="'pages' or 'loose', not 'packs'"):
        attached(server, new_objects="packs")


# -- How long it lasts


def test_a_writer_that_is_lent_goes_on_after_its_block(server: Path) -> None:
    store = store_of(server)
    repo = attached(server, store)
    with store.writer():
        commit_file(repo, "refs/heads/one", b"one")
    with store.writer(), store.batch():
        oid = repo.create_blob(b"two")
    assert "two" == git_line(server, "cat-file", "blob", str(oid))
    with pytest.raises(ValueError, match="another durability"):
        store.writer(durability="none")


def test_a_closed_store_is_written_to_no_more(server: Path) -> None:
    store = store_of(server)
    repo = attached(server, store)
    oid = repo.create_blob(b"before")
    writer = store.writer()
    store.close()
    writer.close()  # as often as one likes
    assert "before" == git_line(server, "cat-file", "blob", str(oid))
    with pytest.raises(pygit2.GitError, match="the writer is closed"):
        repo.create_blob(b"after")
    assert b"before" == repo[oid].data and {} == left_behind(server)


def test_a_repository_that_is_let_go_seals(server: Path) -> None:
    repo = open_repository(server)
    oid = repo.create_blob(b"let go")
    del repo
    gc.collect()
    assert "let go" == git_line(server, "cat-file", "blob", str(oid))
    assert {} == left_behind(server)


PROGRAM = """
import os, sys
from gpa_maint.integrations.libgit2 import open_repository

repo = open_repository(sys.argv[1])
print(repo.create_blob(b"written by a program"), flush=True)
exec(sys.argv[2])
"""


def run_program(server: Path, end: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", PROGRAM, server, end]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("end", ["", "sys.exit(1)", "1 / 0", "del repo"])
def test_a_program_that_ends_has_written(server: Path, end: str) -> None:
    oid = run_program(server, end).stdout.strip()
    assert "written by a program" == git_line(server, "cat-file", "blob", oid)
    assert {} == left_behind(server)


def test_a_program_that_is_killed_before_the_commit_leaves_a_journal(server: Path) -> None:
    before = set(all_objects(server))
    done = run_program(server, "os.kill(os.getpid(), 9)")
    assert -signal.SIGKILL == done.returncode
    assert before == set(all_objects(server)) and 1 == sum(map(bool, journals(server).values()))
    with store_of(server) as store:
        assert 1 == store.writer().recovered[0].objects
    assert {done.stdout.strip()} == set(all_objects(server)) - before
    assert {} == left_behind(server)
    assert_sound(server)


def test_other_alternates_do_not_hide_what_waits(tmp_path: Path, server: Path) -> None:
    """The store then has another reader; the repository goes over to it when it misses something."""
    path, _ = alternates_repo(tmp_path)
    store = store_of(path)
    repo = attached(path, store)
    foreign = next(iter(set(all_objects(server)) - set(all_objects(path))))
    with (objects_dir(path) / "info/alternates").open("a") as file:
        file.write(f"{objects_dir(server)}\n")
    assert foreign not in repo.odb
    store.refresh()
    blob = repo.create_blob(b"waits")
    assert b"waits" == repo[blob].data and foreign in repo.odb
    assert {str(blob), foreign} <= {str(oid) for oid in repo.odb}


# -- Failures


def fail(operation: str, code: int) -> Any:
    def step(name: str, path: str, size: int) -> tuple[int, int]:
        return (code if name == operation and path.endswith((".journal", ".pack")) else 0), size

    return step


@pytest.mark.parametrize("operation", ["create", "write", "fsync"])
def test_a_failure_is_told_and_nothing_half_written_seen(
    server: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(all_objects(server))
    git(server, "config", "core.fsync", "all")
    monkeypatch.setattr(fs.door, "before_core_step", fail(operation, errno.ENOSPC))
    store = store_of(server)
    repo = attached(server, store)
    with pytest.raises((OSError, pygit2.GitError), match=r"journal.*No space left on device"):
        commit_file(repo, "refs/heads/failed", b"does not fit")
    assert before == set(all_objects(server)) and "refs/heads/failed" not in repo.references
    monkeypatch.undo()
    monkeypatch.setattr(sys, "unraisablehook", lambda told: None)  # it cannot seal at its end either
    del repo, store
    gc.collect()
    commit_file(attached(server), "refs/heads/later", b"does fit")
    assert_sound(server)


@pytest.mark.parametrize("ref", [None, "refs/heads/failed"])
def test_a_commit_that_could_not_be_sealed_is_not_there(
    server: Path, ref: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libgit2 ignores that its backend could not write a commit: no error is raised, and the branch stays as it was."""
    failing = fail("rename", errno.EIO)
    monkeypatch.setattr(fs.door, "before_core_step", lambda *step: failing(*step))
    repo = attached(server)
    commit = commit_file(repo, ref, b"cannot be sealed")
    assert commit not in repo.odb and "refs/heads/failed" not in repo.references
    for look in (repo.get, repo.odb.read):
        with pytest.raises((OSError, pygit2.GitError), match=r"pack/pack.*Input/output error"):
            look(commit)
    with pytest.raises((ValueError, pygit2.GitError), match="doesn't exist"):
        repo.references.create("refs/heads/failed", commit)
    failing = fail("nothing", 0)
    repo.references.create("refs/heads/failed", commit)
    assert "cannot be sealed" == git_line(server, "cat-file", "blob", "failed:file")
    assert_sound(server)


# -- Beside others


def test_a_forked_process_writes_too(server: Path) -> None:
    repo = attached(server)
    waiting = repo.create_blob(b"the parent's")
    pids = [
        forked(lambda number=number: commit_file(repo, f"refs/heads/{number}", b"%d" % number))  # type: ignore[misc]
        for number in range(4)
    ]
    commit_file(repo, "refs/heads/parent", b"parent")
    assert_ends_well(*pids)
    assert [str(number) for number in range(4)] == [
        git_line(server, "cat-file", "blob", f"{number}:file") for number in range(4)
    ]
    assert "the parent's" == git_line(server, "cat-file", "blob", str(waiting))
    assert_sound(server)


def write_history(path: Path, store: PageStore, name: str, commits: int) -> Iterator[str]:
    """Commits on a branch; for each, its id."""
    repo = attached(path, store)
    parents: list[pygit2.Oid] = []
    for number in range(commits):
        parents = [commit_file(repo, f"refs/heads/{name}", f"{name} {number}".encode(), *parents)]
        yield str(parents[0])


@pytest.mark.parametrize("sharing", ["a store each", "one store"])
def test_threads_write_beside_maintenance(tmp_path: Path, sharing: Literal["a store each", "one store"]) -> None:
    path = init_server(tmp_path / "server")
    git(path, "config", "gpa.autoPages", "8")
    shared, errors = store_of(path), list[BaseException]()

    def work(name: str) -> None:
        try:
            store = shared if sharing == "one store" else store_of(path)
            for commit in write_history(path, store, name, 25):
                assert "commit" == git_line(path, "cat-file", "-t", commit)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"branch-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gpa(path, "run")
        gpa(path, "expire", "--grace=now")
    assert [] == errors
    shared.close()
    assert ["25"] * 4 == [git_line(path, "rev-list", "--count", f"branch-{number}") for number in range(4)]
    assert_sound(path)


def test_what_others_push_meanwhile_is_seen(server: Path) -> None:
    repo = attached(server)
    repo.create_blob(b"waits")
    add_pack(server, [Whole(kind="blob", content=b"pushed by another")])
    assert b"pushed by another" == repo[oid_hex("blob", b"pushed by another")].data
