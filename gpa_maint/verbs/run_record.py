"""Collect the results and messages of a run, and write its records in gpa/ at the end."""

from __future__ import annotations

import time
from collections.abc import Callable

from .. import fs
from ..apply.room import is_full
from ..errors import GpaError
from ..model.inventory import Inventory, PackInfo
from ..model.plans import RunRules
from ..model.results import ExpireResult, LeftOut, LooseResult, RepackResult, RunResult, StepResult, WriteResult
from ..plan.next_run import plan_next_run
from ..plan.repack import why_not_small
from ..repo.server_info import update_server_info
from ..state.next_run import write_next
from ..state.runs import (
    Totals,
    add_run,
    count_pushed,
    log,
    moment_of,
    note_moment,
    read_last_run,
    read_totals,
    write_last_run,
    write_totals,
)
from ..state.superseded import record_superseded
from .session import Session
from .summary import describe_run, describe_step


class RunRecord:
    """Steps, complaints and warnings of one run. It may be lost without losing an object."""

    def __init__(self, session: Session) -> None:
        self.steps: list[StepResult] = []
        self.warnings = [f"removed the lock '{lock}' of a killed run" for lock in session.space.healed]
        self.complaints: list[str] = []
        self.reasons: list[str] = []
        self.no_room: dict[str, str] = {}
        """Verb -> work that a full disk prevented."""
        self._session = session
        self._objdir = session.objdir
        self._started = session.now()
        self._begun = time.monotonic()
        self._left_out: list[LeftOut] = []
        self._pages: set[str] = set()
        self._totals = Totals(since=session.now())

    def begin(self, inventory: Inventory, rules: RunRules) -> None:
        """Count the packs pushed since the last run, and tell the hooks that a run has begun."""

        def is_small(pack: PackInfo) -> bool:
            return not why_not_small(pack, rules.page_objects, rules.page_bytes)

        totals = read_totals(self._objdir)
        self._totals = count_pushed(totals, inventory, now=self._session.now(), is_small=is_small)
        self._write("gpa/next", lambda: self._write_next(inventory, rules))

    def has_freed(self, verb: str) -> bool:
        """Return whether the last step was an expire that freed space."""
        return verb == "expire" and bool(self.steps) and self.steps[-1].verb == verb and self.steps[-1].freed_bytes > 0

    def tell_failure(self, verb: str, error: GpaError | OSError) -> None:
        """Note that a step failed. A full disk may have space again later in this run; other errors are complaints."""
        if is_full(error):
            hint = getattr(error, "hint", "")
            self.no_room[verb] = f"{verb}: {error}" + (f"; {hint}" if hint else "")
        else:
            self.complaints.append(f"{verb}: {error}")

    # -- the result of each step, None if it changed nothing

    def loose(self, done: LooseResult) -> StepResult | None:
        self._left_out += done.left_out
        self.complaints += done.complaints
        if done.no_room and not done.removed_count:  # the removed files make room for more
            self.no_room["loose"] = done.no_room
        if not done.pages:
            return None
        self._pages.update(page.name for page in done.pages)
        self._totals = self._totals._replace(pushed_bytes=self._totals.pushed_bytes + done.loose_bytes)
        return _told(
            "loose",
            pack_bytes=sum(page.size for page in done.pages),
            sources=done.object_count,
            source_bytes=done.loose_bytes,
            pages=len(done.pages),
            objects=done.object_count,
        )

    def index(self, done: WriteResult) -> StepResult | None:
        self.warnings += done.warnings
        self.complaints += done.complaints
        if done.removed:
            return _told("index")
        if not done.written:
            return None
        counts = {"sources": done.pack_count, "source_bytes": done.size, "objects": done.object_count}
        return _told("index", index_bytes=done.size, **counts)

    def merge(self, verb: str, done: RepackResult) -> StepResult | None:
        self._left_out += done.left_out
        self.complaints += done.complaints
        self.warnings += done.midx.warnings if done.midx else ()
        if done.no_room:
            self.no_room[verb] = done.no_room
        if not done.merged:
            self.reasons.append(done.reason)
            return None
        self._pages.update(page.name for page in done.pages)
        return _told(
            verb,
            pack_bytes=sum(page.size for page in done.pages),
            index_bytes=done.midx.size if done.midx else 0,
            sources=len(done.merged),
            source_bytes=done.source_bytes,
            pages=len(done.pages),
            objects=done.object_count,
        )

    def expire(self, done: ExpireResult) -> StepResult | None:
        self.warnings += [f"not deleting '{kept.pack}': {kept.reason}" for kept in done.kept_back]
        self.complaints += done.complaints
        if not done.deleted and not done.released:
            self.reasons.append(done.reason)
            return None
        index_bytes = done.midx.size if done.midx else 0
        counts = {"sources": len(done.deleted), "pages": len(done.released)}
        return _told("expire", index_bytes=index_bytes, freed_bytes=done.freed_bytes, **counts)

    def counted(self, verb: str, count: int) -> StepResult | None:
        return _told(verb, sources=count) if count > 0 else None

    # -- at the end

    def finish(
        self, inventory: Inventory, *, rules: RunRules, path: str | None, stopped: str, blind: bool, error: str
    ) -> RunResult:
        """Write the records. `inventory` is the state after the run; `blind`: it lacks the index."""
        objdir, space = self._objdir, self._session.space
        if self._pages:
            update_server_info(objdir, path)
        if not self.steps and not blind:
            self._write("gpa/state.json", lambda: record_superseded(objdir, space, now=self._session.now()))
        result = _count_alike(read_last_run(objdir), self._result(stopped, error))
        self._write("gpa/totals.json", lambda: self._write_totals(inventory))
        if self.steps or result.stopped:
            self._write("gpa/next", lambda: self._write_next(inventory, rules, at_once=bool(result.stopped)))
        self._write("last run", lambda: write_last_run(objdir, space, result))
        self._write("gpa/log", lambda: log(objdir, describe_run(result), now=self._session.now()))
        self._write("gpa/history", lambda: self._note_moment(inventory))
        if not error:
            fs.keep_reserve(objdir)
        return result._replace(warnings=tuple(dict.fromkeys(self.warnings)))

    def _result(self, stopped: str, error: str) -> RunResult:
        return RunResult(
            started=self._started,
            seconds=round(time.monotonic() - self._begun, 3),
            steps=tuple(self.steps),
            reason="" if self.steps else "; ".join(self.reasons),
            stopped=stopped,
            error=error,
            left_out=tuple(self._left_out),
            warnings=tuple(self.warnings),
            complaints=tuple(dict.fromkeys((*self.complaints, *self.no_room.values()))),
        )

    def _write(self, what: str, write: Callable[[], None]) -> None:
        """Write a record. It may be lost without losing an object, so an error does not fail the run."""
        try:
            write()
        except OSError as error:
            self.warnings.append(f"could not record this run ({what}): {error}")

    def _write_totals(self, inventory: Inventory) -> None:
        there = {pack.name for pack in inventory.packs}
        known = there & (self._pages | set(self._totals.known))
        write_totals(self._objdir, self._session.space, add_run(self._totals, self.steps, known=known))

    def _note_moment(self, inventory: Inventory) -> None:
        """Append the current state to gpa/history, if it has changed."""
        totals = read_totals(self._objdir)
        if totals is not None:
            note_moment(self._objdir, moment_of(inventory, totals, now=self._session.now()))

    def _write_next(self, inventory: Inventory, rules: RunRules, *, at_once: bool = False) -> None:
        plan = plan_next_run(inventory, rules=rules, now=self._session.now(), at_once=at_once)
        write_next(self._objdir, self._session.space, packs=plan.packs, more_loose=plan.more_loose, due=plan.at)


def _count_alike(last: RunResult | None, result: RunResult) -> RunResult:
    """Return the result with the number of runs in a row that failed in this way, and since when."""
    if not (result.error or result.complaints):
        return result
    if last is None or not result.fails_like(last):
        return result._replace(same_count=1, same_since=result.started)
    return result._replace(same_count=max(1, last.same_count) + 1, same_since=last.same_since or last.started)


def _told(verb: str, **counts: int) -> StepResult:
    """Return a step with its counts and its description."""
    step = StepResult(verb, "", 0.0, **counts)
    return step._replace(text=describe_step(step))
