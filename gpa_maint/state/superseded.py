"""gpa/state.json, our record beside the repository. It is small, and may be deleted without losing an object.

It records since when a page is superseded; which packs outside the index were merged into pages, and when; the moves
that expire must respect (see Move); the packs that expire is about to delete, so that the next run finishes the work of
a killed one; and names that were recently dropped from the index, so that no winner moves to such a pack if it comes
back. An unreadable file counts as empty: every grace time then starts again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Set

from .. import fs
from .._core.format import open_midx
from ..base import safe_open
from ..base.tuples import NamedTuple
from ..repo.objdir import ObjectDir
from .paths import STATE, path_of

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any


KEPT_SECONDS = 14 * 86400
"""Seconds for which a move and a dropped name are recorded: longer than a process uses an index that it has loaded."""

LATEST = 1 << 36
"""Latest second that a file may name: in the year 4147."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""Exceptions that a damaged or hostile file of ours may cause."""

KEPT_NAMES = 4096
"""Largest number of dropped names that are recorded; every run reads them."""


class Move(NamedTuple):
    """At `at`, winners went to packs that an earlier index may have named as well: to `to`, or to any of `named`.

    This happens by --preferred-pack, by a bitmap, and when the index is built without an old one. A reader with the
    earlier index cannot find such objects at their new place, because git only adds packs that its loaded index does
    not name. Therefore none of `named` may be deleted while one of `to` wins an object of it (I2).
    """

    at: int
    to: frozenset[str]
    named: frozenset[str]

    def holds(self, name: str, winners: Collection[str]) -> str | None:
        """Return the winner because of which the pack `name` has to stay, or None."""
        if name not in self.named:
            return None
        return next((winner for winner in winners if winner in self.to and winner != name), None)


class State(NamedTuple):
    superseded: dict[str, int]
    merged: dict[str, int] = {}  # noqa: RUF012 - never changed in place
    moves: tuple[Move, ...] = ()
    doomed: frozenset[str] = frozenset()
    dropped: dict[str, int] = {}  # noqa: RUF012 - never changed in place


def state_path(objdir: ObjectDir) -> str:
    return path_of(objdir, STATE)


def read_state(objdir: ObjectDir) -> State:
    try:
        body = json.loads(safe_open.read_text(state_path(objdir)))
        return State(
            superseded=_times(body["superseded"]),
            merged=_times(body["merged"]),
            moves=tuple(_move(move) for move in body["moves"]),
            doomed=frozenset(str(name) for name in body["doomed"]),
            dropped=_times(body["dropped"]),
        )
    except UNREADABLE:
        return State(superseded={})


def _times(body: dict[str, int]) -> dict[str, int]:
    return {str(name): int(second) for name, second in body.items() if 0 <= int(second) < LATEST}


def _move(body: dict[str, Any]) -> Move:
    named = frozenset(str(name) for name in body["named"])
    return Move(at=int(body["at"]), to=named if body["to"] is None else frozenset(body["to"]), named=named)


def write_state(objdir: ObjectDir, space: fs.Workspace, state: State) -> None:
    moves = [
        {"at": move.at, "to": None if move.to == move.named else sorted(move.to), "named": sorted(move.named)}
        for move in state.moves
    ]
    body = {"version": 1, **state._asdict(), "moves": moves, "doomed": sorted(state.doomed)}
    fs.replace_file(objdir, space, state_path(objdir), json.dumps(body).encode() + b"\n")


def record_superseded(
    objdir: ObjectDir,
    space: fs.Workspace,
    *,
    now: int,
    move: Move | None = None,
    dropped: Collection[str] = (),
    merged: Collection[str] = (),
    needed: Collection[str] = (),
) -> None:
    """Update gpa/state.json to the index: since when each page has no winners.

    A doomed page that the index names again is an ordinary superseded page; one that is gone is dropped. Names
    `dropped` from the index, and the `move`, are recorded for a while. `merged`: packs outside the index whose objects
    are now in a page. `needed`: packs recorded as merged that turned out to have the only copy of an object.
    """
    state = read_state(objdir)
    midx = open_midx(objdir.index_path, objdir.object_format)
    referenced: dict[str, int] = {}
    if midx is not None:
        with midx:
            referenced = dict(zip(midx.pack_names(), midx.referenced(), strict=True))
    gone = {**state.dropped, **dict.fromkeys(dropped, now)}
    since = {**dict.fromkeys(merged, now), **state.merged}
    known = {**since, **state.superseded}
    new = State(
        superseded={name: min(now, known.get(name, now)) for name, count in referenced.items() if not count},
        merged={
            name: min(now, at)
            for name, at in since.items()
            if name not in referenced and name not in needed and os.path.exists(objdir.pack_path(name, ".idx"))
        },
        moves=_moves_that_matter((*state.moves, *(() if move is None else (move,))), referenced.keys(), now),
        doomed=frozenset(name for name in state.doomed - referenced.keys() if os.path.exists(objdir.pack_path(name))),
        dropped={name: at for name, at in list(gone.items())[-KEPT_NAMES:] if at > now - KEPT_SECONDS},
    )
    if new != state:
        write_state(objdir, space, new)


def _moves_that_matter(moves: tuple[Move, ...], names: Set[str], now: int) -> tuple[Move, ...]:
    """Return the moves without packs that the index no longer names, and without moves that are old or empty."""
    kept: list[Move] = []
    for move in moves:
        cut = Move(at=move.at, to=move.to & names, named=move.named & names)
        holds = cut.to and cut.named and (len(cut.named) > 1 or cut.to != cut.named)
        if holds and move.at > now - KEPT_SECONDS and cut not in kept:
            kept.append(cut)
    return tuple(kept)
