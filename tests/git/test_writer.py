"""Writer: what it adds is what git would store; visible at once to whom it shall be; nothing is stored twice."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pygit2
import pytest
from dulwich.object_store import DiskObjectStore
from histories import alternates_repo, cruft_pack_repo, init_server, worktree_repo
from loose import write_loose
from oracle import ObjectFormat, all_objects, fsck, git, git_line, object_format, objects_dir, pack_dir, packs
from packwriter import Kind, Whole, add_pack, entry_header, oid_hex
from running import gpa
from writing import (
    add_commit,
    assert_ends_well,
    assert_indexed_as_git_would,
    commit_text,
    forked,
    journals,
    left_behind,
    loose_count,
    tree_text,
)

from gpa_maint import PageStore, fs
from gpa_maint.errors import GpaError, ObjectMissing
from gpa_maint.repo.config import settings_from
from gpa_maint.store.writer import Writer

MIB = 1 << 20
OLD = 1_600_000_000


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return init_server(tmp_path / "server")


@contextlib.contextmanager
def writing(repo: Path, **options: Any) -> Iterator[Writer]:
    """A writer of its own store, which ends with the block."""
    with PageStore.open(objects_dir(repo)) as store, store.writer(**options) as writer:
        yield writer


def contents(count: int, seed: int = 1) -> list[bytes]:
    rng = random.Random(seed)
    return [b"%d " % number + rng.randbytes(rng.choice([0, 1, 20, 300, 5000])) for number in range(count)]


# -- What goes in comes out, sealed or not


def assert_reads(store: PageStore, objects: dict[bytes, tuple[str, bytes]]) -> None:
    """In each way, and no other object."""
    assert sorted(objects) == list(store)
    assert len(objects) == len(store)
    assert list(objects.values()) == store.read_many(objects)
    for oid, (kind, data) in objects.items():
        assert oid in store
        assert oid.hex() in store
        assert (kind, data) == store.read(oid)
        assert (kind, len(data)) == store.info(oid)
        assert oid == store.expand_prefix(oid.hex()[:12])
        with store.stream(oid) as stream:
            assert (kind, len(data), data) == (stream.type, stream.size, stream.read())


def test_objects_are_read_at_once_and_after_sealing_as_before(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = init_server(tmp_path / "server", object_format=object_format)
    with PageStore.open(objects_dir(repo), verify=True) as store:
        writer = store.writer(page_objects=40)
        objects = {writer.add("blob", data): ("blob", data) for data in [*contents(60), b"", b"\0", b"x" * MIB]}
        tree = tree_text({"a": next(iter(objects))})
        objects[writer.add("tree", tree)] = ("tree", tree)
        assert_reads(store, objects)
        commit = commit_text(writer.add("tree", tree))
        objects[writer.add("commit", commit)] = ("commit", commit)
        assert_reads(store, objects)
        store.refresh()
        assert_reads(store, objects)
        writer.close()
        assert_reads(store, objects)
    expected = {oid_hex(kind, data, object_format=object_format) for kind, data in objects.values()}  # type: ignore[arg-type]
    assert expected == {oid.hex() for oid in objects} == all_objects(repo).keys()
    fsck(repo)
    assert 0 == loose_count(repo)
    assert {} == left_behind(repo)


def test_many_at_once_give_their_ids_in_order(repo: Path) -> None:
    objects = [("blob", data) for data in contents(3000)] + [("tree", b""), ("blob", b"again"), ("blob", b"again")]
    with writing(repo) as writer:
        oids = writer.add_many(iter(objects))
        assert [] == writer.add_many([])
    assert [oid_hex(kind, data) for kind, data in objects] == [oid.hex() for oid in oids]  # type: ignore[arg-type]
    assert {oid.hex() for oid in oids} == all_objects(repo).keys()
    fsck(repo)


def test_any_buffer_will_do(repo: Path) -> None:
    with writing(repo) as writer:
        ids = {writer.add("blob", data) for data in (b"same", bytearray(b"same"), memoryview(b"same"))}  # type: ignore[arg-type]
        assert 1 == len(ids)
        assert 1 == len(set(writer.add_many([("blob", bytearray(b"same")), ("blob", memoryview(b"same"))])))


def test_a_wrong_type_is_refused(repo: Path) -> None:
    with writing(repo) as writer:
        for kind in ("blub", "", "Blob"):
            with pytest.raises(ValueError, match="is not commit, tree, blob or tag"):
                writer.add(kind, b"")
            with pytest.raises(ValueError, match="is not commit, tree, blob or tag"):
                writer.add_many([(kind, b"")])
        assert 0 == writer.stats().object_count


# -- Streams


@pytest.mark.parametrize("size", [0, 1, MIB, 16 * MIB, 16 * MIB + 1, 20 * MIB])
def test_a_stream_gives_the_same_object(repo: Path, size: int) -> None:
    data = (random.Random(size).randbytes(min(size, MIB)) * 21)[:size]
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        oid = writer.add_stream("blob", size, io.BytesIO(data + b"more, which is not read"))
        assert ("blob", size) == store.info(oid)
        with store.stream(oid) as stream:
            assert hashlib.sha256(data).digest() == hashlib.sha256(stream.read()).digest()
        assert oid == writer.add("blob", data)
        assert oid == writer.add_stream("blob", size, io.BytesIO(data))
        assert 1 == writer.stats().object_count
    assert {oid_hex("blob", data)} == all_objects(repo).keys()
    fsck(repo)
    assert 1 == len(packs(repo))


def test_a_stream_that_ends_early_adds_nothing(repo: Path) -> None:
    with writing(repo) as writer:
        for size in (100, 20 * MIB):
            with pytest.raises(GpaError, match=f"object has 5 bytes of the {size} it was said to have"):
                writer.add_stream("blob", size, io.BytesIO(b"short"))
        assert 0 == writer.stats().object_count
        assert {".journal", ".keep"} == {Path(name).suffix for name in left_behind(repo)}
    assert {} == all_objects(repo)
    assert [] == list(pack_dir(repo).iterdir())


def test_a_stream_takes_constant_memory(repo: Path, tmp_path: Path) -> None:
    script = """
import resource, sys
from gpa_maint import PageStore
class Zeros:
    def read(self, size): return bytes(size)
with PageStore.open(sys.argv[1]) as store:
    writer = store.writer()
    writer.add_stream("blob", 1 << 20, Zeros())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writer.add_stream("blob", 512 << 20, Zeros())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        ["python", "-c", script, objects_dir(repo)], check=True, capture_output=True, text=True, env=dict(os.environ)
    )
    assert int(done.stdout) < 8 * 1024
    # git 2.55 streams what is as large as its threshold, and calls such a blob corrupt in packs of its own too.
    git(repo, "config", "core.bigFileThreshold", "1g")
    fsck(repo)


# -- Who sees what, and when


def assert_everybody_sees(repo: Path, commit: bytes, peers: list[Any]) -> None:
    """Stock git, and readers that were opened before."""
    batch, odb, dulwich = peers
    batch.stdin.write(commit.hex().encode() + b"\n")
    batch.stdin.flush()
    assert b"commit" == batch.stdout.readline().split()[1]
    assert pygit2.Oid(raw=commit) in odb
    assert commit.hex().encode() in dulwich
    git(repo, "rev-list", "--objects", commit.hex())


def test_a_commit_is_seen_by_everybody_when_it_is_acknowledged(repo: Path) -> None:
    command = ["git", "-C", str(repo), "cat-file", "--batch-check"]
    dulwich = DiskObjectStore(str(objects_dir(repo)))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as batch, writing(repo) as writer:
        peers = [batch, pygit2.Repository(str(repo)).odb, dulwich]
        parent: tuple[bytes, ...] = ()
        for number in range(20):
            parent = (add_commit(writer, b"document %d" % number, *parent),)
            assert_everybody_sees(repo, parent[0], peers)
            git(repo, "update-ref", "refs/heads/main", parent[0].hex())
            assert 0 == loose_count(repo)
            if number % 5 == 0:
                fsck(repo)
        tag = b"object %s\ntype commit\ntag v1\ntagger a <a> 0 +0000\n\nx\n" % parent[0].hex().encode()
        assert "tag" == git_line(repo, "cat-file", "-t", writer.add("tag", tag).hex())
        assert 21 == len(packs(repo))
        batch.stdin.close()  # type: ignore[union-attr]
    dulwich.close()
    fsck(repo)


def test_a_commit_that_is_there_already_seals_what_waits(repo: Path) -> None:
    with writing(repo) as writer:
        add_commit(writer, b"one")
        blob = writer.add("blob", b"two")
        add_commit(writer, b"one")
        assert blob.hex() in all_objects(repo)


def test_blobs_wait_and_seal_shows_them(repo: Path) -> None:
    with writing(repo) as writer:
        oid = writer.add("blob", b"waits")
        assert {} == packs(repo)
        writer.seal()
        assert [oid.hex()] == list(all_objects(repo))
        writer.seal()
        assert 1 == len(packs(repo))


def test_a_page_is_sealed_when_it_is_full(repo: Path) -> None:
    with writing(repo, page_objects=10) as writer:
        for data in contents(25):
            writer.add("blob", data)
        assert [10, 10] == list(packs(repo).values())
        assert 5 == writer.stats().open_count
    assert [5, 10, 10] == sorted(packs(repo).values())
    fsck(repo)


def test_a_page_is_closed_before_it_grows_too_large(repo: Path) -> None:
    rng = random.Random(5)
    sizes = [300, 300, 300, 900, 2000, 100, 100, 999, 1, 2, 3]
    with writing(repo, page_bytes=1000) as writer:
        for size in sizes:
            writer.add("blob", rng.randbytes(size))
    for pack in pack_dir(repo).glob("*.pack"):
        assert pack.stat().st_size <= 1000 or 1 == packs(repo)[pack.stem]
    assert len(packs(repo)) <= 7
    assert len(sizes) == len(all_objects(repo))
    fsck(repo)


def test_settings_of_the_repository_are_the_defaults(repo: Path) -> None:
    git(repo, "config", "gpa.pageObjects", "3")
    git(repo, "config", "pack.compression", "0")
    with writing(repo) as writer:
        for number in range(7):
            writer.add("blob", b"%d" % number * 500)
        assert [3, 3] == list(packs(repo).values())
        assert min(path.stat().st_size for path in pack_dir(repo).glob("*.pack")) > 1500


@pytest.mark.parametrize("level", [-1, 0, 1, 9])
def test_the_level_is_zlib_s(repo: Path, level: int) -> None:
    with writing(repo, level=level) as writer:
        writer.add("blob", b"the same words " * 1000)
    (pack,) = pack_dir(repo).glob("*.pack")
    assert (pack.stat().st_size > 15000) == (level == 0)
    fsck(repo)


# -- The pack


def test_packs_are_as_git_makes_them(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = init_server(tmp_path / "server", object_format=object_format)
    with writing(repo) as writer:
        for data in contents(500):
            writer.add("blob", data)
        add_commit(writer, b"one")
        writer.add_stream("blob", 17 * MIB, io.BytesIO(bytes(17 * MIB)))
    assert_indexed_as_git_would(repo, tmp_path)
    for name in packs(repo):
        path = pack_dir(repo) / f"{name}.pack"
        assert f"pack-{path.read_bytes()[-hashlib.new(object_format).digest_size :].hex()}" == name
    assert {".pack", ".idx", ".keep"} == {path.suffix for path in pack_dir(repo).iterdir()}


def test_objects_stand_in_git_s_order(repo: Path) -> None:
    with writing(repo) as writer, writer.batch():
        for number in range(5):
            commit = add_commit(writer, b"document %d" % number)
            writer.add(
                "tag", b"object %s\ntype commit\ntag v%d\ntagger a <a> 0 +0000\n\n" % (commit.hex().encode(), number)
            )
    (pack,) = packs(repo)
    text = git(repo, "verify-pack", "-v", pack_dir(repo) / f"{pack}.idx").stdout
    rows = sorted((int(row[4]), row[1]) for row in map(str.split, text.splitlines()) if len(row) == 5)
    assert ["commit"] * 5 + ["tag"] * 5 + ["tree"] * 5 + ["blob"] * 5 == [kind for _, kind in rows]


@pytest.mark.parametrize(("shared", "mode"), [("", 0o444), ("group", 0o440), ("all", 0o444), ("0640", 0o440)])
def test_files_have_git_s_modes(repo: Path, shared: str, mode: int) -> None:
    if shared:
        git(repo, "config", "core.sharedRepository", shared)
    before = os.umask(0o077 if shared else 0o022)
    try:
        with writing(repo) as writer:
            add_commit(writer, b"one")
            (journal,) = journals(repo)
            journal_mode = (repo / "gpa" / "journal" / journal).stat().st_mode & 0o777
            writer.add_stream("blob", 17 * MIB, io.BytesIO(bytes(17 * MIB)))
    finally:
        os.umask(before)
    assert {mode} == {path.stat().st_mode & 0o777 for path in pack_dir(repo).iterdir()}
    assert {"": 0o644, "group": 0o660, "all": 0o664, "0640": 0o640}[shared] == journal_mode
    assert 6 == len(list(pack_dir(repo).iterdir()))


def test_where_the_journal_is_on_another_file_system(repo: Path, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / f"gpa-test-{os.getpid()}"
    elsewhere.mkdir()
    try:
        if elsewhere.stat().st_dev == repo.stat().st_dev:
            pytest.skip("there is only one file system")
        shutil.rmtree(pack_dir(repo))
        pack_dir(repo).symlink_to(elsewhere)
        (pack_dir(repo) / "tmp_pack_1-0123abcd-7.pack").write_bytes(b"of a dead writer")
        with writing(repo, durability="page") as writer:
            add_commit(writer, b"one")
            writer.add_stream("blob", 17 * MIB, io.BytesIO(bytes(17 * MIB)))
        assert 4 == len(all_objects(repo))
        assert 6 == len(list(pack_dir(repo).iterdir()))
        fsck(repo)
    finally:
        shutil.rmtree(elsewhere)


# -- What is there already


def age(path: Path) -> Path:
    os.utime(path, (OLD, OLD))
    return path


def test_an_object_is_stored_once(repo: Path) -> None:
    with writing(repo, page_objects=5) as writer:
        for _ in range(3):
            for number in range(12):
                writer.add("blob", b"%d" % number)
            writer.add_many([("blob", b"%d" % number) for number in range(12)])
        assert 12 == writer.stats().object_count
        assert 60 == writer.stats().known_count
    assert 12 == sum(packs(repo).values())


def test_an_object_in_a_pack_makes_the_pack_young(repo: Path) -> None:
    name = add_pack(repo, [Whole(kind="blob", content=b"in a pack")])
    path = age(pack_dir(repo) / f"{name}.pack")
    with writing(repo) as writer:
        writer.add("blob", b"in a pack")
        assert 0 == writer.stats().object_count
    assert path.stat().st_mtime > time.time() - 60
    assert [name] == list(packs(repo))


def test_an_object_in_a_pack_makes_the_pack_young_again_and_again(repo: Path) -> None:
    """A pack is touched every 2 seconds at most, and then it is."""
    name = add_pack(repo, [Whole(kind="blob", content=b"in a pack")])
    path = pack_dir(repo) / f"{name}.pack"
    with writing(repo) as writer:
        writer.add("blob", b"in a pack")
        age(path)
        time.sleep(2.5)
        writer.add("blob", b"in a pack")
    assert path.stat().st_mtime > time.time() - 60


def test_an_object_that_is_loose_becomes_young(repo: Path) -> None:
    oid = write_loose(objects_dir(repo), "blob", b"loose")
    path = age(objects_dir(repo) / oid[:2] / oid[2:])
    with writing(repo) as writer:
        assert oid == writer.add("blob", b"loose").hex()
    assert path.stat().st_mtime > time.time() - 60
    assert {} == packs(repo)


def test_an_object_of_an_alternate_is_not_written_again(tmp_path: Path) -> None:
    repo, lender = alternates_repo(tmp_path)
    oid, (kind, _size, _digest) = next(iter(all_objects(lender).items()))
    before = packs(repo)
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        assert oid == writer.add(*store.read(oid)).hex()
        assert kind == store.info(oid).type
    assert before == packs(repo)


def test_an_object_in_a_cruft_pack_is_written_again(tmp_path: Path) -> None:
    """Git does so too: the pack's time says nothing about each object in it."""
    repo = cruft_pack_repo(tmp_path)
    (cruft,) = (path.stem for path in pack_dir(repo).glob("*.mtimes"))
    oid = git(repo, "show-index", input=(pack_dir(repo) / f"{cruft}.idx").read_bytes()).stdout.split()[1]
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        writer.add(*store.read(oid))
        assert 1 == writer.stats().object_count


def test_an_object_whose_pack_has_gone_is_added_again(repo: Path) -> None:
    """The store's last look is out of date: nobody may be told that the object is there."""
    name = add_pack(repo, [Whole(kind="blob", content=b"here and gone"), Whole(kind="blob", content=b"moved")])
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        for path in pack_dir(repo).glob(f"{name}.*"):
            path.unlink()
        add_pack(repo, [Whole(kind="blob", content=b"moved")])
        oid = writer.add("blob", b"here and gone")
        writer.add("blob", b"moved")
        assert 1 == writer.stats().object_count
        writer.seal()
        assert "blob" == git_line(repo, "cat-file", "-t", oid.hex())


def test_an_own_page_that_has_gone_does_not_count(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        writer.add("blob", b"mine")
        writer.seal()
        for path in pack_dir(repo).iterdir():
            path.unlink()
        with pytest.raises(ObjectMissing):
            store.read(oid_hex("blob", b"mine"))
        assert oid_hex("blob", b"mine") not in store
        writer.add("blob", b"mine")
        writer.seal()
        assert ("blob", b"mine") == store.read(oid_hex("blob", b"mine"))
    assert 1 == len(packs(repo))


def test_an_object_of_an_old_pack_survives_gc_when_it_was_added_again(repo: Path) -> None:
    """I9: it is young, so git keeps it until something refers to it."""
    name = add_pack(repo, [Whole(kind="blob", content=b"unreachable")])
    age(pack_dir(repo) / f"{name}.pack")
    with writing(repo) as writer:
        oid = writer.add("blob", b"unreachable")
        git(repo, "gc", "--quiet", "--prune=2.weeks.ago")
        assert "blob" == git_line(repo, "cat-file", "-t", oid.hex())


def test_packs_of_others_are_known_after_a_while(repo: Path) -> None:
    with writing(repo) as writer:
        writer.add("blob", b"first")
        add_pack(repo, [Whole(kind="blob", content=b"of another")])
        oid = bytes.fromhex(oid_hex("blob", b"of another"))
        while not writer.freshen(oid):
            pass  # it looks for packs of others every two seconds
        writer.add("blob", b"of another")
        assert 1 == writer.stats().object_count


def test_freshen_tells_what_has_to_be_added(repo: Path) -> None:
    with writing(repo) as writer:
        assert not writer.freshen(bytes(20))
        oid = writer.add("blob", b"here")
        assert writer.freshen(oid)
        writer.seal()
        assert writer.freshen(oid)


def test_a_commit_of_somebody_s_batch_is_sealed_when_it_is_freshened(repo: Path) -> None:
    with writing(repo) as writer, writer.batch():
        commit = add_commit(writer, b"one")
        assert {} == packs(repo)
        other = threading.Thread(target=writer.freshen, args=(commit,))
        other.start()
        other.join()
        assert 1 == len(packs(repo))


# -- Batches


def test_a_batch_defers_sealing_to_its_end(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store:
        with store.batch() as writer:
            for number in range(10):
                commit = add_commit(writer, b"%d" % number)
                assert commit in store
            with store.batch():
                add_commit(writer, b"inner")
            assert {} == packs(repo)
        assert 33 == sum(packs(repo).values())
        assert 1 == len(packs(repo))
        add_commit(writer, b"after")
        assert 2 == len(packs(repo))


def test_a_batch_that_fails_seals_what_it_has(repo: Path) -> None:
    with writing(repo) as writer:
        with pytest.raises(KeyError), writer.batch():
            writer.add("blob", b"acknowledged")
            raise KeyError
        assert 1 == len(all_objects(repo))
        add_commit(writer, b"at once again")
        assert 4 == len(all_objects(repo))


def test_a_batch_is_its_own_thread_s(repo: Path) -> None:
    with writing(repo) as writer, writer.batch():
        writer.add("blob", b"mine")
        seen: list[int] = []

        def other() -> None:
            add_commit(writer, b"another thread's")
            seen.append(len(all_objects(repo)))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert [4] == seen


def test_a_batch_of_much_goes_to_the_journal_and_into_pages(repo: Path) -> None:
    rng = random.Random(3)
    with PageStore.open(objects_dir(repo)) as store:
        with store.batch() as writer:
            oids = [writer.add("blob", rng.randbytes(100_000)) for _ in range(100)]
            assert max(journals(repo).values()) > 5 * MIB
            rng = random.Random(3)
            assert [("blob", rng.randbytes(100_000)) for _ in oids] == [store.read(oid) for oid in oids]
        assert {0} == set(journals(repo).values())
        assert 100 == sum(packs(repo).values())
    fsck(repo)


# -- Saving


def restored(writer: Writer, report: Any, target: Path, object_format: str) -> Path:
    """A repository on another machine, from nothing but the reported files, whose upload is then confirmed."""
    if not target.exists():
        git(target.parent, "init", "--quiet", "--bare", f"--object-format={object_format}", target)
    for page in report.pages:
        for path, digest in zip(page.paths, page.sha256, strict=True):
            data = Path(path).read_bytes()
            assert digest == hashlib.sha256(data).hexdigest()
            (pack_dir(target) / Path(path).name).write_bytes(data)
        assert page.bytes == sum(Path(path).stat().st_size for path in page.paths)
        assert page.objects == packs(target)[page.name]
    for name in report.superseded:
        for path in pack_dir(target).glob(f"{name}.*"):
            path.unlink()
    writer.confirm(report)
    return target


def test_save_names_exactly_the_files_to_copy(repo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with writing(repo) as writer:
        parent: tuple[bytes, ...] = ()
        for number in range(6):
            parent = (add_commit(writer, b"%d" % number, *parent),)
            writer.add("blob", b"waits %d" % number)
            if number % 2:
                restored(writer, writer.save(), copy, "sha1")
                assert all_objects(repo) == all_objects(copy)
                fsck(copy)
        assert ((), ()) == writer.save()
        gpa(repo, "repack")
        add_commit(writer, b"last")
        report = writer.save()
        assert 9 == len(report.superseded)
        restored(writer, report, copy, "sha1")
        assert all_objects(repo) == all_objects(copy)
        assert packs(copy).keys() <= packs(repo).keys()
        gpa(repo, "expire", "--grace=now")
        assert ((), ()) == writer.save()
        assert packs(copy).keys() == packs(repo).keys()


def test_save_reports_packs_of_others_made_before_and_meanwhile(repo: Path) -> None:
    before = add_pack(repo, [Whole(kind="blob", content=b"before")])
    with writing(repo) as writer:
        after = add_pack(repo, [Whole(kind="blob", content=b"after")])
        report = writer.save()
        assert {before, after} == {page.name for page in report.pages}
        assert report == writer.save()
        writer.confirm([before])
        assert [after] == [page.name for page in writer.save().pages]
        writer.confirm(report)
        assert ((), ()) == writer.save()


# -- The journal


def die_writing(repo: Path, *contents: bytes, batch: bool = False, durability: str = "page") -> None:
    """A process adds blobs, and dies."""

    def work() -> None:
        writer = PageStore.open(objects_dir(repo)).writer(durability=durability)
        with writer.batch() if batch else contextlib.nullcontext():
            for data in contents:
                writer.add("blob", data)
            os._exit(0)

    assert_ends_well(forked(work))


def die_together(repo: Path, *contents: list[bytes]) -> None:
    """As many processes, none of which dies before all have written."""
    reading, writing_end = os.pipe()
    ready, told = os.pipe()

    def work(own: list[bytes]) -> None:
        os.close(writing_end)
        writer = PageStore.open(objects_dir(repo)).writer()
        for data in own:
            writer.add("blob", data)
        os.write(told, b".")
        os.read(reading, 1)
        os._exit(0)

    pids = [forked(partial(work, own)) for own in contents]
    os.close(told)
    for _ in contents:
        os.read(ready, 1)
    for fd in (writing_end, reading, ready):
        os.close(fd)
    assert_ends_well(*pids)


def test_what_a_dead_process_added_is_recovered(repo: Path) -> None:
    die_writing(repo, b"one", b"two", b"three")
    assert {} == all_objects(repo)
    with writing(repo) as writer:
        (found,) = writer.recovered
        assert (3, 0, 0, "") == found[1:]
        assert {oid_hex("blob", data) for data in (b"one", b"two", b"three")} == all_objects(repo).keys()
        assert 1 == len(writer.save().pages)
    assert {} == left_behind(repo)
    assert (
        f"recovered the journal '{found.journal}' of a process that died: 3 objects" in (repo / "gpa/log").read_text()
    )
    with writing(repo) as writer:
        assert () == writer.recovered
    fsck(repo)


def test_several_dead_processes_and_what_is_there_already(repo: Path) -> None:
    die_together(repo, *([b"same", b"%d" % number] for number in range(5)))
    add_pack(repo, [Whole(kind="blob", content=b"3")])
    with writing(repo) as writer:
        assert (5, 5) == (sum(one.objects for one in writer.recovered), sum(one.known for one in writer.recovered))
        assert 5 == len(writer.recovered)
    assert 6 == len(all_objects(repo))


def test_a_live_writer_s_journal_is_left_alone(repo: Path) -> None:
    with writing(repo) as first:
        first.add("blob", b"mine")
        before = journals(repo)
        with writing(repo) as second:
            assert () == second.recovered
            second.add("blob", b"yours")
            assert 2 == len(journals(repo))
        assert before == journals(repo)
        assert {oid_hex("blob", b"yours")} == all_objects(repo).keys()
    assert 2 == len(all_objects(repo))


def test_an_unfinished_record_is_dropped_and_told(repo: Path) -> None:
    die_writing(repo, b"one", b"two")
    (name,) = journals(repo)
    path = repo / "gpa" / "journal" / name
    first = 8 + int.from_bytes(path.read_bytes()[12:16])  # how well it is compressed depends on the build
    left = path.stat().st_size - 1
    os.truncate(path, left)
    with writing(repo) as writer:
        (found,) = writer.recovered
    assert (1, 0, left - 12 - first, "") == found[1:]
    assert [oid_hex("blob", b"one")] == list(all_objects(repo))


def journal_of(*records: bytes) -> bytes:
    """A journal (SHA-1) of these pack entries, each with its right CRC32."""
    head = b"GPAJ" + (1).to_bytes(4) + (1).to_bytes(4)
    return head + b"".join(len(entry).to_bytes(4) + zlib.crc32(entry).to_bytes(4) + entry for entry in records)


def put_journal(repo: Path, content: bytes) -> None:
    path = repo / "gpa" / "journal" / "1-0123abcd-0.journal"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def blob_entry(content: bytes) -> bytes:
    return entry_header(3, len(content)) + zlib.compress(content)


def test_a_journal_that_was_made_by_hand_is_recovered(repo: Path) -> None:
    put_journal(repo, journal_of(blob_entry(b"one"), blob_entry(b"two")))
    with writing(repo) as writer:
        (found,) = writer.recovered
    assert (2, 0, 0, "") == found[1:]
    assert {oid_hex("blob", b"one"), oid_hex("blob", b"two")} == all_objects(repo).keys()


def test_a_record_without_its_crc32_ends_the_journal(repo: Path) -> None:
    """Its entry would inflate: only the CRC32 says that it is another object than was written."""
    one, two = blob_entry(b"one"), blob_entry(b"two")
    content = bytearray(journal_of(one, two))
    at = 12 + 8 + len(one) + 8
    content[at] ^= (3 ^ 2) << 4  # the blob becomes a tree
    put_journal(repo, bytes(content))
    with writing(repo) as writer:
        (found,) = writer.recovered
    assert (1, 0, 8 + len(two), "") == found[1:]
    assert [oid_hex("blob", b"one")] == list(all_objects(repo))


def test_a_record_with_bytes_behind_its_stream_ends_the_journal(repo: Path) -> None:
    one, two = blob_entry(b"one"), blob_entry(b"two") + b"more"
    put_journal(repo, journal_of(one, two))
    with writing(repo) as writer:
        (found,) = writer.recovered
    assert (1, 0, 8 + len(two), "") == found[1:]
    assert [oid_hex("blob", b"one")] == list(all_objects(repo))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"something else, and long enough", "journal signature is 0x736f6d65, expected 0x4750414a"),
        (b"GPAJ\0\0\0\2\0\0\0\1", "journal version 2"),
        (b"GPAJ\0\0\0\1\0\0\0\2", "journal has hash 2, its repository 1"),
    ],
)
def test_what_is_no_journal_of_ours_stays_and_is_told(repo: Path, content: bytes, problem: str) -> None:
    path = repo / "gpa" / "journal" / "1-0123abcd-0.journal"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with writing(repo) as writer:
        (found,) = writer.recovered
        assert problem in found.problem
        add_commit(writer, b"goes on")
    assert content == path.read_bytes()
    assert problem in (repo / "gpa/log").read_text()


def test_an_empty_journal_goes_without_a_word(repo: Path) -> None:
    folder = repo / "gpa" / "journal"
    folder.mkdir(parents=True)
    (folder / "1-0123abcd-0.journal").write_bytes(b"")
    (folder / "1-0123abcd-1.journal").write_bytes(b"GPAJ\0\0\0\1\0\0\0\1")
    (folder / "1-0123abcd-2.pack").write_bytes(b"half a page")
    (folder / "somebody's file").write_bytes(b"")
    with writing(repo) as writer:
        assert () == writer.recovered
    assert ["somebody's file"] == list(left_behind(repo))


def test_a_writer_that_is_forgotten_seals(repo: Path) -> None:
    store = PageStore.open(objects_dir(repo))
    oid = store.writer().add("blob", b"forgotten")
    del store
    gc.collect()
    assert {oid.hex()} == set(all_objects(repo))
    assert {} == left_behind(repo)


ENDS = """
import os, sys
from gpa_maint import PageStore

store = PageStore.open(sys.argv[1])
store.writer().add("blob", b"at the end")
if sys.argv[2] == "fork" and not os.fork():
    store.writer().add("blob", b"of the child")
    sys.exit()
if sys.argv[2] == "fork":
    os.wait()
if sys.argv[2] == "raise":
    raise SystemExit("as it should")
"""


@pytest.mark.parametrize("end", ["plain", "raise", "fork"])
def test_a_program_that_ends_with_a_writer_open_seals(repo: Path, end: str) -> None:
    subprocess.run(
        [sys.executable, "-c", ENDS, objects_dir(repo), end], check=end != "raise", stderr=subprocess.DEVNULL
    )
    contents = [b"at the end", *([b"of the child"] if end == "fork" else [])]
    assert {oid_hex("blob", content) for content in contents} == set(all_objects(repo))
    assert {} == left_behind(repo)


def test_maintenance_beside_a_writer_does_not_disturb_it(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        oids = []
        for number in range(30):
            oids.append(add_commit(writer, b"%d" % number))
            oids.append(writer.add("blob", b"waits %d" % number))
            if number % 10 == 9:
                gpa(repo, "run")
                gpa(repo, "repack")
                gpa(repo, "expire", "--grace=now")
                git(repo, "repack", "-adkq")
                assert all(oid in store for oid in oids)
                assert ["commit", "blob"] * (number + 1) == [store.read(oid)[0] for oid in oids]
    assert 120 == len(all_objects(repo))
    fsck(repo)


def test_an_idx_that_gc_took_away_is_put_back(repo: Path) -> None:
    """gc takes an .idx for garbage if it listed the directory before the .pack got its name (csrc/write/gc_guard.c)."""
    (repo / "gc.pid").write_text("1 elsewhere")
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        lost = add_commit(writer, b"one")
        (idx,) = pack_dir(repo).glob("*.idx")
        idx.unlink()
        for number in count():  # it looks twice a second
            add_commit(writer, b"later %d" % number)
            if idx.exists():
                break
        idx.unlink()
        for gone in pack_dir(repo).glob("*.idx"):
            gone.unlink()
            gone.with_suffix(".pack").unlink()
            gone.with_suffix(".keep").unlink()
    assert {".idx"} == {Path(name).suffix for name in left_behind(repo)}
    with writing(repo):
        pass
    assert {} == left_behind(repo)
    there = {idx.with_suffix(suffix).name for suffix in (".idx", ".pack", ".keep")}
    assert there == {path.name for path in pack_dir(repo).iterdir()}
    assert "commit" == git_line(repo, "cat-file", "-t", lost.hex())


def take_away(repo: Path) -> None:
    """What gc takes for garbage: it has not seen the .pack."""
    for idx in pack_dir(repo).glob("*.idx"):
        idx.unlink()
        idx.with_suffix(".keep").unlink()


def test_a_writer_reads_on_what_gc_took_away(repo: Path) -> None:
    """Also after the reader has looked at its directories, and where nothing is added later."""
    (repo / "gc.pid").write_text("1 elsewhere")
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        oid = add_commit(writer, b"one")
        there = {path.name for path in pack_dir(repo).iterdir()}
        for _ in range(3):
            take_away(repo)
            store.refresh()
            assert "commit" == store.read(oid)[0]
            assert there == {path.name for path in pack_dir(repo).iterdir()}
        take_away(repo)
    assert there == {path.name for path in pack_dir(repo).iterdir()}
    git(repo, "repack", "-adq")
    assert "commit" == git_line(repo, "cat-file", "-t", oid.hex())


def test_a_page_whose_name_was_taken_is_put_back_too(repo: Path) -> None:
    """The writer died; its page has the second name, since another one of the same bytes is there."""
    add = (
        "import os, sys; from gpa_maint import PageStore; w = PageStore.for_repository(sys.argv[1]).writer();"
        "w.add('blob', b'one'); w.seal(); os._exit(0)"
    )
    with writing(repo) as writer:
        oid = writer.add("blob", b"one")
    (first,) = pack_dir(repo).glob("*.pack")
    for path in pack_dir(repo).iterdir():
        path.rename(repo / path.name)
    (pack_dir(repo) / first.with_suffix(".keep").name).write_text("somebody else's")
    (repo / "gc.pid").write_text("1 elsewhere")
    subprocess.run([sys.executable, "-c", add, repo], check=True)
    for path in repo.glob("pack-*"):
        path.rename(pack_dir(repo) / path.name)
    there = {path.name for path in pack_dir(repo).iterdir()}
    assert 2 == len(list(pack_dir(repo).glob("*.idx")))
    take_away(repo)
    first.unlink()
    there -= {first.with_suffix(suffix).name for suffix in (".pack", ".idx", ".keep")}
    with writing(repo):
        pass
    assert {} == left_behind(repo)
    assert there == {path.name for path in pack_dir(repo).iterdir()}
    git(repo, "repack", "-adq")
    assert "blob" == git_line(repo, "cat-file", "-t", oid.hex())


def test_a_page_that_somebody_deleted_is_forgotten_when_the_store_looks(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        first, waiting = add_commit(writer, b"one"), writer.add("blob", b"waits")
        assert first in store
        for path in pack_dir(repo).iterdir():
            path.unlink()
        kept = add_commit(writer, b"two")
        store.refresh()
        assert first not in store
        assert kept in store and waiting in store
        assert first == add_commit(writer, b"one")
        assert first in store


# -- Forks


def test_a_child_never_writes_into_its_parent_s_journal(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        waiting = writer.add("blob", b"the parent's")
        before = journals(repo)

        def work() -> None:
            assert waiting not in store
            commit = add_commit(writer, b"the child's")
            assert commit in store
            writer.add("blob", b"waits in the child")
            assert 3 == len(journals(repo))
            store.close()

        assert_ends_well(forked(work))
        assert before == journals(repo)
        assert waiting in store
        assert 4 == len(all_objects(repo))
    assert 5 == len(all_objects(repo))


def test_a_child_that_dies_leaves_its_parent_alone(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        writer.add("blob", b"the parent's")
        assert_ends_well(forked(lambda: writer.add("blob", b"the child's")))
        add_commit(writer, b"goes on")
        with writing(repo) as other:
            assert [1] == [found.objects for found in other.recovered]
    assert 5 == len(all_objects(repo))


def test_a_child_that_lives_on_does_not_keep_its_parent_s_journal_locked(repo: Path) -> None:
    reading, writing_end = os.pipe()

    def last() -> None:
        os.close(writing_end)
        os.read(reading, 1)

    def middle() -> None:
        writer = PageStore.open(objects_dir(repo)).writer()
        writer.add("blob", b"of the one in the middle")
        forked(last)
        os._exit(0)

    assert_ends_well(forked(middle))
    with writing(repo) as writer:
        assert [1] == [found.objects for found in writer.recovered]
    os.close(writing_end)
    os.close(reading)


# -- Durability


class Steps:
    """What a writer does to files, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, str]] = []
        monkeypatch.setattr(fs.door, "before_core_step", self._step)

    def _step(self, operation: str, path: str, size: int) -> tuple[int, int]:
        if operation != "utime":
            self.seen.append((operation, Path(path).suffix or Path(path).name))
        return 0, size

    def take(self) -> list[tuple[str, str]]:
        seen, self.seen = self.seen, []
        return seen


def test_a_page_is_synced_before_it_has_a_name(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    with writing(repo, durability="page") as writer:
        writer.add("blob", b"one")
        assert [("create", ".journal"), ("write", ".journal"), ("write", ".journal")] == steps.take()
        writer.add("blob", b"two")
        assert [("write", ".journal")] == steps.take()
        writer.seal()
        assert [
            ("create", ".keep"),
            ("write", ".keep"),
            ("fsync", ".keep"),
            ("create", ".pack"),
            ("create", ".idx"),
            ("write", ".pack"),
            ("write", ".idx"),
            ("fsync", ".pack"),
            ("fsync", ".idx"),
            ("link", ".keep"),
            ("rename", ".pack"),
            ("rename", ".idx"),
            ("fsync", "pack"),
            ("truncate", ".journal"),
        ] == steps.take()


def test_without_durability_nothing_is_synced(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    with writing(repo, durability="none") as writer:
        add_commit(writer, b"one")
        writer.add_many([("blob", b"x"), ("blob", b"y")])
        writer.add_stream("blob", 17 * MIB, io.BytesIO(bytes(17 * MIB)))
    assert "fsync" not in {operation for operation, _ in steps.seen}


def test_the_journal_is_synced_before_an_object_is_acknowledged(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    with writing(repo, durability="journal") as writer:
        writer.add("blob", b"one")
        assert [("fsync", ".journal"), ("fsync", "journal")] == steps.take()[-2:]
        writer.add("blob", b"two")
        assert [("write", ".journal"), ("fsync", ".journal")] == steps.take()
        writer.add_many([("blob", b"three"), ("blob", b"four")])
        assert [("write", ".journal"), ("fsync", ".journal")] == steps.take()
        writer.add("blob", b"one")
        assert [] == steps.take()
        with writer.batch():
            writer.add("blob", b"five")
            assert [] == steps.take()
        assert ("fsync", ".pack") in steps.take()


def test_what_dead_writers_left_is_recovered_durably(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die_writing(repo, b"one", durability="journal")
    steps = Steps(monkeypatch)
    with writing(repo, durability="none"):
        seen = steps.take()
        assert seen.index(("fsync", "pack")) < seen.index(("unlink", ".journal"))


def test_what_waits_already_becomes_durable_before_a_journal_that_has_it_too_goes(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_writing(repo, b"one", durability="journal")
    (name,) = journals(repo)
    journal = objects_dir(repo).parent / "gpa" / "journal" / name
    aside = journal.rename(repo / name)
    steps = Steps(monkeypatch)
    with writing(repo, durability="none") as writer:
        writer.add("blob", b"one")
        aside.rename(journal)
        recovery = writer._open().recover(name)
        assert recovery is not None
        assert (0, 1) == recovery[:2]
        seen = steps.take()
        assert seen.index(("fsync", ".pack")) < seen.index(("fsync", "pack")) < seen.index(("unlink", ".journal"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "page"),
        ({"core.fsync": "committed"}, "journal"),
        ({"core.fsync": "none"}, "none"),
        ({"core.fsync": "none,pack"}, "none"),
        ({"core.fsync": "none,pack,pack-metadata"}, "page"),
        ({"core.fsync": "-pack"}, "none"),
        ({"core.fsync": "-pack-metadata"}, "none"),
        ({"core.fsync": "committed,-loose-object"}, "journal"),
        ({"core.fsync": "all"}, "journal"),
        ({"core.fsync": "LOOSE-OBJECT , reference"}, "journal"),
        ({"core.fsync": "loose-object,none"}, "none"),
        ({"core.fsync": "something-new"}, "page"),
        ({"core.fsyncobjectfiles": "true"}, "journal"),
        ({"core.fsyncobjectfiles": "true", "core.fsync": "none"}, "none"),
    ],
)
def test_durability_is_what_git_would_sync(config: dict[str, str], expected: str) -> None:
    assert expected == settings_from(config).durability


def test_durability_comes_from_the_repository(repo: Path) -> None:
    git(repo, "config", "core.fsync", "all")
    with writing(repo) as writer:
        assert "journal" == writer.durability


@pytest.mark.parametrize("method", ["fsync", "writeout-only", "batch", "unknown"])
def test_git_s_ways_to_sync(repo: Path, method: str) -> None:
    git(repo, "config", "core.fsync", "all")
    git(repo, "config", "core.fsyncMethod", method)
    with writing(repo) as writer:
        writer.add("blob", b"waits")
        add_commit(writer, b"one")
    assert 4 == len(all_objects(repo))
    assert settings_from({"core.fsyncmethod": method}).fsync_method == ("fsync" if method == "unknown" else method)


# -- The store's side


def test_a_store_has_one_writer_at_a_time(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store:
        writer = store.writer(durability="none")
        assert writer is store.writer()
        with pytest.raises(ValueError, match="has a writer already; it cannot take another level"):
            store.writer(level=1)
        writer.close()
        writer.close()
        with pytest.raises(ValueError, match="the writer is closed"):
            writer.add("blob", b"")
        assert writer is not store.writer(level=1)
        with pytest.raises(ValueError, match="is not none, page or journal"):
            PageStore.open(objects_dir(repo)).writer(durability="very")


def test_closing_the_store_seals(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store:
        store.writer().add("blob", b"one")
    assert 1 == len(all_objects(repo))
    assert {} == left_behind(repo)


def test_a_store_that_travels_leaves_its_writer_behind(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store:
        oid = store.writer().add("blob", b"one")
        with pickle.loads(pickle.dumps(store)) as other:
            assert oid not in other
            other.writer().add("blob", b"two")
        assert oid in store
    assert 2 == len(all_objects(repo))


def test_a_new_alternate_does_not_disturb_the_writer(tmp_path: Path, repo: Path) -> None:
    lender = init_server(tmp_path / "lender")
    add_pack(lender, [Whole(kind="blob", content=b"lent")])
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        waiting, sealed = writer.add("blob", b"waits"), add_commit(writer, b"one")
        waiting = writer.add("blob", b"waits on")
        (objects_dir(repo) / "info" / "alternates").write_text(f"{objects_dir(lender)}\n")
        store.refresh()
        assert waiting in store
        assert sealed in store
        writer.add("blob", b"lent")
        assert 5 == writer.stats().object_count
        assert ("blob", b"waits on") == store.read(waiting)


def test_the_journal_is_the_common_directory_s(tmp_path: Path) -> None:
    main, worktree = worktree_repo(tmp_path)
    with PageStore.for_repository(worktree) as store, store.writer() as writer:
        add_commit(writer, b"one")
        assert 1 == len(journals(main))


def test_an_object_directory_without_a_repository(tmp_path: Path) -> None:
    (tmp_path / "lonely" / "objects" / "pack").mkdir(parents=True)
    with PageStore.open(tmp_path / "lonely" / "objects", object_format="sha1") as store:
        oid = store.writer().add("blob", b"one")
        assert (tmp_path / "lonely" / "gpa" / "journal").is_dir()
    with PageStore.open(tmp_path / "lonely" / "objects", object_format="sha1") as store:
        assert ("blob", b"one") == store.read(oid)


def test_the_writer_needs_no_descriptor_for_each_page(repo: Path) -> None:
    with writing(repo) as writer:
        for number in range(2):
            add_commit(writer, b"first %d" % number)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(50):
            add_commit(writer, b"%d" % number)
        assert before == len(os.listdir("/proc/self/fd"))


def test_kinds_of_the_oracle_and_ours_agree(repo: Path) -> None:
    kinds: list[Kind] = ["commit", "tree", "blob", "tag"]
    assert "sha1" == object_format(repo)
    with writing(repo) as writer:
        assert [oid_hex(kind, b"") for kind in kinds] == [writer.add(kind, b"", check=False).hex() for kind in kinds]
