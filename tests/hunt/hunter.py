"""One hunt: rounds of sequences and of overlaps until the time is over, and what is said of them."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import jgit

from .overlaps import overlap
from .sequences import sequence, shorten
from .steps import Step
from .trace import report
from .world import Hunt, World, open_hunt


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    seconds: float = 60
    seed: int = 1
    stock: bool = False
    keep_going: bool = False
    only: str = ""
    delay_ms: int = 30
    fault: str = ""
    shorten_seconds: float = 90


@dataclass
class Totals:
    sequences: int = 0
    steps: int = 0
    overlaps: int = 0
    checked: int = 0
    lost: int = 0
    bad: int = 0


def hunt(folder: Path, options: Options) -> int:
    """The exit status: 1 when something was found."""
    shared = open_hunt(folder, stock=options.stock, delay_ms=options.delay_ms, fault=options.fault)
    print(f"hunting with seed {options.seed} in '{folder}', with {', '.join(shared.programs)}", flush=True)
    if not jgit.is_there():
        print("without JGit's gc: jgit-cli is not installed", flush=True)
    started, totals, number = time.monotonic(), Totals(), 0
    deadline = started + options.seconds
    while time.monotonic() < deadline:
        number += 1
        found = _round(shared, options, number, deadline, totals)
        if found and not options.keep_going:
            break
    seconds = time.monotonic() - started
    print(
        f"{seconds:.0f} seconds, {totals.sequences} sequences, {totals.steps} steps, {totals.overlaps} overlaps, "
        f"{totals.checked} objects checked, {totals.lost} lost, {totals.bad} bad",
        flush=True,
    )
    failed = bool(totals.lost or totals.bad)
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


def _round(shared: Hunt, options: Options, number: int, deadline: float, totals: Totals) -> bool:
    random = Random(f"{options.seed}:{number}")
    overlapping = random.random() < 0.5 if not options.only else options.only == "overlaps"
    if overlapping:
        totals.overlaps += 1
        world, steps, found = overlap(shared, random, deadline)
        totals.steps += steps
    else:
        totals.sequences += 1
        world, done, found = sequence(shared, random, deadline)
        totals.steps += len(done)
    totals.checked += found.checked
    if not found:
        shutil.rmtree(world.folder, ignore_errors=True)
        return False
    totals.lost += bool(found.lost)
    totals.bad += not found.lost
    print(f"FOUND with seed {options.seed}, round {number}: {found.word}", flush=True)
    for text in (*world.complaints, *found.bad)[:12]:
        print(f"  {text}")
    if not overlapping:
        _say_sequence(options, shared, world, done)
    print(report(world, found, whole=overlapping), flush=True)
    return True


def _say_sequence(options: Options, shared: Hunt, world: World, done: list[Step]) -> None:
    print(f"  after {len(done)} steps; shortening them", flush=True)
    shorter, said = shorten(shared, world, done, options.shorten_seconds)
    print(f"  the {len(shorter)} steps that are enough:" if shorter else "  it did not come again; all steps:")
    for one in shorter or done:
        print(f"    {one}")
    for line in said:
        print(f"      {line}")
