"""Explain for each pack which rule decides what happens to it, by the plans that a run would follow."""

from __future__ import annotations

from ..model.inventory import Inventory, PackInfo
from ..model.plans import ExpirePlan, RunPlan, RunRules, Step
from .expire import plan_expire
from .repack import why_not_small
from .run import mergeable, plan_run


def plan_explain(inventory: Inventory, *, rules: RunRules, now: int) -> tuple[Step, ...]:
    """Return one step for each pack, the oldest first: merge, fold, delete, wait or leave, with the reason."""
    explainer = _Explainer(inventory, rules, now)
    return tuple(explainer.explain(pack) for pack in sorted(inventory.packs, key=lambda pack: (pack.mtime, pack.name)))


class _Explainer:
    """Plans for one inventory, which answer for one pack after the other."""

    def __init__(self, inventory: Inventory, rules: RunRules, now: int) -> None:
        self._rules = rules
        self._run: RunPlan = plan_run(inventory, rules=rules, now=now)
        expire: ExpirePlan = plan_expire(inventory, grace_seconds=rules.expire_grace, keep_new=rules.keep_new, now=now)
        self._expire = {step.pack: step for step in expire.steps}
        self._small, pool = mergeable(inventory, rules)
        self._pool = {pack.name: pack.live_count for pack in pool}
        self._merged = frozenset(self._run.step("repack").packs)
        self._folded = frozenset(self._run.step("fold").packs)

    def explain(self, pack: PackInfo) -> Step:
        why = why_not_small(pack, self._rules.page_objects, self._rules.page_bytes)
        if pack.name in self._expire:
            return self._superseded(self._expire[pack.name])
        if not why:
            return self._small_one(pack)
        if why.startswith(("full", "large")):
            return self._full_one(pack, why)
        return Step(pack.name, "leave", why)

    def _superseded(self, step: Step) -> Step:
        if step.action == "leave":
            return step
        if self._rules.precious_objects:
            return Step(step.pack, "leave", "superseded; precious-objects repository")
        return step._replace(reason="superseded, past its grace" if step.action == "delete" else "superseded")

    def _small_one(self, pack: PackInfo) -> Step:
        merge = self._run.step("repack")
        if pack.name in self._merged:
            return Step(pack.name, "merge", f"{pack.live_count} of {pack.object_count} objects; {merge.reason}")
        if len(self._small) < 2:
            return Step(pack.name, "wait", "small, and the only one")
        if pack.name not in self._pool:
            return Step(pack.name, "wait", "small; an index names it: merged when that is written anyway")
        if merge.due:
            return Step(pack.name, "wait", f"small, but not in this batch; {merge.reason}")
        return Step(pack.name, "wait", self._why_few())

    def _why_few(self) -> str:
        """Return why no small pack is merged."""
        rules, objects = self._rules, sum(self._pool.values())
        return (
            f"small; together {len(self._pool)} hold {objects} objects, fewer than gpa.pageObjects "
            f"({rules.page_objects}), and {len(self._small)} are not more than gpa.autoPages ({rules.auto_pages})"
        )

    def _full_one(self, pack: PackInfo, why: str) -> Step:
        fold = self._run.step("fold")
        if pack.name in self._folded:
            return Step(pack.name, "fold", f"{why}; {fold.reason}")
        return Step(pack.name, "leave", f"{why}; {'others are folded first: ' if fold.due else ''}{fold.reason}")
