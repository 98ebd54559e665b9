"""The map and the history for a terminal: characters, in colour where that is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from ..state import Moment
from ..words import count_of, human_size
from .cells import COLOURS, Cell, meaning
from .history import series_of

SHADES = " ░▒▓█"
BARS = "▁▂▃▄▅▆▇█"
MOST_ROWS = 12
MARGIN = 12


def describe_map(cells: Sequence[Cell], title: str, *, columns: int, colour: bool) -> str:
    """A character for each pack, or for several where there are very many: the fuller, the more of it is live."""
    objects, size = sum(cell.objects for cell in cells), sum(cell.size for cell in cells)
    head = f"{title}: {count_of(len(cells), 'pack')}, {count_of(objects, 'stored object')}, {human_size(size)}"
    each = max(1, -(-len(cells) // ((columns - MARGIN) * MOST_ROWS)))
    lines = [head, ""]
    for kind, group in groupby(cells, key=lambda cell: cell.kind):
        lines += _rows(kind, list(group), each, columns - MARGIN, colour)
    shades = ", ".join(f"{SHADES[step]} {share}" for step, share in ((4, "all"), (3, "most"), (2, "half"), (1, "few")))
    many = [f"a character stands for {each} packs"] if each > 1 else []
    return "\n".join([*lines, "", f"share of the objects that are found here: {shades}", *many])


def _rows(kind: str, group: list[Cell], each: int, width: int, colour: bool) -> Iterator[str]:
    marks = [_mark(group[at : at + each]) for at in range(0, len(group), each)]
    for at in range(0, len(marks), width):
        name = kind if at == 0 else ""
        yield f"{name:<{MARGIN}}{_painted(''.join(marks[at : at + width]), COLOURS[kind], colour)}"
    objects, size = sum(cell.objects for cell in group), sum(cell.size for cell in group)
    counts = f"{count_of(len(group), 'pack')}, {count_of(objects, 'object')}, {human_size(size)}"
    yield f"{'':<{MARGIN}}{counts}; {meaning(kind).partition(': ')[2] or meaning(kind)}"


def _mark(packs: Sequence[Cell]) -> str:
    objects = sum(cell.objects for cell in packs)
    share = sum(cell.live_share * cell.objects for cell in packs) / objects if objects else 0.0
    return SHADES[max(1, round(share * 4))]


def _painted(text: str, colour: str, wanted: bool) -> str:
    if not wanted:
        return text
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"\033[38;2;{red};{green};{blue}m{text}\033[0m"


def describe_history(moments: Sequence[Moment], title: str, *, columns: int) -> str:
    """A line of bars for each series, with its least, most and last value."""
    lines = [f"{title}: {count_of(len(moments), 'run')}", ""]
    for name, values, words in series_of(moments):
        bars = _bars(_thinned(values, columns - 50))
        lines.append(f"{name:<28}{bars}  {words(min(values))} to {words(max(values))}, now {words(values[-1])}")
    return "\n".join(lines)


def _thinned(values: Sequence[float], most: int) -> list[float]:
    """At most so many values: the largest of each stretch."""
    each = max(1, -(-len(values) // max(1, most)))
    return [max(values[at : at + each]) for at in range(0, len(values), each)]


def _bars(values: Sequence[float]) -> str:
    top = max(values) or 1.0
    return "".join(BARS[min(7, int(value / top * 7.999))] for value in values)
