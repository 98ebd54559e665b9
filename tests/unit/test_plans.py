"""Every rule of the plans, from Inventories written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from inventories import inventory, pack, unindexed

from gpa_maint.model.inventory import Inventory
from gpa_maint.model.plans import IndexPlan, IndexScope, RepackPlan
from gpa_maint.plan.expire import plan_expire
from gpa_maint.plan.repack import plan_repack
from gpa_maint.plan.write import plan_write

PROTECTIONS = ["kept", "promisor", "cruft"]


def order(plan: IndexPlan) -> list[str]:
    """The packs whose idx is read, best first, with "(old)" where the old index stands."""
    ranked = {source.rank: source.name for source in plan.sources if source.from_idx}
    assert plan.old_rank not in ranked
    ranked[plan.old_rank] = "(old)"
    return [ranked[rank] for rank in sorted(ranked)]


def chosen(plan: RepackPlan) -> list[str]:
    return [one.name for one in plan.batch]


def reasons(plan: RepackPlan) -> dict[str, str]:
    return {step.pack: step.reason for step in plan.steps}


# -- write


def test_write_names_every_pack_once_in_the_order_of_their_file_names() -> None:
    packs = [unindexed(name) for name in ("pack-b", "pack-a", "pack-a-b", "pack-a.b")]
    plan = plan_write(inventory(*packs))
    assert ["pack-a-b", "pack-a.b", "pack-a", "pack-b"] == [source.name for source in plan.sources]


def test_write_does_nothing_without_packs() -> None:
    plan = plan_write(inventory())
    assert (True, "no pack files to index") == (plan.is_empty, plan.reason)


def test_write_does_nothing_when_all_packs_are_empty() -> None:
    assert plan_write(inventory(unindexed("pack-a", object_count=0))).is_empty


def test_write_indexes_a_pack_of_unknown_size() -> None:
    assert not plan_write(inventory(unindexed("pack-a", object_count=None))).is_empty


def test_write_leaves_an_index_that_names_the_same_packs() -> None:
    plan = plan_write(inventory(pack("pack-a"), pack("pack-b")))
    assert (True, "the index names all 2 packs already") == (plan.is_empty, plan.reason)
    assert "the index names the only pack already" == plan_write(inventory(pack("pack-a"))).reason


def test_write_forced_writes_the_same_packs_again() -> None:
    assert 2 == len(plan_write(inventory(pack("pack-a"), pack("pack-b")), force=True).sources)


def test_write_is_based_on_the_index_that_was_seen() -> None:
    assert "1234" == plan_write(inventory(pack("pack-a"), unindexed("pack-b"), trailer="1234")).based_on
    assert None is plan_write(inventory(unindexed("pack-a"))).based_on


def test_a_new_pack_beats_the_old_index_and_the_younger_new_one_the_older() -> None:
    plan = plan_write(inventory(pack("pack-old"), unindexed("pack-a", mtime=5), unindexed("pack-b", mtime=6)))
    assert ["pack-b", "pack-a", "(old)"] == order(plan)


def test_of_two_equally_old_packs_the_first_in_the_directory_wins() -> None:
    plan = plan_write(inventory(unindexed("pack-z"), unindexed("pack-a"), unindexed("pack-m")))
    assert ["pack-z", "pack-a", "pack-m", "(old)"] == order(plan)


def test_what_the_old_index_says_of_a_pack_is_taken_without_reading_its_idx() -> None:
    plan = plan_write(inventory(pack("pack-old"), unindexed("pack-new")))
    assert plan.use_old
    assert {"pack-old": False, "pack-new": True} == {source.name: source.from_idx for source in plan.sources}


def test_without_the_old_index_every_idx_is_read() -> None:
    plan = plan_write(inventory(pack("pack-a", mtime=1), pack("pack-b", mtime=2)), ignore_old=True)
    assert not plan.use_old
    assert ["pack-b", "pack-a", "(old)"] == order(plan)


def test_pages_beat_even_younger_packs_and_their_sources_win_only_what_is_left() -> None:
    packs = (pack("pack-old"), unindexed("pack-page"), unindexed("pack-young", mtime=900), unindexed("pack-source"))
    plan = plan_write(inventory(*packs), IndexScope(new_pages=["pack-page"], merged=["pack-source"]))
    assert ["pack-page", "pack-young", "(old)", "pack-source"] == order(plan)


def test_a_held_page_wins_and_no_other_pack_takes_winners_from_the_old_index() -> None:
    """I2, I14. `git repack` leaves out what the page has, and deletes the other pack, in which a reader may look."""
    page, stock = unindexed("pack-page", held="merged", mtime=5), unindexed("pack-stock", mtime=6)
    assert ["pack-page", "(old)", "pack-stock"] == order(plan_write(inventory(pack("pack-old"), page, stock)))
    named = pack("pack-page", held="merged")
    assert ["(old)", "pack-stock"] == order(plan_write(inventory(named, stock)))
    assert ["pack-stock", "(old)"] == order(plan_write(inventory(pack("pack-page"), stock)))


def test_beside_git_repack_a_pack_wins_that_was_made_since_it_began() -> None:
    """I5. Somebody has written an object of the older one again, which sets its mtime."""
    packs = (unindexed("pack-touched", mtime=900, made_ns=5), unindexed("pack-stock", mtime=100, made_ns=6))
    assert ["pack-touched", "pack-stock", "(old)"] == order(plan_write(inventory(*packs)))
    assert ["pack-stock", "(old)", "pack-touched"] == order(plan_write(inventory(*packs), since_ns=6))


def test_beside_git_repack_an_older_pack_takes_nothing_from_the_index() -> None:
    """I5. `git repack --write-midx` has named what it made, and is about to delete all that it did not name."""
    packs = (pack("pack-stock", made_ns=6), unindexed("pack-doomed", made_ns=5), unindexed("pack-pushed", made_ns=7))
    plan = plan_write(inventory(*packs), since_ns=6)
    assert ["pack-pushed", "(old)", "pack-doomed"] == order(plan)


def test_beside_git_repack_a_larger_pack_wins_over_a_smaller_one() -> None:
    """I5. --geometric deletes the smaller ones, and does not copy what a larger one has."""
    small, large = unindexed("pack-small", object_count=3, made_ns=5), unindexed("pack-large", made_ns=4)
    assert ["(old)", "pack-large", "pack-small"] == order(plan_write(inventory(small, large), since_ns=6))


@pytest.mark.parametrize("fields", [{"held": "new"}, {"held": "merged"}, {"kept": True}])
def test_beside_git_repack_a_pack_with_a_keep_wins(fields: dict[str, Any]) -> None:
    """I5, I14. git deletes none that had one when it began."""
    packs = (unindexed("pack-large", object_count=90, made_ns=5), unindexed("pack-page", made_ns=4, **fields))
    assert ["pack-page", "(old)", "pack-large"] == order(plan_write(inventory(*packs), since_ns=6))


def test_a_pack_that_a_killed_expire_was_about_to_delete_wins_only_what_is_left() -> None:
    plan = plan_write(inventory(pack("pack-page"), unindexed("pack-doomed", doomed=True), unindexed("pack-new")))
    assert ["pack-new", "(old)", "pack-doomed"] == order(plan)


def test_the_preferred_pack_beats_all() -> None:
    packs = (pack("pack-a"), unindexed("pack-page"), unindexed("pack-young", mtime=900))
    plan = plan_write(inventory(*packs), IndexScope(preferred="pack-a", new_pages=["pack-page"]))
    assert ["pack-a", "pack-page", "pack-young", "(old)"] == order(plan)


@pytest.mark.parametrize("suffix", ["", ".idx", ".pack"])
def test_the_preferred_pack_is_named_with_or_without_suffix(suffix: str) -> None:
    plan = plan_write(inventory(unindexed("pack-a"), unindexed("pack-b")), IndexScope(preferred=f"pack-b{suffix}"))
    assert ["pack-b", "pack-a", "(old)"] == order(plan)
    assert () == plan.warnings


def test_a_preferred_pack_that_the_index_named_already_is_told_of_in_the_plan() -> None:
    """I6: its winners move to a pack that the index named, so that expire has to know."""
    found = inventory(pack("pack-a"), unindexed("pack-b"))
    assert "pack-a" == plan_write(found, IndexScope(preferred="pack-a")).preferred
    assert None is plan_write(found, IndexScope(preferred="pack-b")).preferred


def test_an_unknown_preferred_pack_is_a_warning() -> None:
    plan = plan_write(inventory(unindexed("pack-a")), IndexScope(preferred="pack-x.idx"))
    assert ("unknown preferred pack: 'pack-x.idx'",) == plan.warnings
    assert not plan.is_empty


def test_only_names_these_packs_and_no_others() -> None:
    found = inventory(unindexed("pack-a"), unindexed("pack-b"), unindexed("pack-c"))
    assert ["pack-a", "pack-c"] == [
        source.name for source in plan_write(found, IndexScope(only=["pack-c", "pack-a"])).sources
    ]


def test_without_leaves_packs_out_and_looks_for_their_objects_in_all_that_stay() -> None:
    found = inventory(pack("pack-a", mtime=1), pack("pack-b", mtime=2), pack("pack-gone", referenced=3))
    plan = plan_write(found, IndexScope(without=["pack-gone"]))
    assert ["pack-a", "pack-b"] == [source.name for source in plan.sources]
    assert ["(old)", "pack-b", "pack-a"] == order(plan)


def test_without_a_pack_that_wins_nothing_no_idx_is_read() -> None:
    plan = plan_write(inventory(pack("pack-a"), pack("pack-gone", referenced=0)), IndexScope(without=["pack-gone"]))
    assert ["(old)"] == order(plan)


def test_a_pack_that_vanished_is_dropped_with_a_warning_and_its_objects_are_looked_for() -> None:
    plan = plan_write(inventory(pack("pack-a"), gone={"pack-x": 4}))
    assert ("pack 'pack-x' is named by the index and gone; dropped",) == plan.warnings
    assert ["(old)", "pack-a"] == order(plan)


def test_an_idx_without_pack_is_a_warning_as_git_gives_it_unless_packs_were_named() -> None:
    found = inventory(unindexed("pack-a"), idx_without_pack=("pack-x",))
    assert ("failed to add packfile 'pack-x.idx': no such pack",) == plan_write(found).warnings
    assert () == plan_write(found, IndexScope(only=["pack-a"])).warnings


def test_an_index_of_no_packs_is_not_planned_for() -> None:
    assert plan_write(inventory(pack("pack-a")), IndexScope(without=["pack-a"])).is_empty
    assert plan_write(inventory(pack("pack-a")), IndexScope(only=[])).is_empty


# -- repack


def test_repack_takes_all_small_packs_oldest_first() -> None:
    found = inventory(pack("pack-c", mtime=3), pack("pack-a", mtime=1), unindexed("pack-b", mtime=2))
    plan = plan_repack(found, batch_bytes=0)
    assert ["pack-a", "pack-b", "pack-c"] == chosen(plan)
    assert (30, 3000, 1) == (plan.object_count, plan.expected_bytes, plan.page_count)
    assert ("aa", "") == (plan.based_on, plan.reason)


@pytest.mark.parametrize("order_of", [("pack-a", "pack-b"), ("pack-b", "pack-a")])
def test_repack_of_equally_old_packs_does_not_depend_on_the_directory(order_of: tuple[str, str]) -> None:
    assert ["pack-a", "pack-b"] == chosen(plan_repack(inventory(*map(pack, order_of)), batch_bytes=0))


def test_repack_needs_two_packs() -> None:
    one = plan_repack(inventory(pack("pack-a"), pack("pack-k", kept=True)), batch_bytes=0)
    assert ([], "only one pack is to be merged") == (chosen(one), one.reason)
    assert {"pack-a": "only one pack is to be merged", "pack-k": "kept (.keep)"} == reasons(one)
    assert (0, 0) == (one.object_count, one.expected_bytes)
    none = plan_repack(inventory(), batch_bytes=0)
    assert ([], "no small packs to merge") == (chosen(none), none.reason)


def test_a_batch_ends_when_expected_sizes_reach_it() -> None:
    found = inventory(*(pack(f"pack-{number}", mtime=number) for number in range(5)))
    assert ["pack-0", "pack-1"] == chosen(plan_repack(found, batch_bytes=2000))
    plan = plan_repack(found, batch_bytes=2001)
    assert ["pack-0", "pack-1", "pack-2"] == chosen(plan)
    assert "the batch is full" == reasons(plan)["pack-3"]


def test_a_pack_as_large_as_the_batch_is_passed_over_and_younger_ones_taken() -> None:
    found = inventory(pack("pack-0", mtime=0, size=5000), pack("pack-1", mtime=1), pack("pack-2", mtime=2))
    plan = plan_repack(found, batch_bytes=5000)
    assert ["pack-1", "pack-2"] == chosen(plan)
    assert "expected size of 5000 bytes is not below the batch size" == reasons(plan)["pack-0"]


def test_expected_size_is_the_share_that_the_index_points_to() -> None:
    found = inventory(pack("pack-0", mtime=0, referenced=3), pack("pack-1", mtime=1))
    plan = plan_repack(found, batch_bytes=0)
    assert (300 + 1000, 13) == (plan.expected_bytes, plan.object_count)
    assert "3 of 10 objects, expected 300 bytes" == reasons(plan)["pack-0"]


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_repack_never_takes_a_protected_pack(protection: str) -> None:
    """I8."""
    plan = plan_repack(inventory(pack("pack-p", **{protection: True}), pack("pack-a"), pack("pack-b")), batch_bytes=0)
    assert ["pack-a", "pack-b"] == chosen(plan)
    assert protection in reasons(plan)["pack-p"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"object_count": None}, "its idx cannot be read"),
        ({"object_count": 0, "referenced": None}, "empty"),
        ({"referenced": 0}, "superseded; expire will delete it"),
        ({"referenced": None, "doomed": True}, "superseded; expire will delete it"),
        ({"object_count": 2000}, "full page"),
        ({"object_count": 2001}, "large pack of 2001 objects"),
        ({"size": (256 << 20) + 1}, "full page by bytes"),
    ],
)
def test_repack_leaves_a_pack_that_is_not_small(fields: dict[str, int], reason: str) -> None:
    plan = plan_repack(inventory(pack("pack-x", **fields), pack("pack-a"), pack("pack-b")), batch_bytes=0)
    assert ["pack-a", "pack-b"] == chosen(plan)
    assert reason == reasons(plan)["pack-x"]


def test_repack_takes_what_just_fits_a_page() -> None:
    found = inventory(pack("pack-a", object_count=1999), pack("pack-b", size=256 << 20))
    assert ["pack-a", "pack-b"] == chosen(plan_repack(found, batch_bytes=0))


def test_page_objects_decides_what_is_small_and_how_many_pages_come_out() -> None:
    found = inventory(*(pack(f"pack-{number}", mtime=number) for number in range(4)), pack("pack-l", object_count=15))
    plan = plan_repack(found, batch_bytes=0, page_objects=15)
    assert ["pack-0", "pack-1", "pack-2", "pack-3"] == chosen(plan)
    assert 3 == plan.page_count
    assert 4 == len(chosen(plan_repack(found, batch_bytes=0, page_objects=11)))
    assert [] == chosen(plan_repack(found, batch_bytes=0, page_objects=10))


def test_repack_says_of_each_pack_what_becomes_of_it() -> None:
    found = inventory(pack("pack-a"), pack("pack-b"), pack("pack-k", kept=True), unindexed("pack-u"))
    actions = {step.pack: step.action for step in plan_repack(found, batch_bytes=0).steps}
    assert {"pack-a": "merge", "pack-b": "merge", "pack-k": "leave", "pack-u": "merge"} == actions


# -- expire


def dead(name: str, since: int | None, **fields: bool) -> Inventory:
    return inventory(pack("pack-a"), pack(name, referenced=0, superseded_since=since, **fields))


def test_expire_dooms_a_page_whose_grace_is_over() -> None:
    plan = plan_expire(dead("pack-x", 1000), grace_seconds=60, now=1060)
    assert ["pack-x"] == [one.name for one in plan.doomed]
    assert ((), None, "", "aa") == (plan.waiting, plan.next_due, plan.reason, plan.based_on)


def test_expire_waits_until_the_last_second() -> None:
    plan = plan_expire(dead("pack-x", 1000), grace_seconds=60, now=1059)
    assert ((), 1060) == (plan.doomed, plan.next_due)
    assert ["pack-x"] == [one.name for one in plan.waiting]
    assert ["superseded, due in 1 seconds"] == [step.reason for step in plan.steps]
    assert "wait for the end of their grace" in plan.reason


def test_grace_begins_now_for_a_page_that_is_seen_superseded_for_the_first_time() -> None:
    assert 1060 == plan_expire(dead("pack-x", None), grace_seconds=60, now=1000).next_due
    assert 1 == len(plan_expire(dead("pack-x", None), grace_seconds=0, now=1000).doomed)


def test_the_next_due_page_is_the_first_of_those_that_wait() -> None:
    found = inventory(*(pack(f"pack-{since}", referenced=0, superseded_since=since) for since in (50, 20, 90)))
    plan = plan_expire(found, grace_seconds=100, now=100)
    assert (120, 3) == (plan.next_due, len(plan.waiting))


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_expire_never_dooms_a_protected_pack(protection: str) -> None:
    """I8."""
    plan = plan_expire(dead("pack-x", 1, **{protection: True}), grace_seconds=0, now=1000)
    assert ((), ()) == (plan.doomed, plan.waiting)
    assert [("pack-x", "leave")] == [(step.pack, step.action) for step in plan.steps]


def test_expire_leaves_packs_that_win_something_or_are_not_in_the_index() -> None:
    plan = plan_expire(inventory(pack("pack-a", referenced=1), unindexed("pack-u")), grace_seconds=0, now=1000)
    assert ((), (), "no page is superseded") == (plan.doomed, plan.waiting, plan.reason)


def test_expire_dooms_again_what_a_killed_expire_had_proved_superseded() -> None:
    found = inventory(pack("pack-a"), unindexed("pack-x", doomed=True))
    assert ["pack-x"] == [one.name for one in plan_expire(found, grace_seconds=3600, now=1000).doomed]


def test_a_doomed_page_that_the_index_names_again_is_an_ordinary_one() -> None:
    found = inventory(
        pack("pack-a"), pack("pack-x", doomed=True, referenced=2), pack("pack-y", doomed=True, referenced=0)
    )
    plan = plan_expire(found, grace_seconds=3600, now=1000)
    assert ((), ["pack-y"]) == (plan.doomed, [one.name for one in plan.waiting])


@pytest.mark.parametrize(
    ("fields", "is_over"),
    [
        ({"held": "new", "mtime": 900}, False),
        ({"held": "new", "mtime": 899}, True),
        ({"held": "new", "mtime": 1, "held_for": 1}, False),
        ({"held": "merged", "mtime": 999}, True),
        ({"held": "merged", "mtime": 1, "held_for": 2}, False),
        ({"held": "merged", "mtime": 1000 - 14 * 86400, "held_for": 2}, True),
        ({"held": "new", "mtime": 1000 - 14 * 86400, "held_for": 2}, True),
        ({"held": "", "mtime": 1}, False),
        ({"kept": True, "mtime": 1}, False),
    ],
)
def test_a_hold_ends_when_its_page_is_old_and_its_sources_are_gone(fields: dict[str, Any], is_over: bool) -> None:
    """I14"""
    plan = plan_expire(inventory(pack("pack-a", **fields)), grace_seconds=0, keep_new=101, now=1000)
    assert (("pack-a",) if is_over else ()) == plan.released


@pytest.mark.parametrize("held", ["new", "merged"])
def test_a_held_page_is_merged_and_expired_like_any_other(held: str) -> None:
    """I14"""
    merge = plan_repack(inventory(unindexed("pack-a", held=held), unindexed("pack-b", held=held)), batch_bytes=0)
    assert 2 == len(merge.batch)
    found = inventory(pack("pack-a"), pack("pack-x", referenced=0, superseded_since=1, held=held))
    assert ["pack-x"] == [one.name for one in plan_expire(found, grace_seconds=0, now=1000).doomed]


def test_expire_without_an_index_has_nothing_to_do() -> None:
    plan = plan_expire(inventory(unindexed("pack-a")), grace_seconds=0, now=1000)
    assert ("there is no combined index", None) == (plan.reason, plan.based_on)
