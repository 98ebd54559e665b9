"""What changes between a look and the step that relies on it is seen: each test changes one thing at one step."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from histories import History, HistorySpec, send_push
from oracle import content_digest, git, midx_names, pack_dir, packs, parse_midx, read_midx
from packwriter import Whole, add_pack
from running import assert_sound, gpa, index_path, leftovers

from gpa_maint import commands, fs, rounds
from gpa_maint.apply.expire import prove_doomed
from gpa_maint.errors import Locked, StalePlan
from gpa_maint.git import find_object_dir
from gpa_maint.inventory import take_inventory

HistoryFactory = Callable[[HistorySpec], History]


@pytest.fixture
def pushed(history: HistoryFactory) -> History:
    """Six pushes that the index names, and two that wait."""
    made = history(HistorySpec(pushes=6, waiting=2))
    gpa(made.server, "write")
    return made


@pytest.fixture
def merged(history: HistoryFactory) -> History:
    """Six pushes whose packs are superseded by one page."""
    made = history(HistorySpec(pushes=6, waiting=1))
    gpa(made.server, "repack")
    return made


def once_at(monkeypatch: pytest.MonkeyPatch, is_it: Callable[[str, Path], bool], change: Callable[[], None]) -> None:
    """Call `change` just before the first step that `is_it`, by operation and path."""
    done: list[bool] = []

    def step(operation: str, path: str) -> None:
        if not done and is_it(operation, Path(path)):
            done.append(True)
            change()

    monkeypatch.setattr(fs.door, "before_step", step)


def is_synced(operation: str, path: Path) -> bool:
    """The new index is complete, and not published yet."""
    return (operation, path.suffix) == ("fsync", ".midx")


def is_published(operation: str, path: Path) -> bool:
    return (operation, path.name) == ("rename", "multi-pack-index")


def push(made: History, number: int = 0) -> str:
    before = packs(made.server).keys()
    send_push(made.client, made.server, made.waiting[number])
    (pack,) = packs(made.server).keys() - before
    return pack


def twin_of(repo: Path) -> str:
    """A pack that no index names, whose object is in a second one too."""
    blob = Whole(kind="blob", content=b"in two packs\n" * 9)
    add_pack(repo, [blob, Whole(kind="blob", content=b"another one\n")])
    return add_pack(repo, [blob])


def take_away(repo: Path, pack: str, *suffixes: str) -> None:
    for suffix in suffixes:
        (pack_dir(repo) / f"{pack}{suffix}").unlink()


# -- Publishing an index


def test_a_lock_that_appears_while_the_index_is_written_stays_and_ends_the_run(
    pushed: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = pack_dir(pushed.server) / "multi-pack-index.lock"
    push(pushed)
    before = index_path(pushed.server).read_bytes()
    once_at(monkeypatch, is_synced, lambda: void(lock.write_text("git's\n")))
    with pytest.raises(Locked, match=r"multi-pack-index\.lock': File exists"):
        commands.write(str(pushed.server))
    assert before == index_path(pushed.server).read_bytes()
    assert "git's\n" == lock.read_text()
    assert [lock] == leftovers(pushed.server)


def void(_value: object) -> None:
    """For a lambda whose call gives something that nobody wants."""


def test_an_index_that_git_writes_meanwhile_is_built_upon(pushed: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5"""
    first = push(pushed)
    seconds: list[str] = []

    def git_writes() -> None:
        seconds.append(push(pushed, 1))
        git(pushed.server, "multi-pack-index", "write")

    once_at(monkeypatch, is_synced, git_writes)
    commands.write(str(pushed.server))
    assert {*pushed.packs, first, *seconds} == set(midx_names(pushed.server))


@pytest.mark.parametrize("suffixes", [(".idx", ".pack"), (".pack",), (".idx",)], ids="-".join)
def test_no_index_is_published_that_names_a_pack_which_went_while_it_was_written(
    pushed: History, monkeypatch: pytest.MonkeyPatch, suffixes: tuple[str, ...]
) -> None:
    """I5. Even for a moment."""
    twin = twin_of(pushed.server)
    once_at(monkeypatch, is_synced, lambda: take_away(pushed.server, twin, *suffixes))
    change = fs.door.before_step
    assert change is not None
    published: list[set[str]] = []

    def step(operation: str, path: str) -> None:
        change(operation, path)
        if is_published(operation, Path(path)):
            published.append(set(parse_midx((pack_dir(pushed.server) / "multi-pack-index.lock").read_bytes()).packs))

    monkeypatch.setattr(fs.door, "before_step", step)
    commands.write(str(pushed.server))
    assert published
    assert [] == [names for names in published if twin in names]
    assert twin not in midx_names(pushed.server)


@pytest.mark.parametrize("suffixes", [(".idx", ".pack"), (".pack",), (".idx",)], ids="-".join)
def test_a_pack_that_goes_while_the_index_is_published_is_dropped_from_it(
    pushed: History, monkeypatch: pytest.MonkeyPatch, suffixes: tuple[str, ...]
) -> None:
    """I5. `git gc` takes no lock."""
    twin = twin_of(pushed.server)
    once_at(monkeypatch, is_published, lambda: take_away(pushed.server, twin, *suffixes))
    commands.write(str(pushed.server))
    assert twin not in midx_names(pushed.server)


# -- Deleting


def test_an_index_that_changed_after_planning_proves_nothing(merged: History) -> None:
    """I7"""
    objdir = find_object_dir(str(merged.server))
    plan = rounds.plan_expire_now(objdir, take_inventory(objdir, counts=False), 0)
    assert set(merged.packs) == {pack.name for pack in plan.doomed}
    push(merged)
    git(merged.server, "multi-pack-index", "write")
    with pytest.raises(StalePlan, match="the combined index changed after planning"):
        prove_doomed(objdir, plan)


def test_a_keep_that_appears_while_others_are_deleted_is_respected(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8. It is looked for again before each pack."""
    folder, gone = pack_dir(merged.server), []

    def keep_the_rest() -> None:
        (first,) = gone
        for pack in set(merged.packs) - {first}:
            (folder / f"{pack}.keep").touch()

    def is_first(operation: str, path: Path) -> bool:
        if operation == "unlink" and path.parent == folder and path.suffix == ".pack":
            gone.append(path.stem)
            return True
        return False

    once_at(monkeypatch, is_first, keep_the_rest)
    result = commands.expire(str(merged.server), grace_seconds=0)
    assert tuple(gone) == result.deleted
    assert set(merged.packs) - set(gone) == set(merged.packs) & set(packs(merged.server))


def test_no_pack_is_deleted_that_an_index_names_which_somebody_wrote_meanwhile(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5, I7. The plan is made again, and the pages go with an index that does not name them."""
    old, folder = index_path(merged.server).read_bytes(), pack_dir(merged.server)
    put_back(monkeypatch, merged.server, old, lambda operation, path: path.name.startswith("hidden-"))
    change = fs.door.before_step
    assert change is not None
    named_at_unlink: list[str] = []

    def step(operation: str, path: str) -> None:
        change(operation, path)
        name = Path(path)
        if operation == "unlink" and name.parent == folder and name.suffix == ".pack":
            named_at_unlink.extend({name.stem} & set(midx_names(merged.server)))

    monkeypatch.setattr(fs.door, "before_step", step)
    digest = content_digest(merged.server)
    result = commands.expire(str(merged.server), grace_seconds=0)
    assert set(merged.packs) == set(result.deleted)
    assert [] == named_at_unlink
    assert_sound(merged.server, digest)


def put_back(monkeypatch: pytest.MonkeyPatch, repo: Path, old: bytes, is_it: Callable[[str, Path], bool]) -> None:
    """Write an older index, as a git process does that read the packs before we deleted them."""

    def write() -> None:
        temporary = pack_dir(repo) / "tmp_index"
        temporary.write_bytes(old)
        os.replace(temporary, index_path(repo))

    once_at(monkeypatch, is_it, write)


def test_an_index_that_names_a_deleted_pack_is_written_again(merged: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5. The last look, when the packs are gone."""
    old, folder = index_path(merged.server).read_bytes(), pack_dir(merged.server)
    put_back(
        monkeypatch,
        merged.server,
        old,
        lambda operation, path: operation == "unlink" and path.parent == folder and path.suffix == ".pack",
    )
    digest = content_digest(merged.server)
    result = commands.expire(str(merged.server), grace_seconds=0)
    assert set(merged.packs) == set(result.deleted)
    assert set(read_midx(merged.server).packs) == set(packs(merged.server))
    assert_sound(merged.server, digest)


@pytest.mark.parametrize("suffix", [".pack", ".idx"])
def test_pages_come_back_when_the_pack_that_has_their_objects_goes(
    merged: History, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """I7. Somebody's repack deletes the page that the proof relied on, between the proof and the deletion."""
    (page,) = packs(merged.server).keys() - set(merged.packs)
    path = pack_dir(merged.server) / f"{page}{suffix}"
    aside = merged.server / f"aside{suffix}"
    once_at(monkeypatch, lambda operation, path: path.name.startswith("hidden-"), lambda: void(os.replace(path, aside)))
    result = commands.expire(str(merged.server), grace_seconds=0)
    assert () == result.deleted
    assert set(merged.packs) <= {path.stem for path in pack_dir(merged.server).glob("*.idx")}
    assert set(merged.packs) <= {path.stem for path in pack_dir(merged.server).glob("*.pack")}


# -- Syncing


@pytest.mark.parametrize("verb", ["write", "repack", "expire", "add_loose"])
def test_what_is_said_to_be_synced_is_synced(merged: History, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """I3. Each step "fsync" is followed by a call of the system for that very file."""
    push(merged)
    git(merged.server, "hash-object", "-w", "--stdin", input="loose\n")
    claimed: list[str] = []
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    def step(operation: str, path: str) -> None:
        if operation == "fsync":
            claimed.append(os.path.realpath(path))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(fs.door, "before_step", step)
    if verb == "expire":
        commands.expire(str(merged.server), grace_seconds=0)
    else:
        getattr(commands, verb)(str(merged.server))
    assert claimed == synced
    assert str(pack_dir(merged.server).resolve()) in synced
