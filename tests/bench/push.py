"""How long does a push take with our hooks, and without any, into a repository of 1000 packs?

One commit a push, as a team's server gets them: with hook and without in turn, on the same repository. Once while
nothing is due, and once while a run is at work all the time: merging, since there is always a pack more to merge.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpa_maint import install, write
from tests.bench import workloads
from tests.bench.measure import Cost, run

PACKS = 1000
PUSHES_PER_PAIR = 40
"""With the default of 5 pairs: 200 pushes with the hooks, and 200 without, for each row."""


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    server = workloads.split(source, work.with_name("push-server"), PACKS)
    install(os.fspath(server))
    write(os.fspath(server))
    count = pairs * PUSHES_PER_PAIR
    client, commits = _commits(server, work.with_name("push-client"), 4 * count + 2)
    print(f"\npush: one commit into {len(list(server.glob('objects/pack/*.pack')))} packs, medians of {count} pushes")
    print(f"  {'':26} {'':8} {'no hook':>9} {'hooks':>9} {'more':>9}")
    for name, background in (("nothing due", _nothing), ("while a run is at work", _at_work)):
        with background(server):
            costs = _in_turn(client, server, commits, count)
        for what in ("wall", "cpu"):
            without, hooked = (
                statistics.median(getattr(cost, what) for cost in costs[with_hooks]) for with_hooks in costs
            )
            print(f"  {name:26} {what:>4} ms  {without:9.2f} {hooked:9.2f} {hooked - without:+9.2f}")


def _commits(server: Path, target: Path, count: int) -> tuple[Path, Iterator[str]]:
    """A clone with `count` further commits, each of which changes one file."""
    subprocess.run(["git", "clone", "-q", "--no-checkout", server, target], check=True)
    script = bytearray()
    for number in range(count):
        text = f"change {number}\n" * 20
        script += f"commit refs/heads/bench\ncommitter A <a@b> {1_700_000_000 + number} +0000\ndata 1\nx\n".encode()
        script += f"M 100644 inline file-{number % 50}\ndata {len(text)}\n{text}\n".encode()
    subprocess.run(["git", "fast-import", "--quiet"], cwd=target, input=script, check=True)
    words = ["git", "rev-list", "--reverse", "bench"]
    oids = subprocess.run(words, cwd=target, capture_output=True, text=True, check=True).stdout.split()
    return target, iter(oids)


def _in_turn(client: Path, server: Path, commits: Iterator[str], count: int) -> dict[bool, list[Cost]]:
    """What pushes cost without hooks and with them, all of their processes together."""
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    _push(client, server, next(commits))  # what is read for the first time is read before
    for _ in range(count):
        for hooked in (False, True):
            with _switched(server, hooked):
                costs[hooked].append(_push(client, server, next(commits)))
    return costs


@contextmanager
def _switched(server: Path, hooked: bool) -> Iterator[None]:
    hooks, away = server / "hooks", server / "hooks-away"
    if not hooked:
        hooks.rename(away)
    _nothing_due(server)
    try:
        yield
    finally:
        if not hooked:
            away.rename(hooks)


def _nothing_due(server: Path) -> None:
    """What a run leaves that has just looked."""
    note = server / "gpa" / "next"
    note.write_text("1000000 1000000\n")
    for old in note.parent.glob("next-*"):
        old.unlink()
    note.with_name("next-1000000-1000000").touch()
    os.utime(note, (time.time() + 3600,) * 2)


def _push(client: Path, server: Path, oid: str) -> Cost:
    return run([["git", "push", "-q", os.fspath(server), f"{oid}:refs/heads/bench"]], client)


@contextmanager
def _nothing(server: Path) -> Iterator[None]:
    yield


@contextmanager
def _at_work(server: Path) -> Iterator[None]:
    """One run after another; each merges what was pushed since with all that was merged before."""
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            subprocess.run(["git-gpa", "repack", "-q", "--page-objects=1m"], cwd=server, check=True)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()
