"""Decide what a maintenance run does: which steps are due, and which packs are merged.

What is written must stay small beside what is pushed. Three rules see to it:

- Few or small packs are left alone. When there are too many, the smallest are merged first, so that a pack is merged
  again only with about as much as it holds itself.
- An index costs bytes for every object of the repository. While it is not cheap beside what was pushed since, packs
  outside it are merged with one another, which needs no new index.
- Full pages are folded 64 at a time, so an object is written once for each power of 64.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..model import Inventory, PackInfo, RunPlan, RunRules, RunStep
from .expire import plan_expire
from .repack import why_not_small

FOLD = 64
"""How many full pages are folded into one."""

BATCH_PAGES = 64
"""A batch ends with the pack that brings it to as many objects as this many pages hold: a bound for memory and disk."""

INDEX_SHARE = 2
"""The index is cheap when it is at most one part in this many of the bytes outside it."""


def plan_run(inventory: Inventory, *, rules: RunRules, now: int) -> RunPlan:
    """Every step in the order in which it is done, due or not, with the reason."""
    merge = _plan_merge(inventory, rules)
    fold = _plan_fold(inventory, rules)
    return RunPlan(
        steps=(
            _plan_loose(inventory, rules),
            _plan_index(inventory, rules, merge, fold),
            merge,
            fold,
            _plan_expire(inventory, rules, now),
            _plan_tidy(inventory),
            _plan_refs(inventory, rules),
        )
    )


# ---- loose objects ----


def _plan_loose(inventory: Inventory, rules: RunRules) -> RunStep:
    count = inventory.loose_count
    if rules.precious_objects:
        return RunStep("loose", False, "precious-objects repository")
    if not rules.auto_loose:
        return RunStep("loose", False, f"{count} loose objects, and gpa.autoLoose is 0")
    due = count >= rules.auto_loose
    return RunStep("loose", due, f"{count} loose objects, {_compare(due)} gpa.autoLoose ({rules.auto_loose})")


def _compare(reached: bool) -> str:
    return "at least" if reached else "fewer than"


# ---- the index ----


def index_bytes(inventory: Inventory) -> int:
    """About the size of an index over all packs there are."""
    hash_size = 20 if inventory.object_format == "sha1" else 32
    known = inventory.midx.object_count if inventory.midx else 0
    new = sum(pack.object_count or 0 for pack in _outside(inventory))
    names = sum(len(pack.name) + 5 for pack in inventory.packs)
    return 1024 + 12 * 5 + names + (known + new) * (hash_size + 8)


def _outside(inventory: Inventory) -> list[PackInfo]:
    """Packs that are read by their own idx."""
    return [pack for pack in inventory.packs if not pack.is_indexed and not pack.is_superseded and pack.object_count]


def _index_need(inventory: Inventory, rules: RunRules) -> str:
    """Why the index is to be written, whatever is merged; empty when it is not."""
    outside = _outside(inventory)
    if inventory.vanished:
        return f"{len(inventory.vanished)} packs that it names are gone"
    if not outside or len(inventory.packs) < 2:
        return ""
    if inventory.midx is None:
        return "there is none"
    if len(outside) > rules.auto_unindexed:
        return f"{len(outside)} packs are not in it, more than gpa.autoUnindexed ({rules.auto_unindexed})"
    if _index_is_cheap(inventory):
        return f"{index_bytes(inventory)} bytes, beside {sum(pack.size for pack in outside)} that are not in it"
    return ""


def _index_is_cheap(inventory: Inventory) -> bool:
    return index_bytes(inventory) * INDEX_SHARE <= sum(pack.size for pack in _outside(inventory))


def _plan_index(inventory: Inventory, rules: RunRules, merge: RunStep, fold: RunStep) -> RunStep:
    need = _index_need(inventory, rules)
    if need and (merge.due or fold.due):
        return RunStep("index", False, f"{need}: written after merging")
    if need:
        return RunStep("index", True, need)
    outside = len(_outside(inventory))
    if not outside:
        return RunStep("index", False, "no pack is outside it" if inventory.midx else "there is nothing to index")
    return RunStep("index", False, f"{outside} packs outside it are few, and few bytes beside it")


def needs_index(inventory: Inventory, packs: Iterable[str], rules: RunRules) -> bool:
    """Does merging these packs ask for a new index? Not when all are outside it, and it is not due by itself."""
    merged = frozenset(packs)
    return bool(_index_need(inventory, rules)) or any(p.is_indexed for p in inventory.packs if p.name in merged)


# ---- merging small packs ----


def mergeable(inventory: Inventory, rules: RunRules) -> tuple[list[PackInfo], list[PackInfo]]:
    """The small packs, and those of them that may be merged now."""
    small = [pack for pack in inventory.packs if not why_not_small(pack, rules.page_objects, rules.page_bytes)]
    # What an index in somebody's hands may name is merged only under a new one.
    outside = [pack for pack in small if not pack.is_indexed and not pack.returned]
    # Where the index is dear, packs it names are merged only when it is written anyway.
    renewed = bool(_index_need(inventory, rules))
    return small, small if renewed or len(small) - len(outside) > rules.auto_pages // 2 else outside


def _plan_merge(inventory: Inventory, rules: RunRules) -> RunStep:
    small, pool = mergeable(inventory, rules)
    renewed = bool(_index_need(inventory, rules))
    objects = sum(pack.live_count for pack in pool)
    found = f"{len(small)} small packs, {len(pool)} of them to be merged now hold {objects} objects"
    if len(pool) >= 2 and objects >= rules.page_objects:
        batch = _oldest(pool, rules.page_objects * BATCH_PAGES)
        return RunStep("repack", True, f"{found}: at least gpa.pageObjects ({rules.page_objects})", batch)
    if len(small) > rules.auto_pages:
        batch = _smallest(pool if len(pool) >= 2 else small)
        return RunStep("repack", True, f"{found}: more than gpa.autoPages ({rules.auto_pages})", batch)
    if renewed and not _index_is_cheap(inventory) and len(small) >= 2:
        return RunStep("repack", True, f"{found}: the index is written anyway", _names(small))
    return RunStep("repack", False, f"{len(small)} small packs hold {sum(pack.live_count for pack in small)} objects")


def _oldest(packs: list[PackInfo], object_limit: int) -> tuple[str, ...]:
    """The oldest packs, until they hold `object_limit` objects."""
    batch: list[PackInfo] = []
    objects = 0
    for pack in sorted(packs, key=lambda pack: (pack.mtime, pack.name)):
        if objects >= object_limit and len(batch) >= 2:
            break
        batch.append(pack)
        objects += pack.live_count
    return _names(batch)


def _smallest(packs: list[PackInfo]) -> tuple[str, ...]:
    """The smallest packs, as long as the next one holds no more bytes than those before it together."""
    batch: list[PackInfo] = []
    total = 0
    for pack in sorted(packs, key=lambda pack: (pack.expected_size, pack.name)):
        if len(batch) >= 2 and pack.expected_size > total:
            break
        batch.append(pack)
        total += pack.expected_size
    return _names(batch)


def _names(packs: Iterable[PackInfo]) -> tuple[str, ...]:
    return tuple(pack.name for pack in packs)


# ---- folding full pages ----


def level_of(pack: PackInfo, rules: RunRules) -> int:
    """How often its objects have been folded at most: 1 for a full page, 2 for one made of 64 of them."""
    objects = pack.object_count or 0
    level, reach = 1, FOLD
    while objects >= rules.page_objects * reach or pack.size > rules.page_bytes // 2 * reach:
        level, reach = level + 1, reach * FOLD
    return level


def _plan_fold(inventory: Inventory, rules: RunRules) -> RunStep:
    full = [
        pack
        for pack in inventory.packs
        if why_not_small(pack, rules.page_objects, rules.page_bytes).startswith(("full", "large"))
    ]
    if len(full) <= rules.max_pages:
        return RunStep("fold", False, f"{len(full)} full pages are not more than gpa.maxPages ({rules.max_pages})")
    levels: dict[int, list[PackInfo]] = {}
    for pack in sorted(full, key=lambda pack: (pack.mtime, pack.name)):
        levels.setdefault(level_of(pack, rules), []).append(pack)
    for level, packs in sorted(levels.items()):
        if len(packs) >= FOLD:
            reason = f"{len(full)} full pages, more than gpa.maxPages ({rules.max_pages}): {FOLD} of level {level}"
            return RunStep("fold", True, reason, _names(packs[:FOLD]))
    return RunStep("fold", False, f"{len(full)} full pages, but fewer than {FOLD} of one size")


# ---- what is to go ----


def _plan_expire(inventory: Inventory, rules: RunRules, now: int) -> RunStep:
    plan = plan_expire(inventory, grace_seconds=rules.expire_grace, now=now)
    if not plan.doomed:
        return RunStep("expire", False, plan.reason)
    if rules.precious_objects:
        return RunStep("expire", False, "precious-objects repository")
    return RunStep("expire", True, f"{len(plan.doomed)} superseded pages are past their grace")


def _plan_tidy(inventory: Inventory) -> RunStep:
    count = len(inventory.git_leftovers)
    return RunStep("tidy", bool(count), f"{count} temporary files of killed git processes")


def _plan_refs(inventory: Inventory, rules: RunRules) -> RunStep:
    count = inventory.loose_refs
    due = bool(rules.auto_refs) and count >= rules.auto_refs
    return RunStep("refs", due, f"{count} loose refs, {_compare(due)} gpa.autoRefs ({rules.auto_refs})")
