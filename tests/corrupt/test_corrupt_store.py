"""PageStore over damaged files: another copy is used where there is one, else the error names the file."""

from __future__ import annotations

import os
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import damage as d
import pytest
from histories import HistorySpec, big_object_repo, init_server, pushed_history
from oracle import PackedObject, all_objects, git, git_line, midx_winners, objects_dir, pack_dir, packed_objects, packs
from packwriter import Whole, add_pack, oid_hex

from gpa_maint import PageStore
from gpa_maint.errors import Corrupt, GpaError, ObjectMissing


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pushes; not to be changed."""
    return pushed_history(tmp_path_factory.mktemp("pushed"), HistorySpec(pushes=5, files=8)).server


@pytest.fixture
def repo(pushed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pushed, tmp_path / "server"))


@pytest.fixture
def doubled(repo: Path) -> Path:
    """Every object twice, in a small pack that the index names as winner and in a large one."""
    small = packs(repo)
    for name in small:
        (pack_dir(repo) / f"{name}.keep").touch()
    git(repo, "repack", "-q", "-a", "-d", "-k", "--no-write-bitmap-index", "--pack-kept-objects")
    for name in small:
        (pack_dir(repo) / f"{name}.keep").unlink()
        os.utime(pack_dir(repo) / f"{name}.pack")
    (large,) = packs(repo).keys() - small.keys()
    os.utime(pack_dir(repo) / f"{large}.pack", (1, 1))
    git(repo, "multi-pack-index", "write")
    assert large not in {pack for pack, _ in midx_winners(repo).values()}
    return repo


def small_packs(repo: Path) -> list[Path]:
    return sorted(pack_dir(repo).glob("*.pack"), key=lambda path: path.stat().st_size)[:-1]


def only_here(repo: Path, pack: Path) -> list[PackedObject]:
    """What no other pack holds."""
    others = {entry.oid for name in packs(repo) if name != pack.stem for entry in packed_objects(repo, name)}
    return [entry for entry in packed_objects(repo, pack.stem) if entry.oid not in others]


def assert_all_there(repo: Path, expected: dict[str, tuple[str, int, str]], **options: bool) -> None:
    with PageStore.open(objects_dir(repo), **options) as store:
        for oid, (kind, size, _digest) in expected.items():
            assert oid in store
            assert (kind, size) == store.info(oid)
            found_kind, content = store.read(oid)
            assert (kind, oid) == (found_kind, oid_hex(kind, content))  # type: ignore[arg-type]
            with store.stream(oid) as stream:
                assert content == stream.read()
        assert len(expected) == len(store.read_many(expected))


# What makes a whole pack unusable, whatever its objects are.
PACK_DAMAGES: dict[str, d.Damage] = {
    "empty": d.truncated(0),
    "only a header": d.truncated(12),
    "cut by one byte": d.truncated(-1),
    "cut in the middle": lambda data: data[: len(data) // 2],
    "signature": d.flipped(0),
    "version 4": d.number(4, 4),
    "one object too many": lambda data: d.number(8, d.number_at(data, 8) + 1)(data),
    "trailer": d.flipped(-1),
    "longer": lambda data: data + b"x",
}

IDX_DAMAGES: dict[str, d.Damage] = {
    "empty": d.truncated(0),
    "cut within the fanout": d.truncated(500),
    "cut by one byte": d.truncated(-1),
    "version 3": d.number(4, 3),
    "fanout goes down": d.number(8 + 4 * 0x80, 0xFFFF),
    "a trailer of another pack": d.flipped(-21),
    "large offset without a row": d.idx_offset_set(0, 1 << 31 | 5),
    "offset beyond the pack": d.idx_offset_set(0, 1 << 30),
    "offset in the header": d.idx_offset_set(0, 5),
}

MIDX_DAMAGES: dict[str, d.Damage] = {
    "empty": d.truncated(0),
    "cut in the middle": lambda data: data[: len(data) // 2],
    "signature": d.flipped(0),
    "version 2": d.flipped(4, 3),
    "hash": d.flipped(5, 3),
    "names out of order": d.midx_swapped_names,
    "a name that is a path": d.midx_in_chunk(b"PNAM", 0, b"../x"),
    "no offsets": d.midx_renamed_chunk(b"OOFF", b"XXXX"),
    "fanout goes down": d.midx_in_chunk(b"OIDF", 4 * 0x80, b"\xff\xff\xff\xff"),
    "a pack that is not named": d.midx_in_chunk(b"OOFF", 0, b"\x00\x00\x70\x00"),
    "an offset beyond the pack": d.midx_in_chunk(b"OOFF", 4, b"\x40\x00\x00\x00"),
}


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "plain"])
@pytest.mark.parametrize("damage", PACK_DAMAGES.values(), ids=PACK_DAMAGES.keys())
def test_a_damaged_pack_is_passed_over(doubled: Path, damage: d.Damage, indexed: bool) -> None:
    expected = all_objects(doubled)
    if not indexed:
        (pack_dir(doubled) / "multi-pack-index").unlink()
    for pack in small_packs(doubled):
        d.rewrite(pack, damage)
    assert_all_there(doubled, expected)


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "plain"])
@pytest.mark.parametrize("damage", IDX_DAMAGES.values(), ids=IDX_DAMAGES.keys())
def test_a_damaged_idx_is_passed_over(doubled: Path, damage: d.Damage, indexed: bool) -> None:
    expected = all_objects(doubled)
    if not indexed:
        (pack_dir(doubled) / "multi-pack-index").unlink()
    for pack in small_packs(doubled):
        d.rewrite(pack.with_suffix(".idx"), damage)
    assert_all_there(doubled, expected)


@pytest.mark.parametrize("damage", MIDX_DAMAGES.values(), ids=MIDX_DAMAGES.keys())
def test_a_damaged_index_is_passed_over(doubled: Path, damage: d.Damage) -> None:
    expected = all_objects(doubled)
    d.rewrite(pack_dir(doubled) / "multi-pack-index", damage)
    assert_all_there(doubled, expected)


def test_a_wrong_offset_in_the_index_is_found_out_by_the_hash(doubled: Path) -> None:
    """Two objects of one pack change places: only the id tells."""
    expected = all_objects(doubled)

    def swapped(data: bytes) -> bytes:
        begin, _end = d.midx_chunk(data, b"OOFF")
        rows = [data[at : at + 8] for at in range(begin, begin + 8 * len(expected), 8)]
        one, two = next((i, j) for i in range(len(rows)) for j in range(i) if rows[i][:4] == rows[j][:4])
        rows[one], rows[two] = rows[two], rows[one]
        return data[:begin] + b"".join(rows) + data[begin + 8 * len(expected) :]

    d.rewrite(pack_dir(doubled) / "multi-pack-index", swapped)
    with PageStore.open(objects_dir(doubled), verify=True) as store:
        for oid, (kind, _size, _digest) in expected.items():
            assert oid == oid_hex(kind, store.read(oid)[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("verify", [True, False])
def test_a_damaged_entry_is_read_from_another_pack(doubled: Path, verify: bool) -> None:
    expected = all_objects(doubled)
    for pack in small_packs(doubled):
        middle = packed_objects(doubled, pack.stem)[len(packed_objects(doubled, pack.stem)) // 2]
        d.rewrite(pack, d.flipped(middle.offset + middle.packed_size - 1))  # within the stream's checksum
    assert_all_there(doubled, expected, verify=verify)


def test_without_another_copy_the_pack_is_named(repo: Path) -> None:
    pack = small_packs(repo)[0]
    entry = only_here(repo, pack)[-1]
    d.rewrite(pack, d.flipped(entry.offset + entry.packed_size - 1))
    for index in (False, True):
        if index:
            git(repo, "multi-pack-index", "write")
        with PageStore.open(objects_dir(repo)) as store:
            for ask in (store.read, lambda oid, ask=store.read_many: ask([oid])):
                with pytest.raises(Corrupt, match=r"does not inflate to \d+ bytes") as caught:
                    ask(entry.oid)
                assert (str(pack), entry.offset) == (caught.value.path, caught.value.offset)
            assert entry.oid in store


def test_a_pack_that_does_not_fit_its_idx_is_named(repo: Path) -> None:
    pack = small_packs(repo)[0]
    oid = only_here(repo, pack)[0].oid
    d.rewrite(pack, d.flipped(-1))
    with PageStore.open(objects_dir(repo)) as store:
        for ask in (store.read, store.info, store.stream, lambda oid: store.info_many([oid])):
            with pytest.raises(Corrupt, match="pack trailer is not the one its idx names") as caught:
                ask(oid)
            assert str(pack) == caught.value.path
        assert oid not in store
        assert [bytes.fromhex(oid)] == store.missing([oid])


def test_what_an_unreadable_idx_may_hold_is_not_called_missing(repo: Path) -> None:
    pack = small_packs(repo)[0]
    oid = only_here(repo, pack)[0].oid
    d.rewrite(pack.with_suffix(".idx"), d.truncated(500))
    with PageStore.open(objects_dir(repo)) as store:
        for ask in (store.read, store.info, store.stream, lambda oid: store.info_many([oid])):
            with pytest.raises(Corrupt, match="too short for a header") as caught:
                ask(oid)
            assert str(pack.with_suffix(".idx")) == caught.value.path
        assert oid not in store
        assert [bytes.fromhex(oid)] == store.missing([oid])


def test_a_pack_that_was_repaired_is_read_after_the_next_change(repo: Path) -> None:
    pack = small_packs(repo)[0]
    oid = only_here(repo, pack)[0].oid
    good = pack.read_bytes()
    d.rewrite(pack, d.flipped(-1))
    with PageStore.open(objects_dir(repo)) as store:
        with pytest.raises(Corrupt):
            store.read(oid)
        pack.unlink()
        pack.write_bytes(good)
        assert store.read(oid)
        assert oid in store


LOOSE_DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (d.truncated(0), "names no type"),
    "no zlib stream": (lambda data: b"this is no zlib stream", "not a zlib stream"),
    "cut by one byte": (d.truncated(-1), "does not inflate"),
    "garbage behind": (lambda data: data + b"x", "garbage after the loose object"),
    "unknown type": (lambda data: zlib.compress(b"blub 3\0abc"), "names no type"),
    "another size": (lambda data: zlib.compress(b"blob 4\0abc"), "does not inflate"),
}


@pytest.mark.parametrize("row", LOOSE_DAMAGES.values(), ids=LOOSE_DAMAGES.keys())
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_damaged_loose_object_is_named(
    repo: Path, tmp_path: Path, row: tuple[Callable[[bytes], bytes], str], size: int
) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "content").write_bytes(content)
    oid = git_line(repo, "hash-object", "-w", tmp_path / "content")
    path = objects_dir(repo) / oid[:2] / oid[2:]
    damage, says = row
    d.rewrite(path, damage)
    with PageStore.open(objects_dir(repo)) as store:
        with pytest.raises(Corrupt, match=says) as caught:
            store.read(oid)
        assert str(path) == caught.value.path
        with pytest.raises(Corrupt), store.stream(oid) as stream:
            stream.read()
        elsewhere = init_server(tmp_path / "elsewhere")
        name = add_pack(elsewhere, [Whole(kind="blob", content=content)])
        for suffix in (".pack", ".idx"):
            shutil.copy(pack_dir(elsewhere) / f"{name}{suffix}", pack_dir(repo))
        assert ("blob", content) == store.read(oid)


def test_a_loose_object_under_another_id_is_found_out(repo: Path) -> None:
    (one, two) = git(repo, "hash-object", "-w", "--stdin-paths", input=f"{repo}/config\n{repo}/HEAD\n").stdout.split()
    objects = objects_dir(repo)
    shutil.copy(objects / one[:2] / one[2:], objects / "copy")
    os.replace(objects / "copy", objects / two[:2] / two[2:])
    with PageStore.open(objects, verify=True) as store:
        with pytest.raises(Corrupt, match="has not the id it is stored under"):
            store.read(two)
        assert store.read(one)


def test_a_stream_tells_of_damage_before_its_end(tmp_path: Path) -> None:
    repo = big_object_repo(tmp_path, 1 << 20)
    oid = git_line(repo, "rev-parse", "HEAD:random.bin")
    (name,) = (name for name in packs(repo) if any(entry.oid == oid for entry in packed_objects(repo, name)))
    pack = pack_dir(repo) / f"{name}.pack"
    entry = next(entry for entry in packed_objects(repo, name) if entry.oid == oid)
    for verify in (False, True):
        with PageStore.open(objects_dir(repo), verify=verify) as store, store.stream(oid) as stream:
            assert stream.size == len(stream.read())
    d.rewrite(pack, d.flipped(entry.offset + entry.packed_size // 2))
    with PageStore.open(objects_dir(repo)) as store, store.stream(oid) as stream:
        assert stream.read(1000)
        with pytest.raises(Corrupt, match="zlib stream") as caught:
            stream.read()
        assert str(pack) == caught.value.path


def test_an_idx_that_is_a_folder_or_a_fifo_blocks_nobody(repo: Path) -> None:
    expected = all_objects(repo)
    one, two, three = small_packs(repo)[:3]
    d.make_fifo(one.with_suffix(".idx"))
    d.make_folder(two.with_suffix(".idx"))
    d.make_dangling(three.with_suffix(".idx"))
    gone = 0
    with PageStore.open(objects_dir(repo)) as store:
        for oid, (kind, size, _digest) in expected.items():
            try:
                assert (kind, size) == store.info(oid)
            except (ObjectMissing, Corrupt):
                gone += 1
    assert 0 < gone < len(expected)


def test_random_damage_never_crashes_and_never_lies(doubled: Path) -> None:
    """Any byte of any file, many times: what reads with `verify` is right, whatever else fails."""
    rng = random.Random(7)
    expected = all_objects(doubled)
    files = sorted(path for path in pack_dir(doubled).iterdir() if path.suffix in (".pack", ".idx", ""))
    oids = list(expected)
    for _ in range(150):
        path = rng.choice(files)
        saved = path.read_bytes()
        at, mask = rng.randrange(len(saved)), rng.randrange(1, 256)
        d.rewrite(path, d.flipped(at, mask))
        with PageStore.open(objects_dir(doubled), verify=True) as store:
            for oid in rng.sample(oids, 15):
                for ask in (store.info, store.read, store.__contains__):
                    try:
                        answer = ask(oid)
                    except GpaError:
                        continue
                    if ask == store.read:
                        assert oid == oid_hex(expected[oid][0], answer[1])  # type: ignore[arg-type, index]
            list(store)
        path.chmod(0o644)
        path.write_bytes(saved)
