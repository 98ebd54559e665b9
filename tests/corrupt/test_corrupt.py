"""Each broken file is refused with a message that names it, and nothing else in the repository changes.

The tables are (what is damaged, how, what the message says). Files are damaged in a copy of a small history; the verbs
run through the Python API, and one row of each kind of file through the command line.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import damage as d
import make_corpus
import packwriter
import pytest
from histories import History, HistorySpec, cross_pack_duplicates_repo, init_server, pushed_history
from oracle import (
    PackedObject,
    all_objects,
    content_digest,
    fsck,
    git,
    midx_winners,
    pack_dir,
    packed_objects,
    packs,
    verify_midx,
)
from packwriter import (
    KIND_CODES,
    OFS_DELTA,
    REF_DELTA,
    Entry,
    OfsDelta,
    RefDelta,
    Whole,
    add_pack,
    copy_op,
    delta_size,
    encode_delta,
    entry_header,
    ofs_distance,
    oid_hex,
    pack_bytes,
)

from gpa_maint import commands
from gpa_maint._core._gpa import ffi, lib
from gpa_maint._core.base import check, new_error
from gpa_maint.errors import Corrupt, GpaError, Unsupported

SPEC = HistorySpec(pushes=5, files=8)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Five pushes; not to be changed."""
    return pushed_history(tmp_path_factory.mktemp("pushed"), SPEC)


@pytest.fixture(scope="module")
def indexed(pushed: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a combined index that git wrote; not to be changed."""
    repo = tmp_path_factory.mktemp("indexed") / "server"
    shutil.copytree(pushed.server, repo)
    git(repo, "multi-pack-index", "write")
    return repo


@dataclass(frozen=True, slots=True)
class Row:
    damage: d.Damage
    verb: str
    says: str
    error: type[GpaError] = Corrupt


def run_verb(verb: str, repo: Path) -> Any:
    return getattr(commands, verb)(str(repo))


def gpa(repo: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gpa_maint.cli.main", *words]
    return subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)


def assert_refused(repo: Path, path: Path, verb: str, says: str, error: type[GpaError]) -> None:
    before = d.photograph(repo)
    with pytest.raises(error) as caught:
        run_verb(verb, repo)
    assert says in str(caught.value)
    assert path.name in str(caught.value)
    assert before == d.photograph(repo)


def assert_left(repo: Path, path: Path, verb: str, says: str) -> None:
    """The file is named and stays as it is, and the verb does its work with the other packs."""
    state = path.lstat()
    content = path.read_bytes() if path.is_file() else b""
    result = run_verb(verb, repo)
    (line,) = result.complaints
    assert says in line and path.name in line
    assert (state.st_ino, state.st_mode, state.st_size) == (
        path.lstat().st_ino,
        path.lstat().st_mode,
        path.lstat().st_size,
    )
    assert content == (path.read_bytes() if path.is_file() else b"")
    if verb == "repack":
        assert SPEC.pushes - 1 == len(result.merged) and path.stem not in result.merged
    assert f"{path.stem}" not in {name for name, _ in midx_winners(repo).values()} or verb == "repack"


# -- idx files: `write` parses them and checks their order, `repack` checks all of them

IDX_ROWS = {
    "empty": Row(d.truncated(0), "write", "too short for a header"),
    "only a header": Row(d.truncated(8), "write", "too short for a header"),
    "cut within the fanout": Row(d.truncated(500), "write", "too short for a header"),
    "cut by one byte": Row(d.truncated(-1), "write", "expected"),
    "cut after the fanout": Row(d.truncated(1072), "write", "idx is 1072 bytes, expected"),
    "four bytes too many": Row(lambda data: data + bytes(4), "write", "expected"),
    "eight bytes for each object too many": Row(lambda data: data + bytes(8 * d.idx_count(data)), "write", "expected"),
    "magic": Row(d.flipped(0), "write", "fanout goes down at 0x01"),
    "version 3": Row(d.number(4, 3), "write", "idx version 3", Unsupported),
    "version 0": Row(d.number(4, 0), "write", "idx version 0", Unsupported),
    "fanout goes down": Row(d.number(8 + 4 * 0x80, 0xFFFF), "write", "fanout goes down at 0x81: 65535, then"),
    "one object too many": Row(lambda data: d.number(1028, d.idx_count(data) + 1)(data), "write", "expected"),
    "four thousand million objects": Row(d.number(1028, 0xFFFFFFFF), "write", "for 4294967295 objects"),
    "ids out of order": Row(d.resealed(d.idx_swapped_oids), "write", "oid 1 is out of order"),
    "large offset without a row": Row(d.idx_offset_set(0, 1 << 31 | 5), "write", "has large offset 5 of 0"),
    "checksum": Row(d.flipped(-1), "repack", "idx checksum is wrong"),
    "ids out of order, for repack": Row(d.resealed(d.idx_swapped_oids), "repack", "is out of order"),
    "an id in the wrong fanout row": Row(d.resealed(d.flipped(d.IDX_OIDS, 0x80)), "repack", "is out of order"),
    "offset beyond the pack": Row(d.resealed(d.idx_offset_set(0, 1 << 30)), "repack", "offset 1073741824 of a pack of"),
    "offset in the header": Row(d.resealed(d.idx_offset_set(0, 5)), "repack", "at offset 5 of a pack"),
    "two objects at one offset": Row(d.resealed(d.idx_same_offset_twice), "repack", "is said to be at offset"),
}


@pytest.mark.parametrize("row", IDX_ROWS.values(), ids=IDX_ROWS.keys())
def test_a_broken_idx_is_left_out_and_named(pushed: History, tmp_path: Path, row: Row) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    idx = pack_dir(repo) / f"{pushed.packs[2]}.idx"
    d.rewrite(idx, row.damage)
    # the offsets of an idx are said of its pack
    named = idx if "offset" not in row.says or row.verb == "write" else idx.with_suffix(".pack")
    assert_left(repo, named, row.verb, row.says)


# -- packs: their header and trailer are read by `repack`

PACK_ROWS = {
    "empty": Row(d.truncated(0), "repack", "pack is 0 bytes, too short for header and trailer"),
    "only a header": Row(d.truncated(12), "repack", "too short for header and trailer"),
    "magic": Row(d.flipped(0), "repack", "pack signature is 0xaf41434b, expected 0x5041434b"),
    "version 4": Row(d.number(4, 4), "repack", "pack version 4", Unsupported),
    "count": Row(d.number(8, 77), "repack", "pack holds 77 objects, its idx"),
    "trailer": Row(d.flipped(-1), "repack", "pack trailer is not the one its idx names"),
    "cut by one byte": Row(d.truncated(-1), "repack", "pack trailer is not the one its idx names"),
}


@pytest.mark.parametrize("row", PACK_ROWS.values(), ids=PACK_ROWS.keys())
def test_a_broken_pack_is_left_out_and_named(indexed: Path, pushed: History, tmp_path: Path, row: Row) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    pack = pack_dir(repo) / f"{pushed.packs[2]}.pack"
    d.rewrite(pack, row.damage)
    assert_left(repo, pack, row.verb, row.says)


# -- the combined index: every verb reads it first

MIDX_ROWS = {
    "empty": Row(d.truncated(0), "write", "multi-pack-index file is too small: 0 bytes"),
    "only a header": Row(d.truncated(40), "write", "multi-pack-index file is too small: 40 bytes"),
    "cut within a chunk": Row(d.truncated(1000), "write", "improper chunk offset(s)"),
    "magic": Row(d.flipped(0), "write", "signature 0xb2494458 does not match signature 0x4d494458"),
    "version 2": Row(d.replaced(4, b"\2"), "write", "multi-pack-index version 2 not recognized", Unsupported),
    "hash version": Row(d.replaced(5, b"\2"), "write", "hash version 2 does not match version 1"),
    "chunk count": Row(d.replaced(6, b"\xff"), "write", "table of contents does not fit"),
    "chunks overlap the table": Row(d.number(20, 0), "write", "improper chunk offset(s) 0 and"),
    "chunks go back": Row(d.number(32, 60), "write", "improper chunk offset(s)"),
    "chunks beyond the file": Row(d.number(12 + 4 * 12 + 8, 1 << 30), "write", "improper chunk offset(s)"),
    "chunk without a name": Row(d.midx_renamed_chunk(b"OIDL", bytes(4)), "write", "appears earlier than expected"),
    "chunk twice": Row(d.midx_renamed_chunk(b"OOFF", b"OIDL"), "write", "duplicate chunk ID 4f49444c found"),
    "no names": Row(d.midx_renamed_chunk(b"PNAM", b"XXXX"), "write", "missing required pack-name chunk"),
    "no fanout": Row(d.midx_renamed_chunk(b"OIDF", b"XXXX"), "write", "missing required OID fanout chunk"),
    "no ids": Row(d.midx_renamed_chunk(b"OIDL", b"XXXX"), "write", "missing required OID lookup chunk"),
    "no offsets": Row(d.midx_renamed_chunk(b"OOFF", b"XXXX"), "write", "missing required object offsets chunk"),
    "fanout goes down": Row(d.midx_in_chunk(b"OIDF", 40, b"\0\0\xff\xff"), "write", "fanout[10] = ffff >"),
    "one object too many": Row(d.midx_in_chunk(b"OIDF", 1020, b"\0\0\xff\xff"), "write", "for 65535 objects"),
    "names out of order": Row(d.midx_swapped_names, "write", "pack names out of order"),
    "name is a path": Row(d.midx_in_chunk(b"PNAM", 4, b"/"), "write", "is a path"),
    "name without suffix": Row(d.midx_in_chunk(b"PNAM", 48, b"X"), "write", "does not end in '.idx'"),
    "one pack too many": Row(d.number(8, 6), "write", "pack name"),
    "a million packs": Row(d.number(8, 1_000_000), "write", "1000000 pack names do not fit"),
    "pack number": Row(d.midx_in_chunk(b"OOFF", 0, b"\0\0\0\x63"), "write", "bad pack-int-id: 99 (5 total packs)"),
}


@pytest.mark.parametrize("row", MIDX_ROWS.values(), ids=MIDX_ROWS.keys())
def test_a_broken_combined_index_is_refused_by_name(indexed: Path, tmp_path: Path, row: Row) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    index = pack_dir(repo) / "multi-pack-index"
    d.rewrite(index, row.damage)
    for verb in (row.verb, "repack", "expire"):
        assert_refused(repo, index, verb, row.says, row.error)


def test_an_index_with_a_wrong_checksum_is_not_built_upon(indexed: Path, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    before = content_digest(repo)
    good = (pack_dir(repo) / "multi-pack-index").read_bytes()
    d.rewrite(pack_dir(repo) / "multi-pack-index", d.flipped(-1))
    result = commands.write(str(repo))
    assert ("ignoring existing multi-pack-index; checksum mismatch",) == result.warnings
    assert good == (pack_dir(repo) / "multi-pack-index").read_bytes()
    assert before == content_digest(repo)


def test_expire_does_not_trust_an_index_with_a_wrong_checksum(indexed: Path, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    commands.repack(str(repo))
    index = pack_dir(repo) / "multi-pack-index"
    d.rewrite(index, d.flipped(-1))
    before = d.photograph(repo)
    with pytest.raises(Corrupt, match=r"multi-pack-index.*incorrect checksum"):
        commands.expire(str(repo), grace_seconds=0)
    assert before == d.photograph(repo)


# -- FIFO, folder, link to nowhere, where a file is expected

SPECIAL = {"fifo": d.make_fifo, "folder": d.make_folder}


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL.keys())
@pytest.mark.parametrize(("suffix", "verb"), [(".idx", "write"), (".pack", "repack")])
@pytest.mark.timeout(60)
def test_what_is_no_regular_file_is_left_out_without_waiting(
    pushed: History, tmp_path: Path, make: Callable[[Path], None], suffix: str, verb: str
) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    path = pack_dir(repo) / f"{pushed.packs[2]}{suffix}"
    make(path)
    assert_left(repo, path, verb, "not a regular file")


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL.keys())
@pytest.mark.timeout(60)
def test_a_combined_index_that_is_no_regular_file_is_refused(
    indexed: Path, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    index = pack_dir(repo) / "multi-pack-index"
    make(index)
    for verb in ("write", "repack", "expire"):
        assert_refused(repo, index, verb, "not a regular file", Corrupt)
    assert "not a regular file" in commands.verify(str(repo)).findings


def test_an_idx_that_is_a_link_to_nowhere_is_left_out_and_named(pushed: History, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    path = pack_dir(repo) / f"{pushed.packs[2]}.idx"
    d.make_dangling(path)
    assert_left(repo, path, "write", "leads nowhere")


def test_a_pack_that_is_a_link_to_nowhere_is_as_good_as_none(pushed: History, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    path = pack_dir(repo) / f"{pushed.packs[2]}.pack"
    d.make_dangling(path)
    result = commands.write(str(repo))
    assert (f"failed to add packfile '{path.stem}.idx': no such pack",) == result.warnings
    assert path.is_symlink()
    assert path.stem not in {name for name, _ in midx_winners(repo).values()}


def test_a_combined_index_that_is_a_link_to_nowhere_is_replaced(indexed: Path, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    index = pack_dir(repo) / "multi-pack-index"
    d.make_dangling(index)
    assert commands.write(str(repo)).written
    assert not index.is_symlink()
    verify_midx(repo)


# -- through the command line


COMMAND_ROWS: dict[str, tuple[str, d.Damage, str]] = {
    "version": ("multi-pack-index", d.replaced(4, b"\2"), "write"),
    "combined index": ("multi-pack-index", d.midx_swapped_names, "expire"),
}


@pytest.mark.parametrize(("name", "damage", "verb"), COMMAND_ROWS.values(), ids=COMMAND_ROWS.keys())
def test_the_command_dies_with_128_and_names_the_file(
    indexed: Path, pushed: History, tmp_path: Path, name: str, damage: d.Damage, verb: str
) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    path = pack_dir(repo) / name.format(pack=pushed.packs[2])
    d.rewrite(path, damage)
    before = d.photograph(repo)
    done = gpa(repo, verb)
    assert 128 == done.returncode
    assert done.stderr.startswith("fatal: ")
    assert path.name in done.stderr
    assert "" == done.stdout
    assert "Traceback" not in done.stderr
    assert before == d.photograph(repo)


# -- repack: a damaged entry in a pack that is otherwise whole


def lone_leaf(repo: Path, pack: str, *, whole: bool = True) -> PackedObject:
    """An object stored once in the repository, whole, in `pack`, and the base of nothing."""
    entries = [entry for name in packs(repo) for entry in packed_objects(repo, name)]
    stored = Counter(entry.oid for entry in entries)
    bases = {entry.base_oid for entry in entries}
    return next(
        entry
        for entry in packed_objects(repo, pack)
        if stored[entry.oid] == 1 and entry.oid not in bases and (entry.depth == 0) is whole
    )


def break_entry(repo: Path, pack: str, entry: PackedObject) -> None:
    """Change one bit near the end of an entry's zlib stream."""
    d.rewrite(pack_dir(repo) / f"{pack}.pack", d.flipped(entry.offset + entry.packed_size - 6, 0x10))


def is_readable(repo: Path, oid: str) -> bool:
    return git(repo, "cat-file", "-p", oid, check=False).returncode == 0


def readable_objects(repo: Path) -> dict[str, bytes]:
    """oid -> content, of all that git can read one by one."""
    names = git(repo, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)", check=False).stdout.split()
    found = {}
    for oid in names:
        done = git(repo, "cat-file", "--batch", input=f"{oid}\n", check=False)
        if done.returncode == 0 and done.stdout:
            found[oid] = done.stdout.encode(errors="surrogateescape")
    return found


@pytest.mark.parametrize("index_version", [1, 2])
def test_repack_leaves_a_damaged_entry_where_it_is_and_merges_the_rest(tmp_path: Path, index_version: Any) -> None:
    history = pushed_history(tmp_path, HistorySpec(pushes=5, files=8, index_version=index_version))
    repo, pack = history.server, history.packs[2]
    victim = lone_leaf(repo, pack)
    break_entry(repo, pack, victim)
    assert not is_readable(repo, victim.oid)
    before = readable_objects(repo)

    done = gpa(repo, "repack")
    assert 1 == done.returncode
    assert f"error: left out object {victim.oid} of '{pack}.pack'" in done.stderr
    assert "Traceback" not in done.stderr
    pages = set(packs(repo)) - set(history.packs)
    assert 1 == len(pages)
    assert (pack, victim.offset) == midx_winners(repo)[victim.oid]
    for page in pages:
        assert victim.oid not in {entry.oid for entry in packed_objects(repo, page)}
        git(repo, "verify-pack", pack_dir(repo) / f"{page}.idx")

    assert 0 == gpa(repo, "expire", "--grace=now").returncode
    assert {pack, *pages} == set(packs(repo))
    assert before == readable_objects(repo)


def test_repack_says_in_its_result_what_it_left_out(pushed: History, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    victim = lone_leaf(repo, pushed.packs[3])
    break_entry(repo, pushed.packs[3], victim)
    result = commands.repack(str(repo))
    assert [(pushed.packs[3], victim.oid)] == [(left.pack, left.oid) for left in result.left_out]
    assert "CRC32" in result.left_out[0].reason
    assert len(all_objects(pushed.server)) - 1 == result.object_count


def test_repacking_again_beside_a_damaged_entry_does_not_write_the_same_page_again(
    pushed: History, tmp_path: Path
) -> None:
    """The damaged entry keeps its pack in every batch: that must not rewrite what is merged already, run after run."""
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    break_entry(repo, pushed.packs[3], lone_leaf(repo, pushed.packs[3]))
    commands.repack(str(repo))
    commands.expire(str(repo), grace_seconds=0)
    before = d.photograph(repo / "objects")
    commands.repack(str(repo))
    commands.expire(str(repo), grace_seconds=0)
    assert before.keys() == d.photograph(repo / "objects").keys()


def test_a_damaged_delta_is_left_out_and_its_base_merged(pushed: History, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    victim = lone_leaf(repo, pushed.packs[3], whole=False)
    break_entry(repo, pushed.packs[3], victim)
    result = commands.repack(str(repo))
    assert [victim.oid] == [left.oid for left in result.left_out]
    assert victim.base_oid in midx_winners(repo)
    assert pushed.packs[3] != midx_winners(repo)[victim.base_oid][0]


def copies_of(repo: Path, oid: str) -> list[tuple[str, PackedObject]]:
    found = [(name, entry) for name in packs(repo) for entry in packed_objects(repo, name) if entry.oid == oid]
    return sorted(found, key=lambda copy: copy[1].packed_size)


@pytest.mark.parametrize("damaged", [1, 3, 7])
def test_another_copy_takes_the_place_of_damaged_ones(tmp_path: Path, damaged: int) -> None:
    repo = cross_pack_duplicates_repo(tmp_path)
    before = content_digest(repo)
    shared = Counter(entry.oid for name in packs(repo) for entry in packed_objects(repo, name)).most_common(1)[0][0]
    copies = copies_of(repo, shared)
    assert 8 == len(copies)
    for name, entry in copies[:damaged]:
        break_entry(repo, name, entry)
    result = commands.repack(str(repo))
    assert () == result.left_out
    commands.expire(str(repo), grace_seconds=0)
    assert [page.name for page in result.pages] == list(packs(repo))
    fsck(repo)
    assert before == content_digest(repo)


def two_copies(repo: Path, content: bytes, index_version: Any) -> tuple[str, str]:
    """The same blob whole in two packs, in the first one smaller; each pack has another object too."""
    names = [
        add_pack(
            repo,
            [Whole(kind="blob", content=content, level=level), Whole(kind="blob", content=b"beside %d\n" % level)],
            index_version=index_version,
        )
        for level in (6, 0)
    ]
    return names[0], names[1]


@pytest.mark.parametrize("index_version", [1, 2])
@pytest.mark.parametrize("at", ["stream", "header"])
def test_a_copy_with_a_flipped_bit_never_displaces_a_good_one(tmp_path: Path, index_version: Any, at: str) -> None:
    """In the header lies the type, which neither inflating nor an Adler-32 would show: a blob turns into a tree."""
    repo = init_server(tmp_path / "server")
    content = b"".join(b"%d words that compress well, again and again\n" % number for number in range(200))
    damaged, good = two_copies(repo, content, index_version)
    before = content_digest(repo)
    entry = next(e for e in packed_objects(repo, damaged) if e.oid == oid_hex("blob", content))
    if at == "stream":
        break_entry(repo, damaged, entry)
    else:
        d.rewrite(pack_dir(repo) / f"{damaged}.pack", d.flipped(entry.offset, 0x10))
    assert () == commands.repack(str(repo)).left_out
    commands.expire(str(repo), grace_seconds=0)
    assert not {damaged, good} & packs(repo).keys()
    assert before == content_digest(repo)


def test_a_pack_of_which_nothing_can_be_read_leaves_everything_as_it_was(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    names = [add_pack(repo, [Whole(kind="blob", content=bytes([number]) * 50)]) for number in range(2)]
    for name in names:
        break_entry(repo, name, packed_objects(repo, name)[0])
    result = commands.repack(str(repo))
    assert () == result.pages
    assert sorted(names) == sorted(left.pack for left in result.left_out)
    assert sorted(names) == sorted(packs(repo))
    commands.expire(str(repo), grace_seconds=0)
    assert sorted(names) == sorted(packs(repo))


# -- verify: the index, in git's words

VERIFY_ROWS: dict[str, d.Damage] = {
    "checksum": d.flipped(-1),
    "ids out of order": d.midx_swapped_oids,
    "ids out of order, resealed": d.resealed(d.midx_swapped_oids),
    "wrong offset": d.resealed(d.midx_in_chunk(b"OOFF", 4, b"\0\0\0\1")),
    "fanout goes down": d.resealed(d.midx_in_chunk(b"OIDF", 40, b"\0\0\xff\xff")),
    "empty": d.truncated(0),
    "hash version": d.replaced(5, b"\2"),
    "chunk without a name": d.midx_renamed_chunk(b"OIDL", bytes(4)),
}

OURS_ALONE = "its fanout row is"
"""git only fails to find such an object; here the reason is said too."""


def words(stderr: str) -> list[str]:
    """Lines without git's prefix, without sizes and paths of our own or git's choice, in one order."""
    lines = [line.removeprefix("error: ") for line in stderr.splitlines() if line and OURS_ALONE not in line]
    return sorted("too small" if "is too small" in line else line for line in lines)


def assert_says_what_git_says(repo: Path) -> None:
    theirs = git(repo, "multi-pack-index", "verify", check=False)
    ours = gpa(repo, "verify")
    assert 1 == theirs.returncode
    assert theirs.returncode == ours.returncode
    assert "Traceback" not in ours.stderr
    # git stops after a fanout that goes down, we call that a file that does not parse
    notes = {"multi-pack-index file exists, but failed to parse"}
    assert set(words(theirs.stderr)) - notes == set(words(ours.stderr)) - notes
    assert ours.stderr.splitlines() == list(commands.verify(str(repo)).findings)


@pytest.mark.parametrize("damage", VERIFY_ROWS.values(), ids=VERIFY_ROWS.keys())
def test_verify_finds_in_the_index_what_git_finds(indexed: Path, tmp_path: Path, damage: d.Damage) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    d.rewrite(pack_dir(repo) / "multi-pack-index", damage)
    assert_says_what_git_says(repo)


@pytest.mark.parametrize("suffixes", [(".pack",), (".pack", ".idx")], ids=" and ".join)
def test_verify_misses_the_packs_that_git_misses(
    indexed: Path, pushed: History, tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    for suffix in suffixes:
        (pack_dir(repo) / f"{pushed.packs[2]}{suffix}").unlink()
    assert_says_what_git_says(repo)


@pytest.mark.parametrize("damage", [d.flipped(0), d.replaced(4, b"\2"), d.midx_renamed_chunk(b"OIDL", b"XXXX")])
def test_verify_dies_where_git_dies(indexed: Path, tmp_path: Path, damage: d.Damage) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)
    d.rewrite(pack_dir(repo) / "multi-pack-index", damage)
    theirs, ours = git(repo, "multi-pack-index", "verify", check=False), gpa(repo, "verify")
    assert (128, 128) == (theirs.returncode, ours.returncode)
    assert ours.stderr.splitlines()[0].endswith(theirs.stderr.removeprefix("fatal: ").rstrip())


def test_verify_finds_an_object_behind_the_wrong_fanout_row(indexed: Path, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(indexed, repo)

    def one_row_early(data: bytes) -> bytes:
        at = d.midx_chunk(data, b"OIDF")[0]
        rows = [d.number_at(data, at + 4 * row) for row in range(256)]
        row = next(row for row in range(100, 256) if rows[row] > rows[row - 1])
        return d.number(at + 4 * (row - 1), rows[row])(data)

    d.rewrite(pack_dir(repo) / "multi-pack-index", d.resealed(one_row_early))
    assert 1 == git(repo, "multi-pack-index", "verify", check=False).returncode
    (finding,) = commands.verify(str(repo)).findings
    assert OURS_ALONE in finding


def test_verify_finds_a_large_offset_without_a_row(pushed: History, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    names = make_corpus.oids(2)
    data = make_corpus.midx(names, [(0, 12), (0, 1 << 33)], [f"{pushed.packs[0]}.idx"])
    row = d.midx_chunk(data, b"OOFF")[0] + 12
    (pack_dir(repo) / "multi-pack-index").write_bytes(d.resealed(d.number(row, 1 << 31 | 9))(data))
    findings = commands.verify(str(repo)).findings
    assert "multi-pack-index large offset out of bounds: 9 of 1" in findings
    assert f"failed to load pack entry for oid[0] = {names[0].hex()}" in findings


def test_verify_is_content_with_what_git_wrote(indexed: Path) -> None:
    assert () == commands.verify(str(indexed)).findings
    assert () == commands.verify(str(indexed), deep=True).findings


# -- verify --deep: every byte of every pack


def deep(repo: Path) -> list[str]:
    """The findings of the API; the command says the same and ends with 1."""
    findings = list(commands.verify(str(repo), deep=True).findings)
    done = gpa(repo, "verify", "--deep", "--threads=2")
    assert (1 if findings else 0) == done.returncode
    assert sorted(findings) == sorted(done.stderr.splitlines())
    return findings


def test_deep_names_each_damaged_entry(pushed: History, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    victims = {name: lone_leaf(repo, name) for name in pushed.packs[1:4]}
    for name, victim in victims.items():
        break_entry(repo, name, victim)
    findings = deep(repo)
    for name, victim in victims.items():
        where = f"'{name}.pack': object {victim.oid} at offset {victim.offset}: entry has CRC32 "
        assert [where] == [line[: len(where)] for line in findings if victim.oid in line]
        assert f"'{name}.pack': pack trailer is not the hash of the pack" in findings
    assert 2 * len(victims) == len(findings)


def test_deep_says_what_cannot_be_made_from_a_damaged_base(pushed: History, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    name = next(name for name in pushed.packs if any(entry.depth for entry in packed_objects(repo, name)))
    entries = packed_objects(repo, name)
    base = next(entry for entry in entries if entry.depth == 0 and any(e.base_oid == entry.oid for e in entries))
    above = {entry.oid for entry in entries if entry.base_oid == base.oid}
    break_entry(repo, name, base)
    findings = deep(repo)
    for oid in above:
        assert any(oid in line and "cannot be made" in line for line in findings)


def write_pair(repo: Path, entries: list[Entry], contents: list[tuple[Any, bytes]]) -> str:
    """A pack that git would refuse, with an idx made here. `contents`: what the objects claim to be, for their ids."""
    data = pack_bytes(entries)
    offsets, at = [], 12
    for entry in entries:
        offsets.append(at)
        head, stream = entry_parts(entry, at, offsets)
        at += len(head) + len(stream)
    assert len(data) == at + d.SHA1_SIZE
    ends = [*offsets[1:], at]
    rows = sorted(
        (bytes.fromhex(oid_hex(kind, content)), zlib.crc32(data[begin:end]), begin)
        for (kind, content), begin, end in zip(contents, offsets, ends, strict=True)
    )
    idx = b"\xfftOc\0\0\0\2" + make_corpus.fanout(oid for oid, _, _ in rows) + b"".join(oid for oid, _, _ in rows)
    idx += b"".join(crc.to_bytes(4, "big") for _, crc, _ in rows)
    idx += b"".join(offset.to_bytes(4, "big") for _, _, offset in rows) + data[-d.SHA1_SIZE :]
    name = f"pack-{data[-d.SHA1_SIZE :].hex()}"
    (pack_dir(repo) / f"{name}.pack").write_bytes(data)
    (pack_dir(repo) / f"{name}.idx").write_bytes(make_corpus.with_trailer(idx))
    return name


def entry_parts(entry: Entry, at: int, offsets: list[int]) -> tuple[bytes, bytes]:
    match entry:
        case Whole(kind=kind, content=data):
            head = entry_header(KIND_CODES[kind], len(data))
        case OfsDelta(base_index=base_index, program=data):
            head = entry_header(OFS_DELTA, len(data)) + ofs_distance(at - offsets[base_index])
        case RefDelta(base_oid=base_oid, program=data):
            head = entry_header(REF_DELTA, len(data)) + bytes.fromhex(base_oid)
    return head, zlib.compress(data, entry.level)


BASE = b"".join(b"%d: a line to copy from\n" % number for number in range(40))
TARGET = BASE + b"and one more\n"
SIZES = delta_size(len(BASE)) + delta_size(len(TARGET))

DELTA_ROWS: dict[str, tuple[bytes, str]] = {
    "copies beyond the base": (SIZES + copy_op(len(BASE) - 5, 50), "delta copies 50 bytes from"),
    "makes too much": (SIZES + copy_op(0, len(BASE)) + copy_op(0, 500), "delta makes more than its"),
    "makes too little": (SIZES + copy_op(0, 5), "delta makes 5 bytes, expected"),
    "ends within a copy": (SIZES + b"\xff\0", "delta ends within a copy"),
    "ends within an insert": (SIZES + b"\x20abc", "delta ends within an insert"),
    "reserved operation": (SIZES + b"\0", "delta holds the reserved operation 0"),
    "another base": (delta_size(7) + delta_size(9) + copy_op(0, 7), "delta is from 7 to 9 bytes, expected"),
    "a target of a petabyte": (delta_size(len(BASE)) + delta_size(1 << 50) + copy_op(0, 5), "delta claims a target of"),
    "ends within its sizes": (b"\x80", "delta ends within its sizes"),
    "empty": (b"", "delta ends within its sizes"),
    "sound, but of another object": (encode_delta(BASE, TARGET + b"!"), "content has the id"),
}


@pytest.mark.parametrize(("program", "says"), DELTA_ROWS.values(), ids=DELTA_ROWS.keys())
@pytest.mark.parametrize("by_oid", [False, True], ids=["ofs-delta", "ref-delta"])
def test_deep_says_what_is_wrong_with_a_delta(tmp_path: Path, program: bytes, says: str, by_oid: bool) -> None:
    repo = init_server(tmp_path / "server")
    delta: Entry = (
        RefDelta(base_oid=oid_hex("blob", BASE), program=program) if by_oid else OfsDelta(base_index=0, program=program)
    )
    write_pair(repo, [Whole(kind="blob", content=BASE), delta], [("blob", BASE), ("blob", TARGET)])
    (finding,) = commands.verify(str(repo), deep=True).findings
    assert f"object {oid_hex('blob', TARGET)}" in finding
    assert says in finding


def test_deep_finds_deltas_that_stand_on_one_another(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    one, other = BASE, TARGET
    entries: list[Entry] = [
        RefDelta(base_oid=oid_hex("blob", other), program=encode_delta(other, one)),
        RefDelta(base_oid=oid_hex("blob", one), program=encode_delta(one, other)),
    ]
    name = write_pair(repo, entries, [("blob", one), ("blob", other)])
    findings = commands.verify(str(repo), deep=True).findings
    assert 2 == len(findings)
    assert all("chain of deltas is damaged or a cycle" in finding for finding in findings)
    # and nothing of it is merged
    add_pack(repo, [Whole(kind="blob", content=b"beside\n")])
    result = commands.repack(str(repo))
    assert [name, name] == [left.pack for left in result.left_out]
    assert {oid_hex("blob", one), oid_hex("blob", other)} == {left.oid for left in result.left_out}


def test_deep_finds_a_delta_without_base(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    lost = RefDelta(base_oid=oid_hex("blob", b"nowhere"), program=encode_delta(b"nowhere", TARGET))
    write_pair(repo, [lost], [("blob", TARGET)])
    (finding,) = commands.verify(str(repo), deep=True).findings
    assert "delta base is not in this pack" in finding


STREAM_ROWS: dict[str, tuple[d.Damage, str]] = {
    "garbage": (lambda stream: b"\xff" * len(stream), "zlib stream does not inflate to"),
    "wrong adler": (d.flipped(-1), "zlib stream does not inflate to"),
    "more than its size": (lambda stream: zlib.compress(BASE + b"!" * 9), "zlib stream does not inflate to"),
    "less than its size": (lambda stream: zlib.compress(BASE[:-9]), "zlib stream does not inflate to"),
    "bytes behind its end": (lambda stream: stream + b"abc", "its entry has"),
}


@pytest.mark.parametrize(("damage", "says"), STREAM_ROWS.values(), ids=STREAM_ROWS.keys())
def test_deep_says_what_is_wrong_with_a_stream_whose_crc_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: d.Damage, says: str
) -> None:
    repo = init_server(tmp_path / "server")
    stream = damage(zlib.compress(BASE))
    broken = SimpleNamespace(crc32=zlib.crc32, compress=lambda data, level: stream)
    monkeypatch.setattr(packwriter, "zlib", broken)
    monkeypatch.setattr(sys.modules[__name__], "zlib", broken)
    write_pair(repo, [Whole(kind="blob", content=BASE)], [("blob", BASE)])
    (finding,) = commands.verify(str(repo), deep=True).findings
    assert says in finding


def test_deep_refuses_a_size_that_the_pack_cannot_hold(tmp_path: Path) -> None:
    """No memory is asked for on the word of a damaged header."""
    repo = init_server(tmp_path / "server")
    name = write_pair(repo, [Whole(kind="blob", content=BASE)], [("blob", BASE)])
    huge = b"\xbf\xff\xff\xff\xff\xff\xff\x7f"

    def lie(data: bytes) -> bytes:
        return d.resealed(d.replaced(12, huge))(data)

    path = pack_dir(repo) / f"{name}.pack"
    d.rewrite(path, lie)
    idx = path.with_suffix(".idx")
    sealed = path.read_bytes()

    def follow(data: bytes) -> bytes:
        crc = zlib.crc32(sealed[12 : -d.SHA1_SIZE]).to_bytes(4, "big")
        data = d.replaced(d.IDX_OIDS + d.SHA1_SIZE, crc)(data)
        return d.resealed(d.replaced(len(data) - 40, sealed[-d.SHA1_SIZE :]))(data)

    d.rewrite(idx, follow)
    (finding,) = commands.verify(str(repo), deep=True).findings
    assert "more than its" in finding


def test_deep_reports_a_pack_and_idx_that_do_not_belong_together(pushed: History, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    one, other = pushed.packs[1:3]
    (pack_dir(repo) / f"{other}.idx").unlink()  # it is read-only
    shutil.copy2(pack_dir(repo) / f"{one}.idx", pack_dir(repo) / f"{other}.idx")
    (finding,) = deep(repo)
    assert finding.startswith(f"'{other}.pack': pack ")


def test_deep_goes_on_after_an_idx_that_cannot_be_read(pushed: History, tmp_path: Path) -> None:
    repo = tmp_path / "server"
    shutil.copytree(pushed.server, repo)
    d.rewrite(pack_dir(repo) / f"{pushed.packs[0]}.idx", d.truncated(500))
    d.rewrite(pack_dir(repo) / f"{pushed.packs[4]}.idx", d.flipped(-1))
    findings = deep(repo)
    assert any(pushed.packs[0] in line and "too short" in line for line in findings)
    assert any(pushed.packs[4] in line and "idx checksum is wrong" in line for line in findings)


# -- loose objects


def read_loose(data: bytes) -> tuple[int, bytes]:
    """A loose object file's type and content; Corrupt when it is broken."""
    file, out, err = ffi.new("gpa_bytes *"), ffi.new("gpa_object *"), new_error()
    keep = ffi.from_buffer(data)
    file.ptr, file.len = ffi.cast("unsigned char *", keep), len(data)
    check(lib.gpa_loose_read(out, file[0], err), err, "loose")
    try:
        return out.type, bytes(ffi.buffer(out.ptr, out.len))
    finally:
        lib.gpa_object_free(out)


LOOSE_ROWS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "names no type"),
    "no zlib stream": (b"this is no zlib stream", "not a zlib stream"),
    "unknown type": (zlib.compress(b"blub 3\0abc"), "names no type"),
    "no end of the header": (zlib.compress(b"blob 3" + b"3" * 60), "names no type"),
    "size with a letter": (zlib.compress(b"blob 3x\0abc"), "bad size"),
    "size with a leading zero": (zlib.compress(b"blob 03\0abc"), "bad size"),
    "size beyond 64 bits": (zlib.compress(b"blob 99999999999999999999\0abc"), "bad size"),
    "size of a petabyte": (zlib.compress(b"blob %d\0abc" % (1 << 50)), "more than its file can hold"),
    "content too short": (zlib.compress(b"blob 9\0abc"), "does not inflate to"),
    "content too long": (zlib.compress(b"blob 2\0abc"), "does not inflate to"),
    "much too long": (zlib.compress(b"blob 2\0" + bytes(1 << 20)), "does not inflate to"),
    "cut": (zlib.compress(b"blob 3\0abc")[:-2], "does not inflate to"),
    "wrong adler, in a short file": (d.flipped(-1)(zlib.compress(b"blob 3\0abc")), "does not inflate to 10 bytes"),
    "wrong adler": (d.flipped(-1)(zlib.compress(b"blob 40\0" + BASE[:40])), "does not inflate to"),
    "garbage behind": (zlib.compress(b"blob 3\0abc") + b"x", "garbage after the loose object"),
}


@pytest.mark.parametrize(("data", "says"), LOOSE_ROWS.values(), ids=LOOSE_ROWS.keys())
def test_a_broken_loose_object_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(Corrupt, match=says):
        read_loose(data)


@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_loose_object_that_git_wrote_is_read(tmp_path: Path, level: int) -> None:
    repo = init_server(tmp_path / "server")
    for content in (b"", b"x", bytes(300_000), BASE):
        done = git(repo, "-c", f"core.looseCompression={level}", "hash-object", "-w", "--stdin", input=content)
        oid = done.stdout.strip()
        data = (repo / "objects" / oid[:2] / oid[2:]).read_bytes()
        assert (lib.GPA_BLOB, content) == read_loose(data)


def test_the_corpus_is_what_its_script_makes(tmp_path: Path) -> None:
    make_corpus.main(tmp_path)
    corpus = Path(make_corpus.__file__).parents[2] / "csrc" / "fuzz" / "corpus"
    if not corpus.exists():
        pytest.skip("the sources are not here")
    made = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {str(path.relative_to(corpus)): path.read_bytes() for path in corpus.rglob("*") if path.is_file()}
    assert made == kept
