"""The policy of a run: each rule from Inventories written by hand, and what they come to over many pushes."""

from __future__ import annotations

from typing import Any

import pytest
from inventories import inventory, pack, unindexed

from gpa_maint.model.inventory import IndexInfo, Inventory, PackInfo
from gpa_maint.model.plans import RunPlan, RunRules, RunStep
from gpa_maint.plan.explain import plan_explain
from gpa_maint.plan.run import (
    BACKLOG_FOLDS,
    FEW,
    FOLD,
    batch_of,
    index_bytes,
    left_out,
    level_of,
    needs_index,
    plan_run,
)
from tests.bench.simulate import AMPLIFICATION_LIMIT, GRACE, pack_limit, simulate
from tests.bench.traffic import BACKLOGS, TRAFFICS, Traffic, equal

NOW = 1_000_000
RULES = RunRules(page_objects=100, auto_pages=4, auto_unindexed=10, max_pages=8)
ORDER = ["loose", "index", "repack", "fold", "expire", "tidy", "refs"]


def plan(found: Inventory, **rules: Any) -> RunPlan:
    return plan_run(found, rules=RULES._replace(**rules), now=NOW)


def step(verb: str, *packs: PackInfo, rules: dict[str, Any] | None = None, **fields: Any) -> RunStep:
    return plan(inventory(*packs, **fields), **(rules or {})).step(verb)


def small(count: int, **fields: Any) -> list[PackInfo]:
    return [unindexed(f"pack-small{number:03}", mtime=number, **fields) for number in range(count)]


def full(count: int, **fields: Any) -> list[PackInfo]:
    values = {"object_count": 100, "referenced": 100, "size": 100_000} | fields
    return [pack(f"pack-full{number:03}", mtime=number, **values) for number in range(count)]


def beside(objects: int, *packs: PackInfo) -> Inventory:
    """With an index over one large pack, dear to be written again."""
    return inventory(pack("pack-large", object_count=objects, referenced=objects, size=objects * 100), *packs)


def test_the_steps_are_in_the_order_in_which_they_are_done() -> None:
    assert ORDER == [one.verb for one in plan(inventory()).steps]
    assert () == plan(inventory()).due


def test_an_idle_step_is_not_due_again() -> None:
    found = inventory(loose_count=500)
    assert ["loose"] == [one.verb for one in plan(found).due]
    assert () == plan_run(found, rules=RULES, now=NOW, idle={"loose"}).due


# -- Loose objects


@pytest.mark.parametrize(("count", "limit", "due"), [(499, 500, False), (500, 500, True), (10**6, 0, False)])
def test_loose_objects_are_packed_once_there_are_enough(count: int, limit: int, due: bool) -> None:
    assert due is step("loose", loose_count=count, rules={"auto_loose": limit}).due


def test_a_precious_objects_repository_keeps_its_loose_objects_and_packs() -> None:
    """I8"""
    old = [pack("pack-old", referenced=0, superseded_since=1), *full(1)]
    found = inventory(*old, loose_count=10**6)
    assert {"loose", "expire"}.isdisjoint(one.verb for one in plan(found, precious_objects=True).due)
    assert {"loose", "expire"} <= {one.verb for one in plan(found).due}


# -- The index


def test_a_first_index_is_written_for_two_packs_not_for_one() -> None:
    assert not step("index", *small(1)).due
    assert step("index", *small(2)).due


def test_an_index_that_names_packs_that_are_gone_is_written_again() -> None:
    assert "1 pack that it names went away" == step("index", *full(1), gone={"pack-gone": 5}).reason
    assert step("index", *full(1), gone={"pack-gone": 5}).due


def test_an_index_is_written_when_it_is_cheap_beside_what_came() -> None:
    cost = index_bytes(beside(1000, *full(FEW, referenced=None)))
    dear, cheap = 4 * cost // FEW - 100, 4 * cost // FEW + 100
    for size, is_due in ((dear, False), (cheap, True)):
        found = beside(1000, *full(FEW, referenced=None, size=size))
        assert is_due is plan(found, max_pages=100, auto_unindexed=100).step("index").due


def test_a_cheap_index_waits_for_packs_that_are_worth_a_run() -> None:
    few = beside(1000, *full(FEW - 1, referenced=None, size=10**6))
    assert not plan(few, max_pages=100, auto_unindexed=100).step("index").due
    assert plan(few, max_pages=100, auto_unindexed=FEW - 2).step("index").due
    assert not left_out(few, RULES)


def test_an_index_waits_for_the_merge_that_is_due() -> None:
    found = inventory(pack("pack-named", referenced=10), *small(12, object_count=20, size=10**6))
    told = plan(found)
    assert (False, True) == (told.step("index").due, told.step("repack").due)
    assert told.step("index").reason.endswith(": decided again after merging")
    assert plan_run(found, rules=RULES, now=NOW, idle={"repack"}).step("index").due


def test_too_many_packs_outside_the_index_are_rather_merged_than_named() -> None:
    told = plan(beside(10**6, *small(FEW, object_count=1)), auto_pages=100, auto_unindexed=10)
    assert (False, True) == (told.step("index").due, told.step("repack").due)
    assert "rather than an index" in told.step("repack").reason


def test_too_many_packs_outside_the_index_are_named_when_they_are_full() -> None:
    told = plan(beside(10**6, *full(11, referenced=None)), max_pages=100)
    assert told.step("index").due
    assert "11 packs are not in it, more than gpa.autoUnindexed (10)" == told.step("index").reason


def test_a_dear_index_leaves_out_what_will_be_merged_soon() -> None:
    dear = beside(10**6, *small(3))
    assert frozenset(one.name for one in small(3)) == left_out(dear, RULES)
    assert frozenset() == left_out(inventory(*small(3)), RULES)


def test_packs_merged_outside_the_index_only_wait_for_expire() -> None:
    gone = unindexed("pack-merged", superseded_since=NOW)
    assert frozenset({"pack-merged"}) == left_out(inventory(gone, *full(2)), RULES)
    assert not step("index", gone, *full(2)).due


def test_merging_asks_for_an_index_when_one_may_name_the_packs() -> None:
    found = beside(10**6, *small(2), pack("pack-named"), unindexed("pack-back", returned=True))
    assert not needs_index(found, ["pack-small000", "pack-small001"])
    assert needs_index(found, ["pack-small000", "pack-named"])
    assert needs_index(found, ["pack-small000", "pack-back"])


# -- Merging small packs


def test_small_packs_are_merged_when_they_fill_a_page() -> None:
    assert not step("repack", *small(4, object_count=24)).due
    assert step("repack", *small(4, object_count=25)).due


def test_small_packs_are_merged_when_there_are_too_many() -> None:
    assert not step("repack", *small(4, object_count=1)).due
    assert step("repack", *small(5, object_count=1)).due


def test_of_too_many_small_packs_the_large_ones_wait_for_others_like_them() -> None:
    packs = [*small(4, size=100, object_count=1), unindexed("pack-grown", size=10**6, object_count=50)]
    assert {one.name for one in packs[:4]} == set(step("repack", *packs).packs)


def test_packs_of_one_size_are_merged_all_at_once() -> None:
    assert 5 == len(step("repack", *small(5, size=100, object_count=1)).packs)


def test_small_packs_that_a_dear_index_names_are_left_until_they_are_many() -> None:
    named = [pack(f"pack-named{number}", object_count=1, referenced=1) for number in range(3)]
    few = plan(beside(10**6, *named[:2], *small(3, object_count=1))).step("repack")
    assert (True, {one.name for one in small(3)}) == (few.due, set(few.packs))
    many = plan(beside(10**6, *named, *small(3, object_count=1))).step("repack")
    assert 6 == len(many.packs)


@pytest.mark.parametrize("mark", ["kept", "promisor", "cruft"])
def test_protected_packs_are_neither_merged_nor_folded(mark: str) -> None:
    """I8"""
    marked = [one._replace(**{mark: True}) for one in [*small(20), *full(FOLD + 9)]]
    told = plan(inventory(*marked))
    assert (False, False) == (told.step("repack").due, told.step("fold").due)


# -- Folding full pages


def test_full_pages_are_folded_when_there_are_too_many() -> None:
    rules = {"max_pages": FOLD}
    assert not step("fold", *full(FOLD - 9), rules=rules).due
    told = step("fold", *full(FOLD + 2), rules=rules)
    assert tuple(one.name for one in full(FOLD)) == told.packs


def test_each_object_is_folded_once_for_each_level() -> None:
    (page,) = full(1)
    assert 1 == level_of(page, RULES)
    assert 2 == level_of(page._replace(object_count=100 * FOLD), RULES)
    assert 3 == level_of(page._replace(object_count=100 * FOLD**2), RULES)
    folded = [one._replace(object_count=100 * FOLD, name=f"{one.name}-folded") for one in full(20)]
    told = step("fold", *folded, *full(FOLD), rules={"max_pages": FOLD})
    assert {one.name for one in full(FOLD)} == set(told.packs)
    assert not step("fold", *folded, *full(FOLD - 1), rules={"max_pages": FOLD}).due


# -- A backlog


def test_a_backlog_is_merged_into_packs_that_are_not_folded() -> None:
    """Of 50 objects a pack: 64 pages and more would be folded at once, where that is too many of them."""
    packs = small(2 * FOLD, object_count=50)
    told = step("repack", *packs, rules={"max_pages": FOLD - 1})
    assert (True, True, tuple(one.name for one in packs)) == (told.due, told.whole, told.packs)
    assert "folded at once" in told.reason
    assert not step("repack", *packs, rules={"max_pages": FOLD}).whole
    assert step("repack", *packs, *full(1), rules={"max_pages": FOLD}).whole
    assert not step("repack", *packs[2:], *full(9), rules={"max_pages": FOLD}).whole


def test_a_batch_of_a_backlog_is_bounded_by_objects_and_bytes() -> None:
    many = small(6 * BACKLOG_FOLDS * FOLD, object_count=50)
    assert 2 * BACKLOG_FOLDS * FOLD == len(step("repack", *many).packs)
    large = small(3 * FOLD, object_count=1, size=RULES.page_bytes // 2)
    told = step("repack", *large)
    assert (True, 2 * FOLD) == (told.whole, len(told.packs))


def test_explain_names_the_rule_of_a_backlog() -> None:
    packs = small(2 * FOLD, object_count=50)
    rules = RULES._replace(max_pages=FOLD - 1)
    said = plan_explain(inventory(*packs), rules=rules, now=NOW)
    assert ({"merge"}, 1) == ({one.action for one in said}, len({one.reason for one in said}))
    assert "so many that their pages would be folded at once (gpa.maxPages, 63)" in said[0].reason


@pytest.mark.parametrize("traffic", BACKLOGS, ids=lambda traffic: traffic.name)
def test_objects_of_a_backlog_are_written_once(traffic: Traffic) -> None:
    repository, _ = simulate(traffic, rules=RunRules(expire_grace=GRACE))
    assert (1, 0) == (repository.peak_writes, repository.folded)
    assert pack_limit(RunRules()) >= repository.live


# -- What it comes to


@pytest.mark.parametrize("traffic", TRAFFICS, ids=lambda traffic: traffic.name)
def test_over_many_pushes_little_is_written_and_few_packs_are_there(traffic: Traffic) -> None:
    """`python -m tests.bench simulate` plays 100,000 pushes of each."""
    repository, samples = simulate(traffic._replace(pushes=1500), rules=RunRules(expire_grace=GRACE))
    assert AMPLIFICATION_LIMIT >= max(sample.amplification for sample in samples)
    assert pack_limit(RunRules()) >= repository.peak_live


def test_upkeep_beside_a_large_pack_writes_no_index() -> None:
    beside_large = Traffic("", equal(37, 160_000), pushes=1500, imported_objects=10**7)
    repository, _ = simulate(beside_large, rules=RunRules(expire_grace=GRACE))
    assert 0 == repository.indexed


def test_the_index_is_estimated_well() -> None:
    found = inventory(*full(3))
    assert found.midx == IndexInfo("aa", 2000, 300, tuple(one.name for one in full(3)), (100, 100, 100))
    assert 300 * 28 < index_bytes(found) < 300 * 28 + 2000


# -- the batch


@pytest.mark.parametrize(
    ("verb", "packs", "rules"),
    [
        ("repack", small(100), {}),
        ("repack", small(70), {"auto_pages": 64}),
        ("fold", full(260), {}),
    ],
)
def test_a_dry_run_names_the_packs_that_are_merged(verb: str, packs: list[PackInfo], rules: dict[str, Any]) -> None:
    """In their order."""
    found = inventory(*packs)
    planned = step(verb, *packs, rules=rules)
    batch = batch_of(planned, found, RunRules(**rules))
    assert planned.due and planned.packs
    assert planned.packs == tuple(one.name for one in batch.batch)
    assert planned.whole is (batch.page_objects > RunRules().page_objects)


def test_packs_that_changed_since_the_step_was_planned_are_not_merged() -> None:
    packs = small(4)
    planned = RunStep("repack", True, "", tuple(one.name for one in packs))
    first, second, third, fourth = packs
    changed = inventory(first, second._replace(kept=True), third, fourth._replace(object_count=0))
    assert (first, third) == batch_of(planned, changed, RunRules()).batch
    gone = inventory(first, second._replace(superseded_since=1, referenced=0))
    assert () == batch_of(planned, gone, RunRules()).batch
