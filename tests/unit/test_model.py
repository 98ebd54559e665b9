"""Values as JSON: a saved Inventory is a complete bug report."""

from __future__ import annotations

import inspect
import json
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventories import inventory, pack, unindexed

from gpa_maint.model import inventory as found_values
from gpa_maint.model import plans, results
from gpa_maint.model.inventory import Inventory, PackInfo
from gpa_maint.model.json import FORMAT_VERSION, inventory_from_json, to_json
from gpa_maint.model.plans import Step
from gpa_maint.plan.expire import plan_expire
from gpa_maint.plan.repack import plan_repack
from gpa_maint.plan.write import plan_write

KINDS = [
    kind
    for module in (found_values, plans, results)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if hasattr(kind, "_fields") and kind.__module__ == module.__name__
]

FULL = inventory(
    pack("pack-a", kept=True, superseded_since=7),
    unindexed("pack-b", object_count=None, cruft=True, doomed=True),
    gone={"pack-x": 3},
    idx_without_pack=("pack-y",),
    bitmaps=("multi-pack-index-aa.bitmap",),
    has_chain=True,
    temporary_files=2,
)


@pytest.mark.parametrize("found", [FULL, inventory()], ids=["full", "empty"])
def test_an_inventory_comes_back_from_json_as_it_was(found: Inventory) -> None:
    back = inventory_from_json(to_json(found))
    assert found == back
    assert all(type(one) is PackInfo for one in back.packs)
    assert hash(found) == hash(back)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
numbers = st.integers(0, 1 << 63)
pack_infos = st.builds(
    PackInfo,
    name=names,
    size=numbers,
    mtime=st.integers(-(1 << 40), 1 << 40),
    object_count=st.none() | numbers,
    referenced=st.none() | numbers,
    kept=st.booleans(),
    superseded_since=st.none() | numbers,
)


@given(packs=st.lists(pack_infos, max_size=4), others=st.lists(names, max_size=3))
def test_any_inventory_comes_back_from_json_as_it_was(packs: list[PackInfo], others: list[str]) -> None:
    found = Inventory(object_format="sha256", midx=None, packs=tuple(packs), vanished=tuple(others))
    assert found == inventory_from_json(to_json(found))


def test_a_plan_from_a_saved_inventory_is_the_plan_that_was_made() -> None:
    back = inventory_from_json(to_json(FULL))
    assert plan_repack(FULL, batch_bytes=5) == plan_repack(back, batch_bytes=5)
    assert plan_expire(FULL, grace_seconds=5, now=9) == plan_expire(back, grace_seconds=5, now=9)
    assert plan_write(FULL) == plan_write(back)


def example(kind: Any) -> Any:
    """A value of a named tuple, made from the types of its fields."""
    return kind(**{field: _of(hint) for field, hint in get_type_hints(kind).items()})


def _of(hint: Any) -> Any:
    words = str(hint)
    if hasattr(hint, "_fields"):
        return example(hint)
    if words.startswith("tuple["):
        return (_of(hint.__args__[0]),)
    if "None" in words:
        return next((_of(one) for one in hint.__args__ if one is not type(None)), None)
    return {"str": "word", "int": 7, "float": 0.5, "bool": True}[hint.__name__]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_value_prints_as_json_with_its_kind_version_and_fields(kind: Any) -> None:
    value = example(kind)
    body = json.loads(to_json(value))
    assert (kind.__name__, FORMAT_VERSION) == (body.pop("kind"), body.pop("version"))
    assert value._fields == tuple(body)


def test_values_within_values_are_objects_and_tuples_are_lists() -> None:
    plan = plan_repack(inventory(pack("pack-a"), pack("pack-b")), batch_bytes=0)
    body = json.loads(to_json(plan))
    assert ["pack-a", "pack-b"] == [one["name"] for one in body["batch"]]
    assert Step(**body["steps"][0]) == plan.steps[0]


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError):
        pack("pack-a").size = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 1000),
        ({"referenced": 5}, 500),
        ({"referenced": None}, 1000),
        ({"referenced": 1, "object_count": 3}, 333),
        ({"object_count": None}, 0),
        ({"object_count": 0, "referenced": 0}, 0),
        ({"size": 1 << 62, "referenced": 9}, (1 << 62) * 9 // 10),
    ],
)
def test_expected_size_is_rounded_down_and_never_overflows(fields: dict[str, int | None], expected: int) -> None:
    assert expected == pack("pack-a", **fields).expected_size


def test_a_pack_is_found_by_name() -> None:
    assert "pack-b" == FULL.pack("pack-b").name  # type: ignore[union-attr]
    assert None is FULL.pack("pack-x")
