"""Decide which packs to merge, by the rule of git-multi-pack-index(1) over the small packs."""

from __future__ import annotations

from collections.abc import Iterable

from ..model.inventory import Inventory, PackInfo
from ..model.plans import RepackPlan, Step


def plan_repack(
    inventory: Inventory, *, batch_bytes: int, page_objects: int = 2000, page_bytes: int = 512 << 20, depth: int = 50
) -> RepackPlan:
    """Choose the packs to merge, with the reason for each pack.

    Packs are taken oldest first until their expected sizes reach `batch_bytes` (bytes on disk; 0 takes all). Expected
    size: file size times the share of its objects that the index points to. I8: kept, promisor and cruft packs are
    never taken. With fewer than two packs the plan is empty.

    At most one of the new pages will hold fewer than `page_objects` objects, unless bytes close a page.
    """
    batch: list[PackInfo] = []
    steps: list[Step] = []
    total = 0
    # Oldest first: young packs are still being merged by pushes, and would be rewritten twice.
    for pack in sorted(inventory.packs, key=lambda pack: (pack.mtime, pack.name)):
        reason = why_not_small(pack, page_objects, page_bytes)
        if not reason and batch_bytes and total >= batch_bytes:
            reason = "the batch is full"
        if not reason and batch_bytes and pack.expected_size >= batch_bytes:
            reason = f"expected size of {pack.expected_size} bytes is not below the batch size"
        if not reason:
            batch.append(pack)
            total += pack.expected_size
        steps.append(_step(pack, reason))
    reason = ""
    if len(batch) < 2:
        reason = "only one pack is to be merged" if batch else "no small packs to merge"
        steps = [Step(pack=s.pack, action="leave", reason=reason) if s.action == "merge" else s for s in steps]
        batch = []
    merge = plan_batch(inventory, batch, page_objects=page_objects, page_bytes=page_bytes, depth=depth)
    return merge._replace(steps=tuple(steps), reason=reason)


def plan_batch(
    inventory: Inventory, batch: Iterable[PackInfo], *, page_objects: int, page_bytes: int, depth: int
) -> RepackPlan:
    """Return a plan that merges exactly these packs, in the given order."""
    packs = tuple(batch)
    return RepackPlan(
        based_on=inventory.midx.trailer if inventory.midx else None,
        batch=packs,
        page_objects=page_objects,
        page_bytes=page_bytes,
        depth=depth,
        object_count=sum(pack.live_count for pack in packs),
        expected_bytes=sum(pack.expected_size for pack in packs),
        steps=tuple(_step(pack, "") for pack in packs),
    )


KINDS = {
    "small": "",
    "full": "full page",
    "large": "large pack",
    "kept": "kept (.keep)",
    "promisor": "promisor pack",
    "cruft": "cruft pack",
    "empty": "empty",
    "superseded": "superseded; expire will delete it",
    "unreadable": "its idx cannot be read",
}
"""Kinds of packs, and why each kind except the first is not merged."""


def kind_of(pack: PackInfo, page_objects: int, page_bytes: int) -> str:
    """Return the kind of this pack, one of KINDS."""
    for kind, is_that in (("kept", pack.kept), ("promisor", pack.promisor), ("cruft", pack.cruft)):
        if is_that:
            return kind
    if pack.object_count is None or pack.fault:
        return "unreadable"
    if pack.is_superseded:
        return "superseded"
    if pack.object_count == 0:
        return "empty"
    if pack.object_count > page_objects:
        return "large"
    return "full" if pack.object_count == page_objects or pack.size > page_bytes // 2 else "small"


def why_not_small(pack: PackInfo, page_objects: int, page_bytes: int) -> str:
    """Return why this pack is not merged: it is not small, or must stay. Empty if it is merged."""
    kind = kind_of(pack, page_objects, page_bytes)
    if kind == "large":
        return f"large pack of {pack.object_count} objects"
    if kind == "unreadable" and pack.fault:
        return pack.fault
    if kind == "full" and pack.object_count != page_objects:
        return "full page by bytes"
    return KINDS[kind]


def _step(pack: PackInfo, reason: str) -> Step:
    if reason:
        return Step(pack=pack.name, action="leave", reason=reason)
    return Step(
        pack=pack.name,
        action="merge",
        reason=f"{pack.live_count} of {pack.object_count} objects, expected {pack.expected_size} bytes",
    )
