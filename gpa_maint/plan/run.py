"""Decide what a maintenance run does: which steps are due, and which packs are merged.

Maintenance must write few bytes compared with the pushed bytes. docs/maintenance.md has the figures. The rules are:

- A few small packs are left alone. When there are too many, the smallest ones are merged: as many as make the result
  largest relative to its largest source.
- An index costs bytes for every object of the repository. If it is expensive compared with the bytes pushed since,
  packs outside it are merged with one another, which needs no new index. An expensive index leaves out packs that will
  soon be merged again.
- Full pages are folded 64 at a time, so an object is written once for each power of 64. A backlog of small packs whose
  pages would be folded at once is merged directly into folded packs, so its objects are written once.

A run does the first step that is due, and decides again until none is due. It ends, because every merge leaves fewer
small packs or full pages, and every index fewer packs outside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..base.text import count_of
from ..base.tuples import NamedTuple
from ..model.inventory import Inventory, PackInfo
from ..model.plans import RepackPlan, RunPlan, RunRules, RunStep
from .expire import plan_expire
from .repack import plan_batch, why_not_small

FOLD = 64
"""Number of full pages that are folded into one pack."""

BATCH_PAGES = 64
"""Size of a batch, in full pages. It ends with the pack that reaches this size, which bounds memory and disk."""

BACKLOG_FOLDS = 4
"""Size of a batch of a backlog, in folded packs. Each batch costs a scan of all packs, and memory for its objects."""

INDEX_SHARE = 4
"""The index is cheap if its size is at most the bytes outside it, divided by this. `simulate` chose the value: with 2,
pushes of one object write more than 3 bytes a byte; with 8, a third more packs are outside."""

FEW = 16
"""Number of packs between two checks of the hook. So many packs are worth a cheap index, and so many small packs are
worth a merge that avoids an index."""

SLACK = 8
"""Number of packs that may come before the next check: live packs stay this far below gpa.maxPages + gpa.autoPages."""


UNBOUNDED_OBJECTS = (1 << 31) - 1
UNBOUNDED_BYTES = 1 << 62
"""Bounds of a page that takes a whole batch: more than any repository has."""


class _Live(NamedTuple):
    """Packs that are not superseded: small ones, full ones by level, and all packs outside the index."""

    small: list[PackInfo]
    full: dict[int, list[PackInfo]]
    outside: list[PackInfo]


class _Need(NamedTuple):
    """Why the index must be written, whatever is merged; empty if it need not be.

    `crowded`: too many packs are outside it, but a merge of them may be enough. `level`: the lowest level of the packs
    outside that it would name: 0 all, 1 full pages, 2 folded ones.
    """

    reason: str
    crowded: bool
    level: int


def plan_run(inventory: Inventory, *, rules: RunRules, now: int, idle: Collection[str] = ()) -> RunPlan:
    """Return every step in its order, due or not, with the reason.

    The `idle` steps were tried in this run and changed nothing, so they are not due again.
    """
    live = _live(inventory, rules)
    need = _index_need(inventory, live, rules)
    repack = _unless_idle(_plan_repack(live, need, rules), idle)
    fold = _unless_idle(_plan_fold(live, need, rules), idle)
    repack, fold = (_with_batch(step, inventory, rules) for step in (repack, fold))
    steps = (
        _plan_loose(inventory, rules),
        _plan_index(inventory, live, need, merging=repack.due or fold.due),
        repack,
        fold,
        _plan_expire(inventory, rules, now),
        _plan_tidy(inventory),
        _plan_refs(inventory, rules),
    )
    return RunPlan(steps=tuple(_unless_idle(step, idle) for step in steps))


def _with_batch(step: RunStep, inventory: Inventory, rules: RunRules) -> RunStep:
    """Return the step with the packs that batch_of() takes, so that a dry run names what is merged."""
    return step._replace(packs=_names(batch_of(step, inventory, rules).batch)) if step.packs else step


def _unless_idle(step: RunStep, idle: Collection[str]) -> RunStep:
    return step._replace(due=False) if step.verb in idle else step


def _live(inventory: Inventory, rules: RunRules) -> _Live:
    live = _Live([], {}, [])
    for pack in inventory.packs:
        if not pack.object_count or pack.fault or pack.is_superseded:
            continue
        if not pack.is_indexed:
            live.outside.append(pack)
        reason = why_not_small(pack, rules.page_objects, rules.page_bytes)
        if not reason:
            live.small.append(pack)
        elif not pack.is_protected:
            live.full.setdefault(level_of(pack, rules), []).append(pack)
    return live


def level_of(pack: PackInfo, rules: RunRules) -> int:
    """Return how often the objects of a pack were folded at most: 1 for a full page, 2 for a fold of 64 full pages."""
    objects = pack.object_count or 0
    level, reach = 1, FOLD
    while objects >= rules.page_objects * reach or pack.size > rules.page_bytes // 2 * reach:
        level, reach = level + 1, reach * FOLD
    return level


def _free(packs: Iterable[PackInfo]) -> list[PackInfo]:
    """Return the packs that neither the index nor an older one in use names: merging them needs no new index."""
    return [pack for pack in packs if not (pack.is_indexed or pack.returned)]


def _bytes(packs: Iterable[PackInfo]) -> int:
    return sum(pack.size for pack in packs)


def _oldest_first(packs: Iterable[PackInfo]) -> list[PackInfo]:
    return sorted(packs, key=lambda pack: (pack.mtime, pack.name))


def _names(packs: Iterable[PackInfo]) -> tuple[str, ...]:
    return tuple(pack.name for pack in packs)


# ---- loose objects ----


def _plan_loose(inventory: Inventory, rules: RunRules) -> RunStep:
    count = inventory.loose_count
    if rules.precious_objects:
        return RunStep("loose", False, "precious-objects repository")
    if not rules.auto_loose:
        return RunStep("loose", False, f"{count_of(count, 'loose object')}, and gpa.autoLoose is 0")
    due = count >= rules.auto_loose
    return RunStep(
        "loose", due, f"{count_of(count, 'loose object')}, {_compare(due)} gpa.autoLoose ({rules.auto_loose})"
    )


def _compare(reached: bool) -> str:
    return "at least" if reached else "fewer than"


# ---- the index ----


def index_bytes(inventory: Inventory) -> int:
    """Return the approximate size (bytes) of an index over all packs."""
    hash_size = 20 if inventory.object_format == "sha1" else 32
    objects = inventory.midx.object_count if inventory.midx else 0
    objects += sum(pack.object_count or 0 for pack in inventory.packs if not (pack.is_indexed or pack.is_superseded))
    names = sum(len(pack.name) + 5 for pack in inventory.packs)
    return 1024 + 12 * 5 + names + objects * (hash_size + 8)


def _index_need(inventory: Inventory, live: _Live, rules: RunRules) -> _Need:
    if inventory.vanished and not inventory.packs:
        return _Need("none of the packs that it names is there", False, 0)
    if inventory.vanished and any(pack.object_count != 0 and not _is_merged_outside(pack) for pack in inventory.packs):
        return _Need(f"{count_of(len(inventory.vanished), 'pack')} that it names went away", False, 0)
    if inventory.midx is None and live.outside and len(inventory.packs) >= 2:
        return _Need("there is none", False, 0)
    cost = index_bytes(inventory)
    small, outside = _bytes(_free(live.small)), _bytes(live.outside)
    for level, size in enumerate((small, outside - small)):
        if cost * INDEX_SHARE <= size:
            is_worth_it = len(live.outside) >= min(FEW, rules.auto_unindexed + 1)
            return _Need(f"{cost} bytes, beside {outside} that are not in it" if is_worth_it else "", False, level)
    if len(live.outside) <= rules.auto_unindexed:
        return _Need("", False, 2)
    # Packs that will soon be merged are left out, unless there is hardly any other pack.
    soon = len(_free(live.small)) + len(_free(live.full.get(1, ())))
    reason = f"{len(live.outside)} packs are not in it, more than gpa.autoUnindexed ({rules.auto_unindexed})"
    return _Need(reason, True, 2 if soon * 5 <= rules.auto_unindexed * 4 else 0)


def _plan_index(inventory: Inventory, live: _Live, need: _Need, *, merging: bool) -> RunStep:
    if need.reason and merging:
        return RunStep("index", False, f"{need.reason}: decided again after merging")
    if need.reason:
        return RunStep("index", True, need.reason)
    if not live.outside:
        return RunStep("index", False, "no pack is outside it" if inventory.midx else "there is nothing to index")
    return RunStep("index", False, f"{count_of(len(live.outside), 'pack')} outside it: few, and few bytes beside it")


def needs_index(inventory: Inventory, packs: Iterable[str]) -> bool:
    """Return whether merging these packs requires a new index, because an index that may be in use names one."""
    names = frozenset(packs)
    return any(pack.is_indexed or pack.returned for pack in inventory.packs if pack.name in names)


def left_out(inventory: Inventory, rules: RunRules) -> frozenset[str]:
    """Return the packs outside the index that a new index does not name, whatever step writes it.

    Merged packs only wait for expire: if they were named, another index would be needed when they are deleted. If the
    index is expensive, the same holds for small packs and pages that will soon be folded. Readers find all of them by
    their own idx.
    """
    live = _live(inventory, rules)
    level = _index_need(inventory, live, rules).level
    soon = [*(live.small if level >= 1 else ()), *(live.full.get(1, ()) if level >= 2 else ())]
    return frozenset(_names([*filter(_is_merged_outside, inventory.packs), *_free(soon)]))


def _is_merged_outside(pack: PackInfo) -> bool:
    return not pack.is_indexed and pack.is_superseded


# ---- merging small packs ----


def mergeable(inventory: Inventory, rules: RunRules) -> tuple[list[PackInfo], list[PackInfo]]:
    """Return the small packs, and those of them that may be merged now."""
    live = _live(inventory, rules)
    return live.small, _pool(live, _index_need(inventory, live, rules), rules)


def _pool(live: _Live, need: _Need, rules: RunRules) -> list[PackInfo]:
    """Return the small packs outside the index, or all small packs if the index names or will name too many of them."""
    free = _free(live.small)
    renewed = bool(need.reason) and not need.crowded and need.level == 0
    return live.small if renewed or len(live.small) - len(free) > rules.auto_pages // 2 else free


def _plan_repack(live: _Live, need: _Need, rules: RunRules) -> RunStep:
    small, pool = live.small, _pool(live, need, rules)
    objects = sum(pack.live_count for pack in pool)
    found = f"{count_of(len(small), 'small pack')}, {len(pool)} of them to be merged now with {objects} objects"
    if len(pool) >= 2 and _is_backlog(live, pool, rules):
        batch = _names(_oldest(pool, rules, FOLD * BACKLOG_FOLDS))
        reason = f"{found}: so many that their pages would be folded at once (gpa.maxPages, {rules.max_pages})"
        return RunStep("repack", True, reason, batch, whole=True)
    if len(pool) >= 2 and objects >= rules.page_objects:
        batch = _names(_oldest(pool, rules, BATCH_PAGES))
        return RunStep("repack", True, f"{found}: at least gpa.pageObjects ({rules.page_objects})", batch)
    if len(small) >= 2 and len(small) > rules.auto_pages:
        grown = _most_grown(pool if len(pool) >= 2 else small)
        return RunStep("repack", True, f"{found}: more than gpa.autoPages ({rules.auto_pages})", grown)
    if need.crowded and len(_free(small)) >= FEW:
        return RunStep("repack", True, f"{found}: rather than an index, since {need.reason}", _most_grown(_free(small)))
    held = count_of(sum(pack.live_count for pack in small), "object")
    return RunStep("repack", False, f"{count_of(len(small), 'small pack')} with {held}")


def batch_of(step: RunStep, inventory: Inventory, rules: RunRules) -> RepackPlan:
    """Return the merge of a due step: its packs that exist and are still to be merged, in the order of the step.

    The batch is empty if fewer than two are left. If the step is `whole`, it makes one page of any size.
    """
    order = {name: place for place, name in enumerate(step.packs)}
    packs = sorted((pack for pack in inventory.packs if pack.name in order), key=lambda pack: order[pack.name])
    ready = [pack for pack in packs if not (pack.is_protected or pack.is_superseded or not pack.object_count)]
    return plan_batch(
        inventory,
        ready if len(ready) > 1 else [],
        page_objects=UNBOUNDED_OBJECTS if step.whole else rules.page_objects,
        page_bytes=UNBOUNDED_BYTES if step.whole else rules.page_bytes,
        depth=rules.depth,
    )


def _is_backlog(live: _Live, pool: list[PackInfo], rules: RunRules) -> bool:
    """Return whether full pages made of these packs would be folded at once, because of gpa.maxPages."""
    pages = _page_count(pool, rules)
    return pages >= FOLD and pages + sum(map(len, live.full.values())) > rules.max_pages


def _page_count(packs: Iterable[PackInfo], rules: RunRules) -> int:
    """Return the approximate number of full pages that these packs make."""
    objects = size = 0
    for pack in packs:
        objects, size = objects + pack.live_count, size + pack.expected_size
    return max(objects // rules.page_objects, size // rules.page_bytes)


def _oldest(packs: list[PackInfo], rules: RunRules, pages: int) -> list[PackInfo]:
    """Return the oldest packs, up to the objects of `pages` full pages, or the bytes of FOLD pages."""
    batch: list[PackInfo] = []
    objects = size = 0
    for pack in _oldest_first(packs):
        if len(batch) >= 2 and (objects >= rules.page_objects * pages or size >= rules.page_bytes * FOLD):
            break
        batch.append(pack)
        objects, size = objects + pack.live_count, size + pack.expected_size
    return batch


def _most_grown(packs: list[PackInfo]) -> tuple[str, ...]:
    """Return the smallest packs, at least two: as many as make the result largest relative to its largest source.

    Packs of equal size are merged together; the result then waits for others of its own size.
    """
    ordered = sorted(packs, key=lambda pack: (pack.expected_size, pack.name))
    best, growth, total = 2, 0.0, 0
    for count, pack in enumerate(ordered, start=1):
        total += pack.expected_size
        if count >= 2 and total >= growth * pack.expected_size:
            best, growth = count, total / max(1, pack.expected_size)
    return _names(ordered[:best])


# ---- folding full pages ----


def _plan_fold(live: _Live, need: _Need, rules: RunRules) -> RunStep:
    levels = [packs for _, packs in sorted(live.full.items())]
    count = sum(map(len, levels))
    few = f"{count_of(count, 'full page')}, not more than gpa.maxPages ({rules.max_pages})"
    is_over = count > rules.max_pages or _is_near_limits(count, len(live.small), rules)
    if not is_over and not need.crowded:
        return RunStep("fold", False, few)
    # If there are enough pages outside the index, folding needs no new index.
    choices = [_free(packs) for packs in levels] + (levels if is_over else [])
    for packs in choices:
        if len(packs) >= FOLD:
            reason = _why_fold(count, live, need, rules)
            oldest = _names(_oldest_first(packs)[:FOLD])
            return RunStep("fold", True, f"{reason}: the oldest {FOLD} of one size", oldest, whole=True)
    return RunStep(
        "fold", False, f"{count_of(count, 'full page')}, but fewer than {FOLD} of one size" if is_over else few
    )


def _is_near_limits(full: int, small: int, rules: RunRules) -> bool:
    """Return whether full pages are within SLACK of gpa.maxPages, and all packs within SLACK of both limits."""
    return full > rules.max_pages - SLACK and full + small > rules.max_pages + rules.auto_pages - SLACK


def _why_fold(count: int, live: _Live, need: _Need, rules: RunRules) -> str:
    limit = f"gpa.maxPages ({rules.max_pages})"
    if count > rules.max_pages:
        return f"{count} full pages, more than {limit}"
    if need.crowded:
        return f"{count} full pages: rather than an index, since {need.reason}"
    return f"{count} full pages and {len(live.small)} small packs, near {limit} and gpa.autoPages ({rules.auto_pages})"


# ---- packs to delete ----


def _plan_expire(inventory: Inventory, rules: RunRules, now: int) -> RunStep:
    plan = plan_expire(inventory, grace_seconds=rules.expire_grace, keep_new=rules.keep_new, now=now)
    if not plan.doomed and plan.released:
        return RunStep("expire", True, f"the hold of {count_of(len(plan.released), 'page')} is over")
    if not plan.doomed:
        return RunStep("expire", False, plan.reason)
    if rules.precious_objects:
        return RunStep("expire", False, "precious-objects repository")
    return RunStep("expire", True, f"{count_of(len(plan.doomed), 'superseded page')} past the grace")


def _plan_tidy(inventory: Inventory) -> RunStep:
    count = len(inventory.git_leftovers)
    return RunStep("tidy", bool(count), f"{count_of(count, 'file')} of killed git processes")


def _plan_refs(inventory: Inventory, rules: RunRules) -> RunStep:
    count = inventory.loose_refs
    due = bool(rules.auto_refs) and count >= rules.auto_refs
    return RunStep("refs", due, f"{count_of(count, 'loose ref')}, {_compare(due)} gpa.autoRefs ({rules.auto_refs})")
