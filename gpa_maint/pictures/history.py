"""Packs, bytes and write amplification over time, from what each run notes in gpa/history, as an SVG."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from html import escape

from ..state import Moment
from ..words import human_size, printable

WIDTH, PANEL, LEFT, RIGHT, TOP = 1000, 150, 90, 20, 50
INK, FAINT, LINE = "#222222", "#888888", "#0072b2"

Series = tuple[str, list[float], Callable[[float], str]]


def series_of(moments: Sequence[Moment]) -> list[Series]:
    """What is drawn: a name, a value for each moment, and how a value is written."""
    first = moments[0]
    amplification = [
        (one.written_bytes - first.written_bytes) / max(1, one.pushed_bytes - first.pushed_bytes) for one in moments
    ]
    return [
        ("packs", [float(one.packs) for one in moments], lambda value: f"{value:.0f}"),
        ("bytes of all packs", [float(one.bytes) for one in moments], lambda value: human_size(int(value))),
        ("bytes written a byte pushed", amplification, lambda value: f"{value:.2f}"),
    ]


def draw_history(moments: Sequence[Moment], title: str) -> str:
    """The SVG: three charts below each other over the same time."""
    series = series_of(moments)
    height = TOP + PANEL * len(series) + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, DejaVu Sans, sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="26" font-size="17" font-weight="600">{escape(printable(title))}</text>',
    ]
    for number, one in enumerate(series):
        lines += _chart(moments, one, TOP + PANEL * number)
    lines += _time_axis(moments, TOP + PANEL * len(series))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _chart(moments: Sequence[Moment], series: Series, top: int) -> Iterator[str]:
    """A curve in steps, since nothing changes between two runs, above a line at 0."""
    name, values, words = series
    most = max(values) or 1.0
    bottom, height = top + PANEL - 22, PANEL - 48
    yield f'<text x="{LEFT}" y="{top + 14}" font-weight="600">{name}</text>'
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * height
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}" stroke-width="0.4"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{FAINT}">{words(most * share)}</text>'
    points: list[str] = []
    before = bottom - values[0] / most * height
    for moment, value in zip(moments, values, strict=True):
        x, y = _x_of(moment.at, moments), bottom - value / most * height
        points += [f"{x:.1f},{before:.1f}", f"{x:.1f},{y:.1f}"]
        before = y
    yield f'<polyline points="{" ".join(points)}" fill="none" stroke="{LINE}" stroke-width="1.6"/>'


def _x_of(at: int, moments: Sequence[Moment]) -> float:
    span = max(1, moments[-1].at - moments[0].at)
    return LEFT + (WIDTH - LEFT - RIGHT) * (at - moments[0].at) / span


def _time_axis(moments: Sequence[Moment], y: int) -> Iterator[str]:
    first, last = moments[0].at, moments[-1].at
    for at, anchor in ((first, "start"), ((first + last) // 2, "middle"), (last, "end")):
        text = time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
        yield f'<text x="{_x_of(at, moments):.1f}" y="{y + 8}" text-anchor="{anchor}" fill="{FAINT}">{text}</text>'
