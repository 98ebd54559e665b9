"""The packs of an object directory as an SVG: a treemap by kind, in which old lies before young."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from ..tuples import NamedTuple
from ..words import count_of, human_size, printable
from .cells import AGES, COLOURS, Cell, meaning

WIDTH, HEIGHT = 1000, 560
TOP, LEGEND = 54, 92
GAP = 5
LABEL_WIDTH, LABEL_HEIGHT = 88, 30
PALER = (1.0, 0.85, 0.7, 0.55)
"""Opacity by age, the youngest first."""

PANEL, INK, FAINT = "#f4f4f2", "#222222", "#666666"


class Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float


def draw_map(cells: Sequence[Cell], title: str) -> str:
    """The SVG. A cell's area grows with the square root of its pack's bytes: small packs are seen beside large ones."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {TOP + HEIGHT + LEGEND}" '
        f'font-family="system-ui, DejaVu Sans, sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{TOP + HEIGHT + LEGEND}" fill="#ffffff"/>',
        f'<text x="10" y="24" font-size="17" font-weight="600">{_text(title)}</text>',
        f'<text x="10" y="43" fill="{FAINT}">{_summary(cells)}</text>',
    ]
    lines += draw_packs(cells, Box(8, TOP, WIDTH - 16, HEIGHT))
    lines += _legend(list(dict.fromkeys(cell.kind for cell in cells)))
    return "\n".join([*lines, "</svg>"]) + "\n"


def draw_packs(cells: Sequence[Cell], box: Box) -> Iterator[str]:
    """The treemap alone; `cells` of one kind stand together."""
    groups = [(kind, list(group)) for kind, group in groupby(cells, key=lambda cell: cell.kind)]
    weights = [sum(map(weight, group)) for _, group in groups]
    for (kind, group), place in zip(groups, treemap(weights, box), strict=True):
        yield from _draw_group(kind, group, place)


def weight(cell: Cell) -> float:
    return math.sqrt(max(1, cell.size))


def _summary(cells: Sequence[Cell]) -> str:
    objects, size = sum(cell.objects for cell in cells), sum(cell.size for cell in cells)
    return f"{len(cells):,} packs, {objects:,} stored objects, {human_size(size)}"


def _draw_group(kind: str, group: list[Cell], box: Box) -> Iterator[str]:
    inner = Box(box.x + GAP / 2, box.y + GAP / 2, max(0.0, box.width - GAP), max(0.0, box.height - GAP))
    yield f'<rect {_place(inner)} fill="{PANEL}"/>'
    for cell, place in zip(group, treemap([weight(cell) for cell in group], inner), strict=True):
        yield from _draw_cell(cell, place, COLOURS[kind])


def _draw_cell(cell: Cell, box: Box, colour: str) -> Iterator[str]:
    """Pale all over, and in colour from the bottom up as far as its objects are live."""
    edge = min(1.0, box.width / 6, box.height / 6)
    inner = Box(box.x + edge, box.y + edge, box.width - 2 * edge, box.height - 2 * edge)
    filled = inner.height * cell.live_share
    solid = Box(inner.x, inner.y + inner.height - filled, inner.width, filled)
    yield f"<g><title>{_describe(cell)}</title>"
    yield f'<rect {_place(inner)} fill="{colour}" opacity="{_paleness(cell.kind)}"/>'
    if filled > 0:
        yield f'<rect {_place(solid)} fill="{colour}" opacity="{PALER[cell.age]}"/>'
    if not cell.is_indexed and min(inner.width, inner.height) > 10:
        right, top = inner.x + inner.width, inner.y
        yield f'<path d="M{right - 6:.1f} {top:.1f}h6v6z" fill="{INK}" opacity="0.6"/>'
    if inner.width >= LABEL_WIDTH and inner.height >= LABEL_HEIGHT:
        is_on_solid = solid.y < inner.y + LABEL_HEIGHT
        yield from _label(cell, inner.x + 5, inner.y + 14, _ink_on(colour, PALER[cell.age]) if is_on_solid else INK)
    yield "</g>"


def _label(cell: Cell, x: float, y: float, ink: str) -> Iterator[str]:
    yield f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" fill="{ink}">{human_size(cell.size)}</text>'
    yield f'<text x="{x:.1f}" y="{y + 13:.1f}" font-size="11" fill="{ink}">{cell.objects:,} objects</text>'


def _ink_on(colour: str, opacity: float) -> str:
    """White on what is dark: 0.299, 0.587 and 0.114 are how bright red, green and blue look (ITU-R BT.601)."""
    red, green, blue = (255 - opacity * (255 - int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else INK


def _paleness(kind: str) -> float:
    """Opacity of what is not live; nothing in a superseded pack is, and it shall be seen all the same."""
    return 0.5 if kind == "superseded" else 0.22


def _describe(cell: Cell) -> str:
    place = "in the index" if cell.is_indexed else "not in the index"
    return _text(
        f"{cell.name}\n{meaning(cell.kind)}\n{human_size(cell.size)}, {count_of(cell.objects, 'object')}, "
        f"{cell.live_share:.0%} of them found here\n{age_in_words(cell.age)}, {place}"
    )


def age_in_words(age: int) -> str:
    if age == len(AGES):
        return f"older than {AGES[-1][1]}"
    return f"younger than {AGES[age][1]}"


def _legend(kinds: Sequence[str]) -> Iterator[str]:
    y = TOP + HEIGHT + 22
    x = 12
    for kind in kinds:
        yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{COLOURS[kind]}" {_legend_opacity(kind)}/>'
        yield f'<text x="{x + 17}" y="{y}">{_text(meaning(kind))}</text>'
        x += 40 + 6 * len(meaning(kind))
    y += 26
    for age, opacity in enumerate(PALER):
        x = 12 + 170 * age
        yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{COLOURS["full"]}" opacity="{opacity}"/>'
        yield f'<text x="{x + 17}" y="{y}">{age_in_words(age)}</text>'
    y += 26
    yield (
        f'<text x="12" y="{y}" fill="{FAINT}">Area: square root of bytes. In colour from the bottom up: share '
        "of the objects that are found here. A corner: not in the index.</text>"
    )


def _legend_opacity(kind: str) -> str:
    return f'opacity="{_paleness(kind)}"' if kind == "superseded" else ""


def _place(box: Box) -> str:
    return f'x="{box.x:.2f}" y="{box.y:.2f}" width="{box.width:.2f}" height="{box.height:.2f}"'


def _text(text: str) -> str:
    return escape(printable(text).encode("utf-8", "replace").decode())


# ---- the treemap ----


def treemap(weights: Sequence[float], box: Box) -> list[Box]:
    """A box for each weight, in order, area in proportion, as square as they come (Bruls, Huizing, van Wijk)."""
    total = sum(weights)
    scale = box.width * box.height / total if total else 0.0
    areas = [weight * scale for weight in weights]
    found: list[Box] = []
    at = 0
    while at < len(areas):
        end = _row_end(areas, at, min(box.width, box.height))
        row = areas[at:end]
        found += _lay_row(row, box)
        box = _rest(sum(row), box)
        at = end
    return found


def _row_end(areas: Sequence[float], start: int, side: float) -> int:
    """Where the row that begins at `start` ends: as long as each further box makes the worst one squarer."""
    least = most = total = areas[start]
    worst = _worst(least, most, total, side)
    for at in range(start + 1, len(areas)):
        least, most, total = min(least, areas[at]), max(most, areas[at]), total + areas[at]
        now = _worst(least, most, total, side)
        if now > worst:
            return at
        worst = now
    return len(areas)


def _worst(least: float, most: float, total: float, side: float) -> float:
    """The longest side over the shortest, of the worst box in a row of that many areas along `side`."""
    if not (least > 0 and side > 0):
        return float("inf")
    return max(side * side * most / (total * total), total * total / (side * side * least))


def _lay_row(row: Sequence[float], box: Box) -> Iterator[Box]:
    total = sum(row)
    along = 0.0
    for area in row:
        if box.width >= box.height:
            thickness = total / box.height if box.height else 0.0
            length = area / thickness if thickness else 0.0
            yield Box(box.x, box.y + along, thickness, length)
        else:
            thickness = total / box.width if box.width else 0.0
            length = area / thickness if thickness else 0.0
            yield Box(box.x + along, box.y, length, thickness)
        along += length


def _rest(taken: float, box: Box) -> Box:
    if box.width >= box.height:
        thickness = taken / box.height if box.height else 0.0
        return Box(box.x + thickness, box.y, max(0.0, box.width - thickness), box.height)
    thickness = taken / box.width if box.width else 0.0
    return Box(box.x, box.y + thickness, box.width, max(0.0, box.height - thickness))
