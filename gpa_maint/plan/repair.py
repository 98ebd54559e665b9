"""Decide what is done about each fault that diagnose() found."""

from __future__ import annotations

from ..reports import Diagnosis, PackHealth, RepairPlan, RepairStep

REST_SECONDS = 3600
"""A pack without idx, or an idx without pack, that is younger may be on its way: these come one after the other."""


def plan_repair(found: Diagnosis, *, precious_objects: bool = False) -> RepairPlan:
    """A step for each fault, in the order in which they are done; without faults there are none."""
    steps = [step for pack in found.packs if (step := _plan_pack(pack))]
    steps += [RepairStep("set aside", fault.oid, fault.reason) for fault in found.loose]
    if found.index_fault:
        steps.append(RepairStep("index", "multi-pack-index", found.index_fault))
    if precious_objects:
        steps = [_leave_precious(step) for step in steps]
    return RepairPlan(tuple(steps))


def _plan_pack(pack: PackHealth) -> RepairStep | None:
    if not pack.fault:
        return None
    if pack.doomed:
        return RepairStep("leave", pack.name, f"{pack.fault}; expire was about to delete it")
    if not (pack.has_pack and pack.has_idx) and pack.seconds < REST_SECONDS:
        return RepairStep("leave", pack.name, f"{pack.fault}, but what is less than an hour old may still be arriving")
    if pack.protection:
        return RepairStep("leave", pack.name, f"{pack.fault}; {pack.protection}")
    if not pack.has_pack:
        return RepairStep("set aside", pack.name, pack.fault)
    return RepairStep("mend", pack.name, pack.fault)


def _leave_precious(step: RepairStep) -> RepairStep:
    """In a precious-objects repository only the index is ours to replace."""
    return step if step.action == "index" else step._replace(action="leave", reason=f"{step.reason}; precious objects")
