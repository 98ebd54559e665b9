"""The pictures: areas that are right, text that is safe, and nothing that is left out; how they look is for eyes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventories import inventory, pack, unindexed

from gpa_maint.pictures.cells import COLOURS, Cell, cells_of
from gpa_maint.pictures.history import draw_history
from gpa_maint.pictures.map import HEIGHT, LABEL_SIZE, PALER, draw_map, draw_packs, paleness, shown_colours, treemap
from gpa_maint.pictures.svg import DARK, LEAST_CONTRAST, LIGHT, TITLE_SIZE, WIDTH, Box, contrast, ink_on, text_width
from gpa_maint.pictures.terminal import MARGIN, describe_history, describe_map
from gpa_maint.plan.repack import KINDS
from gpa_maint.state.runs import Moment

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
    words = words_of(root)
    assert f"{count:,} {'pack' if count == 1 else 'packs'}, " in words
    assert ("small pack: will be merged" in words) == ("older than" in words or "younger than" in words) == (count > 0)
    assert ("there are no packs" in words) == (count == 0)
    for box in root.iter(f"{SVG}rect"):
        assert 0 <= float(box.get("x", 0)) <= WIDTH
        assert 0 <= float(box.get("height", 0)) <= 2 * HEIGHT


def words_of(root: ElementTree.Element) -> str:
    return " ".join(text.text or "" for text in root.iter(f"{SVG}text"))


def test_the_legend_has_the_kinds_and_the_ages_that_occur_with_their_sums_and_no_others() -> None:
    packs = [pack(f"pack-{number}", size=1024, object_count=5, mtime=NOW - 10) for number in range(3)]
    packs.append(pack("pack-k", size=2048, object_count=7, kept=True, mtime=NOW - 7200))
    words = words_of(ElementTree.fromstring(draw_map(cells(*packs), "a.git")))
    assert "small pack: will be merged; 3 packs, 15 objects, 3.00 KiB" in words
    assert "kept (.keep): left alone; 1 pack, 7 objects, 2.00 KiB" in words
    assert ["an hour", "a day"] == [age for age in ("an hour", "a day", "a month") if age in words]
    for other in ("full page", "large", "cruft", "promisor", "superseded", "not in the index"):
        assert other not in words


def test_a_group_of_many_small_packs_has_one_line_with_its_sum() -> None:
    packs = [pack(f"pack-{number}", size=1024, object_count=5, mtime=NOW) for number in range(300)]
    packs.append(pack("pack-full", size=1 << 20, object_count=100, mtime=NOW))
    words = words_of(ElementTree.fromstring(draw_map(cells(*packs), "a.git")))
    assert "small: 300 packs, 1,500 objects, 300.00 KiB" in words


@pytest.mark.parametrize("kind", KINDS)
def test_each_label_is_legible_on_light_and_on_dark_paper(kind: str) -> None:
    """In whichever shade its pack is drawn."""
    for opacity in (paleness(kind), *PALER):
        light, dark = shown_colours(kind, opacity)
        found = re.fullmatch('class="dark-(black|white)" fill="(#[0f]{6})"', ink_on(light, dark))
        assert found is not None
        assert contrast(found[2], light) >= LEAST_CONTRAST
        assert contrast({"black": "#000000", "white": "#ffffff"}[found[1]], dark) >= LEAST_CONTRAST


@pytest.mark.parametrize("name", ["ink", "faint"])
def test_other_texts_are_legible_on_paper_and_on_panels(name: str) -> None:
    for inks in (LIGHT, DARK):
        for paper in ("paper", "panel"):
            assert contrast(inks[name], inks[paper]) >= LEAST_CONTRAST


@pytest.mark.parametrize("live", range(0, 101, 5))
@pytest.mark.parametrize("height", [20, 31, 45, 60, 200])
def test_a_label_lies_within_one_part_of_its_cell(live: int, height: int) -> None:
    one = Cell("pack-a", "full", 5 << 20, 100, live / 100, 0, True)
    box = Box(0, 0, 200, height)
    root = ElementTree.fromstring(f'<svg xmlns="{SVG[1:-1]}">{"".join(draw_packs([one], box))}</svg>')
    solid = [rect for rect in root.iter(f"{SVG}rect") if rect.get("opacity") == "1.0"]
    edge = float(solid[0].get("y", 0)) if solid else float(height)
    for label in root.iter(f"{SVG}text"):
        baseline = float(label.get("y", 0))
        assert baseline <= edge or baseline - LABEL_SIZE >= edge - 1
        assert baseline <= height
    assert height < 45 or list(root.iter(f"{SVG}text"))


def test_a_long_name_is_shortened_in_the_middle() -> None:
    root = ElementTree.fromstring(draw_map([], "a" * 300 + "-the-end.git"))
    title = next(root.iter(f"{SVG}text")).text or ""
    assert title.startswith("aaa") and "…" in title and title.endswith("-the-end.git")
    assert text_width(title, TITLE_SIZE) < WIDTH
    assert ("a" * 300) in (root.findtext(f"{SVG}title") or "")


@pytest.mark.parametrize(
    "drawn", [draw_map([], "x"), draw_history([], "x"), draw_history([Moment(1, 2, 3, 4, 5, 6)], "x")]
)
def test_every_picture_has_colours_for_dark_paper(drawn: str) -> None:
    style = ElementTree.fromstring(drawn).findtext(f"{SVG}style") or ""
    assert style.startswith("@media (prefers-color-scheme: dark)")
    for word in re.findall('class="([^"]+)"', drawn):
        assert f".{word} {{" in style


def test_what_a_name_holds_is_text_in_the_map() -> None:
    root = ElementTree.fromstring(draw_map(cells(pack("pack-<script>&\x1b[31m\udcff")), "<b>&\x07"))
    assert [] == list(root.iter("script")) + list(root.iter(f"{SVG}script"))
    assert "pack-<script>&\\033[31m\\377" in (root.find(f"{SVG}g/{SVG}title").text or "")  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [0, 1, 5, 300, 5000])
def test_the_map_for_a_terminal_fits_it(count: int) -> None:
    packs = [pack(f"pack-{number:05}", mtime=number) for number in range(count)]
    text = describe_map(cells(*packs), "/srv", columns=80, colour=False)
    lines = text.splitlines()
    if not count:
        assert ["/srv: there are no packs"] == lines
        return
    assert max(map(len, lines[2:])) <= 80
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


def test_the_value_axis_says_nothing_twice() -> None:
    """One pack: there is no half of it."""
    root = ElementTree.fromstring(draw_history([Moment(1000, 1, 1, 1, 1, 0)], "a.git"))
    labels = [text.text for text in root.iter(f"{SVG}text") if text.get("text-anchor") == "end"]
    assert ["0", "1", "0 bytes", "1 bytes", "0.00", "1.00", "0.50"] == labels


@pytest.mark.parametrize("seconds", [0, 1, 40, 4000, 400_000, 40_000_000])
def test_no_two_times_below_the_history_are_the_same_and_each_stands_at_its_place(seconds: int) -> None:
    moments = [Moment(1_700_000_000 + at, 3, 4, 5, 6, 0) for at in sorted({0, seconds // 3, seconds})]
    root = ElementTree.fromstring(draw_history(moments, "a.git"))
    labels = [text.text or "" for text in root.iter(f"{SVG}text") if re.search(r"\d[:-]\d", text.text or "")][1:]
    assert len(labels) == len(set(labels)) >= 1
    dots = [float(dot.get("cx", 0)) for dot in root.iter(f"{SVG}circle")]
    assert 3 * len(moments) == len(dots)
    assert all(0 < x < WIDTH for x in dots)


def test_a_history_without_runs_says_so() -> None:
    assert "no run has been noted here yet" in words_of(ElementTree.fromstring(draw_history([], "a.git")))
    assert "a.git: no run has been noted here yet" == describe_history([], "a.git", columns=80)


def test_a_terminal_without_blocks_gets_ascii() -> None:
    some = cells(pack("pack-a", object_count=10, referenced=10), pack("pack-b", object_count=10, referenced=3))
    assert describe_map(some, "a\x1b\nb", columns=80, colour=False, plain=True).isascii()
    assert describe_history(MOMENTS, "a\x1b\nb", columns=80, plain=True).isascii()


def test_the_history_for_a_terminal_tells_least_most_and_last() -> None:
    lines = describe_history(MOMENTS, "/srv", columns=80).splitlines()
    assert "399 runs" in lines[0]
    assert lines[2].endswith("11 to 409, now 409")
    assert lines[3].endswith("4.88 KiB to 1.90 MiB, now 1.90 MiB")
    assert lines[4].endswith("█  0.40")
