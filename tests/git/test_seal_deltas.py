"""Deltas in pages that a writer seals: every reader gets what was added, and they are worth it and not too deep."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pygit2
import pytest
from dulwich.object_store import DiskObjectStore
from histories import init_server
from oracle import ObjectFormat, PackedObject, all_objects, fsck, git, objects_dir, pack_dir, packed_objects, packs
from running import gpa
from writing import assert_ends_well, assert_indexed_as_git_would, commit_text, forked, left_behind, tree_text

from gpa_maint import PageStore
from gpa_maint.store.writer import Writer

MIB = 1 << 20
Objects = dict[bytes, tuple[str, bytes]]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return init_server(tmp_path / "server")


def versions(count: int, size: int = 4000, seed: int = 1) -> list[bytes]:
    """A text that changes in a few places from one to the next."""
    rng = random.Random(seed)
    lines = [b"%d %s\n" % (number, rng.randbytes(20).hex().encode()) for number in range(max(1, size // 44))]
    found = []
    for number in range(count):
        lines[rng.randrange(len(lines))] = b"%d %s\n" % (number, rng.randbytes(rng.randrange(1, 30)).hex().encode())
        found.append(b"".join(lines))
    return found


def edit(writer: Writer, count: int = 40, names: int = 3, size: int = 4000) -> Objects:
    """`count` commits, each of one changed document in a folder of a few; gives every object."""
    objects: Objects = {}

    def add(kind: str, data: bytes) -> bytes:
        oid = writer.add(kind, data)
        objects[oid] = (kind, data)
        return oid

    texts = [versions(count, size, seed) for seed in range(names)]
    there, parents = {f"document-{name}.json": add("blob", texts[name][0]) for name in range(names)}, ()
    for number in range(count):
        name = number % names
        there[f"document-{name}.json"] = add("blob", texts[name][number])
        folder = add("tree", tree_text(there))
        root = add("tree", b"40000 folder\0" + folder + tree_text({"readme": add("blob", b"short")}))
        parents = (add("commit", commit_text(root, *parents)),)
    return objects


def write(repo: Path, objects: Iterable[tuple[str, bytes]], **options: Any) -> Objects:
    """In a batch, with deltas unless the options say otherwise."""
    with PageStore.open(objects_dir(repo)) as store, store.writer(**{"deltas": True} | options).batch() as writer:
        return {writer.add(kind, data, check=False): (kind, data) for kind, data in objects}


def entries(repo: Path) -> dict[str, PackedObject]:
    """Each object by its id, as `git verify-pack` sees it."""
    return {entry.oid: entry for name in packs(repo) for entry in packed_objects(repo, name)}


def delta_count(repo: Path) -> int:
    return sum(entry.depth > 0 for entry in entries(repo).values())


def assert_everybody_reads(repo: Path, objects: Objects) -> None:
    with PageStore.open(objects_dir(repo), verify=True) as store:
        assert list(objects.values()) == store.read_many(objects)
        assert all((kind, len(data)) == store.info(oid) for oid, (kind, data) in objects.items())
    expected = {oid.hex(): (kind, len(data), hashlib.sha256(data).hexdigest()) for oid, (kind, data) in objects.items()}
    assert expected == all_objects(repo)
    if all(len(oid) == 20 for oid in objects):
        odb, dulwich = pygit2.Repository(str(repo)).odb, DiskObjectStore(str(objects_dir(repo)))
        numbers = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
        for oid, (kind, data) in objects.items():
            assert (numbers[kind], data) == odb.read(pygit2.Oid(raw=oid))
            assert (numbers[kind], data) == dulwich.get_raw(oid.hex().encode())
        dulwich.close()
    fsck(repo)


# -- What is in the pages


@pytest.mark.parametrize("depth", [1, 3, 20])
def test_every_reader_gets_what_was_added(tmp_path: Path, object_format: ObjectFormat, depth: int) -> None:
    repo = init_server(tmp_path / "server", object_format=object_format)
    git(repo, "config", "gpa.depth", str(depth))
    with PageStore.open(objects_dir(repo), verify=True) as store, store.writer(deltas=True, page_objects=150) as writer:
        with writer.batch():
            objects = edit(writer, count=100)
            assert list(objects.values()) == store.read_many(objects)
        assert list(objects.values()) == store.read_many(objects)
    assert_everybody_reads(repo, objects)
    found = entries(repo)
    assert objects.keys() == {bytes.fromhex(oid) for oid in found}
    assert depth == max(entry.depth for entry in found.values())
    assert {"tree", "blob"} == {entry.kind for entry in found.values() if entry.depth}
    assert_indexed_as_git_would(repo, tmp_path)
    assert {} == left_behind(repo)


def test_versions_take_a_fraction_and_each_delta_saves_a_third_nearly(tmp_path: Path) -> None:
    plain, small = init_server(tmp_path / "plain"), init_server(tmp_path / "small")
    for repo, deltas in ((plain, False), (small, True)):
        with PageStore.open(objects_dir(repo)) as store, store.writer(deltas=deltas) as writer, writer.batch():
            edit(writer, count=200)
    before, after = entries(plain), entries(small)
    assert before.keys() == after.keys()
    assert 0 == sum(entry.depth for entry in before.values())
    assert 4 * sum(entry.packed_size for entry in after.values()) < sum(entry.packed_size for entry in before.values())
    for oid, entry in after.items():
        assert (
            entry.packed_size == before[oid].packed_size
            if not entry.depth
            else entry.packed_size <= 0.7 * before[oid].packed_size
        )


def test_types_stand_in_git_s_order_and_the_newest_is_whole(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store, store.writer(deltas=True) as writer, writer.batch():
        objects = edit(writer)
    found = entries(repo)
    kinds = [entry.kind for entry in sorted(found.values(), key=lambda entry: entry.offset)]
    assert kinds == sorted(kinds, key=["commit", "tag", "tree", "blob"].index)
    newest = {kind: oid for oid, (kind, _) in objects.items()}
    assert 0 == found[newest["tree"].hex()].depth == found[newest["blob"].hex()].depth


def test_blobs_without_names_are_tried_by_size(repo: Path) -> None:
    objects = write(repo, [("blob", data) for data in versions(100)])
    assert 90 < delta_count(repo)
    assert_everybody_reads(repo, objects)


def test_a_page_that_is_in_the_journal_alone_has_deltas_too(repo: Path) -> None:
    """Only the last 4 MiB of entries are in memory."""
    rng = random.Random(7)
    noise = [rng.randbytes(MIB) for _ in range(3)]
    objects = write(repo, [("blob", b"%d" % turn + data) for turn in range(3) for data in noise])
    assert 6 == delta_count(repo)
    assert sum(path.stat().st_size for path in pack_dir(repo).glob("*.pack")) < 4 * MIB
    assert_everybody_reads(repo, objects)


# -- Where there is nothing to gain, or nothing to be done

CASES: dict[str, tuple[list[bytes], bool]] = {
    "equal bytes": ([b"\7" * (1000 + number) for number in range(60)], False),
    "equal bytes, many": ([b"\7" * (MIB + number) for number in range(12)], True),
    "random": ([random.Random(number).randbytes(2000) for number in range(60)], False),
    "random, of one beginning": ([bytes(500) + random.Random(number).randbytes(2000) for number in range(60)], False),
    "tiny": ([b"%d" % number for number in range(60)], False),
    "empty": ([b""], False),
    "of one size": ([random.Random(1).randbytes(600) + b"%04d" % number for number in range(60)], True),
    "growing": ([random.Random(1).randbytes(50 * number) for number in range(60)], True),
    "beyond 64 KiB": ([random.Random(1).randbytes(300_000) + b"%d" % number for number in range(5)], True),
    "too large": ([random.Random(1).randbytes(8 * MIB) + b"%d" % number for number in range(2)], False),
    "alike after many that are not": (
        [random.Random(number).randbytes(3000) for number in range(100)] + versions(300, 2500),
        True,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_any_blobs_come_out_again(repo: Path, case: str) -> None:
    contents, pays = CASES[case]
    objects = write(repo, [("blob", data) for data in contents])
    assert pays == (delta_count(repo) > 0)
    assert_everybody_reads(repo, objects)


def test_trees_that_are_none_disturb_nobody(repo: Path) -> None:
    blob = bytes.fromhex("ce013625030ba8dba906f756967f9e9ca394464a")
    broken = [b"", b"100644", b"100644 ", b"100644 name\0", b"100644 name\0" + blob[:19], b" \0" + blob, b"\0" * 200]
    broken += [tree_text({"a" * 300: blob}) + b"100644 cut" * number for number in range(1, 20)]
    objects = write(repo, [("blob", b"hello\n"), *(("tree", data) for data in broken)])
    with PageStore.open(objects_dir(repo), verify=True) as store:
        assert list(objects.values()) == store.read_many(objects)


@pytest.mark.parametrize("level", [0, 1, 9])
def test_levels_are_zlib_s_for_deltas_too(repo: Path, level: int) -> None:
    objects = write(repo, [("blob", data) for data in versions(20)], level=level)
    assert 15 < delta_count(repo)
    assert_everybody_reads(repo, objects)


# -- When they are made


@pytest.mark.parametrize(("setting", "option", "expected"), [(None, None, 0), ("true", None, 1), ("true", False, 0)])
def test_there_are_none_unless_they_are_asked_for(
    repo: Path, setting: str | None, option: bool | None, expected: int
) -> None:
    if setting:
        git(repo, "config", "gpa.sealDeltas", setting)
    write(repo, [("blob", data) for data in versions(2)], deltas=option)
    assert expected == delta_count(repo)


def test_commits_that_are_sealed_one_by_one_are_whole(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store, store.writer(deltas=True, durability="none") as writer:
        edit(writer, count=10, names=1)
    assert 10 == len(packs(repo))
    fsck(repo)


def test_what_a_dead_writer_left_may_become_deltas(repo: Path) -> None:
    contents = versions(30)

    def work() -> None:
        writer = PageStore.open(objects_dir(repo)).writer()
        for data in contents:
            writer.add("blob", data)
        os._exit(0)

    assert_ends_well(forked(work))
    with PageStore.open(objects_dir(repo)) as store, store.writer(deltas=True) as writer:
        assert [30] == [found.objects for found in writer.recovered]
        assert sorted(contents) == sorted(data for _, data in store.read_many(list(store)))
    assert 20 < delta_count(repo)
    fsck(repo)


def test_maintenance_merges_such_pages_as_they_are(repo: Path) -> None:
    with PageStore.open(objects_dir(repo)) as store, store.writer(deltas=True, page_objects=100).batch() as writer:
        objects = edit(writer, count=100)
    before = sum(entry.packed_size for entry in entries(repo).values())
    gpa(repo, "repack", "--batch-size=0")
    gpa(repo, "expire", "--grace=now")
    assert 1 == len(packs(repo))
    assert sum(entry.packed_size for entry in entries(repo).values()) <= 1.02 * before
    assert_everybody_reads(repo, objects)
