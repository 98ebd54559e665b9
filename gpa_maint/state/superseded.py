"""Our own record beside the repository: gpa/state.json. Small, and may be deleted without losing an object.

It holds since when a page is superseded, which packs outside the index were merged into pages and when, the moves
that expire has to respect (see Move), the packs that it is about to delete, so that the next run finishes what a
killed one began, and names that were dropped from the index lately, so that no winner moves to such a pack when it is
there again. A file that cannot be read counts as empty: every grace time then starts anew.
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
"""How long a move and a dropped name are remembered: longer than a process holds on to an index it has loaded."""

LATEST = 1 << 36
"""No second that a file may name is later: the year 4147."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a file of ours may raise when it is damaged, or made by somebody who means no good."""

KEPT_NAMES = 4096
"""How many dropped names are remembered at most: every run reads them."""


class Move(NamedTuple):
    """At `at`, winners went to packs that an earlier index may have named as well: to `to`, or to any of `named`.

    That happens by --preferred-pack, by a bitmap, and when the index is made from nothing. A reader that holds the
    earlier index cannot find such objects at their new place, since git only adds packs that the index it has loaded
    does not name. So none of `named` may be deleted while one of `to` wins an object of its (I2).
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
    """Bring gpa/state.json up to date with the index: since when each page without winners has had none.

    A doomed page that the index names again is an ordinary superseded one; one that is gone is forgotten. What was
    `dropped` from the index is remembered for a while, and so is the `move`. `merged`: packs outside the index whose
    objects are in a page now. `needed`: packs recorded as such that turned out to hold an object nobody else has.
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
    """Forget packs that the index does not name any more, and moves that are old or hold nothing."""
    kept: list[Move] = []
    for move in moves:
        cut = Move(at=move.at, to=move.to & names, named=move.named & names)
        holds = cut.to and cut.named and (len(cut.named) > 1 or cut.to != cut.named)
        if holds and move.at > now - KEPT_SECONDS and cut not in kept:
            kept.append(cut)
    return tuple(kept)
