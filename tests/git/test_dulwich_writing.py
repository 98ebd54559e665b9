"""dulwich into pages: no loose object, and nothing is named that git does not see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from dulwich import porcelain
from dulwich.errors import ObjectFormatException
from dulwich.objects import Blob, Commit, ShaFile, Tree
from dulwich.pack import REF_DELTA, UnpackedObject, create_delta, full_unpacked_object, write_pack_data
from dulwich.repo import Repo
from histories import init_server
from oracle import ObjectFormat, all_objects, fsck, git, git_line, objects_dir, packed_objects, packs
from test_store import add_loose
from writing import (
    NEEDS_AN_ORDINARY_USER,
    PERSON,
    assert_ends_well,
    forked,
    journals,
    left_behind,
    loose_count,
    run_read_only,
)

from gpa_maint import PageStore
from gpa_maint.errors import SystemFailed
from gpa_maint.integrations.dulwich import PagedObjectStore, open_repository

NAMES = {"author": b"A <a@b>", "committer": b"A <a@b>"}


@pytest.fixture
def server(tmp_path: Path) -> Path:
    return init_server(tmp_path / "server")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "work")
    git(tmp_path / "work", "config", "user.name", "A")
    git(tmp_path / "work", "config", "user.email", "a@b")
    return tmp_path / "work"


@pytest.fixture
def objects(server: Path) -> Iterator[PagedObjectStore]:
    """One that leaves sealing to others."""
    with closing(PagedObjectStore(objects_dir(server), seal=False)) as opened:
        yield opened


def blobs(count: int) -> list[Blob]:
    return [Blob.from_string(b"blob %d" % number) for number in range(count)]


def tree_of(blob: Blob) -> Tree:
    tree = Tree()
    tree.add(b"file", 0o100644, blob.id)
    return tree


def commit_of(tree: Tree) -> Commit:
    text = b"tree %b\nauthor %b\ncommitter %b\n\na change\n" % (tree.id, PERSON, PERSON)
    commit = ShaFile.from_raw_string(Commit.type_num, text)
    assert isinstance(commit, Commit)
    return commit


def git_has(repo: Path, one: ShaFile) -> bool:
    return 0 == git(repo, "cat-file", "-e", one.id.decode(), check=False).returncode


def assert_tidy(repo: Path) -> None:
    """No loose object, no journal, and git is content."""
    fsck(repo)
    assert 0 == loose_count(repo)
    assert {} == left_behind(repo)


# -- When others see it


def test_a_store_by_itself_shows_each_object_when_it_was_added(server: Path) -> None:
    with closing(PagedObjectStore(objects_dir(server))) as objects:
        for blob in blobs(3):
            objects.add_object(blob)
            assert git_has(server, blob)
            assert blob == objects[blob.id]
    assert 3 == len(packs(server))
    assert_tidy(server)


def test_a_commit_brings_what_waits(server: Path, objects: PagedObjectStore) -> None:
    (blob,) = blobs(1)
    tree = tree_of(blob)
    commit = commit_of(tree)
    for one in (blob, tree):
        objects.add_object(one)
        assert one == objects[one.id]
        assert [one.id] == list(objects.iter_prefix(one.id[:8]))
        assert not objects.contains_loose(one.id) and not objects.contains_packed(one.id)
        assert not git_has(server, one)
    objects.add_object(commit)
    assert {one.id.decode() for one in (blob, tree, commit)} == all_objects(server).keys()
    assert objects.contains_packed(blob.id)
    assert 1 == len(packs(server))
    objects.close()
    assert_tidy(server)


def test_many_objects_of_a_generator_become_one_page(server: Path, objects: PagedObjectStore) -> None:
    pairs = ((blob, None) for blob in blobs(500))
    assert objects.add_objects(pairs) is None
    assert 500 == len(all_objects(server))
    assert 1 == len(packs(server))


def test_a_batch_is_seen_at_its_end(server: Path) -> None:
    with closing(PagedObjectStore(objects_dir(server))) as objects:
        with objects.batch():
            commits = [commit_of(tree_of(blob)) for blob in blobs(3)]
            for commit in commits:
                objects.add_object(commit)
            assert not any(git_has(server, commit) for commit in commits)
        assert all(git_has(server, commit) for commit in commits)
    assert 1 == len(packs(server))


def test_an_index_names_nothing_that_git_does_not_see(work: Path) -> None:
    with open_repository(work) as repo:
        (work / "one").write_text("one\n")
        (work / "two").write_text("two\n")
        repo.get_worktree().stage(["one", "two"])
        assert "A  one\nA  two\n" == git(work, "status", "--porcelain").stdout
        assert 1 == len(packs(work))
        git(work, "commit", "-q", "-m", "git's")
        assert git_line(work, "rev-parse", "HEAD").encode() == repo.head()
        (work / "one").write_text("changed\n")
        porcelain.add(repo, [work / "one"])
        git(work, "diff", "--cached", "--exit-code", "--", "two")
        assert "+changed" in git(work, "diff", "--cached").stdout
        porcelain.commit(repo, message=b"dulwich's", **NAMES)
        assert "changed\n" == git(work, "show", "HEAD:one").stdout
    assert "" == git_line(work, "status", "--porcelain")


def test_an_index_that_is_made_anew_does_not_either(work: Path) -> None:
    blob = Blob.from_string(b"new\n")
    with open_repository(work) as repo:
        for one in (blob, tree_of(blob)):
            repo.object_store.add_object(one)
        repo.get_worktree().reset_index(tree_of(blob).id)
        assert f"100644 {blob.id.decode()} 0\tfile" == git_line(work, "ls-files", "--stage")
        assert git_has(work, blob)


def test_a_pack_that_comes_in_may_stand_on_what_waits(server: Path, objects: PagedObjectStore) -> None:
    (blob,) = blobs(1)
    tree = tree_of(blob)
    commit = commit_of(tree)
    objects.add_object(blob)
    objects.add_object(tree)
    file, finish, _abort = objects.add_pack()
    write_pack_data(file.write, iter([full_unpacked_object(commit)]), objects.object_format, num_records=1)
    finish()
    git(server, "update-ref", "refs/heads/main", commit.id.decode())
    fsck(server)
    assert 3 == len(git(server, "rev-list", "--objects", "main").stdout.splitlines())


# -- Porcelain


def test_a_commit_takes_two_files(work: Path, object_format: ObjectFormat, tmp_path: Path) -> None:
    """A pack and its idx; and dulwich's own gc does not merge them while the committer waits."""
    git(tmp_path, "init", "-q", f"--object-format={object_format}", "other")
    work = tmp_path / "other"
    git(work, "config", "gc.autoPackLimit", "2")
    with open_repository(work) as repo:
        for number in range(4):
            made = repo.get_worktree().commit(message=b"%d" % number, **NAMES)
            assert "commit" == git_line(work, "cat-file", "-t", made.decode())
            fsck(work)
            assert number + 1 == len(packs(work))
    assert_tidy(work)


def test_porcelain_leaves_no_loose_object(work: Path) -> None:
    with open_repository(work) as repo:
        (work / "file").write_text("one\n")
        porcelain.add(repo, [work / "file"])
        first = porcelain.commit(repo, message=b"first", **NAMES)
        porcelain.tag_create(repo, b"v1", author=b"A <a@b>", annotated=True, message=b"a tag")
        assert "tag" == git_line(work, "cat-file", "-t", "v1")
        assert first.decode() == git_line(work, "rev-parse", "v1^{}")
        porcelain.notes_add(repo, first, b"a note", **NAMES)
        assert "a note" == git_line(work, "notes", "show", first.decode())
        (work / "file").write_text("two\n")
        porcelain.stash_push(repo)
        assert "+two" in git(work, "stash", "show", "-p").stdout
        porcelain.stash_pop(repo)
        assert 0 == loose_count(work)
    fsck(work)


def test_a_clone_has_no_loose_object(work: Path, tmp_path: Path) -> None:
    with open_repository(work) as repo:
        repo.get_worktree().commit(message=b"first", **NAMES)
        server = init_server(tmp_path / "server")
        porcelain.push(repo, str(server), b"HEAD:refs/heads/main")
        with open_repository(server) as other:
            repo.get_worktree().commit(message=b"second", **NAMES)
            repo.fetch(other)
            other.refs[b"refs/heads/main"] = repo.head()
    fsck(server)
    assert 0 == loose_count(server) == loose_count(work)
    assert 2 == len(git(server, "rev-list", "main").stdout.splitlines())


# -- Packs that come as objects


def test_a_few_whole_objects_become_a_page(server: Path, objects: PagedObjectStore) -> None:
    made = blobs(20)
    assert objects.add_pack_data(20, (full_unpacked_object(blob) for blob in made)) is None
    assert objects.add_pack_data(0, iter([])) is None
    assert {blob.id.decode() for blob in made} == all_objects(server).keys()
    assert 1 == len(packs(server))


def test_deltas_are_kept(server: Path, objects: PagedObjectStore) -> None:
    first, second = Blob.from_string(b"a line\n" * 100), Blob.from_string(b"a line\n" * 100 + b"more")
    delta = UnpackedObject(
        REF_DELTA,
        delta_base=bytes.fromhex(first.id.decode()),
        sha=bytes.fromhex(second.id.decode()),
        decomp_chunks=list(create_delta(first.data, second.data)),
    )
    pack = objects.add_pack_data(2, iter([full_unpacked_object(first), delta]))
    assert pack is not None
    pack.close()
    (name,) = packs(server)
    assert [0, 1] == sorted(entry.depth for entry in packed_objects(server, name))
    assert second == objects[second.id]


def test_more_than_a_page_becomes_a_pack(server: Path, objects: PagedObjectStore) -> None:
    pack = objects.add_pack_data(2001, (full_unpacked_object(blob) for blob in blobs(2001)))
    assert pack is not None
    pack.close()
    assert [2001] == list(packs(server).values())


def test_large_objects_are_not_collected_in_memory(
    server: Path, objects: PagedObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpa_maint.integrations.dulwich_packs.SMALL_BYTES", 100)
    pack = objects.add_pack_data(50, (full_unpacked_object(blob) for blob in blobs(50)))
    assert pack is not None
    pack.close()
    assert [50] == list(packs(server).values())


@pytest.mark.parametrize("announced", [9, 11])
def test_not_as_many_as_announced_are_none(server: Path, objects: PagedObjectStore, announced: int) -> None:
    with pytest.raises(AssertionError, match="differs"):
        objects.add_pack_data(announced, (full_unpacked_object(blob) for blob in blobs(10)))
    assert {} == all_objects(server)
    assert {} == packs(server)


def test_what_does_not_parse_is_refused_with_all_that_came_along(server: Path, objects: PagedObjectStore) -> None:
    broken = UnpackedObject(Tree.type_num, sha=bytes(20), decomp_chunks=[b"not a tree"])
    with pytest.raises(ObjectFormatException):
        objects.add_pack_data(2, iter([full_unpacked_object(blobs(1)[0]), broken]))
    assert {} == all_objects(server)


# -- Loose objects of others


def test_loose_objects_of_others_are_seen_and_not_stored_twice(server: Path, objects: PagedObjectStore) -> None:
    loose = sorted(oid.encode() for oid in add_loose(server, 3))
    assert loose == sorted(objects._iter_loose_objects())
    assert all(objects.contains_loose(oid) for oid in loose)
    objects.add_objects([(objects[oid], None) for oid in loose])
    assert {} == packs(server)


def test_packing_loose_objects_loses_none(server: Path, objects: PagedObjectStore) -> None:
    add_loose(server, 5)
    expected = all_objects(server)
    waiting = blobs(1)[0]
    objects.add_object(waiting)
    assert 5 == objects.pack_loose_objects()
    assert 0 == loose_count(server)
    assert waiting == objects[waiting.id]
    assert expected.keys() | {waiting.id.decode()} == all_objects(server).keys()


def test_repacking_loses_nothing_that_waits(server: Path, objects: PagedObjectStore) -> None:
    add_loose(server, 2)
    waiting, unwanted = blobs(2)
    objects.add_object(waiting)
    objects.add_object(unwanted)
    assert 3 == objects.repack(exclude={unwanted.id})
    assert unwanted.id not in objects
    assert waiting.id.decode() in all_objects(server)
    assert 3 == len(all_objects(server))
    objects.add_object(unwanted)
    objects.seal()
    assert git_has(server, unwanted)


def test_what_waits_is_as_old_as_it_is(objects: PagedObjectStore) -> None:
    (blob,) = blobs(1)
    before = time.time()
    objects.add_object(blob)
    assert before - 2 < objects.get_object_mtime(blob.id) < time.time() + 2


# -- Closing


def test_closing_seals(server: Path, objects: PagedObjectStore) -> None:
    (blob,) = blobs(1)
    objects.add_object(blob)
    objects.close()
    assert git_has(server, blob)
    assert_tidy(server)


def test_an_empty_store_that_was_given_is_the_one_in_use(server: Path) -> None:
    with PageStore.open(objects_dir(server)) as store:
        assert store is PagedObjectStore(objects_dir(server), store=store).pages


def test_closing_seals_a_store_that_was_given_only_if_it_was_written_to(server: Path) -> None:
    waiting, second = blobs(2)
    with PageStore.open(objects_dir(server)) as store:
        store.writer().add("blob", waiting.data)
        with open_repository(server, store) as repo:
            assert waiting == repo[waiting.id]
        assert not git_has(server, waiting)
        with open_repository(server, store) as repo:
            repo.object_store.add_object(second)
        assert git_has(server, waiting) and git_has(server, second)
        with open_repository(server, store) as repo:
            repo.object_store.add_object(blobs(3)[2])
            store.close()
    assert 3 == len(all_objects(server))


@pytest.mark.skipif(NEEDS_AN_ORDINARY_USER, reason="root may write everywhere")
def test_where_nothing_can_be_written_reading_goes_on(server: Path) -> None:
    add_loose(server, 1)
    program = """
import sys
from dulwich.objects import Blob
from gpa_maint.integrations.dulwich import open_repository
with open_repository(sys.argv[1]) as repo:
    (oid,) = repo.object_store
    assert repo[oid].id == oid and repo.object_store.get_object_mtime(oid) > 0
    for _ in range(2):
        try:
            repo.object_store.add_object(Blob.from_string(b"new"))
        except OSError as error:
            print(error)
"""
    done = run_read_only(server, program)
    assert (0, "") == (done.returncode, done.stderr)
    assert [f"cannot create '{server.resolve()}/gpa': Permission denied"] * 2 == done.stdout.splitlines()
    assert not (server / "gpa").exists()


def test_an_error_of_the_writer_is_an_os_error(server: Path, objects: PagedObjectStore) -> None:
    (server / "gpa").symlink_to("/nowhere")
    with pytest.raises(SystemFailed, match="symbolic link"):
        objects.add_object(blobs(1)[0])


# -- Processes that die


def test_a_process_that_dies_before_its_commit_leaves_a_journal(work: Path) -> None:
    (work / "file").write_text("committed\n")
    with open_repository(work) as repo:
        porcelain.add(repo, [work / "file"])
        porcelain.commit(repo, message=b"first", **NAMES)

    def die() -> None:
        repo = open_repository(work)
        for blob in blobs(10):
            repo.object_store.add_object(blob)
        repo.object_store.add_object(tree_of(blobs(1)[0]))
        os.kill(os.getpid(), signal.SIGKILL)

    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(forked(die), 0)[1])
    assert [True] == [size > 0 for size in journals(work).values()]
    fsck(work)
    before = len(all_objects(work))
    with open_repository(work) as repo:
        (work / "file").write_text("after\n")
        porcelain.add(repo, [work / "file"])
        porcelain.commit(repo, message=b"second", **NAMES)
        assert all(blob == repo[blob.id] for blob in blobs(10))
    assert before + 11 + 3 == len(all_objects(work))
    assert_tidy(work)


def test_a_child_goes_on(server: Path, objects: PagedObjectStore) -> None:
    first, second, third = blobs(3)
    objects.add_object(first)

    def child() -> None:
        objects.add_object(second)
        objects.close()

    assert_ends_well(forked(child))
    objects.add_object(third)
    objects.close()
    assert {blob.id.decode() for blob in (first, second, third)} == all_objects(server).keys()


def test_without_git_it_writes_all_the_same(work: Path, tmp_path: Path) -> None:
    program = """
import sys
from dulwich import porcelain
from gpa_maint.integrations.dulwich import open_repository
with open_repository(sys.argv[1]) as repo:
    porcelain.commit(repo, message=b"alone", author=b"A <a@b>", committer=b"A <a@b>")
"""
    (tmp_path / "empty").mkdir()
    environment = os.environ | {"PATH": str(tmp_path / "empty")}
    subprocess.run([sys.executable, "-c", program, work], check=True, env=environment)
    assert "alone" == git_line(work, "log", "--format=%s")
    assert (work / ".git" / "gpa" / "journal").is_dir()
    assert_tidy(work)


def test_dulwichs_own_repository_writes_pages_too(work: Path) -> None:
    with Repo(str(work), object_store=PagedObjectStore(work / ".git" / "objects")) as repo:
        (work / "file").write_text("one\n")
        repo.get_worktree().stage(["file"])
        assert "A  file\n" == git(work, "status", "--porcelain").stdout
        repo.get_worktree().commit(message=b"first", **NAMES)
    assert "one\n" == git(work, "show", "HEAD:file").stdout
    assert_tidy(work)
