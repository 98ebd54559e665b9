"""gitdb and GitPython into pages: no loose object, and every git process sees what it has to."""

from __future__ import annotations

import gc
import os
import random
import signal
import zlib
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import git as gitpython
import pytest
from gitdb.base import IStream
from gitdb.db import MemoryDB
from histories import init_server
from oracle import all_objects, fsck, git, git_line, objects_dir, packs
from packwriter import oid_hex
from writing import NEEDS_AN_ORDINARY_USER, forked, journals, left_behind, loose_count, run_read_only

from gpa_maint import PageStore
from gpa_maint.errors import Corrupt, GpaError
from gpa_maint.integrations.gitdb import PagedDB
from gpa_maint.integrations.gitpython import PagedRepo


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """GitPython's objects refer to each other, so what they hold open goes late, in the middle of another test."""
    yield
    gc.collect()


@pytest.fixture
def server(tmp_path: Path) -> Path:
    return init_server(tmp_path / "server")


@pytest.fixture
def db(server: Path) -> Iterator[PagedDB]:
    with closing(PagedDB(objects_dir(server))) as opened:
        yield opened


@pytest.fixture
def work(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "work")
    git(tmp_path / "work", "config", "user.name", "A")
    git(tmp_path / "work", "config", "user.email", "a@b")
    return tmp_path / "work"


def blob(data: bytes) -> IStream:
    return IStream(b"blob", len(data), BytesIO(data))


def loose_file(data: bytes, *, header: bytes | None = None) -> bytes:
    return zlib.compress((b"blob %d\0" % len(data) if header is None else header) + data)


def made_already(content: bytes, oid: str) -> IStream:
    """A stream that brings the loose file as it would be."""
    return IStream(b"blob", 0, BytesIO(content), bytes.fromhex(oid))


def store_commits(db: PagedDB, repo: Path, count: int) -> list[bytes]:
    tree = bytes.fromhex(git(repo, "mktree", input="").stdout.strip())
    text = b"tree %b\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n%%d\n" % tree.hex().encode()
    commits = [text % number for number in range(count)]
    return [db.store(IStream(b"commit", len(one), BytesIO(one))).binsha for one in commits]


def assert_tidy(repo: Path) -> None:
    fsck(repo)
    assert 0 == loose_count(repo)
    assert {} == left_behind(repo)


# -- gitdb


def test_each_object_is_seen_when_it_was_stored(server: Path, db: PagedDB) -> None:
    for number in range(3):
        given = blob(b"%d" % number)
        assert given is db.store(given)
        assert b"%d" % number == git(server, "cat-file", "blob", given.hexsha.decode()).stdout.encode()
    assert 3 == len(packs(server))
    db.store(blob(b"1"))
    assert 3 == len(packs(server))
    db.close()
    assert_tidy(server)


def test_a_batch_is_one_page(server: Path, db: PagedDB) -> None:
    with db.batch():
        oids = [db.store(blob(b"%d" % number)).hexsha.decode() for number in range(100)]
        assert {} == all_objects(server)
    assert set(oids) == all_objects(server).keys()
    assert 1 == len(packs(server))


def test_copying_is_one_page(server: Path, db: PagedDB, tmp_path: Path) -> None:
    with db.batch():
        for number in range(50):
            db.store(blob(b"%d" % number))
    other = init_server(tmp_path / "other")
    with closing(PagedDB(objects_dir(other))) as copy:
        assert 50 == db.stream_copy(db.sha_iter(), copy)
    assert all_objects(server) == all_objects(other)
    assert 1 == len(packs(other))


def test_what_need_not_be_seen_at_once_waits_for_a_commit(server: Path) -> None:
    with closing(PagedDB(objects_dir(server), seal=False)) as db:
        waiting = db.store(blob(b"waits"))
        assert db.has_object(waiting.binsha)
        assert b"waits" == db.stream(waiting.binsha).read()
        assert {} == all_objects(server)
        (commit,) = store_commits(db, server, 1)
        assert {commit.hex(), waiting.hexsha.decode()} <= all_objects(server).keys()
        db.store(blob(b"waits for the end"))
        db.seal()
        assert 2 == len(packs(server))
        db.store(blob(b"waits for the very end"))
    assert oid_hex("blob", b"waits for the very end") in all_objects(server)
    assert {} == left_behind(server)


def test_closing_seals_a_store_that_was_given(server: Path) -> None:
    with PageStore.open(objects_dir(server)) as store:
        assert store is PagedDB(objects_dir(server), store).pages  # it is empty
        store.writer().add("blob", b"somebody else's")
        reading = PagedDB(objects_dir(server), store)
        assert 1 == reading.size()
        reading.close()
        assert {} == all_objects(server)
        with closing(PagedDB(objects_dir(server), store, seal=False)) as db:
            db.store(blob(b"one"))
            assert {} == all_objects(server)
        assert 2 == len(all_objects(server))


@pytest.mark.parametrize("size", [0, 1, 100, 70_000, 3 << 20, 17 << 20])
def test_objects_of_any_size_are_the_same_in_both_ways(server: Path, db: PagedDB, size: int) -> None:
    data = (random.Random(size).randbytes(min(size, 100_000)) * 200)[:size]
    oid = oid_hex("blob", data)
    assert oid == db.store(made_already(loose_file(data), oid)).hexsha.decode()
    assert data == db.stream(bytes.fromhex(oid)).read()
    assert oid == db.store(blob(data)).hexsha.decode()
    assert {oid} == all_objects(server).keys()
    assert 1 == len(packs(server))


DATA = b"content\n" * 100
OID = oid_hex("blob", DATA)
WRONG: dict[str, tuple[bytes, str]] = {
    "another object": (loose_file(b"other"), "its hash is "),
    "nothing": (b"", "it has no header"),
    "no zlib": (b"blob 800\0" + DATA, "incorrect header check"),
    "no header": (loose_file(DATA, header=b""), "it has no header"),
    "no such type": (loose_file(DATA, header=b"blub 800\0"), "it has no header"),
    "no size": (loose_file(DATA, header=b"blob \0"), "it has no header"),
    "an endless header": (loose_file(DATA, header=b"blob " + b"0" * 500), "it has no header"),
    "a size too small": (loose_file(DATA, header=b"blob 799\0"), "it does not have the 799 bytes it announces"),
    "a size too large": (loose_file(DATA, header=b"blob 801\0"), "it does not have the 801 bytes it announces"),
    "no size, but content": (loose_file(DATA, header=b"blob 0\0"), "it does not have the 0 bytes it announces"),
    "a huge size": (loose_file(DATA, header=b"blob 99999999999999\0"), "it does not have the 99999999999999 bytes"),
    "no number": (loose_file(DATA, header=b"blob " + b"9" * 26 + b"\0"), "it has no header"),
    "half of it": (loose_file(DATA)[:-8], "it does not have the 800 bytes it announces"),
    "no checksum": (loose_file(DATA)[:-2], "it does not have the 800 bytes it announces"),
    "a damaged checksum": (loose_file(DATA)[:-1] + b"?", "incorrect data check"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_the_object_of_its_id_is_not_stored(server: Path, db: PagedDB, name: str) -> None:
    content, reason = WRONG[name]
    with pytest.raises(Corrupt) as caught:
        db.store(made_already(content, OID))
    assert str(caught.value).startswith(f"corrupt '{OID}': ") and reason in str(caught.value)
    db.close()
    assert {} == all_objects(server)
    assert_tidy(server)


def test_a_stream_that_ends_too_early_is_not_stored(server: Path, db: PagedDB) -> None:
    with pytest.raises(GpaError):
        db.store(IStream(b"blob", 10, BytesIO(b"short")))
    with pytest.raises(ValueError, match="'blub' is not"):
        db.store(IStream(b"blub", 5, BytesIO(b"short")))
    assert {} == all_objects(server)


def test_trees_come_over_from_a_memory_db(server: Path, db: PagedDB) -> None:
    memory = MemoryDB()
    with db.batch():
        for number in range(10):
            memory.store(blob(b"%04d" % number))
        assert 10 == memory.stream_copy(memory.sha_iter(), db)
    assert 10 == len(all_objects(server))
    assert_one_pack(server)


def assert_one_pack(repo: Path) -> None:
    assert 1 == len(packs(repo))


@pytest.mark.skipif(NEEDS_AN_ORDINARY_USER, reason="root may write everywhere")
def test_where_nothing_can_be_written_reading_goes_on(server: Path, db: PagedDB) -> None:
    git(server, "hash-object", "-w", "--stdin", input="there")
    program = """
import io, sys
from gitdb.base import IStream
from gpa_maint.integrations.gitdb import PagedDB
db = PagedDB(sys.argv[1] + "/objects")
assert [b"there"] == [db.stream(sha).read() for sha in db.sha_iter()]
for _ in range(2):
    try:
        db.store(IStream(b"blob", 3, io.BytesIO(b"new")))
    except OSError as error:
        print(error)
"""
    done = run_read_only(server, program)
    assert (0, "") == (done.returncode, done.stderr)
    assert [f"cannot create '{server.resolve()}/gpa': Permission denied"] * 2 == done.stdout.splitlines()
    assert not (server / "gpa").exists()


# -- GitPython


def change(work: Path, number: int) -> list[str]:
    """Files in folders, all changed: their names."""
    names = [f"folder/sub/{name}" for name in ("one", "two", "three")]
    (work / "folder" / "sub").mkdir(parents=True, exist_ok=True)
    for name in names:
        (work / name).write_text(f"{number} in {name}\n")
    return names


def commit_as_gitpython_does(repo: gitpython.Repo, work: Path) -> None:
    """Each step asks git about what came before; so does a git that knows nothing of GitPython."""
    for number in range(3):
        names = change(work, number)
        repo.index.add(names)
        assert 0 == git(work, "diff", "--exit-code", check=False).returncode
        assert "+2 in" in git(work, "diff", "--cached").stdout or number < 2
        assert [] == repo.index.diff(None)
        tree = repo.index.write_tree()
        assert 3 == len(repo.git.ls_tree("-r", tree.hexsha).splitlines())
        made = repo.index.commit(f"change {number}")
        assert made.hexsha == git_line(work, "rev-parse", "HEAD")
        assert 3 == made.stats.total["files"]
        assert not repo.is_dirty(untracked_files=True)
        fsck(work)
    assert 0 == loose_count(work)
    tag = repo.create_tag("v1", message="a tag")
    assert "tag" == git_line(work, "cat-file", "-t", "v1") == tag.tag.type
    repo.head.reset("HEAD~1", index=True, working_tree=True)
    assert 3 == len(repo.index.diff(repo.commit("v1")))
    repo.index.remove(["folder/sub/one"])
    assert "D  folder/sub/one" == git(work, "status", "--porcelain", "--", "folder/sub/one").stdout.splitlines()[0]


def test_gitpython_asks_git_about_nothing_that_git_does_not_see(work: Path) -> None:
    with gitpython.Repo(work, odbt=PagedDB) as repo:
        commit_as_gitpython_does(repo, work)
        repo.odb.close()
    fsck(work)
    assert {} == left_behind(work)


def test_a_paged_repo_does_the_same(work: Path) -> None:
    with PagedRepo(work) as repo:
        commit_as_gitpython_does(repo, work)
    fsck(work)
    assert {} == left_behind(work)


def test_a_paged_repo_takes_a_page_for_an_index_and_one_for_a_commit(work: Path) -> None:
    with PagedRepo(work) as repo:
        repo.index.add(change(work, 1))
        assert 1 == len(packs(work))
        repo.index.commit("first")
        assert 2 == len(packs(work))
        index = repo.index
        index.add(change(work, 2), write=False)
        index.commit("second")
        index.write()
        assert 3 == len(packs(work))
        repo.odb.store(blob(b"waits"))
        assert 3 == len(packs(work))
        assert "waits" == repo.git.cat_file("blob", oid_hex("blob", b"waits"))
        repo.odb.store(blob(b"waits too"))
        assert 9 == repo.git.get_object_header(oid_hex("blob", b"waits too"))[2]
        repo.odb.store(blob(b"waits as well"))
        assert b"waits as well" == repo.git.get_object_data(oid_hex("blob", b"waits as well"))[3]
    assert_tidy(work)


def test_a_paged_repo_may_share_a_store(work: Path) -> None:
    with PageStore.for_repository(work) as store:
        with PagedRepo(work, store=store) as repo, PagedRepo(work, store=store) as other:
            repo.index.add(change(work, 1))
            made = repo.index.commit("first")
            assert made == other.head.commit
            waiting = repo.odb.store(blob(b"waits"))
            assert other.odb.has_object(waiting.binsha)
        assert waiting.hexsha.decode() in all_objects(work)
        assert made.binsha in store


def test_a_paged_repo_clones_and_pulls(work: Path, tmp_path: Path) -> None:
    with PagedRepo(work) as origin:
        origin.index.add(change(work, 1))
        origin.index.commit("first")
        with PagedRepo.clone_from(str(work), tmp_path / "clone") as clone:
            assert isinstance(clone, PagedRepo)
            origin.index.add(change(work, 2))
            made = origin.index.commit("second")
            clone.remotes.origin.pull()
            before = loose_count(tmp_path / "clone")  # git unpacks what it fetches
            assert made.hexsha == clone.head.commit.hexsha
            clone.index.add(change(tmp_path / "clone", 3))
            pushed = clone.index.commit("third")
            clone.remotes.origin.push("HEAD:refs/heads/pushed")
        assert pushed == origin.commit("pushed")
    fsck(tmp_path / "clone")
    assert before == loose_count(tmp_path / "clone")


# -- Processes that die


def test_a_process_that_dies_before_its_commit_leaves_a_journal(work: Path) -> None:
    def die() -> None:
        repo = PagedRepo(work)
        repo.index.add(change(work, 1))
        repo.index.commit("first")
        repo.index.add(change(work, 2), write=False)
        repo.index.write_tree()
        os.kill(os.getpid(), signal.SIGKILL)

    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(forked(die), 0)[1])
    assert any(journals(work).values())
    fsck(work)
    before = len(all_objects(work))
    with PagedRepo(work) as repo:
        assert "first" == repo.head.commit.message
        repo.odb.store(blob(b"after"))
        assert repo.odb.has_object(bytes.fromhex(oid_hex("blob", b"2 in folder/sub/one\n")))
    assert before + 1 < len(all_objects(work))
    assert_tidy(work)
