"""Draw packs, bytes and write amplification over time as an SVG, from the records in gpa/history."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

from ..base.text import count_of, human_size
from ..base.tuples import NamedTuple
from ..state.runs import Moment
from .svg import WIDTH, fill, frame, heading, stroke, text

PANEL, LEFT, RIGHT, TOP = 150, 90, 110, 54
EMPTY_HEIGHT = 130
MOST_DOTS = 120
MINUTES, DAYS = 10 * 60, 3 * 86400
"""Below the first, times of day have seconds; above the second, the day alone counts for the axis."""

NOTHING = "no run has been noted here yet"


class Series(NamedTuple):
    """A curve: its name, a value for each moment, and how a value is written."""

    name: str
    values: list[float]
    words: Callable[[float], str]


def series_of(moments: Sequence[Moment]) -> list[Series]:
    """Return the curves of the picture."""
    amplification = [one.written_bytes / max(1, one.pushed_bytes) for one in moments]
    return [
        Series("packs", [float(one.packs) for one in moments], lambda value: f"{value:.0f}"),
        Series("bytes of all packs", [float(one.bytes) for one in moments], lambda value: human_size(int(value))),
        Series("bytes written a byte pushed", amplification, lambda value: f"{value:.2f}"),
    ]


def draw_history(moments: Sequence[Moment], title: str) -> str:
    """Return the SVG: three charts below each other over the same time."""
    summary = summary_of(moments)
    body = heading(title, summary)
    if not moments:
        return frame(WIDTH, EMPTY_HEIGHT, f"{title}: {summary}", [*body, *_draw_nothing()])
    series = series_of(moments)
    bottom = TOP + PANEL * len(series)
    for number, one in enumerate(series):
        body += _chart(moments, one, TOP + PANEL * number)
    body += _time_axis(moments, bottom)
    return frame(WIDTH, bottom + 20, f"{title}: {summary}", body)


def summary_of(moments: Sequence[Moment]) -> str:
    """Return a line with the number of runs, and their time."""
    if not moments:
        return NOTHING
    first, last = (_moment_in_words(moments[at].at, 0) for at in (0, -1))
    return f"{count_of(len(moments), 'run')}, {first}" + (f" to {last}" if last != first else "")


def _draw_nothing() -> Iterator[str]:
    yield f'<rect x="8" y="{TOP}" width="{WIDTH - 16}" height="66" {fill("panel")}/>'
    yield (
        f'<text x="{WIDTH // 2}" y="{TOP + 38}" text-anchor="middle" font-size="15" {fill("faint")}>'
        "'git gpa run' notes one each time that something has changed</text>"
    )


def _chart(moments: Sequence[Moment], series: Series, top: int) -> Iterator[str]:
    """Yield a curve in steps, with a dot for each run; the last dot has its value. Nothing changes between runs."""
    bottom, height = top + PANEL - 22, PANEL - 48
    highest = _round_up(max(series.values), binary=series.words(0).endswith("bytes"))
    yield f'<text x="{LEFT}" y="{top + 14}" font-weight="600">{series.name}</text>'
    yield from _value_axis(series, highest, bottom, height)
    places = [
        (_x_of(moment.at, moments), bottom - value / highest * height)
        for moment, value in zip(moments, series.values, strict=True)
    ]
    before = places[0][1]
    points: list[str] = []
    for x, y in places:
        points += [f"{x:.1f},{before:.1f}", f"{x:.1f},{y:.1f}"]
        before = y
    yield f'<polyline points="{" ".join(points)}" fill="none" {stroke("curve")} stroke-width="1.6"/>'
    for x, y in places if len(places) <= MOST_DOTS else places[-1:]:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" {fill("curve")}/>'
    x, y = places[-1]
    yield f'<text x="{x + 6:.1f}" y="{y - 5:.1f}" font-weight="600">{series.words(series.values[-1])}</text>'


def _value_axis(series: Series, highest: float, bottom: int, height: int) -> Iterator[str]:
    """Yield lines at 0, at the highest value, and between; a repeated label is left out."""
    told: set[str] = set()
    for share in (0.0, 1.0, 0.5):
        label = series.words(highest * share)
        if label in told:
            continue
        told.add(label)
        y = bottom - share * height
        yield (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" {stroke("faint")} stroke-width="0.4"/>'
        )
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" {fill("faint")}>{label}</text>'


def _round_up(value: float, *, binary: bool) -> float:
    """Return the next round number whose half is round too; for bytes, times a power of 1024."""
    unit = 1.0
    while binary and value >= 1024 * unit:
        unit *= 1024
    if value <= 0:
        return 1024.0 if binary else 1.0
    power: float = unit * 10.0 ** math.floor(math.log10(value / unit))
    steps = (1, 2, 4, 6, 8) if power == unit else (1, 2, 3, 4, 5, 6, 8)
    return next((step * power for step in steps if step * power >= value), 10 * power)


def _x_of(at: int, moments: Sequence[Moment]) -> float:
    """Return the x coordinate of a second. If all runs are of one second, it is the middle."""
    first, last = moments[0].at, moments[-1].at
    share = (at - first) / (last - first) if last > first else 0.5
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def _time_axis(moments: Sequence[Moment], y: int) -> Iterator[str]:
    first, last = moments[0].at, moments[-1].at
    ticks = [(first, "start"), ((first + last) // 2, "middle"), (last, "end")] if last > first else [(first, "middle")]
    told: set[str] = set()
    for at, anchor in (*ticks[:1], *ticks[2:], *ticks[1:2]):
        label = _moment_in_words(at, last - first)
        if label not in told:
            told.add(label)
            yield (
                f'<text x="{_x_of(at, moments):.1f}" y="{y + 8}" text-anchor="{anchor}" {fill("faint")}>'
                f"{text(label)}</text>"
            )


def _moment_in_words(at: int, span: int) -> str:
    form = "%Y-%m-%d" if span > DAYS else "%H:%M:%S" if 0 < span < MINUTES else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(at))
