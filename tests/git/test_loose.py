"""Loose objects become pages: the same objects, byte for byte, judged by git, for readers that started before too."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loose import MIB, loose_oids, loose_path, loose_repo, pack_all_loose, pack_planned, write_loose
from oracle import (
    ObjectFormat,
    all_objects,
    clone_works,
    content_digest,
    fsck,
    git,
    git_line,
    pack_dir,
    packed_objects,
    packs,
    verify_packs,
)
from running import Reader, all_files, assert_sound, gpa, leftovers, readers

from gpa_maint import fs
from gpa_maint.apply import add_loose as packing
from gpa_maint.base.progress import Progress
from gpa_maint.errors import Corrupt, Locked, Stopped
from gpa_maint.look.inventory import count_loose, loose_objects
from gpa_maint.repo.discover import find_object_dir

HOUR_NS = 3600 * 10**9


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[ObjectFormat, Path]:
    """A loose_repo() of each format; not to be changed."""
    root = tmp_path_factory.mktemp("made")
    return {name: loose_repo(root / name, object_format=name) for name in ("sha1", "sha256")}


@pytest.fixture
def repo(made: dict[ObjectFormat, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made["sha1"], tmp_path / "repo", symlinks=True))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A bare repository with six loose blobs, a second apart."""
    git(tmp_path, "init", "--quiet", "--bare", "small")
    repo = tmp_path / "small"
    for number in range(6):
        oid = write_loose(repo / "objects", "blob", b"blob %d\n" % number * 20)
        os.utime(loose_path(repo, oid), (1_700_000_000 + number,) * 2)
    return repo


def at_step(monkeypatch: pytest.MonkeyPatch, operation: str, end: str, action: Callable[[], object]) -> None:
    """Do `action` once, before the first step of that operation on a path that ends so."""
    waiting = [action]

    def before_step(name: str, path: str) -> None:
        if waiting and name == operation and path.endswith(end):
            waiting.pop()()

    monkeypatch.setattr(fs.door, "before_step", before_step)


def by_age(repo: Path) -> list[str]:
    """Loose objects, the oldest first."""
    return sorted(loose_oids(repo), key=lambda oid: loose_path(repo, oid).stat().st_mtime_ns)


def page_path(repo: Path, name: str, suffix: str = ".pack") -> Path:
    return pack_dir(repo) / f"{name}{suffix}"


# -- The same objects


def test_every_loose_object_goes_into_a_page(
    made: dict[ObjectFormat, Path], tmp_path: Path, object_format: ObjectFormat
) -> None:
    repo = Path(shutil.copytree(made[object_format], tmp_path / "repo", symlinks=True))
    digest, oids = content_digest(repo), loose_oids(repo)
    sizes = sum(loose_path(repo, oid).stat().st_size for oid in oids)
    result = pack_all_loose(repo)
    (page,) = result.pages
    assert (len(oids), len(oids), sizes, (), "", (), "") == result[1:]
    assert (len(oids), page_path(repo, page.name).stat().st_size) == (page.object_count, page.size)
    assert {page.name: len(oids)} == packs(repo)
    assert set() == loose_oids(repo)
    assert "0 objects, 0 kilobytes" == git_line(repo, "count-objects")
    assert digest == content_digest(repo)
    assert [] == leftovers(repo)
    fsck(repo)
    verify_packs(repo)
    clone_works(repo, tmp_path)
    copy = tmp_path / "copy.pack"
    shutil.copy(page_path(repo, page.name), copy)
    assert page.name == "pack-" + git_line(repo, "index-pack", copy)
    assert copy.with_suffix(".idx").read_bytes() == page_path(repo, page.name, ".idx").read_bytes()


def test_pages_of_loose_objects_are_indexed_merged_and_expired_like_others(repo: Path) -> None:
    digest = content_digest(repo)
    pages = pack_all_loose(repo, page_objects=20).pages
    gpa(repo, "write")
    write_loose(repo / ".git" / "objects", "blob", b"one more\n")
    digest = content_digest(repo)
    assert 1 == len(pack_all_loose(repo).pages)
    gpa(repo, "repack")
    gpa(repo, "expire", "--grace=now")
    assert 1 == len(packs(repo)) < len(pages)
    git(repo, "rev-list", "--objects", "--all")
    gpa(repo, "verify", "--deep")
    assert digest == content_digest(repo)
    assert_sound(repo, digest)


def test_what_nothing_refers_to_is_kept(repo: Path) -> None:
    forgotten = git(repo, "hash-object", "--stdin", input=b"nothing refers to this\n").stdout.strip()
    pack_all_loose(repo)
    assert "nothing refers to this\n" == git(repo, "cat-file", "blob", forgotten).stdout
    git(repo, "gc", "--quiet")
    assert "nothing refers to this\n" == git(repo, "cat-file", "blob", forgotten).stdout


def test_what_is_packed_already_goes_into_a_page_too(repo: Path) -> None:
    """Whether the other copy is sound nobody knows; where both are merged, one of them goes."""
    oids = loose_oids(repo)
    git(repo, "repack", "-q")
    assert oids == loose_oids(repo)
    digest = content_digest(repo)
    assert len(oids) == pack_all_loose(repo).removed_count
    assert set() == loose_oids(repo)
    fsck(repo)
    assert digest == content_digest(repo)


def test_only_the_planned_objects_are_taken(small: Path) -> None:
    chosen = sorted(loose_oids(small))[:2]
    result = pack_planned(small, [*chosen, *chosen, "0" * 40])
    assert (2, 2, ()) == (result.object_count, result.removed_count, result.left_out)
    assert 4 == len(loose_oids(small))


def test_where_there_is_nothing_the_result_says_so(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "empty")
    before = all_files(tmp_path / "empty" / "objects")
    result = pack_all_loose(tmp_path / "empty")
    assert ((), 0, "there is no loose object that can be packed") == (result.pages, result.removed_count, result.reason)
    assert before == all_files(tmp_path / "empty" / "objects")


# -- What is found


def test_only_files_with_names_of_loose_objects_are_found(small: Path) -> None:
    """What is a link, a pipe or a folder is neither followed nor opened, whatever its name."""
    objdir, objects = find_object_dir(str(small)), small / "objects"
    known = loose_objects(objdir)
    assert [*sorted(loose_oids(small))] == [one.oid for one in known]
    for one in known:
        stat = loose_path(small, one.oid).stat()
        assert (stat.st_size, stat.st_mtime_ns) == (one.size, one.mtime_ns)
    (objects / "aa").mkdir(exist_ok=True)
    for name in ("tmp_obj_x1y2z3", "F" * 38, "f" * 37, "f" * 39, "f" * 62, "g" * 38, "f" * 37 + "\n", "f" * 36 + ".x"):
        (objects / "aa" / name).write_bytes(b"x")
    for folder in ("AA", "a", "aaa", "zz"):
        (objects / folder).mkdir()
        (objects / folder / ("f" * 38)).write_bytes(b"x")
    assert (6, known) == (count_loose(objdir), loose_objects(objdir))
    os.mkfifo(objects / "aa" / ("1" * 38))
    (objects / "aa" / ("2" * 38)).symlink_to(loose_path(small, known[0].oid))
    (objects / "aa" / ("3" * 38)).symlink_to("nowhere")
    (objects / "aa" / ("4" * 38)).mkdir()
    (objects / "bc").symlink_to(known[0].oid[:2])
    assert known == loose_objects(objdir)
    assert 6 + 4 == count_loose(objdir)
    assert 6 == pack_all_loose(small).removed_count
    assert (0, ()) == (count_loose(objdir) - 4, loose_objects(objdir))


def test_sha256_names_are_longer(made: dict[ObjectFormat, Path]) -> None:
    objdir = find_object_dir(str(made["sha256"]))
    assert len(loose_oids(made["sha256"])) == count_loose(objdir) == len(loose_objects(objdir))
    assert {64} == {len(one.oid) for one in loose_objects(objdir)}


def test_what_became_a_link_or_a_pipe_after_planning_is_left_where_it_is(small: Path, tmp_path: Path) -> None:
    link, pipe, *rest = sorted(loose_oids(small))
    elsewhere = tmp_path / "elsewhere"
    loose_path(small, link).rename(elsewhere)
    loose_path(small, link).symlink_to(elsewhere)
    loose_path(small, pipe).unlink()
    os.mkfifo(loose_path(small, pipe))
    result = pack_planned(small, [link, pipe, *rest])
    assert {link, pipe} == {left.oid for left in result.left_out}
    reasons = {left.oid: left.reason for left in result.left_out}
    assert "symbolic links" in reasons[link] and "not a regular file" in reasons[pipe]
    assert len(rest) == result.removed_count
    assert elsewhere.exists() and loose_path(small, link).is_symlink() and loose_path(small, pipe).is_fifo()


def test_what_cannot_be_removed_is_not_packed_again_and_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = min(loose_oids(small))
    folder = str(loose_path(small, oid).parent)
    monkeypatch.setattr(os, "access", lambda path, _mode: path != folder)
    result = pack_all_loose(small)
    assert [(str(loose_path(small, oid)), oid)] == [(left.pack, left.oid) for left in result.left_out]
    assert "not writable" in result.left_out[0].reason
    assert {oid} == loose_oids(small)


# -- Which page, and where in it


def test_pages_are_filled_with_the_oldest_objects_first(small: Path) -> None:
    oids = by_age(small)
    result = pack_all_loose(small, page_objects=4)
    assert [4, 2] == [page.object_count for page in result.pages]
    found = [entry.oid for page in result.pages for entry in packed_objects(small, page.name)]
    assert oids == found


def test_a_page_has_commits_tags_trees_and_blobs_the_oldest_first(repo: Path) -> None:
    oids = sorted(loose_oids(repo))
    for number, oid in enumerate(oids):
        os.utime(loose_path(repo, oid), ns=(0, 10**18 + number * 7919 % 97))
    ranks = {"commit": 0, "tag": 1, "tree": 2, "blob": 3}
    times = {oid: loose_path(repo, oid).stat().st_mtime_ns for oid in oids}
    kinds = {oid: ranks[kind] for oid, (kind, _, _) in all_objects(repo).items()}
    (page,) = pack_all_loose(repo).pages
    found = [entry.oid for entry in packed_objects(repo, page.name)]
    assert sorted(oids, key=lambda oid: (kinds[oid], times[oid], oid)) == found


def test_page_bytes_close_a_page_and_a_larger_object_stands_alone(repo: Path) -> None:
    git(repo, "config", "core.compression", "0")
    digest = content_digest(repo)
    *pages, last, random, repeated = pack_all_loose(repo, page_bytes=20_000).pages
    assert (1, 1) == (random.object_count, repeated.object_count)
    assert min(random.size, repeated.size) > 2 * MIB
    assert len(pages) > 1
    assert all(15_000 < page.size <= 20_000 for page in pages)
    assert last.size <= 20_000
    assert digest == content_digest(repo)


# -- Order of effects


def test_pages_are_durable_under_their_names_before_the_first_loose_file_goes(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3, I4"""
    steps: list[tuple[str, str]] = []
    loose = {str(loose_path(repo, oid)) for oid in loose_oids(repo)}
    monkeypatch.setattr(fs.door, "before_step", lambda operation, path: steps.append((operation, path)))
    result = pack_all_loose(repo, page_objects=30)
    assert len(result.pages) > 1
    folder = str(pack_dir(repo))
    links = [at for at, (operation, path) in enumerate(steps) if operation == "link" and path.startswith(folder)]
    suffixes = (".keep", ".pack", ".idx")
    assert [f"{folder}/{page.name}{suffix}" for page in result.pages for suffix in suffixes] == [
        steps[at][1] for at in links
    ]
    is_keep = lambda path: path.endswith(".keep")  # noqa: E731
    synced = [at for at, (op, path) in enumerate(steps) if op == "fsync" and path != folder and not is_keep(path)]
    assert 2 * len(result.pages) == len(synced) and max(synced) < min(links)
    gone = [at for at, (operation, path) in enumerate(steps) if operation == "unlink" and path in loose]
    assert len(loose) == len(gone)
    assert max(links) < steps.index(("fsync", folder)) < min(gone)


def test_a_page_is_as_young_as_all_that_went_into_it(small: Path) -> None:
    """I9. And not dated ahead of the clock, whatever the clock of a file was."""
    ahead = time.time_ns() + HOUR_NS
    os.utime(loose_path(small, min(loose_oids(small))), ns=(ahead, ahead))
    before = time.time_ns()
    (page,) = pack_all_loose(small).pages
    assert before <= page_path(small, page.name).stat().st_mtime_ns <= time.time_ns()


def test_a_loose_file_that_was_touched_hands_its_time_on(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: git "writes" an object that is there by touching its file, and prunes by that time."""
    touched = max(loose_oids(small))
    later: list[int] = []

    def touch() -> None:
        for path in pack_dir(small).glob("*.pack"):
            os.utime(path, (1_600_000_000,) * 2)
        os.utime(loose_path(small, touched))
        later.append(loose_path(small, touched).stat().st_mtime_ns)

    at_step(monkeypatch, "fsync", "/pack", touch)
    result = pack_all_loose(small, page_objects=2)
    holder = next(page for page in result.pages if touched in {o.oid for o in packed_objects(small, page.name)})
    for page in result.pages:
        mtime = page_path(small, page.name).stat().st_mtime_ns
        assert later == [mtime] if page == holder else mtime < later[0]
    assert set() == loose_oids(small)


def test_an_object_written_again_just_before_is_not_pruned(small: Path) -> None:
    """I9, judged by git: unreachable, two months old, then written again."""
    old = time.time() - 60 * 86400
    for oid in loose_oids(small):
        os.utime(loose_path(small, oid), (old, old))
    content = b"blob 0\n" * 20
    oid = git(small, "hash-object", "-w", "--stdin", input=content).stdout.strip()
    pack_all_loose(small)
    git(small, "gc", "--quiet")
    assert content.decode() == git(small, "cat-file", "blob", oid).stdout


# -- Readers that started before


@pytest.mark.parametrize("index", ["no index", "an index of some", "an index of all"])
def test_readers_opened_before_read_every_object(repo: Path, index: str) -> None:
    """I2: also one that has an index in memory which names none of the pages."""
    if index != "no index":
        git(repo, "repack", "-q", *(["-a"] if index == "an index of all" else []))
        gpa(repo, "write")
        git(repo, "prune-packed")
    for number in range(3):
        git(repo, "hash-object", "-w", "--stdin", input=b"loose %d\n" % number)
    with readers() as opened:
        opened.append(Reader(repo))
        pack_all_loose(repo, page_objects=9)
        opened.append(Reader(repo))
        for reader in opened:
            reader.read_all()
        gpa(repo, "write")
        opened.append(Reader(repo))
        git(repo, "hash-object", "-w", "--stdin", input=b"and one more\n")
        pack_all_loose(repo)
        gpa(repo, "repack")
        gpa(repo, "expire", "--grace=now")
        for reader in opened:
            reader.read_all()
    fsck(repo)


# -- Others at work at the same time


def test_what_vanishes_meanwhile_is_passed_over(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's prune-packed: it was in a pack, or it would not have gone."""
    git(small, "config", "core.compression", "0")
    oids = sorted(loose_oids(small))
    git(small, "pack-objects", "-q", pack_dir(small) / "pack", input="\n".join(oids[:3]) + "\n")
    digest = content_digest(small)
    at_step(monkeypatch, "create", ".pack", lambda: git(small, "prune-packed"))
    result = pack_all_loose(small)
    assert (3, 3, ()) == (result.object_count, result.removed_count, result.left_out)
    assert [3] == [page.object_count for page in result.pages]
    assert digest == content_digest(small)
    assert [] == leftovers(small)


def test_where_everything_vanishes_no_page_is_made(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(small, "pack-objects", "-q", pack_dir(small) / "pack", input="\n".join(loose_oids(small)) + "\n")
    before = packs(small)
    at_step(monkeypatch, "create", ".pack", lambda: git(small, "prune-packed"))
    result = pack_all_loose(small)
    assert ((), 0, ()) == (result.pages, result.object_count, result.left_out)
    assert before == packs(small)
    assert [] == leftovers(small)


def test_a_file_that_goes_before_it_is_removed_is_not_counted(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = min(loose_oids(small))
    at_step(monkeypatch, "fsync", "/pack", loose_path(small, oid).unlink)
    result = pack_all_loose(small)
    assert (6, 5) == (result.object_count, result.removed_count)
    assert "somebody else" in result.reason


@pytest.mark.parametrize("lock", ["gc.pid", "objects/maintenance.lock"])
def test_while_git_s_maintenance_runs_nothing_is_done(small: Path, lock: str) -> None:
    (small / lock).write_text(f"{os.getpid()} {socket.gethostname()}")
    before = all_files(small / "objects")
    with pytest.raises(Locked, match=f"{lock}.*running"):
        pack_all_loose(small)
    assert before == all_files(small / "objects")


@pytest.mark.parametrize("lock", ["gc.pid", "objects/maintenance.lock"])
def test_when_git_s_maintenance_begins_meanwhile_the_loose_files_stay(
    small: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    """`git gc` looks whether an unreachable object is loose, then deletes the pack that holds it too."""
    oids, content = loose_oids(small), f"{os.getpid()} {socket.gethostname()}"
    at_step(monkeypatch, "fsync", "/pack", lambda: (small / lock).write_text(content))
    result = pack_all_loose(small)
    assert (6, 0) == (result.object_count, result.removed_count)
    assert "running" in result.reason
    assert oids == loose_oids(small)
    (small / lock).unlink()
    again = pack_all_loose(small)
    assert (result.pages, 6) == (again.pages, again.removed_count)
    assert 1 == len(packs(small))
    assert set() == loose_oids(small)
    assert [] == leftovers(small)


def test_git_gc_and_git_maintenance_stay_away_while_loose_files_go(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    first = f"/{by_age(small)[0][2:]}"
    at_step(monkeypatch, "unlink", first, lambda: said.append(git(small, "gc", check=False).stderr))
    assert 6 == pack_all_loose(small).removed_count
    assert "gc is already running" in said[0]


def test_very_many_are_packed_part_by_part(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I11, I3: each part is over, its files gone, before the next one begins."""
    monkeypatch.setattr(packing, "AT_ONCE", 4)
    digest, seen = content_digest(small), []
    check = fs.check_git_locks

    def look(*args: Any) -> None:
        seen.append(len(loose_oids(small)))
        check(*args)

    monkeypatch.setattr(fs, "check_git_locks", look)
    result = pack_all_loose(small)
    assert [6, 2] == sorted(set(seen), reverse=True)
    assert (2, 6, 6, "") == (len(result.pages), result.object_count, result.removed_count, result.reason)
    assert [2, 4] == sorted(packs(small).values())
    assert digest == content_digest(small)
    assert [] == leftovers(small)


def test_what_is_left_when_git_s_maintenance_begins_between_two_parts(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "AT_ONCE", 4)
    check, begun = fs.check_git_locks, []

    def look(*args: Any) -> None:
        if len(loose_oids(small)) == 2 and not begun:
            begun.append((small / "gc.pid").write_text(f"{os.getpid()} {socket.gethostname()}"))
        check(*args)

    monkeypatch.setattr(fs, "check_git_locks", look)
    result = pack_all_loose(small)
    assert (1, 4, 4) == (len(result.pages), result.object_count, result.removed_count)
    assert "the other loose objects stay for now" in result.reason
    assert 2 == len(loose_oids(small))


@pytest.mark.parametrize("suffixes", [(".idx", ".pack"), (".pack",), (".idx",)], ids=" ".join)
def test_when_a_page_is_taken_away_its_loose_files_stay(
    small: Path, monkeypatch: pytest.MonkeyPatch, suffixes: tuple[str, ...]
) -> None:
    """`git repack -a -d` takes no lock."""
    digest = content_digest(small)

    def take_away() -> None:
        for suffix in suffixes:
            next(pack_dir(small).glob(f"*{suffix}")).unlink()

    at_step(monkeypatch, "link", "maintenance.lock", take_away)
    result = pack_all_loose(small)
    assert (6, 0) == (result.object_count, result.removed_count)
    assert "somebody else" in result.reason
    assert digest == content_digest(small)


@pytest.mark.parametrize(("suffix", "place"), [(".pack", -1), (".idx", -1), (".idx", 1100)])
def test_when_a_page_has_become_another_file_its_loose_files_stay(
    small: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, place: int
) -> None:
    """I3: a disk may give back something else than was written."""
    digest, oids = content_digest(small), loose_oids(small)

    def damage() -> None:
        (path,) = pack_dir(small).glob(f"*{suffix}")
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)

    at_step(monkeypatch, "link", "maintenance.lock", damage)
    with pytest.raises(Corrupt, match=r"\.(pack|idx)'"):
        pack_all_loose(small)
    assert oids == loose_oids(small)
    for path in pack_dir(small).iterdir():
        path.unlink()
    assert digest == content_digest(small)


# -- A page of that name is there already


def copy_of_loose(repo: Path, target: Path) -> Callable[[], None]:
    """Keeps all loose files; the value brings them back with their times."""
    objects = repo / "objects"
    oids = loose_oids(repo)
    shutil.copytree(objects, target)

    def bring_back() -> None:
        for oid in oids:
            shutil.copy2(target / oid[:2] / oid[2:], objects / oid[:2] / oid[2:])

    return bring_back


def test_a_page_that_is_there_already_is_used_again_and_made_younger(small: Path, tmp_path: Path) -> None:
    bring_back = copy_of_loose(small, tmp_path / "kept")
    (page,) = pack_all_loose(small).pages
    os.utime(page_path(small, page.name), (1_600_000_000,) * 2)
    bring_back()
    result = pack_all_loose(small)
    assert ((page,), 6) == (result.pages, result.removed_count)
    assert [page.name] == list(packs(small))
    assert page_path(small, page.name).stat().st_mtime > 1_700_000_000 + 6
    fsck(small)


@pytest.mark.parametrize("suffix", [".pack", ".idx", ".keep"])
def test_a_page_that_is_there_already_and_differs_is_not_relied_on(small: Path, tmp_path: Path, suffix: str) -> None:
    """I14: nor is one that is not held. The objects go into a page of another name."""
    bring_back = copy_of_loose(small, tmp_path / "kept")
    (page,) = pack_all_loose(small).pages
    path = page_path(small, page.name, suffix)
    if suffix == ".keep":
        path.unlink()
    else:
        path.chmod(0o644)
        data = path.read_bytes()
        path.write_bytes(data[:-30] + bytes([data[-30] ^ 1]) + data[-29:])
    bring_back()
    result = pack_all_loose(small)
    assert [page.name] != [one.name for one in result.pages]
    assert 6 == result.removed_count
    for gone in pack_dir(small).glob(f"{page.name}.*"):
        gone.unlink()
    fsck(small)


# -- Stopping


def test_what_is_stopped_before_it_began_changes_nothing(small: Path) -> None:
    before = all_files(small / "objects")
    progress = Progress()
    progress.stop()
    with pytest.raises(Stopped):
        pack_all_loose(small, stop=progress)
    assert before == all_files(small / "objects")


def test_what_is_stopped_while_files_go_loses_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, progress = content_digest(small), Progress()
    third = f"/{by_age(small)[2][2:]}"
    at_step(monkeypatch, "unlink", third, progress.stop)
    with pytest.raises(Stopped):
        pack_all_loose(small, stop=progress)
    assert 0 < len(loose_oids(small)) < 6
    assert digest == content_digest(small)
    assert [] == leftovers(small)
    pack_all_loose(small)
    assert set() == loose_oids(small)
    assert digest == content_digest(small)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One loose blob of 200 MiB that does not deflate, one that does, and small ones; not to be changed."""
    root = tmp_path_factory.mktemp("large")
    git(root, "init", "--quiet", "--bare", "large")
    repo = root / "large"
    block = os.urandom(MIB)
    for name, pieces in (
        ("random", (os.urandom(1024) + block[:-1024] for _ in range(200))),
        ("zeros", [bytes(MIB)] * 200),
    ):
        with (root / name).open("wb") as file:
            file.writelines(pieces)
        git(repo, "-c", "core.looseCompression=1", "-c", "core.bigFileThreshold=10g", "hash-object", "-w", root / name)
        (root / name).unlink()
    for number in range(5):
        write_loose(repo / "objects", "blob", b"small %d\n" % number)
    return repo


def test_a_large_object_is_stopped_within_a_second(large: Path) -> None:
    before, progress = all_files(large / "objects"), Progress()
    asked = []

    def stop() -> None:
        while not any(path.stat().st_size > 20 * MIB for path in (large / "gpa").glob("tmp/*.pack")):
            time.sleep(0.001)
        asked.append(time.monotonic())
        progress.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Stopped):
        pack_all_loose(large, stop=progress)
    ended = time.monotonic()
    thread.join()
    assert ended - asked[0] < 1
    assert before == all_files(large / "objects")
    assert [] == leftovers(large)


# -- Memory


@pytest.mark.memory
def test_memory_stays_small_while_loose_objects_of_200_mib_are_packed(large: Path, tmp_path: Path) -> None:
    """I11"""
    repo = Path(shutil.copytree(large, tmp_path / "repo"))
    digest = content_digest(repo)
    program = (
        "import sys; from pathlib import Path; from loose import pack_all_loose; pack_all_loose(Path(sys.argv[1])); "
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    here = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program, repo], cwd=here, capture_output=True, text=True, check=True)
    assert int(done.stdout) << 10 < 40 * MIB
    assert set() == loose_oids(repo)
    assert digest == content_digest(repo)
