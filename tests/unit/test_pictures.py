"""The pictures: areas that are right, text that is safe, and nothing that is left out; how they look is for eyes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventories import inventory, pack, unindexed

from gpa_maint.pictures.cells import COLOURS, Cell, cells_of
from gpa_maint.pictures.history import draw_history
from gpa_maint.pictures.map import HEIGHT, WIDTH, Box, draw_map, treemap
from gpa_maint.pictures.terminal import MARGIN, describe_history, describe_map
from gpa_maint.plan.repack import KINDS
from gpa_maint.state import Moment

NOW = 1_000_000
SVG = "{http://www.w3.org/2000/svg}"


def cells(*packs: object) -> list[Cell]:
    return cells_of(inventory(*packs), page_objects=100, page_bytes=1 << 30, now=NOW)  # type: ignore[arg-type]


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=60))
def test_a_treemap_fills_its_box_in_proportion(weights: list[float]) -> None:
    boxes = treemap(weights, Box(0, 0, 1000, 500))
    assert len(weights) == len(boxes)
    for weight, box in zip(weights, boxes, strict=True):
        assert box.width * box.height == pytest.approx(weight / sum(weights) * 500_000, rel=1e-6, abs=1e-3)
        assert box.x >= -1e-6 and box.y >= -1e-6
        assert box.x + box.width <= 1000 + 1e-3 and box.y + box.height <= 500 + 1e-3


@given(st.lists(st.floats(1, 1e4), min_size=2, max_size=12))
def test_boxes_of_a_treemap_do_not_overlap(weights: list[float]) -> None:
    for one, other in combinations(treemap(weights, Box(0, 0, 100, 100)), 2):
        width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert min(width, height) < 1e-6


@pytest.mark.parametrize("weights", [[], [0.0], [0.0, 0.0], [1.0]])
def test_a_treemap_of_little_is_one(weights: list[float]) -> None:
    assert len(weights) == len(treemap(weights, Box(0, 0, 10, 10)))


def test_a_cell_says_what_its_pack_is() -> None:
    found = cells(
        pack("pack-half", object_count=10, referenced=5, mtime=NOW - 10),
        pack("pack-gone", object_count=10, referenced=0, superseded_since=5, mtime=NOW - 7200),
        unindexed("pack-new", object_count=100, mtime=NOW - 40 * 86400),
    )
    told = {cell.name: (cell.kind, cell.live_share, cell.age, cell.is_indexed) for cell in found}
    assert ("small", 0.5, 0, True) == told["pack-half"]
    assert ("superseded", 0.0, 1, True) == told["pack-gone"]
    assert ("full", 1.0, 3, False) == told["pack-new"]


def test_every_kind_has_a_colour_of_its_own() -> None:
    assert COLOURS.keys() == KINDS.keys()
    assert len(COLOURS) == len(set(COLOURS.values()))


@pytest.mark.parametrize("count", [0, 1, 5, 300, 5000])
def test_the_map_has_a_cell_for_each_pack_and_a_legend(count: int) -> None:
    packs = [pack(f"pack-{number:05}", size=10 * number, mtime=number) for number in range(count)]
    root = ElementTree.fromstring(draw_map(cells(*packs), "/srv/git/a.git"))
    assert count == len(root.findall(f"{SVG}g"))
    words = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert f"{count:,} packs" in words
    assert "younger than an hour" in words
    assert count == 0 or "small pack: will be merged" in words
    for box in root.iter(f"{SVG}rect"):
        assert 0 <= float(box.get("x", 0)) <= WIDTH
        assert 0 <= float(box.get("height", 0)) <= 2 * HEIGHT


def test_what_a_name_holds_is_text_in_the_map() -> None:
    root = ElementTree.fromstring(draw_map(cells(pack("pack-<script>&\x1b[31m\udcff")), "<b>&\x07"))
    assert [] == list(root.iter("script")) + list(root.iter(f"{SVG}script"))
    assert "pack-<script>&\\033[31m?" in (root.find(f"{SVG}g/{SVG}title").text or "")  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [0, 1, 5, 300, 5000])
def test_the_map_for_a_terminal_fits_it(count: int) -> None:
    packs = [pack(f"pack-{number:05}", mtime=number) for number in range(count)]
    text = describe_map(cells(*packs), "/srv", columns=80, colour=False)
    lines = text.splitlines()
    assert max(map(len, lines[2:])) <= 80 or count == 0
    assert len(lines) <= 24
    marks = sum(line[MARGIN:].count("█") for line in lines if line.strip("█ smal") == "")
    assert marks == (count if count <= 300 else -(-count // 7))


def test_colour_is_there_only_where_it_is_wanted() -> None:
    one = cells(pack("pack-a"))
    assert "\033[" not in describe_map(one, "/srv", columns=80, colour=False)
    assert "\033[38;2;230;159;0m" in describe_map(one, "/srv", columns=80, colour=True)


MOMENTS = [Moment(1000 * number, 10 + number, 5000 * number, 100 * number, 40 * number, 0) for number in range(1, 400)]


@pytest.mark.parametrize("count", [1, 2, 399])
def test_the_history_has_a_curve_for_each_series(count: int) -> None:
    root = ElementTree.fromstring(draw_history(MOMENTS[:count], "/srv <&>"))
    curves = root.findall(f"{SVG}polyline")
    assert 3 == len(curves)
    assert {2 * count} == {len((curve.get("points") or "").split()) for curve in curves}


def test_the_history_for_a_terminal_tells_least_most_and_last() -> None:
    lines = describe_history(MOMENTS, "/srv", columns=80).splitlines()
    assert "399 runs" in lines[0]
    assert lines[2].endswith("11 to 409, now 409")
    assert lines[4].endswith("0.00 to 0.40, now 0.40")
