"""`git gpa repack`: pages with the same objects, byte for byte, judged by git, for readers that started before too."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

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
    ref_delta_repo,
    send_push,
    set_pack_mtimes,
    v1_index_repo,
    worktree_repo,
)
from oracle import (
    ObjectFormat,
    all_objects,
    clone_works,
    content_digest,
    fsck,
    git,
    midx_names,
    pack_dir,
    packed_objects,
    packs,
    read_midx,
    verify_midx,
)
from packwriter import OfsDelta, Whole, add_pack, encode_delta, oid_hex
from running import (
    Reader,
    all_files,
    assert_sound,
    gpa,
    gpa_any,
    gpa_json,
    index_path,
    leftovers,
    moved_to_named_packs,
    mtime_ns,
    readers,
    references,
    set_mtime,
)

from gpa_maint import commands, fs

HistoryFactory = Callable[[HistorySpec], History]
Kind = Literal["documents", "tree", "snapshots"]

KINDS: tuple[Kind, ...] = ("documents", "tree", "snapshots")
SMALL = HistorySpec(pushes=6, waiting=3)
MIB = 1 << 20


def new_pages(repo: Path, before: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in packs(repo).items() if name not in before}


def superseded(repo: Path) -> set[str]:
    return {pack for pack, count in references(repo).items() if count == 0}


# -- The same objects, before and after


@pytest.mark.parametrize(
    "spec",
    [*(HistorySpec(kind=kind, pushes=300) for kind in KINDS), HistorySpec(pushes=60, object_format="sha256")],
    ids=lambda spec: f"{spec.kind}-{spec.object_format}",
)
def test_pushes_keep_every_object_through_repack_and_expire(
    history: HistoryFactory, spec: HistorySpec, tmp_path: Path
) -> None:
    """I1, I2"""
    made = history(spec)
    digest, sources = content_digest(made.server), packs(made.server)
    gpa(made.server, "repack")
    assert_sound(made.server, digest)
    assert set(sources) == superseded(made.server), "sources stay, named with 0 references"
    assert set(sources) <= set(packs(made.server))
    assert_full_but_one(new_pages(made.server, sources), 2000)

    gpa(made.server, "expire", "--grace=now")
    assert_sound(made.server, digest)
    assert set() == set(sources) & set(packs(made.server))
    clone_works(made.server, tmp_path)


def assert_full_but_one(pages: dict[str, int], size: int) -> None:
    rest = [count for count in pages.values() if count != size]
    assert len(rest) <= 1, f"pages of {sorted(pages.values())} objects"
    assert all(count < size for count in rest)


def two_packs(root: Path, make: Callable[..., Path], object_format: ObjectFormat) -> Path:
    """A shape of one pack, and a second pack so that there is something to merge."""
    repo = make(root, object_format=object_format)
    second = add_pack(repo, [Whole(kind="blob", content=b"in a pack of its own\n")])
    assert second in packs(repo)
    return repo


SHAPES: dict[str, Callable[[Path, ObjectFormat], Path]] = {
    "delta cycle": lambda root, hash_: delta_cycle_repo(root, object_format=hash_),
    "long chain": lambda root, hash_: two_packs(root, lambda root, **k: long_chain_repo(root, 120, **k), hash_),
    "duplicates": lambda root, hash_: cross_pack_duplicates_repo(root, object_format=hash_),
    "many duplicates": lambda root, hash_: cross_pack_duplicates_repo(root, 30, object_format=hash_),
    "ref deltas": lambda root, hash_: two_packs(root, ref_delta_repo, hash_),
    "v1 indexes": lambda root, hash_: v1_index_repo(root, object_format=hash_),
    "worktree": lambda root, hash_: worktree_repo(root, object_format=hash_)[1],
    "alternates": lambda root, hash_: alternates_repo(root, object_format=hash_)[0],
    "kept": lambda root, hash_: kept_pack_repo(root, object_format=hash_),
    "cruft": lambda root, hash_: cruft_pack_repo(root, object_format=hash_),
}


@pytest.mark.parametrize(
    ("object_format", "indexed"),
    [("sha1", False), ("sha256", True)],
    ids=["sha1, no index", "sha256, indexed"],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_special_shapes_keep_every_object_through_repack_and_expire(
    tmp_path: Path, shape: str, object_format: ObjectFormat, indexed: bool
) -> None:
    """I1, I2"""
    repo = SHAPES[shape](tmp_path / "shape", object_format)
    digest, sources = content_digest(repo), packs(repo)
    if indexed:
        gpa(repo, "write")
    before = read_midx(repo) if indexed else None
    gpa(repo, "repack")
    assert new_pages(repo, sources), "nothing was merged"
    if before:
        assert {} == moved_to_named_packs(before, read_midx(repo))
    assert_sound(repo, digest)
    gpa(repo, "expire", "--grace=now")
    assert_sound(repo, digest)
    clone_works(repo, tmp_path)


@pytest.mark.parametrize(("kind", "size"), [("documents", 12), ("tree", 12), ("tree", 50), ("snapshots", 90)])
def test_page_objects_says_how_many_objects_a_page_has(history: HistoryFactory, kind: Kind, size: int) -> None:
    made = history(HistorySpec(kind=kind, pushes=14))
    digest, sources = content_digest(made.server), packs(made.server)
    gpa(made.server, "repack", f"--page-objects={size}")
    pages = new_pages(made.server, sources)
    assert size in pages.values()
    assert_full_but_one(pages, size)
    assert_sound(made.server, digest)
    gpa(made.server, "expire", "--grace=now")
    assert_sound(made.server, digest)


def test_the_setting_gpa_page_objects_is_the_default_of_page_objects(history: HistoryFactory) -> None:
    made = history(SMALL)
    sources = packs(made.server)
    git(made.server, "config", "gpa.pageObjects", "9")
    gpa(made.server, "repack", "--page-objects=1k", "-n")
    gpa(made.server, "repack")
    pages = new_pages(made.server, sources)
    assert 1 < len(pages)
    assert_full_but_one(pages, 9)


def test_packs_that_no_index_names_are_merged_with_those_it_names(history: HistoryFactory) -> None:
    made = history(SMALL)
    gpa(made.server, "write")
    for push in made.waiting:
        send_push(made.client, made.server, push)
    digest, sources = content_digest(made.server), packs(made.server)
    assert 9 == gpa(made.server, "repack", "-n").stdout.count("\nmerge ")
    gpa(made.server, "repack")
    assert set(sources) == superseded(made.server)
    assert_sound(made.server, digest)


def test_the_packs_of_a_linked_worktree_s_repository_are_merged(tmp_path: Path) -> None:
    repo, worktree = worktree_repo(tmp_path)
    sources = packs(repo)
    gpa(worktree, "repack")
    assert set(sources) == superseded(repo)
    assert (repo / "gpa").is_dir()
    verify_midx(worktree)


# -- What is left alone


def test_kept_packs_are_never_merged(tmp_path: Path) -> None:
    """I8"""
    repo = kept_pack_repo(tmp_path)
    kept = [path.stem for path in pack_dir(repo).glob("*.keep")]
    assert_left_alone(repo, kept, "kept (.keep)")


def test_cruft_packs_are_never_merged(tmp_path: Path) -> None:
    """I8"""
    repo = cruft_pack_repo(tmp_path)
    cruft = [path.stem for path in pack_dir(repo).glob("*.mtimes")]
    assert_left_alone(repo, cruft, "cruft pack")


def test_promisor_packs_are_never_merged(tmp_path: Path) -> None:
    """I8"""
    repo = promisor_pack_repo(tmp_path)
    promisor = [path.stem for path in pack_dir(repo).glob("*.promisor")]
    assert_left_alone(repo, promisor, "promisor pack")


def assert_left_alone(repo: Path, names: list[str], reason: str) -> None:
    """`repack` and `expire` merge the others and do not touch the packs `names`."""
    assert names
    gpa(repo, "write")
    digest, sources = content_digest(repo), packs(repo)
    before = {path: state for path, state in all_files(pack_dir(repo)).items() if path.stem in names}
    wins = {name: references(repo)[name] for name in names}
    plan = gpa(repo, "repack", "-n").stdout.splitlines()
    assert {f"leave  {name}: {reason}" for name in names} <= set(plan)

    gpa(repo, "repack")
    assert wins == {name: references(repo)[name] for name in names}
    assert set(sources) - set(names) == superseded(repo) - set(names)
    gpa(repo, "expire", "--grace=now")
    assert before == {path: state for path, state in all_files(pack_dir(repo)).items() if path.stem in names}
    assert_sound(repo, digest)


def test_alternates_stay_untouched(tmp_path: Path) -> None:
    """I8"""
    borrower, lender = alternates_repo(tmp_path)
    before = all_files(lender)
    borrowed, own = content_digest(borrower), packs(borrower)
    gpa(borrower, "repack")
    gpa(borrower, "expire", "--grace=now")
    assert before == all_files(lender)
    assert set() == set(own) & set(packs(borrower))
    assert_sound(borrower, borrowed)


def test_a_large_pack_stays_and_its_objects_stay_in_it(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=4, base_objects=2001))
    gpa(made.server, "write")
    large = made.packs[0]
    wins = references(made.server)[large]
    gpa(made.server, "repack")
    assert wins == references(made.server)[large]
    assert set(made.packs[1:]) == superseded(made.server)


def test_a_full_page_is_not_merged_again(history: HistoryFactory) -> None:
    made = history(HistorySpec(kind="tree", pushes=14, waiting=3))
    sources = packs(made.server)
    gpa(made.server, "repack", "--page-objects=20")
    full = {name for name, count in new_pages(made.server, sources).items() if count == 20}
    assert full
    gpa(made.server, "expire", "--grace=now")
    for push in made.waiting:
        send_push(made.client, made.server, push)
    gpa(made.server, "repack", "--page-objects=20")
    gpa(made.server, "expire", "--grace=now")
    assert full < {name for name, count in packs(made.server).items() if count == 20}
    assert set() == full & superseded(made.server)


# -- Which packs: git's rule


def git_s_batch(repo: Path, batch_bytes: int) -> list[str]:
    """The rule of git-multi-pack-index(1), from what git tells about the repository."""
    counts, wins, order = packs(repo), references(repo), midx_names(repo)
    size = {name: (pack_dir(repo) / f"{name}.pack").stat().st_size for name in order}
    batch, total = [], 0
    for name in sorted(order, key=lambda name: mtime_ns(repo, name) // 10**9):
        if total >= batch_bytes:
            break
        expected = size[name] * wins[name] // counts[name]
        if wins[name] and expected < batch_bytes:
            batch.append(name)
            total += expected
    return batch if len(batch) > 1 else []


@pytest.mark.parametrize(
    ("kind", "mtimes"), [("tree", "ascending"), ("snapshots", "descending"), ("documents", "equal"), ("tree", "mixed")]
)
def test_the_batch_is_the_one_that_git_picks(history: HistoryFactory, tmp_path: Path, kind: Kind, mtimes: str) -> None:
    made = history(HistorySpec(kind=kind, pushes=14))
    gpa(made.server, "write")  # before the times change: some packs win few of their objects then
    order = {"descending": made.packs[::-1], "mixed": sorted(made.packs)}.get(mtimes, made.packs)
    set_pack_mtimes(made.server, order)
    if mtimes == "equal":
        for name in made.packs:
            set_mtime(made.server, name, 1_600_000_000)
    sizes = [(pack_dir(made.server) / f"{name}.pack").stat().st_size for name in made.packs]
    for batch_bytes in (1, min(sizes) + 1, max(sizes), sum(sizes) // 3, sum(sizes) * 2):
        copy = tmp_path / f"copy-{batch_bytes}"
        shutil.copytree(made.server, copy)
        expected = git_s_batch(copy, batch_bytes)
        already = superseded(copy)
        git(copy, "multi-pack-index", "repack", f"--batch-size={batch_bytes}")
        assert set(expected) == superseded(copy) - already, "the rule of this test is not git's"
        shutil.rmtree(copy)

        shutil.copytree(made.server, copy)
        plan = gpa_json(copy, "repack", "-n", f"--batch-size={batch_bytes}")
        assert expected == [pack["name"] for pack in plan["batch"]]
        gpa(copy, "repack", f"--batch-size={batch_bytes}")
        assert set(expected) == superseded(copy) - already


def test_batch_size_takes_units(history: HistoryFactory) -> None:
    server = history(HistorySpec(pushes=14)).server
    gpa(server, "write")
    plans = [gpa_json(server, "repack", "-n", f"--batch-size={size}") for size in ("4096", "4k", "4K")]
    assert plans[0]["batch"]
    assert plans[0] == plans[1] == plans[2]


# -- Nothing to do, and -n


def test_nothing_to_do_says_why_and_ends_with_status_0(history: HistoryFactory, tmp_path: Path) -> None:
    """I12"""
    empty = init_server(tmp_path / "empty")
    assert "nothing to do: no small packs to merge\n" == gpa(empty, "repack").stdout
    made = history(SMALL)
    gpa(made.server, "write")
    assert "nothing to do: no small packs to merge\n" == gpa(made.server, "repack", "--batch-size=1").stdout
    gpa(made.server, "repack")
    before = all_files(pack_dir(made.server))
    assert "nothing to do: only one pack is to be merged\n" == gpa(made.server, "repack").stdout
    answer = gpa_json(made.server, "repack")
    assert ([], [], "only one pack is to be merged") == (answer["merged"], answer["pages"], answer["reason"])
    assert before == all_files(pack_dir(made.server))
    assert [] == leftovers(made.server)


def test_dry_run_prints_the_steps_and_changes_nothing(history: HistoryFactory) -> None:
    made = history(SMALL)
    gpa(made.server, "write")
    shutil.rmtree(made.server / "gpa")
    before = all_files(made.server)
    lines = gpa(made.server, "repack", "-n").stdout.splitlines()
    objects = sum(references(made.server).values())
    assert lines[0].startswith(f"merge 6 packs, {objects} objects, ") and lines[0].endswith(" -> 1 page")
    assert "write the index" == lines[1]
    assert [f"merge  {name}" for name in made.packs] == [line.partition(":")[0] for line in lines[2:]]
    gpa(made.server, "repack", "--dry-run", "--json")
    assert before == all_files(made.server)


def test_what_dry_run_says_is_what_is_done(history: HistoryFactory) -> None:
    server = history(HistorySpec(kind="tree", pushes=14)).server
    gpa(server, "write")
    plan = gpa_json(server, "repack", "-n", "--batch-size=20k")
    result = gpa_json(server, "repack", "--batch-size=20k")
    assert [pack["name"] for pack in plan["batch"]] == result["merged"]
    assert plan["object_count"] == result["object_count"]


def test_json_tells_what_was_merged(history: HistoryFactory) -> None:
    made = history(SMALL)
    sources = packs(made.server)
    answer = gpa_json(made.server, "repack")
    pages = new_pages(made.server, sources)
    assert "RepackResult" == answer["kind"]
    assert list(made.packs) == answer["merged"]
    assert pages == {page["name"]: page["object_count"] for page in answer["pages"]}
    for page in answer["pages"]:
        assert (pack_dir(made.server) / f"{page['name']}.pack").stat().st_size == page["size"]
    assert index_path(made.server).read_bytes()[-20:].hex() == answer["midx"]["trailer"]


def test_progress_goes_to_stderr_where_it_is_asked_for(history: HistoryFactory) -> None:
    server = history(SMALL).server
    asked = gpa_any(server, "repack", "--progress")
    assert 0 == asked.returncode
    assert ["Reading packs", "Merging objects", "Publishing pages"] == list(
        dict.fromkeys(re.findall(r"(\w+ \w+): +\d+%", asked.stderr))
    )
    assert asked.stdout.startswith("merged 6 packs, ")
    index_path(server).unlink()
    quiet = gpa_any(server, "--progress", "repack", "--quiet")
    assert (0, "", "") == (quiet.returncode, quiet.stdout, quiet.stderr)


# -- What a page is


def test_every_entry_is_a_source_s_without_deflating_again(history: HistoryFactory) -> None:
    for kind in KINDS:
        made = history(HistorySpec(kind=kind, pushes=40))
        sources = packs(made.server)
        theirs = Counter(itertools.chain.from_iterable(zlib_streams(made.server, name) for name in sources))
        answer = gpa_json(made.server, "repack")
        assert 0 == answer["rebuilt_count"]
        for page in answer["pages"]:
            ours = Counter(zlib_streams(made.server, page["name"]))
            assert sum(ours.values()) == page["object_count"]
            assert ours <= theirs


def zlib_streams(repo: Path, name: str) -> Iterator[bytes]:
    """The compressed bytes of each entry, without its header."""
    data = (pack_dir(repo) / f"{name}.pack").read_bytes()
    for entry in packed_objects(repo, name):
        at = entry.offset
        kind = data[at] >> 4 & 7
        while data[at] & 0x80:
            at += 1
        at += 1
        if kind == 6:
            while data[at] & 0x80:
                at += 1
            at += 1
        elif kind == 7:
            at += 20
        yield data[at : entry.offset + entry.packed_size]


def test_an_entry_at_an_unusual_compression_level_comes_out_as_it_went_in(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    contents = [b"stored, not deflated %d\n" % number * 40 for number in range(4)]
    for content in contents:
        add_pack(repo, [Whole(kind="blob", content=content, level=0)])
    digest = content_digest(repo)
    gpa(repo, "repack")
    gpa(repo, "expire", "--grace=now")
    (page,) = packs(repo)
    data = (pack_dir(repo) / f"{page}.pack").read_bytes()
    assert all(content in data for content in contents)
    assert_sound(repo, digest)


@pytest.mark.parametrize("depth", [1, 5, 50])
def test_no_chain_is_longer_than_gpa_depth(tmp_path: Path, depth: int) -> None:
    repo = two_packs(tmp_path, lambda root, **k: long_chain_repo(root, 120, **k), "sha1")
    git(repo, "config", "gpa.depth", str(depth))
    digest, sources = content_digest(repo), packs(repo)
    answer = gpa_json(repo, "repack")
    (page,) = new_pages(repo, sources)
    assert depth == max(entry.depth for entry in packed_objects(repo, page))
    assert 121 // (depth + 1) - 1 <= answer["rebuilt_count"] <= 121 // depth + 1
    assert_sound(repo, digest)


@pytest.mark.parametrize("kind", KINDS)
def test_chains_of_pushes_end_at_gpa_depth(history: HistoryFactory, kind: Kind) -> None:
    made = history(HistorySpec(kind=kind, pushes=40))
    sources = packs(made.server)
    git(made.server, "config", "gpa.depth", "3")
    digest = content_digest(made.server)
    gpa(made.server, "repack", "--page-objects=100")
    for page in new_pages(made.server, sources):
        assert max(entry.depth for entry in packed_objects(made.server, page)) <= 3
    assert_sound(made.server, digest)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_at_most_5_percent_larger_than_what_git_s_repack_leaves(
    history: HistoryFactory, tmp_path: Path, kind: Kind
) -> None:
    made = history(HistorySpec(kind=kind, pushes=300))
    copy = tmp_path / "copy"
    shutil.copytree(made.server, copy)
    git(copy, "multi-pack-index", "write")
    for repo, words in ((made.server, ["gpa", "repack"]), (copy, ["multi-pack-index", "repack", "--batch-size=0"])):
        git(repo, *words)
    ours, theirs = live_bytes(made.server), live_bytes(copy)
    assert ours <= theirs * 1.05, f"{ours} bytes, git {theirs}"


def live_bytes(repo: Path) -> int:
    return sum((pack_dir(repo) / f"{name}.pack").stat().st_size for name, wins in references(repo).items() if wins)


def test_a_page_is_as_young_as_its_sources(history: HistoryFactory) -> None:
    """I9"""
    made = history(SMALL)
    sources = packs(made.server)
    set_mtime(made.server, made.packs[2], int(time.time()) - 40 * 86400)
    gpa(made.server, "repack")
    youngest = max(mtime_ns(made.server, name) for name in sources)
    (page,) = new_pages(made.server, sources)
    assert youngest <= mtime_ns(made.server, page)


def test_a_page_is_never_dated_ahead_of_the_clock(history: HistoryFactory) -> None:
    """I9. git would take a pack that it makes before that time for an older one, and delete it."""
    made = history(SMALL)
    sources = packs(made.server)
    for name in sources:
        set_mtime(made.server, name, int(time.time()) + 3600)
    begun = time.time_ns()
    gpa(made.server, "repack")
    (page,) = new_pages(made.server, sources)
    assert begun - 10**9 <= mtime_ns(made.server, page) <= time.time_ns()


def test_a_page_gets_another_name_where_a_pack_of_its_name_is_there(history: HistoryFactory, tmp_path: Path) -> None:
    """I14. As a killed run leaves one, whose idx never got its name: no hold can be put on that."""
    made = history(SMALL)
    copy, sources = tmp_path / "copy", packs(made.server)
    shutil.copytree(made.server, copy)
    gpa(copy, "repack")
    (page,) = new_pages(copy, sources)
    shutil.copy(pack_dir(copy) / f"{page}.pack", pack_dir(made.server))
    digest = content_digest(made.server)
    gpa(made.server, "repack")
    (other,) = new_pages(made.server, sources)
    assert page != other
    assert (pack_dir(copy) / f"{page}.pack").read_bytes() == (pack_dir(made.server) / f"{other}.pack").read_bytes()
    assert digest == content_digest(made.server)
    fsck(made.server)


def test_pages_have_the_modes_of_git_s_packs(history: HistoryFactory) -> None:
    made = history(SMALL)
    sources = packs(made.server)
    gpa(made.server, "repack")
    (page,) = new_pages(made.server, sources)
    for suffix in (".pack", ".idx"):
        expected, actual = ((pack_dir(made.server) / f"{name}{suffix}").stat() for name in (made.packs[0], page))
        assert (expected.st_mode, expected.st_uid, expected.st_gid) == (actual.st_mode, actual.st_uid, actual.st_gid)


def test_a_page_is_named_after_its_checksum_and_its_idx_is_git_s(history: HistoryFactory, tmp_path: Path) -> None:
    made = history(HistorySpec(kind="tree", pushes=14))
    sources = packs(made.server)
    gpa(made.server, "repack", "--page-objects=30")
    for page in new_pages(made.server, sources):
        path = pack_dir(made.server) / f"{page}.pack"
        data = path.read_bytes()
        assert hashlib.sha1(data[:-20]).digest() == data[-20:]
        assert f"pack-{data[-20:].hex()}" == page
        git(made.server, "index-pack", "-o", tmp_path / "git.idx", path)
        assert (tmp_path / "git.idx").read_bytes() == path.with_suffix(".idx").read_bytes()
        (tmp_path / "git.idx").unlink()


# -- A page that would be one of its sources again


def contained_repo(root: Path) -> tuple[Path, list[str]]:
    """Two packs, the younger one with all objects of the older one and one more."""
    repo = init_server(root / "server")
    blobs = [b"the first of three\n" * 5, b"the second of three\n" * 5, b"the third of three\n" * 5]
    small = add_pack(repo, [Whole(kind="blob", content=blob) for blob in blobs[:2]])
    large = add_pack(repo, [Whole(kind="blob", content=blob) for blob in blobs])
    set_pack_mtimes(repo, [small, large])
    return repo, [small, large]


@pytest.mark.parametrize("indexed", ["none", "older", "both", "younger first"])
def test_merging_a_pack_with_one_that_contains_it_ends_and_moves_no_winner_to_a_named_pack(
    tmp_path: Path, indexed: str
) -> None:
    """I6: a page may come out as one of its sources, byte for byte."""
    repo, names = contained_repo(tmp_path)
    stdin = {"older": names[:1], "younger first": names[1:]}.get(indexed, [])
    if stdin:
        gpa(repo, "write", "--stdin-packs", input="".join(f"{name}.idx\n" for name in stdin))
    elif indexed == "both":
        set_mtime(repo, names[0], int(time.time()))  # the small one wins its two objects
        gpa(repo, "write")
    digest = content_digest(repo)
    for _ in range(4):
        before = read_midx(repo) if index_path(repo).exists() else None
        done = gpa(repo, "repack")
        if before:
            assert {} == moved_to_named_packs(before, read_midx(repo))
        if done.stdout.startswith("nothing to do"):
            break
    else:
        pytest.fail("every repack finds something to merge")
    gpa(repo, "expire", "--grace=now")
    assert 1 == len(packs(repo))
    assert_sound(repo, digest)


@pytest.mark.parametrize("named", [0, 1, 2, 3, 6])
def test_packs_of_the_same_single_object_end_as_one(tmp_path: Path, named: int) -> None:
    """I6. A page of one object is always equal to the source it is copied from."""
    repo = init_server(tmp_path / "server")
    content = b"one object, stored in many ways\n" * 20
    names = [add_pack(repo, [Whole(kind="blob", content=content, level=level)]) for level in (0, 1, 3, 6, 9)]
    names += [add_pack(repo, [Whole(kind="blob", content=b"another\n")])]
    names = list(dict.fromkeys(names))
    set_pack_mtimes(repo, names)
    digest = content_digest(repo)
    if named:
        gpa(repo, "write", "--stdin-packs", input="".join(f"{name}.idx\n" for name in names[:named]))
    for _ in range(4):
        before = read_midx(repo) if index_path(repo).exists() else None
        done = gpa(repo, "repack")
        if before and index_path(repo).exists():
            assert {} == moved_to_named_packs(before, read_midx(repo))
        if done.stdout.startswith("nothing to do"):
            break
    else:
        pytest.fail("every repack finds something to merge")
    gpa(repo, "write")
    gpa(repo, "expire", "--grace=now")
    assert 1 == len(packs(repo))
    assert_sound(repo, digest)


def test_copies_of_one_object_alone_end_as_one_pack(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "server")
    content = b"one object, stored in many ways\n" * 20
    for level in (0, 1, 9):
        add_pack(repo, [Whole(kind="blob", content=content, level=level)])
    digest = content_digest(repo)
    gpa(repo, "repack")
    gpa(repo, "write")
    gpa(repo, "expire", "--grace=now")
    assert 1 == len(packs(repo))
    assert_sound(repo, digest)


def test_a_rest_that_is_again_one_of_its_sources_is_no_new_page(tmp_path: Path) -> None:
    """I6. Nor is that source superseded: it stays the place of its object."""
    repo = init_server(tmp_path / "server")
    names = [add_pack(repo, [Whole(kind="blob", content=b"object %d\n" % number)]) for number in range(4)]
    set_pack_mtimes(repo, names)
    gpa(repo, "write")
    digest = content_digest(repo)
    answer = gpa_json(repo, "repack", "--page-objects=3")
    assert [3] == [page["object_count"] for page in answer["pages"]]
    assert 3 == len(superseded(repo))
    gpa(repo, "expire", "--grace=now")
    assert [1, 3] == sorted(packs(repo).values())
    assert "nothing to do: only one pack is to be merged\n" == gpa(repo, "repack", "--page-objects=3").stdout
    assert_sound(repo, digest)


@pytest.mark.parametrize("index_version", [1, 2])
def test_a_page_may_be_equal_to_a_pack_that_no_index_names(tmp_path: Path, index_version: Literal[1, 2]) -> None:
    """Its idx may be another: version 1, or one of another tool."""
    repo = init_server(tmp_path / "server", index_version=index_version)
    content = b"one object, stored in many ways\n" * 20
    for level in (0, 9):
        add_pack(repo, [Whole(kind="blob", content=content, level=level)], index_version=index_version)
    digest = content_digest(repo)
    gpa(repo, "repack")
    gpa(repo, "expire", "--grace=now")
    assert 1 == len(packs(repo))
    assert_sound(repo, digest)


# -- Durable before it is visible


def test_each_page_is_synced_then_named_pack_before_idx_then_indexed(
    history: HistoryFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3, I4"""
    made = history(SMALL)
    steps: list[tuple[str, str]] = []
    monkeypatch.setattr(fs.door, "before_step", lambda operation, path: steps.append((operation, path)))
    result = commands.repack(str(made.server), page_objects=20)
    assert 1 < len(result.pages)
    folder = str(pack_dir(made.server))
    synced = [at for at, (operation, path) in enumerate(steps) if operation == "fsync" and path != folder]
    folder_synced = [at for at, step in enumerate(steps) if step == ("fsync", folder)]
    indexed = steps.index(("rename", str(index_path(made.server))))
    for page in result.pages:
        pack, idx = (steps.index(("link", f"{folder}/{page.name}{suffix}")) for suffix in (".pack", ".idx"))
        assert 2 * len(result.pages) <= len([at for at in synced if at < pack])
        assert pack < idx < min(at for at in folder_synced if at > idx) < indexed
    assert folder_synced[-1] > indexed


# -- Memory


@pytest.fixture(scope="module")
def big_objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return big_object_repo(tmp_path_factory.mktemp("big"), 100 * MIB)


@pytest.mark.memory
def test_memory_stays_small_while_objects_of_100_mib_are_merged(big_objects: Path) -> None:
    """I11"""
    digest = content_digest(big_objects)
    assert peak_memory(big_objects, "repack") < 40 * MIB
    assert 3 == len(superseded(big_objects))
    assert peak_memory(big_objects, "expire", "--grace=now") < 40 * MIB
    assert digest == content_digest(big_objects)
    (page,) = packs(big_objects)
    git(big_objects, "verify-pack", pack_dir(big_objects) / f"{page}.idx")
    verify_midx(big_objects)


def peak_memory(repo: Path, *words: str) -> int:
    """Bytes the largest process of a command held, mapped files included; measured by a small parent."""
    program = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2); "
    program += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [sys.executable, "-c", program, "git", "-C", str(repo), "gpa", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kibibytes = int(done.stdout)
    return kibibytes * 1024


def test_gpa_page_bytes_bounds_the_size_of_a_page(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=40))
    git(made.server, "config", "gpa.pageBytes", "20k")
    digest, sources = content_digest(made.server), packs(made.server)
    gpa(made.server, "repack")
    pages = new_pages(made.server, sources)
    assert 1 < len(pages)
    assert max((pack_dir(made.server) / f"{name}.pack").stat().st_size for name in pages) <= 20 << 10
    assert_sound(made.server, digest)


# -- Readers that started before


@pytest.mark.parametrize("seed", range(3))
def test_readers_opened_before_read_every_object_through_several_generations(
    history: HistoryFactory, seed: int
) -> None:
    """I2. One reader starts in each generation; all of them read on after every later expire."""
    rng = random.Random(seed)
    made = history(HistorySpec(kind=KINDS[seed], pushes=14, waiting=8))
    waiting = list(made.waiting)
    gpa(made.server, "write", "--stdin-packs", input="".join(f"{name}.idx\n" for name in made.packs[:9]))
    with readers() as opened:
        for _ in range(4):
            opened.append(Reader(made.server))
            for _ in range(2):
                send_push(made.client, made.server, waiting.pop(0))
            if rng.random() < 0.5:
                gpa(made.server, "write")
                opened.append(Reader(made.server))
            gpa(
                made.server,
                "repack",
                f"--batch-size={rng.choice((0, 20_000))}",
                f"--page-objects={rng.choice((30, 2000))}",
            )
            opened.append(Reader(made.server))
            gpa(made.server, "expire", "--grace=now")
            for reader in opened:
                reader.read_all()
    fsck(made.server)


@pytest.mark.parametrize("shape", ["delta cycle", "duplicates", "kept", "alternates"])
def test_readers_of_special_shapes_read_on(tmp_path: Path, shape: str) -> None:
    """I2"""
    repo = SHAPES[shape](tmp_path / "shape", "sha1")
    with readers() as opened:
        opened.append(Reader(repo))
        gpa(repo, "write")
        for page_objects in (2, 3, 2000):
            opened.append(Reader(repo))
            gpa(repo, "repack", f"--page-objects={page_objects}")
            gpa(repo, "expire", "--grace=now")
            for reader in opened:
                reader.read_all()


# -- A source that is damaged


def test_a_damaged_entry_enters_no_page(tmp_path: Path) -> None:
    """I13. Its object comes from another copy where there is one, and is left out, with a word, where there is none."""
    repo = init_server(tmp_path / "server")
    shared, lonely = b"in two packs\n" * 30, b"in one pack\n" * 30
    young = b"young\n" * 30
    one = add_pack(repo, [Whole(kind="blob", content=shared, level=9), Whole(kind="blob", content=lonely, level=9)])
    two = add_pack(repo, [Whole(kind="blob", content=shared, level=0), Whole(kind="blob", content=young)])
    set_pack_mtimes(repo, [one, two])
    gpa(repo, "write")
    lonely_oid = oid_hex("blob", lonely)
    before = {oid: fields for oid, fields in all_objects(repo).items() if oid != lonely_oid}
    path = pack_dir(repo) / f"{one}.pack"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    for entry in packed_objects(repo, one):
        data[entry.offset + entry.packed_size - 6] ^= 0xFF
    path.write_bytes(data)

    done = gpa_any(repo, "repack", "--json")
    answer = json.loads(done.stdout)
    assert 1 == done.returncode
    assert [(one, lonely_oid)] == [(left["pack"], left["oid"]) for left in answer["left_out"]]
    assert f"error: left out object {lonely_oid} of '{one}.pack'" in done.stderr
    gpa(repo, "expire", "--grace=now")
    assert one in packs(repo), "it still is the only place of an object"
    for oid, (kind, size, _digest) in before.items():
        assert f"{oid} {kind} {size}\n" == git(repo, "cat-file", "--batch-check", input=f"{oid}\n").stdout
        git(repo, "cat-file", kind, oid)


def test_a_damaged_entry_above_the_buffer_of_1_mib_enters_no_page(tmp_path: Path) -> None:
    """I13. It is checked in pieces before any of it is written."""
    repo = init_server(tmp_path / "server")
    large = random.Random(1).randbytes(2 * MIB + 5)
    one = add_pack(repo, [Whole(kind="blob", content=large), Whole(kind="blob", content=b"small\n")])
    two = add_pack(repo, [Whole(kind="blob", content=b"another\n")])
    three = add_pack(repo, [Whole(kind="blob", content=b"a third\n")])
    set_pack_mtimes(repo, [one, two, three])
    gpa(repo, "write")
    path = pack_dir(repo) / f"{one}.pack"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[MIB + MIB // 2] ^= 1
    path.write_bytes(data)
    answer = gpa_json(repo, "repack", status=1)
    assert [(one, oid_hex("blob", large))] == [(left["pack"], left["oid"]) for left in answer["left_out"]]
    (page,) = answer["pages"]
    git(repo, "verify-pack", pack_dir(repo) / f"{page['name']}.idx")


def test_a_source_in_which_a_delta_changed_is_noticed_without_crc(tmp_path: Path) -> None:
    """I13: a version 1 idx has no CRC32, so the entry is inflated."""
    repo = init_server(tmp_path / "server", index_version=1)
    base = b"".join(b"line %d\n" % number for number in range(60))
    entries = [Whole(kind="blob", content=base), OfsDelta(base_index=0, program=encode_delta(base, base + b"more\n"))]
    one = add_pack(repo, entries, index_version=1)
    for number in range(2):
        add_pack(repo, [Whole(kind="blob", content=b"%d" % number * 50)], index_version=1)
    path = pack_dir(repo) / f"{one}.pack"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    entry = packed_objects(repo, one)[0]
    data[entry.offset + entry.packed_size - 3] ^= 0xFF
    path.write_bytes(data)
    done = gpa_any(repo, "repack")
    assert 1 == done.returncode
    assert f"error: left out object {oid_hex('blob', base)} of '{one}.pack'" in done.stderr
