"""Decide when hooks and timers start the next run."""

from __future__ import annotations

from ..base.tuples import NamedTuple
from ..model.inventory import Inventory
from ..model.plans import RunRules
from .expire import plan_expire

LOOK_AFTER_PACKS = 16
"""Number of new packs after which a hook starts the next run. A run after each push would cost too much."""

LOOK_AFTER_SECONDS = 86400


class NextRun(NamedTuple):
    """When a run is due: at a number of packs, at `more_loose` new loose objects (None: never), or from `at` on."""

    packs: int
    more_loose: int | None
    at: int


def plan_next_run(inventory: Inventory, *, rules: RunRules, now: int, at_once: bool = False) -> NextRun:
    """Return when the next run is worth while. `at_once`: this run has left something to do."""
    packs = 0 if at_once else len(inventory.packs) + len(inventory.idx_without_pack) + LOOK_AFTER_PACKS
    # Damaged loose objects, which a run leaves, must not start another run.
    left = rules.auto_loose - inventory.loose_count
    more_loose = (left if left > 0 else rules.auto_loose) if rules.auto_loose else None
    return NextRun(packs, more_loose, _next_due(inventory, rules, now))


def _next_due(inventory: Inventory, rules: RunRules, now: int) -> int:
    plan = plan_expire(inventory, grace_seconds=rules.expire_grace, keep_new=rules.keep_new, now=now)
    daily = now + LOOK_AFTER_SECONDS
    return daily if plan.next_due is None else min(daily, plan.next_due)
