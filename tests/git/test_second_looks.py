"""What changes between a look and the step that relies on it is seen: each test changes one thing at one step."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from histories import History, HistorySpec, init_server, send_push, set_pack_mtimes
from oracle import content_digest, git, midx_names, midx_winners, pack_dir, packed_objects, packs, parse_midx, read_midx
from packwriter import Whole, add_pack, oid_hex
from running import assert_sound, gpa, index_path, leftovers

from gpa_maint import PageStore, commands, fs
from gpa_maint._core.base import processes_named
from gpa_maint.apply import expire
from gpa_maint.apply.expire import end_holds, prove_doomed
from gpa_maint.apply.repack import write_pages
from gpa_maint.apply.repair import write_loose
from gpa_maint.errors import GitFailed, Locked, StalePlan, SystemFailed
from gpa_maint.fs import holds
from gpa_maint.look.inventory import take_inventory
from gpa_maint.plan.repack import plan_repack
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.repo.git import run_git
from gpa_maint.verbs import write as write_verb
from gpa_maint.verbs.at_work import at_work
from gpa_maint.verbs.expire import plan_expire_at
from gpa_maint.verbs.session import now

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


def test_a_verb_that_fails_leaves_no_index_that_names_a_deleted_pack(
    pushed: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5. A git process is at work while the index is published; it deletes a pack, then the verb fails."""
    twin = twin_of(pushed.server)
    digest = content_digest(pushed.server)
    ended = fs.Deleter(pid=2**22, began=1, command="repack")
    beside: Iterator[list[fs.Deleter]] = chain([[]], repeat([ended]))  # it begins after the verb
    monkeypatch.setattr(fs, "deleters", lambda _objdir: next(beside))

    def fail(args: list[str], **_options: object) -> str:
        assert twin in midx_names(pushed.server)
        take_away(pushed.server, twin, ".idx", ".pack")
        raise GitFailed(args, 1, "no bitmap")

    monkeypatch.setattr(write_verb, "run_git", fail)
    with pytest.raises(GitFailed, match="no bitmap"):
        commands.write(str(pushed.server), bitmap=True)
    assert {*pushed.packs} < {*midx_names(pushed.server)}
    assert twin not in midx_names(pushed.server)
    assert digest == content_digest(pushed.server)


def test_a_lock_that_appears_before_git_writes_a_bitmap_ends_the_run(
    pushed: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = pack_dir(pushed.server) / "multi-pack-index.lock"

    def locked(args: list[str], **options: Any) -> str:
        lock.write_text("git's\n")
        try:
            return run_git(args, **options)
        finally:
            lock.unlink()

    monkeypatch.setattr(write_verb, "run_git", locked)
    with pytest.raises(Locked, match=rf"^Unable to create '{lock}': File exists\.$"):
        commands.write(str(pushed.server), bitmap=True)
    assert [] == leftovers(pushed.server)


def test_an_index_is_synced_before_it_is_published(pushed: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1, I3"""
    push(pushed)
    steps = record(monkeypatch)
    commands.write(str(pushed.server))
    order = [step for step in steps if is_synced(*step) or is_published(*step)]
    assert ["fsync", "rename"] == [operation for operation, _ in order]


def test_an_old_index_without_its_checksum_is_not_built_upon(pushed: History) -> None:
    """I7: the winners that it names may be none."""
    first = push(pushed)
    path, data = index_path(pushed.server), bytearray(index_path(pushed.server).read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)
    result = commands.write(str(pushed.server))
    assert ("ignoring existing multi-pack-index; checksum mismatch",) == result.warnings
    assert first in midx_names(pushed.server)


# -- Deleting


def test_an_index_that_changed_after_planning_proves_nothing(merged: History) -> None:
    """I7"""
    objdir = find_object_dir(str(merged.server))
    plan = plan_expire_at(objdir, take_inventory(objdir, counts=False), 0, now=now())
    assert set(merged.packs) == {pack.name for pack in plan.doomed}
    push(merged)
    git(merged.server, "multi-pack-index", "write")
    with pytest.raises(StalePlan, match="the combined index changed after planning"):
        prove_doomed(objdir, plan)


def test_no_doomed_page_proves_another_or_itself(merged: History) -> None:
    """I7: whatever a plan says."""
    objdir = find_object_dir(str(merged.server))
    inventory = take_inventory(objdir, counts=False)
    plan = plan_expire_at(objdir, inventory, 0, now=now())
    proved = prove_doomed(objdir, plan._replace(doomed=inventory.packs))
    assert () == proved.doomed
    assert packs(merged.server).keys() == {step.pack for step in proved.kept_back}


def test_a_copy_in_a_cruft_pack_proves_nothing(tmp_path: Path) -> None:
    """I7, I9: git prunes what is in it by its old time."""
    repo = init_server(tmp_path / "server")
    small = add_pack(repo, blobs(b"in both\n"))
    cruft = add_pack(repo, blobs(b"in both\n", b"alone\n"))
    set_pack_mtimes(repo, [small, cruft])
    gpa(repo, "write")
    assert cruft == midx_winners(repo)[oid_hex("blob", b"in both\n")][0]
    (pack_dir(repo) / f"{cruft}.mtimes").touch()
    objdir = find_object_dir(str(repo))
    plan = plan_expire_at(objdir, take_inventory(objdir, counts=False), 0, now=now())
    assert [small] == [pack.name for pack in plan.doomed]
    (kept,) = prove_doomed(objdir, plan).kept_back
    assert f"some of its objects are only in the cruft pack '{cruft}' else" == kept.reason


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


def test_a_deletion_is_synced(merged: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1: after a power cut no name comes back whose pack is gone."""
    steps = record(monkeypatch)
    commands.expire(str(merged.server), grace_seconds=0)
    gone = max(number for number, (what, path) in enumerate(steps) if (what, path.suffix) == ("unlink", ".pack"))
    assert ("fsync", pack_dir(merged.server)) in steps[gone:]


def record(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    steps: list[tuple[str, Path]] = []
    monkeypatch.setattr(fs.door, "before_step", lambda operation, path: steps.append((operation, Path(path))))
    return steps


def test_what_repair_writes_is_synced_before_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I3"""
    repo = init_server(tmp_path / "server")
    objdir = find_object_dir(str(repo))
    steps = record(monkeypatch)
    with at_work(objdir, now) as session:
        write_loose(objdir, session.space, oid_hex("blob", b"saved"), "blob", b"saved")
    named = [number for number, (what, path) in enumerate(steps) if (what, path.suffix) == ("link", "")]
    synced = [number for number, (what, path) in enumerate(steps) if (what, path.suffix) == ("fsync", ".loose")]
    assert synced and named
    assert synced[0] < named[-1]
    assert b"saved" == git(repo, "cat-file", "blob", oid_hex("blob", b"saved")).stdout.encode()


def test_a_chain_goes_when_the_index_is_in_place(pushed: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: between the two a reader would find no index, and then one of fewer packs."""
    chain = pack_dir(pushed.server) / "multi-pack-index.d"
    layer = index_path(pushed.server).read_bytes()
    chain.mkdir()
    (chain / f"multi-pack-index-{layer[-20:].hex()}.midx").write_bytes(layer)
    (chain / "multi-pack-index-chain").write_text(f"{layer[-20:].hex()}\n")
    index_path(pushed.server).unlink()
    steps = record(monkeypatch)
    commands.write(str(pushed.server))
    published = next(number for number, step in enumerate(steps) if is_published(*step))
    assert [] == [path for what, path in steps[:published] if what == "unlink" and chain in path.parents]
    assert not chain.exists()


# -- Git processes and pages that are hidden


def test_pages_come_back_when_a_git_process_has_begun_meanwhile(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5, I7. It has listed the pages before they were hidden, and may delete what has their objects."""
    begun: list[fs.Deleter] = []
    monkeypatch.setattr(fs, "deleters", lambda _objdir: list(begun))
    repack = fs.Deleter(pid=2, began=1, command="repack")
    once_at(monkeypatch, lambda operation, path: path.name.startswith("hidden-"), lambda: begun.append(repack))
    result = commands.expire(str(merged.server), grace_seconds=0)
    assert () == result.deleted
    assert set(merged.packs) <= {path.stem for path in pack_dir(merged.server).glob("*.idx")}


def test_no_more_pages_are_hidden_once_a_git_process_has_begun(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2. It may write an index with the pages that it has listed, by which nobody finds those that are hidden."""
    steps = record(monkeypatch)
    monkeypatch.setattr(expire, "LOOK_AGAIN_NS", 0)
    repack = fs.Deleter(pid=2, began=1, command="repack")
    monkeypatch.setattr(fs, "deleters", lambda _objdir: [repack] if hidden(steps) else [])
    assert () == commands.expire(str(merged.server), grace_seconds=0).deleted
    assert 1 == len(hidden(steps)) < len(merged.packs)
    assert set(merged.packs) <= {path.stem for path in pack_dir(merged.server).glob("*.idx")}


def hidden(steps: list[tuple[str, Path]]) -> list[Path]:
    return [path for what, path in steps if what == "rename" and path.name.startswith("hidden-")]


def test_pages_come_back_after_an_error(merged: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """I2"""
    hidden: list[str] = []

    def step(operation: str, path: str) -> None:
        if operation == "rename" and Path(path).name.startswith("hidden-"):
            hidden.append(path)
            if len(hidden) == 3:
                raise SystemFailed("no more", path=path, errno=errno.EIO)

    monkeypatch.setattr(fs.door, "before_step", step)
    with pytest.raises(SystemFailed, match="no more"):
        commands.expire(str(merged.server), grace_seconds=0)
    assert set(merged.packs) <= {path.stem for path in pack_dir(merged.server).glob("*.idx")}


def test_what_a_killed_expire_had_hidden_comes_back(merged: History) -> None:
    """I2: the pages have to be proved anew."""
    objdir = find_object_dir(str(merged.server))
    with at_work(objdir, now) as session:
        path = fs.hide_idx(objdir, session.space, merged.packs[0])
    assert Path(path).exists()
    gpa(merged.server, "write")
    assert set(merged.packs) <= packs(merged.server).keys()
    assert [] == leftovers(merged.server)


@pytest.mark.parametrize("command", ["repack", "gc", "maintenance", "multi-pack-index"])
def test_a_program_of_git_is_found_by_its_name(command: str, pushed: History, tmp_path: Path) -> None:
    """I5: without `git` before it too. The kernel keeps 15 bytes of a name."""
    program = tmp_path / f"git-{command}"
    program.symlink_to(shutil.which("sleep") or "")
    process = subprocess.Popen([program, "100"], cwd=pushed.server)
    objdir = find_object_dir(str(pushed.server))
    try:
        wait_for_name(process, program.name[:15])
        assert [(process.pid, command)] == [(one.pid, one.command) for one in fs.deleters(objdir)]
    finally:
        process.kill()
        process.wait()
    assert [] == fs.deleters(objdir)


def wait_for_name(process: subprocess.Popen[bytes], name: str) -> None:
    """The kernel closes the files of the program before, by which Popen knows that this one runs, a moment earlier."""
    deadline = time.monotonic() + 30
    while Path(f"/proc/{process.pid}/comm").read_text().strip() != name and time.monotonic() < deadline:
        time.sleep(0.001)


def test_more_processes_than_one_look_has_room_for() -> None:
    waiting = [subprocess.Popen(["sleep", "100"]) for _ in range(70)]
    try:
        for process in waiting:
            wait_for_name(process, "sleep")
        assert {process.pid for process in waiting} <= set(processes_named(["sleep"]))
    finally:
        for process in waiting:
            process.kill()
            process.wait()


def test_a_process_that_ended_is_not_alive() -> None:
    """Also while nobody has waited for it."""
    process = subprocess.Popen(["sleep", "100"])
    stat = Path(f"/proc/{process.pid}/stat")
    began = int(stat.read_text().rpartition(")")[2].split()[19])
    assert fs.Deleter(process.pid, began, "gc").is_alive
    process.kill()
    deadline = time.monotonic() + 30
    while stat.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not fs.Deleter(process.pid, began, "gc").is_alive
    process.wait()


def test_a_process_with_the_number_of_one_that_ended_is_another() -> None:
    began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    assert fs.Deleter(os.getpid(), began, "gc").is_alive
    assert not fs.Deleter(os.getpid(), began - 1, "gc").is_alive


# -- Holds


def write_hold_in(folder: Path, hold: fs.Hold) -> bool:
    return holds.write_hold(str(folder / "pack-a.keep"), str(folder / "temporary"), hold, "")


def test_a_hold_takes_over_the_sources_and_the_kind_of_the_one_before(tmp_path: Path) -> None:
    """I14: otherwise it would end while a source is there that git may take to stay."""
    assert write_hold_in(tmp_path, fs.Hold(True, ("pack-b",)))
    assert write_hold_in(tmp_path, fs.Hold(False, ("pack-c",)))
    assert fs.Hold(True, ("pack-b", "pack-c")) == fs.read_hold(str(tmp_path / "pack-a.keep"))


@pytest.mark.parametrize("text", ["", "mine\n"])
def test_a_keep_of_somebody_else_is_never_replaced(tmp_path: Path, text: str) -> None:
    """I8"""
    keep = tmp_path / "pack-a.keep"
    keep.write_text(text)
    assert not write_hold_in(tmp_path, fs.Hold(True))
    assert text == keep.read_text()
    assert [keep] == list(tmp_path.iterdir())


def test_a_hold_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I14: an empty .keep would be somebody else's."""
    steps = record(monkeypatch)
    write_hold_in(tmp_path, fs.Hold(True))
    names = [(what, path.name) for what, path in steps]
    assert names.index(("fsync", "temporary")) < names.index(("link", "pack-a.keep"))


@pytest.mark.parametrize("suffix", [".pack", ".idx", ".keep"])
def test_a_page_takes_no_name_of_which_a_file_is_there(history: HistoryFactory, suffix: str) -> None:
    """I8, I14: a push that brings this pack makes its .keep first, then its .pack."""
    made = history(HistorySpec(pushes=6))
    twin = made.server.parent / "twin"
    shutil.copytree(made.server, twin)
    gpa(twin, "repack")
    (page,) = packs(twin).keys() - set(made.packs)
    file = pack_dir(made.server) / f"{page}{suffix}"
    file.write_bytes(b"somebody's\n")
    result = commands.repack(str(made.server))
    assert page not in {one.name for one in result.pages}
    assert [file] == list(pack_dir(made.server).glob(f"{page}.*"))
    assert b"somebody's\n" == file.read_bytes()


def test_a_hold_that_was_renewed_after_planning_stays(merged: History) -> None:
    """I14: a writer has added an object of the page again, and its mtime is now."""
    objdir = find_object_dir(str(merged.server))
    (page,) = packs(merged.server).keys() - set(merged.packs)
    keep = pack_dir(merged.server) / f"{page}.keep"
    keep.chmod(0o644)
    keep.write_text("git-gpa new\n")
    (seen,) = [pack for pack in take_inventory(objdir).packs if pack.name == page]
    now = int(time.time())
    old = seen._replace(mtime=now - 30 * 86400)
    assert old.hold_is_over(objdir.settings.keep_new, now)
    assert () == end_holds(objdir, [old], now)
    assert keep.exists()
    assert (page,) == end_holds(objdir, [old], now + objdir.settings.keep_new + 1)
    assert not keep.exists()


def test_a_keep_of_somebody_else_in_the_place_of_a_hold_stays(merged: History) -> None:
    """I8"""
    objdir = find_object_dir(str(merged.server))
    (page,) = packs(merged.server).keys() - set(merged.packs)
    (seen,) = [pack for pack in take_inventory(objdir).packs if pack.name == page]
    keep = pack_dir(merged.server) / f"{page}.keep"
    keep.unlink()
    keep.write_text("mine\n")
    assert () == end_holds(objdir, [seen._replace(held_for=0)], int(time.time()))
    assert "mine\n" == keep.read_text()


def test_no_file_becomes_older(tmp_path: Path) -> None:
    """I9"""
    path = tmp_path / "file"
    path.touch()
    before = path.stat().st_mtime_ns
    assert before == fs.make_as_young(str(path), before - 10**12)
    assert before == path.stat().st_mtime_ns


# -- Merging


def test_a_page_has_its_keep_before_it_is_visible(history: HistoryFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """I14"""
    made = history(HistorySpec(pushes=6))
    steps = record(monkeypatch)
    (page,) = commands.repack(str(made.server)).pages
    named = [path.suffix for what, path in steps if what in ("link", "rename") and path.stem == page.name]
    assert [".keep", ".pack", ".idx"] == named


def test_a_source_that_is_touched_while_it_is_merged_hands_its_time_on(
    history: HistoryFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9: git has written an object into it again."""
    made = history(HistorySpec(pushes=6))
    path = pack_dir(made.server) / f"{made.packs[2]}.pack"

    def touch() -> None:
        time.sleep(0.05)
        os.utime(path)

    once_at(monkeypatch, lambda operation, path: (operation, path.suffix) == ("fsync", ".idx"), touch)
    (page,) = commands.repack(str(made.server)).pages
    assert path.stat().st_mtime_ns <= (pack_dir(made.server) / f"{page.name}.pack").stat().st_mtime_ns


def test_a_lock_of_somebody_stays_when_files_of_a_killed_run_go(pushed: History) -> None:
    """I8"""
    push(pushed)
    stale = pushed.server / "gpa" / "tmp" / "1-1.midx"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.touch()
    lock = pack_dir(pushed.server) / "multi-pack-index.lock"
    lock.write_text("git's\n")
    with pytest.raises(Locked, match=r"multi-pack-index\.lock': File exists"):
        commands.write(str(pushed.server))
    assert "git's\n" == lock.read_text()
    assert not stale.exists()


def damaged(repo: Path, pack: str) -> None:
    """Change a byte of its last entry."""
    path = pack_dir(repo) / f"{pack}.pack"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-26] ^= 0xFF
    path.write_bytes(data)


def blobs(*contents: bytes) -> list[Whole]:
    return [Whole(kind="blob", content=content) for content in contents]


def test_a_page_does_not_wait_for_a_pack_that_stays_for_a_damaged_object(tmp_path: Path) -> None:
    """I14: else its hold would never end."""
    repo = init_server(tmp_path / "server")
    names = [add_pack(repo, blobs(b"sound %d\n" % number, b"number %d\n" % number * 40)) for number in range(4)]
    damaged(repo, names[0])
    result = commands.repack(str(repo))
    assert [names[0]] == [left.pack for left in result.left_out]
    (page,) = result.pages
    hold = fs.read_hold(str(pack_dir(repo) / f"{page.name}.keep"))
    assert hold is not None
    assert set(names[1:]) == set(hold.sources)


def test_what_the_index_finds_in_a_cruft_pack_is_merged_too(tmp_path: Path) -> None:
    """I7, I9: git prunes what is in a cruft pack by its old time."""
    repo = init_server(tmp_path / "server")
    cruft = add_pack(repo, blobs(b"in both\n", b"alone\n"))
    sources = [add_pack(repo, blobs(b"in both\n", b"one\n")), add_pack(repo, blobs(b"two\n"))]
    set_pack_mtimes(repo, [*sources, cruft])
    gpa(repo, "write", f"--preferred-pack={cruft}.pack")
    (pack_dir(repo) / f"{cruft}.mtimes").touch()
    assert cruft == midx_winners(repo)[oid_hex("blob", b"in both\n")][0]
    (page,) = commands.repack(str(repo)).pages
    assert oid_hex("blob", b"in both\n") in {one.oid for one in packed_objects(repo, page.name)}


def test_new_objects_that_a_pack_without_keep_has_too_are_merged(tmp_path: Path) -> None:
    """I14: `git repack -a -d` drops from such a pack what no ref names."""
    repo = init_server(tmp_path / "server")
    large = add_pack(repo, blobs(b"in both\n", *(b"%d\n" % number for number in range(40))))
    sources = [add_pack(repo, blobs(b"in both\n", b"one\n")), add_pack(repo, blobs(b"two\n"))]
    for name in sources:
        (pack_dir(repo) / f"{name}.keep").write_text("git-gpa new\n")
    set_pack_mtimes(repo, [*sources, large])
    gpa(repo, "write", f"--preferred-pack={large}.pack")
    assert large == midx_winners(repo)[oid_hex("blob", b"in both\n")][0]
    (page,) = commands.repack(str(repo), page_objects=10).pages
    assert oid_hex("blob", b"in both\n") in {one.oid for one in packed_objects(repo, page.name)}


def test_a_merge_is_planned_again_when_the_index_has_changed(pushed: History) -> None:
    """What the index wins elsewhere would be left out of the page."""
    objdir = find_object_dir(str(pushed.server))
    plan = plan_repack(take_inventory(objdir), batch_bytes=0)
    push(pushed)
    git(pushed.server, "multi-pack-index", "write")
    with at_work(objdir, now) as session, pytest.raises(StalePlan, match="the combined index changed after planning"):
        write_pages(objdir, session.space, plan)


# -- Saving


def test_save_names_a_pack_whose_replacement_is_gone(merged: History) -> None:
    """I7: what the records say is not believed."""
    (page,) = packs(merged.server).keys() - set(merged.packs)
    for path in pack_dir(merged.server).glob(f"{page}.*"):
        path.unlink()
    with PageStore.for_repository(merged.server) as store, store.writer() as writer:
        named = {one.name for one in writer.save().pages}
    assert set(merged.packs) <= named
