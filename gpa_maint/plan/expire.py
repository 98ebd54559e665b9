"""Decide which superseded pages are due."""

from __future__ import annotations

from ..model.inventory import Inventory, PackInfo
from ..model.plans import ExpirePlan, Step


def plan_expire(inventory: Inventory, *, grace_seconds: int, now: int, keep_new: int = 14 * 86400) -> ExpirePlan:
    """Return the pages that no winner points to, split into those whose grace is over at `now` and those that wait.

    The grace time begins when a page is first found superseded. I8: Kept, promisor and cruft packs are never due. A
    pack that the index does not name is due only if we merged it, or if a killed expire had proved it superseded.

    A hold (I14) ends when all packs that the page replaces are gone, or after two weeks. The hold of new objects ends
    when the page is older than `keep_new` seconds.
    """
    doomed: list[PackInfo] = []
    waiting: list[PackInfo] = []
    steps: list[Step] = []
    next_due: int | None = None
    for pack in inventory.packs:
        unfinished = pack.doomed and not pack.is_indexed
        if not pack.is_superseded:
            continue
        since = now if pack.superseded_since is None else pack.superseded_since
        due = now if unfinished else since + grace_seconds
        if pack.is_protected:
            kind = "kept (.keep)" if pack.kept else "promisor pack" if pack.promisor else "cruft pack"
            steps.append(Step(pack=pack.name, action="leave", reason=kind))
        elif due <= now:
            doomed.append(pack)
            steps.append(Step(pack=pack.name, action="delete", reason=f"superseded, {pack.size} bytes", due=due))
        else:
            waiting.append(pack)
            next_due = due if next_due is None else min(next_due, due)
            reason = f"superseded, due in {due - now} seconds"
            steps.append(Step(pack=pack.name, action="wait", reason=reason, due=due))
    return ExpirePlan(
        based_on=inventory.midx.trailer if inventory.midx else None,
        doomed=tuple(doomed),
        waiting=tuple(waiting),
        takers=tuple(pack.name for pack in inventory.packs if _may_hold(pack)),
        steps=tuple(steps),
        released=tuple(pack.name for pack in inventory.packs if pack.hold_is_over(keep_new, now)),
        next_due=next_due,
        reason=_reason(inventory, doomed, waiting),
    )


def _may_hold(pack: PackInfo) -> bool:
    return not (pack.is_indexed or pack.is_superseded or pack.is_protected)


def _reason(inventory: Inventory, doomed: list[PackInfo], waiting: list[PackInfo]) -> str:
    if doomed:
        return ""
    if waiting:
        return f"{len(waiting)} superseded pages wait for the end of their grace"
    if inventory.midx is None:
        return "there is no combined index"
    return "no page is superseded"
