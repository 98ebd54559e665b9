"""A maintenance run: the first step that is due, then decided again, until nothing is due.

Keeps I10 (whoever starts it never waits for it, and it fails alone) and I12 (a run that did nothing says why). What it
did goes to gpa/last-run.json and gpa/log; gpa/next tells the hooks when to start the next one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection

from .. import fs
from ..apply.repack import Report
from ..apply.room import is_full
from ..apply.write import record_superseded
from ..base.progress import Stop
from ..errors import Corrupt, GitFailed, GpaError, Locked, Refused, StalePlan, Stopped, SystemFailed, Unsupported
from ..look.inventory import complaints_of, link_among_refs, look_around, take_inventory
from ..model.inventory import Inventory
from ..model.json import to_json
from ..model.plans import RepackPlan, RunPlan, RunRules, RunStep
from ..model.results import LeftOut, RunResult, StepResult
from ..plan.expire import plan_expire
from ..plan.repack import plan_batch, why_not_small
from ..plan.run import left_out, needs_index, plan_run
from ..repo.config import Settings
from ..repo.git import run_git
from ..repo.objdir import ObjectDir
from ..state import next_run
from ..state.runs import Moment, Totals, last_run_path, note_moment, read_last_run, read_totals, write_totals
from ..state.runs import log as log
from . import rounds
from .summary import describe_run, describe_step

ROUNDS = 256
"""How many steps a run does at most: merging a backlog takes several batches."""

TELLING = ("loose", "repack", "expire")
"""The steps whose reasons say why a run did nothing; the others are due now and then only."""

NEED_INDEX = ("index", "repack", "fold", "expire")
"""The steps that are not done while the combined index cannot be read."""

UNBOUNDED = (1 << 31) - 1
"""More than any repository has of anything."""

LOOK_AFTER_PACKS = 16
"""After how many new packs a hook starts the next run: looking costs less than a push, so not at each one."""

LOOK_AFTER_SECONDS = 86400


def plan_maintenance(objdir: ObjectDir) -> RunPlan:
    """What a run would do now."""
    return _decide(objdir, look(objdir))


def look(objdir: ObjectDir, *, with_index: bool = True) -> Inventory:
    """Everything a run decides by."""
    return look_around(objdir, take_inventory(objdir, with_index=with_index), now=rounds.now())


def _decide(objdir: ObjectDir, inventory: Inventory, idle: Collection[str] = ()) -> RunPlan:
    return plan_run(inventory, rules=rules_from(objdir.settings), now=rounds.now(), idle=idle)


def rules_from(settings: Settings) -> RunRules:
    """The settings that a run's policy depends on."""
    return RunRules(**{field: getattr(settings, field) for field in RunRules._fields})


def run(
    objdir: ObjectDir, *, path: str | None, stop: Stop, report: Report | None = None, settle_seconds: float = 60
) -> RunResult:
    """Do what is due. Locked when another run, `git gc` or `git maintenance` is at work.

    What was done before an error or a stop stays done, and is recorded in any case. At its end a run waits for up to
    `settle_seconds` until no git process is at work that deletes packs: see rounds.settle().
    """
    with rounds.at_work(objdir) as space:
        fs.check_git_locks(objdir, rounds.now())
        work = _Run(objdir, space, path, stop, report)
        try:
            work.do_all()
            work.settle(settle_seconds)
        except Stopped:
            pass  # `stop` says why
        except Exception as error:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                space.remove_all()  # on a full disk the record needs their room
                work.finish(error=str(error) or type(error).__name__)
            raise
        return work.finish()


class _Run:
    """One run under the lock: what it has done so far, and what there is to say of it."""

    def __init__(
        self, objdir: ObjectDir, space: fs.Workspace, path: str | None, stop: Stop, report: Report | None
    ) -> None:
        self._objdir = objdir
        self._space = space
        self._path = path
        self._stop = stop
        self._report = report
        self._started = time.time()
        self._steps: list[StepResult] = []
        self._left_out: list[LeftOut] = []
        self._warnings = [f"removed the lock '{lock}' of a killed run" for lock in space.healed]
        self._complaints: list[str] = []
        self._blind = False
        self._failed: GpaError | OSError | None = None
        self._no_room: dict[str, str] = {}
        self._reasons: list[str] = []
        self._pages: set[str] = set()
        self._seen: Inventory | None = None
        self._totals = Totals(since=rounds.now())

    def do_all(self) -> None:
        """Do the first step that is due and decide again, until none is due that gets anything done."""
        inventory = self._first_look()
        self._complaints += complaints_of(inventory)
        self._totals = _count_pushed(self._objdir, inventory)
        self._record("gpa/next", lambda: self._write_next(inventory))
        idle: set[str] = set(NEED_INDEX) if self._blind else set()
        plan = _decide(self._objdir, inventory, idle)
        for _ in range(ROUNDS):
            if self._stop.why or not plan.due:
                break
            step = plan.due[0]
            if not self._try(step) or step.verb in self._no_room:
                idle.add(step.verb)
            if self._no_room and self._has_freed(step.verb):
                idle.difference_update(self._no_room)
                self._no_room.clear()
            self._settle_ended()
            plan = _decide(self._objdir, self._look(), idle)
        if self._failed is not None and not self._steps:
            raise self._failed
        self._reasons += [plan.step(verb).reason for verb in TELLING if verb not in idle]

    def _has_freed(self, verb: str) -> bool:
        """Whether the step just done was an expire that made room."""
        return (
            verb == "expire" and bool(self._steps) and self._steps[-1].verb == verb and self._steps[-1].freed_bytes > 0
        )

    def _settle_ended(self) -> None:
        """As settle(), as soon as the processes that were at work have ended: a run may take long."""
        beside = self._space.beside
        if beside and not any(one.is_alive for one in beside):
            rounds.settle(self._objdir, self._space, list(beside), seconds=0)
            beside.clear()
            self._seen = None

    def settle(self, seconds: float) -> None:
        """See to it that the index names no pack which a git process beside this run has deleted."""
        beside = [*self._space.beside, *fs.deleters(self._objdir)]
        if beside:
            left = rounds.settle(self._objdir, self._space, beside, seconds=seconds, stop=self._stop)
            self._seen = None
            if left:
                self._warnings.append(f"{left} is at work, and may delete packs that the index names")
        self._space.beside.clear()

    def _look(self) -> Inventory:
        """What is there now, as this run has left it."""
        if self._seen is None:
            self._seen = look(self._objdir, with_index=not self._blind)
        return self._seen

    def _first_look(self) -> Inventory:
        """What is there. A combined index that is damaged is made again; one that cannot be read stays where it is, and
        what needs none is done."""
        try:
            return self._look()
        except (Corrupt, SystemFailed, Unsupported) as error:
            self._blind = True
            inventory = self._look()
            if isinstance(error, Corrupt) and os.path.isfile(self._objdir.index_path):
                self._seen = None
                done = rounds.write_index(self._objdir, self._space, broken=True)
                self._complaints += (f"ignoring existing multi-pack-index; {error}", *done.complaints)
                self._blind = not done.written
                return self._look()
            self._complaints.append(str(error))
            return inventory

    def _try(self, step: RunStep) -> bool:
        """Do one step; one that fails does not keep the others from being done. False as _do()."""
        try:
            return self._do(step)
        except (Locked, Refused, StalePlan, Stopped):
            raise
        except (GpaError, OSError) as error:
            self._failed = self._failed or error
            if is_full(error):
                hint = getattr(error, "hint", "")
                self._no_room[step.verb] = f"{step.verb}: {error}" + (f"; {hint}" if hint else "")
            else:
                self._complaints.append(f"{step.verb}: {error}")
            return False

    def _do(self, step: RunStep) -> bool:
        """Do one step; False when that changed nothing, so that doing it again would not either."""
        actions: dict[str, Callable[[RunStep, Inventory], StepResult | None]] = {
            "loose": self._pack_loose,
            "index": self._index,
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
        self._steps.append(result._replace(seconds=round(time.monotonic() - begun, 3)))
        return True

    # -- steps

    def _pack_loose(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        from ..apply.loose import pack_loose  # start-up cost: few runs find so many

        plan = rounds.plan_loose_now(self._objdir, self._stop.progress)
        done = pack_loose(self._objdir, self._space, plan, self._report, self._stop.progress, now=rounds.now())
        self._left_out += done.left_out
        self._complaints += done.complaints
        if done.no_room and not done.removed_count:  # what was removed makes room for more
            self._no_room["loose"] = done.no_room
        if not done.pages:
            return None
        self._pages.update(page.name for page in done.pages)
        written = sum(page.size for page in done.pages)
        self._totals = self._totals._replace(pushed_bytes=self._totals.pushed_bytes + done.loose_bytes)
        return _told(
            "loose",
            pack_bytes=written,
            sources=done.object_count,
            source_bytes=done.loose_bytes,
            pages=len(done.pages),
            objects=done.object_count,
        )

    def _index(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        unnamed = self._unnamed(inventory)
        done = rounds.write_index(self._objdir, self._space, unnamed=unnamed, seen=inventory, stop=self._stop.progress)
        self._warnings += done.warnings
        self._complaints += done.complaints
        if done.removed:
            return _told("index")
        if not done.written:
            return None
        counts = {"sources": done.pack_count, "source_bytes": done.size, "objects": done.object_count}
        return _told("index", index_bytes=done.size, **counts)

    def _merge(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        rules = rules_from(self._objdir.settings)
        done = rounds.merge(
            self._objdir,
            self._space,
            lambda inventory: self._batch(step, inventory, rules),
            indexed=lambda inventory, plan: needs_index(inventory, [pack.name for pack in plan.batch]),
            unnamed=self._unnamed(inventory),
            seen=inventory,
            report=self._report,
            stop=self._stop.progress,
        )
        self._left_out += done.left_out
        self._complaints += done.complaints
        self._warnings += done.midx.warnings if done.midx else ()
        if done.no_room:
            self._no_room[step.verb] = done.no_room
        if not done.merged:
            self._reasons.append(done.reason)
            return None
        self._pages.update(page.name for page in done.pages)
        written = sum(page.size for page in done.pages)
        index_bytes = done.midx.size if done.midx else 0
        return _told(
            step.verb,
            pack_bytes=written,
            index_bytes=index_bytes,
            sources=len(done.merged),
            source_bytes=done.source_bytes,
            pages=len(done.pages),
            objects=done.object_count,
        )

    def _batch(self, step: RunStep, inventory: Inventory, rules: RunRules) -> RepackPlan:
        """The planned packs, as far as they are still there and to be merged, into one page where the plan says so."""
        order = {name: place for place, name in enumerate(step.packs)}
        packs = sorted((pack for pack in inventory.packs if pack.name in order), key=lambda pack: order[pack.name])
        ready = [pack for pack in packs if not (pack.is_protected or pack.is_superseded or not pack.object_count)]
        return plan_batch(
            inventory,
            ready if len(ready) > 1 else [],
            page_objects=UNBOUNDED if step.whole else rules.page_objects,
            page_bytes=1 << 62 if step.whole else rules.page_bytes,
            depth=rules.depth,
        )

    def _expire(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        unnamed = self._unnamed(inventory)
        done = rounds.expire(
            self._objdir,
            self._space,
            None,
            self._report,
            unnamed=unnamed,
            seen=inventory,
            stop=self._stop.progress,
        )
        self._warnings += [f"not deleting '{kept.pack}': {kept.reason}" for kept in done.kept_back]
        self._complaints += done.complaints
        if not done.deleted and not done.released:
            self._reasons.append(done.reason)
            return None
        index_bytes = done.midx.size if done.midx else 0
        counts = {"sources": len(done.deleted), "pages": len(done.released)}
        return _told("expire", index_bytes=index_bytes, freed_bytes=done.freed_bytes, **counts)

    def _unnamed(self, inventory: Inventory) -> frozenset[str]:
        """Packs that an index which this run writes does not name."""
        return left_out(inventory, rules_from(self._objdir.settings))

    def _tidy(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        paths = [os.path.join(self._objdir.objects, name) for name in inventory.git_leftovers]
        count = 0
        for path in paths:
            try:
                # A push that brings the same pack again makes its own .keep.
                if not path.endswith(".keep") or fs.is_dead_keep(path) or fs.read_hold(path):
                    count += fs.remove_leftover(path)
            except OSError as error:
                self._complaints.append(str(error))
        if not count:
            return None
        return _told("tidy", sources=count)

    def _pack_refs(self, step: RunStep, inventory: Inventory) -> StepResult | None:
        link = link_among_refs(self._objdir)
        if link:
            self._warnings.append(
                f"not packing refs: '{link}' is a symbolic link, and git would change what it leads to"
            )
            return None
        try:
            run_git(["pack-refs", "--all", "--prune"], cwd=self._path, stop=self._stop)
        except GitFailed:
            if self._stop.why:
                raise Stopped from None
            raise
        packed = inventory.loose_refs - self._look().loose_refs
        return _told("refs", sources=packed) if packed > 0 else None

    # -- what is left behind

    def finish(self, *, error: str = "") -> RunResult:
        """Record the run, and say when the next one is worth while."""
        inventory = self._look()
        if self._pages:
            rounds.tell_dumb_http(self._objdir, self._path)
        if not self._steps and not self._blind:
            self._record("gpa/state.json", lambda: record_superseded(self._objdir, self._space, now=rounds.now()))
        result = RunResult(
            started=int(self._started),
            seconds=round(time.time() - self._started, 3),
            steps=tuple(self._steps),
            reason="" if self._steps else "; ".join(self._reasons),
            stopped=self._stop.why,
            error=error,
            left_out=tuple(self._left_out),
            warnings=tuple(self._warnings),
            complaints=tuple(dict.fromkeys((*self._complaints, *self._no_room.values()))),
        )
        result = _count_alike(read_last_run(self._objdir), result)
        self._record("gpa/totals.json", lambda: self._write_totals(inventory))
        if self._steps or result.stopped:
            self._record("gpa/next", lambda: self._write_next(inventory, at_once=bool(result.stopped)))
        content = f"{to_json(result)}\n".encode()
        path = last_run_path(self._objdir)
        self._record("last run", lambda: fs.replace_file(self._objdir, self._space, path, content, durable=False))
        self._record("gpa/log", lambda: log(self._objdir, describe_run(result)))
        self._record("gpa/history", lambda: self._note_moment(inventory))
        if not error:
            fs.keep_reserve(self._objdir)
        return result._replace(warnings=tuple(dict.fromkeys(self._warnings)))

    def _record(self, what: str, write: Callable[[], None]) -> None:
        """Write one of our records. It may be lost without losing an object, so failing that does not fail a run."""
        try:
            write()
        except OSError as error:
            self._warnings.append(f"could not record this run ({what}): {error}")

    def _note_moment(self, inventory: Inventory) -> None:
        """Say in gpa/history how things are now, if they have changed."""
        totals = read_totals(self._objdir)
        if totals is None:
            return
        moment = Moment(
            at=rounds.now(),
            packs=sum(not pack.is_superseded for pack in inventory.packs),
            bytes=sum(pack.size for pack in inventory.packs),
            pushed_bytes=totals.pushed_bytes,
            written_bytes=totals.pack_bytes + totals.index_bytes,
            freed_bytes=totals.freed_bytes,
        )
        note_moment(self._objdir, moment)

    def _write_totals(self, inventory: Inventory) -> None:
        there = {pack.name for pack in inventory.packs}
        write_totals(
            self._objdir,
            self._space,
            self._totals._replace(
                runs=self._totals.runs + 1,
                pack_bytes=self._totals.pack_bytes + sum(step.pack_bytes for step in self._steps),
                index_bytes=self._totals.index_bytes + sum(step.index_bytes for step in self._steps),
                freed_bytes=self._totals.freed_bytes + sum(step.freed_bytes for step in self._steps),
                known=tuple(sorted(there & (self._pages | set(self._totals.known)))),
            ),
        )

    def _write_next(self, inventory: Inventory, *, at_once: bool = False) -> None:
        """Tell the hooks at how many packs and loose objects, and from what second on, to start a run."""
        settings = self._objdir.settings
        packs = 0 if at_once else len(inventory.packs) + len(inventory.idx_without_pack) + LOOK_AFTER_PACKS
        # Loose objects that a run has left, since they are damaged, shall not start another one.
        left = settings.auto_loose - inventory.loose_count
        room = left if left > 0 else settings.auto_loose
        more = -(-room * len(next_run.SAMPLED_FOLDERS) // 256)
        sampled = next_run.count_sampled(self._objdir.objects) + max(1, more) if settings.auto_loose else UNBOUNDED
        second = _next_due(inventory, settings.expire_grace, settings.keep_new)
        path = os.path.join(self._objdir.gpa_dir, "next")
        line = f"{packs} {sampled}\n".encode()
        fs.replace_file(self._objdir, self._space, path, line, durable=False, mtime=second)
        fs.put_marker(self._objdir, "next-", f"{packs}-{sampled}")


def _count_alike(last: RunResult | None, result: RunResult) -> RunResult:
    """Say how many runs in a row have failed in this way, and since when."""
    if not (result.error or result.complaints):
        return result
    if last is None or not result.fails_like(last):
        return result._replace(same_count=1, same_since=result.started)
    return result._replace(same_count=max(1, last.same_count) + 1, same_since=last.same_since or last.started)


def _told(verb: str, **counts: int) -> StepResult:
    """A step with its counts, and its words."""
    step = StepResult(verb, "", 0.0, **counts)
    return step._replace(text=describe_step(step))


def _next_due(inventory: Inventory, grace_seconds: int, keep_new: int) -> int:
    plan = plan_expire(inventory, grace_seconds=grace_seconds, keep_new=keep_new, now=rounds.now())
    daily = rounds.now() + LOOK_AFTER_SECONDS
    return daily if plan.next_due is None else min(daily, plan.next_due)


def _count_pushed(objdir: ObjectDir, inventory: Inventory) -> Totals:
    """The totals with the packs that came since the last run; the first run counts those that are small."""
    totals = read_totals(objdir)
    rules = rules_from(objdir.settings)
    new = inventory.packs
    if totals is None:
        totals = Totals(since=rounds.now())
        new = tuple(pack for pack in new if not why_not_small(pack, rules.page_objects, rules.page_bytes))
    known = set(totals.known)
    new = tuple(pack for pack in new if pack.name not in known)
    return totals._replace(
        pushed_packs=totals.pushed_packs + len(new),
        pushed_bytes=totals.pushed_bytes + sum(pack.size for pack in new),
        known=tuple(pack.name for pack in inventory.packs),
    )
