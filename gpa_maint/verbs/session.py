"""What the rounds of a verb share: the locked repository, the clock, and how the caller follows and ends the work."""

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
"""Returns the present, in whole seconds since the epoch."""

ATTEMPTS = 8
"""How often a plan is made again when the repository changes under it, before StalePlan reaches the caller."""


class Session(NamedTuple):
    """A verb at work in a repository whose maintenance lock it holds. See at_work()."""

    objdir: ObjectDir
    space: fs.Workspace
    clock: Clock
    stop: StopRequest | None = None
    report: ReportProgress | None = None

    def now(self) -> int:
        """Return the present, in whole seconds since the epoch."""
        return self.clock()

    @property
    def progress(self) -> Progress | None:
        """What the C core looks at to learn whether to stop."""
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
    """Seconds before the attempt of this number: about one second before eight in all."""
    return float(min(0.5, 0.005 * 2**attempt))
