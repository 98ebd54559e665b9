"""Frozen values: what was found (Inventory), what shall be done (the plans), what was done (the results).

They hold no open files and print as JSON: a saved Inventory is a complete bug report. A pack is named by its file name
without suffix (`pack-<checksum>`); times are whole seconds since the epoch, sizes are bytes.

Named tuples, not dataclasses: a command spends more time on importing than on deciding, and these are made several
times faster, both the classes and their values.
"""

from __future__ import annotations

import json
import re

from .tuples import NamedTuple

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any


FORMAT_VERSION = 1

LONGEST_HOLD = 14 * 86400
"""How many seconds a page is held at most for packs that it replaces: somebody may keep one of them for ever."""


class PackInfo(NamedTuple):
    """One pack with its idx, as the directory and the index tell it.

    object_count is None when the idx cannot be read; `referenced` (objects whose winner is this pack) is None when
    the index does not name it. `superseded_since`: when a run first saw that nothing points to it, or, of a pack the
    index does not name, when its objects were merged into a page. `doomed`: an expire that was killed had proved it
    superseded and was about to delete it. `returned`: expire deleted a pack of this name lately, and it is back.
    `fault`: why it cannot be used, with the path of the file; such a pack stays where it is, unmerged.
    `made_ns`: the mtime of its idx in nanoseconds, which nobody sets later, unlike that of the pack.

    `held`: it has a .keep of ours (fs/holds.py), "new" or "merged", else "". `held_for`: how many of the packs that it
    replaces are there. `kept` is said of the .keep files of others.
    """

    name: str
    size: int
    mtime: int
    object_count: int | None
    referenced: int | None
    kept: bool = False
    promisor: bool = False
    cruft: bool = False
    superseded_since: int | None = None
    doomed: bool = False
    returned: bool = False
    fault: str = ""
    made_ns: int = 0
    held: str = ""
    held_for: int = 0

    @property
    def is_indexed(self) -> bool:
        return self.referenced is not None

    @property
    def is_superseded(self) -> bool:
        """Nothing is read from it any more: it only waits for expire."""
        return self.referenced == 0 or (self.referenced is None and (self.doomed or self.superseded_since is not None))

    @property
    def is_protected(self) -> bool:
        """I8: never merged and never deleted."""
        return self.kept or self.promisor or self.cruft

    def hold_is_over(self, keep_new: int, now: int) -> bool:
        """I14: whether its hold may end at `now`; one of new objects lasts for `keep_new` seconds."""
        age = now - self.mtime
        if not self.held or (self.held_for and age < LONGEST_HOLD):
            return False
        return self.held != "new" or age >= keep_new

    @property
    def live_count(self) -> int:
        """Objects it is read for: all of them while no index says otherwise."""
        return (self.object_count or 0) if self.referenced is None else self.referenced

    @property
    def expected_size(self) -> int:
        """Share of the file that its live objects take, as git-multi-pack-index(1) estimates it."""
        return self.size * self.live_count // self.object_count if self.object_count else 0


class IndexInfo(NamedTuple):
    """The combined index on disk. `trailer` (hex) names this very content."""

    trailer: str
    size: int
    object_count: int
    pack_names: tuple[str, ...]
    referenced: tuple[int, ...]
    has_bitmap_chunks: bool = False


class Inventory(NamedTuple):
    """An object directory at one moment. `packs` are in directory order, which decides git's ties.

    `loose_count`, `loose_refs` and `git_leftovers` (temporary files of killed git processes, below objects/) are looked
    for only where maintenance as a whole is asked about. `unreadable`: a line about each file or folder that could not
    be read and is passed over. `orphans`: files of packs that are gone, below objects/.
    """

    object_format: str
    midx: IndexInfo | None
    packs: tuple[PackInfo, ...]
    vanished: tuple[str, ...] = ()
    idx_without_pack: tuple[str, ...] = ()
    bitmaps: tuple[str, ...] = ()
    has_chain: bool = False
    temporary_files: int = 0
    loose_count: int = 0
    loose_refs: int = 0
    git_leftovers: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()

    def pack(self, name: str) -> PackInfo | None:
        return next((pack for pack in self.packs if pack.name == name), None)


# ---- plans ----


class Step(NamedTuple):
    """One line of a dry run: what happens to a pack, or why nothing does.

    `due`: the second from which on it may happen, where that is a matter of time.
    """

    pack: str
    action: str
    reason: str
    due: int | None = None


class IndexSource(NamedTuple):
    """A pack of the index to be written. Of two copies of an object, the one with the lower rank wins.

    `from_idx`: its idx is read; otherwise only the old index's entries for it count, which have the plan's old_rank.
    """

    name: str
    rank: int
    from_idx: bool


class IndexPlan(NamedTuple):
    """How to write the combined index; `reason` says why nothing is to be done when `sources` is empty.

    `pages` are sources that were made just now, so that no earlier index can name them.
    """

    based_on: str | None
    sources: tuple[IndexSource, ...] = ()
    old_rank: int = 0
    use_old: bool = False
    preferred: str | None = None
    pages: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.sources


class RepackPlan(NamedTuple):
    """Which packs to merge, oldest first. Empty `batch` means nothing to do, and `reason` says why.

    `object_count` is exact for packs the index names and an upper bound for others; `expected_bytes` is git's estimate.
    """

    based_on: str | None
    batch: tuple[PackInfo, ...]
    page_objects: int
    page_bytes: int
    depth: int
    object_count: int
    expected_bytes: int
    steps: tuple[Step, ...]
    reason: str = ""

    @property
    def page_count(self) -> int:
        return -(-self.object_count // self.page_objects)


class ExpirePlan(NamedTuple):
    """Superseded pages whose grace is over (`doomed`), and those that still wait.

    `takers`: packs outside the index that may hold objects of doomed packs which the index does not name either.
    `released`: pages whose hold may end now.
    """

    based_on: str | None
    doomed: tuple[PackInfo, ...]
    waiting: tuple[PackInfo, ...]
    takers: tuple[str, ...]
    steps: tuple[Step, ...]
    released: tuple[str, ...] = ()
    next_due: int | None = None
    reason: str = ""


class RunRules(NamedTuple):
    """The settings that decide what is due; see config.py."""

    page_objects: int = 2000
    page_bytes: int = 512 << 20
    depth: int = 50
    expire_grace: int = 3600
    keep_new: int = 14 * 86400
    auto_loose: int = 500
    auto_pages: int = 64
    auto_unindexed: int = 100
    max_pages: int = 200
    auto_refs: int = 1000
    precious_objects: bool = False


class RunStep(NamedTuple):
    """One step of a run, due or not, and why. `packs`: those to be merged, `whole`: into one pack, however large."""

    verb: str
    due: bool
    reason: str
    packs: tuple[str, ...] = ()
    whole: bool = False


class RunPlan(NamedTuple):
    """All steps of a run in their order, as things are now; each is decided again when its turn comes."""

    steps: tuple[RunStep, ...]

    @property
    def due(self) -> tuple[RunStep, ...]:
        return tuple(step for step in self.steps if step.due)

    def step(self, verb: str) -> RunStep:
        return next(step for step in self.steps if step.verb == verb)


# ---- results ----


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


class LooseObject(NamedTuple):
    """A loose object file: hex id, bytes on disk, mtime in nanoseconds since the epoch."""

    oid: str
    size: int
    mtime_ns: int


class LoosePlan(NamedTuple):
    """Loose objects (hex ids) that shall go into pages, each of at most `page_objects` and about `page_bytes`."""

    objects: tuple[str, ...]
    page_objects: int
    page_bytes: int
    complaints: tuple[str, ...] = ()


class LooseResult(NamedTuple):
    """Pages made of loose objects. `loose_bytes` is what the files of these `object_count` objects took on disk, and
    `removed_count` how many of them are gone; where fewer are, `reason` says why. `no_room` says what a full disk kept
    from being packed.
    """

    pages: tuple[PageInfo, ...]
    object_count: int
    removed_count: int
    loose_bytes: int
    left_out: tuple[LeftOut, ...] = ()
    reason: str = ""
    complaints: tuple[str, ...] = ()
    no_room: str = ""


# ---- JSON ----


def to_json(value: Any) -> str:
    """Any of the above as JSON text with two-space indents; its class under "kind", the format under "version"."""
    return json.dumps({"kind": type(value).__name__, "version": FORMAT_VERSION, **_plain(value)}, indent=2)


def _plain(value: Any) -> Any:
    """Named tuples as dicts, other tuples as lists, all the way down."""
    if hasattr(value, "_fields"):
        return {field: _plain(getattr(value, field)) for field in value._fields}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def inventory_from_json(text: str) -> Inventory:
    """The Inventory that to_json() saved."""
    body = json.loads(text)
    midx = body["midx"]
    return Inventory(
        object_format=body["object_format"],
        midx=None if midx is None else IndexInfo(**_tuples(midx)),
        packs=tuple(PackInfo(**pack) for pack in body["packs"]),
        vanished=tuple(body["vanished"]),
        idx_without_pack=tuple(body["idx_without_pack"]),
        bitmaps=tuple(body["bitmaps"]),
        has_chain=body["has_chain"],
        temporary_files=body["temporary_files"],
        loose_count=body["loose_count"],
        loose_refs=body["loose_refs"],
        git_leftovers=tuple(body["git_leftovers"]),
        unreadable=tuple(body.get("unreadable", ())),
        orphans=tuple(body.get("orphans", ())),
    )


def run_result_from_json(text: str) -> RunResult:
    """The RunResult that to_json() saved. ValueError, KeyError, TypeError or AttributeError about anything else."""
    body = json.loads(text)
    return RunResult(
        started=int(body["started"]),
        seconds=float(body["seconds"]),
        steps=tuple(
            StepResult(
                str(step["verb"]),
                str(step["text"]),
                float(step["seconds"]),
                **{field: int(step[field]) for field in StepResult._fields[3:] if field in step},
            )
            for step in body["steps"]
        ),
        left_out=tuple(LeftOut(**{field: str(left[field]) for field in LeftOut._fields}) for left in body["left_out"]),
        warnings=tuple(map(str, body["warnings"])),
        complaints=tuple(map(str, body.get("complaints", ()))),
        same_count=int(body.get("same_count", 0)),
        same_since=int(body.get("same_since", 0)),
        **{field: str(body[field]) for field in ("reason", "stopped", "error")},
    )


def _tuples(body: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in body.items()}
