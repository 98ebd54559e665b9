"""Delete superseded pages: look, decide, prove, do, and repeat when the plan is stale."""

from __future__ import annotations

import os
from collections.abc import Collection

from .. import fs
from ..apply.expire import Proved, delete_packs, end_holds, names_any, prove_doomed
from ..apply.room import RECORD_BYTES, add_missing, is_full
from ..base.arguments import checked
from ..errors import StalePlan
from ..look.inventory import complaints_of, take_inventory
from ..model.inventory import Inventory
from ..model.plans import ExpirePlan, IndexScope
from ..model.results import ExpireResult, WriteResult
from ..plan.expire import plan_expire
from ..repo.discover import find_object_dir
from ..repo.objdir import ObjectDir
from ..state.superseded import read_state, record_superseded, write_state
from .at_work import at_work
from .index import write_index
from .session import Session, attempts, now

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath
    from ..base.progress import ReportProgress, StopRequest


@checked
def expire(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    grace_seconds: int | None = None,
    stop: StopRequest | None = None,
    report: ReportProgress | None = None,
) -> ExpireResult:
    """Delete pages that nothing has pointed to for `grace_seconds` (default gpa.expireGrace; 0: now).

    Raises Locked while `git gc` or `git maintenance` runs, Refused in a precious-objects repository. A page that cannot
    be proved safe to delete stays, and is listed in `kept_back`.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    with at_work(objdir, now, stop=stop, report=report) as session:
        return expire_in(session, grace_seconds)


def plan_expire_of(objdir: ObjectDir, *, grace_seconds: int | None = None) -> ExpirePlan:
    """Return the plan of an expire() that would start now."""
    return plan_expire_at(objdir, take_inventory(objdir, counts=False), grace_seconds, now=now())


def plan_expire_at(objdir: ObjectDir, inventory: Inventory, grace_seconds: int | None, *, now: int) -> ExpirePlan:
    """Return the plan at the second `now`; the default of `grace_seconds` is gpa.expireGrace."""
    settings = objdir.settings
    grace = settings.expire_grace if grace_seconds is None else grace_seconds
    return plan_expire(inventory, grace_seconds=grace, keep_new=settings.keep_new, now=now)


def expire_in(
    session: Session,
    grace_seconds: int | None,
    *,
    leave_out: Collection[str] = (),
    spared: Collection[str] = (),
    seen: Inventory | None = None,
) -> ExpireResult:
    """Run _expire(). On a full disk, use the space of gpa/reserve, and begin with pages that the index does not name.

    Raises SystemFailed, with the number of missing bytes, if nothing can be freed.
    """
    try:
        return _expire(session, grace_seconds, leave_out=leave_out, spared=spared, seen=seen)
    except OSError as error:
        if not is_full(error):
            raise
        return _expire_on_a_full_disk(session, grace_seconds, leave_out, spared, error)


def _expire_on_a_full_disk(
    session: Session,
    grace_seconds: int | None,
    leave_out: Collection[str],
    spared: Collection[str],
    first: OSError,
) -> ExpireResult:
    objdir = session.objdir
    session.space.remove_all()
    has_reserve = fs.release_reserve(objdir)
    outside, indexed = _doomed_now(session, grace_seconds, spared)
    freed: ExpireResult | None = None
    try:
        # Deleting these frees the space that an index without the others needs.
        if outside and indexed:
            freed = _expire(session, grace_seconds, leave_out=leave_out, spared={*spared, *indexed})
        elif not has_reserve:
            raise first
        done = _expire(session, grace_seconds, leave_out=leave_out, spared=spared)
    except OSError as error:
        if not is_full(error):
            raise
        session.space.remove_all()
        needed = os.stat(objdir.index_path).st_size if os.path.exists(objdir.index_path) else 0
        told = add_missing(objdir, first, "a new index and records need", needed + RECORD_BYTES)
        if freed is None or not freed.deleted:
            told.__context__ = None
            raise told from None
        hint = getattr(told, "hint", "")
        return freed._replace(
            complaints=(*freed.complaints, f"the index still names {len(indexed)} pages: {told}; {hint}")
        )
    return _both(freed, done) if freed else done


def _doomed_now(
    session: Session, grace_seconds: int | None, spared: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the pages to be deleted that the index does not name, and those that it names."""
    inventory = take_inventory(session.objdir, counts=False)
    doomed = plan_expire_at(session.objdir, inventory, grace_seconds, now=session.now()).doomed
    pages = [pack for pack in doomed if pack.name not in spared]
    outside = tuple(pack.name for pack in pages if not pack.is_indexed)
    return outside, tuple(pack.name for pack in pages if pack.is_indexed)


def _both(first: ExpireResult, second: ExpireResult) -> ExpireResult:
    """Return the joint result of two expires that ran one after the other."""
    deleted = (*first.deleted, *second.deleted)
    return second._replace(
        deleted=deleted,
        freed_bytes=first.freed_bytes + second.freed_bytes,
        released=(*first.released, *second.released),
        complaints=tuple(dict.fromkeys((*first.complaints, *second.complaints))),
        reason="" if deleted else second.reason,
    )


def _expire(
    session: Session,
    grace_seconds: int | None,
    *,
    leave_out: Collection[str] = (),
    spared: Collection[str] = (),
    seen: Inventory | None = None,
) -> ExpireResult:
    """Delete superseded pages whose grace time is over, after the proof.

    If it is stopped while it deletes, the next run deletes the rest. If it has to write an index, that names all other
    packs except those of `leave_out`. `spared` pages stay. `seen` is the caller's Inventory, for the first attempt.
    """
    objdir = session.objdir
    for may_repeat in attempts():
        inventory, seen = seen or take_inventory(objdir, counts=False), None
        complaints = complaints_of(inventory)
        plan = plan_expire_at(objdir, inventory, grace_seconds, now=session.now())
        plan = plan._replace(doomed=tuple(pack for pack in plan.doomed if pack.name not in spared))
        deleters = fs.deleters(objdir) if plan.doomed else ()
        if deleters:
            reason = f"{deleters[0]} is at work in this repository, and takes the packs that it has seen to stay"
            return _expired(plan, (), 0, complaints=complaints)._replace(reason=reason)
        if not plan.doomed:
            record_superseded(objdir, session.space, now=session.now())
            released = end_holds(objdir, inventory.packs, session.now())
            return _expired(plan, (), 0, complaints=complaints, released=released)
        try:
            done = _expire_doomed(session, plan, inventory, leave_out)
            complaints = (*complaints, *done.complaints, *(done.midx.complaints if done.midx else ()))
            released = end_holds(objdir, inventory.packs, session.now())
            return done._replace(complaints=tuple(dict.fromkeys(complaints)), released=released)
        except StalePlan:
            if not may_repeat:
                raise
    raise StalePlan("the repository keeps changing")


def _expire_doomed(
    session: Session, plan: ExpirePlan, inventory: Inventory, leave_out: Collection[str]
) -> ExpireResult:
    objdir, space = session.objdir, session.space
    with fs.git_locks(objdir, space, session.now()):
        proved = prove_doomed(objdir, plan, session.report, session.progress)
        if not proved.doomed:
            record_superseded(objdir, space, now=session.now(), needed=_still_needed(proved))
            return _expired(plan, (), 0, kept_back=proved.kept_back)
        state = read_state(objdir)
        write_state(objdir, space, state._replace(doomed=state.doomed | set(proved.doomed)))
        index = None
        if any(pack.is_indexed for pack in plan.doomed if pack.name in proved.takers):
            index = _write_index_without(session, proved, plan, inventory, leave_out)
        deleted, freed, failed = delete_packs(objdir, space, proved, session.report, session.progress)
        if names_any(objdir, deleted):
            # A git process that had listed them before has indexed them meanwhile (I5).
            index = write_index(session._replace(stop=None), IndexScope(leave_out=tuple(leave_out)), force=True)
        record_superseded(objdir, space, now=session.now(), needed=_still_needed(proved))
    complaints = tuple(step.reason for step in failed)
    return _expired(plan, deleted, freed, kept_back=(*proved.kept_back, *failed), midx=index, complaints=complaints)


def _write_index_without(
    session: Session, proved: Proved, plan: ExpirePlan, inventory: Inventory, leave_out: Collection[str]
) -> WriteResult:
    """I3, I5: Write the index without the proved pages, before any of them is deleted."""
    scope = IndexScope(without=proved.doomed, leave_out=tuple(leave_out))
    index = write_index(session, scope, force=True, checked=plan.based_on, seen=inventory)
    if not index.written:  # there were only empty packs
        fs.remove_index(session.objdir)
    return index


def _still_needed(proved: Proved) -> list[str]:
    """Return packs that were recorded as superseded, but have the only copy of an object. They are merged again.

    Doubtful packs are not among them: merging takes nothing from these, because git reads a copy in another pack.
    """
    return [step.pack for step in proved.kept_back if step not in proved.doubtful]


def _expired(plan: ExpirePlan, deleted: tuple[str, ...], freed: int, **more: object) -> ExpireResult:
    return ExpireResult(
        deleted=deleted,
        freed_bytes=freed,
        waiting=len(plan.waiting),
        next_due=plan.next_due,
        reason="" if deleted else plan.reason or "no superseded page could be proved safe to delete",
        **more,  # type: ignore[arg-type]
    )
