"""Decide which repair is done for each fault that diagnose() found."""

from __future__ import annotations

from ..model.repair import Diagnosis, PackHealth, RepairPlan, RepairStep

REST_SECONDS = 3600
"""Seconds. A younger pack without idx, or idx without pack, may be unfinished: one is renamed before the other."""

UNREAD = "that says nothing about its content"
"""Text added to an error of the operating system, which does not prove damage."""


def plan_repair(found: Diagnosis, *, precious_objects: bool = False) -> RepairPlan:
    """Return a step for each fault, in the order in which they are done; without faults there are none."""
    steps = [step for pack in found.packs if (step := _plan_pack(pack))]
    if found.index_unread:
        # Without the index it is unknown which packs it needs.
        steps = [_leave(step, "the combined index cannot be read") for step in steps]
        steps.append(RepairStep("leave", "multi-pack-index", f"{found.index_unread}; {UNREAD}"))
    for fault in found.loose:
        if fault.unread:
            steps.append(RepairStep("leave", fault.oid, f"{fault.reason}; {UNREAD}"))
        else:
            steps.append(RepairStep("set aside", fault.oid, fault.reason))
    if found.index_fault:
        steps.append(RepairStep("index", "multi-pack-index", found.index_fault))
    if found.chain_fault:
        steps.append(RepairStep("index", "multi-pack-index.d", found.chain_fault))
    if found.chain_unread:
        steps.append(RepairStep("leave", "multi-pack-index.d", f"{found.chain_unread}; {UNREAD}"))
    if precious_objects:
        # In such a repository only the index may be replaced.
        steps = [step if step.action == "index" else _leave(step, "precious objects") for step in steps]
    return RepairPlan(tuple(steps))


def _plan_pack(pack: PackHealth) -> RepairStep | None:
    if not pack.fault:
        return None
    if pack.unread:
        return RepairStep("leave", pack.name, f"{pack.fault}; {UNREAD}")
    if pack.doomed:
        return RepairStep("leave", pack.name, f"{pack.fault}; expire was about to delete it")
    if not (pack.has_pack and pack.has_idx) and pack.seconds < REST_SECONDS:
        return RepairStep("leave", pack.name, f"{pack.fault}, but what is less than an hour old may still be arriving")
    if pack.protection:
        return RepairStep("leave", pack.name, f"{pack.fault}; {pack.protection}")
    if not pack.has_pack:
        return RepairStep("set aside", pack.name, pack.fault)
    return RepairStep("mend", pack.name, pack.fault)


def _leave(step: RepairStep, why: str) -> RepairStep:
    return step if step.action == "leave" else RepairStep("leave", step.name, f"{step.reason}; {why}")
