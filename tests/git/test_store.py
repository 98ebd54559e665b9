"""PageStore reads what git reads: every object of every kind of repository, and nothing more."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from histories import (
    History,
    HistorySpec,
    alternates_repo,
    big_object_repo,
    cross_pack_duplicates_repo,
    cruft_pack_repo,
    delta_cycle_repo,
    init_server,
    kept_pack_repo,
    long_chain_repo,
    promisor_pack_repo,
    pushed_history,
    ref_delta_repo,
    send_push,
    v1_index_repo,
    worktree_repo,
)
from oracle import ObjectFormat, all_objects, git, git_line, objects_dir, pack_dir, packed_objects, packs
from packwriter import OfsDelta, Whole, add_pack, encode_delta, oid_hex
from running import gpa

from gpa_maint import PageStore, commands
from gpa_maint.errors import AmbiguousPrefix, GpaError, ObjectMissing
from gpa_maint.store.page_store import ObjectInfo

MISSING = "00112233445566778899aabbccddeeff00112233"

Shape = Callable[[Path, ObjectFormat], Path]


def assert_reads_all(store: PageStore, repo: Path) -> None:
    """Every object git has, with every way of asking; and no other."""
    expected = all_objects(repo)
    assert sorted(expected) == [oid.hex() for oid in store]
    assert len(expected) == len(store)
    for oid, (kind, size, digest) in expected.items():
        assert oid in store
        assert ObjectInfo(kind, size) == store.info(oid)
        read_kind, content = store.read(oid)
        assert (kind, size, digest) == (read_kind, len(content), hashlib.sha256(content).hexdigest())
        with store.stream(oid) as stream:
            assert (kind, size, content) == (stream.type, stream.size, stream.read())
    many = store.read_many(expected, threads=3)
    assert [store.read(oid) for oid in expected] == many


def assert_tells_of_many(store: PageStore, repo: Path) -> None:
    """Of those that are here and of others, with every first byte."""
    expected = all_objects(repo)
    absent = [bytes([first]).ljust(32 if store.object_format == "sha256" else 20, b"\x11") for first in range(256)]
    infos = [ObjectInfo(kind, size) for kind, size, _digest in expected.values()]
    assert [*infos, *[None] * 256] == store.info_many([*map(bytes.fromhex, expected), *absent])
    assert absent == store.missing([*absent, *map(bytes.fromhex, expected)])


def store_of(repo: Path, **options: int) -> PageStore:
    return PageStore.open(objects_dir(repo), **options)


# -- Shapes


def pushes(root: Path, object_format: ObjectFormat) -> Path:
    return pushed_history(root, HistorySpec(kind="tree", pushes=12, object_format=object_format)).server


def indexed(root: Path, object_format: ObjectFormat) -> Path:
    repo = pushes(root, object_format)
    git(repo, "multi-pack-index", "write")
    return repo


def half_indexed(root: Path, object_format: ObjectFormat) -> Path:
    """An index, then more pushes, then loose objects."""
    spec = HistorySpec(kind="tree", pushes=12, waiting=4, object_format=object_format)
    history = pushed_history(root, spec)
    git(history.server, "multi-pack-index", "write")
    for push in history.waiting:
        send_push(history.client, history.server, push)
    add_loose(history.server, 20)
    return history.server


def merged(root: Path, object_format: ObjectFormat) -> Path:
    repo = pushes(root, object_format)
    gpa(repo, "repack")
    gpa(repo, "expire", "--grace=now")
    return repo


def loose_only(root: Path, object_format: ObjectFormat) -> Path:
    repo = init_server(root / "server", object_format=object_format)
    add_loose(repo, 300)
    shutil.rmtree(pack_dir(repo))
    return repo


def empty(root: Path, object_format: ObjectFormat) -> Path:
    return init_server(root / "server", object_format=object_format)


def one_pack(root: Path, object_format: ObjectFormat) -> Path:
    repo = pushes(root, object_format)
    git(repo, "repack", "-q", "-a", "-d", "-f", "--depth=50", "--window=50")
    return repo


def version_3_pack(root: Path, object_format: ObjectFormat) -> Path:
    """Git reads version 3 as it reads version 2."""
    repo = init_server(root / "server", object_format=object_format)
    pack = pack_dir(repo) / f"{add_pack(repo, [Whole(kind='blob', content=b'three')])}.pack"
    data = bytearray(pack.read_bytes())
    data[7] = 3
    size = hashlib.new(object_format).digest_size
    data[-size:] = hashlib.new(object_format, data[:-size]).digest()
    pack.with_suffix(".idx").unlink()
    pack.unlink()
    pack.write_bytes(data)
    git(repo, "index-pack", pack)
    return repo


def borrower(root: Path, object_format: ObjectFormat) -> Path:
    repo, lender = alternates_repo(root, object_format=object_format)
    git(lender, "multi-pack-index", "write")
    add_loose(lender, 3)
    return repo


def add_loose(repo: Path, count: int) -> list[str]:
    """Blobs of different sizes."""
    contents = [b"%d\n" % number * number**2 for number in range(count)]
    folder = repo / "loose-sources"
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)
    paths = "".join(f"loose-sources/{number}\n" for number in range(count))
    oids = git(repo, "hash-object", "-w", "--stdin-paths", "--no-filters", input=paths).stdout.split()
    shutil.rmtree(folder)
    return oids


SHAPES: dict[str, Shape] = {
    "pushes": pushes,
    "indexed": indexed,
    "half indexed": half_indexed,
    "merged": merged,
    "loose only": loose_only,
    "empty": empty,
    "one pack": one_pack,
    "version 3": version_3_pack,
    "alternates": borrower,
    "idx v1": lambda root, fmt: v1_index_repo(root, object_format=fmt),
    "kept": lambda root, fmt: kept_pack_repo(root, object_format=fmt),
    "cruft": lambda root, fmt: cruft_pack_repo(root, object_format=fmt),
    "cycle": lambda root, fmt: delta_cycle_repo(root, object_format=fmt),
    "ref deltas": lambda root, fmt: ref_delta_repo(root, object_format=fmt),
    "copies": lambda root, fmt: cross_pack_duplicates_repo(root, object_format=fmt),
    "long chain": lambda root, fmt: long_chain_repo(root, 300, object_format=fmt),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_object_reads_as_git_reads_it(shape: Shape, tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = shape(tmp_path, object_format)
    with store_of(repo) as store:
        assert object_format == store.object_format
        assert_reads_all(store, repo)
        assert_tells_of_many(store, repo)
        assert MISSING.ljust(40 if object_format == "sha1" else 64, "0") not in store


@pytest.mark.parametrize("shape", [half_indexed, borrower, one_pack])
def test_every_object_has_its_id(shape: Shape, tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = shape(tmp_path, object_format)
    with store_of(repo, verify=True) as store:
        assert_reads_all(store, repo)


def test_promised_objects_are_missing_until_they_come(tmp_path: Path) -> None:
    repo = promisor_pack_repo(tmp_path)
    git(repo, "config", "remote.origin.url", "/nowhere")
    promised = [
        line[1:]
        for line in git(repo, "rev-list", "--objects", "--all", "--missing=print").stdout.splitlines()
        if line.startswith("?")
    ]
    with store_of(repo) as store:
        assert_reads_all(store, repo)
        assert promised and not any(oid in store for oid in promised)


def test_without_a_cache_and_with_one_map_everything_reads(tmp_path: Path) -> None:
    repo = half_indexed(tmp_path, "sha1")
    with store_of(repo, cache_bytes=0, map_bytes=1, map_count=1) as store:
        assert_reads_all(store, repo)
        assert 0 == store.stats().cache_bytes
        # one pack, and its idx where that is mapped
        assert store.stats().map_count <= 2


@pytest.mark.memory
def test_memory_stays_small_while_everything_is_read(tmp_path: Path) -> None:
    """A pack much larger than what may be resident of it."""
    repo = init_server(tmp_path / "server")
    pieces = b"".join(b"blob\ndata 100000\n%b\n" % os.urandom(100_000) for _ in range(1500))
    git(repo, "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", input=pieces)
    program = """
import resource, sys
from gpa_maint import PageStore
store = PageStore.open(sys.argv[1], cache_bytes=4 << 20, map_bytes=8 << 20)
oids = list(store)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for oid in oids:
    store.read(oid)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program, objects_dir(repo)], capture_output=True, check=True)
    assert int(done.stdout) < 40 << 10


def test_the_cache_keeps_to_its_bound(tmp_path: Path) -> None:
    repo = one_pack(tmp_path, "sha1")
    with store_of(repo, cache_bytes=100_000) as store:
        assert_reads_all(store, repo)
        assert 0 < store.stats().cache_bytes <= 100_000


def test_versions_read_one_after_the_other_are_one_delta_away_and_leave_the_cache_to_others(tmp_path: Path) -> None:
    repo = long_chain_repo(tmp_path, 40)
    (pack,) = packs(repo)
    versions = [entry.oid for entry in packed_objects(repo, pack) if entry.kind == "blob"]
    with store_of(repo) as store:
        store.read(versions[0])
        kept = store.stats().cache_bytes
        for oid in versions[1:]:
            store.read(oid)
        assert (kept, len(versions)) == (store.stats().cache_bytes, store.stats().cache_misses)


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_the_size_of_a_delta_is_the_same_however_it_is_compressed(tmp_path: Path, level: int) -> None:
    """Streams of all sizes: stored, with the fixed codes, and with codes of their own for few and for many symbols."""
    rng = random.Random(level)
    base = rng.randbytes(3000)
    contents = [
        base[: rng.randrange(2000)] + bytes(rng.choices(range(256)[:symbols], k=length)) + base[2000:]
        for length in (0, 1, 7, 30, 127, 500, 3000)
        for symbols in (1, 2, 60, 256)
    ]
    repo = init_server(tmp_path / "server")
    deltas = [OfsDelta(base_index=0, program=encode_delta(base, content), level=level) for content in contents]
    add_pack(repo, [Whole(kind="blob", content=base), *deltas])
    with store_of(repo) as store:
        for oid, (kind, size, _) in all_objects(repo).items():
            assert (kind, size) == store.info(oid)


def test_a_chain_of_four_thousand_deltas_reads(tmp_path: Path) -> None:
    repo = long_chain_repo(tmp_path, 4000)
    with store_of(repo, cache_bytes=0) as store:
        for oid, (kind, size, digest) in list(all_objects(repo).items())[::400]:
            assert (kind, size) == store.info(oid)
            assert digest == hashlib.sha256(store.read(oid)[1]).hexdigest()
    with store_of(repo) as store:
        for oid, (kind, size, digest) in all_objects(repo).items():
            assert (kind, size) == store.info(oid)
            assert digest == hashlib.sha256(store.read(oid)[1]).hexdigest()


def test_offsets_beyond_four_gib_read(tmp_path: Path) -> None:
    """A pack with a hole in it: one object before, one behind. Git makes the index, and reads it too."""
    repo = init_server(tmp_path / "server")
    name = add_pack(repo, [Whole(kind="blob", content=b"first"), Whole(kind="blob", content=b"second")])
    packed = pack_dir(repo) / f"{name}.pack"
    data = packed.read_bytes()
    first = 12
    second = data.index(b"\x36", first + 5)  # the header of a blob of six bytes
    far = (4 << 30) + 12345
    packed.chmod(0o644)
    with packed.open("r+b") as file:
        file.seek(far)
        file.write(data[second:])
    rewrite_offset(packed.with_suffix(".idx"), second, far)
    with store_of(repo) as store:
        assert ("blob", b"second") == store.read(oid_hex("blob", b"second"))
        assert ("blob", b"first") == store.read(oid_hex("blob", b"first"))
    git(repo, "multi-pack-index", "write")
    with store_of(repo) as store:
        assert ("blob", b"second") == store.read(oid_hex("blob", b"second"))


def rewrite_offset(idx: Path, old: int, new: int) -> None:
    """In an idx v2 of two objects, put `new` into the table of large offsets."""
    data = bytearray(idx.read_bytes())
    table = 8 + 1024 + 2 * 24
    rows = [int.from_bytes(data[table + 4 * row : table + 4 * row + 4], "big") for row in range(2)]
    at = table + 4 * rows.index(old)
    data[at : at + 4] = (1 << 31).to_bytes(4, "big")
    data[table + 8 : table + 8] = new.to_bytes(8, "big")
    data[-20:] = hashlib.sha1(data[:-20]).digest()
    idx.chmod(0o644)
    idx.write_bytes(data)


# -- Asking


@pytest.fixture
def history(tmp_path: Path) -> History:
    return pushed_history(tmp_path / "history", HistorySpec(pushes=6, waiting=6))


def test_ids_are_raw_bytes_or_hex(history: History) -> None:
    oid = git_line(history.server, "rev-parse", "HEAD")
    with PageStore.for_repository(history.server) as store:
        assert store.read(oid) == store.read(bytes.fromhex(oid)) == store.read(oid.upper())
        assert "commit" == store.info(oid).type
        for wrong in ("", "12", oid[:-1], oid + "00", b"123", bytes(32)):
            with pytest.raises(ValueError):
                store.read(wrong)
            with pytest.raises(ValueError):
                _ = wrong in store


def test_a_miss_is_said_by_every_way_of_asking(history: History) -> None:
    oid = git_line(history.server, "rev-parse", "HEAD")
    with PageStore.for_repository(history.server) as store:
        assert MISSING not in store
        for ask in (store.info, store.read, store.stream, store.expand_prefix, lambda one: store.read_many([oid, one])):
            with pytest.raises(ObjectMissing, match=MISSING) as caught:
                ask(MISSING)
            assert isinstance(caught.value, KeyError)


def test_many_are_given_in_the_order_asked_for(history: History) -> None:
    with PageStore.for_repository(history.server) as store:
        oids = list(store)[::-1] * 2
        assert [store.read(oid) for oid in oids] == store.read_many(oids)
        assert [store.info(oid) for oid in oids] == store.info_many(oids)
        assert [MISSING, MISSING] == [oid.hex() for oid in store.missing([MISSING, *oids, MISSING])]
        assert [] == store.read_many([]) == store.info_many([]) == store.missing([])


def test_prefixes_are_expanded_as_git_expands_them(tmp_path: Path) -> None:
    repo = half_indexed(tmp_path, "sha1")
    blobs = add_loose(repo, 30)[20:]
    with store_of(repo) as store:
        oids = [oid.hex() for oid in store]
        for oid in [*oids[::17], *blobs]:
            for digits in (*range(4, 12), 39, 40):
                matching = [bytes.fromhex(one) for one in oids if one.startswith(oid[:digits])]
                if len(matching) == 1:
                    assert matching[0] == store.expand_prefix(oid[:digits])
                    continue
                with pytest.raises(AmbiguousPrefix, match=f"short object ID {oid[:digits]} is ambiguous") as caught:
                    store.expand_prefix(oid[:digits])
                assert tuple(matching) == caught.value.candidates
        for wrong in ("", "abc", "x" * 8, "12 4", "0" * 41):
            with pytest.raises(ValueError):
                store.expand_prefix(wrong)


def test_many_candidates_are_the_first_ones(tmp_path: Path) -> None:
    """So many objects that each prefix of four digits is taken several times, in packs and loose."""
    repo = init_server(tmp_path / "server")
    contents = [b"%d" % number for number in range(200_000)]
    oids = sorted(oid_hex("blob", content) for content in contents)
    half = len(contents) // 2
    for part in (contents[:half], contents[half - 1000 :]):
        add_pack(repo, [Whole(kind="blob", content=content, level=0) for content in part])
    with store_of(repo) as store:
        for prefix in (oids[0][:4], oids[70_000][:4], oids[-1][:4]):
            with pytest.raises(AmbiguousPrefix) as caught:
                store.expand_prefix(prefix)
            assert tuple(bytes.fromhex(oid) for oid in oids if oid.startswith(prefix)) == caught.value.candidates
        assert len(oids) == len(store)


def test_a_worktree_leads_to_its_repository(tmp_path: Path) -> None:
    repo, worktree = worktree_repo(tmp_path)
    with PageStore.for_repository(worktree) as store:
        assert str(objects_dir(repo)) == store.path
        assert_reads_all(store, repo)


def test_a_stream_is_a_file(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    content = bytes(range(256)) * 4096
    (tmp_path / "large").write_bytes(content)
    oid = git_line(repo, "hash-object", "-w", tmp_path / "large")
    for _ in ("loose", "packed"):
        with store_of(repo) as store, store.stream(oid) as stream:
            assert ("blob", len(content), True) == (stream.type, stream.size, stream.readable())
            assert content[:10] == stream.read(10)
            assert 10 == stream.tell()
            assert content[10:300_010] == stream.read(300_000)
            assert content[300_010:] == stream.read()
            assert b"" == stream.read(1)
            with store.stream(oid) as again:
                assert content == io.BufferedReader(again, 1000).read()
        with pytest.raises(ValueError):
            stream.read(1)
        git(repo, "repack", "-q", "-a", "-d", "-k")


def test_a_stream_outlives_its_store(tmp_path: Path) -> None:
    repo = big_object_repo(tmp_path, 1 << 20)
    oid = git_line(repo, "rev-parse", "HEAD:repeated.txt")
    store = store_of(repo)
    content = store.read(oid)[1]
    with store.stream(oid) as stream:
        start = stream.read(1000)
        store.close()
        shutil.rmtree(pack_dir(repo))
        assert content == start + stream.read()


def test_a_large_blob_streams_in_constant_memory(tmp_path: Path) -> None:
    repo = big_object_repo(tmp_path, 100 << 20)
    program = """
import hashlib, resource, sys
from gpa_maint import PageStore
store = PageStore.for_repository(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for oid in sys.argv[2:]:
    digest = hashlib.sha256()
    with store.stream(oid) as stream:
        while piece := stream.read(1 << 16):
            digest.update(piece)
    print(digest.hexdigest())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    oids = [git_line(repo, "rev-parse", f"HEAD:{name}") for name in ("random.bin", "repeated.txt")]
    done = subprocess.run([sys.executable, "-c", program, repo, *oids], capture_output=True, text=True, check=True)
    *digests, growth_kib = done.stdout.split()
    expected = all_objects(repo)
    assert [expected[oid][2] for oid in oids] == digests
    assert int(growth_kib) < 16 << 10


@pytest.mark.parametrize("shape", [pushes, one_pack, half_indexed, borrower, SHAPES["ref deltas"], SHAPES["idx v1"]])
def test_where_an_object_lies_is_told_as_git_tells_it(
    shape: Shape, tmp_path: Path, object_format: ObjectFormat
) -> None:
    """An entry of that pack, and its base is the one that `git verify-pack` names."""
    repo = shape(tmp_path, object_format)
    folders = [folder for folder in tmp_path.rglob("pack") if folder.parent.name == "objects"]
    entries = {pack: entries_of(repo, pack) for folder in folders for pack in folder.glob("*.pack")}
    with store_of(repo) as store:
        for oid in store:
            place = store.locate(oid)
            if place is None:
                assert not any(oid.hex() in found for found in entries.values())
                continue
            offset, base = entries[Path(place.pack)][oid.hex()]
            base_offset = entries[Path(place.pack)][base][0] if base else 0
            assert (offset, base_offset) == (place.offset, place.base_offset)
        with pytest.raises(ObjectMissing):
            store.locate(bytes(len(oid)))


def entries_of(repo: Path, pack: Path) -> dict[str, tuple[int, str]]:
    """oid -> offset, and the oid of the delta base."""
    rows = [line.split() for line in git(repo, "verify-pack", "-v", pack).stdout.splitlines()]
    return {
        row[0]: (int(row[4]), row[6] if len(row) > 6 else "")
        for row in rows
        if len(row) > 4 and row[1] in ("commit", "tree", "blob", "tag")
    }


# -- Living with others


def test_new_packs_and_loose_objects_are_seen_without_being_told(history: History) -> None:
    with PageStore.for_repository(history.server) as store:
        assert_reads_all(store, history.server)
        for push in history.waiting[:3]:
            send_push(history.client, history.server, push)
            assert_reads_all(store, history.server)
        assert add_loose(history.server, 1)[0] in store
        git(history.server, "multi-pack-index", "write")
        assert_reads_all(store, history.server)
        git(history.server, "repack", "-q", "-a", "-d")
        assert_reads_all(store, history.server)
        assert not (pack_dir(history.server) / "multi-pack-index").exists()


def test_every_verb_may_run_beside_it(history: History) -> None:
    expected = all_objects(history.server)
    with PageStore.for_repository(history.server, map_count=1) as store:
        for verb in (commands.write, commands.repack, lambda repo: commands.expire(repo, grace_seconds=0)):
            verb(str(history.server))
            for oid, (kind, _size, digest) in expected.items():
                assert kind == store.info(oid).type
                assert digest == hashlib.sha256(store.read(oid)[1]).hexdigest()
            assert_reads_all(store, history.server)


def test_an_index_that_names_a_pack_that_is_gone_does_no_harm(history: History) -> None:
    """As git leaves it when it is killed: the objects are in a pack that the index names too."""
    repo = history.server
    git(repo, "multi-pack-index", "write")
    index = pack_dir(repo) / "multi-pack-index"
    everything = all_objects(repo)
    saved = index.read_bytes()
    old = [path for path in pack_dir(repo).glob("*") if path.suffix in (".pack", ".idx")]
    git(repo, "repack", "-q", "-a")
    git(repo, "multi-pack-index", "write")
    for path in old:
        path.unlink()
    for content in (index.read_bytes(), saved):
        index.unlink()
        index.write_bytes(content)
        with store_of(repo) as store:
            assert sorted(everything) == [oid.hex() for oid in store]
            for oid, (_kind, _size, digest) in everything.items():
                assert oid in store
                assert digest == hashlib.sha256(store.read(oid)[1]).hexdigest()


def test_misses_list_no_directory(history: History) -> None:
    with PageStore.for_repository(history.server) as store:
        missing = [os.urandom(20) for _ in range(2000)]
        assert not any(oid in store for oid in missing)
        before = store.stats().scan_count
        assert not any(oid in store for oid in missing)
        assert before == store.stats().scan_count


def test_a_miss_right_after_a_change_is_looked_at_again(tmp_path: Path) -> None:
    """Changes so fast after each other that the directory's time may stand still."""
    repo = init_server(tmp_path / "server")
    made = init_server(tmp_path / "made")
    names = [add_pack(made, [Whole(kind="blob", content=b"%d" % number)]) for number in range(100)]
    with store_of(repo) as store:
        for number, name in enumerate(names):
            oid = oid_hex("blob", b"%d" % number)
            assert oid not in store
            for suffix in (".pack", ".idx"):
                os.rename(pack_dir(made) / f"{name}{suffix}", pack_dir(repo) / f"{name}{suffix}")
            assert ("blob", b"%d" % number) == store.read(oid)


def test_a_pack_is_seen_when_its_second_file_comes(tmp_path: Path) -> None:
    """libgit2 makes the idx visible before the pack."""
    repo = init_server(tmp_path / "server")
    name = add_pack(repo, [Whole(kind="blob", content=b"here")])
    pack = pack_dir(repo) / f"{name}.pack"
    pack.rename(tmp_path / "away")
    with store_of(repo) as store:
        assert oid_hex("blob", b"here") not in store
        (tmp_path / "away").rename(pack)
        assert oid_hex("blob", b"here") in store


def test_alternates_may_be_named_beside_those_in_the_file(tmp_path: Path) -> None:
    """As GIT_ALTERNATE_OBJECT_DIRECTORIES does."""
    repo, _lender = alternates_repo(tmp_path)
    more = pushed_history(tmp_path / "more", HistorySpec(pushes=3, seed=5)).server
    head = git_line(more, "rev-parse", "HEAD")
    with PageStore.open(objects_dir(repo), alternates=[objects_dir(more)]) as store:
        store.refresh()
        with pickle.loads(pickle.dumps(store)) as other:
            for one in (store, other):
                assert {oid.hex() for oid in one} == all_objects(repo).keys() | all_objects(more).keys()
                assert "commit" == one.info(head).type


def test_alternates_are_read_as_git_reads_them(tmp_path: Path) -> None:
    """Quoted as in C, relative, with comments; a NUL ends the list."""
    names = ["a b", 'q"uote', "tab\t", "é", "back\\slash", "line\nfeed", "form\ffeed"]
    lenders = {name: objects_dir(init_server(tmp_path / name)) for name in names}
    borrower = init_server(tmp_path / "borrower")
    quoted = [rf'"{tmp_path}/{name}/objects"' for name in (r"q\"uote", r"tab\t", r"\303\251", r"line\nfeed")]
    plain = ["../../a b/objects", f"{tmp_path}/back\\slash/objects", f"{tmp_path}/form\ffeed/objects"]
    lines = [*plain, "# a comment", "", *quoted, '"not ended', "\0", "/behind"]
    (objects_dir(borrower) / "info/alternates").write_text("\n".join(lines))
    for name, objects in lenders.items():
        oid = git(objects.parent, "hash-object", "-w", "--stdin", input=name).stdout.strip()
        git(borrower, "cat-file", "-e", oid)
        with PageStore.open(objects_dir(borrower)) as store:
            assert oid in store


def test_alternates_are_looked_at_on_refresh(tmp_path: Path) -> None:
    history = pushed_history(tmp_path / "lender", HistorySpec(pushes=3))
    repo = init_server(tmp_path / "borrower")
    with store_of(repo) as store:
        head = git_line(history.server, "rev-parse", "HEAD")
        assert head not in store
        (objects_dir(repo) / "info/alternates").write_text(f"{objects_dir(history.server)}\n/nowhere\n")
        store.refresh()
        assert head in store
        assert_reads_all(store, repo)


def test_the_hash_is_known_whatever_packs_are_called(tmp_path: Path, object_format: ObjectFormat) -> None:
    """dulwich names them by a SHA-1 in any repository. With an idx of each version, and of no objects at all."""
    shapes: tuple[Shape, ...] = (pushes, SHAPES["idx v1"], loose_only, empty)
    for number, shape in enumerate(shapes):
        repo = shape(tmp_path / str(number), object_format)
        for path in pack_dir(repo).glob("pack-*.pack") if shape != loose_only else ():
            for suffix in (".pack", ".idx"):
                path.with_suffix(suffix).rename(path.with_name(path.stem[:45] + suffix))
        with store_of(repo) as store:
            assert object_format == store.object_format
            assert_reads_all(store, repo)


def test_an_idx_that_is_a_fifo_blocks_nobody(tmp_path: Path) -> None:
    repo = loose_only(tmp_path, "sha1")
    pack_dir(repo).mkdir()
    for suffix in (".pack", ".idx"):
        os.mkfifo(pack_dir(repo) / f"pack-{'0' * 40}{suffix}")
    with store_of(repo) as store:
        assert "sha1" == store.object_format
        assert_reads_all(store, repo)


def test_a_missing_object_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GpaError, match="does not exist"):
        PageStore.open(tmp_path / "nowhere")


def test_a_closed_store_says_so(history: History) -> None:
    store = PageStore.for_repository(history.server)
    oid = next(iter(store))
    store.close()
    store.close()
    for ask in (store.read, store.info, store.stream, store.__contains__):
        with pytest.raises(ValueError, match="closed"):
            ask(oid)


def test_a_store_is_pickled_as_its_path(history: History) -> None:
    with PageStore.for_repository(history.server, verify=True, cache_bytes=1000) as store:
        for other in (pickle.loads(pickle.dumps(store)), copy.copy(store)):
            assert (store.path, store.object_format) == (other.path, other.object_format)
            assert_reads_all(other, history.server)
            other.close()


def test_five_thousand_packs_need_no_descriptors(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    contents = [b"object %d\n" % number for number in range(5000)]
    script = "".join(f"blob\ndata {len(content)}\n{content.decode()}\ncheckpoint\n" for content in contents)
    git(repo, "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", "--force", input=script)
    assert 5000 == len(list(pack_dir(repo).glob("*.pack")))
    program = f"""
import sys
from gpa_maint import PageStore
store = PageStore.open(sys.argv[1], map_count=1000)
for number in range(5000):
    kind, content = store.read(sys.argv[2 + number])
    assert content == b"object %d\\n" % number
assert store.stats().map_count <= 1000, store.stats()
assert {MISSING!r} not in store
"""
    oids = [oid_hex("blob", content) for content in contents]

    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    for _ in ("plain", "indexed"):
        command = [sys.executable, "-c", program, objects_dir(repo), *oids]
        subprocess.run(command, check=True, preexec_fn=few_descriptors)
        git(repo, "multi-pack-index", "write")
