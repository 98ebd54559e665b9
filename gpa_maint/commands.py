"""One function per verb: look, decide, do, and again when the plan is stale. The API for app servers.

Each takes the path of a repository (default: the current directory) or, as `object_dir`, an object directory it uses,
and returns a frozen value of model.py. Several threads may call at once; of two runs in one repository the second
gets Locked. `report(title, done, total)` is called now and then while a long step goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from . import fs
from .apply.expire import delete_packs, prove_doomed
from .apply.repack import Report, write_pages
from .apply.write import UnsoundIndex, publish_index, record_superseded
from .errors import GpaError, Locked, StalePlan
from .git import ObjectDir, find_object_dir, run_git
from .model import (
    ExpirePlan,
    ExpireResult,
    IndexInfo,
    IndexPlan,
    Inventory,
    PackInfo,
    PageInfo,
    RepackPlan,
    RepackResult,
    VerifyResult,
    WriteResult,
)
from .plan.expire import plan_expire
from .plan.repack import plan_repack
from .plan.write import plan_write
from .state import Move, read_state, write_state
from .survey import index_is_sound, read_index, refuse_unreadable, take_inventory

ATTEMPTS = 8
"""How often a plan is made again when the repository changes under it, before StalePlan reaches the caller."""


INDEX_LOCK_SECONDS = 10
"""How long a merge whose pages are written waits for another writer of the index."""


class EmptyPreferredPack(GpaError):
    """--preferred-pack names a pack without objects."""


@contextmanager
def _at_work(objdir: ObjectDir) -> Iterator[fs.Workspace]:
    with fs.maintenance_lock(objdir), fs.workspace(objdir) as space:
        fs.check_index_lock(objdir)
        doomed = read_state(objdir).doomed
        if doomed:
            fs.finish_deleting(objdir, doomed)
        yield space


def _again(last: int) -> Iterator[bool]:
    """True for each attempt that may be repeated, False for the last."""
    for attempt in range(last):
        yield attempt + 1 < last


def survey(path: str | None = None, *, object_dir: str | None = None) -> Inventory:
    """What is there now. Needs no lock and changes nothing."""
    return take_inventory(find_object_dir(path, object_dir=object_dir))


# ---- write ----


def write(
    path: str | None = None,
    *,
    object_dir: str | None = None,
    preferred_pack: str | None = None,
    packs: Collection[str] | None = None,
    bitmap: bool = False,
    refs_snapshot: str | None = None,
    report: Report | None = None,
) -> WriteResult:
    """Write the combined index over all packs, or `packs` only (names as in --stdin-packs: `pack-<checksum>.idx`).

    The file stays untouched when it names these packs already. With `bitmap`, git itself writes one over the index we
    leave, chosen from `refs_snapshot` (a file as for git multi-pack-index write) if given.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    only = None if packs is None else {name.removesuffix(".idx") for name in packs if name.endswith(".idx")}
    with _at_work(objdir) as space:
        result = _write_index(objdir, space, preferred=preferred_pack, only=only)
        if report and result.written:
            report("Indexing packs", result.pack_count, result.pack_count)
        if bitmap and result.pack_count:
            result = _write_bitmap(objdir, space, path, result, preferred_pack, only, refs_snapshot)
        elif not result.written and result.trailer:
            # As git does: without --bitmap there shall be none.
            fs.remove_index_files(objdir, keep="")
    return result


def _write_index(
    objdir: ObjectDir,
    space: fs.Workspace,
    *,
    preferred: str | None = None,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    pages: Collection[str] = (),
    merged: Collection[str] = (),
    force: bool = False,
    checked: str | None = None,
    seen: Inventory | None = None,
) -> WriteResult:
    """Look, plan and publish an index until nothing changes meanwhile.

    `checked`: see publish_index(). `seen` is what this run knows already: publishing finds out whether it still holds.
    """
    ignore_old = False
    notes: tuple[str, ...] = ()
    for may_repeat in _again(ATTEMPTS):
        inventory, seen = seen or take_inventory(objdir, counts=preferred is not None), None
        plan = plan_write(
            inventory,
            preferred=preferred,
            only=only,
            without=without,
            pages=pages,
            merged=merged,
            ignore_old=ignore_old,
            force=force,
        )
        _refuse_empty_preferred(inventory, preferred)
        if plan.is_empty and not ignore_old and inventory.midx and not index_is_sound(objdir):
            ignore_old, notes = True, (*notes, "ignoring existing multi-pack-index; checksum mismatch")
            continue
        if plan.is_empty:
            if inventory.midx and inventory.has_chain:
                fs.remove_chain(objdir)
            return _untouched(inventory, plan)
        try:
            result = publish_index(objdir, space, plan, now=_now(), checked=checked)
        except UnsoundIndex as error:
            ignore_old, notes = True, (*notes, str(error))
        except StalePlan:
            if not may_repeat:
                raise
        else:
            return result._replace(warnings=(*notes, *result.warnings))
    raise StalePlan("the repository keeps changing")


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


def _write_bitmap(
    objdir: ObjectDir,
    space: fs.Workspace,
    path: str | None,
    result: WriteResult,
    preferred: str | None,
    only: Collection[str] | None,
    refs_snapshot: str | None,
) -> WriteResult:
    """Let git write the bitmap. It needs a pack that wins all its objects: one that does already moves no winner."""
    args = ["multi-pack-index", f"--object-dir={objdir.objects}", "write", "--bitmap"]
    inventory = take_inventory(objdir)
    wanted = inventory.pack((preferred or "").removesuffix(".idx").removesuffix(".pack"))
    chosen = wanted.name if wanted else _sole_winner(inventory)
    if chosen:
        # With its suffix: git 2.39 does not know a bare name, and would prefer its first pack.
        args.append(f"--preferred-pack={chosen}.pack")
    if refs_snapshot:
        args.append(f"--refs-snapshot={refs_snapshot}")
    stdin = None
    if only is not None:
        args.append("--stdin-packs")
        stdin = "".join(f"{name}.idx\n" for name in sorted(only))
    run_git(args, cwd=path, stdin=stdin)
    index = read_index(objdir)
    if index is None:
        return result
    record_superseded(objdir, space, now=_now(), move=_bitmap_move(index, wanted, chosen))
    return WriteResult(
        written=result.written or index.trailer != result.trailer,
        trailer=index.trailer,
        pack_count=len(index.pack_names),
        object_count=index.object_count,
        size=index.size,
        reason=result.reason if index.trailer == result.trailer else "",
        warnings=result.warnings,
    )


def _bitmap_move(index: IndexInfo, wanted: PackInfo | None, chosen: str | None) -> Move | None:
    """What git's preference moved: nothing when the pack won all its objects before."""
    named = frozenset(index.pack_names)
    if chosen is None:
        return Move(at=_now(), to=named, named=named)
    if wanted is None or wanted.referenced == wanted.object_count:
        return None
    return Move(at=_now(), to=frozenset([chosen]), named=named)


def _sole_winner(inventory: Inventory) -> str | None:
    """The largest pack all of whose objects it wins."""
    whole = [pack for pack in inventory.packs if pack.referenced and pack.referenced == pack.object_count]
    return max(whole, key=lambda pack: pack.object_count or 0).name if whole else None


# ---- repack ----


def plan_repack_of(objdir: ObjectDir, *, batch_bytes: int = 0, page_objects: int | None = None) -> RepackPlan:
    """What repack() would do now."""
    return _plan_repack(objdir, take_inventory(objdir), batch_bytes, page_objects)


def _plan_repack(objdir: ObjectDir, inventory: Inventory, batch_bytes: int, page_objects: int | None) -> RepackPlan:
    settings = objdir.settings
    return plan_repack(
        inventory,
        batch_bytes=batch_bytes,
        page_objects=page_objects or settings.page_objects,
        page_bytes=settings.page_bytes,
        depth=settings.depth,
    )


def repack(
    path: str | None = None,
    *,
    object_dir: str | None = None,
    batch_bytes: int = 0,
    page_objects: int | None = None,
    report: Report | None = None,
) -> RepackResult:
    """Merge small packs into pages of `page_objects` objects (default gpa.pageObjects) and index them.

    Packs are taken as git multi-pack-index repack does, oldest first until their expected sizes reach `batch_bytes`
    (0: all). The sources stay until expire(). An empty result says in `reason` why nothing was done.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    with _at_work(objdir) as space:
        for may_repeat in _again(ATTEMPTS):
            inventory = take_inventory(objdir)
            # The index will have to name it: better said before the pages are written than after.
            refuse_unreadable(objdir, inventory)
            plan = _plan_repack(objdir, inventory, batch_bytes, page_objects)
            if not plan.batch:
                return RepackResult(merged=(), pages=(), object_count=0, source_bytes=0, reason=plan.reason)
            try:
                result = write_pages(objdir, space, plan, report)
                break
            except StalePlan:
                if not may_repeat:
                    raise
        return _index_pages(objdir, space, result, inventory)


def _index_pages(objdir: ObjectDir, space: fs.Workspace, result: RepackResult, inventory: Inventory) -> RepackResult:
    if not result.pages:
        return result._replace(
            merged=(), reason=result.reason or "merging these packs would only give the same packs again"
        )
    pages = {page.name for page in result.pages}
    seen: Inventory | None = _with_pages(inventory, result.pages)
    # The pages are there: rather wait for another writer of the index than leave them out of it.
    deadline = time.monotonic() + INDEX_LOCK_SECONDS
    while True:
        try:
            index = _write_index(objdir, space, pages=pages, merged=result.merged, force=True, seen=seen)
            return result._replace(midx=index)
        except Locked:
            seen = None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _with_pages(inventory: Inventory, pages: tuple[PageInfo, ...]) -> Inventory:
    there = {pack.name for pack in inventory.packs}
    new = [
        PackInfo(name=page.name, size=page.size, mtime=_now(), object_count=page.object_count, referenced=None)
        for page in pages
        if page.name not in there
    ]
    return inventory._replace(packs=(*inventory.packs, *new))


# ---- expire ----


def plan_expire_of(objdir: ObjectDir, *, grace_seconds: int | None = None) -> ExpirePlan:
    """What expire() would do now."""
    return _plan_expire(objdir, take_inventory(objdir, counts=False), grace_seconds)


def _plan_expire(objdir: ObjectDir, inventory: Inventory, grace_seconds: int | None) -> ExpirePlan:
    grace = objdir.settings.expire_grace if grace_seconds is None else grace_seconds
    return plan_expire(inventory, grace_seconds=grace, now=_now())


def expire(
    path: str | None = None,
    *,
    object_dir: str | None = None,
    grace_seconds: int | None = None,
    report: Report | None = None,
) -> ExpireResult:
    """Delete pages that nothing has pointed to for `grace_seconds` (default gpa.expireGrace; 0: now).

    Locked while `git gc` or `git maintenance` runs; Refused in a precious-objects repository. What cannot be proved
    safe to delete stays, and is listed in `kept_back`.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    with _at_work(objdir) as space:
        for may_repeat in _again(ATTEMPTS):
            inventory = take_inventory(objdir, counts=False)
            plan = _plan_expire(objdir, inventory, grace_seconds)
            if not plan.doomed:
                record_superseded(objdir, space, now=_now())
                return _expired(plan, (), 0)
            try:
                return _expire_doomed(objdir, space, plan, inventory, report)
            except StalePlan:
                if not may_repeat:
                    raise
    raise StalePlan("the repository keeps changing")


def _expire_doomed(
    objdir: ObjectDir, space: fs.Workspace, plan: ExpirePlan, inventory: Inventory, report: Report | None
) -> ExpireResult:
    with fs.git_locks(objdir, space, _now()):
        proved = prove_doomed(objdir, plan, report)
        if not proved.doomed:
            return _expired(plan, (), 0, kept_back=proved.kept_back)
        state = read_state(objdir)
        write_state(objdir, space, state._replace(doomed=state.doomed | set(proved.doomed)))
        index = _write_index(objdir, space, without=proved.doomed, force=True, checked=plan.based_on, seen=inventory)
        if not index.written:  # only empty packs were there
            fs.remove_index(objdir)
        deleted, freed = delete_packs(objdir, proved, report)
        record_superseded(objdir, space, now=_now(), deleted=deleted)
    return _expired(plan, deleted, freed, kept_back=proved.kept_back, midx=index)


def _expired(plan: ExpirePlan, deleted: tuple[str, ...], freed: int, **more: object) -> ExpireResult:
    return ExpireResult(
        deleted=deleted,
        freed_bytes=freed,
        waiting=len(plan.waiting),
        next_due=plan.next_due,
        reason="" if deleted else plan.reason or "no superseded page could be proved safe to delete",
        **more,  # type: ignore[arg-type]
    )


# ---- verify ----


def verify(
    path: str | None = None,
    *,
    object_dir: str | None = None,
    deep: bool = False,
    threads: int = 0,
    report: Callable[[str, int, int], None] | None = None,
) -> VerifyResult:
    """What `git multi-pack-index verify` checks; with `deep` also every byte of every pack.

    `threads` (0: one a core) share the deep check.
    """
    from .verify import verify_objects

    return verify_objects(find_object_dir(path, object_dir=object_dir), deep=deep, threads=threads, report=report)


def _now() -> int:
    return int(time.time())
