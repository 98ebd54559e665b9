"""What `status` and `explain` tell of a repository."""

from __future__ import annotations

from ..base.tuples import NamedTuple
from .plans import Step
from .results import RunResult


class Explanation(NamedTuple):
    """For each pack, oldest first, which rule decides what happens to it now.

    `action` of a step is merge, fold, delete, wait (until `due`, where that is known) or leave.
    """

    steps: tuple[Step, ...]


class LockFile(NamedTuple):
    """A lock on the index or in git's name. `ours`: a run of ours made it; `dead`: whom it names is not there."""

    path: str
    since: int
    ours: bool
    dead: bool = False


class Surroundings(NamedTuple):
    """What bears on maintenance beside the packs; only the status asks for it.

    `settings`: git's keys that matter, in lower case, with the values that hold. `installed_at` and `counting_since`
    are seconds. `dead_keeps`: packs whose .keep a push left that was killed. `stray_idx`: idx files whose pack has been
    missing for an hour. `old_reflog`: a ref with an entry that is due to be expired. Of an object directory that is
    not the repository's own (`is_own`), settings and refs say nothing. `standstill`: why hooks start nothing.
    `wrong_owner`: a path of ours that belongs to another user than the repository, which is `right_owner`'s.
    `next_at`: the second from which on hooks start a run in any case. `waiting_since`: when something came after which
    a run should have been started. `has_hook`: git runs our hook here, though nobody installed it in this repository.
    `leftovers`: temporary files of killed runs, which take `leftover_bytes`.
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
    """Something that somebody should know or do. `code` names its kind for programs and does not change."""

    code: str
    text: str
    hint: str = ""

    @property
    def is_advice(self) -> bool:
        """Nothing is amiss, but something could be better: a check does not alarm about it."""
        return self.code == "no-commit-graph"


class KindCount(NamedTuple):
    """All packs of one kind: how many, the objects in them, the bytes of their .pack files. Each pack has one kind."""

    name: str
    packs: int
    objects: int
    size: int


class StatusStep(NamedTuple):
    """A step of a run, due or not, and why; how many packs it would merge."""

    verb: str
    due: bool
    reason: str
    packs: int


class Cost(NamedTuple):
    """What was pushed since `since`, a second, and what all runs wrote and freed; all sizes are bytes.

    `amplification`: bytes written for each byte pushed, None while nothing was pushed.
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
    """A repository at the second `now`: what is there, what a run would do, what the last one did, what is amiss.

    `stored_objects`: copies in all packs that can be read; `duplicates`: those of them which the index, or a merge
    outside it, says are superfluous. `first_due` and `last_due`: when superseded packs may go. `steps` is empty when
    the index cannot be read.
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
