"""Draw the map and the history for a terminal: characters, with colours on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from ..base.text import count_of, human_size, printable
from ..state.runs import Moment
from .cells import COLOURS, Cell, meaning
from .history import NOTHING, series_of, summary_of

SHADES, PLAIN_SHADES = " ░▒▓█", " .:+#"
BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.,-~=+#"
"""For a terminal that can show blocks, and for one that cannot."""

SHARES = ("", "few or none", "half", "most", "all")
MOST_ROWS = 12
MARGIN = 12


def describe_map(cells: Sequence[Cell], title: str, *, columns: int, colour: bool, plain: bool = False) -> str:
    """Return a character for each pack, or for several packs if there are many: the fuller, the more of it is live.

    `plain`: in ASCII.
    """
    title = _one_line(title)
    if not cells:
        return f"{title}: there are no packs"
    shades = PLAIN_SHADES if plain else SHADES
    each = max(1, -(-len(cells) // ((columns - MARGIN) * MOST_ROWS)))
    lines = [f"{title}: {_sums(cells, 'stored object')}", ""]
    levels: set[int] = set()
    for kind, group in groupby(cells, key=lambda cell: cell.kind):
        packs = list(group)
        steps = [_step(packs[at : at + each]) for at in range(0, len(packs), each)]
        levels.update(steps)
        lines += _rows(kind, "".join(shades[step] for step in steps), columns - MARGIN, colour)
        lines.append(f"{'':<{MARGIN}}{_sums(packs, 'object')}; {meaning(kind).partition(': ')[2] or meaning(kind)}")
    legend = ", ".join(f"{shades[step]} {SHARES[step]}" for step in sorted(levels, reverse=True))
    many = [f"a character stands for {each} packs"] if each > 1 else []
    return "\n".join([*lines, "", f"share of the objects that are found here: {legend}", *many])


def _one_line(title: str) -> str:
    return printable(title).replace("\n", "\\n")


def _sums(cells: Sequence[Cell], noun: str) -> str:
    objects, size = sum(cell.objects for cell in cells), sum(cell.size for cell in cells)
    return f"{count_of(len(cells), 'pack')}, {count_of(objects, noun)}, {human_size(size)}"


def _rows(kind: str, marks: str, width: int, colour: bool) -> Iterator[str]:
    for at in range(0, len(marks), width):
        yield f"{kind if at == 0 else '':<{MARGIN}}{_painted(marks[at : at + width], COLOURS[kind], colour)}"


def _step(packs: Sequence[Cell]) -> int:
    """Return the number of the shade of these packs: 1 to 4."""
    objects = sum(cell.objects for cell in packs)
    share = sum(cell.live_share * cell.objects for cell in packs) / objects if objects else 0.0
    return max(1, round(share * 4))


def _painted(text: str, colour: str, wanted: bool) -> str:
    if not wanted:
        return text
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"\033[38;2;{red};{green};{blue}m{text}\033[0m"


def describe_history(moments: Sequence[Moment], title: str, *, columns: int, plain: bool = False) -> str:
    """Return a line of bars for each series, with its least, most and last value. `plain`: in ASCII."""
    title = _one_line(title)
    if not moments:
        return f"{title}: {NOTHING}"
    lines = [f"{title}: {count_of(len(moments), 'run')}", ""]
    for name, values, words in series_of(moments):
        bars = _bars(_thinned(values, columns - 50), PLAIN_BARS if plain else BARS)
        least, most, last = words(min(values)), words(max(values)), words(values[-1])
        lines.append(f"{name:<28}{bars}  " + (last if least == most else f"{least} to {most}, now {last}"))
    return "\n".join([*lines, "", summary_of(moments).partition(", ")[2]])


def _thinned(values: Sequence[float], most: int) -> list[float]:
    """Return at most `width` values: the largest of each stretch."""
    each = max(1, -(-len(values) // max(1, most)))
    return [max(values[at : at + each]) for at in range(0, len(values), each)]


def _bars(values: Sequence[float], bars: str) -> str:
    top = max(values) or 1.0
    return "".join(bars[min(7, int(value / top * 7.999))] for value in values)
