"""What status, explain, repair, schedule, verify and install tell: frozen values, as in model.py.

Apart from those because no other verb needs them, and each class costs a command some of its start.
"""

from __future__ import annotations

from .model import RunResult, Step
from .tuples import NamedTuple


class Explanation(NamedTuple):
    """For each pack, oldest first, which rule decides what happens to it now.

    `action` of a step is merge, fold, delete, wait (until `due`, where that is known) or leave.
    """

    steps: tuple[Step, ...]


class PackHealth(NamedTuple):
    """A pack or what is left of one: which files are there, its age, what is wrong with it ("" when nothing is).

    `unread`: the fault is an error of the operating system, which proves nothing about the content.
    """

    name: str
    has_pack: bool
    has_idx: bool
    fault: str
    seconds: int
    protection: str = ""
    doomed: bool = False
    unread: bool = False


class ImportedObjects(NamedTuple):
    """What import-objects did: objects of the input, how many of them were new, pages they went into, and the lines in
    which git says that it had none.
    """

    object_count: int
    added_count: int
    page_count: int
    missing: tuple[str, ...] = ()


class LooseFault(NamedTuple):
    """A damaged loose object (hex id); `unread` as for a pack. For a folder of loose objects, `oid` is its name."""

    oid: str
    reason: str
    unread: bool = False


class Diagnosis(NamedTuple):
    """What is damaged in an object directory, and the packs that are sound.

    `index_unread`: why the operating system did not let the combined index be read. The same of an incremental chain.
    """

    packs: tuple[PackHealth, ...]
    loose: tuple[LooseFault, ...] = ()
    index_fault: str = ""
    index_unread: str = ""
    chain_fault: str = ""
    chain_unread: str = ""


class RepairStep(NamedTuple):
    """`action` about a pack, a loose object (hex id) or the combined index is mend, set aside, index or leave."""

    action: str
    name: str
    reason: str


class RepairPlan(NamedTuple):
    steps: tuple[RepairStep, ...]


class LostObject(NamedTuple):
    """An object (hex id) of which no copy can be read, and the pack or loose object it was in."""

    oid: str
    name: str


class RepairResult(NamedTuple):
    """What a repair did, a line for each step; `left` are the faults it did not touch, and why.

    `saved_count` objects were only in damaged files and are elsewhere now; `aside` is the folder with the files that
    were set aside, "" when there are none. `unknown`: damaged packs whose contents nothing tells any more.
    """

    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    saved_count: int = 0
    lost: tuple[LostObject, ...] = ()
    unknown: tuple[str, ...] = ()
    aside: str = ""
    reason: str = ""


class VerifyResult(NamedTuple):
    """Every finding, in the order they were made; none means that all is well."""

    findings: tuple[str, ...]
    pack_count: int
    object_count: int
    ref_count: int = 0


class InstallChange(NamedTuple):
    """A hook or a setting that install or uninstall changes, and why.

    `what` is "hook" or "setting". `before` and `after` are, in order, the programs that the hook's event runs, or the
    values of the setting; None is a key without a value.
    """

    what: str
    name: str
    before: tuple[str | None, ...]
    after: tuple[str | None, ...]
    reason: str = ""


class InstallResult(NamedTuple):
    """What install or uninstall changed, or would change; when that is nothing, `reason` says why.

    `way` is how git is made to call us: "file" for scripts in `hooks_dir`, "config" for hooks in the configuration.
    """

    changes: tuple[InstallChange, ...]
    way: str
    hooks_dir: str
    gpa_dir: str
    warnings: tuple[str, ...] = ()
    reason: str = ""


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


class Completion(NamedTuple):
    """The script that makes a shell ("bash", "zsh" or "fish") complete `git gpa`."""

    shell: str
    script: str


class ScheduleFile(NamedTuple):
    """A file that starts maintenance from time to time, and where it belongs."""

    path: str
    content: str


class Schedule(NamedTuple):
    """Files for systemd or cron, or the hook for a whole host (`system`), and the commands that make them count once
    they are in place."""

    system: str
    files: tuple[ScheduleFile, ...]
    commands: tuple[str, ...]


# ---- saving ----


class SavedPage(NamedTuple):
    """A pack to be copied: `paths` of its files, .pack and .idx first, and their SHA-256 (hex) in the same order."""

    name: str
    paths: tuple[str, ...]
    objects: int
    bytes: int
    sha256: tuple[str, ...]


class SaveReport(NamedTuple):
    """What a copy in cold storage lacks, and what it does not need any more.

    `pages` are to be uploaded, whoever made them. `superseded` are names of packs that were uploaded, and whose objects
    are in others now: their files may go once `pages` are there. Both are named again until Writer.confirm() is told.
    """

    pages: tuple[SavedPage, ...]
    superseded: tuple[str, ...]


# ---- backup ----


class BackupPlan(NamedTuple):
    """What a backup would copy now; nothing was changed. `refs` and `removed_refs` are those that would change."""

    target: str
    packs: tuple[str, ...]
    bytes: int
    loose_objects: int
    refs: int
    removed_refs: int


class BackupResult(NamedTuple):
    """What a backup did. All `refs` of the copy, HEAD among them, were checked: what they name is there.

    `packs` and `loose_objects` were copied, `bytes` in all. `deleted` packs of the copy were superseded by others.
    `left_out` names damaged loose objects, which no ref needs. `attempts` is more than 1 where the repository changed
    so much meanwhile that the backup began again.
    """

    target: str
    packs: tuple[str, ...]
    loose_objects: int
    bytes: int
    deleted: tuple[str, ...]
    refs: int
    changed_refs: int
    removed_refs: int
    left_out: tuple[str, ...]
    attempts: int
    reason: str = ""
