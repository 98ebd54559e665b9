"""Decide what repack and expire do with the pages of an archive. Opens nothing, asks no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .._core.v1 import IndexedPage
from ..base.tuples import NamedTuple
from .listing import Listing
from .values import ArchiveRepackPlan


def plan_repack_archive(listing: Listing, small: Mapping[str, int], left: Mapping[str, str]) -> ArchiveRepackPlan:
    """Return the plan to merge all small sound pages, if there are at least two.

    `small`: their names in the order of the list, with the number of entries. `left`: why each other page stays.
    """
    batch = tuple(small)
    left = {**left}
    reason = ""
    if len(batch) < 2:
        reason = "only one page is small and sound" if batch else "no page is small and sound"
        left.update((name, reason) for name in batch)
        batch = ()
    entries = sum(small.values()) if batch else 0
    steps = tuple((name, left[name]) for name in listing.names if name in left)
    return ArchiveRepackPlan(listing.directory, batch, entries, steps, reason)


class ArchiveExpirePlan(NamedTuple):
    """Replaced pages whose grace time is over, those that wait, and the second in which the first of them is due."""

    due: tuple[IndexedPage, ...]
    waiting: tuple[IndexedPage, ...]
    next_due: int | None


def plan_expire_archive(replaced: Iterable[IndexedPage], *, grace_seconds: int, now: int) -> ArchiveExpirePlan:
    """Return which of these pages may be deleted at the second `now`, after the proof."""
    replaced = tuple(replaced)
    due = tuple(page for page in replaced if page.since + grace_seconds <= now)
    waiting = tuple(page for page in replaced if page not in due)
    return ArchiveExpirePlan(due, waiting, min((page.since + grace_seconds for page in waiting), default=None))
