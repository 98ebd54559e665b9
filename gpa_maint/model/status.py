"""Values of `status` and `explain`."""

from __future__ import annotations

from ..base.tuples import NamedTuple
from .plans import Step
from .results import RunResult


class Explanation(NamedTuple):
    """For each pack, oldest first, which rule decides what happens to it now.

    `action` of a step is merge, fold, delete, wait (until `due`, if that is known) or leave.
    """

    steps: tuple[Step, ...]


class LockFile(NamedTuple):
    """A lock file of the index or of git. `ours`: a run of ours made it; `dead`: the process that it names is dead."""

    path: str
    since: int
    ours: bool
    dead: bool = False


class Surroundings(NamedTuple):
    """Facts about maintenance beside the packs; only the status needs them.

    `settings`: git's relevant keys, in lower case, with their effective values. `installed_at` and `counting_since` are
    seconds. `dead_keeps`: packs with a .keep of a killed push. `stray_idx`: idx files whose pack has been missing for
    an hour. `old_reflog`: a ref with an entry that is due to expire. If the object directory is not the repository's
    own (`is_own`), settings and refs do not apply. `standstill`: why hooks start no run. `wrong_owner`: a path of ours
    that belongs to another user than the repository, whose owner is `right_owner`. `next_at`: the second from which on
    hooks start a run in any case. `waiting_since`: when a push came that should have started a run. `has_hook`: git
    runs our hook here, although it was not installed in this repository. `leftovers`: temporary files of killed runs,
    with `leftover_bytes` in all.
    """

    is_own: bool = True
    git_version: tuple[int, int] = (0, 0)
    settings: tuple[tuple[str, str], ...] = ()
    is_scheduled: bool = False
    installed_at: int | None = None
    counting_since: int | None = None
    at_work: str = ""
    locks: tuple[LockFile, ...] = ()
    dead_keeps: tuple[str, ...] = ()
    stray_idx: tuple[str, ...] = ()
    closed_paths: tuple[str, ...] = ()
    foreign_packs: int = 0
    old_reflog: str = ""
    has_commit_graph: bool = False
    chain_fault: str = ""
    standstill: tuple[StatusWarning, ...] = ()
    wrong_owner: str = ""
    right_owner: str = ""
    next_at: int = 0
    waiting_since: int | None = None
    has_hook: bool = False
    leftovers: tuple[str, ...] = ()
    leftover_bytes: int = 0


class StatusWarning(NamedTuple):
    """A fact that the user should know or act on. `code` names its kind for programs, and does not change."""

    code: str
    text: str
    hint: str = ""

    @property
    def is_advice(self) -> bool:
        """Whether it is no problem, but something could be better: a health check does not fail because of it."""
        return self.code == "no-commit-graph"


class KindCount(NamedTuple):
    """All packs of one kind: their number, objects, and bytes of .pack files. Each pack has one kind."""

    name: str
    packs: int
    objects: int
    size: int


class StatusStep(NamedTuple):
    """A step of a run, due or not, and why; and the number of packs that it would merge."""

    verb: str
    due: bool
    reason: str
    packs: int


class Cost(NamedTuple):
    """Bytes pushed since the second `since`, and bytes that all runs wrote and freed.

    `amplification`: bytes written for each pushed byte, None before the first push.
    """

    since: int
    runs: int
    pushed_packs: int
    pushed_bytes: int
    pack_bytes: int
    index_bytes: int
    freed_bytes: int
    amplification: float | None


class Status(NamedTuple):
    """State of a repository at the second `now`: packs, due steps, the last run, and problems.

    `stored_objects`: number of copies in all readable packs; `duplicates`: those that are superfluous by the index or
    by a merge outside it. `first_due` and `last_due`: when superseded packs may be deleted. `steps` is empty if the
    index cannot be read.
    """

    repository: str
    objects_dir: str
    object_format: str
    now: int
    is_installed: bool
    has_hook: bool
    at_work: str
    kinds: tuple[KindCount, ...]
    loose_objects: int
    stored_objects: int
    duplicates: int
    index_packs: int
    index_objects: int
    index_bytes: int
    unindexed_packs: int
    reclaimable_bytes: int
    first_due: int | None
    last_due: int | None
    last_run: RunResult | None
    cost: Cost | None
    steps: tuple[StatusStep, ...]
    warnings: tuple[StatusWarning, ...]

    @property
    def due(self) -> tuple[StatusStep, ...]:
        return tuple(step for step in self.steps if step.due)
