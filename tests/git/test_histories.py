"""The generators give what they claim: judged by git alone."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

import histories
import pytest
from histories import History, HistorySpec, send_push
from oracle import (
    ObjectFormat,
    all_objects,
    clone_works,
    content_digest,
    fsck,
    git,
    git_line,
    midx_names,
    midx_winners,
    pack_dir,
    packed_objects,
    packs,
    parse_midx,
    read_midx,
    refs,
    verify_midx,
    verify_packs,
)
from packwriter import OfsDelta, RefDelta, Whole, add_pack, copy_op, delta_size, encode_delta, insert_op, oid_hex

HistoryFactory = Callable[[HistorySpec], History]
Kind = Literal["documents", "tree", "snapshots"]

TREE = HistorySpec(kind="tree", pushes=26)


def stored_in(repo: Path) -> Counter[str]:
    """oid -> the number of packs that hold it"""
    return Counter(entry.oid for pack in packs(repo) for entry in packed_objects(repo, pack))


def midx_bytes(chunks: Mapping[str, bytes]) -> bytes:
    """A SHA-1 multi-pack-index of one pack."""
    offsets = [*accumulate(map(len, chunks.values()), initial=12 + 12 * (len(chunks) + 1))]
    table = [struct.pack(">4sQ", id.encode(), at) for id, at in zip([*chunks, "\0\0\0\0"], offsets, strict=True)]
    data = struct.pack(">4sBBBBI", b"MIDX", 1, 1, len(chunks), 0, 1) + b"".join([*table, *chunks.values()])
    return data + hashlib.sha1(data).digest()


def one_pack(repo: Path) -> str:
    (name,) = packs(repo)
    return name


# -- Pushed histories


def test_three_hundred_pushes_leave_three_hundred_packs(history: HistoryFactory) -> None:
    made = history(HistorySpec(kind="documents", pushes=300))
    assert set(made.packs) == packs(made.server).keys()
    assert len(made.pushed) == len(made.packs) == 300
    assert sum(packs(made.server).values()) > 1.4 * len(all_objects(made.server))
    fsck(made.server)


@pytest.mark.parametrize("kind", ["documents", "tree", "snapshots"])
def test_a_history_is_sound_in_both_object_formats(
    history: HistoryFactory, tmp_path: Path, kind: Kind, object_format: ObjectFormat
) -> None:
    made = history(HistorySpec(kind=kind, pushes=14, object_format=object_format))
    assert len(packs(made.server)) == 14
    fsck(made.server)
    verify_packs(made.server)
    clone_works(made.server, tmp_path)


@pytest.mark.parametrize("kind", ["documents", "tree", "snapshots"])
def test_a_push_holds_deltas_and_the_whole_bases_that_completed_it(history: HistoryFactory, kind: Kind) -> None:
    made = history(HistorySpec(kind=kind, pushes=14))
    depths = Counter(entry.depth for entry in packed_objects(made.server, made.packs[-1]))
    assert depths[0] > 1
    assert depths[1] > 1
    assert max(stored_in(made.server).values()) > 1


def test_completed_bases_come_last_and_are_stored_in_an_earlier_push_too(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=4))
    earlier = {entry.oid for pack in made.packs[:3] for entry in packed_objects(made.server, pack)}
    entries = packed_objects(made.server, made.packs[3])
    bases = [entry for entry in entries if entry.oid in earlier]
    assert bases == entries[-len(bases) :]
    assert {entry.base_oid for entry in entries if entry.depth == 1} == {entry.oid for entry in bases}


def test_both_kinds_of_deltas_are_pushed(history: HistoryFactory) -> None:
    """A thin base is named by its oid; a base in the same push, as with several commits, by its distance."""
    made = history(HistorySpec(pushes=4, commits_per_push=5))
    codes = Counter(
        (pack_dir(made.server) / f"{pack}.pack").read_bytes()[entry.offset] >> 4 & 7
        for pack in made.packs
        for entry in packed_objects(made.server, pack)
    )
    assert codes[6] > 0
    assert codes[7] > 0


def test_nothing_but_packs_is_left_on_the_server(history: HistoryFactory) -> None:
    made = history(TREE)
    found = {path.suffix for path in pack_dir(made.server).iterdir()}
    assert found - {".rev"} == {".pack", ".idx"}  # git 2.41 and later write a .rev as well
    assert git_line(made.server, "count-objects") == "0 objects, 0 kilobytes"


def test_pack_mtimes_ascend_with_the_pushes(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=14))
    for suffix in ("pack", "idx"):
        mtimes = [(pack_dir(made.server) / f"{name}.{suffix}").stat().st_mtime_ns for name in made.packs]
        assert {after - before for before, after in pairwise(mtimes)} == {1_000_000_000}


def test_pushes_are_in_the_order_of_the_packs(history: HistoryFactory) -> None:
    made = history(TREE)
    for push, pack in zip(made.pushed, made.packs, strict=True):
        oids = {entry.oid for entry in packed_objects(made.server, pack)}
        assert any(update.oid in oids for update in push)


def test_the_refs_are_those_that_were_pushed(history: HistoryFactory) -> None:
    made = history(TREE)
    expected: dict[str, str] = {}
    for update in (update for push in made.pushed for update in push):
        expected.pop(update.ref, None)
        if update.oid:
            expected[update.ref] = update.oid
    assert refs(made.server) == expected


def test_the_same_spec_gives_the_same_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = HistorySpec(kind="tree", pushes=6)
    names = []
    for cache in ("one", "two"):
        monkeypatch.setenv("GPA_TEST_CACHE", str(tmp_path / cache))
        names.append(histories.pushed_history(tmp_path / f"copy-{cache}", spec).packs)
    assert names[0] == names[1]


def test_the_index_that_speeds_pushes_up_changes_no_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = HistorySpec(pushes=6)
    names = []
    for every in (2, 1000):
        monkeypatch.setenv("GPA_TEST_CACHE", str(tmp_path / str(every)))
        monkeypatch.setattr(histories, "PUSHES_BETWEEN_INDEXES", every)
        names.append(histories.pushed_history(tmp_path / f"copy-{every}", spec).packs)
    assert names[0] == names[1]


def test_another_seed_gives_other_objects(history: HistoryFactory) -> None:
    one, two = (history(HistorySpec(pushes=3, seed=seed)) for seed in (1, 2))
    assert not all_objects(one.server).keys() & all_objects(two.server).keys()


def test_a_history_can_be_changed_without_changing_the_next_copy(history: HistoryFactory) -> None:
    spec = HistorySpec(pushes=3)
    first = history(spec)
    pack = pack_dir(first.server) / f"{first.packs[0]}.pack"
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.write(b"no pack")
    fsck(history(spec).server)


def test_a_cached_history_that_lost_a_file_is_made_again(
    history: HistoryFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPA_TEST_CACHE", str(tmp_path / "cache"))
    spec = HistorySpec(pushes=2)
    made = history(spec)
    for path in (tmp_path / "cache").rglob(f"{made.packs[0]}.*"):
        path.unlink()
    fsck(history(spec).server)


def test_waiting_pushes_leave_one_thin_pack_each(history: HistoryFactory) -> None:
    made = history(HistorySpec(kind="tree", pushes=5, waiting=8))
    assert len(made.waiting) == 8
    for number, push in enumerate(made.waiting):
        assert len(packs(made.server)) == 5 + number
        send_push(made.client, made.server, push)
    assert len(packs(made.server)) == 13
    fsck(made.server)
    assert any(count > 1 for count in stored_in(made.server).values())


def test_several_commits_a_push_still_leave_one_pack(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=4, commits_per_push=5))
    assert len(packs(made.server)) == 4
    assert git_line(made.server, "rev-list", "--count", "main") == "16"


def test_base_objects_come_in_one_pack_below_the_pushes(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=3, base_objects=2500))
    assert len(made.packs) == 4
    assert packs(made.server)[made.packs[0]] == 2500
    fsck(made.server)


def test_a_source_tree_has_renames_merges_tags_modes_links_and_binary_files(history: HistoryFactory) -> None:
    made = history(HistorySpec(kind="tree", pushes=40))
    log = git(made.server, "log", "--format=", "--raw", "-M", "-m", "--all").stdout
    assert re.search(r"^:\d+ \d+ \w+\.* \w+\.* R", log, re.MULTILINE)
    assert re.search(r"^:100644 100755 ", log, re.MULTILINE)
    assert re.search(r"^:000000 120000 ", log, re.MULTILINE)
    assert re.search(r"^:100644 100644 .* M\t.*\.bin$", log, re.MULTILINE)
    assert git(made.server, "rev-list", "--min-parents=2", "main").stdout
    kinds = git(made.server, "for-each-ref", "--format=%(objecttype)", "refs/tags").stdout.split()
    assert set(kinds) == {"commit", "tag"}
    assert "dangling commit" in fsck(made.server)


def test_snapshots_change_half_of_the_files_or_more(history: HistoryFactory) -> None:
    made = history(HistorySpec(kind="snapshots", pushes=4, files=20))
    changed = git(made.server, "diff", "--name-only", "main~1", "main").stdout.split()
    assert len(changed) >= 10


# -- Shapes


def test_a_delta_cycle_runs_through_two_packs(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = histories.delta_cycle_repo(tmp_path, object_format=object_format)
    deltas = [
        (entry.oid, entry.base_oid) for pack in packs(repo) for entry in packed_objects(repo, pack) if entry.base_oid
    ]
    assert len(packs(repo)) == len(deltas) == 2
    assert deltas[0] == deltas[1][::-1]
    fsck(repo)
    clone_works(repo, tmp_path)


@pytest.mark.parametrize("length", [50, 5000])
def test_a_chain_is_as_long_as_asked_for(tmp_path: Path, length: int) -> None:
    repo = histories.long_chain_repo(tmp_path, length)
    assert max(entry.depth for entry in packed_objects(repo, one_pack(repo))) == length
    fsck(repo)


def test_one_object_is_stored_in_many_packs_in_different_ways(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = histories.cross_pack_duplicates_repo(tmp_path, 8, object_format=object_format)
    shared, copies = stored_in(repo).most_common(1)[0]
    entries = [entry for pack in packs(repo) for entry in packed_objects(repo, pack) if entry.oid == shared]
    assert copies == 8
    assert {entry.depth for entry in entries} == {0, 1, 2}
    assert len({entry.packed_size for entry in entries}) >= 6
    fsck(repo)


def test_ref_deltas_have_bases_before_and_after_them(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = histories.ref_delta_repo(tmp_path, object_format=object_format)
    entries = packed_objects(repo, one_pack(repo))
    offsets = {entry.oid: entry.offset for entry in entries}
    deltas = [entry for entry in entries if entry.depth]
    pack = (pack_dir(repo) / f"{one_pack(repo)}.pack").read_bytes()
    assert {pack[entry.offset] >> 4 & 7 for entry in deltas} == {7}
    assert {offsets[entry.base_oid] < entry.offset for entry in deltas} == {True, False}
    assert max(entry.depth for entry in deltas) == 2
    fsck(repo)


def test_big_objects_are_as_big_as_asked_for(tmp_path: Path, object_format: ObjectFormat) -> None:
    size = 3_000_000
    repo = histories.big_object_repo(tmp_path, size, object_format=object_format)
    entries = [entry for pack in packs(repo) for entry in packed_objects(repo, pack)]
    big = {oid for oid, (_, object_size, _) in all_objects(repo).items() if object_size > size}
    small, large = sorted(entry.packed_size for entry in entries if entry.oid in big)
    assert len(packs(repo)) == 3
    assert small < size // 50
    assert large > size
    fsck(repo)


def test_v1_indexes_have_no_signature(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = histories.v1_index_repo(tmp_path, object_format=object_format)
    indexes = list(pack_dir(repo).glob("*.idx"))
    assert len(indexes) == 6
    assert all(not path.read_bytes().startswith(b"\377tOc") for path in indexes)
    fsck(repo)


def test_kept_packs_survive_a_full_repack(tmp_path: Path) -> None:
    repo = histories.kept_pack_repo(tmp_path)
    kept = {path.stem for path in pack_dir(repo).glob("*.keep")}
    git(repo, "repack", "-q", "-a", "-d")
    assert len(kept) == 2
    assert kept < packs(repo).keys()
    assert len(packs(repo)) == 3


def test_a_partial_clone_has_promisor_packs_and_pushed_packs(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = histories.promisor_pack_repo(tmp_path, object_format=object_format)
    promisors = {path.stem for path in pack_dir(repo).glob("*.promisor")}
    assert promisors
    assert len(packs(repo)) == len(promisors) + 3
    assert "?" in git(repo, "rev-list", "--objects", "--all", "--missing=print").stdout
    fsck(repo)


def test_a_cruft_pack_holds_what_is_unreachable(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = histories.cruft_pack_repo(tmp_path, object_format=object_format)
    (cruft,) = pack_dir(repo).glob("*.mtimes")
    assert packs(repo)[cruft.stem] > 0
    assert len(packs(repo)) == 5
    assert "dangling commit" in fsck(repo)


def test_a_borrower_needs_its_lender(tmp_path: Path, object_format: ObjectFormat) -> None:
    borrower, lender = histories.alternates_repo(tmp_path, object_format=object_format)
    assert len(packs(borrower)) == 3
    assert all_objects(lender).keys() < all_objects(borrower).keys()
    fsck(borrower)
    shutil.rmtree(lender)
    assert git(borrower, "rev-list", "--objects", "--all", check=False).returncode != 0


def test_a_worktree_shares_the_packs(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo, worktree = histories.worktree_repo(tmp_path, object_format=object_format)
    assert pack_dir(worktree).samefile(pack_dir(repo))
    assert git_line(worktree, "status", "--porcelain", "--branch") == "## linked"
    assert len(packs(repo)) == 6
    fsck(worktree)


# -- The pack writer


def test_a_delta_program_written_by_hand_is_understood_by_git(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = histories.init_server(tmp_path, object_format=object_format)
    base = os.urandom(70_000)
    target = base[:0x10000] + b"between" + base[300:301]
    program = delta_size(len(base)) + delta_size(len(target))
    program += copy_op(0, 0x10000) + insert_op(b"between") + copy_op(300, 1)
    add_pack(repo, [Whole(kind="blob", content=base), OfsDelta(base_index=0, program=program)])
    oid = oid_hex("blob", target, object_format=object_format)
    assert git_line(repo, "cat-file", "-s", oid) == str(len(target))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 127, 128, 4095, 4096, 70_000, 17_000_000])
def test_encoded_deltas_give_the_target(tmp_path: Path, size: int) -> None:
    repo = histories.init_server(tmp_path)
    base = os.urandom(1000) + bytes(size)
    target = b"new" + base[10:] + os.urandom(130)
    program = encode_delta(base, target)
    add_pack(repo, [Whole(kind="blob", content=base), OfsDelta(base_index=0, program=program)])
    assert git_line(repo, "cat-file", "-t", oid_hex("blob", target)) == "blob"


def test_git_refuses_a_pack_whose_base_is_elsewhere(tmp_path: Path) -> None:
    repo = histories.init_server(tmp_path)
    absent = oid_hex("blob", b"base")
    with pytest.raises(AssertionError, match="unresolved delta"):
        add_pack(repo, [RefDelta(base_oid=absent, program=encode_delta(b"base", b"target"))])


# -- The oracle


def test_all_objects_agree_with_git_hash_object(history: HistoryFactory, object_format: ObjectFormat) -> None:
    made = history(HistorySpec(kind="tree", pushes=14, object_format=object_format))
    listed = git(made.server, "cat-file", "--batch-all-objects", "--batch-check").stdout
    expected = sorted(tuple(line.split()) for line in listed.splitlines())
    found = all_objects(made.server)
    assert sorted((oid, kind, str(size)) for oid, (kind, size, _) in found.items()) == expected


def test_the_digest_is_the_same_after_a_repack_and_another_after_a_push(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=4, waiting=1))
    before = content_digest(made.server)
    git(made.server, "repack", "-q", "-a", "-d")
    assert content_digest(made.server) == before
    send_push(made.client, made.server, made.waiting[0])
    assert content_digest(made.server) != before


def test_the_midx_is_parsed_as_git_wrote_it(history: HistoryFactory, object_format: ObjectFormat) -> None:
    made = history(HistorySpec(pushes=8, object_format=object_format))
    git(made.server, "multi-pack-index", "write")
    verify_midx(made.server)
    assert midx_names(made.server) == list(packs(made.server))
    assert read_midx(made.server).object_format == object_format
    places = {(entry.oid, pack, entry.offset) for pack in made.packs for entry in packed_objects(made.server, pack)}
    winners = midx_winners(made.server)
    assert {(oid, pack, offset) for oid, (pack, offset) in winners.items()} <= places
    assert winners.keys() == all_objects(made.server).keys()


def test_a_newer_copy_wins_in_the_midx_as_mtimes_are_apart(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=8))
    git(made.server, "multi-pack-index", "write")
    newest = {entry.oid: pack for pack in made.packs for entry in packed_objects(made.server, pack)}
    assert {oid: pack for oid, (pack, _) in midx_winners(made.server).items()} == newest


def test_bit_31_of_a_midx_offset_is_a_row_only_where_there_are_rows() -> None:
    oids = [bytes([0]) * 20, bytes([1]) * 20]
    chunks = {
        "PNAM": b"pack-a.idx\0\0",
        "OIDF": struct.pack(">256I", 1, *[2] * 255),
        "OIDL": b"".join(oids),
        "OOFF": struct.pack(">IIII", 0, 12, 0, 0x80000000),
    }
    plain = parse_midx(midx_bytes(chunks))
    large = parse_midx(midx_bytes(chunks | {"LOFF": struct.pack(">Q", 1 << 33)}))
    assert plain.winners == {oids[0].hex(): ("pack-a", 12), oids[1].hex(): ("pack-a", 0x80000000)}
    assert large.winners == {oids[0].hex(): ("pack-a", 12), oids[1].hex(): ("pack-a", 1 << 33)}


def test_fsck_and_the_verifiers_notice_damage(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=3))
    git(made.server, "multi-pack-index", "write")
    pack = pack_dir(made.server) / f"{made.packs[0]}.pack"
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(data)
    (pack_dir(made.server) / f"{made.packs[1]}.idx").unlink()
    for check in (fsck, verify_packs, verify_midx):
        with pytest.raises(AssertionError):
            check(made.server)


def test_git_sees_no_settings_from_outside(tmp_path: Path) -> None:
    origins = git(tmp_path, "config", "--list", "--show-origin").stdout
    assert {line.split("\t")[0] for line in origins.splitlines()} == {f"file:{os.environ['HOME']}/.gitconfig"}
    names = {name for name in os.environ if name.startswith("GIT_")}
    assert names == {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_TERMINAL_PROMPT"}


def test_every_git_reads_a_pushed_history(history: HistoryFactory, git_program: str) -> None:
    made = history(HistorySpec(kind="tree", pushes=14))
    fsck(made.server, program=git_program)
    assert content_digest(made.server, program=git_program) == content_digest(made.server)
