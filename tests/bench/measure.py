"""Running commands and calls with a stopwatch: wall time, CPU time of the process and its children, peak memory."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds, peak resident MiB (of the largest of the processes), MiB read from the disk, major faults."""

    wall: float
    cpu: float
    rss: float = 0.0
    read: float = 0.0
    faults: float = 0.0

    @classmethod
    def of(cls, seconds: float, usage: resource.struct_rusage) -> Cost:
        """That of a process that has ended, and of its children."""
        cpu = usage.ru_utime + usage.ru_stime
        return cls(seconds * 1e3, cpu * 1e3, usage.ru_maxrss / 1024, usage.ru_inblock / 2048, usage.ru_majflt)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.wall + other.wall,
            self.cpu + other.cpu,
            max(self.rss, other.rss),
            self.read + other.read,
            self.faults + other.faults,
        )


def run(commands: Sequence[Sequence[str]], cwd: Path) -> Cost:
    """The cost of running `commands` one after the other."""
    total = Cost(0.0, 0.0)
    # What a user has: bytecode is kept from the first run on.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for command in commands:
        started = time.perf_counter()
        with subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            complaint = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        total += Cost.of(time.perf_counter() - started, usage)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed: {complaint.decode(errors='replace')}")
    return total


def count_calls(name: str, commands: Sequence[Sequence[str]], cwd: Path) -> None:
    """Run `commands`, and print how often files of packs were opened, and files synced; nothing without strace."""
    tracer = shutil.which("strace")
    if not tracer:
        return
    opened = synced = 0
    with tempfile.NamedTemporaryFile(mode="r", errors="replace") as log:
        for command in commands:
            words = [tracer, "-f", "-qq", "-e", "trace=open,openat,fsync,fdatasync", "-o", log.name, *command]
            subprocess.run(words, cwd=cwd, check=True, capture_output=True)
            for line in Path(log.name).read_text(errors="replace").splitlines():
                synced += "sync(" in line
                opened += '.idx"' in line or '.pack"' in line
    print(f"  {name:34} {opened:9,} opens of .pack and .idx files, {synced:6,} syncs")


def call(function: Callable[[], object]) -> Cost:
    """The cost of a call in this, warm, process; what it spends in children counts."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    own = time.process_time()
    function()
    cpu = time.process_time() - own
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    children = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall * 1e3, (cpu + children) * 1e3)


def fresh_copy(source: Path, target: Path) -> Path:
    """A copy to work on; what was there goes, and dirty pages are written so that they disturb nobody's fsync."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", source, target], check=True)
    os.sync()
    return target


def pack_bytes(repo: Path) -> int:
    return sum(path.stat().st_size for path in (repo / "objects/pack").glob("*.pack"))


HEADS = {
    "wall ms": 9,
    "(min-max)": 15,
    "CPU ms": 9,
    "wall x": 7,
    "CPU x": 7,
    "RSS MiB": 8,
    "read MiB": 9,
    "faults": 7,
}
"""Columns, and how wide they are."""


class Table:
    """Costs by peer; prints medians, spread and ratio to the peer that is named `ours`."""

    def __init__(self, title: str, ours: str = "git-gpa") -> None:
        self.title = title
        self.ours = ours
        self._costs: dict[str, list[Cost]] = {}
        self._notes: dict[str, str] = {}

    def add(self, peer: str, cost: Cost, note: str = "") -> None:
        self._costs.setdefault(peer, []).append(cost)
        self._notes[peer] = note

    def median(self, peer: str, what: str = "cpu") -> float:
        return statistics.median(getattr(cost, what) for cost in self._costs[peer])

    def show(self) -> None:
        print(f"\n{self.title}, medians of {len(next(iter(self._costs.values())))} runs")
        print(f"  {'':34} {' '.join(f'{head:>{width}}' for head, width in HEADS.items())}")
        for peer, costs in self._costs.items():
            walls = [cost.wall for cost in costs]
            spread = f"({min(walls):.0f}-{max(walls):.0f})"
            wall_ratio = self.median(peer, "wall") / self.median(self.ours, "wall")
            cpu_ratio = self.median(peer) / max(self.median(self.ours), 0.001)
            print(
                f"  {peer:34} {self.median(peer, 'wall'):9.1f} {spread:>15} {self.median(peer):9.1f} "
                f"{wall_ratio:7.1f} {cpu_ratio:7.1f} {self.median(peer, 'rss'):8.0f} "
                f"{self.median(peer, 'read'):9.1f} {self.median(peer, 'faults'):7.0f}  {self._notes[peer]}"
            )
