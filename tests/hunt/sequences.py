"""Steps one after the other, everything checked after each; and the shortest part of them that still fails."""

from __future__ import annotations

import shutil
import threading
import time
from random import Random

from .check import Checker, Findings
from .steps import KINDS, Step, do
from .world import Hunt, World, make_world

TRIES = 2
"""A sequence that depends on which second a file is from may need another try."""


def draw_steps(shared: Hunt, random: Random, count: int) -> list[Step]:
    """Some steps, mostly of a few kinds, so that the same ones meet more than once."""
    names = [name for name, kind in KINDS.items() if kind.lane != "fault" and not (shared.stock and is_ours(name))]
    weights = [KINDS[name].weight * random.choice((0, 1, 1, 4)) for name in names]
    found = []
    for _ in range(count):
        name = random.choices(names, weights)[0] if any(weights) else random.choice(names)
        step = Step(name, random.getrandbits(32))
        # A step that is stopped once while others are done: an overlap that comes again in the same way.
        if random.random() < 0.25 and KINDS[name].lane in ("git", "ours"):
            other = {"git": ("ours", "writer"), "ours": ("ours", "git", "writer")}[KINDS[name].lane]
            beside = [one for one in names if KINDS[one].lane in other]
            if beside:
                stop = f"{random.randint(1, 12)}:{random.choice((300, 1200, 2500))}"
                inner = tuple(Step(random.choice(beside), random.getrandbits(32)) for _ in range(random.randint(1, 2)))
                step = Step(name, step.seed, stop, inner)
        found.append(step)
    if shared.fault:
        found.insert(random.randrange(len(found) // 2, len(found)), Step(shared.fault, 1))
    return found


def is_ours(name: str) -> bool:
    return name.startswith("gpa-") or name == "writer"


def sequence(shared: Hunt, random: Random, deadline: float) -> tuple[World, list[Step], Findings]:
    """Run steps until something is wrong, they are done, or the time is over."""
    seed = random.getrandbits(32)
    steps = draw_steps(shared, random, random.choice((10, 20, 40)))
    return replay(shared, seed, steps, deadline)


def replay(
    shared: Hunt, seed: int, steps: list[Step], deadline: float = float("inf")
) -> tuple[World, list[Step], Findings]:
    """The steps that were done, and what was found after the last of them."""
    random = Random(seed)
    world = make_world(shared, "sequence", random, delay_ms=random.choice((0, 0, 3)))
    world.seed = seed
    checker, done, all_found = Checker(world), [], Findings()
    try:
        for step in steps:
            if time.monotonic() > deadline:
                break
            done.append(step)
            run_step(world, step)
            found = checker.check()
            all_found.checked += found.checked
            if found or world.complaints:
                found.checked = all_found.checked
                found.bad += world.complaints
                return world, done, found
        found = checker.check_files()
        if not found and not shared.stock:
            found = checker.check_holds()
        if found:
            return world, done, found
    finally:
        checker.close()
    return world, done, all_found


def run_step(world: World, step: Step) -> None:
    if not step.beside:
        do(world, step)
        world.wait_for_the_rest()
        return
    world.overlapping = True
    thread = threading.Thread(target=do, args=(world, step), kwargs={"stop": step.stop})
    thread.start()
    time.sleep(0.25)  # by now it has stopped, or is over
    for inner in step.beside:
        do(world, inner)
    thread.join()
    world.wait_for_the_rest()
    world.overlapping = False


def shorten(shared: Hunt, world: World, steps: list[Step], seconds: float) -> tuple[list[Step], list[str]]:
    """The fewest steps, found by leaving out ever smaller parts, after which something is wrong, and what they ran.

    Nothing when the same steps pass now.
    """
    deadline = time.monotonic() + seconds
    said: list[str] = []

    def fails(some: list[Step]) -> bool:
        for _ in range(TRIES):
            if time.monotonic() > deadline:
                return False
            other, _done, found = replay(shared, world.seed, some)
            shutil.rmtree(other.folder, ignore_errors=True)
            if found or other.complaints:
                said[:] = other.lines
                return True
        return False

    if not fails(steps):
        return [], []
    size = max(1, len(steps) // 2)
    while True:
        at = 0
        while at < len(steps):
            rest = steps[:at] + steps[at + size :]
            if rest and fails(rest):
                steps = rest
            else:
                at += size
        if size == 1:
            return steps, said
        size //= 2
