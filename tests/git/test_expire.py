"""`git gpa expire` deletes what is proved to lie elsewhere, in two beats, and nothing that somebody else protects."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from histories import (
    History,
    HistorySpec,
    cross_pack_duplicates_repo,
    send_push,
    set_pack_mtimes,
)
from oracle import (
    all_objects,
    content_digest,
    fsck,
    git,
    git_line,
    midx_names,
    midx_winners,
    pack_dir,
    packed_objects,
    packs,
    read_midx,
    verify_midx,
)
from packwriter import Whole, add_pack
from running import (
    all_files,
    assert_sound,
    gpa,
    gpa_any,
    gpa_json,
    index_path,
    leftovers,
    mtime_ns,
    references,
)

from gpa_maint import commands, fs
from gpa_maint.errors import Locked
from gpa_maint.verbs import session

HistoryFactory = Callable[[HistorySpec], History]

SMALL = HistorySpec(pushes=6, waiting=1)
HOUR = 3600
PROTECTING = (".keep", ".promisor", ".mtimes")


@pytest.fixture
def merged(history: HistoryFactory) -> History:
    """Six pushes whose packs are superseded by one page."""
    made = history(SMALL)
    gpa(made.server, "repack")
    assert set(made.packs) == {name for name, wins in references(made.server).items() if not wins}
    return made


def page_of(made: History) -> str:
    (page,) = packs(made.server).keys() - set(made.packs)
    return page


def left(made: History) -> set[str]:
    """The sources that are still there."""
    return set(made.packs) & set(packs(made.server))


# -- Two beats


def record_steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    steps: list[tuple[str, str]] = []
    monkeypatch.setattr(fs.door, "before_step", lambda operation, path: steps.append((operation, path)))
    return steps


def test_the_index_without_a_pack_is_durable_before_the_first_file_goes(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3, I5"""
    folder, steps = str(pack_dir(merged.server)), record_steps(monkeypatch)
    commands.expire(str(merged.server), grace_seconds=0)
    published = steps.index(("rename", str(index_path(merged.server))))
    unlinked = [at for at, (operation, path) in enumerate(steps) if operation == "unlink" and f"{folder}/pack-" in path]
    assert 12 <= len(unlinked)
    written = [at for at, (operation, path) in enumerate(steps) if operation == "fsync" and path.endswith(".midx")]
    assert written[0] < published < unlinked[0]
    assert ("fsync", folder) in steps[published : unlinked[0]]


def test_each_idx_goes_before_its_pack(merged: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """I4"""
    folder, steps = pack_dir(merged.server), record_steps(monkeypatch)
    commands.expire(str(merged.server), grace_seconds=0)
    for name in merged.packs:
        idx, pack = (steps.index(("unlink", str(folder / f"{name}{suffix}"))) for suffix in (".idx", ".pack"))
        assert idx < pack


def test_at_every_step_the_index_names_only_packs_that_are_there(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5"""
    looked = 0

    def look(operation: str, path: str) -> None:
        nonlocal looked
        looked += 1
        assert set(midx_names(merged.server)) <= set(packs(merged.server)), f"before {operation} '{path}'"

    monkeypatch.setattr(fs.door, "before_step", look)
    commands.expire(str(merged.server), grace_seconds=0)
    assert looked > 20
    assert set() == left(merged)


# -- Grace


def test_a_superseded_page_waits_for_the_end_of_its_grace(merged: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """I12. The time is counted from when repack superseded it, and runs on from command to command."""
    digest = content_digest(merged.server)
    since = int(time.time())
    done = gpa(merged.server, "expire")
    assert done.stdout.startswith("nothing to do: 6 superseded pages wait for the end of their grace; the first may go")
    waiting = commands.expire(str(merged.server), grace_seconds=HOUR)
    assert waiting.next_due is not None
    assert since - 60 <= waiting.next_due - HOUR <= since

    clock(monkeypatch, waiting.next_due - 1)
    assert () == commands.expire(str(merged.server), grace_seconds=HOUR).deleted
    assert set(merged.packs) == left(merged)
    clock(monkeypatch, waiting.next_due)
    assert set(merged.packs) == set(commands.expire(str(merged.server), grace_seconds=HOUR).deleted)
    assert_sound(merged.server, digest)


def clock(monkeypatch: pytest.MonkeyPatch, now: int) -> None:
    monkeypatch.setattr(session, "wall_clock", lambda: now)


def test_the_grace_is_one_hour_unless_the_setting_or_the_option_says_otherwise(merged: History) -> None:
    hour = commands.expire(str(merged.server)).next_due
    assert hour == commands.expire(str(merged.server), grace_seconds=HOUR).next_due
    git(merged.server, "config", "gpa.expireGrace", "2.hours")
    two_hours = commands.expire(str(merged.server)).next_due
    assert (hour, two_hours) == (two_hours - HOUR if two_hours else None, two_hours)
    assert "6 superseded pages wait" in gpa(merged.server, "expire", "--grace=1.week").stdout
    assert hour == commands.expire(str(merged.server), grace_seconds=HOUR).next_due


def test_the_grace_of_a_pack_that_git_superseded_begins_when_it_is_first_seen(
    history: HistoryFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = history(SMALL)
    git(made.server, "multi-pack-index", "write")
    git(made.server, "multi-pack-index", "repack", "--batch-size=0")
    clock(monkeypatch, 2_000_000_000)
    assert 2_000_000_000 + HOUR == commands.expire(str(made.server), grace_seconds=HOUR).next_due
    clock(monkeypatch, 2_000_000_000 + HOUR - 1)
    assert () == commands.expire(str(made.server), grace_seconds=HOUR).deleted
    clock(monkeypatch, 2_000_000_000 + HOUR)
    assert set(made.packs) == set(commands.expire(str(made.server), grace_seconds=HOUR).deleted)


def test_a_clock_set_back_does_not_shorten_nor_freeze_the_grace(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 1_000_000_000)
    commands.expire(str(merged.server), grace_seconds=HOUR)
    assert 1_000_000_000 + HOUR == commands.expire(str(merged.server), grace_seconds=HOUR).next_due
    clock(monkeypatch, 1_000_000_000 + HOUR)
    assert set(merged.packs) == set(commands.expire(str(merged.server), grace_seconds=HOUR).deleted)


def test_a_pack_that_wins_again_begins_a_new_grace(history: HistoryFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    made = history(SMALL)
    clock(monkeypatch, 2_000_000_000)
    commands.repack(str(made.server))
    set_pack_mtimes(made.server, [page_of(made)], oldest=1000)
    (pack_dir(made.server) / f"{page_of(made)}.keep").unlink()  # a held page would win
    index_path(made.server).unlink()
    commands.write(str(made.server))
    assert 0 < min(references(made.server)[name] for name in made.packs)

    again = 2_000_000_000 + 2 * HOUR
    clock(monkeypatch, again)
    commands.repack(str(made.server))
    assert set(made.packs) < {name for name, wins in references(made.server).items() if not wins}
    clock(monkeypatch, again + HOUR - 1)
    commands.expire(str(made.server), grace_seconds=HOUR)
    assert set(made.packs) == left(made)
    clock(monkeypatch, again + HOUR)
    commands.expire(str(made.server), grace_seconds=HOUR)
    assert set() == left(made)


def test_grace_now_deletes_at_once_and_says_what(merged: History) -> None:
    digest = content_digest(merged.server)
    size = sum((pack_dir(merged.server) / f"{name}.pack").stat().st_size for name in merged.packs)
    assert f"deleted 6 superseded pages, {size / 1024:.2f} KiB\n" == gpa(merged.server, "expire", "--grace=now").stdout
    assert {page_of(merged)} == set(packs(merged.server))
    assert_sound(merged.server, digest)


def test_json_tells_what_was_deleted(merged: History) -> None:
    size = sum((pack_dir(merged.server) / f"{name}.pack").stat().st_size for name in merged.packs)
    answer = gpa_json(merged.server, "expire", "--grace=now")
    assert ("ExpireResult", sorted(merged.packs), size, []) == tuple(
        sorted(value) if key == "deleted" else value
        for key, value in answer.items()
        if key in ("kind", "deleted", "freed_bytes", "kept_back")
    )


def test_dry_run_names_each_pack_and_changes_nothing(merged: History) -> None:
    before = all_files(merged.server)
    lines = gpa(merged.server, "expire", "-n", "--grace=now").stdout.splitlines()
    assert lines[0].startswith("delete 6 superseded pages, ")
    assert {f"delete {name}" for name in merged.packs} == {line.partition(":")[0] for line in lines[1:]}
    waiting = gpa(merged.server, "expire", "-n").stdout.splitlines()
    assert {f"wait   {name}" for name in merged.packs} == {line.partition(":")[0] for line in waiting[1:]}
    assert before == all_files(merged.server)


def test_nothing_to_do_says_why_and_ends_with_status_0(history: HistoryFactory) -> None:
    """I12"""
    server = history(SMALL).server
    assert "nothing to do: there is no combined index\n" == gpa(server, "expire").stdout
    gpa(server, "write")
    before = all_files(pack_dir(server))
    assert "nothing to do: no page is superseded\n" == gpa(server, "expire", "--grace=now").stdout
    assert before == all_files(pack_dir(server))
    assert [] == leftovers(server)


def test_all_that_belongs_to_a_deleted_page_goes(merged: History) -> None:
    extras = [pack_dir(merged.server) / f"{merged.packs[0]}{suffix}" for suffix in (".rev", ".bitmap")]
    for path in extras:
        path.touch()
    gpa(merged.server, "expire", "--grace=now")
    assert [] == [path for path in pack_dir(merged.server).iterdir() if path.stem in merged.packs]


# -- What is protected


@pytest.mark.parametrize("suffix", PROTECTING)
def test_a_protected_pack_is_left(merged: History, suffix: str) -> None:
    """I8"""
    (pack_dir(merged.server) / f"{merged.packs[1]}{suffix}").touch()
    gpa(merged.server, "expire", "--grace=now")
    assert {merged.packs[1]} == left(merged)
    assert merged.packs[1] in midx_names(merged.server)


@pytest.mark.parametrize("suffix", PROTECTING)
def test_a_mark_set_after_planning_is_respected(merged: History, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """I8. A push of the same pack again sets a .keep at any moment."""
    mark = pack_dir(merged.server) / f"{merged.packs[1]}{suffix}"
    set_mark_at(monkeypatch, mark, "link", "maintenance.lock")
    result = commands.expire(str(merged.server), grace_seconds=0)
    assert {merged.packs[1]} == left(merged) == {step.pack for step in result.kept_back}
    assert merged.packs[1] in midx_names(merged.server)
    assert f"protected by its {suffix} file" == result.kept_back[0].reason


@pytest.mark.parametrize("suffix", PROTECTING)
def test_a_mark_set_after_the_proof_is_respected(merged: History, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """I8"""
    mark = pack_dir(merged.server) / f"{merged.packs[1]}{suffix}"
    set_mark_at(monkeypatch, mark, "rename", "multi-pack-index")
    result = commands.expire(str(merged.server), grace_seconds=0)
    assert {merged.packs[1]} == left(merged)
    assert merged.packs[1] not in result.deleted
    mark.unlink()
    gpa(merged.server, "write")
    assert_sound(merged.server, content_digest(merged.server))


def set_mark_at(monkeypatch: pytest.MonkeyPatch, mark: Path, operation: str, file_name: str) -> None:
    """Make the file `mark` when the program comes to `operation` on a file of that name."""

    def step(done: str, path: str) -> None:
        if (done, Path(path).name) == (operation, file_name):
            mark.touch()

    monkeypatch.setattr(fs.door, "before_step", step)


def test_a_pack_that_no_index_names_is_never_deleted(merged: History) -> None:
    """I8"""
    send_push(merged.client, merged.server, merged.waiting[0])
    (pushed,) = packs(merged.server).keys() - set(midx_names(merged.server))
    twin = add_pack(merged.server, [Whole(kind="blob", content=b"unindexed\n")])
    gpa(merged.server, "expire", "--grace=now")
    assert {page_of_all(merged, pushed, twin), pushed, twin} == set(packs(merged.server))


def page_of_all(made: History, *others: str) -> str:
    (page,) = packs(made.server).keys() - {*made.packs, *others}
    return page


def test_precious_objects_are_never_deleted(merged: History) -> None:
    git(merged.server, "config", "core.repositoryFormatVersion", "1")
    git(merged.server, "config", "extensions.preciousObjects", "true")
    before = all_files(pack_dir(merged.server))
    done = gpa_any(merged.server, "expire", "--grace=now")
    assert (128, "fatal: cannot delete packs in a precious-objects repo\n") == (done.returncode, done.stderr)
    assert before == all_files(pack_dir(merged.server))
    assert [] == leftovers(merged.server)


# -- Other maintainers


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("host", ["this host", "another host"])
def test_while_git_gc_runs_nothing_is_deleted(merged: History, host: str) -> None:
    pid = os.getpid() if host == "this host" else dead_process()
    name = socket.gethostname() if host == "this host" else "elsewhere.example.com"
    gc_pid = merged.server / "gc.pid"
    gc_pid.write_text(f"{pid} {name}")
    before = all_files(pack_dir(merged.server))
    done = gpa_any(merged.server, "expire", "--grace=now")
    assert (128, f"git gc is running as process {pid} on {name}") == (
        done.returncode,
        done.stderr.split(": ")[2].split("\n")[0],
    )
    assert "hint: nothing was changed, and running again later is safe\n" in done.stderr
    assert before == all_files(pack_dir(merged.server))
    assert [gc_pid] == leftovers(merged.server)
    assert f"{pid} {name}" == gc_pid.read_text()


def test_a_git_gc_that_runs_for_11_hours_is_believed(merged: History) -> None:
    """As git does: gc.pid counts for 12 hours."""
    gc_pid = merged.server / "gc.pid"
    gc_pid.write_text(f"{os.getpid()} {socket.gethostname()}")
    os.utime(gc_pid, (time.time() - 11 * HOUR,) * 2)
    with pytest.raises(Locked, match=f"git gc is running as process {os.getpid()} on "):
        commands.expire(str(merged.server), grace_seconds=0)
    assert set(merged.packs) == left(merged)


@pytest.mark.parametrize("why", ["its process is dead", "it is older than 12 hours"])
def test_a_gc_that_ended_without_a_word_does_not_stop_expire(merged: History, why: str) -> None:
    gc_pid = merged.server / "gc.pid"
    pid = dead_process() if why == "its process is dead" else os.getpid()
    gc_pid.write_text(f"{pid} {socket.gethostname()}")
    if why == "it is older than 12 hours":
        os.utime(gc_pid, (time.time() - 13 * HOUR,) * 2)
    digest = content_digest(merged.server)
    gpa(merged.server, "expire", "--grace=now")
    assert set() == left(merged)
    assert_sound(merged.server, digest)


@pytest.mark.parametrize("lock", ["objects/maintenance.lock", "gc.pid.lock"])
def test_a_lock_of_git_s_maintenance_is_respected_and_left(merged: History, lock: str) -> None:
    path = merged.server / lock
    path.write_text("somebody's\n")
    before = all_files(pack_dir(merged.server))
    done = gpa_any(merged.server, "expire", "--grace=now")
    assert 128 == done.returncode
    assert done.stderr.startswith(f"fatal: cannot lock '{path}': git "), done.stderr
    assert before == all_files(pack_dir(merged.server))
    assert "somebody's\n" == path.read_text()
    assert [path] == leftovers(merged.server)


def test_git_gc_and_git_maintenance_stay_away_while_we_delete(merged: History, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str] = []

    def step(operation: str, path: str) -> None:
        if operation == "unlink" and path.endswith(f"{merged.packs[0]}.idx"):
            answers.extend(
                git(merged.server, *words, check=False).stderr
                for words in (["gc"], ["maintenance", "run", "--no-quiet"])
            )

    monkeypatch.setattr(fs.door, "before_step", step)
    commands.expire(str(merged.server), grace_seconds=0)
    assert f"fatal: gc is already running on machine '{socket.gethostname()}' pid {os.getpid()}" in answers[0]
    assert "exists, skipping maintenance" in answers[1]
    assert [] == leftovers(merged.server)


def test_of_two_runs_of_ours_the_second_is_refused_and_names_the_first(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []

    def step(operation: str, path: str) -> None:
        if (operation, path) == ("rename", str(index_path(merged.server))):
            answers.extend(gpa_any(merged.server, verb) for verb in ("write", "repack", "expire"))

    monkeypatch.setattr(fs.door, "before_step", step)
    commands.expire(str(merged.server), grace_seconds=0)
    assert [128, 128, 128] == [done.returncode for done in answers]
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    assert all(f"cannot lock '{merged.server}/gpa/lock': held by {holder}\nhint: " in done.stderr for done in answers)
    monkeypatch.setattr(fs.door, "before_step", None)
    gpa(merged.server, "write")


def test_a_git_writer_at_work_makes_expire_give_up_before_it_deletes(merged: History) -> None:
    """I3, I5"""
    lock = pack_dir(merged.server) / "multi-pack-index.lock"
    lock.touch()
    before = all_files(pack_dir(merged.server))
    with pytest.raises(Locked):
        commands.expire(str(merged.server), grace_seconds=0)
    assert before == all_files(pack_dir(merged.server))
    assert [lock] == leftovers(merged.server)


# -- I7: an object is never dropped, whatever the index says


def midx_of(winners: Mapping[str, tuple[str, int]], names: list[str]) -> bytes:
    """A SHA-1 multi-pack-index that says exactly this, with a right trailer."""
    oids = sorted(winners)
    pnam = b"".join(f"{name}.idx\0".encode() for name in sorted(names))
    chunks = {
        b"PNAM": pnam + bytes(-len(pnam) % 4),
        b"OIDF": struct.pack(">256I", *(sum(int(oid[:2], 16) <= byte for oid in oids) for byte in range(256))),
        b"OIDL": b"".join(map(bytes.fromhex, oids)),
        b"OOFF": b"".join(struct.pack(">II", sorted(names).index(pack), at) for pack, at in map(winners.get, oids)),  # type: ignore[misc]
    }
    data, at = struct.pack(">4sBBBBI", b"MIDX", 1, 1, 4, 0, len(names)), 12 + 12 * 5
    for chunk_id, chunk in chunks.items():
        data += struct.pack(">4sQ", chunk_id, at)
        at += len(chunk)
    data += struct.pack(">4sQ", bytes(4), at) + b"".join(chunks.values())
    return data + hashlib.sha1(data).digest()


@pytest.fixture
def pushed(history: HistoryFactory) -> History:
    """Six pushes under an index, the last of which holds objects that are nowhere else."""
    made = history(SMALL)
    gpa(made.server, "write")
    index = read_midx(made.server)
    assert midx_of(index.winners, index.packs) == index_path(made.server).read_bytes(), (
        "the index of this test is git's"
    )
    return made


def lying_index(made: History, *, liar: str) -> str:
    """An index in which one pack wins nothing though it is the only place of some objects. Gives that pack."""
    index = read_midx(made.server)
    lonely, other = made.packs[-1], made.packs[0]
    entry = packed_objects(made.server, other)[0]
    winners = dict(index.winners)
    for oid, (pack, _offset) in index.winners.items():
        if pack == lonely:
            match liar:
                case "does not know the objects":
                    del winners[oid]
                case "names a pack without them":
                    winners[oid] = (other, entry.offset)
                case "names a pack without them, beyond its end":
                    winners[oid] = (other, 0x7FFFFFF0)
    path = index_path(made.server)
    path.write_bytes(midx_of(winners, index.packs))
    assert 0 == references(made.server)[lonely]
    return lonely


@pytest.mark.parametrize(
    "liar",
    ["does not know the objects", "names a pack without them", "names a pack without them, beyond its end"],
)
def test_an_object_that_is_nowhere_else_is_never_dropped(pushed: History, liar: str) -> None:
    """I7"""
    digest = content_digest(pushed.server)
    lonely = lying_index(pushed, liar=liar)
    done = gpa_any(pushed.server, "expire", "--grace=now")
    assert 0 == done.returncode
    why = (
        "is in no pack that stays" if liar == "does not know the objects" else "is not in the pack that the index names"
    )
    assert re.search(f"^warning: not deleting '{lonely}': .*{why}", done.stderr, flags=re.M)
    assert "nothing to do: no superseded page could be proved safe to delete\n" == done.stdout
    assert set(pushed.packs) == left(pushed)
    index_path(pushed.server).unlink()
    gpa(pushed.server, "write")
    assert_sound(pushed.server, digest)


@pytest.mark.parametrize(
    "damage", ["its pack is gone", "its pack is cut short", "its idx is another's", "its idx is gone"]
)
def test_a_page_stays_when_the_pack_that_replaces_it_is_not_whole(merged: History, damage: str) -> None:
    """I7"""
    page = pack_dir(merged.server) / page_of(merged)
    pack, idx = page.with_name(f"{page.name}.pack"), page.with_name(f"{page.name}.idx")
    for path in (pack, idx):
        path.chmod(0o644)
    match damage:
        case "its pack is gone":
            pack.unlink()
        case "its idx is gone":
            idx.unlink()
        case "its pack is cut short":
            pack.write_bytes(pack.read_bytes()[:-100])
        case "its idx is another's":
            shutil.copy(pack_dir(merged.server) / f"{merged.packs[0]}.idx", idx)
    gpa_any(merged.server, "expire", "--grace=now")
    files = {f"{name}{suffix}" for name in merged.packs for suffix in (".pack", ".idx")}
    assert files <= {path.name for path in pack_dir(merged.server).iterdir()}


def test_an_index_with_a_wrong_checksum_is_no_proof(merged: History) -> None:
    """I7"""
    path = index_path(merged.server)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    done = gpa_any(merged.server, "expire", "--grace=now")
    assert 128 == done.returncode
    assert set(merged.packs) == left(merged)
    assert [] == leftovers(merged.server)


@pytest.mark.parametrize("bitmap", [False, True], ids=["without bitmap", "with bitmap"])
def test_a_pack_that_was_preferred_keeps_those_that_open_readers_still_need(tmp_path: Path, bitmap: bool) -> None:
    """I2. --preferred-pack moves winners to a pack in which a reader of the earlier index does not look again."""
    repo = cross_pack_duplicates_repo(tmp_path)
    everything = f"pack-{git_line(repo, 'pack-objects', '-q', '--all', pack_dir(repo) / 'pack')}"
    set_pack_mtimes(repo, [everything], oldest=1000)
    gpa(repo, "write")
    assert 0 == references(repo)[everything]
    objects = all_objects(repo)
    command = ["git", "-C", str(repo), "cat-file", "--batch-check=%(objectname)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin and reader.stdout
        print(next(iter(objects)), file=reader.stdin, flush=True)
        reader.stdout.readline()
        if bitmap:
            gpa(repo, "write", "--bitmap", f"--preferred-pack={everything}.pack")
        else:
            add_pack(repo, [Whole(kind="blob", content=b"makes the index change\n")])
            gpa(repo, "write", f"--preferred-pack={everything}.pack")
        assert packs(repo)[everything] == references(repo)[everything]
        done = gpa_any(repo, "expire", "--grace=now")
        # All at once: what is missing must not end the reader's loop below.
        answer, _ = reader.communicate("".join(f"{oid}\n" for oid in objects))
    assert [*objects] == answer.splitlines()
    assert (0, True) == (done.returncode, "open readers may not find" in done.stderr)
    fsck(repo)


# -- I9


def made_old(merged: History, *names: str) -> None:
    for name in names:
        os.utime(pack_dir(merged.server) / f"{name}.pack", (1_600_000_000,) * 2)


def test_a_page_that_was_written_into_again_hands_its_time_on(merged: History) -> None:
    """I9. Who writes an object that is there already only touches its pack; git gc goes by that time."""
    made_old(merged, page_of(merged))
    now = time.time_ns()
    freshened = pack_dir(merged.server) / f"{merged.packs[2]}.pack"
    os.utime(freshened, ns=(now, now))
    gpa(merged.server, "expire", "--grace=now")
    assert now == mtime_ns(merged.server, page_of(merged))


def test_a_page_touched_while_it_is_being_expired_hands_its_time_on(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9"""
    made_old(merged, page_of(merged))
    now = time.time_ns()

    def step(operation: str, path: str) -> None:
        if (operation, path) == ("rename", str(index_path(merged.server))):
            os.utime(pack_dir(merged.server) / f"{merged.packs[2]}.pack", ns=(now, now))

    monkeypatch.setattr(fs.door, "before_step", step)
    commands.expire(str(merged.server), grace_seconds=0)
    assert now == mtime_ns(merged.server, page_of(merged))


def test_a_page_stays_when_its_time_cannot_be_handed_on(merged: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9. In a shared repository another user may own the page that holds its objects now."""
    made_old(merged, *merged.packs, page_of(merged))
    touched = merged.packs[2]
    os.utime(pack_dir(merged.server) / f"{touched}.pack")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refuse)
        commands.expire(str(merged.server), grace_seconds=0)
    assert {touched} == left(merged)
    fsck(merged.server)


# -- What runs leave behind


def test_state_deleted_in_between_is_harmless(merged: History) -> None:
    digest = content_digest(merged.server)
    shutil.rmtree(merged.server / "gpa")
    assert "6 superseded pages wait" in gpa(merged.server, "expire").stdout
    shutil.rmtree(merged.server / "gpa")
    gpa(merged.server, "expire", "--grace=now")
    assert set() == left(merged)
    shutil.rmtree(merged.server / "gpa")
    assert_sound(merged.server, digest)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1, "superseded": [], "moves": {}}', "\xff"])
def test_state_that_cannot_be_read_counts_as_none(merged: History, content: str) -> None:
    (merged.server / "gpa" / "state.json").write_bytes(content.encode("latin-1"))
    assert "6 superseded pages wait" in gpa(merged.server, "expire").stdout
    gpa(merged.server, "expire", "--grace=now")
    assert set() == left(merged)


def test_all_locks_and_temporary_files_are_gone_after_every_verb(history: HistoryFactory) -> None:
    server = history(SMALL).server
    for words in (["write"], ["write", "--bitmap"], ["repack", "--page-objects=9"], ["expire", "--grace=now"]):
        gpa(server, *words)
        assert [] == leftovers(server), words
    assert {"gpa/lock", "gpa/state.json", "gpa/tmp"} == {
        str(path.relative_to(server)) for path in (server / "gpa").rglob("*")
    }
    assert "garbage: 0" in git(server, "count-objects", "-v").stdout


def test_locks_and_temporary_files_are_gone_after_a_run_that_failed(
    merged: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(operation: str, path: str) -> None:
        if (operation, path) == ("rename", str(index_path(merged.server))):
            raise RuntimeError("stopped by the test")

    monkeypatch.setattr(fs.door, "before_step", step)
    with pytest.raises(RuntimeError):
        commands.expire(str(merged.server), grace_seconds=0)
    assert [] == leftovers(merged.server)
    assert set(merged.packs) == left(merged)


def test_temporary_files_of_a_killed_run_are_removed_by_the_next_with_the_locks_it_held(merged: History) -> None:
    tmp = merged.server / "gpa" / "tmp"
    stale = tmp / f"{dead_process()}-1.midx"
    stale.write_bytes(index_path(merged.server).read_bytes())
    for lock in ("objects/pack/multi-pack-index.lock", "objects/maintenance.lock", "gc.pid.lock"):
        os.link(stale, merged.server / lock)
    (pack_dir(merged.server) / f"tmp_gpa_{dead_process()}-2.pack").touch()
    gpa(merged.server, "expire", "--grace=now")
    assert [] == leftovers(merged.server)
    assert set() == left(merged)
    verify_midx(merged.server)


def test_a_pack_that_is_just_coming_again_is_not_what_a_killed_run_left(merged: History) -> None:
    """I8. A push makes .keep, .pack and .idx, in this order, maybe of a pack that a killed run was about to delete."""
    name = merged.packs[0]
    coming = pack_dir(merged.server) / f"{name}.pack"
    content = coming.read_bytes()
    state = merged.server / "gpa" / "state.json"
    gpa(merged.server, "expire", "--grace=now")
    state.write_text(json.dumps({**json.loads(state.read_text()), "doomed": [name]}))
    coming.with_suffix(".keep").write_text("receive-pack 1 on here\n")
    coming.write_bytes(content)
    gpa(merged.server, "write")
    assert coming.exists()


def test_a_deleted_pack_that_comes_back_takes_no_winner(tmp_path: Path, object_format: str) -> None:
    """I2, I6. A reader may hold an index that names it, and would look for its objects where that index says."""
    repo = cross_pack_duplicates_repo(tmp_path)
    gpa(repo, "write")
    objects = all_objects(repo)
    first = packs(repo).keys()
    kept = tmp_path / "kept"
    shutil.copytree(pack_dir(repo), kept)
    gpa(repo, "repack")
    gpa(repo, "expire", "--grace=now")
    gone = first - packs(repo).keys()
    assert gone
    for name in gone:
        for suffix in (".pack", ".idx"):
            shutil.copy(kept / f"{name}{suffix}", pack_dir(repo))
    gpa(repo, "write")
    assert {0} == {references(repo)[name] for name in gone}
    gpa(repo, "expire", "--grace=now")
    assert objects == all_objects(repo)


def test_an_index_made_from_nothing_lets_nothing_go_that_an_open_reader_needs(tmp_path: Path) -> None:
    """I2. `git gc` removes the index; the next one may choose other winners than that which a reader has loaded."""
    repo = cross_pack_duplicates_repo(tmp_path)
    gpa(repo, "write")
    before = midx_winners(repo)
    losers = sorted({pack for pack, _ in before.values()})
    objects = all_objects(repo)
    command = ["git", "-C", str(repo), "cat-file", "--batch-check=%(objectname)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin and reader.stdout
        print(next(iter(objects)), file=reader.stdin, flush=True)
        reader.stdout.readline()
        index_path(repo).unlink()
        set_pack_mtimes(repo, losers, oldest=1000)
        gpa(repo, "write")
        assert before != midx_winners(repo)
        gpa_any(repo, "expire", "--grace=now")
        answer, _ = reader.communicate("".join(f"{oid}\n" for oid in objects))
    assert [*objects] == answer.splitlines()
