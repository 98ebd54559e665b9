"""The round that all verbs share: look, plan and publish a combined index, and repeat if something changed."""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from .. import fs
from .._core.format import idx_fault
from ..apply.write import UnsoundIndex, publish_index, trailer_on_disk
from ..errors import Corrupt, GpaError, StalePlan, SystemFailed, Unsupported
from ..look.inventory import complaints_of, index_is_sound, take_inventory
from ..model.inventory import Inventory
from ..model.plans import IndexPlan, IndexScope
from ..model.results import WriteResult
from ..plan.write import ALL_PACKS, plan_write
from ..repo.objdir import ObjectDir
from .session import ATTEMPTS, Session, pause_before


class EmptyPreferredPack(GpaError):
    """--preferred-pack names a pack without objects."""


def write_index(
    session: Session,
    scope: IndexScope = ALL_PACKS,
    *,
    force: bool = False,
    afresh: bool = False,
    broken: bool = False,
    checked: str | None = None,
    seen: Inventory | None = None,
) -> WriteResult:
    """Look, plan and publish an index over the packs of `scope` until nothing changes meanwhile.

    `force`: write even if the same packs are named. `afresh`: use the idx files alone. `broken`: the old index does not
    parse, and is replaced. `checked`: see publish_index(). `seen`: the caller's Inventory; publishing checks whether it
    still holds. A pack with a bad idx stays outside, with a complaint.
    """
    objdir = session.objdir
    ignore_old = afresh or broken
    notes: tuple[str, ...] = ()
    faults: dict[str, str] = {}
    attempts = 0
    while attempts < ATTEMPTS:
        if attempts:
            time.sleep(pause_before(attempts))
        attempts += 1
        age_ns = fs.latest_age_ns(fs.deleters(objdir))
        since_ns = None if age_ns is None else session.space.now_ns() - age_ns
        counts = scope.preferred is not None or since_ns is not None
        if since_ns is not None and seen and any(pack.object_count is None for pack in seen.packs):
            seen = None
        inventory, seen = seen or take_inventory(objdir, counts=counts, with_index=not broken), None
        inventory = _with_faults(inventory, faults)
        complaints = complaints_of(inventory)
        plan = plan_write(inventory, scope, ignore_old=ignore_old, force=force, since_ns=since_ns)
        if broken:
            plan = plan._replace(based_on=trailer_on_disk(objdir))
        _refuse_empty_preferred(inventory, scope.preferred)
        if plan.is_empty and not ignore_old and inventory.midx and not index_is_sound(objdir):
            ignore_old, notes = True, (*notes, "ignoring existing multi-pack-index; checksum mismatch")
            continue
        if plan.is_empty:
            return _leave(session, inventory, plan, scope)._replace(complaints=complaints)
        try:
            result = publish_index(
                objdir, session.space, plan, now=session.now(), checked=checked, progress=session.progress
            )
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


def _leave(session: Session, inventory: Inventory, plan: IndexPlan, scope: IndexScope) -> WriteResult:
    """Write no index. Remove an index that names only vanished packs, and a chain beside an index."""
    if inventory.midx and inventory.has_chain:
        fs.remove_chain(session.objdir)
    if inventory.vanished and not inventory.packs and scope.only is None and not scope.without:
        fs.remove_index(session.objdir)
        return _untouched(inventory._replace(midx=None), plan)._replace(removed=True)
    return _untouched(inventory, plan)


def _faults_among(objdir: ObjectDir, names: Collection[str], error: GpaError) -> dict[str, str]:
    """Return the packs among `names` with a bad idx, and why, after `error` ended the writing of an index."""
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
