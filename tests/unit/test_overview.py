"""What status and explain say, decided from Inventories written by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventories import inventory, pack, unindexed
from metrics import parse_metrics

from gpa_maint.cli.explain import summarize
from gpa_maint.cli.prometheus import describe as describe_metrics
from gpa_maint.cli.status import describe
from gpa_maint.cli.ui import when
from gpa_maint.model.inventory import Inventory, PackInfo
from gpa_maint.model.json import run_result_from_json, to_json
from gpa_maint.model.plans import RunRules, Step
from gpa_maint.model.results import LeftOut, RunResult, StepResult
from gpa_maint.model.status import Cost, Explanation, LockFile, Status, StatusWarning, Surroundings
from gpa_maint.plan.expire import plan_expire
from gpa_maint.plan.explain import plan_explain
from gpa_maint.plan.run import FOLD, plan_run
from gpa_maint.plan.status import StatusFacts, count_kinds, make_status
from gpa_maint.plan.warn import find_warnings
from gpa_maint.setup.settings import SETTINGS
from gpa_maint.verbs.summary import describe_outcome, describe_run, describe_step, sum_steps

NOW = 2_000_000_000
DAY = 86400

IN_ORDER = Surroundings(
    git_version=(2, 60),
    settings=(
        ("gc.auto", "0"),
        ("receive.autogc", "false"),
        ("maintenance.auto", "false"),
        ("maintenance.geometric-repack.auto", "0"),
        ("receive.unpacklimit", "1"),
        ("fetch.unpacklimit", "1"),
    ),
    installed_at=NOW - DAY,
    counting_since=NOW - DAY,
    has_commit_graph=True,
)

SMALL_RULES = RunRules(page_objects=100, auto_pages=4, max_pages=FOLD, expire_grace=3600)


def young(name: str, **fields: Any) -> PackInfo:
    return pack(name, **({"mtime": NOW - DAY} | fields))


def around(**fields: Any) -> Surroundings:
    return IN_ORDER._replace(**fields)


def with_setting(key: str, value: str | None) -> Surroundings:
    values = dict(IN_ORDER.settings) | ({} if value is None else {key: value})
    return around(settings=tuple((name, text) for name, text in values.items() if value is not None or name != key))


def warnings(
    found: Inventory | None = None, surroundings: Surroundings = IN_ORDER, **more: Any
) -> tuple[StatusWarning, ...]:
    rules = more.pop("rules", RunRules())
    found = inventory(young("pack-a")) if found is None else found
    steps = plan_run(found, rules=rules, now=NOW).steps
    return find_warnings(found, surroundings, rules=rules, steps=steps, last_run=more.pop("last_run", None), now=NOW)


def status_of(found: Inventory, surroundings: Surroundings = IN_ORDER, **more: Any) -> Status:
    rules, now = more.pop("rules", SMALL_RULES), more.pop("now", NOW)
    values: dict[str, Any] = {"repository": "/r", "objects_dir": "/r/objects", "cost": None, "last_run": None}
    return make_status(found, StatusFacts(around=surroundings, **(values | more)), rules=rules, now=now)


# -- warnings


def test_where_all_is_in_order_there_is_no_warning() -> None:
    assert () == warnings()
    assert () == warnings(inventory())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("gc.auto", value) for value in ("0", "-1", "false")],
        *[("maintenance.auto", value) for value in ("false", "No", "OFF", "0", "")],
        ("receive.unpacklimit", "0"),
    ],
)
def test_ways_to_switch_it_off(key: str, value: str) -> None:
    assert () == warnings(surroundings=with_setting(key, value))


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        *[("gc.auto", value, "git-maintenance") for value in (None, "1", "6700", "1k", "yes")],
        *[("receive.autogc", value, "git-maintenance") for value in (None, "true", "1")],
        ("maintenance.geometric-repack.auto", None, "git-maintenance"),
        ("maintenance.geometric-repack.auto", "100", "git-maintenance"),
        ("receive.unpacklimit", None, "unpack-limit"),
        ("fetch.unpacklimit", "0", "unpack-limit"),
        ("fetch.unpacklimit", "2", "unpack-limit"),
    ],
)
def test_ways_to_leave_it_on(key: str, value: str | None, code: str) -> None:
    (warning,) = warnings(surroundings=with_setting(key, value))
    assert code == warning.code
    assert key in warning.text.lower()
    assert warning.hint.lower().startswith(f"git config {key} ")


def test_geometric_repacking_counts_from_the_git_on_that_has_it() -> None:
    before = with_setting("maintenance.geometric-repack.auto", None)
    assert () == warnings(surroundings=before._replace(git_version=(2, 53)))
    assert 1 == len(warnings(surroundings=before._replace(git_version=(2, 54))))


def test_what_install_sets_is_what_is_missed() -> None:
    """Both lists name the same keys, and each value that install sets is right."""
    values = {key.lower(): value for key, value, _ in SETTINGS}
    assert values == dict(IN_ORDER.settings)
    missed = warnings(surroundings=around(settings=()))
    assert [key for key, _, _ in SETTINGS] == [warning.text.split()[0] for warning in missed]


def test_locks_are_left_over_only_after_a_while() -> None:
    for name, seconds in (("multi-pack-index.lock", 600), ("maintenance.lock", 3600), ("gc.pid.lock", 600)):
        for age, count in ((0, 0), (seconds, 0), (seconds + 1, 1)):
            lock = LockFile(f"/r/{name}", NOW - age, ours=False)
            assert count == len(warnings(surroundings=around(locks=(lock,)))), (name, age)


def test_a_lock_of_ours_is_left_over_when_no_run_is_at_work() -> None:
    lock = LockFile("/r/objects/pack/multi-pack-index.lock", NOW, ours=True)
    assert 1 == len(warnings(surroundings=around(locks=(lock,))))
    assert () == warnings(surroundings=around(locks=(lock,), at_work="process 1 on h"))


def test_gc_pid_is_left_over_when_its_process_is_gone() -> None:
    for dead in (False, True):
        lock = LockFile("/r/gc.pid", NOW - DAY, ours=False, dead=dead)
        assert dead is bool(warnings(surroundings=around(locks=(lock,))))


@pytest.mark.parametrize(("count", "whom"), [(250, None), (251, "dulwich can"), (1001, "dulwich and libgit2 can")])
def test_more_packs_than_others_can_open(count: int, whom: str | None) -> None:
    full = [young(f"pack-{number}", object_count=2000, referenced=2000) for number in range(count)]
    dead = [young(f"pack-x{number}", referenced=0) for number in range(50)]
    texts = [warning.text for warning in warnings(inventory(*full, *dead)) if warning.code == "many-packs"]
    assert (whom is None) is (texts == [])
    assert whom is None or f"than {whom} read" in texts[0]


def test_the_hint_about_many_packs_depends_on_what_is_due() -> None:
    full = [young(f"pack-{number}", object_count=2000, referenced=2000) for number in range(300)]
    assert "git gpa run" == warnings(inventory(*full))[0].hint
    assert "git gpa run" not in warnings(inventory(*full), rules=RunRules(max_pages=400))[0].hint


@pytest.mark.parametrize(
    ("fields", "pack_age", "rules", "due"),
    [
        ({"installed_at": NOW - 91 * DAY}, 91, {}, True),
        ({"counting_since": NOW - 91 * DAY}, 91, {}, True),
        ({"installed_at": None, "counting_since": NOW - 91 * DAY}, 91, {}, True),
        ({"installed_at": NOW - 89 * DAY}, 91, {}, False),
        ({"installed_at": NOW - 91 * DAY}, 89, {}, False),
        ({"installed_at": NOW - 91 * DAY}, 91, {"precious_objects": True}, False),
        ({"installed_at": None, "counting_since": None}, 91, {}, False),
    ],
)
def test_pruning_is_due_when_nobody_did_it_for_90_days(
    fields: dict[str, Any], pack_age: int, rules: dict[str, Any], due: bool
) -> None:
    found = inventory(young("pack-a", mtime=NOW - pack_age * DAY), young("pack-b", mtime=1, kept=True))
    said = [warning.code for warning in warnings(found, around(**fields), rules=RunRules(**rules))]
    assert due is ("prune" in said)


def test_a_commit_graph_is_missed_from_many_objects_on() -> None:
    for count, missed in ((10_000, False), (10_001, True)):
        packs = young("pack-a", object_count=count, referenced=count), young("pack-b", object_count=9999, referenced=0)
        said = [warning.code for warning in warnings(inventory(*packs), around(has_commit_graph=False))]
        assert missed is ("no-commit-graph" in said)
        assert () == warnings(inventory(*packs))


def test_of_an_alternate_settings_say_nothing() -> None:
    other = Surroundings(is_own=False)
    assert () == warnings(inventory(young("pack-a", object_count=20_000, referenced=20_000)), other)


def test_one_pack_is_named_and_of_several_the_first() -> None:
    (one,) = warnings(inventory(young("pack-a"), gone={"pack-x": 1}))
    assert "the index names 'pack-x' that is gone" == one.text
    (two,) = warnings(inventory(young("pack-a"), gone={"pack-x": 1, "pack-y": 0}))
    assert "the index names 2 packs ('pack-x' and others) that are gone" == two.text


# -- the whole


def test_kinds_take_what_protects_a_pack_before_what_it_holds() -> None:
    packs = (
        young("pack-kept", kept=True, promisor=True, referenced=0),
        young("pack-promisor", promisor=True, cruft=True, object_count=None),
        young("pack-cruft", cruft=True, object_count=0),
        young("pack-unreadable", object_count=None, referenced=0),
        unindexed("pack-empty", object_count=0),
        young("pack-superseded", object_count=0, referenced=0),
        young("pack-large", object_count=101),
        young("pack-full", object_count=100),
        young("pack-bytes", size=300 << 20),
        young("pack-small"),
    )
    counted = {kind.name: kind.packs for kind in count_kinds(inventory(*packs), SMALL_RULES)}
    assert {"full": 2} == {name: count for name, count in counted.items() if count != 1}


def test_duplicates_are_what_the_index_and_merges_outside_it_tell() -> None:
    packs = (
        young("pack-a", object_count=10, referenced=7),
        young("pack-b", object_count=10, referenced=0),
        unindexed("pack-c", object_count=5, mtime=NOW),
        unindexed("pack-d", object_count=4, superseded_since=NOW - 60, mtime=NOW),
        young("pack-e", object_count=None, referenced=3),
    )
    found = status_of(inventory(*packs))
    assert (29, 3 + 10 + 4, 1) == (found.stored_objects, found.duplicates, found.unindexed_packs)


def test_superseded_packs_go_from_the_first_to_the_last() -> None:
    packs = [young(f"pack-{at}", referenced=0, superseded_since=NOW - at) for at in (10, 4000, 20)]
    found = status_of(inventory(*packs, young("pack-kept", referenced=0, kept=True)))
    assert (NOW - 400, NOW + 3590, 3000) == (found.first_due, found.last_due, found.reclaimable_bytes)
    assert "2.93 KiB to be freed, some past their grace, the last at " in describe(found)
    found = status_of(inventory(young("pack-a", referenced=0, superseded_since=1)))
    assert "1000 bytes to be freed, all past their grace" in describe(found)


LAST = RunResult(
    started=NOW - 60,
    seconds=1.5,
    steps=(StepResult("repack", "merged 2 packs", 1.2, 10, 20, 30), StepResult("expire", "deleted 1", 0.1)),
    stopped="time limit",
    error="cannot write",
    left_out=(LeftOut("pack-a", "12", "damaged"),),
    warnings=("one", "two"),
)


def test_a_run_comes_back_from_json_as_it_was() -> None:
    for run in (LAST, RunResult(1, 0.0, (), reason="nothing")):
        assert run == run_result_from_json(to_json(run))


COST = Cost(1, 2, 3, 4, 5, 6, 7, 2.75)
FULL_STATUS = status_of(
    inventory(*(young(f"pack-{number}") for number in range(9)), young("pack-x", referenced=0)),
    around(at_work="process 1 on h", settings=()),
    cost=COST,
    last_run=LAST,
)


@pytest.mark.parametrize("found", [FULL_STATUS, status_of(inventory())], ids=["full", "empty"])
def test_the_answer_fits_one_screen_and_says_every_part(found: Status) -> None:
    lines = describe(found).splitlines()
    own = [line for line in lines if not line.startswith(("warning: ", "hint: "))]
    assert len(own) < 30
    labels = {line[:14].strip() for line in lines if line[:14].strip()}
    assert {"repository", "packs", "index", "duplicates", "loose", "last run"} <= labels
    assert all(line[13] == " " for line in own[:6] if line)


def test_the_last_run_is_told_with_how_it_ended() -> None:
    lines = describe(FULL_STATUS).splitlines()
    at = lines.index(f"last run      {when(NOW - 60)}, 1.50 s")
    assert lines[at + 1 : at + 5] == [
        "  repack      merged 2 packs",
        "  expire      deleted 1",
        "              stopped: time limit",
        "              failed: cannot write",
    ]


def test_a_last_run_of_one_step_is_one_line() -> None:
    found = FULL_STATUS._replace(last_run=LAST._replace(steps=LAST.steps[:1], stopped="", error=""))
    assert f"last run      {when(NOW - 60)}, 1.50 s: merged 2 packs" in describe(found).splitlines()


MIB = 1 << 20
SUMS = {
    "loose": "packed 2048 loose objects in 2 steps -> 4 pages, 2.00 MiB",
    "index": "wrote the index 2 times, the last one with 1024 packs, 9 objects, 3.00 MiB",
    "repack": "merged 2048 packs in 2 steps, 6.00 MiB -> 4 pages, 18 objects, 2.00 MiB",
    "fold": "folded 2048 packs in 2 steps, 6.00 MiB -> 4 pages, 18 objects, 2.00 MiB",
    "expire": "deleted 2048 superseded pages in 2 steps, 14.00 MiB; ended the hold of 4 pages",
    "tidy": "removed 2048 files of killed git processes",
    "refs": "packed 2048 loose refs",
}


def done(verb: str) -> StepResult:
    made = StepResult(verb, "", 0.5, MIB, 5 * MIB, 7 * MIB, sources=1024, source_bytes=3 * MIB, pages=2, objects=9)
    return made._replace(text=describe_step(made))


def test_there_is_a_sum_of_each_kind_of_step() -> None:
    assert {step.verb for step in plan_run(inventory(), rules=RunRules(), now=NOW).steps} == SUMS.keys()


@pytest.mark.parametrize("verb", SUMS)
def test_steps_of_one_kind_are_told_in_one_line_with_sums(verb: str) -> None:
    other = done("tidy" if verb != "tidy" else "refs")
    assert (done(verb),) == sum_steps([done(verb)])
    found = sum_steps([done(verb), other, done(verb)])
    assert [SUMS[verb], other.text] == [step.text for step in found]
    assert (2, 1.0, 2 * MIB, 10 * MIB, 14 * MIB) == (found[0].times, *found[0][2:6])


def test_steps_that_an_earlier_version_recorded_are_told_in_one_line_too() -> None:
    old = [StepResult("fold", f"folded 64 packs, {number} MiB", 1.0) for number in range(3)]
    assert ["folded 64 packs, 2 MiB, and 2 steps like it before"] == [step.text for step in sum_steps(old)]


@pytest.mark.parametrize(
    ("stopped", "error", "expected"),
    [
        ("", "", "nothing to do: none is due"),
        ("SIGTERM", "", "stopped: SIGTERM"),
        ("", "cannot write\n'x': No space", "failed: cannot write 'x': No space"),
        ("SIGTERM", "cannot write", "stopped: SIGTERM; failed: cannot write"),
    ],
)
def test_a_run_without_a_step_says_how_it_ended_or_why_it_had_nothing_to_do(
    stopped: str, error: str, expected: str
) -> None:
    ended = RunResult(started=1, seconds=0.5, steps=(), reason="none is due", stopped=stopped, error=error)
    assert expected == describe_outcome(ended)
    assert f"{expected}; 0.50 s" == describe_run(ended)
    assert f"{expected}; warning: w; 0.50 s" == describe_run(ended._replace(warnings=("w",)))


@pytest.mark.parametrize("found", [FULL_STATUS, status_of(inventory())], ids=["full", "empty"])
def test_metrics_are_strictly_in_form(found: Status) -> None:
    values = {(name, *sorted(labels.values())): value for name, labels, value in parse_metrics(describe_metrics(found))}
    assert values["gpa_status_timestamp_seconds", "/r"] == NOW
    assert (found.cost is not None) is (("gpa_write_amplification", "/r") in values)
    assert (found.last_run is not None) is (("gpa_last_run_failed", "/r") in values)


def test_with_an_unreadable_index_nothing_is_said_of_what_is_due() -> None:
    found = status_of(inventory(unindexed("pack-a")), unreadable_index=StatusWarning("unreadable-index", "bad", "x"))
    assert ((), "unreadable-index") == (found.steps, found.warnings[0].code)
    assert "step_due" not in describe_metrics(found)


# -- explain


def test_many_packs_are_told_of_by_rule() -> None:
    steps = [
        *(Step(f"pack-{number}", "merge", f"{number} of 9 objects; too many") for number in range(5)),
        *(Step(f"pack-w{number}", "wait", "superseded", NOW + number) for number in range(4)),
        *(Step(f"pack-l{number}", "leave", f"large pack of {number} objects; few") for number in range(4)),
        *(Step(f"pack-k{number}", "leave", "kept (.keep)") for number in range(3)),
    ]
    assert summarize(Explanation(tuple(steps))).splitlines() == [
        "merge  5 packs: too many",
        f"wait   4 packs: superseded; the first goes at {when(NOW)}, the last at {when(NOW + 3)}",
        "leave  4 packs: large pack; few",
        *(f"leave  pack-k{number}: kept (.keep)" for number in range(3)),
        "16 packs; --all tells of each, the oldest first",
    ]


def explained(*packs: PackInfo, rules: RunRules = SMALL_RULES) -> dict[str, tuple[str, str]]:
    steps = plan_explain(inventory(*packs), rules=rules, now=NOW)
    return {step.pack: (step.action, step.reason) for step in steps}


def test_packs_are_explained_the_oldest_first() -> None:
    assert ["pack-c", "pack-a", "pack-b"] == list(explained(pack("pack-b"), pack("pack-c", mtime=1), pack("pack-a")))


def test_a_small_pack_waits_for_others() -> None:
    large = pack("pack-large", object_count=500, referenced=500)
    assert ("wait", "small, and the only one") == explained(large, unindexed("pack-a"))["pack-a"]
    reason = "small; together 2 hold 20 objects, fewer than gpa.pageObjects (100), and 3 are not more than "
    found = explained(large, unindexed("pack-a"), unindexed("pack-b"), pack("pack-c"))
    assert ("wait", f"{reason}gpa.autoPages (4)") == found["pack-a"] == found["pack-b"]
    assert ("wait", "small; an index names it: merged when that is written anyway") == found["pack-c"]


def test_a_small_pack_is_merged_or_waits_for_the_next_batch() -> None:
    found = explained(*(pack(f"pack-{number}", size=2**number) for number in range(3, 9)), pack("pack-x", size=1 << 20))
    merged = {name for name, (action, _) in found.items() if action == "merge"}
    assert {"pack-3", "pack-4"} <= merged
    assert "merge" != found["pack-x"][0]
    assert found["pack-x"][1].startswith("small, but not in this batch; 7 small packs, ")
    assert found["pack-3"][1].startswith("10 of 10 objects; 7 small packs, ")


def test_full_pages_are_left_or_folded() -> None:
    few = explained(pack("pack-a", object_count=100), pack("pack-b", object_count=101))
    assert ("leave", f"full page; 2 full pages, not more than gpa.maxPages ({FOLD})") == few["pack-a"]
    assert few["pack-b"][1].startswith("large pack of 101 objects; ")
    many = explained(*(pack(f"pack-{number:02}", object_count=100, mtime=number) for number in range(FOLD + 2)))
    assert {"fold": FOLD, "leave": 2} == Counter(action for action, _ in many.values())
    assert many[f"pack-{FOLD}"][1].startswith("full page; others are folded first: 66 full pages, ")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"referenced": 0, "superseded_since": NOW - 4000}, ("delete", "superseded, past its grace", NOW - 400)),
        ({"referenced": 0, "superseded_since": NOW - 400}, ("wait", "superseded", NOW + 3200)),
        ({"referenced": 0, "kept": True}, ("leave", "kept (.keep)", None)),
        ({"kept": True}, ("leave", "kept (.keep)", None)),
        ({"promisor": True}, ("leave", "promisor pack", None)),
        ({"cruft": True}, ("leave", "cruft pack", None)),
        ({"object_count": None}, ("leave", "its idx cannot be read", None)),
        ({"object_count": 0, "referenced": None}, ("leave", "empty", None)),
    ],
)
def test_each_rule_is_named(fields: dict[str, Any], expected: tuple[str, str, int | None]) -> None:
    (step,) = plan_explain(inventory(pack("pack-a", **fields)), rules=SMALL_RULES, now=NOW)
    assert expected == (step.action, step.reason, step.due)


def test_nothing_is_deleted_where_objects_are_precious() -> None:
    rules = SMALL_RULES._replace(precious_objects=True)
    found = explained(pack("pack-a", referenced=0, superseded_since=1), rules=rules)
    assert ("leave", "superseded; precious-objects repository") == found["pack-a"]


counts = st.sampled_from([0, 1, 10, 50, 99, 100, 101, 7000])
any_pack = st.builds(
    PackInfo,
    name=st.uuids().map(lambda number: f"pack-{number.hex}"),
    size=st.sampled_from([100, 1000, 100_000, 300 << 20]),
    mtime=st.integers(1, 1000),
    object_count=st.none() | counts,
    referenced=st.none() | counts,
    kept=st.sampled_from([False, False, False, True]),
    superseded_since=st.none() | st.sampled_from([NOW - 4000, NOW - 10]),
    doomed=st.booleans(),
    returned=st.booleans(),
)


@given(packs=st.lists(any_pack, max_size=30))
def test_explain_says_what_the_plans_say(packs: list[PackInfo]) -> None:
    found = inventory(*packs)
    steps = plan_explain(found, rules=SMALL_RULES, now=NOW)
    assert sorted(pack.name for pack in packs) == sorted(step.pack for step in steps)

    def said(action: str) -> set[str]:
        return {step.pack for step in steps if step.action == action}

    plan = plan_run(found, rules=SMALL_RULES, now=NOW)
    assert set(plan.step("repack").packs) == said("merge")
    assert set(plan.step("fold").packs) == said("fold")
    expire = plan_expire(found, grace_seconds=3600, now=NOW)
    assert {one.name for one in expire.doomed} == said("delete")
    assert {one.name for one in expire.waiting} <= said("wait")
