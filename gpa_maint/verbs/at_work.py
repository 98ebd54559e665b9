"""Hold the maintenance lock for a verb, and leave no index that names a pack which git has deleted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .. import fs
from ..base.progress import ReportProgress, StopRequest
from ..errors import GpaError, Stopped
from ..look.inventory import take_inventory
from ..model.inventory import Inventory
from ..model.plans import IndexScope
from ..repo.discover import refuse_quarantine
from ..repo.objdir import ObjectDir
from ..state.superseded import read_state
from .index import write_index
from .session import Clock, Session

SETTLE_SECONDS = 10
"""Seconds that a verb waits for a git process that was running when it published an index."""

SETTLE_PAUSE = 0.02
"""Seconds between two checks."""


@contextmanager
def at_work(
    objdir: ObjectDir, clock: Clock, *, stop: StopRequest | None = None, report: ReportProgress | None = None
) -> Iterator[Session]:
    """Hold the lock, remove files of killed runs, and yield a session with a place for temporary files.

    Raises Locked if another run is running, Quarantined in a hook of a push whose objects git has not accepted yet.
    """
    refuse_quarantine(objdir)
    with fs.maintenance_lock(objdir), fs.workspace(objdir) as space:
        session = Session(objdir, space, clock, stop, report)
        fs.check_index_lock(objdir)
        doomed = read_state(objdir).doomed
        if doomed:
            fs.finish_deleting(objdir, doomed)
        try:
            yield session
        except GpaError as error:
            # An index may have been published before. The verb's own error counts more than an error here.
            with suppress(GpaError):
                _settle_at_the_end(session, 0 if isinstance(error, Stopped) else SETTLE_SECONDS)
            raise
        _settle_at_the_end(session, SETTLE_SECONDS)


def _settle_at_the_end(session: Session, seconds: float) -> None:
    if session.space.beside:
        settle(session._replace(stop=None), session.space.beside, seconds=seconds)


def settle(session: Session, beside: list[fs.Deleter], *, seconds: float) -> str:
    """I5: wait for git processes to end, and drop the packs that they have deleted from the index.

    `git repack` removes an index only if the index that it loaded at its start names a pack that it deletes. Pushes may
    be refused while an index names a missing pack, and then no hook starts a run. Returns the process that still runs
    after so many seconds, "" for none.
    """
    deadline = time.monotonic() + seconds
    stop = session.stop
    while any(one.is_alive for one in beside) and time.monotonic() < deadline and not (stop and stop.why):
        time.sleep(SETTLE_PAUSE)
    inventory = take_inventory(session.objdir, counts=False)
    if inventory.vanished:
        _drop_vanished(session._replace(stop=None), inventory)
    return next((str(one) for one in beside if one.is_alive), "")


def _drop_vanished(session: Session, inventory: Inventory) -> None:
    """Write the index over those of its packs that exist; remove it if there are none."""
    outside = tuple(pack.name for pack in inventory.packs if not pack.is_indexed)
    if len(outside) < len(inventory.packs):
        write_index(session, IndexScope(leave_out=outside), force=True)
    else:
        fs.remove_index(session.objdir)
