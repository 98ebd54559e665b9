"""A maintenance run: do the first step that is due, then decide again, until nothing is due.

Keeps I10 (a push neither waits for a run nor fails with it) and I12 (a run that did nothing says why). The result is
written to gpa/last-run.json and gpa/log; gpa/next tells the hooks when to start the next run.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection

from .. import fs
from ..base.arguments import checked, path_text
from ..base.progress import StopRequest, time_limit
from ..errors import Corrupt, GitFailed, GpaError, Locked, Refused, StalePlan, Stopped, SystemFailed, Unsupported
from ..look.inventory import complaints_of, link_among_refs, look_at_everything
from ..model.inventory import Inventory
from ..model.plans import IndexScope, RunPlan, RunStep
from ..model.results import RunResult, StepResult
from ..plan.run import batch_of, left_out, needs_index, plan_run
from ..repo.discover import find_object_dir
from ..repo.git import run_git
from ..repo.objdir import ObjectDir
from .at_work import at_work, settle
from .index import write_index
from .run_record import RunRecord
from .session import Clock, Session, now, rules_from

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath
    from ..base.progress import ReportProgress

ROUNDS = 256
"""Largest number of steps in a run. Merging a backlog takes several batches."""

TELLING = ("loose", "repack", "expire")
"""Steps whose reasons are reported when a run did nothing. The others are rarely due, and would be noise."""

NEED_INDEX = ("index", "repack", "fold", "expire")
"""Steps that are not done while the combined index cannot be read."""

SETTLE_SECONDS = 60
"""Seconds that a run waits at its end for git processes that delete packs, unless the caller says otherwise."""


@checked
def maintain(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    max_seconds: float | None = None,
    stop: StopRequest | None = None,
    report: ReportProgress | None = None,
) -> RunResult:
    """Do all that is due, a step at a time: loose objects, index, merging, expiry, leftovers, refs.

    It ends cleanly, within about a second, after `max_seconds` or when another thread asks by `stop`; the next run
    continues. Raises Locked if another run, `git gc` or `git maintenance` is running. In a result without steps,
    `reason` says why nothing was due.
    """
    ending = stop or StopRequest()
    with time_limit(ending, max_seconds):
        objdir = find_object_dir(path, object_dir=object_dir, stop=ending)
        return maintain_in(objdir, path_text(path), stop=ending, report=report)


def maintain_in(
    objdir: ObjectDir,
    path: str | None = None,
    *,
    clock: Clock = now,
    max_seconds: float | None = None,
    stop: StopRequest | None = None,
    report: ReportProgress | None = None,
    settle_seconds: float = SETTLE_SECONDS,
) -> RunResult:
    """Run maintain() for the repository at `path`, whose object directory is known.

    Steps done before an error or a stop stay done, and are recorded in any case. `settle_seconds`: how long a run waits
    at its end for git processes that delete packs. See settle().
    """
    ending = stop or StopRequest()
    with time_limit(ending, max_seconds), at_work(objdir, clock, stop=ending, report=report) as session:
        fs.check_git_locks(objdir, session.now())
        work = _Run(session, ending, path)
        try:
            work.do_all()
            work.settle(settle_seconds)
        except Stopped:
            pass  # `stop` says why
        except Exception as error:
            with contextlib.suppress(Exception):  # the first error is the one to report
                session.space.remove_all()  # on a full disk the record needs their space
                work.finish(error=str(error) or type(error).__name__)
            raise
        return work.finish()


def plan_maintenance_of(objdir: ObjectDir, *, clock: Clock = now) -> RunPlan:
    """Return the plan of a maintain() that would start now."""
    return plan_run(look_at_everything(objdir, now=clock()), rules=rules_from(objdir.settings), now=clock())


class _Run:
    """One run under the lock: it looks at the repository, decides the next step, and does it."""

    def __init__(self, session: Session, stop: StopRequest, path: str | None) -> None:
        self._session = session
        self._objdir = session.objdir
        self._path = path
        self._stop = stop
        self._rules = rules_from(session.objdir.settings)
        self._record = RunRecord(session)
        self._blind = False
        self._failed: GpaError | OSError | None = None
        self._seen: Inventory | None = None

    def do_all(self) -> None:
        """Do the first step that is due, and decide again, until no due step changes anything."""
        inventory = self._first_look()
        record = self._record
        record.complaints += complaints_of(inventory)
        record.begin(inventory, self._rules)
        idle: set[str] = set(NEED_INDEX) if self._blind else set()
        plan = self._decide(inventory, idle)
        for _ in range(ROUNDS):
            if self._stop.why or not plan.due:
                break
            step = plan.due[0]
            if not self._try(step) or step.verb in record.no_room:
                idle.add(step.verb)
            if record.no_room and record.has_freed(step.verb):
                idle.difference_update(record.no_room)
                record.no_room.clear()
            self._settle_ended()
            plan = self._decide(self._look(), idle)
        if self._failed is not None and not record.steps:
            raise self._failed
        record.reasons += [plan.step(verb).reason for verb in TELLING if verb not in idle]

    def settle(self, seconds: float) -> None:
        """Make sure that the index names no pack which a git process has deleted during this run."""
        space = self._session.space
        beside = [*space.beside, *fs.deleters(self._objdir)]
        if beside:
            left = settle(self._session, beside, seconds=seconds)
            self._seen = None
            if left:
                self._record.warnings.append(f"{left} is at work, and may delete packs that the index names")
        space.beside.clear()

    def finish(self, *, error: str = "") -> RunResult:
        """Record the run, and tell the hooks when the next run is worth while."""
        return self._record.finish(
            self._look(), rules=self._rules, path=self._path, stopped=self._stop.why, blind=self._blind, error=error
        )

    # -- look and decide

    def _decide(self, inventory: Inventory, idle: Collection[str]) -> RunPlan:
        return plan_run(inventory, rules=self._rules, now=self._session.now(), idle=idle)

    def _look(self) -> Inventory:
        """Return the current Inventory, as this run has left it."""
        if self._seen is None:
            self._seen = look_at_everything(self._objdir, now=self._session.now(), with_index=not self._blind)
        return self._seen

    def _first_look(self) -> Inventory:
        """Return the current Inventory.

        A damaged combined index is rebuilt. An unreadable one stays, and only steps that need no index run.
        """
        try:
            return self._look()
        except (Corrupt, SystemFailed, Unsupported) as error:
            self._blind = True
            inventory = self._look()
            complaints = self._record.complaints
            if isinstance(error, Corrupt) and os.path.isfile(self._objdir.index_path):
                self._seen = None
                done = write_index(self._session._replace(stop=None), broken=True)
                complaints += (f"ignoring existing multi-pack-index; {error}", *done.complaints)
                self._blind = not done.written
                return self._look()
            complaints.append(str(error))
            return inventory

    def _settle_ended(self) -> None:
        """Run settle() as soon as the git processes have ended, because a run may take long."""
        beside = self._session.space.beside
        if beside and not any(one.is_alive for one in beside):
            settle(self._session._replace(stop=None), list(beside), seconds=0)
            beside.clear()
            self._seen = None

    # -- do

    def _try(self, step: RunStep) -> bool:
        """Do one step. A failure does not prevent the other steps. Return False as _do() does."""
        try:
            return self._do(step)
        except (Locked, Refused, StalePlan, Stopped):
            raise
        except (GpaError, OSError) as error:
            self._failed = self._failed or error
            self._record.tell_failure(step.verb, error)
            return False

    def _do(self, step: RunStep) -> bool:
        """Do one step. Return False if it changed nothing, so that repeating it would not either."""
        actions: dict[str, Callable[[RunStep, Inventory], StepResult | None]] = {
            "loose": self._add_loose,
            "index": self._write_index,
            "repack": self._merge,
            "fold": self._merge,
            "expire": self._expire,
            "tidy": self._tidy,
            "refs": self._pack_refs,
        }
        begun = time.monotonic()
        inventory, self._seen = self._look(), None
        result = actions[step.verb](step, inventory)
        if result is None:
            return False
        self._record.steps.append(result._replace(seconds=round(time.monotonic() - begun, 3)))
        return True

    def _add_loose(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        from .add_loose import add_loose_in  # start-up cost: in most runs nothing is due, here and below

        return self._record.loose(add_loose_in(self._session))

    def _write_index(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        scope = IndexScope(leave_out=tuple(self._left_out(inventory)))
        return self._record.index(write_index(self._session, scope, seen=inventory))

    def _merge(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        from .repack import repack_in

        done = repack_in(
            self._session,
            lambda inventory: batch_of(step, inventory, self._rules),
            indexed=lambda inventory, plan: needs_index(inventory, [pack.name for pack in plan.batch]),
            leave_out=self._left_out(inventory),
            seen=inventory,
        )
        return self._record.merge(step.verb, done)

    def _expire(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        from .expire import expire_in

        done = expire_in(self._session, None, leave_out=self._left_out(inventory), seen=inventory)
        return self._record.expire(done)

    def _left_out(self, inventory: Inventory) -> frozenset[str]:
        """Return the packs that an index of this run does not name."""
        return left_out(inventory, self._rules)

    def _tidy(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        paths = [os.path.join(self._objdir.objects, name) for name in inventory.git_leftovers]
        count = 0
        for path in paths:
            try:
                # A push of the same pack creates its own .keep.
                if not path.endswith(".keep") or fs.is_dead_keep(path) or fs.read_hold(path):
                    count += fs.remove_leftover(path)
            except OSError as error:
                self._record.complaints.append(str(error))
        return self._record.counted("tidy", count)

    def _pack_refs(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        link = link_among_refs(self._objdir)
        if link:
            self._record.warnings.append(
                f"not packing refs: '{link}' is a symbolic link, and git would change what it leads to"
            )
            return None
        try:
            run_git(["pack-refs", "--all", "--prune"], cwd=self._path, stop=self._stop)
        except GitFailed:
            if self._stop.why:
                raise Stopped from None
            raise
        return self._record.counted("refs", inventory.loose_refs - self._look().loose_refs)
