"""The records of runs in gpa/: totals.json, log, last-run.json and history.

Each may be lost without losing an object. An unreadable file counts as missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable

from .. import fs
from ..base import safe_open
from ..base.text import printable
from ..base.tuples import NamedTuple
from ..model.inventory import Inventory, PackInfo
from ..model.json import run_result_from_json, to_json
from ..model.results import RunResult, StepResult
from ..repo.objdir import ObjectDir
from .paths import HISTORY, HISTORY_OLD, LAST_RUN, LOG, TOTALS, path_of
from .superseded import LATEST, UNREADABLE

TOTALS_BYTES = 8 << 20
"""Bytes; gpa/totals.json and gpa/last-run.json are smaller even with 100,000 packs."""

HISTORY_BYTES = 1 << 20
"""Bytes; gpa/history and other logs never grow larger, because they are renamed at a quarter of this."""


class Totals(NamedTuple):
    """Bytes pushed and written since the second `since`, over all runs; `known`: packs that were counted."""

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
        """Bytes written by maintenance for each pushed byte; None before the first push."""
        return (self.pack_bytes + self.index_bytes) / self.pushed_bytes if self.pushed_bytes else None


def totals_path(objdir: ObjectDir) -> str:
    return path_of(objdir, TOTALS)


def read_totals(objdir: ObjectDir) -> Totals | None:
    """Return the totals; None if the file is missing or unreadable. Counting then starts again."""
    try:
        body = json.loads(safe_open.read_text(totals_path(objdir), TOTALS_BYTES))
        known = tuple(str(name) for name in body.pop("known"))
        return Totals(known=known, **{field: int(body[field]) for field in Totals._fields if field != "known"})
    except UNREADABLE:
        return None


def write_totals(objdir: ObjectDir, space: fs.Workspace, totals: Totals) -> None:
    body = json.dumps(totals._asdict()).encode() + b"\n"
    fs.replace_file(objdir, space, totals_path(objdir), body, durable=False)


def count_pushed(
    totals: Totals | None, inventory: Inventory, *, now: int, is_small: Callable[[PackInfo], bool]
) -> Totals:
    """Return the totals with the packs added since the last run; the first run counts the small packs."""
    new = inventory.packs
    if totals is None:
        totals = Totals(since=now)
        new = tuple(filter(is_small, new))
    known = set(totals.known)
    new = tuple(pack for pack in new if pack.name not in known)
    return totals._replace(
        pushed_packs=totals.pushed_packs + len(new),
        pushed_bytes=totals.pushed_bytes + sum(pack.size for pack in new),
        known=tuple(pack.name for pack in inventory.packs),
    )


def add_run(totals: Totals, steps: Iterable[StepResult], *, known: Iterable[str]) -> Totals:
    """Return the totals after a run that did these steps."""
    steps = tuple(steps)
    return totals._replace(
        runs=totals.runs + 1,
        pack_bytes=totals.pack_bytes + sum(step.pack_bytes for step in steps),
        index_bytes=totals.index_bytes + sum(step.index_bytes for step in steps),
        freed_bytes=totals.freed_bytes + sum(step.freed_bytes for step in steps),
        known=tuple(sorted(known)),
    )


def log(objdir: ObjectDir, text: str, *, now: int) -> None:
    """Append a line to gpa/log, with the time and the process."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    fs.append_line(objdir, LOG, f"{stamp} [{os.getpid()}] {printable(text)}".replace("\n", " "))


def last_run_path(objdir: ObjectDir) -> str:
    return path_of(objdir, LAST_RUN)


def read_last_run(objdir: ObjectDir) -> RunResult | None:
    """Return the result of the last run; None if there was none, or the file is unreadable."""
    try:
        return run_result_from_json(safe_open.read_text(last_run_path(objdir), TOTALS_BYTES))
    except UNREADABLE:
        return None


def write_last_run(objdir: ObjectDir, space: fs.Workspace, result: RunResult) -> None:
    content = f"{to_json(result)}\n".encode()
    fs.replace_file(objdir, space, last_run_path(objdir), content, durable=False)


class Moment(NamedTuple):
    """State after a run at the second `at`: live packs, bytes of all packs, and sums of bytes since counting began."""

    at: int
    packs: int
    bytes: int
    pushed_bytes: int
    written_bytes: int
    freed_bytes: int


class History(NamedTuple):
    """Output of `git gpa history --json`."""

    moments: tuple[Moment, ...]


def moment_of(inventory: Inventory, totals: Totals, *, now: int) -> Moment:
    """Return the state that a run has left at the second `now`."""
    return Moment(
        at=now,
        packs=sum(not pack.is_superseded for pack in inventory.packs),
        bytes=sum(pack.size for pack in inventory.packs),
        pushed_bytes=totals.pushed_bytes,
        written_bytes=totals.pack_bytes + totals.index_bytes,
        freed_bytes=totals.freed_bytes,
    )


def note_moment(objdir: ObjectDir, moment: Moment) -> None:
    """Append a line to gpa/history, unless the last line has the same values."""
    before = _moments_in(_read_lines(objdir, HISTORY)[-1:])
    if [one._replace(at=moment.at) for one in before] != [moment]:
        fs.append_line(objdir, HISTORY, json.dumps(moment._asdict()))


def read_history(objdir: ObjectDir) -> list[Moment]:
    """Return the moments in gpa/history.old and gpa/history, in the order of time. Damaged lines are skipped."""
    return sorted(_moments_in([*_read_lines(objdir, HISTORY_OLD), *_read_lines(objdir, HISTORY)]))


def _read_lines(objdir: ObjectDir, name: str) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        return safe_open.read_text(path_of(objdir, name), HISTORY_BYTES).splitlines()
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
