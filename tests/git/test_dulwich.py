"""dulwich over PageStore: its own suites pass, it reads what git reads, and takes in and sends packs.

test_dulwich_writing.py is on what it adds to pages.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from unittest import TestCase

import dulwich.object_store
import pytest
from beside import rewrite_beside
from dulwich import porcelain
from dulwich.errors import NotGitRepository
from dulwich.object_store import DiskObjectStore, iter_sha1
from dulwich.objects import Blob, ShaFile, object_class
from dulwich.pack import Pack, full_unpacked_object, write_pack_data
from dulwich.repo import Repo
from dulwich.server import DictBackend, TCPGitServer
from histories import (
    History,
    HistorySpec,
    alternates_repo,
    delta_cycle_repo,
    init_server,
    kept_pack_repo,
    long_chain_repo,
    promisor_pack_repo,
    pushed_history,
    ref_delta_repo,
    send_push,
    worktree_repo,
)
from oracle import ObjectFormat, all_objects, fsck, git, git_line, objects_dir, pack_dir, packed_objects, packs, refs
from packwriter import Whole, add_many_packs, add_pack
from running import leftovers
from test_store import MISSING, SHAPES, Shape, add_loose
from writing import loose_count

from gpa_maint import PageStore, commands
from gpa_maint.errors import Corrupt
from gpa_maint.integrations.dulwich import PagedObjectStore, open_repository

suites = pytest.importorskip("dulwich.tests.test_object_store")


class TestOwnStore(suites.PackBasedObjectStoreTests, TestCase):
    """The tests that dulwich ships for its own stores."""

    @pytest.fixture(autouse=True)
    def _make(self, tmp_path: Path) -> None:
        self.path = tmp_path / "objects"

    def setUp(self) -> None:
        self.store = PagedObjectStore.init(self.path)

    def _others_write_loose(self) -> None:
        self.store.add_object = partial(DiskObjectStore.add_object, self.store)

    def test_delete_loose_object(self) -> None:
        self._others_write_loose()
        super().test_delete_loose_object()

    def test_pack_loose_objects(self) -> None:
        self._others_write_loose()
        super().test_pack_loose_objects()

    def test_repack(self) -> None:
        self._others_write_loose()
        super().test_repack()

    def test_repack_with_exclude(self) -> None:
        self._others_write_loose()
        super().test_repack_with_exclude()

    def test_repack_existing(self) -> None:
        """What is loose is not stored again, but repacked."""
        self._others_write_loose()
        blobs = {Blob.from_string(data) for data in (b"yummy data", b"more yummy data")}
        for blob in blobs:
            self.store.add_object(blob)
        self.store.add_objects([(blob, None) for blob in blobs])
        assert [] == self.store.packs
        for _ in range(2):
            assert 2 == self.store.repack()
            assert 1 == len(self.store.packs)
            assert 0 == self.store.pack_loose_objects()
        assert {blob.id for blob in blobs} == set(self.store)


class TestGivenStore(TestOwnStore):
    """The same, reading from a store that others share."""

    def setUp(self) -> None:
        DiskObjectStore.init(self.path)
        self.store = PagedObjectStore(self.path, store=PageStore.open(self.path))


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """A Pack that its user did not close goes when it is collected, in the middle of another test."""
    yield
    gc.collect()


# -- Reading


def assert_reads_all(objects: PagedObjectStore, repo: Path) -> None:
    """Every object git has, with every way of asking; and no other."""
    expected = all_objects(repo)
    oids = [oid.encode() for oid in expected]
    assert sorted(oids) == list(objects)
    for oid, (kind, size, digest) in zip(oids, expected.values(), strict=True):
        number, content = objects.get_raw(oid)
        assert (size, digest) == (len(content), hashlib.sha256(content).hexdigest())
        assert (number, content) == objects.get_raw(bytes.fromhex(oid.decode()))
        assert oid in objects
        assert [oid] == list(objects.iter_prefix(oid))
        found = objects[oid]
        assert (kind.encode(), oid) == (found.type_name, found.get_id(objects.object_format))
    assert set(oids) == {one.get_id(objects.object_format) for one in objects.iterobjects_subset(oids + oids[:3])}
    unpacked = {one.sha().hex(): one for one in objects.iter_unpacked_subset(oids)}
    assert expected.keys() == unpacked.keys()
    assert all(one.delta_base is None or one.delta_base.hex() in unpacked for one in unpacked.values())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_object_reads_as_git_reads_it(shape: Shape, tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = shape(tmp_path, object_format)
    with open_repository(repo) as opened:
        assert object_format == opened.object_store.object_format.name
        assert_reads_all(opened.object_store, repo)


def test_what_a_promisor_has_not_sent_is_missing(tmp_path: Path) -> None:
    repo = promisor_pack_repo(tmp_path)
    git(repo, "config", "remote.origin.url", "/nowhere")
    with open_repository(repo) as opened:
        assert_reads_all(opened.object_store, repo)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return pushed_history(tmp_path / "history", HistorySpec(kind="tree", pushes=30, waiting=9))


@pytest.fixture
def opened(history: History) -> Iterator[Repo]:
    with open_repository(history.server) as repo:
        yield repo


def test_misses_are_key_errors(opened: Repo) -> None:
    objects, missing = opened.object_store, MISSING.encode()
    assert missing not in objects and not objects.contains_loose(missing) and not objects.contains_packed(missing)
    for ask in (objects.get_raw, objects.__getitem__, objects.get_object_mtime, objects.peel, opened.__getitem__):
        for name in (missing, bytes.fromhex(MISSING)):
            with pytest.raises(KeyError):
                ask(name)
    head = opened.head()
    for ask_many in (objects.iterobjects_subset, objects.iter_unpacked_subset):
        assert 1 == len(list(ask_many([head, missing], allow_missing=True)))
        with pytest.raises(KeyError):
            list(ask_many([head, missing]))
    assert [] == list(objects.iter_prefix(missing[:8]))
    for wrong in (b"", b"12", b"../../config", missing + b"00"):
        with pytest.raises(ValueError):
            objects.get_raw(wrong)
        with pytest.raises(ValueError):
            _ = wrong in objects


def test_prefixes_of_any_length_are_found(opened: Repo) -> None:
    oids = list(opened.object_store)
    for prefix in (*(oids[7][:digits] for digits in (0, 1, 2, 3, 4, 5, 40)), oids[7] + b"0", b"main", b"x"):
        assert [oid for oid in oids if oid.startswith(prefix)] == list(opened.object_store.iter_prefix(prefix))


def test_where_an_object_is_counts_without_alternates(tmp_path: Path) -> None:
    repo, lender = alternates_repo(tmp_path)
    (loose,) = (oid.encode() for oid in add_loose(repo, 1))
    own = {entry.oid.encode() for name in packs(repo) for entry in packed_objects(repo, name)}
    with open_repository(repo) as opened:
        objects = opened.object_store
        assert own == {oid for oid in objects if objects.contains_packed(oid)}
        assert [loose] == [oid for oid in objects if objects.contains_loose(oid)]
        assert objects.get_object_mtime(loose) == os.path.getmtime(objects._get_shafile_path(loose))
        times = {path.stat().st_mtime for path in pack_dir(repo).glob("*.pack")}
        assert times >= {objects.get_object_mtime(oid) for oid in own}
        lent = next(oid for oid in objects if oid.decode() in all_objects(lender) and oid not in own)
        with pytest.raises(KeyError):
            objects.get_object_mtime(lent)


def test_the_age_of_an_object_follows_it_into_another_pack(history: History, opened: Repo) -> None:
    head = opened.head()
    opened.object_store.get_object_mtime(head)
    git(history.server, "repack", "-q", "-a", "-d")
    (pack,) = pack_dir(history.server).glob("*.pack")
    assert pack.stat().st_mtime == opened.object_store.get_object_mtime(head)


def test_more_alternates_may_be_given(tmp_path: Path, history: History) -> None:
    repo = init_server(tmp_path / "server")
    with closing(PagedObjectStore(objects_dir(repo), alternates=[objects_dir(history.server)])) as objects:
        assert set(all_objects(history.server)) == {oid.decode() for oid in objects}


def test_a_worktree_is_opened_as_its_repository(tmp_path: Path) -> None:
    repo, worktree = worktree_repo(tmp_path)
    with open_repository(worktree) as opened:
        assert git_line(worktree, "rev-parse", "HEAD") == opened.head().decode()
        assert_reads_all(opened.object_store, repo)
    with pytest.raises(NotGitRepository):
        open_repository(tmp_path)


def test_one_store_serves_many_repositories(history: History) -> None:
    with PageStore.for_repository(history.server) as store:
        for _ in range(2):
            with open_repository(history.server, store) as one, open_repository(history.server, store) as other:
                assert one.head() == other[other.head()].id
        assert one.head().decode() in store
    with pytest.raises(ValueError, match="closed"):
        one.object_store.get_raw(one.head())


def test_a_store_of_something_else_is_refused(tmp_path: Path, history: History) -> None:
    other = init_server(tmp_path / "other", object_format="sha256")
    with PageStore.for_repository(other) as store, pytest.raises(ValueError, match="is not the store of"):
        open_repository(history.server, store)
    with PageStore.for_repository(history.server) as store, pytest.raises(ValueError, match="alternates"):
        PagedObjectStore(store.path, store=store, alternates=[other])


def test_a_store_opens_again_after_it_was_closed(opened: Repo) -> None:
    head = opened[opened.head()]
    opened.close()
    assert head == opened[opened.head()]


def test_a_damaged_object_is_said_to_be_damaged(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    pack = pack_dir(repo) / f"{add_pack(repo, [Whole(kind='blob', content=b'twelve bytes')])}.pack"
    (oid,) = all_objects(repo)
    data = bytearray(pack.read_bytes())
    data[15] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(data)
    with open_repository(repo) as opened, pytest.raises(Corrupt, match=pack.name):
        opened.object_store.get_raw(oid.encode())


def test_what_git_does_meanwhile_is_seen_at_once(history: History, opened: Repo) -> None:
    objects = opened.object_store
    assert_reads_all(objects, history.server)
    (loose,) = add_loose(history.server, 1)
    assert loose.encode() in objects
    for push in history.waiting[:3]:
        send_push(history.client, history.server, push)
        assert_reads_all(objects, history.server)
    commands.repack(str(history.server))
    assert_reads_all(objects, history.server)
    commands.expire(str(history.server), grace_seconds=0)
    assert_reads_all(objects, history.server)
    git(history.server, "repack", "-q", "-a", "-d")
    assert_reads_all(objects, history.server)


# -- Writing


def as_git_reads_it(repo: Path, oid: bytes) -> ShaFile:
    kind = git_line(repo, "cat-file", "-t", oid.decode())
    words = ["git", "-C", repo, "cat-file", kind, oid.decode()]
    content = subprocess.run(words, check=True, capture_output=True).stdout
    return ShaFile.from_raw_string(object_class(kind.encode()).type_num, content)


def pack_of(client: Path, *names: str) -> bytes:
    """What git would send of these commits; "^" before those that the other side has."""
    words = ["git", "-C", client, "pack-objects", "--revs", "--thin", "--stdout", "-q"]
    return subprocess.run(words, input="\n".join(names).encode(), check=True, capture_output=True).stdout


def assert_there(repo: Path, stores: list[PagedObjectStore], written: Iterable[ShaFile]) -> None:
    for one in written:
        assert one == as_git_reads_it(repo, one.id)
        for objects in stores:
            assert one.id in objects
            assert one == objects[one.id]


def receive(objects: PagedObjectStore, received: list[ShaFile]) -> Pack:
    """As a pack that comes in."""
    file, commit, _abort = objects.add_pack()
    records = iter([full_unpacked_object(one) for one in received])
    write_pack_data(file.write, records, objects.object_format, num_records=len(received))
    pack = commit()
    assert isinstance(pack, Pack)
    return pack


def test_packs_that_git_made_are_taken_in(tmp_path: Path) -> None:
    """Thin ones too; they are then as any other pack, and the same objects are not stored twice."""
    history = pushed_history(tmp_path / "documents", HistorySpec(kind="snapshots", pushes=5, waiting=1))
    repo, update = history.server, history.waiting[0][0]
    thin = pack_of(history.client, update.oid, f"^{git_line(repo, 'rev-parse', 'main')}")
    with open_repository(repo) as opened, open_repository(repo) as other:
        before = packs(repo).keys()
        with opened.object_store.add_thin_pack(BytesIO(thin).read, None) as pack:
            new = [pack[oid] for oid in pack]
        assert len(new) > int.from_bytes(thin[8:12], "big")
        assert_there(repo, [opened.object_store, other.object_store], new)
        (name,) = packs(repo).keys() - before
        whole = (pack_dir(repo) / f"{name}.pack").read_bytes()
        for objects in (opened.object_store, other.object_store):
            file, commit, _abort = objects.add_pack()
            file.write(whole)
            assert commit().name() == name.removeprefix("pack-").encode()
        _file, _commit, abort = opened.object_store.add_pack()
        abort()
    assert {name} == packs(repo).keys() - before
    assert [] == leftovers(repo)
    git(repo, "update-ref", "refs/heads/main", update.oid)
    fsck(repo)


def test_a_pack_that_git_has_is_not_stored_under_another_name(history: History) -> None:
    repo = history.server
    before = packs(repo).keys()
    with open_repository(repo) as opened:
        for name in sorted(before)[:3]:
            file, commit, _abort = opened.object_store.add_pack()
            file.write((pack_dir(repo) / f"{name}.pack").read_bytes())
            with commit() as pack:
                assert name == Path(pack.data.filename).stem
    assert before == packs(repo).keys()
    assert [] == leftovers(repo)


def test_a_broken_pack_leaves_nothing_behind(history: History) -> None:
    repo = history.server
    whole = bytearray(next(pack_dir(repo).glob("*.pack")).read_bytes())
    whole[20] ^= 0xFF
    before = sorted(path.name for path in pack_dir(repo).iterdir())
    with open_repository(repo) as opened:
        file, commit, abort = opened.object_store.add_pack()
        file.write(whole)
        with pytest.raises(Exception, match=r"."):
            commit()
        abort()
    assert before == sorted(path.name for path in pack_dir(repo).iterdir())


@pytest.mark.parametrize("moment", [(dulwich.object_store, "GitFile"), (Pack, "check_length_and_checksum")])
def test_nobody_takes_a_pack_away_before_it_is_all_there(
    moment: tuple[object, str], history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours and git's maintenance come before its idx, and before dulwich's last look at it."""
    repo = history.server
    step = getattr(*moment)

    def maintained_first(*args: object, **options: object) -> object:
        monkeypatch.undo()
        commands.repack(str(repo))
        commands.expire(str(repo), grace_seconds=0)
        git(repo, "repack", "-q", "-a", "-d", "-k")
        return step(*args, **options)

    monkeypatch.setattr(*moment, maintained_first)
    blob = Blob.from_string(b"on its way")
    with open_repository(repo) as opened:
        receive(opened.object_store, [blob]).close()
        assert_there(repo, [opened.object_store], [blob])
    (keep,) = pack_dir(repo).glob("*.keep")
    assert "git-gpa new\n" == keep.read_text()
    assert 2 == len(packs(repo))


def test_a_keep_that_is_there_stays(history: History) -> None:
    repo = history.server
    name = min(packs(repo))
    (pack_dir(repo) / f"{name}.keep").write_text("mine\n")
    with open_repository(repo) as opened:
        oids = [oid.encode() for oid in sorted(entry.oid for entry in packed_objects(repo, name))]
        objects = opened.object_store
        pack = receive(objects, [objects[oid] for oid in oids])
        assert pack.name() == iter_sha1(bytes.fromhex(oid.decode()) for oid in oids)
        pack.close()
    assert "mine\n" == (pack_dir(repo) / f"{name}.keep").read_text()


def test_dulwichs_own_repack_leaves_no_ghosts(history: History) -> None:
    repo = history.server
    unwanted = Blob.from_string(b"unwanted")
    expected = all_objects(repo)
    with open_repository(repo) as opened:
        opened.object_store.add_objects([(unwanted, None)])
        assert unwanted.id in opened.object_store
        opened.object_store.repack(exclude={unwanted.id})
        assert unwanted.id not in opened.object_store
        assert_reads_all(opened.object_store, repo)
    assert expected == all_objects(repo)
    fsck(repo)


def test_a_commit_of_dulwich_is_one_of_git(tmp_path: Path, object_format: ObjectFormat) -> None:
    git(tmp_path, "init", "-q", f"--object-format={object_format}", "work")
    work = tmp_path / "work"
    with open_repository(work) as opened:
        for number in range(3):
            (work / "file").write_text(f"{number}\n")
            porcelain.add(opened, [work / "file"])
            oid = porcelain.commit(opened, message=b"change", author=b"A <a@b>", committer=b"A <a@b>")
            assert git_line(work, "rev-parse", "HEAD").encode() == oid == opened.head()
            commands.maintain(str(work))
        assert 3 == len(list(opened.get_walker()))
        if object_format == "sha1":  # dulwich names the tag by its SHA-1 in any repository
            porcelain.tag_create(opened, b"v1", author=b"A <a@b>", annotated=True, message=b"first")
            assert "file" in git(work, "ls-tree", "v1").stdout
        assert_reads_all(opened.object_store, work)
    fsck(work)
    assert "" == git_line(work, "status", "--porcelain")
    assert 0 == loose_count(work)


# -- Sending and receiving


def test_a_fetch_takes_deltas_over_as_they_are_stored(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = long_chain_repo(tmp_path / "from", 40, object_format=object_format)
    target = init_server(tmp_path / "to", object_format=object_format)
    with open_repository(repo) as opened, open_repository(target) as other:
        opened.fetch(other)
    assert all_objects(repo) == all_objects(target)
    (name,) = packs(target)
    assert 40 == sum(entry.depth > 0 for entry in packed_objects(target, name))


@pytest.mark.parametrize("make", [delta_cycle_repo, ref_delta_repo, kept_pack_repo])
def test_deltas_of_several_packs_never_stand_on_each_other(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever copies the store finds: here those of one pack in turn, as an index may name them."""
    repo = make(tmp_path / "from")
    for number, name in enumerate(packs(repo)):
        git(repo, "multi-pack-index", "write", f"--preferred-pack={name}.idx")
        target = init_server(tmp_path / f"to-{number}")
        with open_repository(repo) as opened, open_repository(target) as other:
            opened.fetch(other)
        git(target, "update-ref", "refs/heads/main", git_line(repo, "rev-parse", "main"))
        fsck(target)
        assert git_line(repo, "rev-list", "--objects", "main") == git_line(target, "rev-list", "--objects", "main")


def test_a_pack_that_goes_while_it_is_sent_does_no_harm(history: History, tmp_path: Path) -> None:
    repo, target = history.server, init_server(tmp_path / "to")
    with open_repository(repo) as opened, open_repository(target) as other:
        oids = list(opened.object_store)
        unpacked = opened.object_store.iter_unpacked_subset(oids)
        first = next(unpacked)
        git(repo, "repack", "-q", "-a", "-d", "-k")
        other.object_store.add_pack_data(len(oids), itertools.chain([first], unpacked))
        assert oids == list(other.object_store)
    fsck(target)


def test_dulwich_fetches_and_pushes_between_paths(history: History, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with open_repository(history.server) as server:
        server.clone(str(work), mkdir=True).close()
    git(work, "config", "user.name", "A")
    with open_repository(work) as opened:
        for number, push in enumerate(history.waiting[:3]):
            send_push(history.client, history.server, push)
            porcelain.fetch(opened, str(history.server))
            (work / "new").write_text(f"{number}\n")
            porcelain.add(opened, [work / "new"])
            porcelain.commit(opened, message=b"new", author=b"A <a@b>", committer=b"A <a@b>")
            branch = f"refs/heads/pushed-{number}"
            porcelain.push(opened, str(history.server), f"HEAD:{branch}".encode())
            assert opened.head().decode() == git_line(history.server, "rev-parse", branch)
            commands.maintain(str(work))
            commands.repack(str(history.server))
    for repo in (work, history.server):
        fsck(repo)
        assert 0 == loose_count(repo)


@contextmanager
def served(repo: Repo) -> Iterator[str]:
    """The address of a dulwich server with this one repository."""
    server = TCPGitServer(DictBackend({"/": repo}), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield f"git://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_git_clones_fetches_and_pushes_through_a_dulwich_server(history: History, tmp_path: Path) -> None:
    repo, clone = history.server, tmp_path / "clone"
    with open_repository(repo) as opened, served(opened) as url:
        git(tmp_path, "clone", "-q", "--mirror", url, clone)
        assert refs(repo) == refs(clone)
        fsck(clone)
        send_push(history.client, repo, history.waiting[0])
        commands.repack(str(repo))
        git(clone, "fetch", "-q")
        assert refs(repo) == refs(clone)
        update = history.waiting[1][0]
        git(history.client, "push", "-q", url, f"{update.oid}:refs/heads/sent")
        assert update.oid == git_line(repo, "rev-parse", "sent")
        assert opened[update.oid.encode()].id.decode() == update.oid
    fsck(clone)
    fsck(repo)


# -- Threads and limits


@pytest.mark.parametrize("pushes", [9, pytest.param(100, marks=pytest.mark.slow)])
def test_threads_read_and_write_while_everything_is_rewritten(pushes: int, tmp_path: Path) -> None:
    """I2, for dulwich: no error, no wrong byte, and what a thread wrote it finds."""
    history = pushed_history(tmp_path / "long", HistorySpec(kind="tree", pushes=30, waiting=pushes))
    descriptors = len(os.listdir("/proc/self/fd"))
    expected = {oid.encode(): fields for oid, fields in all_objects(history.server).items()}
    tags = [oid for oid, (kind, _, _) in expected.items() if kind == "tag"]
    numbers = itertools.count()
    with open_repository(history.server) as opened, open_repository(history.server) as other:
        objects = opened.object_store

        def read() -> None:
            for oid in random.sample(list(expected), 50):
                assert expected[oid][2] == hashlib.sha256(objects.get_raw(oid)[1]).hexdigest()
                assert oid == objects[oid].id
            assert MISSING.encode() not in objects
            for tag in tags:
                objects.peel(tag)

        def write() -> None:
            made = [Blob.from_string(b"%d" % next(numbers)) for _ in range(4)]
            objects.add_object(made[0])
            other.object_store.add_objects([(blob, None) for blob in made[1:]])
            assert all(blob == objects[blob.id] for blob in made)
            assert all(blob == other[blob.id] for blob in made[1:])

        def send() -> None:
            oids = random.sample(list(expected), 100)
            target = init_server(tmp_path / f"to-{next(numbers)}")
            with open_repository(target) as into:
                into.object_store.add_pack_data(len(oids), objects.iter_unpacked_subset(oids))
                assert sorted(oids) == list(into.object_store)
            shutil.rmtree(target)

        rewrite_beside(history, [read, read, read, write, write, send])
    fsck(history.server)
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_a_thousand_packs_need_few_descriptors(tmp_path: Path) -> None:
    """Reading, taking in packs, and sending."""
    repo, target = init_server(tmp_path / "server"), init_server(tmp_path / "to")
    add_many_packs(repo, 1000)
    program = """
import sys
from dulwich.objects import Blob
from dulwich.pack import full_unpacked_object, write_pack_data
from gpa_maint.integrations.dulwich import open_repository
def receive(objects, blob):
    file, commit, _abort = objects.add_pack()
    write_pack_data(file.write, iter([full_unpacked_object(blob)]), objects.object_format, num_records=1)
    return commit()
with open_repository(sys.argv[1]) as repo, open_repository(sys.argv[2]) as target:
    objects = repo.object_store
    for oid in objects:
        assert oid == objects[oid].id
    packs = [receive(objects, Blob.from_string(b"new %d" % number)) for number in range(100)]
    assert 1100 == len(list(objects))
    for number in range(100):
        objects.add_objects([(Blob.from_string(b"newer %d" % number), None)])
    count = len(list(objects))
    target.object_store.add_pack_data(count, objects.iter_unpacked_subset(list(objects)))
    assert list(objects) == list(target.object_store)
    objects.get_reachability_provider()
"""

    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))

    subprocess.run([sys.executable, "-c", program, repo, target], check=True, preexec_fn=few_descriptors)


@pytest.mark.parametrize("change", ["sys.modules['dulwich.repo'] = None", "dulwich.__version__ = (1, 2, 12)"])
def test_without_dulwich_the_message_says_what_is_missing(change: str) -> None:
    program = f"import dulwich, sys; {change}; import gpa_maint.integrations.dulwich"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: gpa_maint.integrations.dulwich needs dulwich 1.2.18 or newer: " in done.stderr
