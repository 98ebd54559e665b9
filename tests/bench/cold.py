"""Cold caches: before each timed side the files of its repository leave the page cache, which needs no root.

What stays warm: the programs and their libraries, and what the kernel knows of directories and inodes. What the disk
itself or its host keeps is beyond reach, so compare sides, and the MiB that each had to read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench import measure
from tests.bench.measure import Cost

FILES_AT_ONCE = 1000


class Cache:
    """Runs and calls as measure.py does; if it is a cold one, after dropping the files of `repo`."""

    def __init__(self, *, cold: bool) -> None:
        self.cold = cold
        self._drops: list[tuple[float, float, float]] = []

    def run(self, commands: Sequence[Sequence[str]], cwd: Path, repo: Path | None = None) -> Cost:
        """`repo` is where it runs, unless it is given."""
        if self.cold:
            self._drop(repo or cwd)
        return measure.run(commands, cwd)

    def call(self, function: Callable[[], object], repo: Path) -> Cost:
        """A cold one calls in a child process: what it maps would not be dropped for the next while it is mapped."""
        if not self.cold:
            return measure.call(function)
        self._drop(repo)
        started = time.perf_counter()
        child = os.fork()
        if not child:
            _call_and_end(function)
        _, status, usage = os.wait4(child, 0)
        if status:
            sys.exit("a call failed")
        return replace(Cost.of(time.perf_counter() - started, usage), rss=0.0)  # that of the parent too

    def report(self) -> str:
        """How much was really dropped."""
        if not self._drops:
            return "page cache: warm"
        size, before, after = (sum(column) for column in zip(*self._drops, strict=True))
        most = max(drop[2] for drop in self._drops)
        files = f"of {size:.0f} MiB of files {before:.0f} were there before and {after:.1f} after ({most:.1f} at most)"
        return f"page cache: dropped {len(self._drops)} times; {files}"

    def _drop(self, repo: Path) -> None:
        paths = [path for path in (repo / "objects").rglob("*") if path.is_file()]
        before = _resident(paths)
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)  # dirty pages stay
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        self._drops.append((sum(path.stat().st_size for path in paths) / 2**20, before, _resident(paths)))


WARM = Cache(cold=False)


def _call_and_end(function: Callable[[], object]) -> None:
    """In the child: nothing of the parent may be tidied up."""
    try:
        function()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _resident(paths: Sequence[Path]) -> float:
    """MiB of the files that are in the page cache."""
    size = 0
    for first in range(0, len(paths), FILES_AT_ONCE):
        words = ["fincore", "--bytes", "--noheadings", "--output=RES", *paths[first : first + FILES_AT_ONCE]]
        size += sum(map(int, subprocess.run(words, check=True, capture_output=True).stdout.split()))
    return size / 2**20
