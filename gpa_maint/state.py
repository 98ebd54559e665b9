"""Our own record beside the repository: gpa/state.json. Small, and may be deleted without losing an object.

It holds since when a page is superseded, which packs outside the index were merged into pages and when, the moves
that expire has to respect (see Move), the packs that it is about to delete, so that the next run finishes what a
killed one began, and names that were dropped from the index lately, so that no winner moves to such a pack when it is
there again. A file that cannot be read counts as empty: every grace time then starts anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterable

from . import fs, untrusted
from .git import ObjectDir
from .model import RunResult, run_result_from_json
from .tuples import NamedTuple
from .words import printable

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any

KEPT_SECONDS = 14 * 86400
"""How long a move and a dropped name are remembered: longer than a process holds on to an index it has loaded."""

TOTALS_BYTES = 8 << 20
"""More than gpa/totals.json and gpa/last-run.json have with 100,000 packs."""

HISTORY_BYTES = 1 << 20
"""More than gpa/history, which is turned over at a quarter of this, ever has; nor do other logs."""

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
        """The winner for whose sake the pack `name` has to stay, if there is one."""
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
    return os.path.join(objdir.gpa_dir, "state.json")


def read_state(objdir: ObjectDir) -> State:
    try:
        body = json.loads(untrusted.read_text(state_path(objdir)))
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


# ---- what maintenance has cost so far ----


class Totals(NamedTuple):
    """Bytes pushed and written since the second `since`, over all runs; `known`: packs that are counted already."""

    since: int
    runs: int = 0
    pushed_packs: int = 0
    pushed_bytes: int = 0
    pack_bytes: int = 0
    index_bytes: int = 0
    freed_bytes: int = 0
    known: tuple[str, ...] = ()

    @property
    def amplification(self) -> float | None:
        """Bytes written by maintenance for each byte pushed; None before anything was pushed."""
        return (self.pack_bytes + self.index_bytes) / self.pushed_bytes if self.pushed_bytes else None


def totals_path(objdir: ObjectDir) -> str:
    return os.path.join(objdir.gpa_dir, "totals.json")


def read_totals(objdir: ObjectDir) -> Totals | None:
    """None when there is no such file, or one that cannot be read: counting then begins anew."""
    try:
        body = json.loads(untrusted.read_text(totals_path(objdir), TOTALS_BYTES))
        known = tuple(str(name) for name in body.pop("known"))
        return Totals(known=known, **{field: int(body[field]) for field in Totals._fields if field != "known"})
    except UNREADABLE:
        return None


def write_totals(objdir: ObjectDir, space: fs.Workspace, totals: Totals) -> None:
    body = json.dumps(totals._asdict()).encode() + b"\n"
    fs.replace_file(objdir, space, totals_path(objdir), body, durable=False)


# ---- the log ----


def log(objdir: ObjectDir, text: str) -> None:
    """Add a line to gpa/log, with the time and the process."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
    fs.append_line(objdir, "log", f"{stamp} [{os.getpid()}] {printable(text)}".replace("\n", " "))


# ---- the last run ----


def last_run_path(objdir: ObjectDir) -> str:
    return os.path.join(objdir.gpa_dir, "last-run.json")


def read_last_run(objdir: ObjectDir) -> RunResult | None:
    """None when there was no run yet, or the file cannot be read."""
    try:
        return run_result_from_json(untrusted.read_text(last_run_path(objdir), TOTALS_BYTES))
    except UNREADABLE:
        return None


# ---- the history ----


class Moment(NamedTuple):
    """What a run left at the second `at`: packs that are not superseded, bytes of all packs, and sums of bytes since
    counting began."""

    at: int
    packs: int
    bytes: int
    pushed_bytes: int
    written_bytes: int
    freed_bytes: int


class History(NamedTuple):
    """What `git gpa history --json` prints."""

    moments: tuple[Moment, ...]


def note_moment(objdir: ObjectDir, moment: Moment) -> None:
    """Add a line to gpa/history, unless the last line says the same of an earlier second."""
    before = _moments_in(_read_lines(objdir, "history")[-1:])
    if [one._replace(at=moment.at) for one in before] != [moment]:
        fs.append_line(objdir, "history", json.dumps(moment._asdict()))


def read_history(objdir: ObjectDir) -> list[Moment]:
    """What gpa/history.old and gpa/history tell, in the order of time; lines that are damaged are passed over."""
    return sorted(_moments_in([*_read_lines(objdir, "history.old"), *_read_lines(objdir, "history")]))


def _read_lines(objdir: ObjectDir, name: str) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        return untrusted.read_text(os.path.join(objdir.gpa_dir, name), HISTORY_BYTES).splitlines()
    return []


def _moments_in(lines: Iterable[str]) -> list[Moment]:
    found = []
    for line in lines:
        with contextlib.suppress(*UNREADABLE):
            body = json.loads(line)
            moment = Moment(**{field: int(body[field]) for field in Moment._fields})
            if 0 <= min(moment) and max(moment) < 1 << 62 and moment.at < LATEST:
                found.append(moment)
    return found
