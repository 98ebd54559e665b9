"""Values that the rounds of a verb share: the locked repository, the clock, progress and stop request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from .. import fs
from ..base.progress import Progress, ReportProgress, StopRequest
from ..base.tuples import NamedTuple
from ..model.plans import RunRules
from ..repo.config import Settings
from ..repo.objdir import ObjectDir

Clock = Callable[[], int]
"""A function that returns the current time in whole seconds since the epoch."""

ATTEMPTS = 8
"""Number of times that a plan is made again because the repository changed, before StalePlan is raised."""


class Session(NamedTuple):
    """A verb that runs in a repository and holds its maintenance lock. See at_work()."""

    objdir: ObjectDir
    space: fs.Workspace
    clock: Clock
    stop: StopRequest | None = None
    report: ReportProgress | None = None

    def now(self) -> int:
        """Return the current time in whole seconds since the epoch."""
        return self.clock()

    @property
    def progress(self) -> Progress | None:
        """Progress object of the C core, through which it learns when to stop."""
        return self.stop.progress if self.stop else None


wall_clock = time.time


def now() -> int:
    """Return the current second. Public functions pass this clock to their rounds; nothing else reads the time."""
    return int(wall_clock())


def rules_from(settings: Settings) -> RunRules:
    """Return the settings that the policy of a run depends on."""
    return RunRules(**{field: getattr(settings, field) for field in RunRules._fields})


def attempts() -> Iterator[bool]:
    """Yield True for each attempt that may be repeated, False for the last. Pause between: git deletes slowly."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause_before(attempt))
        yield attempt + 1 < ATTEMPTS


def pause_before(attempt: int) -> float:
    """Return the seconds to wait before the attempt of this number; about one second in all for eight attempts."""
    return float(min(0.5, 0.005 * 2**attempt))
