"""One round each of look, decide, do, and again when the plan is stale. All need the maintenance lock.

commands.py offers them one by one, maintenance.py in a row.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from .. import fs
from .._core.files import idx_fault
from ..apply.expire import Proved, delete_packs, end_holds, names_any, prove_doomed
from ..apply.repack import Report, write_pages
from ..apply.room import INDEX_ROW_BYTES, RECORD_BYTES, describe_missing, free_bytes, is_full, smaller_batch
from ..apply.write import UnsoundIndex, publish_index, record_superseded, trailer_on_disk
from ..base.progress import Progress, Stop, until_stopped
from ..errors import Corrupt, GpaError, Locked, StalePlan, Stopped, SystemFailed, Unsupported
from ..look.inventory import complaints_of, index_is_sound, loose_objects, take_inventory
from ..model.inventory import Inventory, PackInfo
from ..model.plans import ExpirePlan, IndexPlan, LoosePlan, RepackPlan
from ..model.results import ExpireResult, PageInfo, RepackResult, WriteResult
from ..plan.expire import plan_expire
from ..plan.write import plan_write
from ..repo.discover import refuse_quarantine
from ..repo.git import run_git
from ..repo.objdir import ObjectDir
from ..state.superseded import read_state, write_state

ATTEMPTS = 8
"""How often a plan is made again when the repository changes under it, before StalePlan reaches the caller."""

INDEX_LOCK_SECONDS = 10
"""How long a merge whose pages are written waits for another writer of the index."""


SETTLE_SECONDS = 10
"""How long a verb waits for a git process that was at work when it published an index."""

SETTLE_PAUSE = 0.02
"""Seconds between two looks."""


class EmptyPreferredPack(GpaError):
    """--preferred-pack names a pack without objects."""


@contextmanager
def at_work(objdir: ObjectDir) -> Iterator[fs.Workspace]:
    """Hold the lock, clear away what killed runs left, and lend a place for temporary files."""
    refuse_quarantine(objdir)
    with fs.maintenance_lock(objdir), fs.workspace(objdir) as space:
        fs.check_index_lock(objdir)
        doomed = read_state(objdir).doomed
        if doomed:
            fs.finish_deleting(objdir, doomed)
        try:
            yield space
        except GpaError as error:
            # An index may have been published before. Why the verb ends counts more than what goes wrong here.
            with suppress(GpaError):
                _settle_at_the_end(objdir, space, 0 if isinstance(error, Stopped) else SETTLE_SECONDS)
            raise
        _settle_at_the_end(objdir, space, SETTLE_SECONDS)


def _settle_at_the_end(objdir: ObjectDir, space: fs.Workspace, seconds: float) -> None:
    if space.beside:
        settle(objdir, space, space.beside, seconds=seconds)


def settle(
    objdir: ObjectDir, space: fs.Workspace, beside: list[fs.Deleter], *, seconds: float, stop: Stop | None = None
) -> str:
    """I5: wait for git processes to end, and drop the packs that they have deleted from the index.

    `git repack` removes an index only when the one that it loaded at its start names a pack that it deletes. Pushes
    may be refused while an index names a missing pack, and then no hook starts a run. Return which process is still at
    work after so many seconds, "" when none is.
    """
    deadline = time.monotonic() + seconds
    while any(one.is_alive for one in beside) and time.monotonic() < deadline and not (stop and stop.why):
        time.sleep(SETTLE_PAUSE)
    inventory = take_inventory(objdir, counts=False)
    if inventory.vanished:
        _drop_vanished(objdir, space, inventory)
    return next((str(one) for one in beside if one.is_alive), "")


def _drop_vanished(objdir: ObjectDir, space: fs.Workspace, inventory: Inventory) -> None:
    """Write the index over the packs that it names and that are there; remove it when there are none."""
    unnamed = [pack.name for pack in inventory.packs if not pack.is_indexed]
    if len(unnamed) < len(inventory.packs):
        write_index(objdir, space, unnamed=unnamed, force=True)
    else:
        fs.remove_index(objdir)


def _again(last: int) -> Iterator[bool]:
    """True for each attempt that may be repeated, False for the last, with a pause between them: git deletes slowly."""
    for attempt in range(last):
        if attempt:
            time.sleep(_pause(attempt))
        yield attempt + 1 < last


def _pause(attempt: int) -> float:
    """Seconds before the attempt of this number: about one second before eight in all."""
    return float(min(0.5, 0.005 * 2**attempt))


# ---- the index ----


def write_index(
    objdir: ObjectDir,
    space: fs.Workspace,
    *,
    preferred: str | None = None,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    unnamed: Collection[str] = (),
    pages: Collection[str] = (),
    merged: Collection[str] = (),
    force: bool = False,
    afresh: bool = False,
    broken: bool = False,
    checked: str | None = None,
    seen: Inventory | None = None,
    stop: Progress | None = None,
) -> WriteResult:
    """Look, plan and publish an index until nothing changes meanwhile; `afresh` from the idx files alone.

    `unnamed` packs stay outside the index if they are outside now. `checked`: see publish_index(). `seen` is what this
    run knows already: publishing finds out whether it still holds. A pack whose idx turns out to be of no use stays
    outside, with a complaint. `broken`: the old index does not parse, and is replaced.
    """
    ignore_old = afresh or broken
    notes: tuple[str, ...] = ()
    faults: dict[str, str] = {}
    attempts = 0
    while attempts < ATTEMPTS:
        if attempts:
            time.sleep(_pause(attempts))
        attempts += 1
        age_ns = fs.latest_age_ns(fs.deleters(objdir))
        since_ns = None if age_ns is None else space.now_ns() - age_ns
        counts = preferred is not None or since_ns is not None
        if since_ns is not None and seen and any(pack.object_count is None for pack in seen.packs):
            seen = None
        inventory, seen = seen or take_inventory(objdir, counts=counts, with_index=not broken), None
        inventory = _with_faults(inventory, faults)
        complaints = complaints_of(inventory)
        named = inventory.midx.pack_names if inventory.midx else ()
        plan = plan_write(
            inventory,
            preferred=preferred,
            only=only,
            without={*without, *set(unnamed).difference(named)},
            pages=pages,
            merged=merged,
            ignore_old=ignore_old,
            force=force,
            since_ns=since_ns,
        )
        if broken:
            plan = plan._replace(based_on=trailer_on_disk(objdir))
        _refuse_empty_preferred(inventory, preferred)
        if plan.is_empty and not ignore_old and inventory.midx and not index_is_sound(objdir):
            ignore_old, notes = True, (*notes, "ignoring existing multi-pack-index; checksum mismatch")
            continue
        if plan.is_empty:
            if inventory.midx and inventory.has_chain:
                fs.remove_chain(objdir)
            if inventory.vanished and not inventory.packs and only is None and not without:
                fs.remove_index(objdir)
                return _untouched(inventory._replace(midx=None), plan)._replace(complaints=complaints, removed=True)
            return _untouched(inventory, plan)._replace(complaints=complaints)
        try:
            result = publish_index(objdir, space, plan, now=now(), checked=checked, stop=stop)
        except UnsoundIndex as error:
            ignore_old, notes = True, (*notes, str(error))
        except (Corrupt, StalePlan, SystemFailed, Unsupported) as error:
            found = _faults_among(objdir, [source.name for source in plan.sources if source.from_idx], error)
            if found.keys() - faults.keys():
                faults.update(found)
                attempts -= 1
            elif not isinstance(error, StalePlan) or attempts == ATTEMPTS:
                raise
        else:
            return result._replace(warnings=(*notes, *result.warnings), complaints=complaints)
    raise StalePlan("the repository keeps changing")


def _faults_among(objdir: ObjectDir, names: Collection[str], error: GpaError) -> dict[str, str]:
    """The packs among `names` whose idx is of no use, and why, after `error` ended the writing of an index."""
    found = {name: fault for name in names if (fault := idx_fault(objdir.pack_dir, name, objdir.object_format))}
    path = str(getattr(error, "path", None) or getattr(error, "filename", None) or "")
    named = os.path.basename(path).removesuffix(".idx")
    if named in names and path == objdir.pack_path(named, ".idx"):
        found[named] = str(error)
    return found


def _with_faults(inventory: Inventory, faults: dict[str, str]) -> Inventory:
    if not faults:
        return inventory
    packs = tuple(
        pack._replace(fault=faults[pack.name]) if pack.name in faults and not pack.fault else pack
        for pack in inventory.packs
    )
    return inventory._replace(packs=packs)


def _refuse_empty_preferred(inventory: Inventory, preferred: str | None) -> None:
    if preferred is None:
        return
    pack = inventory.pack(preferred.removesuffix(".idx").removesuffix(".pack"))
    if pack is not None and pack.object_count == 0:
        raise EmptyPreferredPack(f"cannot select preferred pack {preferred} with no objects")


def _untouched(inventory: Inventory, plan: IndexPlan) -> WriteResult:
    index = inventory.midx
    return WriteResult(
        written=False,
        trailer=index.trailer if index else None,
        pack_count=len(index.pack_names) if index else 0,
        object_count=index.object_count if index else 0,
        size=index.size if index else 0,
        reason=plan.reason,
        warnings=plan.warnings,
    )


# ---- loose objects ----


def plan_loose_now(objdir: ObjectDir, stop: Progress | None = None) -> LoosePlan:
    """All loose objects there are. Stopped soon after another thread has called `stop.stop()`."""
    closed: list[str] = []
    return LoosePlan(
        objects=tuple(found.oid for found in until_stopped(loose_objects(objdir, closed), stop)),
        page_objects=objdir.settings.page_objects,
        page_bytes=objdir.settings.page_bytes,
        complaints=tuple(closed),
    )


def tell_dumb_http(objdir: ObjectDir, path: str | None) -> None:
    """Who reads over dumb HTTP finds new packs by info/packs."""
    folders = (os.path.join(objdir.objects, "info"), os.path.join(objdir.common_dir, "info"))
    if os.path.exists(os.path.join(folders[0], "packs")) and not any(map(os.path.islink, folders)):
        run_git(["update-server-info"], cwd=path)


# ---- merging ----


def merge(
    objdir: ObjectDir,
    space: fs.Workspace,
    choose: Callable[[Inventory], RepackPlan],
    *,
    indexed: Callable[[Inventory, RepackPlan], bool],
    unnamed: Collection[str] = (),
    seen: Inventory | None = None,
    report: Report | None = None,
    stop: Progress | None = None,
) -> RepackResult:
    """Merge the packs that `choose` names, and write the index when `indexed` says so, over all but `unnamed` packs.

    Without a new index the sources must be outside the old one: they are then superseded by the pages as they are.
    `seen` is what this run knows already: the first attempt goes by it.
    """
    for may_repeat in _again(ATTEMPTS):
        inventory, seen = seen or take_inventory(objdir), None
        complaints = complaints_of(inventory)
        plan = choose(inventory)
        if not plan.batch:
            return RepackResult((), (), 0, 0, reason=plan.reason, complaints=complaints)
        try:
            index_room = _index_room(objdir, plan) if indexed(inventory, plan) else 0
            result = _write_what_fits(objdir, space, plan, index_room, report, stop)
            result = result._replace(complaints=tuple(dict.fromkeys((*complaints, *result.complaints))))
            break
        except StalePlan:
            if not may_repeat:
                raise
    # What has to stay for a damaged object is told from the rest by the index alone.
    if indexed(inventory, plan) or result.left_out:
        return _index_pages(objdir, space, result, inventory, unnamed)
    pages = {page.name for page in result.pages}
    record_superseded(objdir, space, now=now(), merged=set(result.merged) - pages)
    return result


MERGING_NEEDS = "merging them needs"


def _index_room(objdir: ObjectDir, plan: RepackPlan) -> int:
    """The bytes of a new index at most."""
    old = os.stat(objdir.index_path).st_size if os.path.exists(objdir.index_path) else 0
    return old + INDEX_ROW_BYTES * sum(pack.object_count or 0 for pack in plan.batch if not pack.is_indexed)


def _write_what_fits(
    objdir: ObjectDir,
    space: fs.Workspace,
    plan: RepackPlan,
    index_room: int,
    report: Report | None,
    stop: Progress | None,
) -> RepackResult:
    """As write_pages(); on a full disk with fewer packs, and with `no_room` in the answer.

    SystemFailed, with the first error, when no two packs fit. Nothing is published before the whole batch fits, with
    the index that is to name it.
    """
    spare = index_room + RECORD_BYTES
    needed = sum(pack.size for pack in plan.batch) + spare
    batch = plan.batch
    first: OSError | None = None
    while True:
        try:
            result = write_pages(objdir, space, plan._replace(batch=batch), report, stop, room=spare)
            break
        except OSError as error:
            if not is_full(error):
                raise
            first = first or error
            space.remove_all()
            batch = smaller_batch(batch, max(0, free_bytes(objdir) - spare))
            if len(batch) < 2:
                first.__context__ = None
                raise _with_missing(objdir, first, MERGING_NEEDS, needed) from None
    if first is None:
        return result
    # The pages take room now that all of them could have had.
    missing = describe_missing(objdir, first, MERGING_NEEDS, needed - sum(page.size for page in result.pages))
    left = len(plan.batch) - len(batch)
    return result._replace(no_room=f"{left} of {len(plan.batch)} packs to be merged: {first}; {missing}")


def _with_missing(objdir: ObjectDir, error: OSError, what: str, needed: int) -> OSError:
    """The same error, with a hint that says how much room is missing."""
    if isinstance(error, SystemFailed):
        error.hint = f"no object is lost; {describe_missing(objdir, error, what, needed)}"
    return error


def _index_pages(
    objdir: ObjectDir, space: fs.Workspace, result: RepackResult, inventory: Inventory, unnamed: Collection[str]
) -> RepackResult:
    if not result.pages:
        return result._replace(
            merged=(), reason=result.reason or "merging these packs would only give the same packs again"
        )
    pages = {page.name for page in result.pages}
    unnamed = set(unnamed).difference(pages, result.merged) | {step.pack for step in result.bad_packs}
    seen: Inventory | None = _with_pages(objdir, inventory, result.pages)
    # The pages are there: rather wait for another writer of the index than leave them out of it.
    deadline = time.monotonic() + INDEX_LOCK_SECONDS
    while True:
        try:
            index = write_index(
                objdir, space, unnamed=unnamed, pages=pages, merged=result.merged, force=True, seen=seen
            )
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
        return 0  # publishing the index finds that it is gone


def _with_pages(objdir: ObjectDir, inventory: Inventory, pages: tuple[PageInfo, ...]) -> Inventory:
    there = {pack.name for pack in inventory.packs}
    new = [
        PackInfo(
            name=page.name,
            size=page.size,
            mtime=now(),
            object_count=page.object_count,
            referenced=None,
            made_ns=_made_ns(objdir, page.name),
        )
        for page in pages
        if page.name not in there
    ]
    return inventory._replace(packs=(*inventory.packs, *new))


# ---- expire ----


def plan_expire_now(objdir: ObjectDir, inventory: Inventory, grace_seconds: int | None) -> ExpirePlan:
    grace = objdir.settings.expire_grace if grace_seconds is None else grace_seconds
    return plan_expire(inventory, grace_seconds=grace, keep_new=objdir.settings.keep_new, now=now())


def expire(
    objdir: ObjectDir,
    space: fs.Workspace,
    grace_seconds: int | None,
    report: Report | None = None,
    *,
    unnamed: Collection[str] = (),
    spared: Collection[str] = (),
    seen: Inventory | None = None,
    stop: Progress | None = None,
) -> ExpireResult:
    """As _expire(); on a full disk with the room of gpa/reserve, and first without the pages that the index names.

    SystemFailed says what is missing when nothing can be freed.
    """
    try:
        return _expire(objdir, space, grace_seconds, report, unnamed=unnamed, spared=spared, seen=seen, stop=stop)
    except OSError as error:
        if not is_full(error):
            raise
        first = error
    space.remove_all()
    has_reserve = fs.release_reserve(objdir)
    outside, indexed = _doomed_now(objdir, grace_seconds, spared)
    freed: ExpireResult | None = None
    try:
        # An index without the others needs room, which these give.
        if outside and indexed:
            spare_indexed = {*spared, *indexed}
            freed = _expire(objdir, space, grace_seconds, report, unnamed=unnamed, spared=spare_indexed, stop=stop)
        elif not has_reserve:
            raise first
        done = _expire(objdir, space, grace_seconds, report, unnamed=unnamed, spared=spared, stop=stop)
    except OSError as error:
        if not is_full(error):
            raise
        space.remove_all()
        needed = os.stat(objdir.index_path).st_size if os.path.exists(objdir.index_path) else 0
        told = _with_missing(objdir, first, "a new index and records need", needed + RECORD_BYTES)
        if freed is None or not freed.deleted:
            told.__context__ = None
            raise told from None
        hint = getattr(told, "hint", "")
        return freed._replace(
            complaints=(*freed.complaints, f"the index still names {len(indexed)} pages: {told}; {hint}")
        )
    return _both(freed, done) if freed else done


def _doomed_now(
    objdir: ObjectDir, grace_seconds: int | None, spared: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pages to be deleted that the index does not name, and those that it names."""
    doomed = plan_expire_now(objdir, take_inventory(objdir, counts=False), grace_seconds).doomed
    pages = [pack for pack in doomed if pack.name not in spared]
    outside = tuple(pack.name for pack in pages if not pack.is_indexed)
    return outside, tuple(pack.name for pack in pages if pack.is_indexed)


def _both(first: ExpireResult, second: ExpireResult) -> ExpireResult:
    """What two expires, one after the other, did."""
    deleted = (*first.deleted, *second.deleted)
    return second._replace(
        deleted=deleted,
        freed_bytes=first.freed_bytes + second.freed_bytes,
        released=(*first.released, *second.released),
        complaints=tuple(dict.fromkeys((*first.complaints, *second.complaints))),
        reason="" if deleted else second.reason,
    )


def _expire(
    objdir: ObjectDir,
    space: fs.Workspace,
    grace_seconds: int | None,
    report: Report | None = None,
    *,
    unnamed: Collection[str] = (),
    spared: Collection[str] = (),
    seen: Inventory | None = None,
    stop: Progress | None = None,
) -> ExpireResult:
    """Delete superseded pages whose grace is over, once they are proved to be superseded.

    Stopped while it deletes, it leaves the rest to the next run. An index that has to be written for it names all
    others but those `unnamed`. `spared` pages stay. `seen` is what this run knows already: the first attempt goes by
    it.
    """
    for may_repeat in _again(ATTEMPTS):
        inventory, seen = seen or take_inventory(objdir, counts=False), None
        complaints = complaints_of(inventory)
        plan = plan_expire_now(objdir, inventory, grace_seconds)
        plan = plan._replace(doomed=tuple(pack for pack in plan.doomed if pack.name not in spared))
        at_work = fs.deleters(objdir) if plan.doomed else ()
        if at_work:
            reason = f"{at_work[0]} is at work in this repository, and takes the packs that it has seen to stay"
            return _expired(plan, (), 0, complaints=complaints)._replace(reason=reason)
        if not plan.doomed:
            record_superseded(objdir, space, now=now())
            return _expired(plan, (), 0, complaints=complaints, released=end_holds(objdir, inventory.packs, now()))
        try:
            done = _expire_doomed(objdir, space, plan, inventory, report, unnamed, stop)
            complaints = (*complaints, *done.complaints, *(done.midx.complaints if done.midx else ()))
            return done._replace(
                complaints=tuple(dict.fromkeys(complaints)), released=end_holds(objdir, inventory.packs, now())
            )
        except StalePlan:
            if not may_repeat:
                raise
    raise StalePlan("the repository keeps changing")


def _expire_doomed(
    objdir: ObjectDir,
    space: fs.Workspace,
    plan: ExpirePlan,
    inventory: Inventory,
    report: Report | None,
    unnamed: Collection[str],
    stop: Progress | None,
) -> ExpireResult:
    with fs.git_locks(objdir, space, now()):
        proved = prove_doomed(objdir, plan, report, stop)
        if not proved.doomed:
            record_superseded(objdir, space, now=now(), needed=_still_needed(proved))
            return _expired(plan, (), 0, kept_back=proved.kept_back)
        state = read_state(objdir)
        write_state(objdir, space, state._replace(doomed=state.doomed | set(proved.doomed)))
        index = None
        if any(pack.is_indexed for pack in plan.doomed if pack.name in proved.takers):
            index = write_index(
                objdir,
                space,
                without=proved.doomed,
                unnamed=unnamed,
                force=True,
                checked=plan.based_on,
                seen=inventory,
                stop=stop,
            )
            if not index.written:  # only empty packs were there
                fs.remove_index(objdir)
        deleted, freed, failed = delete_packs(objdir, space, proved, report, stop)
        if names_any(objdir, deleted):
            # A git process that had listed them before they went has indexed them meanwhile (I5).
            index = write_index(objdir, space, unnamed=unnamed, force=True)
        record_superseded(objdir, space, now=now(), needed=_still_needed(proved))
    complaints = tuple(step.reason for step in failed)
    return _expired(plan, deleted, freed, kept_back=(*proved.kept_back, *failed), midx=index, complaints=complaints)


def _still_needed(proved: Proved) -> list[str]:
    """Packs that were taken for superseded and hold an object that is nowhere else: to be merged again.

    Not the doubtful ones: merging takes nothing from them, since another pack has the copy that git reads.
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


def now() -> int:
    return int(time.time())
