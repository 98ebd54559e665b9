"""Decide which packs the combined index names, and which copy of an object wins.

The rule is git's, so that the file is byte-identical to git's. A pack that the old index does not name wins over the
old index. Of two such packs the younger wins, of two equally old ones the first in the directory. Therefore winners
move only to packs that the old index did not name (I6), except with --preferred-pack.

While `git repack` runs this rule is not safe (I5), because git may delete a pack that would win. git lists the packs
when it begins, and keeps those with a .keep. It deletes others because its new pack has their objects, or, with
--geometric, because a pack of more objects has them. Therefore a pack wins if it was made after git began (by the mtime
of its idx; that of the pack changes when an object is written again), or if it is held or kept. Other packs win only
objects that no such pack has, packs of more objects first.

A held page (I14) wins over all other packs, and if there is one, no other pack takes winners from the old index. The
reason: `git repack` leaves the objects of a held page out of its new pack, and deletes the other copy. A reader with an
index in which that other copy won would not find the object in the page, because the index names the page too.
"""

from __future__ import annotations

from collections.abc import Collection

from ..model.inventory import Inventory, PackInfo
from ..model.plans import IndexPlan, IndexScope, IndexSource

ALL_PACKS = IndexScope()


def plan_write(
    inventory: Inventory,
    scope: IndexScope = ALL_PACKS,
    *,
    ignore_old: bool = False,
    force: bool = False,
    since_ns: int | None = None,
) -> IndexPlan:
    """Plan the index over the packs of `scope`.

    A pack that was merged outside the index, or that a killed expire was about to delete, wins only objects that no
    other pack has. The same holds for a pack that was deleted and came back, because a process may have loaded an index
    that names it. `ignore_old` rebuilds from the idx files, because the old index cannot be trusted; `force` writes
    even if the same packs are named. `since_ns`: a git process that deletes packs is running, and began then (ns, as
    mtimes).
    """
    old = None if ignore_old else inventory.midx
    named = set(old.pack_names) if old else set()
    packs = _packs_of(scope, inventory)
    # git reads such a pack by its own idx if it can; as a winner it would hide the copies in other packs.
    packs = [pack for pack in packs if not pack.fault or pack.name in named]
    warnings = _warnings(inventory, scope.only)
    based_on = inventory.midx.trailer if inventory.midx else None
    chosen, complaint = _preferred(packs, scope.preferred)
    if complaint:
        warnings = (*warnings, complaint)
    if not any(pack.object_count != 0 for pack in packs):
        return IndexPlan(based_on=based_on, warnings=warnings, reason="no pack files to index")
    if old and not force and named == {pack.name for pack in packs}:
        count = len(packs)
        return IndexPlan(
            based_on=based_on,
            warnings=warnings,
            reason=f"the index names {'the only pack' if count == 1 else f'all {count} packs'} already",
        )
    # Objects whose winner is deleted are searched in every pack that stays.
    staying = {pack.name for pack in packs}
    lost_winners = old is not None and any(
        refs and name not in staying for name, refs in zip(old.pack_names, old.referenced, strict=True)
    )
    sources, old_rank = _rank(packs, named, scope._replace(preferred=chosen), fill=lost_winners, since_ns=since_ns)
    return IndexPlan(
        based_on=based_on,
        sources=tuple(sorted(sources, key=lambda source: (source.name + ".idx").encode("utf-8", "surrogateescape"))),
        old_rank=old_rank,
        use_old=old is not None,
        preferred=chosen if chosen in named else None,
        pages=tuple(sorted(scope.new_pages)),
        warnings=warnings,
    )


def _packs_of(scope: IndexScope, inventory: Inventory) -> list[PackInfo]:
    """Return the packs that the index is to name; see IndexScope."""
    named = inventory.midx.pack_names if inventory.midx else ()
    without = frozenset(scope.without) | frozenset(scope.leave_out).difference(named)
    only = None if scope.only is None else frozenset(scope.only)
    return [pack for pack in inventory.packs if pack.name not in without and (only is None or pack.name in only)]


def _rank(
    packs: list[PackInfo],
    named: set[str],
    scope: IndexScope,
    *,
    fill: bool,
    since_ns: int | None,
) -> tuple[list[IndexSource], int]:
    """Return a rank for every idx that is read, best first; the old index stands between new packs and the rest."""
    groups: dict[str, list[str]] = {name: [] for name in GROUPS}
    pages, merged = frozenset(scope.new_pages), frozenset(scope.merged)
    any_held = any(pack.held for pack in packs)
    plain: list[str] = []
    for pack in _best_first(packs, since_ns):
        if pack.name == scope.preferred:
            groups["preferred"].append(pack.name)
        elif pack.name in pages:
            groups["pages"].append(pack.name)
        elif pack.name in named:
            (groups["named"] if fill else plain).append(pack.name)
        elif pack.name in merged or pack.is_superseded or pack.returned:
            groups["last"].append(pack.name)
        elif pack.held:
            groups["held"].append(pack.name)
        else:
            groups["new" if _takes(pack, since_ns, any_held=any_held) else "later"].append(pack.name)
    groups["old index"] = [""]
    ranked = [name for group in GROUPS for name in groups[group]]
    sources = [IndexSource(name=name, rank=rank, from_idx=True) for rank, name in enumerate(ranked) if name]
    sources += [IndexSource(name=name, rank=len(ranked), from_idx=False) for name in plain]
    return sources, ranked.index("")


GROUPS = ("preferred", "pages", "held", "new", "old index", "later", "named", "last")
"""Classes of packs by whose copy of an object wins, the best first."""


def _takes(pack: PackInfo, since_ns: int | None, *, any_held: bool) -> bool:
    """Return whether a pack that the old index does not name takes winners from it."""
    return not any_held if since_ns is None else _may_win(pack, since_ns)


def _best_first(packs: list[PackInfo], since_ns: int | None) -> list[PackInfo]:
    """Return the packs in git's order; beside a git process that deletes packs, first those that it cannot delete."""
    if since_ns is None:
        return sorted(packs, key=lambda pack: -pack.mtime)  # stable: ties stay in directory order
    safe = sorted((pack for pack in packs if _may_win(pack, since_ns)), key=lambda pack: -pack.made_ns)
    rest = [pack for pack in packs if not _may_win(pack, since_ns)]
    return safe + sorted(rest, key=lambda pack: (-(pack.object_count or 0), -pack.size))


def _may_win(pack: PackInfo, since_ns: int | None) -> bool:
    """Return whether no git process that began at `since_ns` deletes this pack."""
    return since_ns is None or pack.made_ns >= since_ns or bool(pack.held) or pack.kept


def _preferred(packs: list[PackInfo], wanted: str | None) -> tuple[str | None, str]:
    """Return the preferred pack by its name, with or without suffix, and a warning if there is no such pack."""
    if wanted is None:
        return None, ""
    name = wanted.removesuffix(".idx").removesuffix(".pack")
    if any(pack.name == name for pack in packs):
        return name, ""
    return None, f"unknown preferred pack: '{wanted}'"


def _warnings(inventory: Inventory, only: Collection[str] | None) -> tuple[str, ...]:
    lines = [f"pack '{name}' is named by the index and gone; dropped" for name in inventory.vanished]
    if only is None:
        lines += [f"failed to add packfile '{name}.idx': no such pack" for name in inventory.idx_without_pack]
    return tuple(lines)
