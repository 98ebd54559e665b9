"""Git's own maintenance between our commands, in any order and at the same time: neither loses what the other wrote."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from itertools import cycle, takewhile
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from histories import History, HistorySpec, Push, send_push
from oracle import all_objects, clone_works, content_digest, fsck, git, pack_dir, packs, refs, verify_midx
from running import assert_sound, gpa, gpa_any

HistoryFactory = Callable[[HistorySpec], History]

GPA_ALL = ("gpa write", "gpa repack", "gpa expire --grace=now")
MIDX_ALL = ("multi-pack-index write", "multi-pack-index repack --batch-size=0", "multi-pack-index expire")
ORDERS: dict[str, Sequence[str]] = {
    "gc between our steps": ("gpa write", "gc", "gpa repack", "gc", "push", "gpa repack", "gpa expire --grace=now"),
    "gc after repack": ("gpa repack", "gc", "gpa expire --grace=now", "push", "gpa repack"),
    "gc before the grace is over": ("gpa repack", "gpa expire", "gc", "push", "push", "gpa repack", "gpa expire"),
    "repack -a between our steps": ("gpa write", "repack -adkq", "gpa repack", "push", "gpa repack", "repack -adkq"),
    "repack with a bitmap index of git": ("gpa repack", "repack -adkq --write-midx", "push", *GPA_ALL),
    "geometric repack": ("gpa repack", "push", "push", "repack -dq --geometric=2", "push", *GPA_ALL),
    "git superseded, we expire": ("push", *MIDX_ALL[:2], "gpa expire --grace=now"),
    "we superseded, git expires": ("push", "gpa repack", "multi-pack-index expire", "push", *GPA_ALL),
    "git then we": (*MIDX_ALL, "push", *GPA_ALL),
    "we then git": (*GPA_ALL, "push", *MIDX_ALL),
    "in turns": tuple(step for pair in zip(GPA_ALL, MIDX_ALL, strict=True) for step in (*pair, "push")),
    "incremental-repack": (
        *("gpa repack", "push", "maintenance run --task=incremental-repack", "push"),
        *("gpa repack", "maintenance run --task=incremental-repack", "gpa expire --grace=now"),
    ),
    "loose objects packed by git": ("gpa write", "maintenance run --task=loose-objects", "push", *GPA_ALL),
    "prune-packed and prune": ("gpa repack", "prune-packed", "push", "prune --expire=2.weeks.ago", *GPA_ALL),
    "bitmaps": (
        "gpa write --bitmap",
        "push",
        "multi-pack-index write --bitmap",
        "gpa repack",
        "gpa write --bitmap",
        "gc",
    ),
}


@pytest.mark.parametrize("order", ORDERS)
def test_git_s_maintenance_may_come_between_our_commands(history: HistoryFactory, tmp_path: Path, order: str) -> None:
    """I1, I2"""
    made = history(HistorySpec(kind="tree", pushes=14, waiting=4))
    waiting = iter(made.waiting)
    objects = all_objects(made.server)
    for step in ORDERS[order]:
        if step == "push":
            send_push(made.client, made.server, next(waiting))
            objects |= all_objects(made.server)
        elif step.startswith("gpa "):
            gpa(made.server, *step.split()[1:])
        else:
            git(made.server, *step.split())
        assert objects == all_objects(made.server), step
        fsck(made.server)
    gpa(made.server, "write")
    assert_sound(made.server, content_digest(made.server))
    clone_works(made.server, tmp_path)


@pytest.mark.parametrize("state", ["index gone", "index of before", "index of another tool over fewer packs"])
def test_whatever_index_git_left_our_commands_go_on_from_it(history: HistoryFactory, state: str) -> None:
    made = history(HistorySpec(pushes=14))
    digest = content_digest(made.server)
    index = pack_dir(made.server) / "multi-pack-index"
    gpa(made.server, "write")
    before = index.read_bytes()
    gpa(made.server, "repack")
    match state:
        case "index gone":
            index.unlink()
        case "index of before":
            index.write_bytes(before)
        case _:
            index.unlink()
            names = "".join(f"{name}.idx\n" for name in made.packs[:5])
            git(made.server, "multi-pack-index", "write", "--stdin-packs", input=names)
    for words in (["write"], ["repack"], ["expire", "--grace=now"]):
        gpa(made.server, *words)
        assert_sound(made.server, digest)
    assert 1 == len(packs(made.server))


def test_a_pack_that_git_took_away_while_the_index_names_it_is_planned_around(history: HistoryFactory) -> None:
    """I5: git's repack deletes packs by name and takes no lock of ours."""
    made = history(HistorySpec(pushes=14))
    objects = all_objects(made.server)
    gpa(made.server, "write")
    index = pack_dir(made.server) / "multi-pack-index"
    stale = index.read_bytes()
    git(made.server, "repack", "-adkq")
    assert not index.exists(), "git removes the index first"
    index.write_bytes(stale)  # as from a writer that looked before and renamed after
    for words in (["repack"], ["write"], ["expire", "--grace=now"]):
        done = gpa_any(made.server, *words)
        assert 0 == done.returncode, done.stderr
    assert objects == all_objects(made.server)
    verify_midx(made.server)
    fsck(made.server)


def merged_within_a_second(made: History) -> list[str]:
    """The packs that were merged into a page, all of them touched in the second in which it got its name."""
    sources = list(packs(made.server))
    gpa(made.server, "repack")
    (page,) = set(packs(made.server)) - set(sources)
    second = (pack_dir(made.server) / f"{page}.pack").stat().st_mtime_ns // 10**9 * 10**9
    for name in sources:
        os.utime(pack_dir(made.server) / f"{name}.pack", ns=(second, second))
    return sources


def test_whichever_pack_of_a_second_wins_in_an_index_of_git_s_nothing_is_lost(history: HistoryFactory) -> None:
    """I7, I14. git compares whole seconds, takes either pack, and deletes the other one: not one that is held."""
    made = history(HistorySpec(pushes=14))
    objects = all_objects(made.server)
    merged_within_a_second(made)
    (pack_dir(made.server) / "multi-pack-index").unlink()
    git(made.server, "multi-pack-index", "write")
    git(made.server, "multi-pack-index", "expire")
    assert objects == all_objects(made.server)
    gpa(made.server, "run")
    gpa(made.server, "expire", "--grace=now")
    git(made.server, "multi-pack-index", "expire")
    assert_sound(made.server, content_digest(made.server))
    assert objects == all_objects(made.server)


def test_nothing_is_lost_by_an_index_of_git_s_that_is_older_than_an_expire(history: HistoryFactory) -> None:
    """I7, I14. git writes an index of packs that it saw some time before, and its expire goes by that index alone."""
    made = history(HistorySpec(pushes=14))
    objects = all_objects(made.server)
    merged_within_a_second(made)
    index = pack_dir(made.server) / "multi-pack-index"
    ours = index.read_bytes()
    index.unlink()
    git(made.server, "multi-pack-index", "write")
    stale = index.read_bytes()
    index.write_bytes(ours)
    gpa(made.server, "expire", "--grace=now")
    index.write_bytes(stale)
    git(made.server, "multi-pack-index", "expire", check=False)
    assert 0 == gpa_any(made.server, "write").returncode
    assert objects == all_objects(made.server)
    assert_sound(made.server, content_digest(made.server))


# -- At the same time

LOCKED = ("multi-pack-index.lock", "cannot lock '")


OURS = ("gpa write", "gpa repack --batch-size=20k", "gpa expire --grace=now", "gpa repack", "gpa expire --grace=now")
THEIRS = (*MIDX_ALL, "repack -dq", "multi-pack-index write", "repack -dq --geometric=2", "repack -adkq", "gc")
# Git's other steps may hide objects for a moment from processes that have loaded an older index: its geometric repack
# moves winners to packs which that index names, and its expire deletes packs before the index without them is there.
HARMLESS = ("multi-pack-index write", "gc", "multi-pack-index write", "repack -adkq")
PUSHES = 120
PUSHES_BETWEEN = 3


def push_within(made: History, push: Push, attempts: int) -> None:
    for left in reversed(range(attempts)):
        try:
            return send_push(made.client, made.server, push)
        except AssertionError:
            if not left:
                raise


@pytest.mark.parametrize(("steps", "attempts"), [(HARMLESS, 1), (THEIRS, 3)], ids=["harmless steps", "all steps"])
def test_git_and_we_at_the_same_time_lose_nothing(
    history: HistoryFactory, tmp_path: Path, steps: tuple[str, ...], attempts: int
) -> None:
    """I1, I2, I5, I10. Somebody may hold a lock: that is the only reason for which a run of ours may give up."""
    made = history(HistorySpec(pushes=14, waiting=PUSHES))
    ours: list[CompletedProcess[str]] = []
    theirs: list[CompletedProcess[str]] = []
    pushed, over = threading.Semaphore(0), threading.Event()

    def push() -> None:
        for number, update in enumerate(made.waiting):
            push_within(made, update, attempts)
            if number % PUSHES_BETWEEN == 0:
                pushed.release()

    def git_steps() -> None:
        for step, _ in zip(cycle(steps), made.waiting[::PUSHES_BETWEEN], strict=False):
            pushed.acquire()
            theirs.append(git(made.server, *step.split(), check=False))

    def our_steps() -> None:
        for step in takewhile(lambda _: not over.is_set(), cycle(OURS)):
            ours.append(gpa_any(made.server, *step.split()[1:]))

    with ThreadPoolExecutor(max_workers=3) as pool:
        at_work = [pool.submit(push), pool.submit(git_steps)]
        last = pool.submit(our_steps)
        wait(at_work, timeout=60, return_when=FIRST_EXCEPTION)
        over.set()
        for _ in made.waiting:
            pushed.release()  # after a failed push, git_steps() must not wait for ever
    for future in [*at_work, last]:
        future.result()

    assert [] == [done.stderr for done in ours if done.returncode and not any(word in done.stderr for word in LOCKED)]
    assert 1 < sum(done.stdout.startswith("merged ") for done in ours)
    assert 5 < sum(done.returncode == 0 for done in theirs)
    gpa_any(made.server, "write")
    assert refs(made.client) | refs(made.server) == refs(made.client)
    expected = all_objects(made.client)
    assert expected == all_objects(made.server)
    assert_sound(made.server, content_digest(made.client))
    clone_works(made.server, tmp_path)
