"""gitdb and GitPython over PageStore: gitdb's own tests pass, and it reads what git reads, without being told.

test_gitdb_writing.py is on what it stores in pages.
"""

from __future__ import annotations

import gc
import hashlib
import io
import itertools
import os
import random
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import git as gitpython
import pytest
from beside import rewrite_beside
from gitdb.base import IStream, OInfo, OStream
from gitdb.db import LooseObjectDB, MemoryDB
from gitdb.exc import AmbiguousObjectName, BadObject, InvalidDBRoot
from gitdb.stream import Sha1Writer, ZippedStoreShaWriter
from histories import (
    History,
    HistorySpec,
    big_object_repo,
    init_server,
    promisor_pack_repo,
    pushed_history,
    send_push,
    worktree_repo,
)
from oracle import all_objects, fsck, git, git_line, objects_dir, pack_dir, refs
from packwriter import Whole, add_many_packs, add_pack, oid_hex
from test_store import MISSING, SHAPES, Shape, add_loose
from writing import loose_count

from gpa_maint import PageStore, commands
from gpa_maint.errors import Corrupt, Unsupported
from gpa_maint.integrations.gitdb import PagedDB

ABSENT = bytes.fromhex(MISSING)


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """GitPython's objects refer to each other, so what they hold open goes late, in the middle of another test."""
    yield
    gc.collect()


def database(repo: Path) -> PagedDB:
    return PagedDB(objects_dir(repo))


@pytest.fixture
def history(tmp_path: Path) -> History:
    return pushed_history(tmp_path / "history", HistorySpec(kind="tree", pushes=30, waiting=9))


@pytest.fixture
def db(history: History) -> Iterator[PagedDB]:
    db = database(history.server)
    yield db
    db.close()


# -- gitdb's own tests, which its wheel does not hold


def test_gitdbs_tests_of_reading(history: History, db: PagedDB) -> None:
    first = next(db.sha_iter())
    assert isinstance(db.info(first), OInfo) and isinstance(db.stream(first), OStream)
    shas = list(db.sha_iter())
    assert len(shas) == len(set(shas)) == db.size() > 50
    assert first == db.partial_to_complete_sha_hex(first.hex()[:8]) == db.partial_to_complete_sha_hex(first.hex())
    for number, sha in enumerate(shas):
        assert sha == db.partial_to_complete_sha_hex(sha.hex()[: 8 - number % 2].encode())
        assert db.info(sha)[:3] == db.stream(sha)[:3]
        assert db.has_object(sha) and sha in db
    with pytest.raises(BadObject):
        db.partial_to_complete_sha_hex("0000000")


def test_gitdbs_tests_of_writing(db: PagedDB) -> None:
    """Into a stream that only computes the id, out of it again, and then for good."""
    data = b"1234\nhello world"
    dry = ZippedStoreShaWriter()
    assert db.set_ostream(dry) is None and db.ostream() is dry
    given = IStream(b"blob", len(data), io.BytesIO(data))
    assert given is db.store(given)
    sha = given.binsha
    assert not db.has_object(sha)
    for ask in (db.info, db.stream):
        with pytest.raises(BadObject):
            ask(sha)
    dry.seek(0)
    given.stream = dry
    assert dry is db.set_ostream(copied := ZippedStoreShaWriter())
    assert sha == db.store(given).binsha
    assert dry.getvalue() == copied.getvalue()
    assert copied is db.set_ostream(None)
    assert sha == db.store(IStream(b"blob", len(data), io.BytesIO(data))).binsha
    assert (sha, b"blob", len(data)) == db.info(sha)
    assert data == db.stream(sha).read()
    with pytest.raises(TypeError):
        db.set_ostream(io.BytesIO())
    assert isinstance(dry, Sha1Writer)


def test_gitdbs_tests_of_many_objects(db: PagedDB, tmp_path: Path) -> None:
    before = db.size()
    for number in range(250):
        data = number.to_bytes(4, "big")
        sha = db.store(IStream(b"blob", len(data), io.BytesIO(data))).binsha
        assert db.has_object(sha)
        info, stream = db.info(sha), db.stream(sha)
        assert (b"blob", len(data), sha) == (info.type, info.size, stream.binsha)
        assert data == stream.read()
    assert before + 250 == db.size() == len(list(db.sha_iter()))
    (tmp_path / "copy").mkdir()
    for copy in (PagedDB(objects_dir(init_server(tmp_path / "other"))), LooseObjectDB(str(tmp_path / "copy"))):
        assert db.size() == db.stream_copy(db.sha_iter(), copy)
        assert 0 == db.stream_copy(db.sha_iter(), copy)
        assert {(sha, db.stream(sha).read()) for sha in db.sha_iter()} == {
            (sha, copy.stream(sha).read()) for sha in copy.sha_iter()
        }


def test_objects_come_over_from_a_memory_db(db: PagedDB) -> None:
    """As GitPython writes trees: compressed already, with their ids."""
    memory = MemoryDB()
    shas = [memory.store(IStream(b"blob", 4, io.BytesIO(b"%04d" % number))).binsha for number in range(10)]
    assert 10 == memory.stream_copy(memory.sha_iter(), db)
    assert [b"%04d" % number for number in range(10)] == [db.stream(sha).read() for sha in shas]


# -- Reading


def assert_reads_all(db: PagedDB, repo: Path) -> None:
    """Every object git has, with every way of asking; and no other."""
    expected = all_objects(repo)
    assert sorted(expected) == [sha.hex() for sha in db.sha_iter()]
    assert len(expected) == db.size()
    for oid, (kind, size, digest) in expected.items():
        sha = bytes.fromhex(oid)
        assert db.has_object(sha)
        assert (sha, kind.encode(), size) == db.info(sha)
        stream = db.stream(sha)
        assert (sha, kind.encode(), size) == stream[:3]
        assert digest == hashlib.sha256(stream.read(3) + stream.read(10) + stream.read()).hexdigest()
        assert b"" == stream.read(1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_object_reads_as_git_reads_it(shape: Shape, tmp_path: Path) -> None:
    repo = shape(tmp_path, "sha1")
    assert_reads_all(database(repo), repo)


def test_what_a_promisor_has_not_sent_is_missing(tmp_path: Path) -> None:
    repo = promisor_pack_repo(tmp_path)
    git(repo, "config", "remote.origin.url", "/nowhere")
    assert_reads_all(database(repo), repo)


def test_large_blobs_are_streamed(tmp_path: Path) -> None:
    repo = big_object_repo(tmp_path, 3 << 20)
    assert_reads_all(database(repo), repo)


def test_misses_and_ambiguous_names_are_gitdbs_own_errors(history: History, db: PagedDB) -> None:
    assert not db.has_object(ABSENT) and ABSENT not in db
    for ask in (db.info, db.stream):
        with pytest.raises(BadObject) as caught:
            ask(ABSENT)
        assert (ABSENT,) == caught.value.args and MISSING in str(caught.value)
    for name in (MISSING, MISSING[:7], b"0011", "", "abc", "main", "x" * 8, "0" * 41):
        with pytest.raises(BadObject):
            db.partial_to_complete_sha_hex(name)
    blobs = [Whole(kind="blob", content=b"%d" % number) for number in range(3000)]
    add_pack(history.server, blobs)
    same = same_beginning([oid_hex("blob", blob.content) for blob in blobs])
    with pytest.raises(AmbiguousObjectName) as ambiguous:
        db.partial_to_complete_sha_hex(same)
    assert (same,) == ambiguous.value.args


def same_beginning(oids: list[str]) -> str:
    """Four digits that two ids begin with."""
    return Counter(oid[:4] for oid in oids).most_common(1)[0][0]


def test_a_damaged_object_is_said_to_be_damaged(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    pack = pack_dir(repo) / f"{add_pack(repo, [Whole(kind='blob', content=b'twelve bytes')])}.pack"
    (oid,) = all_objects(repo)
    data = bytearray(pack.read_bytes())
    data[15] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(data)
    with pytest.raises(Corrupt, match=pack.name):
        database(repo).stream(bytes.fromhex(oid))


def test_what_git_does_meanwhile_is_seen_without_update_cache(history: History, db: PagedDB) -> None:
    assert_reads_all(db, history.server)
    (loose,) = add_loose(history.server, 1)
    assert db.has_object(bytes.fromhex(loose))
    for push in history.waiting[:3]:
        send_push(history.client, history.server, push)
        assert_reads_all(db, history.server)
    commands.repack(str(history.server))
    commands.expire(str(history.server), grace_seconds=0)
    assert_reads_all(db, history.server)
    git(history.server, "repack", "-q", "-a", "-d")
    assert_reads_all(db, history.server)


def test_update_cache_looks_at_alternates(history: History, tmp_path: Path) -> None:
    repo = init_server(tmp_path / "borrower")
    db = database(repo)
    assert 0 == db.size()
    Path(db.db_path("info/alternates")).write_text(f"{objects_dir(history.server)}\n")
    assert db.update_cache(force=True)
    assert_reads_all(db, history.server)


def test_one_store_serves_many_databases(history: History, tmp_path: Path) -> None:
    head = bytes.fromhex(git_line(history.server, "rev-parse", "HEAD"))
    with PageStore.for_repository(history.server) as store:
        for _ in range(2):
            db = PagedDB(store.path, store)
            assert b"commit" == db.info(head).type
            db.close()
        with pytest.raises(ValueError, match="is not the store of"):
            PagedDB(tmp_path, store)
    with pytest.raises(ValueError, match="closed"):
        db.info(head)


def test_a_database_opens_again_after_it_was_closed(db: PagedDB) -> None:
    count = db.size()
    db.close()
    assert count == db.size()


def test_what_gitdb_cannot_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDBRoot):
        PagedDB(tmp_path / "nowhere").size()
    repo = init_server(tmp_path / "server", object_format="sha256")
    with pytest.raises(Unsupported, match="gitdb reads no sha256 objects"):
        database(repo).size()
    with PageStore.for_repository(repo) as store, pytest.raises(Unsupported):
        PagedDB(store.path, store)


# -- GitPython


def test_gitpython_walks_a_history_as_with_git(history: History) -> None:
    with gitpython.Repo(history.server, odbt=PagedDB) as ours, gitpython.Repo(history.server) as stock:
        assert isinstance(ours.odb, PagedDB)
        for name in refs(history.server):
            assert git_line(history.server, "rev-parse", f"{name}^{{commit}}") == ours.commit(name).hexsha
        for mine, theirs in zip(ours.iter_commits("main"), stock.iter_commits("main"), strict=True):
            assert (theirs, theirs.message, theirs.authored_date) == (mine, mine.message, mine.authored_date)
            assert theirs.stats.total == mine.stats.total
        blobs = [blob for blob in ours.head.commit.tree.traverse() if blob.type == "blob"]
        assert blobs
        for blob in blobs:
            assert blob.data_stream.read() == stock.head.commit.tree[blob.path].data_stream.read()
        short = git_line(history.server, "rev-parse", "--short", "main")
        assert ours.rev_parse(short) == ours.head.commit
        assert ours.is_valid_object(ours.head.commit.hexsha, "commit") and not ours.is_valid_object(MISSING)
        with pytest.raises(gitpython.BadName):
            ours.rev_parse(MISSING[:8])


def test_a_commit_of_gitpython_is_one_of_git(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "work")
    work = tmp_path / "work"
    with gitpython.Repo(work, odbt=PagedDB) as repo:
        for number in range(3):
            (work / "folder").mkdir(exist_ok=True)
            (work / "folder" / "file").write_text(f"{number}\n")
            repo.index.add(["folder/file"])
            made = repo.index.commit(f"change {number}")
            assert git_line(work, "rev-parse", "HEAD") == made.hexsha == repo.head.commit.hexsha
            assert f"{number}\n" == git(work, "show", "HEAD:folder/file").stdout
            commands.maintain(str(work))
        assert 3 == len(list(repo.iter_commits()))
        assert "first" == repo.create_tag("v1", message="first").tag.message
        assert_reads_all(repo.odb, work)
        assert not repo.is_dirty()
    fsck(work)


def test_what_gitpython_fetches_is_there(history: History, tmp_path: Path) -> None:
    with gitpython.Repo.clone_from(str(history.server), tmp_path / "clone", odbt=PagedDB) as repo:
        for push in history.waiting[:3]:
            send_push(history.client, history.server, push)
            repo.remotes.origin.fetch()
            assert git_line(history.server, "rev-parse", "main") == repo.commit("origin/main").hexsha
        assert_reads_all(repo.odb, tmp_path / "clone")


def test_a_worktree_is_opened_as_its_repository(tmp_path: Path) -> None:
    repo, worktree = worktree_repo(tmp_path)
    with gitpython.Repo(worktree, odbt=PagedDB) as opened:
        assert git_line(worktree, "rev-parse", "HEAD") == opened.head.commit.hexsha
        assert_reads_all(opened.odb, repo)


# -- Threads and limits


@pytest.mark.parametrize("pushes", [9, pytest.param(100, marks=pytest.mark.slow)])
def test_threads_read_and_write_while_everything_is_rewritten(pushes: int, tmp_path: Path) -> None:
    """I2, for gitdb: no error, no wrong byte, and what a thread wrote it finds."""
    history = pushed_history(tmp_path / "long", HistorySpec(kind="tree", pushes=30, waiting=pushes))
    db = database(history.server)
    descriptors = len(os.listdir("/proc/self/fd"))
    expected = {bytes.fromhex(oid): fields for oid, fields in all_objects(history.server).items()}
    numbers = itertools.count()

    def read() -> None:
        for sha in random.sample(list(expected), 50):
            kind, size, digest = expected[sha]
            assert (sha, kind.encode(), size) == db.info(sha)
            assert digest == hashlib.sha256(db.stream(sha).read()).hexdigest()
            assert sha == db.partial_to_complete_sha_hex(sha.hex())
        assert not db.has_object(ABSENT)

    def write() -> None:
        data = b"%d" % next(numbers)
        sha = db.store(IStream(b"blob", len(data), io.BytesIO(data))).binsha
        assert data == db.stream(sha).read()

    rewrite_beside(history, [read, read, read, read, write])
    db.close()
    fsck(history.server)
    assert 0 == loose_count(history.server)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert [] == list(objects_dir(history.server).rglob("tmp_*"))


def test_a_thousand_packs_need_few_descriptors(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    add_many_packs(repo, 1000)
    program = """
import sys
from gpa_maint.integrations.gitdb import PagedDB
db = PagedDB(sys.argv[1])
assert 1000 == len([db.stream(sha).read() for sha in db.sha_iter()])
"""

    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))

    command = [sys.executable, "-c", program, os.fspath(objects_dir(repo))]
    subprocess.run(command, check=True, preexec_fn=few_descriptors)


def test_without_gitdb_the_message_says_what_to_install() -> None:
    program = "import sys; sys.modules['gitdb.base'] = None; import gpa_maint.integrations.gitdb"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: gpa_maint.integrations.gitdb needs gitdb, as gpa-maint[gitdb] installs it" in done.stderr
