"""Steps side by side: clients push, programs write, git maintains and git-gpa does, each in a lane of its own.

Within a lane one step follows the other. Git's own maintenance has one lane, since two of its commands at once lose
objects to one another, without git-gpa too. A command that removes everything unreferenced runs alone, as git's manual
says.
"""

from __future__ import annotations

import threading
import time
from random import Random

from .check import Checker, Findings
from .sequences import is_ours
from .steps import KINDS, Step, do
from .world import Hunt, World, make_world

EPISODES = 3
EPISODE_SECONDS = (2, 4, 8, 15)

CHANCES = {
    "writer": 0.6,
    "stock-writer": 0.3,
    "worktree": 0.3,
    "fetch": 0.2,
    "refs": 0.3,
    "backup": 0.3,
    "borrower": 0.3,
}
"""How often a lane is there; those of the two clients and of git always are."""


def overlap(shared: Hunt, random: Random, deadline: float) -> tuple[World, int, Findings]:
    """Some episodes in one repository; between them, and at the end, everything is checked. Also how many steps ran."""
    world = make_world(shared, "overlap", random, delay_ms=random.choice((5, shared.delay_ms, shared.delay_ms)))
    world.overlapping = True
    checker, counted, all_found = Checker(world), [0], Findings()
    try:
        for _ in range(random.randint(1, EPISODES)):
            if time.monotonic() > deadline:
                break
            found = _episode(world, checker, random, deadline, counted)
            all_found.checked += found.checked
            if found:
                found.checked = all_found.checked
                return world, counted[0], found
        if not shared.stock:
            found = checker.check_holds()
            if found:
                return world, counted[0], found
    finally:
        checker.close()
    return world, counted[0], all_found


def draw_lanes(shared: Hunt, random: Random) -> list[list[str]]:
    """The names of the steps of each lane. Each time other commands meet: one of git's, or some, or all of them."""
    names = [name for name, kind in KINDS.items() if not (shared.stock and is_ours(name))]
    by_lane: dict[str, list[str]] = {}
    for name in names:
        by_lane.setdefault(KINDS[name].lane, []).append(name)
    if random.random() < 0.4:
        by_lane["git"] = [random.choice(by_lane["git"])]
    elif random.random() < 0.5:
        by_lane["git"] = random.sample(by_lane["git"], 4)
    lanes = [by_lane[lane] for lane in ("client-0", "client-1", "git")]
    for lane, chance in CHANCES.items():
        if lane in by_lane and random.random() < chance:
            lanes += [by_lane[lane]] * (random.choice((1, 1, 2, 3)) if lane == "writer" else 1)
    if "ours" in by_lane:
        lanes += [by_lane["ours"]] * random.choice((1, 2, 2))
    if random.random() < 0.4:
        lanes.append(by_lane["times"])
    if shared.fault:
        lanes.append([shared.fault])
    return lanes


def _episode(world: World, checker: Checker, random: Random, deadline: float, counted: list[int]) -> Findings:
    end = min(time.monotonic() + random.choice(EPISODE_SECONDS), deadline)
    wrong = threading.Event()
    found = Findings()

    def live(names: list[str], own: Random) -> None:
        weights = [KINDS[name].weight or 1 for name in names]
        while time.monotonic() < end and not wrong.is_set():
            do(world, Step(own.choices(names, weights)[0], own.getrandbits(32)))
            counted[0] += 1
            time.sleep(own.choice((0, 0, 0.02, 0.2)))

    def read(own: Random) -> None:
        while time.monotonic() < end and not wrong.is_set():
            now = checker.check_beside(own)
            found.checked += now.checked
            if now:
                found.lost, found.bad = now.lost, now.bad
                world.say(f"a reader finds: {now.bad[0]}")
                wrong.set()
            time.sleep(own.uniform(0.05, 0.4))

    lanes = draw_lanes(world.hunt, random)
    world.say("lanes: " + "; ".join(",".join(lane) for lane in lanes))
    threads = [threading.Thread(target=live, args=(lane, Random(random.getrandbits(32)))) for lane in lanes]
    threads.append(threading.Thread(target=read, args=(Random(random.getrandbits(32)),)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.wait_for_the_rest()
    after = checker.check()
    after.checked += found.checked
    if found and not after:
        after.bad = [f"for a moment: {text}" for text in found.bad]
    if world.complaints:
        after.bad += world.complaints
    if not after and random.random() < 0.3:
        alone = [name for name, kind in KINDS.items() if kind.lane == "alone"]
        names = [name for name in alone if not (world.hunt.stock and is_ours(name))]
        do(world, Step(random.choice(names), random.getrandbits(32)))
        world.wait_for_the_rest()
        after = checker.check()
    if not after:
        after.bad = checker.check_files().bad
    return after
