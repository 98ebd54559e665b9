"""Repair the damage that diagnose() found, in an order in which a crash loses nothing.

1. each pack: a new idx, or its sound objects copied     a crash leaves extra packs and loose objects
2. an index that names no damaged file                    readers find every readable object
3. damaged files move to gpa/damaged                      a crash leaves some of them: the next repair continues
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack

from .. import fs
from .._core.format import IdxFiles, idx_has, loose_name
from ..apply.expire import names_any
from ..apply.repair import (
    Salvage,
    files_of,
    oids_in,
    oids_of,
    promised_oids,
    read_by_git,
    rebuild_idx,
    salvage,
    write_loose,
)
from ..base.arguments import checked
from ..base.progress import ReportProgress
from ..base.text import count_of
from ..errors import GpaError, SystemFailed
from ..look.damage import diagnose, index_fault, loose_fault
from ..model.plans import IndexScope
from ..model.repair import Diagnosis, LostObject, RepairPlan, RepairResult, RepairStep
from ..plan.repair import plan_repair
from ..repo.discover import alternates_of, find_object_dir
from ..repo.objdir import ObjectDir
from ..state.lost import add_lost
from ..state.paths import DAMAGED, LOST, path_of
from ..state.superseded import record_superseded
from ..store.page_store import PageStore
from .at_work import at_work
from .index import write_index
from .session import Session, now

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath

SAVING = "Saving objects"


@checked
def repair(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    threads: int = 0,
    report: ReportProgress | None = None,
) -> RepairResult:
    """Read every byte, and repair damage.

    idx files and the index are rebuilt. The readable objects of a damaged pack or loose file are saved, from any copy,
    and the file is moved to gpa/damaged. `lost` names the lost objects. Raises Locked while another run, `git gc` or
    `git maintenance` is running.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    with at_work(objdir, now, report=report) as session:
        return repair_in(session, threads=threads)


def plan_repair_of(objdir: ObjectDir, *, threads: int = 0, report: ReportProgress | None = None) -> RepairPlan:
    """Return the plan of a repair() that would start now."""
    return _plan(objdir, diagnose(objdir, now=now(), threads=threads, report=report))


def _plan(objdir: ObjectDir, found: Diagnosis) -> RepairPlan:
    return plan_repair(found, precious_objects=objdir.settings.precious_objects)


def repair_in(session: Session, *, threads: int = 0) -> RepairResult:
    """Repair files, save readable objects, set aside damaged files, and return the lost objects."""
    objdir = session.objdir
    _refuse_link(path_of(objdir, DAMAGED))
    found = diagnose(objdir, now=session.now(), threads=threads, report=session.report)
    plan = _plan(objdir, found)
    if not plan.steps:
        return RepairResult(reason="no damage was found")
    with fs.git_locks(objdir, session.space, session.now()):
        work = _Repair(session, found)
        for step in plan.steps:
            work.take(step)
        return work.finish()


def _refuse_link(path: str) -> None:
    """Raise SystemFailed if the folder for damaged files is a link, before any work is done in vain."""
    if os.path.islink(path):
        raise SystemFailed(f"cannot write through the symbolic link '{path}'", path=path, errno=errno.ELOOP)


class _Repair:
    """One repair under the locks: its results so far, and the questions that are settled at the end."""

    def __init__(self, session: Session, found: Diagnosis) -> None:
        self._session = session
        self._objdir = session.objdir
        self._space = session.space
        self._sound = [pack.name for pack in found.packs if not pack.fault]
        self._index_unread = bool(found.index_unread)
        self._chain_fault = found.chain_fault
        self._report = session.report
        self._done: list[str] = []
        self._left: list[str] = []
        self._damaged: set[str] = set()
        self._pages: set[str] = set()
        self._in_doubt: list[LostObject] = []
        self._lost: list[LostObject] = []
        self._unknown: list[str] = []
        self._saved = 0
        self._folder = ""

    def take(self, step: RepairStep) -> None:
        """Do one step. Files whose objects it copies are set aside at the end, and the index is written last."""
        if step.action == "leave":
            self._left.append(f"'{step.name}': {step.reason}")
        elif step.action == "mend":
            try:
                self._mend(step)
            except OSError as error:  # includes SystemFailed
                self._left.append(f"'{step.name}': {error}")
        elif step.action == "set aside" and step.name.startswith("pack-"):
            self._doubt(step.name, oids_of(self._objdir, step.name))
            self._done.append(f"set aside '{step.name}.idx': {step.reason}")
        elif step.action == "set aside":
            # No reader can use it, and a copy that is saved later may need its name.
            self._folder = fs.set_aside(self._objdir, [loose_name(step.name)])
            self._in_doubt.append(LostObject(step.name, loose_name(step.name)))
            self._done.append(f"set aside loose object {step.name}: {step.reason}")

    def _mend(self, step: RepairStep) -> None:
        promised = promised_oids(self._objdir, step.name)
        if rebuild_idx(self._objdir, self._space, step.name):
            self._sound.append(step.name)
            there = oids_in(self._objdir, [step.name])
            self._in_doubt += [LostObject(oid, step.name) for oid in promised if oid not in there]
            self._done.append(f"rebuilt '{step.name}.idx' from its pack: {step.reason}")
            return
        found = salvage(self._objdir, self._space, step.name)
        self._pages.update(page.name for page in found.pages)
        self._saved += found.object_count
        self._doubt(step.name, found.unsaved)
        self._done.append(f"saved {_what(found)} of '{step.name}', and set it aside: {step.reason}")

    def _doubt(self, name: str, oids: tuple[str, ...] | None) -> None:
        """Note that a pack will be set aside, and the ids of its objects that are not saved yet; None: unknown."""
        self._damaged.add(name)
        if oids is None:
            self._unknown.append(name)
        self._in_doubt += [LostObject(oid, name) for oid in oids or ()]

    def finish(self) -> RepairResult:
        self._settle_doubts()
        self._write_index()
        files = [path for name in sorted(self._damaged) for path in files_of(self._objdir, name)]
        if files:
            self._folder = fs.set_aside(self._objdir, files)
        if self._damaged and names_any(self._objdir, self._damaged):
            # A git process that had listed them before has indexed them again.
            write_index(self._session, force=True)
        if self._lost:
            self._record_lost()
        if not self._index_unread:
            record_superseded(self._objdir, self._space, now=self._session.now())
        return RepairResult(
            done=tuple(self._done),
            left=tuple(self._left),
            saved_count=self._saved,
            lost=tuple(self._lost),
            unknown=tuple(self._unknown),
            aside=self._folder,
            reason="" if self._done else "what is damaged is not ours to mend",
        )

    def _settle_doubts(self) -> None:
        """Find a sound copy of each object that was not copied, or read it in any other way and write it again."""
        if not self._in_doubt:
            return
        with ExitStack() as stack:
            objdir = self._objdir
            format_ = {"object_format": objdir.object_format, "verify": True}
            store = stack.enter_context(PageStore.open(objdir.objects, **format_))
            others = [stack.enter_context(PageStore.open(path, **format_)) for path in alternates_of(objdir.objects)]
            names = [*self._sound, *self._pages]
            files = stack.enter_context(IdxFiles(objdir.pack_dir, names, objdir.object_format))
            for number, doubt in enumerate(self._in_doubt):
                if self._report:
                    self._report(SAVING, number, len(self._in_doubt))
                if any(idx_has(files[name], doubt.oid) for name in names):
                    continue
                try:
                    if loose_fault(objdir, doubt.oid) != "" and not any(_read(other, doubt.oid) for other in others):
                        self._save(doubt, _read(store, doubt.oid) or read_by_git(objdir, doubt.oid))
                except OSError as error:
                    self._keep_in_doubt(doubt, error)

    def _keep_in_doubt(self, doubt: LostObject, error: OSError) -> None:
        """Keep the file of an object, because it is unknown whether there is another copy."""
        if doubt.name in self._damaged:
            self._damaged.discard(doubt.name)
            self._left.append(f"'{doubt.name}': whether {doubt.oid} is elsewhere cannot be told: {error}")
        elif not any(line.startswith(f"'{doubt.name}'") for line in self._left):
            self._left.append(f"'{doubt.name}': whether {doubt.oid} is lost cannot be told: {error}")

    def _save(self, doubt: LostObject, found: tuple[str, bytes] | None) -> None:
        if found is None:
            self._lost.append(doubt)
        else:
            write_loose(self._objdir, self._space, doubt.oid, *found)
            self._saved += 1

    def _write_index(self) -> None:
        if self._index_unread:
            return  # it stays and is reported; no pack was changed
        fault = index_fault(self._objdir)
        had_index = os.path.lexists(self._objdir.index_path)
        if fault:
            fs.remove_index(self._objdir)
        elif not self._chain_fault and not (had_index and (self._damaged or self._pages)):
            return
        scope = IndexScope(without=tuple(self._damaged), new_pages=tuple(self._pages))
        result = write_index(self._session, scope, force=True, afresh=bool(fault))
        fault = fault or self._chain_fault
        if result.written:
            text = f"wrote the index: {count_of(result.pack_count, 'pack')}, {count_of(result.object_count, 'object')}"
            self._done.append(f"{text}{'; ' + fault if fault else ''}")
        else:
            fs.remove_index(self._objdir)
            fs.remove_chain(self._objdir)

    def _record_lost(self) -> None:
        try:
            add_lost(self._objdir, self._space, self._lost)
        except OSError as error:
            path = path_of(self._objdir, LOST)
            self._left.append(f"'{path}': the objects that are lost could not be added: {error}")


def _what(found: Salvage) -> str:
    if found.pages:
        return f"{count_of(found.object_count, 'object')} in {count_of(len(found.pages), 'page')}"
    return f"{count_of(found.object_count, 'object')}, loose,"


def _read(store: PageStore, oid: str) -> tuple[str, bytes] | None:
    """Return the object that the store finds, else None. Raise SystemFailed if the store cannot look."""
    try:
        return store.read(oid)
    except SystemFailed:
        raise
    except GpaError:
        return None
