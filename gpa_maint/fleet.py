"""Maintenance of many repositories, some at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from . import commands
from .commands import Stop
from .errors import GpaError, Locked
from .model import RunResult
from .tuples import NamedTuple


class Outcome(NamedTuple):
    """What became of one repository: a result, or what it failed with."""

    path: str
    result: RunResult | None
    error: GpaError | OSError | None

    @property
    def has_failed(self) -> bool:
        """A repository in which somebody else is at work has not: that is done next time."""
        return self.error is not None and not isinstance(self.error, Locked)


def find_repositories(folder: str) -> Iterator[str]:
    """Every repository below `folder`, itself included: bare ones, and the .git of work trees; not those inside one.

    Symbolic links are not followed. GpaError when `folder` is no directory.
    """
    if not os.path.isdir(folder):
        raise GpaError(f"'{folder}' is not a directory")
    for path, folders, files in os.walk(folder):
        folders.sort()
        if "HEAD" in files and "objects" in folders and ("refs" in folders or "refs" in files):
            folders.clear()
            yield path


def maintain_all(
    paths: Iterable[str],
    *,
    jobs: int = 1,
    keep_going: bool = False,
    stop: Stop | None = None,
    max_seconds: float | None = None,
    told: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run maintenance in each repository, `jobs` at a time; gives the outcomes in the order in which they ended.

    Unless `keep_going`, no other one is begun after a failure. `stop` ends those at work and begins no other.
    `max_seconds` holds for each. `told` is called with each outcome, from the calling thread.
    """
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    ending = stop or Stop()
    outcomes: list[Outcome] = []
    waiting = iter(paths)
    running: set[Future[Outcome]] = set()
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        while True:
            failed = any(outcome.has_failed for outcome in outcomes)
            while len(running) < jobs and not ending.why and (keep_going or not failed):
                path = next(waiting, None)
                if path is None:
                    break
                running.add(pool.submit(_maintain_one, path, ending, max_seconds))
            if not running:
                return outcomes
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcomes.append(future.result())
                if told is not None:
                    told(outcomes[-1])


def _maintain_one(path: str, stop: Stop, max_seconds: float | None) -> Outcome:
    try:
        return Outcome(path, commands.maintain(path, stop=stop, max_seconds=max_seconds), None)
    except (GpaError, OSError) as error:
        return Outcome(path, None, error)
