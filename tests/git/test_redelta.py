"""`git gpa repack` where sources have whole what is much like an object of another source: csrc/merge/find_deltas.c."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from histories import init_server, set_pack_mtimes
from oracle import all_objects, content_digest, git, pack_dir, packed_objects, packs
from packwriter import Whole, add_pack, oid_hex
from running import assert_sound, gpa, gpa_any, gpa_json

ALIKE = 200


def versions(count: int, *, seed: str = "a file") -> list[bytes]:
    """Each differs from the one before in three of sixty lines."""
    rng = random.Random(seed)
    lines = [rng.randbytes(20).hex().encode() for _ in range(60)]
    found = []
    for _ in range(count):
        for place in rng.sample(range(60), 3):
            lines[place] = rng.randbytes(20).hex().encode()
        found.append(b"\n".join(lines))
    return found


def whole_packs(root: Path, contents: list[bytes], *, index_version: int = 2) -> Path:
    """Ten packs without a delta."""
    repo = init_server(root, index_version=1 if index_version == 1 else 2)
    names = []
    for number in range(10):
        entries = [Whole(kind="blob", content=content) for content in contents[number::10]]
        names.append(add_pack(repo, entries, index_version=1 if index_version == 1 else 2))
    set_pack_mtimes(repo, names)
    return repo


def pack_bytes(repo: Path) -> int:
    return sum(path.stat().st_size for path in pack_dir(repo).glob("*.pack"))


def depths(repo: Path) -> list[int]:
    return [entry.depth for name in packs(repo) for entry in packed_objects(repo, name)]


def merge(repo: Path, *options: str) -> None:
    gpa(repo, "repack", *options)
    gpa(repo, "expire", "--grace=now")


def test_whole_objects_that_are_alike_become_deltas(tmp_path: Path) -> None:
    repo = whole_packs(tmp_path / "server", versions(ALIKE))
    digest, before = content_digest(repo), pack_bytes(repo)
    merge(repo)
    assert pack_bytes(repo) < before / 2
    assert max(depths(repo)) <= 50
    assert_sound(repo, digest)


def test_trees_that_are_alike_become_deltas(tmp_path: Path) -> None:
    rng = random.Random("trees")
    repo = init_server(tmp_path / "server")
    oids = [bytes.fromhex(oid_hex("blob", b"%d" % number)) for number in range(40)]
    add_pack(repo, [Whole(kind="blob", content=b"%d" % number) for number in range(40)])
    for _ in range(ALIKE):
        entries = [b"100644 file-%02d\0" % place + oid for place, oid in enumerate(oids)]
        oids[rng.randrange(40)] = rng.choice(oids)
        add_pack(repo, [Whole(kind="tree", content=b"".join(entries))])
    digest = content_digest(repo)
    merge(repo)
    assert sum(depth > 0 for depth in depths(repo)) > ALIKE / 2
    assert_sound(repo, digest)


def test_the_same_packs_give_the_same_page(tmp_path: Path) -> None:
    repos = [whole_packs(tmp_path / name, versions(ALIKE)) for name in ("one", "other")]
    for repo in repos:
        merge(repo)
    assert packs(repos[0]).keys() == packs(repos[1]).keys()


def test_what_is_merged_again_is_copied(tmp_path: Path) -> None:
    repo = whole_packs(tmp_path / "server", versions(ALIKE))
    merge(repo)
    before = sorted(depths(repo))
    add_pack(repo, [Whole(kind="blob", content=b"another")])
    digest = content_digest(repo)
    merge(repo)
    assert sorted([0, *before]) == sorted(depths(repo))
    assert_sound(repo, digest)


@pytest.mark.parametrize("depth", [1, 7])
def test_no_chain_grows_longer_than_gpa_depth(tmp_path: Path, depth: int) -> None:
    repo = whole_packs(tmp_path / "server", versions(ALIKE))
    git(repo, "config", "gpa.depth", str(depth))
    digest = content_digest(repo)
    merge(repo)
    assert depth == max(depths(repo))
    assert_sound(repo, digest)


def test_families_stay_small_enough_for_a_page(tmp_path: Path) -> None:
    repo = whole_packs(tmp_path / "server", versions(ALIKE))
    digest = content_digest(repo)
    answer = gpa_json(repo, "repack", "--page-objects=30")
    gpa(repo, "expire", "--grace=now")
    assert [30] * 6 + [20] == sorted((page["object_count"] for page in answer["pages"]), reverse=True)
    assert max(depths(repo)) > 0
    assert_sound(repo, digest)


def test_objects_that_are_not_alike_are_copied(tmp_path: Path) -> None:
    contents = [random.Random(number).randbytes(1000).hex().encode() for number in range(ALIKE)]
    repo = whole_packs(tmp_path / "server", contents)
    digest = content_digest(repo)
    merge(repo)
    assert {0} == set(depths(repo))
    assert_sound(repo, digest)


def test_a_source_without_crc_gives_no_base(tmp_path: Path) -> None:
    """I13: what deltas are made of was checked."""
    repo = whole_packs(tmp_path / "server", versions(ALIKE), index_version=1)
    digest = content_digest(repo)
    merge(repo)
    assert {0} == set(depths(repo))
    assert_sound(repo, digest)


def test_a_damaged_object_is_no_base_and_is_left_where_it_is(tmp_path: Path) -> None:
    repo = whole_packs(tmp_path / "server", versions(ALIKE))
    name = next(iter(packs(repo)))
    path = pack_dir(repo) / f"{name}.pack"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    damaged = packed_objects(repo, name)[5]
    before = {oid: fields for oid, fields in all_objects(repo).items() if oid != damaged.oid}
    data[damaged.offset + damaged.packed_size - 6] ^= 0xFF
    path.write_bytes(data)
    done = gpa_any(repo, "repack")
    assert 1 == done.returncode
    assert f"error: left out object {damaged.oid} of '{name}.pack'" in done.stderr
    gpa(repo, "expire", "--grace=now")
    assert {name} < packs(repo).keys()
    for oid, (kind, _size, _digest) in before.items():
        git(repo, "cat-file", kind, oid)
