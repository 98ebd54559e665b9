"""Put together the status of a repository: counts from the Inventory, steps and warnings from the plans."""

from __future__ import annotations

from ..base.tuples import NamedTuple
from ..model.inventory import Inventory, PackInfo
from ..model.plans import RunPlan, RunRules
from ..model.results import RunResult
from ..model.status import Cost, KindCount, Status, StatusStep, StatusWarning, Surroundings
from .expire import plan_expire
from .repack import KINDS, kind_of
from .run import plan_run
from .warn import find_warnings


class StatusFacts(NamedTuple):
    """Facts of a status beside the Inventory: path of the repository, surroundings, results of runs.

    With `unreadable_index` the Inventory has no index, and no step is decided.
    """

    repository: str
    objects_dir: str
    around: Surroundings
    cost: Cost | None
    last_run: RunResult | None
    unreadable_index: StatusWarning | None = None


def make_status(inventory: Inventory, facts: StatusFacts, *, rules: RunRules, now: int) -> Status:
    """Return the status at the second `now`."""
    around, last_run, unreadable_index = facts.around, facts.last_run, facts.unreadable_index
    index = inventory.midx
    plan = plan_run(inventory, rules=rules, now=now) if unreadable_index is None else RunPlan(())
    warnings = find_warnings(inventory, around, rules=rules, steps=plan.steps, last_run=last_run, now=now)
    kinds = count_kinds(inventory, rules)
    dues = [
        step.due
        for step in plan_expire(inventory, grace_seconds=rules.expire_grace, keep_new=rules.keep_new, now=now).steps
        if step.due is not None
    ]
    return Status(
        repository=facts.repository,
        objects_dir=facts.objects_dir,
        object_format=inventory.object_format,
        now=now,
        is_installed=around.installed_at is not None,
        has_hook=around.has_hook,
        at_work=around.at_work,
        kinds=kinds,
        loose_objects=inventory.loose_count,
        stored_objects=sum(kind.objects for kind in kinds),
        duplicates=sum(map(_superfluous, inventory.packs)),
        index_packs=len(index.pack_names) if index else 0,
        index_objects=index.object_count if index else 0,
        index_bytes=index.size if index else 0,
        unindexed_packs=sum(not (pack.is_indexed or pack.is_superseded) for pack in inventory.packs),
        reclaimable_bytes=sum(kind.size for kind in kinds if kind.name == "superseded"),
        first_due=min(dues, default=None),
        last_due=max(dues, default=None),
        last_run=last_run,
        cost=facts.cost,
        steps=tuple(StatusStep(step.verb, step.due, step.reason, len(step.packs)) for step in plan.steps),
        warnings=warnings if unreadable_index is None else (unreadable_index, *warnings),
    )


def count_kinds(inventory: Inventory, rules: RunRules) -> tuple[KindCount, ...]:
    """Return the counts of all kinds, also of those without packs, in the order of KINDS."""
    packs: dict[str, list[PackInfo]] = {kind: [] for kind in KINDS}
    for pack in inventory.packs:
        packs[kind_of(pack, rules.page_objects, rules.page_bytes)].append(pack)
    return tuple(
        KindCount(kind, len(found), sum(pack.object_count or 0 for pack in found), sum(pack.size for pack in found))
        for kind, found in packs.items()
    )


def _superfluous(pack: PackInfo) -> int:
    """Return the number of copies in a pack that no reader uses."""
    if not pack.is_indexed:
        return (pack.object_count or 0) if pack.is_superseded else 0
    return max(0, (pack.object_count or 0) - pack.live_count)
