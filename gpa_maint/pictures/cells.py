"""Make one cell for each pack, for map.py and terminal.py."""

from __future__ import annotations

from ..base.tuples import NamedTuple
from ..model.inventory import Inventory, PackInfo
from ..plan.repack import KINDS, kind_of

COLOURS = {
    "small": "#e69f00",
    "full": "#0072b2",
    "large": "#56b4e9",
    "kept": "#009e73",
    "promisor": "#cc79a7",
    "cruft": "#999999",
    "empty": "#dddddd",
    "superseded": "#d55e00",
    "unreadable": "#000000",
}
"""Colours by Okabe and Ito, distinguishable with every kind of colour vision."""

DARK_COLOURS = {**COLOURS, "full": "#2a8fd0", "empty": "#555555", "unreadable": "#ffffff"}
"""Colours on dark paper, where black and the darker blue are hard to see."""

MEANINGS = {
    "small": "small pack: will be merged",
    "full": "full page: left alone",
    "large": "large pack: left alone",
    "kept": "kept (.keep): left alone",
    "promisor": "promisor pack: left alone",
    "cruft": "cruft pack: left alone",
    "empty": "pack without objects: left alone",
    "unreadable": "pack whose idx cannot be read",
    "superseded": "superseded: will be deleted",
}

AGES = ((3600, "an hour"), (86400, "a day"), (30 * 86400, "a month"))
"""Steps of age, in seconds: younger than each of them, and older than all."""


class Cell(NamedTuple):
    """A pack: `live_share` of its objects (0 to 1) are found in it; `age` is a step, 0 the youngest."""

    name: str
    kind: str
    size: int
    objects: int
    live_share: float
    age: int
    is_indexed: bool


class Map(NamedTuple):
    """Output of `git gpa map --json`."""

    cells: tuple[Cell, ...]


def cells_of(inventory: Inventory, *, page_objects: int, page_bytes: int, now: int) -> list[Cell]:
    """Return a cell for each pack, by kind in the order of KINDS, the oldest first."""
    order = list(KINDS)
    cells = [(pack, kind_of(pack, page_objects, page_bytes)) for pack in inventory.packs]
    cells.sort(key=lambda one: (order.index(one[1]), one[0].mtime, one[0].name))
    return [_cell(pack, kind, now) for pack, kind in cells]


def _cell(pack: PackInfo, kind: str, now: int) -> Cell:
    objects = pack.object_count or 0
    live = 0 if pack.is_superseded else pack.live_count
    age = sum(now - pack.mtime >= limit for limit, _ in AGES)
    return Cell(pack.name, kind, pack.size, objects, live / objects if objects else 0.0, age, pack.is_indexed)


def meaning(kind: str) -> str:
    """Return the text for a kind in the legend."""
    return MEANINGS.get(kind, KINDS[kind])
