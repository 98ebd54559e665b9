"""Merge small packs into pages and index them: look, decide, do, and repeat when the plan is stale."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection

from ..apply.room import (
    INDEX_ROW_BYTES,
    RECORD_BYTES,
    add_missing,
    describe_missing,
    free_bytes,
    is_full,
    smaller_batch,
)
from ..base.arguments import checked
from ..errors import Locked, StalePlan
from ..look.inventory import complaints_of, take_inventory
from ..model.inventory import Inventory, PackInfo
from ..model.plans import IndexScope, RepackPlan
from ..model.results import PageInfo, RepackResult
from ..plan.repack import plan_repack
from ..repo.discover import find_object_dir
from ..repo.objdir import ObjectDir
from ..state.superseded import record_superseded
from .at_work import at_work
from .index import write_index
from .session import Session, attempts, now

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath
    from ..base.progress import ReportProgress, StopRequest

INDEX_LOCK_SECONDS = 10
"""Seconds that a merge, after its pages are written, waits for another writer of the index."""

MERGING_NEEDS = "merging them needs"


@checked
def repack(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    batch_bytes: int = 0,
    page_objects: int | None = None,
    stop: StopRequest | None = None,
    report: ReportProgress | None = None,
) -> RepackResult:
    """Merge small packs into pages of `page_objects` objects (default gpa.pageObjects) and index them.

    Packs are taken as by git multi-pack-index repack: oldest first, until their expected sizes reach `batch_bytes` (0:
    all). The sources stay until expire(). In an empty result, `reason` says why nothing was done.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    with at_work(objdir, now, stop=stop, report=report) as session:
        return repack_in(
            session,
            lambda inventory: _plan(objdir, inventory, batch_bytes, page_objects),
            indexed=lambda inventory, plan: True,
        )


def plan_repack_of(objdir: ObjectDir, *, batch_bytes: int = 0, page_objects: int | None = None) -> RepackPlan:
    """Return the plan of a repack() that would start now."""
    return _plan(objdir, take_inventory(objdir), batch_bytes, page_objects)


def _plan(objdir: ObjectDir, inventory: Inventory, batch_bytes: int, page_objects: int | None) -> RepackPlan:
    settings = objdir.settings
    return plan_repack(
        inventory,
        batch_bytes=batch_bytes,
        page_objects=page_objects or settings.page_objects,
        page_bytes=settings.page_bytes,
        depth=settings.depth,
    )


def repack_in(
    session: Session,
    choose: Callable[[Inventory], RepackPlan],
    *,
    indexed: Callable[[Inventory, RepackPlan], bool],
    leave_out: Collection[str] = (),
    seen: Inventory | None = None,
) -> RepackResult:
    """Merge the packs that `choose` returns, and, if `indexed`, write the index without the packs `leave_out`.

    Without a new index the sources must be outside the old one; the pages then supersede them without an index. `seen`
    is the caller's Inventory, for the first attempt.
    """
    for may_repeat in attempts():
        inventory, seen = seen or take_inventory(session.objdir), None
        complaints = complaints_of(inventory)
        plan = choose(inventory)
        if not plan.batch:
            return RepackResult((), (), 0, 0, reason=plan.reason, complaints=complaints)
        try:
            index_room = _index_room(session.objdir, plan) if indexed(inventory, plan) else 0
            result = _write_what_fits(session, plan, index_room)
            result = result._replace(complaints=tuple(dict.fromkeys((*complaints, *result.complaints))))
            break
        except StalePlan:
            if not may_repeat:
                raise
    # Only the index tells which packs must stay because of damaged objects.
    if indexed(inventory, plan) or result.left_out:
        return _index_pages(session, result, inventory, leave_out)
    pages = {page.name for page in result.pages}
    record_superseded(session.objdir, session.space, now=session.now(), merged=set(result.merged) - pages)
    return result


def _index_room(objdir: ObjectDir, plan: RepackPlan) -> int:
    """Return the largest size (bytes) of a new index."""
    old = os.stat(objdir.index_path).st_size if os.path.exists(objdir.index_path) else 0
    return old + INDEX_ROW_BYTES * sum(pack.object_count or 0 for pack in plan.batch if not pack.is_indexed)


def _write_what_fits(session: Session, plan: RepackPlan, index_room: int) -> RepackResult:
    """Run write_pages(). On a full disk, merge fewer packs, and set `no_room` in the result.

    Raises SystemFailed, with the first error, if not even two packs fit. Nothing is published before the whole batch
    fits, with the index that will name it.
    """
    from ..apply.repack import write_pages  # start-up cost: mostly there is nothing to merge

    objdir, space = session.objdir, session.space
    spare = index_room + RECORD_BYTES
    needed = sum(pack.size for pack in plan.batch) + spare
    batch = plan.batch
    first: OSError | None = None
    while True:
        try:
            some = plan._replace(batch=batch)
            result = write_pages(objdir, space, some, session.report, session.progress, room=spare)
            break
        except OSError as error:
            if not is_full(error):
                raise
            first = first or error
            space.remove_all()
            batch = smaller_batch(batch, max(0, free_bytes(objdir) - spare))
            if len(batch) < 2:
                first.__context__ = None
                raise add_missing(objdir, first, MERGING_NEEDS, needed) from None
    if first is None:
        return result
    # The pages now use the space that the larger batch did not find.
    missing = describe_missing(objdir, first, MERGING_NEEDS, needed - sum(page.size for page in result.pages))
    left = len(plan.batch) - len(batch)
    return result._replace(no_room=f"{left} of {len(plan.batch)} packs to be merged: {first}; {missing}")


def _index_pages(
    session: Session, result: RepackResult, inventory: Inventory, leave_out: Collection[str]
) -> RepackResult:
    if not result.pages:
        return result._replace(
            merged=(), reason=result.reason or "merging these packs would only give the same packs again"
        )
    pages = {page.name for page in result.pages}
    outside = set(leave_out).difference(pages, result.merged) | {step.pack for step in result.bad_packs}
    scope = IndexScope(leave_out=tuple(outside), new_pages=tuple(pages), merged=result.merged)
    seen: Inventory | None = _with_pages(session, inventory, result.pages)
    # The pages are written. So it waits for another writer of the index, and continues after a request to stop,
    # to get them into the index.
    session = session._replace(stop=None)
    deadline = time.monotonic() + INDEX_LOCK_SECONDS
    while True:
        try:
            index = write_index(session, scope, force=True, seen=seen)
            complaints = dict.fromkeys((*result.complaints, *index.complaints))
            return result._replace(midx=index, complaints=tuple(complaints))
        except Locked:
            seen = None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _made_ns(objdir: ObjectDir, name: str) -> int:
    try:
        return os.stat(objdir.pack_path(name, ".idx")).st_mtime_ns
    except FileNotFoundError:
        return 0  # publishing the index will notice that it is gone


def _with_pages(session: Session, inventory: Inventory, pages: tuple[PageInfo, ...]) -> Inventory:
    there = {pack.name for pack in inventory.packs}
    new = [
        PackInfo(
            name=page.name,
            size=page.size,
            mtime=session.now(),
            object_count=page.object_count,
            referenced=None,
            made_ns=_made_ns(session.objdir, page.name),
        )
        for page in pages
        if page.name not in there
    ]
    return inventory._replace(packs=(*inventory.packs, *new))
