"""The packs of an object directory as an SVG: a treemap by kind, in which old packs come before young ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from ..base.text import count_of, human_size
from .cells import AGES, COLOURS, DARK_COLOURS, Cell, meaning
from .svg import DARK, LIGHT, MARGIN, WIDTH, Box, blend, fill, fitted, frame, heading, ink_on, text, text_width

HEIGHT, EMPTY_HEIGHT = 560, 70
TOP = 54
GAP = 5
FONT_SIZE, LABEL_SIZE, LINE = 12, 11, 13
LABEL_WIDTH = 88
"""What the two lines of a label need, `1234.56 MiB` and `2,000 objects`."""

PALER = (1.0, 0.85, 0.7, 0.55)
"""Opacity by age, the youngest first."""

HEAD, HEAD_LEAST = 20, 64
"""How high the line above a group is, and from which height on a group has one."""

CORNER = 6
ROW = 20


def draw_map(cells: Sequence[Cell], title: str) -> str:
    """Return the SVG. A cell's area grows with the square root of its pack's bytes, so that small packs can be seen."""
    summary = sum_of(cells, "stored object")
    box = Box(MARGIN - 2, TOP, WIDTH - 2 * MARGIN + 4, HEIGHT if cells else EMPTY_HEIGHT)
    body = [*heading(title, summary), *(draw_packs(cells, box) if cells else _draw_nothing(box))]
    legend, height = _legend(cells, TOP + box.height + 22)
    label = f"{title}: {summary}"
    return frame(WIDTH, round(height), label, [*body, *legend], font_size=FONT_SIZE, more=dark_style())


def sum_of(cells: Sequence[Cell], noun: str = "object") -> str:
    """Return a line with the numbers of packs, objects and bytes."""
    objects, size = sum(cell.objects for cell in cells), sum(cell.size for cell in cells)
    return f"{_count(len(cells), 'pack')}, {_count(objects, noun)}, {human_size(size)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def dark_style() -> str:
    """Rules for the kinds whose colour is another one on dark paper."""
    changed = [kind for kind, colour in COLOURS.items() if DARK_COLOURS[kind] != colour]
    return "".join(f" .{kind} {{ fill: {DARK_COLOURS[kind]} }}" for kind in changed)


def _draw_nothing(box: Box) -> Iterator[str]:
    yield f"<rect {_place(box)} {fill('panel')}/>"
    yield (
        f'<text x="{WIDTH / 2:.0f}" y="{box.y + box.height / 2 + 5:.0f}" text-anchor="middle" font-size="15" '
        f"{fill('faint')}>there are no packs</text>"
    )


def draw_packs(cells: Sequence[Cell], box: Box, *, sums: bool = True) -> Iterator[str]:
    """Yield the treemap alone, with `cells` of one kind together. With `sums`, a line above each group counts packs."""
    groups = [(kind, list(group)) for kind, group in groupby(cells, key=lambda cell: cell.kind)]
    weights = [sum(map(weight, group)) for _, group in groups]
    for (kind, group), place in zip(groups, treemap(weights, box), strict=True):
        yield from _draw_group(kind, group, place, sums)


def weight(cell: Cell) -> float:
    return math.sqrt(max(1, cell.size))


def _draw_group(kind: str, group: list[Cell], box: Box, sums: bool) -> Iterator[str]:
    inner = Box(box.x + GAP / 2, box.y + GAP / 2, max(0.0, box.width - GAP), max(0.0, box.height - GAP))
    yield f"<rect {_place(inner)} {fill('panel')}/>"
    head = _head_of(kind, group, inner) if sums else ""
    if head:
        yield f'<text x="{inner.x + 6:.1f}" y="{inner.y + 14:.1f}">{text(head)}</text>'
        inner = Box(inner.x, inner.y + HEAD, inner.width, inner.height - HEAD)
    for cell, place in zip(group, treemap([weight(cell) for cell in group], inner), strict=True):
        yield from _draw_cell(cell, place)


def _head_of(kind: str, group: list[Cell], box: Box) -> str:
    """Return the heading of a group, as long as there is room for; the legend has the rest."""
    if len(group) == 1 or box.height < HEAD_LEAST:
        return ""
    size = human_size(sum(cell.size for cell in group))
    lines = (f"{kind}: {sum_of(group)}", f"{kind}: {len(group):,}, {size}", f"{kind}: {len(group):,}")
    return next((line for line in lines if text_width(line, FONT_SIZE) <= box.width - 10), "")


def _draw_cell(cell: Cell, box: Box) -> Iterator[str]:
    """Pale all over, and in colour from the bottom up as far as its objects are live."""
    edge = min(1.0, box.width / 6, box.height / 6)
    inner = Box(box.x + edge, box.y + edge, box.width - 2 * edge, box.height - 2 * edge)
    filled = inner.height * cell.live_share
    solid = Box(inner.x, inner.y + inner.height - filled, inner.width, filled)
    yield f'<g class="{cell.kind}" fill="{COLOURS[cell.kind]}"><title>{text(_describe(cell))}</title>'
    yield f'<rect {_place(inner)} opacity="{paleness(cell.kind)}"/>'
    if filled > 0:
        yield f'<rect {_place(solid)} opacity="{PALER[cell.age]}"/>'
    if not cell.is_indexed and min(inner.width, inner.height) > 10:
        yield _corner(inner.x + inner.width, inner.y)
    yield from _draw_label(cell, inner, solid)
    yield "</g>"


def _corner(right: float, top: float) -> str:
    return f'<path d="M{right - CORNER:.1f} {top:.1f}h{CORNER}v{CORNER}z" {fill("ink")} opacity="0.7"/>'


def _draw_label(cell: Cell, inner: Box, solid: Box) -> Iterator[str]:
    """Two lines, or one, within the pale part or within the coloured part: never across the edge between them."""
    if inner.width < LABEL_WIDTH:
        return
    pale = inner.height - solid.height
    y, room, opacity = inner.y, pale, paleness(cell.kind)
    if room < 2 * LINE + 4 and solid.height > room:
        y, room, opacity = solid.y, solid.height, _solid_opacity(cell)
    lines = [human_size(cell.size), _count(cell.objects, "object")]
    for number, line in enumerate(lines[: int((room - 4) // LINE)]):
        at = f'x="{inner.x + 5:.1f}" y="{y + LINE * (number + 1):.1f}"'
        yield f'<text {at} font-size="{LABEL_SIZE}" {_label_ink(cell.kind, opacity)}>{line}</text>'


def _solid_opacity(cell: Cell) -> float:
    """Return the two rectangles of a cell: the coloured part is on top of the pale one."""
    return 1 - (1 - PALER[cell.age]) * (1 - paleness(cell.kind))


def _label_ink(kind: str, opacity: float) -> str:
    return ink_on(*shown_colours(kind, opacity))


def shown_colours(kind: str, opacity: float) -> tuple[str, str]:
    """Return the colours of a part of a cell on light and on dark paper."""
    return blend(COLOURS[kind], opacity, LIGHT["panel"]), blend(DARK_COLOURS[kind], opacity, DARK["panel"])


def paleness(kind: str) -> float:
    """Opacity of the part that is not live, so that superseded and empty packs are visible too."""
    return {"superseded": 0.5, "empty": 1.0, "unreadable": 0.6}.get(kind, 0.22)


def _describe(cell: Cell) -> str:
    place = "in the index" if cell.is_indexed else "not in the index"
    return (
        f"{cell.name}\n{meaning(cell.kind)}\n{human_size(cell.size)}, {count_of(cell.objects, 'object')}, "
        f"{cell.live_share:.0%} of them found here\n{age_in_words(cell.age)}, {place}"
    )


def age_in_words(age: int) -> str:
    if age == len(AGES):
        return f"older than {AGES[-1][1]}"
    return f"younger than {AGES[age][1]}"


# ---- the legend: of what occurs in the picture ----


def _legend(cells: Sequence[Cell], y: float) -> tuple[list[str], float]:
    """Return the legend (kinds with their sums, ages, meaning of shapes), and the y coordinate of its end."""
    kinds = {kind: list(group) for kind, group in groupby(cells, key=lambda cell: cell.kind)}
    lines: list[str] = []
    for number, (kind, group) in enumerate(kinds.items()):
        x, row = (12, WIDTH // 2)[number % 2], y + ROW * (number // 2)
        opacity = paleness(kind) if not any(cell.live_share for cell in group) else 1
        lines.append(_swatch(x, row, kind, opacity))
        words = fitted(f"{meaning(kind)}; {sum_of(group)}", WIDTH / 2 - 40, FONT_SIZE)
        lines.append(f'<text x="{x + 18}" y="{row:.0f}">{text(words)}</text>')
    y += ROW * ((len(kinds) + 1) // 2) + 4
    for part in (_ages(cells, y), _shapes(cells, y + ROW)):
        lines += part
    return lines, y + ROW * (2 if cells else 0)


def _swatch(x: float, y: float, kind: str, opacity: float) -> str:
    place = _place(Box(x, y - 10, 12, 12))
    return f'<rect {place} class="{kind}" fill="{COLOURS[kind]}" opacity="{opacity}"/>'


def _ages(cells: Sequence[Cell], y: float) -> Iterator[str]:
    """Yield the shades that occur, in the colour of the first kind that has them."""
    live = [cell for cell in cells if cell.live_share]
    for number, age in enumerate(sorted({cell.age for cell in live})):
        x = 12 + 170 * number
        yield _swatch(x, y, live[0].kind, PALER[age])
        yield f'<text x="{x + 18}" y="{y:.0f}">{age_in_words(age)}</text>'


def _shapes(cells: Sequence[Cell], y: float) -> Iterator[str]:
    words = "Area: square root of bytes. In colour from the bottom up: share of the objects that are found here."
    x = 12
    if any(not cell.is_indexed for cell in cells):
        yield _corner(x + CORNER, y - 9)
        x += CORNER + 6
        words = f"not in the index. {words}"
    if cells:
        yield f'<text x="{x}" y="{y:.0f}" {fill("faint")}>{words}</text>'


def _place(box: Box) -> str:
    return f'x="{box.x:.2f}" y="{box.y:.2f}" width="{box.width:.2f}" height="{box.height:.2f}"'


# ---- the treemap ----


def treemap(weights: Sequence[float], box: Box) -> list[Box]:
    """Return a box for each weight, in order: areas in proportion, shapes nearly square (Bruls, Huizing, van Wijk)."""
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
    """Return the end of the row that begins at `start`: boxes are added while they make the worst one squarer."""
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
    """Return the worst ratio of sides among the boxes of a row of these areas along `side`."""
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
