"""Maintenance of many repositories, some at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from ..base import safe_open
from ..base.progress import StopRequest
from ..base.tuples import NamedTuple
from ..errors import GpaError, Locked, Quarantined
from ..model.results import RunResult
from .run import maintain


class Outcome(NamedTuple):
    """Outcome for one repository: a result, or an error."""

    path: str
    result: RunResult | None
    error: Exception | None

    @property
    def has_failed(self) -> bool:
        """Whether it failed. A repository that is locked, or receives a push, has not: its turn comes next time."""
        return self.error is not None and not isinstance(self.error, (Locked, Quarantined))


def find_repositories(folder: str) -> Iterator[str]:
    """Yield every repository below `folder`, itself included: bare ones, and the .git of work trees; none inside those.

    Work trees are not searched, because committed files may look like a repository. Symbolic links are not followed,
    and a repository whose objects or refs are a link is skipped. Raises GpaError if `folder` is no directory.
    """
    if not os.path.isdir(folder):
        raise GpaError(f"'{folder}' is not a directory")
    for path, entries in safe_open.walk(folder):
        names = {entry.name: entry for entry in entries}
        if ".git" in names:
            entries[:] = [names[".git"]]
        elif "HEAD" in names and "objects" in names and "refs" in names:
            entries.clear()
            if _is_its_own(names):
                yield path


def _is_its_own(names: Mapping[str, os.DirEntry[str]]) -> bool:
    """Return whether the repository has its own objects and refs. Otherwise maintenance would change another one."""
    objects = names["objects"]
    is_refs_link = names["refs"].is_symlink()
    return safe_open.is_folder(objects) and not is_refs_link and not os.path.islink(os.path.join(objects.path, "pack"))


def maintain_all(
    paths: Iterable[str],
    *,
    jobs: int = 1,
    keep_going: bool = False,
    stop: StopRequest | None = None,
    max_seconds: float | None = None,
    told: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run maintenance in each repository, `jobs` at a time. Return the outcomes in the order in which they ended.

    After a failure no other repository is begun, unless `keep_going` is set. `stop` ends the running ones and begins no
    other. `max_seconds` is the limit for each. `told` is called with each outcome, from the calling thread.
    """
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    ending = stop or StopRequest()
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


def _maintain_one(path: str, stop: StopRequest, max_seconds: float | None) -> Outcome:
    try:
        with stop.part() as part:
            return Outcome(path, maintain(path, stop=part, max_seconds=max_seconds), None)
    except Exception as error:  # an error in one repository must not stop the others
        return Outcome(path, None, error)
