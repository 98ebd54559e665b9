"""Results: one frozen value for each verb that changes packs or the index."""

from __future__ import annotations

import re

from ..base.tuples import NamedTuple
from .plans import Step


class WriteResult(NamedTuple):
    """State of the index after a write. If `written` is False it was not changed, and `reason` says why.

    `complaints`, here and in other results: a line about each unusable file that was left in place, for the user to
    look at. `removed`: all packs that the index named are gone, so the index was deleted.
    """

    written: bool
    trailer: str | None
    pack_count: int
    object_count: int
    size: int
    reason: str = ""
    warnings: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    removed: bool = False


class PageInfo(NamedTuple):
    """A new page."""

    name: str
    object_count: int
    size: int


class LeftOut(NamedTuple):
    """An object (hex id) that stayed in its place, and why. `pack` is the path of the file for a loose object."""

    pack: str
    oid: str
    reason: str


class RepackResult(NamedTuple):
    """Result of a repack. The sources stay, named by the index with 0 references, until expire.

    `bad_packs` should have been merged, and turned out to be unusable. `no_room` names the packs that a full disk left.
    """

    merged: tuple[str, ...]
    pages: tuple[PageInfo, ...]
    object_count: int
    source_bytes: int
    rebuilt_count: int = 0
    cut_count: int = 0
    left_out: tuple[LeftOut, ...] = ()
    midx: WriteResult | None = None
    reason: str = ""
    complaints: tuple[str, ...] = ()
    bad_packs: tuple[Step, ...] = ()
    no_room: str = ""


class ExpireResult(NamedTuple):
    """Result of an expire: deleted packs, and packs that stayed against the plan, and why. `released`: ended holds."""

    deleted: tuple[str, ...]
    freed_bytes: int
    kept_back: tuple[Step, ...] = ()
    released: tuple[str, ...] = ()
    waiting: int = 0
    next_due: int | None = None
    midx: WriteResult | None = None
    reason: str = ""
    complaints: tuple[str, ...] = ()


class StepResult(NamedTuple):
    """Result of one step of a run, in words, and the bytes that it wrote and removed.

    `sources`: number of packs merged, loose objects or refs packed, pages deleted, files removed, or packs in the
    index; `source_bytes` is their size, or that of the index. `pages`: number of new pages, or of ended holds. `times`:
    more than 1 in a sum.
    """

    verb: str
    text: str
    seconds: float
    pack_bytes: int = 0
    index_bytes: int = 0
    freed_bytes: int = 0
    sources: int = 0
    source_bytes: int = 0
    pages: int = 0
    objects: int = 0
    times: int = 1


class RunResult(NamedTuple):
    """Result of a run: its steps in order. If nothing was due there are none, and `reason` says why.

    `stopped` says why it ended early, `error` with what it failed; otherwise both are empty. If a run failed or left
    something undone, `same_count` is the number of runs in a row that did so in the same way, and `same_since` is when
    the first of them began.
    """

    started: int
    seconds: float
    steps: tuple[StepResult, ...]
    reason: str = ""
    stopped: str = ""
    error: str = ""
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    same_count: int = 0
    same_since: int = 0

    def fails_like(self, other: RunResult) -> bool:
        """Return whether both failed, or left something undone, in the same way; numbers in names may differ."""
        ours, theirs = (re.sub(r"\d+", "0", run.error or "\n".join(run.complaints)) for run in (self, other))
        return bool(ours) and ours == theirs


class LooseResult(NamedTuple):
    """Pages made of loose objects.

    `loose_bytes` is the disk usage of the files of these `object_count` objects. `removed_count` is the number of
    deleted files; if it is smaller, `reason` says why. `no_room` names the objects that a full disk kept from being
    packed.
    """

    pages: tuple[PageInfo, ...]
    object_count: int
    removed_count: int
    loose_bytes: int
    left_out: tuple[LeftOut, ...] = ()
    reason: str = ""
    complaints: tuple[str, ...] = ()
    no_room: str = ""
