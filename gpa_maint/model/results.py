"""What was done: one frozen result for each verb that changes packs or the index."""

from __future__ import annotations

import re

from ..base.tuples import NamedTuple
from .plans import Step


class WriteResult(NamedTuple):
    """The index as it is now. `written` is False when it was left untouched, and `reason` says why.

    `complaints`, here and in other results: a line about each file that could not be used, was left where it is, and
    that somebody should look at. `removed`: none of the packs that it named is there, so the index went too.
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
    """A page just written."""

    name: str
    object_count: int
    size: int


class LeftOut(NamedTuple):
    """An object (hex id) that was left where it was, and why. `pack` is the path of the file if it was a loose one."""

    pack: str
    oid: str
    reason: str


class RepackResult(NamedTuple):
    """What a repack merged. The sources stay, named by the index with 0 references, until expire.

    `bad_packs` were to be merged and turned out to be of no use. `no_room` says what a full disk left.
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
    """What an expire deleted, and what stayed against the plan, and why. `released`: pages whose hold it ended."""

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
    """What one step of a run did, in words, and the bytes it wrote and removed.

    `sources`: packs merged, loose objects or refs packed, pages deleted, files removed, packs that the index names;
    `source_bytes` is their size, or that of the index. `pages`: made, or no longer held. `times`: more than 1 in a sum.
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
    """What a run did: its steps in order, none when nothing was due, and `reason` says why.

    `stopped` says why it ended before all was done, `error` what it failed with; both are empty otherwise. Of a run
    that failed or left something as it is, `same_count` is how many runs in a row did so in the same way, and
    `same_since` when the first of them began.
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
        """Whether both failed, or left things as they are, in the same way; numbers in names may differ."""
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
