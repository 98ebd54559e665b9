"""The laws of merging data branches: drivers on any values, and any history of replicas that sync in any order."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import fsck, git

from gpa_maint.databranch import DataBranch, drivers
from gpa_maint.databranch.drivers import BUILT_IN, format_stamp, stamp_ns
from gpa_maint.databranch.layout import layout_named, record_in, records_of, table_of

WORDS = st.sampled_from([b"a", b"b", b"c"])
STAMPS = st.builds(lambda ns: format_stamp(ns), st.integers(0, 5) | st.integers(10**18, 10**18 + 300))
LOG_LINES = st.builds(lambda *parts: b" ".join(parts), STAMPS, st.sampled_from([b"0", b"1", b"X"]), WORDS) | WORDS
COUNTS = st.builds(lambda who, n, m: b"%s %d %d" % (who, n, m), WORDS, st.integers(0, 9), st.integers(0, 9))


def lines_of(line: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(line, max_size=6).map(lambda found: b"".join(one + b"\n" for one in found))


JSON = st.fixed_dictionaries(
    {},
    optional={"a": st.integers(0, 2), "b": st.none(), "c": st.dictionaries(st.sampled_from("xy"), st.integers(0, 2))},
)
"""Each field has the same kind everywhere: json is associative only there."""

VALUES: dict[str, st.SearchStrategy[bytes]] = {
    "latest": st.binary(max_size=3),
    "union": lines_of(WORDS),
    "set": lines_of(WORDS),
    "presence": lines_of(LOG_LINES),
    "newest": lines_of(LOG_LINES),
    "counter": lines_of(COUNTS),
    "json": JSON.map(lambda value: json.dumps(value).encode()),
}
SYMMETRIC = ("union", "set", "presence", "newest", "counter")
"""These look at the values alone. latest and json also ask which side has the newer commit, the same one everywhere."""

ASSOCIATIVE = ("latest", "union", "presence", "newest", "counter")
NO_BASE_ASSOCIATIVE = (*ASSOCIATIVE, "set", "json")


@pytest.mark.parametrize("name", SYMMETRIC)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_driver_does_not_ask_which_side_is_which(name: str, data: st.DataObject) -> None:
    driver, values = BUILT_IN[name], VALUES[name]
    base, one, two = data.draw(st.none() | values), data.draw(values), data.draw(values)
    assert driver(base, one, two) == driver(base, two, one)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_driver_is_idempotent(name: str, data: st.DataObject) -> None:
    """A result merged with itself, or again with a side that it came from, is the same."""
    driver, values = BUILT_IN[name], VALUES[name]
    base, one, two = data.draw(st.none() | values), data.draw(values), data.draw(values)
    result = driver(base, one, two)
    assert result == driver(base, result, result)
    if name in ASSOCIATIVE:
        assert result == driver(None, two, result)


@pytest.mark.parametrize("name", NO_BASE_ASSOCIATIVE)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_driver_without_a_base_is_associative(name: str, data: st.DataObject) -> None:
    driver, values = BUILT_IN[name], VALUES[name]
    one, two, three = data.draw(values), data.draw(values), data.draw(values)
    assert driver(None, driver(None, one, two), three) == driver(None, one, driver(None, two, three))


@pytest.mark.parametrize("name", ASSOCIATIVE)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_driver_that_uses_no_base_is_associative_with_any(name: str, data: st.DataObject) -> None:
    driver, values = BUILT_IN[name], VALUES[name]
    base, one, two, three = (data.draw(values) for _ in range(4))
    assert driver(base, driver(base, one, two), three) == driver(base, one, driver(base, two, three))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**18))
def test_timestamps_are_exact(ns: int) -> None:
    assert ns == stamp_ns(format_stamp(ns))


@pytest.mark.parametrize(
    ("one", "two"),
    [(b"1796070180.9829968s", b"1796070180.9829969s"), (b"1796070180s", b"1796070180.000000001s"), (b"9s", b"10s")],
)
def test_neighbouring_timestamps_are_told_apart(one: bytes, two: bytes) -> None:
    log = drivers.presence(None, one + b" 1 x\n", two + b" 0 x\n")
    assert two + b" 0 x\n" == log


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=4), st.binary(max_size=6), max_size=6))
def test_a_table_has_its_keys_and_values(records: dict[str, bytes]) -> None:
    blob = table_of(records)
    assert records == records_of(blob)
    assert records == {key: record_in(blob, key) for key in records}


@pytest.mark.parametrize("name", ["hash/1", "hash/3"])
@settings(max_examples=300, deadline=None)
@given(key=st.text(max_size=40) | st.text(alphabet=".git~1 %ab", max_size=9) | st.text(min_size=90, max_size=300))
def test_the_path_of_a_key_leads_back_to_it(name: str, key: str) -> None:
    layout = layout_named(name)
    assert key == layout.key(b"/".join(layout.path(key)))


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 2), st.sampled_from("abcd"), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(0, 2), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.just("sync"), st.integers(0, 2), st.integers(0, 2), st.just(0)),
    ),
    max_size=12,
)


@pytest.mark.parametrize("layout", ["hash/1", "table/1", "path"])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(operations=OPERATIONS)
def test_replicas_that_sync_in_any_order_end_with_one_commit(layout: str, operations: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"r{number}" for number in range(3)]
        for path in paths:
            git(path.parent, "init", "--quiet", "--bare", path.name)
        branches = [DataBranch(path, layout=layout, merge="never") for path in paths]
        rules = [("a", "union"), ("b", "set"), ("c", "counter")]
        branches[0].set_rules(rules)

        def sync(here: int, there: int) -> None:
            if here != there and branches[there].head:
                git(paths[here], "fetch", "--quiet", str(paths[there]), f"+meta:refs/remotes/r{there}/meta")
                branches[here].merge()

        for what, here, key, value in operations:
            if what == "sync":
                sync(here, key)
            else:
                with branches[here].transaction() as change:
                    change.set(key, b"w%d %d 0\n" % (here, value)) if what == "set" else change.delete(key)
        for _ in range(2):
            for here in range(3):
                for there in range(3):
                    sync(here, there)
        sync(0, 2), sync(1, 0), sync(2, 1), sync(0, 2), sync(1, 2)
        assert 1 == len({branch.head for branch in branches})
        for branch in branches:
            branch.close()
        fsck(paths[0])
