"""Plans: one frozen value for each verb that decides. `--dry-run` prints it."""

from __future__ import annotations

from ..base.tuples import NamedTuple
from .inventory import PackInfo


class Step(NamedTuple):
    """One line of a dry run: what happens to a pack, or why nothing does.

    `due`: the second from which on it may happen, if that depends on time.
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


class IndexScope(NamedTuple):
    """Packs that an index names, by name without suffix, and which of them win.

    `only`: only these (None: all). `without`: none of these, because they will be deleted. `leave_out`: none of these
    unless the old index names them; readers find them by their own idx. `new_pages` were just written, so no index can
    name them yet; they win over all others. `merged`: their sources, which win only objects that no other pack has.
    `preferred`: wins all its objects, also over the old index (--preferred-pack).
    """

    only: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    new_pages: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    preferred: str | None = None


class IndexPlan(NamedTuple):
    """How to write the combined index. If `sources` is empty, `reason` says why nothing is done.

    `pages` are sources that were just written, so that no earlier index can name them.
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
    """Packs to merge, oldest first. If `batch` is empty, there is nothing to do, and `reason` says why.

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
    """Superseded pages whose grace time is over (`doomed`), and those that still wait.

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
    """One step of a run, due or not, and why. `packs` will be merged; with `whole` into one pack of any size."""

    verb: str
    due: bool
    reason: str
    packs: tuple[str, ...] = ()
    whole: bool = False


class RunPlan(NamedTuple):
    """All steps of a run in their order, by the current state. Each is decided again when its turn comes."""

    steps: tuple[RunStep, ...]

    @property
    def due(self) -> tuple[RunStep, ...]:
        return tuple(step for step in self.steps if step.due)

    def step(self, verb: str) -> RunStep:
        return next(step for step in self.steps if step.verb == verb)


class LoosePlan(NamedTuple):
    """Loose objects (hex ids) to put into pages, each of at most `page_objects` and about `page_bytes`."""

    objects: tuple[str, ...]
    page_objects: int
    page_bytes: int
    complaints: tuple[str, ...] = ()
