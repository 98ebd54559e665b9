"""Parts that all SVG files share: the frame, colours that are legible on light and on dark paper, texts that fit.

Attributes have the colours for light paper, for viewers without style sheets. The style sheet replaces them if the
reader prefers dark paper.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape

from ..base.text import printable
from ..base.tuples import NamedTuple

FONT = "system-ui, DejaVu Sans, sans-serif"
WIDTH = 1000
MARGIN = 10
TITLE_SIZE = 17

ADVANCE, BOLD_ADVANCE = 0.55, 0.72
"""The width of a character, as a share of the font size: that of DejaVu Sans, which is wide."""

LIGHT = {"paper": "#ffffff", "panel": "#f4f4f2", "ink": "#222222", "faint": "#666666", "curve": "#0072b2"}
DARK = {"paper": "#15181c", "panel": "#22262b", "ink": "#e6e6e6", "faint": "#a3a9b0", "curve": "#56b4e9"}

LEAST_CONTRAST = 4.5
"""Between a text and what is behind it, as WCAG 2.1 asks for."""

BLACK, WHITE = "#000000", "#ffffff"


class Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float


def frame(width: int, height: int, label: str, body: Iterable[str], *, font_size: int = 12, more: str = "") -> str:
    """Return the whole file: `body` on paper. A screen reader says `label`; `more` is extra style for dark paper."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="{FONT}" font-size="{font_size}" {fill("ink")}>',
        f"<title>{text(label)}</title>",
        f"<style>@media (prefers-color-scheme: dark) {{ {_dark_rules()}{more} }}</style>",
        f'<rect width="{width}" height="{height}" {fill("paper")}/>',
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _dark_rules() -> str:
    fills = [f".{name} {{ fill: {colour} }}" for name, colour in DARK.items()]
    strokes = [f".{name}-line {{ stroke: {DARK[name]} }}" for name in ("faint", "curve")]
    return " ".join([*fills, *strokes, f".dark-black {{ fill: {BLACK} }}", f".dark-white {{ fill: {WHITE} }}"])


def fill(name: str) -> str:
    """Attributes that fill a shape or a text with a colour of LIGHT, or with that of DARK."""
    return f'class="{name}" fill="{LIGHT[name]}"'


def stroke(name: str) -> str:
    """Return the style for a line."""
    return f'class="{name}-line" stroke="{LIGHT[name]}"'


def ink_on(light: str, dark: str) -> str:
    """Attributes for a text on a colour, which is `light` on light paper and `dark` on dark paper."""
    return f'class="dark-{"black" if _best_ink(dark) == BLACK else "white"}" fill="{_best_ink(light)}"'


def _best_ink(colour: str) -> str:
    return max((BLACK, WHITE), key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """From 1, no difference, to 21, black on white, as WCAG 2.1 defines it."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in _parts(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def blend(colour: str, opacity: float, paper: str) -> str:
    """Return the colour that a colour of this opacity has on paper of another colour."""
    pairs = zip(_parts(colour), _parts(paper), strict=True)
    return "#" + "".join(f"{round(255 * (opacity * over + (1 - opacity) * under)):02x}" for over, under in pairs)


def _parts(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def heading(title: str, summary: str) -> list[str]:
    """Return the title of a picture, shortened where it is too long, and a line below it."""
    shown = text(fitted(title, WIDTH - 2 * MARGIN, TITLE_SIZE * BOLD_ADVANCE / ADVANCE))
    return [
        f'<text x="{MARGIN}" y="24" font-size="{TITLE_SIZE}" font-weight="600">{shown}</text>',
        f'<text x="{MARGIN}" y="43" {fill("faint")}>{text(summary)}</text>',
    ]


def fitted(words: str, width: float, font_size: float) -> str:
    """Return the words, shortened in the middle with an ellipsis if they do not fit into `width`."""
    if text_width(words, font_size) <= width:
        return words
    head, tail = len(words) // 2, len(words) // 2
    while head + tail and text_width(words[:head] + "…" + words[len(words) - tail :], font_size) > width:
        head, tail = (head - 1, tail) if head > tail else (head, tail - 1)
    return words[:head] + "…" + words[len(words) - tail :]


def text_width(words: str, font_size: float) -> float:
    """Return the approximate width of the words. Characters of East Asian scripts count about double."""
    cells = sum(1.7 if unicodedata.east_asian_width(char) in "WF" else 1.0 for char in printable(words))
    return cells * ADVANCE * font_size


def text(words: str) -> str:
    """Return words escaped as the content of an element."""
    return escape(printable(words).encode("utf-8", "replace").decode())
