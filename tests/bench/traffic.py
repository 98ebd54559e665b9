"""Who pushes what: the traffics that simulate.py plays, named as in its table.

4.3 kB an object and 37 objects a push are what real pushes to a repository of C sources had; a quarter of their bytes
stayed after merging.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

Push = Callable[[random.Random], tuple[int, int]]
"""Makes one pack: objects, bytes."""

REAL = (37, 160_000)
OBJECT_BYTES = 4300
MANY = 10**7


class Traffic(NamedTuple):
    """So many packs made by `push`, beside what was imported before; merging keeps `kept_share` of their bytes.

    A run takes place when `look_every` packs have come: as the hook has it, or a first run over a backlog.
    """

    name: str
    push: Push
    kept_share: float = 0.25
    pushes: int = 100_000
    imported_objects: int = 0
    imported_object_bytes: int = 1000
    look_every: int = 16


def equal(objects: int, size: int = 0) -> Push:
    """Each push brings the same, by default 4.3 kB an object."""
    return lambda _: (objects, size or objects * OBJECT_BYTES)


def mixed(object_bytes: int = OBJECT_BYTES) -> Push:
    """Of 1000 pushes 885 bring 3 to 50 objects, 100 some hundreds, 15 some thousands: 100 on average."""

    def push(source: random.Random) -> tuple[int, int]:
        (middle, spread) = source.choices(((2.5, 0.7), (5.7, 0.5), (8.0, 0.5)), (885, 100, 15))[0]
        objects = 1 + round(source.lognormvariate(middle, spread))
        return objects, max(64, round(objects * object_bytes * source.lognormvariate(-0.125, 0.5)))

    return push


def now_and_then(one_in: int, rare: Push, push: Push) -> Push:
    """One push in so many is a `rare` one."""
    return lambda source: rare(source) if source.random() < 1 / one_in else push(source)


BLOB = equal(1, 100_000_000)
LARGE_PUSHES = 5000
"""Pushes of 2000 objects that make 10^7."""

TRAFFICS = (
    Traffic("mixed", mixed()),
    Traffic("mixed, half stays", mixed(), 0.5),
    Traffic("mixed, all stays", mixed(), 1.0),
    Traffic("mixed, all stays, 430 B an object", mixed(430), 1.0),
    Traffic("mixed, all stays, one in 100 is a blob of 100 MB", now_and_then(100, BLOB, mixed()), 1.0),
    Traffic("37 objects, 160 kB", equal(*REAL)),
    Traffic("37 objects, 160 kB, beside 10^7", equal(*REAL), imported_objects=MANY),
    Traffic("1 object", equal(1)),
    Traffic("1 object, all stays", equal(1), 1.0),
    Traffic("1 object, all stays, beside 10^7", equal(1), 1.0, imported_objects=MANY),
    Traffic("1,999 objects, all stays", equal(1999), 1.0, LARGE_PUSHES),
    Traffic("2,001 objects, all stays", equal(2001), 1.0, LARGE_PUSHES),
    Traffic("1 or 2,001 objects, all stays", now_and_then(2, equal(2001), equal(1)), 1.0, 2 * LARGE_PUSHES),
)

BACKLOGS = (
    Traffic("10,000 packs of 199 objects, then a run", equal(199), 1.0, 10_000, look_every=10_000),
    Traffic("30,000 packs of 37 objects, then a run", equal(*REAL), 1.0, 30_000, look_every=30_000),
)
"""What a first run finds where nothing has merged before."""
