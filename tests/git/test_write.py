"""`git gpa write` leaves the file that git itself would, and moves no winner to where open readers do not look."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from histories import (
    History,
    HistorySpec,
    alternates_repo,
    cross_pack_duplicates_repo,
    init_server,
    send_push,
    set_pack_mtimes,
    worktree_repo,
)
from oracle import (
    Midx,
    ObjectFormat,
    content_digest,
    fsck,
    git,
    git_line,
    midx_names,
    midx_winners,
    objects_dir,
    pack_dir,
    packs,
    parse_midx,
    read_midx,
    verify_midx,
)
from packwriter import Whole, add_pack
from running import (
    all_files,
    assert_sound,
    file_state,
    gpa,
    gpa_any,
    gpa_json,
    index_path,
    leftovers,
    moved_to_named_packs,
    references,
)

from gpa_maint._core.format import IdxFiles, open_midx, write_midx

HistoryFactory = Callable[[HistorySpec], History]

PUSHED = HistorySpec(kind="tree", pushes=40, waiting=3)
SMALL = HistorySpec(pushes=6)


# -- The same bytes as git


def git_then_ours(repo: Path, *options: str, input: str | None = None) -> tuple[bytes, bytes]:
    """What git writes over the index there is, and what we write over the same one; ours stays."""
    path = index_path(repo)
    old = path.read_bytes() if path.exists() else None
    git(repo, "multi-pack-index", "write", *options, input=input)
    expected = path.read_bytes()
    path.unlink()
    if old is not None:
        path.write_bytes(old)
    gpa(repo, "write", *options, input=input)
    return expected, path.read_bytes()


def push_waiting(history: History) -> list[str]:
    """Send every waiting push. Gives the packs that came."""
    before = packs(history.server).keys()
    for push in history.waiting:
        send_push(history.client, history.server, push)
    return sorted(packs(history.server).keys() - before)


@pytest.mark.parametrize("kind", ["documents", "tree", "snapshots"])
def test_a_first_index_is_byte_identical_to_git_s(history: HistoryFactory, kind: str) -> None:
    made = history(HistorySpec(kind=kind, pushes=40))  # type: ignore[arg-type]
    expected, actual = git_then_ours(made.server)
    assert expected == actual


def test_a_first_index_over_equally_old_packs_is_byte_identical_to_git_s(history: HistoryFactory) -> None:
    made = history(PUSHED)
    for path in pack_dir(made.server).glob("*.pack"):
        shutil.copystat(pack_dir(made.server) / f"{made.packs[0]}.pack", path)
    expected, actual = git_then_ours(made.server)
    assert expected == actual


def test_a_sha256_index_is_byte_identical_to_git_s_first_and_after_more_pushes(history: HistoryFactory) -> None:
    made = history(HistorySpec(kind="tree", pushes=20, waiting=3, object_format="sha256"))
    expected, actual = git_then_ours(made.server)
    assert expected == actual
    push_waiting(made)
    expected, actual = git_then_ours(made.server)
    assert expected == actual
    assert "sha256" == parse_midx(actual).object_format


def test_an_index_over_v1_packs_is_byte_identical_to_git_s(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=6, index_version=1))
    expected, actual = git_then_ours(made.server)
    assert expected == actual


@pytest.mark.parametrize("order", ["ascending", "equal", "descending", "older than all"])
def test_an_index_after_more_pushes_is_byte_identical_to_git_s_however_old_the_new_packs_are(
    history: HistoryFactory, order: str
) -> None:
    made = history(PUSHED)
    gpa(made.server, "write")
    new = push_waiting(made)
    now = int(time.time())
    if order == "equal":
        for pack in new:
            set_pack_mtimes(made.server, [pack], oldest=now)
    else:
        names = new[::-1] if order == "descending" else new
        set_pack_mtimes(made.server, names, oldest=1000 if order == "older than all" else now)
    expected, actual = git_then_ours(made.server)
    assert expected == actual
    assert made.packs + tuple(new) == tuple(sorted(midx_names(made.server), key=(made.packs + tuple(new)).index))


def test_an_index_of_the_packs_named_on_stdin_is_byte_identical_to_git_s(history: HistoryFactory) -> None:
    made = history(PUSHED)
    chosen = made.packs[::3]
    lines = "".join(f"{name}.idx\n" for name in [*chosen, "pack-unknown"])
    expected, actual = git_then_ours(made.server, "--stdin-packs", input=lines)
    assert expected == actual
    assert sorted(chosen) == parse_midx(actual).packs


@pytest.mark.parametrize("suffix", [".idx", ".pack"])
def test_a_preferred_pack_wins_all_its_objects_byte_identical_to_git_s(history: HistoryFactory, suffix: str) -> None:
    made = history(PUSHED)
    preferred = made.packs[20]
    gpa(made.server, "write")
    assert references(made.server)[preferred] < packs(made.server)[preferred]
    index_path(made.server).unlink()

    expected, actual = git_then_ours(made.server, f"--preferred-pack={preferred}{suffix}")
    assert expected == actual
    assert packs(made.server)[preferred] == references(made.server)[preferred]


def test_git_finds_the_index_of_ours_complete(history: HistoryFactory) -> None:
    made = history(PUSHED)
    digest = content_digest(made.server)
    gpa(made.server, "write")
    before = file_state(index_path(made.server))
    git(made.server, "multi-pack-index", "write")
    assert before == file_state(index_path(made.server))
    assert_sound(made.server, digest)


# -- Nothing to do


def test_an_index_that_names_all_packs_stays_untouched_and_the_answer_says_why(history: HistoryFactory) -> None:
    """I12"""
    made = history(SMALL)
    gpa(made.server, "write")
    before = file_state(index_path(made.server))
    done = gpa(made.server, "write")
    assert "nothing to do: the index names all 6 packs already\n" == done.stdout
    assert before == file_state(index_path(made.server))
    assert [] == leftovers(made.server)


def test_a_repository_without_packs_gets_no_index_and_exit_status_0(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    assert "nothing to do: no pack files to index\n" == gpa(repo, "write").stdout
    assert not index_path(repo).exists()


def test_quiet_says_nothing(history: HistoryFactory) -> None:
    server = history(SMALL).server
    assert "" == gpa(server, "write", "-q").stdout
    assert "" == gpa(server, "write", "--quiet").stdout
    verify_midx(server)


def test_json_tells_what_was_written(history: HistoryFactory) -> None:
    server = history(SMALL).server
    answer = gpa_json(server, "write")
    index = read_midx(server)
    assert ("WriteResult", True, 6, len(index.winners)) == tuple(
        answer[key] for key in ("kind", "written", "pack_count", "object_count")
    )
    assert index_path(server).read_bytes()[-20:].hex() == answer["trailer"]
    assert False is gpa_json(server, "write")["written"]


# -- An old index that is not what it should be


@pytest.mark.parametrize("waiting", [0, 2])
def test_an_index_with_a_wrong_checksum_is_warned_about_and_built_anew(history: HistoryFactory, waiting: int) -> None:
    made = history(HistorySpec(kind="tree", pushes=12, waiting=waiting))
    push_waiting(made)
    set_pack_mtimes(made.server, sorted(packs(made.server)))
    git(made.server, "multi-pack-index", "write")
    path = index_path(made.server)
    expected = path.read_bytes()
    if waiting:
        gpa(made.server, "write", "--stdin-packs", input="".join(f"{name}.idx\n" for name in made.packs))
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    done = gpa_any(made.server, "write")
    assert (0, "warning: ignoring existing multi-pack-index; checksum mismatch\n") == (done.returncode, done.stderr)
    assert expected == path.read_bytes()


def test_a_vanished_pack_without_winners_is_dropped_with_a_warning(history: HistoryFactory) -> None:
    """I5"""
    made = history(SMALL)
    gpa(made.server, "repack")
    gone = made.packs[2]
    assert 0 == references(made.server)[gone]
    digest = content_digest(made.server)
    remove_pack(made.server, gone)

    done = gpa_any(made.server, "write")
    assert (0, f"warning: pack '{gone}' is named by the index and gone; dropped\n") == (done.returncode, done.stderr)
    assert gone not in midx_names(made.server)
    assert_sound(made.server, digest)


@pytest.mark.parametrize("elsewhere", ["in a named pack", "in a pack not named yet"])
def test_objects_of_a_vanished_pack_are_found_where_else_they_lie(history: HistoryFactory, elsewhere: str) -> None:
    """I5"""
    made = history(SMALL)
    gone = made.packs[2]
    digest = content_digest(made.server)
    if elsewhere == "in a pack not named yet":
        gpa(made.server, "write")
    everything = pack_of_everything(made.server)
    set_pack_mtimes(made.server, [everything], oldest=1000)  # too old to win anything from scratch
    if elsewhere == "in a named pack":
        gpa(made.server, "write")
        assert everything in midx_names(made.server)
    lost = [oid for oid, (pack, _offset) in midx_winners(made.server).items() if pack == gone]
    assert lost
    remove_pack(made.server, gone)

    done = gpa_any(made.server, "write")
    assert (0, f"warning: pack '{gone}' is named by the index and gone; dropped\n") == (done.returncode, done.stderr)
    assert {everything} <= {midx_winners(made.server)[oid][0] for oid in lost}
    assert_sound(made.server, digest)


def remove_pack(repo: Path, name: str) -> None:
    for path in pack_dir(repo).glob(f"{name}.*"):
        path.unlink()


def pack_of_everything(repo: Path) -> str:
    checksum = git(repo, "pack-objects", "-q", "--all", pack_dir(repo) / "pack", input=b"").stdout.strip()
    return f"pack-{checksum}"


def test_an_idx_without_pack_is_warned_about_and_not_named(history: HistoryFactory) -> None:
    made = history(SMALL)
    orphan = pack_dir(made.server) / f"pack-{'0' * 40}.idx"
    shutil.copy(pack_dir(made.server) / f"{made.packs[0]}.idx", orphan)

    done = gpa_any(made.server, "write")
    assert (0, f"warning: failed to add packfile '{orphan.name}': no such pack\n") == (done.returncode, done.stderr)
    assert sorted(made.packs) == midx_names(made.server)
    assert orphan.exists(), "libgit2 puts the .idx in place first: the pack may be about to come"


def test_bitmaps_and_reverse_indexes_of_other_indexes_are_removed(history: HistoryFactory) -> None:
    server = history(SMALL).server
    for may_write in (True, False):
        stale = [pack_dir(server) / f"multi-pack-index-{'1' * 40}{suffix}" for suffix in (".bitmap", ".rev")]
        for path in stale:
            path.touch()
        assert may_write is gpa_json(server, "write")["written"]
        assert [] == [path for path in stale if path.exists()]


def test_an_incremental_chain_is_folded_into_the_single_file(history: HistoryFactory) -> None:
    made = history(SMALL)
    git(made.server, "multi-pack-index", "write")
    path = index_path(made.server)
    expected = path.read_bytes()
    git(made.server, "multi-pack-index", "write", "--stdin-packs", input="".join(f"{p}.idx\n" for p in made.packs[:3]))
    layer = path.read_bytes()[-20:].hex()
    chain = pack_dir(made.server) / "multi-pack-index.d"
    chain.mkdir()
    path.rename(chain / f"multi-pack-index-{layer}.midx")
    (chain / "multi-pack-index-chain").write_text(f"{layer}\n")

    gpa(made.server, "write")
    assert expected == path.read_bytes()
    assert not chain.exists()


# -- Bitmaps


def test_bitmap_gives_one_that_git_uses(history: HistoryFactory) -> None:
    made = history(PUSHED)
    digest = content_digest(made.server)
    gpa(made.server, "write", "--bitmap")
    trailer = index_path(made.server).read_bytes()[-20:].hex()
    assert [f"multi-pack-index-{trailer}.bitmap"] == [path.name for path in pack_dir(made.server).glob("*.bitmap")]
    assert "OK" in git(made.server, "rev-list", "--use-bitmap-index", "--test-bitmap", "HEAD").stderr
    before = file_state(index_path(made.server))
    gpa(made.server, "write", "--bitmap")
    assert before == file_state(index_path(made.server))
    assert_sound(made.server, digest)


def test_bitmap_moves_no_winner_to_a_pack_named_before(history: HistoryFactory) -> None:
    """I6. Left to itself git would prefer the oldest pack, in which a reader of the old index does not look."""
    made = history(PUSHED)
    gpa(made.server, "write")
    before = midx_winners(made.server)
    gpa(made.server, "write", "--bitmap")
    assert before == midx_winners(made.server)


def test_bitmap_with_an_unknown_preferred_pack_moves_no_winner(history: HistoryFactory) -> None:
    """I6"""
    made = history(PUSHED)
    gpa(made.server, "write")
    before = midx_winners(made.server)
    done = gpa_any(made.server, "write", "--bitmap", "--preferred-pack=nonsense")
    assert (0, "warning: unknown preferred pack: 'nonsense'\n") == (done.returncode, done.stderr)
    assert before == midx_winners(made.server)


def test_a_write_without_bitmap_removes_the_bitmap(history: HistoryFactory) -> None:
    server = history(SMALL).server
    gpa(server, "write", "--bitmap")
    gpa(server, "write")
    assert [] == [*pack_dir(server).glob("*.bitmap")]
    verify_midx(server)


def test_refs_snapshot_reaches_git(history: HistoryFactory, tmp_path: Path) -> None:
    server = history(SMALL).server
    snapshot = tmp_path / "refs"
    snapshot.write_text(f"{git_line(server, 'rev-parse', 'main')}\n")
    gpa(server, "write", "--bitmap", f"--refs-snapshot={snapshot}")
    assert 1 == len([*pack_dir(server).glob("*.bitmap")])
    snapshot.write_text("no object id\n")
    index_path(server).unlink()
    done = gpa_any(server, "write", "--bitmap", f"--refs-snapshot={snapshot}")
    assert (128, True) == (done.returncode, "could not parse line: no object id" in done.stderr)


# -- The lock


def test_a_held_lock_ends_the_run_in_git_s_words_with_nothing_changed(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=6, waiting=1))
    gpa(made.server, "write")
    push_waiting(made)
    lock = pack_dir(made.server) / "multi-pack-index.lock"
    lock.write_text("somebody's\n")
    before = all_files(pack_dir(made.server))

    ours, theirs = gpa_any(made.server, "write"), git(made.server, "multi-pack-index", "write", check=False)
    assert (128, 128) == (ours.returncode, theirs.returncode)
    message = f"fatal: Unable to create '{lock}': File exists."
    assert message == ours.stderr.splitlines()[0]
    assert message == theirs.stderr.splitlines()[0].replace("/./", "/")
    assert before == all_files(pack_dir(made.server))
    assert "somebody's\n" == lock.read_text()
    assert [lock] == leftovers(made.server)


# -- Options and places


@pytest.mark.parametrize(
    "words",
    [
        ["--object-dir={}", "write"],
        ["--object-dir", "{}", "write"],
        ["write", "--object-dir={}"],
        ["write", "--object-dir", "{}"],
        ["--no-progress", "--object-dir={}", "write"],
        ["--progress", "write", "--no-progress"],
        ["write", "--no-progress", "--no-bitmap"],
    ],
)
def test_options_may_stand_before_and_after_the_verb(history: HistoryFactory, words: list[str]) -> None:
    server = history(SMALL).server
    gpa(server, *(word.format(server / "objects") for word in words))
    verify_midx(server)


def test_object_dir_may_be_an_alternate(tmp_path: Path) -> None:
    borrower, lender = alternates_repo(tmp_path)
    before = all_files(borrower)
    gpa(borrower, "write", f"--object-dir={lender / 'objects'}")
    verify_midx(lender)
    assert sorted(packs(lender)) == midx_names(lender)
    assert before == all_files(borrower)


def test_object_dir_of_another_repository_is_refused(history: HistoryFactory) -> None:
    one, other = history(SMALL).server, history(SMALL).server
    before = all_files(other)
    done = gpa_any(one, "write", f"--object-dir={other / 'objects'}")
    expected = f"fatal: could not find object directory matching {other / 'objects'}\n"
    assert (128, expected) == (done.returncode, done.stderr)
    assert before == all_files(other)
    assert not index_path(one).exists()


def test_a_linked_worktree_writes_the_index_of_its_repository(tmp_path: Path) -> None:
    repo, worktree = worktree_repo(tmp_path)
    gpa(worktree, "write")
    verify_midx(repo)
    assert sorted(packs(repo)) == midx_names(repo)


def test_an_unknown_preferred_pack_is_warned_about_as_git_does(history: HistoryFactory) -> None:
    server = history(SMALL).server
    theirs = git(server, "multi-pack-index", "write", "--preferred-pack=nonsense", check=False)
    index_path(server).unlink()
    git(server, "multi-pack-index", "write")  # unknown, git 2.39 says, and prefers the first pack by name
    expected = index_path(server).read_bytes()
    index_path(server).unlink()
    ours = gpa_any(server, "write", "--preferred-pack=nonsense")
    assert "warning: unknown preferred pack: 'nonsense'\n" == ours.stderr
    assert (theirs.returncode, theirs.stderr) == (ours.returncode, ours.stderr)
    assert expected == index_path(server).read_bytes()


def test_an_empty_preferred_pack_is_refused_as_git_does(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    add_pack(repo, [Whole(kind="blob", content=b"x")])
    empty = add_pack(repo, [])
    theirs = git(repo, "multi-pack-index", "write", f"--preferred-pack={empty}.pack", check=False)
    ours = gpa_any(repo, "write", f"--preferred-pack={empty}.pack")
    assert theirs.stderr.replace("./objects/pack/", "") == ours.stderr
    assert (theirs.returncode in (1, 255), 1) == (True, ours.returncode)  # newer gits end with 255
    assert f"error: cannot select preferred pack {empty}.pack with no objects\n" == ours.stderr
    assert not index_path(repo).exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-h"],
        ["unknown"],
        ["write", "--unknown"],
        ["write", "-h"],
        ["write", "surplus"],
        ["--unknown", "write"],
        ["write", "--preferred-pack"],
        ["repack", "--batch-size=many"],
        ["repack", "--batch-size=-1"],
        ["repack", "--page-objects=0"],
        ["repack", "--page-objects=1x"],
        ["expire", "--grace=soon"],
    ],
)
def test_wrong_usage_ends_with_status_129_and_changes_nothing(history: HistoryFactory, words: list[str]) -> None:
    server = history(SMALL).server
    before = all_files(server)
    done = gpa_any(server, *words)
    assert 129 == done.returncode
    assert "usage: git gpa" in done.stdout + done.stderr
    assert before == all_files(server)


@pytest.mark.parametrize("verb", ["write", "repack", "expire", "verify"])
def test_outside_a_repository_every_verb_ends_with_status_128(tmp_path: Path, verb: str) -> None:
    done = gpa_any(tmp_path, verb)
    assert 128 == done.returncode
    assert done.stderr.startswith("fatal: not a git repository"), done.stderr
    assert [] == [*tmp_path.iterdir()]


# -- I6


@pytest.mark.parametrize("seed", range(4))
def test_a_winner_moves_only_to_a_pack_that_the_index_before_did_not_name(history: HistoryFactory, seed: int) -> None:
    """I6. Any order of pushes, our verbs and git's own: every index is compared with the one before it."""
    rng = random.Random(seed)
    made = history(HistorySpec(kind=("tree", "snapshots")[seed % 2], pushes=14, waiting=8))  # type: ignore[arg-type]
    server, waiting = made.server, [*made.waiting]
    gpa(server, "write", "--stdin-packs", input="".join(f"{name}.idx\n" for name in made.packs[:4]))
    steps = {
        "write": lambda: gpa(server, "write"),
        "bitmap": lambda: gpa(server, "write", "--bitmap"),
        "some": lambda: gpa(server, "repack", f"--batch-size={rng.randint(1, 60)}k"),
        "all": lambda: gpa(server, "repack", f"--page-objects={rng.choice((3, 100, 2000))}"),
        "expire": lambda: gpa(server, "expire", "--grace=now"),
        "git write": lambda: git(server, "multi-pack-index", "write"),
        "git repack": lambda: git(server, "multi-pack-index", "repack", f"--batch-size={rng.randint(1, 60)}k"),
        "push": lambda: send_push(made.client, server, waiting.pop(0)),
    }
    before, taken, moves = read_midx(server), [], 0
    for _ in range(16):
        taken.append(rng.choice([step for step in steps if waiting or step != "push"]))
        steps[taken[-1]]()
        after = read_midx(server)
        assert {} == moved_to_named_packs(before, after), taken[::-1]
        moves += sum(after.winners[oid][0] != pack for oid, (pack, _offset) in before.winners.items())
        before = after
    assert moves, f"nothing was tested by {taken}"
    fsck(server)


def test_writing_again_keeps_a_winner_even_if_its_pack_becomes_the_oldest(tmp_path: Path) -> None:
    """I6. From scratch the youngest pack wins; after that only packs that come new."""
    repo = cross_pack_duplicates_repo(tmp_path)
    gpa(repo, "write")
    before = midx_winners(repo)
    set_pack_mtimes(repo, [*{pack: None for pack, _offset in before.values()}][::-1])
    add_pack(repo, [Whole(kind="blob", content=b"makes the index change\n")])
    gpa(repo, "write")
    after = midx_winners(repo)
    assert 1 == len(after) - len(before)
    assert before == {oid: after[oid] for oid in before}


# -- Large offsets: packs of more than 2 and 4 GiB, without the packs


def idx_v2(offsets: Mapping[bytes, int], object_format: ObjectFormat = "sha1") -> bytes:
    """An idx file: oid -> offset. Its pack is not there."""
    oids = sorted(offsets)
    fanout = [sum(oid[0] <= byte for oid in oids) for byte in range(256)]
    small, large = [], []
    for oid in oids:
        offset = offsets[oid]
        small.append(offset if offset < 1 << 31 else 1 << 31 | len(large))
        if offset >= 1 << 31:
            large.append(offset)
    body = b"\xfftOc" + struct.pack(">I256I", 2, *fanout) + b"".join(oids) + bytes(4 * len(oids))
    body += struct.pack(f">{len(small)}I", *small) + struct.pack(f">{len(large)}Q", *large)
    assert len(large) < len(oids), (
        "the first object of a pack lies at 12: readers refuse an idx with large offsets only"
    )
    body += hashlib.new(object_format, repr(offsets).encode()).digest()
    return body + hashlib.new(object_format, body).digest()


def index_over(
    folder: Path,
    packs_offsets: Mapping[str, Mapping[bytes, int]],
    *,
    old: Path | None = None,
    new: tuple[str, ...] | None = None,
    object_format: ObjectFormat = "sha1",
) -> tuple[Path, Midx]:
    """Write the index over hand-made idx files with the C core. Of `old` all packs but `new` are taken over."""
    target = folder / f"index-{len([*folder.glob('index-*')])}"
    for name, offsets in packs_offsets.items():
        (folder / f"{name}.idx").write_bytes(idx_v2(offsets, object_format))
    names = sorted(packs_offsets)
    opened = open_midx(str(old), object_format) if old else None
    places = {name: place for place, name in enumerate(opened.pack_names())} if opened else {}
    read = set(names if new is None else new)
    with target.open("wb") as file, IdxFiles(str(folder), sorted(read), object_format) as idx:
        sources = [(name, idx[name] if name in read else None, places.get(name, -1), 0) for name in names]
        write_midx(file.fileno(), object_format, old=opened, old_rank=1, sources=sources, pack_dir=str(folder))
    if opened:
        opened.close()
    return target, parse_midx(target.read_bytes())


def oid_of(number: int, object_format: ObjectFormat = "sha1") -> bytes:
    return hashlib.new(object_format, b"%d" % number).digest()


def winners_of(packs_offsets: Mapping[str, Mapping[bytes, int]]) -> dict[str, tuple[str, int]]:
    return {oid.hex(): (name, offset) for name, offsets in packs_offsets.items() for oid, offset in offsets.items()}


def test_offsets_below_4_gib_are_plain_numbers_even_with_the_highest_bit_set(
    tmp_path: Path, object_format: ObjectFormat
) -> None:
    edges = (12, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
    offsets = {"pack-a": {oid_of(edge, object_format): edge for edge in edges}}
    _, index = index_over(tmp_path, offsets, object_format=object_format)
    assert "LOFF" not in index.chunks
    assert winners_of(offsets) == index.winners


def test_with_one_offset_beyond_4_gib_all_beyond_2_gib_stand_in_the_large_table(
    tmp_path: Path, object_format: ObjectFormat
) -> None:
    edges = (12, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 0x123456789ABCDEF)
    offsets = {
        "pack-a": {oid_of(edge, object_format): edge for edge in edges},
        "pack-b": {oid_of(1, object_format): 0x90000000, oid_of(2, object_format): 12},
    }
    _, index = index_over(tmp_path, offsets, object_format=object_format)
    assert sorted([*edges[2:], 0x90000000]) == sorted(struct.unpack(">5Q", index.chunks["LOFF"]))
    assert winners_of(offsets) == index.winners


def test_plain_offsets_of_the_old_index_go_to_the_large_table_when_a_larger_pack_comes(tmp_path: Path) -> None:
    offsets: dict[str, dict[bytes, int]] = {"pack-a": {oid_of(1): 0x80000001, oid_of(2): 77, oid_of(3): 0xFFFFFFFF}}
    old, first = index_over(tmp_path, offsets)
    assert "LOFF" not in first.chunks
    offsets["pack-b"] = {oid_of(4): 0x100000000, oid_of(5): 12}
    _, second = index_over(tmp_path, offsets, old=old, new=("pack-b",))
    assert [0x80000001, 0xFFFFFFFF, 0x100000000] == sorted(struct.unpack(">3Q", second.chunks["LOFF"]))
    assert winners_of(offsets) == second.winners


def test_the_large_table_goes_with_the_last_pack_beyond_4_gib(tmp_path: Path) -> None:
    small = {"pack-a": {oid_of(1): 0x80000001, oid_of(2): 77}}
    old, first = index_over(tmp_path, {**small, "pack-b": {oid_of(4): 0x100000000, oid_of(5): 12}})
    assert "LOFF" in first.chunks
    _, second = index_over(tmp_path, small, old=old, new=())
    assert "LOFF" not in second.chunks
    assert winners_of(small) == second.winners


def test_large_offsets_of_objects_that_another_pack_wins_leave_no_row(tmp_path: Path) -> None:
    large = {oid_of(1): 0x100000000, oid_of(2): 0x200000000, oid_of(3): 12}
    old, _ = index_over(tmp_path, {"pack-a": large})
    _, index = index_over(tmp_path, {"pack-a": large, "pack-b": {oid_of(1): 55}}, old=old, new=("pack-b",))
    assert struct.pack(">Q", 0x200000000) == index.chunks["LOFF"]
    assert winners_of({"pack-a": large}) | {oid_of(1).hex(): ("pack-b", 55)} == index.winners


def test_the_index_of_an_alternate_has_its_state_beside_the_alternate(tmp_path: Path) -> None:
    borrower, lender = alternates_repo(tmp_path)
    gpa(borrower, "repack", f"--object-dir={lender / 'objects'}")
    assert (lender / "gpa").is_dir()
    assert not (borrower / "gpa").exists()
    assert objects_dir(lender) != objects_dir(borrower)
    verify_midx(lender)
    fsck(borrower)


def test_a_pack_that_git_repack_has_not_finished_is_left_alone(history: HistoryFactory) -> None:
    """I7. It goes when that process fails, so its copies must not count."""
    repo = history(HistorySpec(pushes=3)).server
    gpa(repo, "write")
    winners = midx_names(repo)
    for name in winners:
        for suffix in (".pack", ".idx"):
            shutil.copy(pack_dir(repo) / f"{name}{suffix}", pack_dir(repo) / f".tmp-77-{name}{suffix}")
    gpa(repo, "write")
    gpa(repo, "repack")
    gpa(repo, "expire", "--grace=now")
    assert not any(name.startswith(".tmp") for name in midx_names(repo))
    for path in pack_dir(repo).glob(".tmp-77-*"):
        path.unlink()
    fsck(repo)


def test_idx_files_open_however_few_descriptors_are_left(tmp_path: Path) -> None:
    """They are opened many at a time, so that the disk reads them together."""
    repo = init_server(tmp_path / "server")
    names = [add_pack(repo, [Whole(kind="blob", content=b"%d" % number)]) for number in range(100)]
    folder = str(pack_dir(repo))
    lowest = os.open(tmp_path, os.O_RDONLY)  # the lowest number that was free
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 4, hard))
    try:
        with IdxFiles(folder, names, "sha1") as idx_files:
            assert [1] * len(names) == [idx_files.object_count(name) for name in names]
        with pytest.raises(FileNotFoundError):
            IdxFiles(folder, [*names, "pack-none"], "sha1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(lowest)
