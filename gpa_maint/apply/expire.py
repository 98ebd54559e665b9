"""Delete superseded pages in two steps: first an index without them, then the files.

I7: Before a page is deleted, every object of it is proved to be in another pack that stays. Either that pack was merged
from the page, or its copy of the object is inflated now and has the object's id. I3 and I5: The index without the pages
is durable first. I8: Files that protect a pack are checked again now. I14: Holds end here.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack

from .. import fs
from .._core.format import IdxFiles, Midx, idx_fault, match_pack, open_midx
from .._core.merge import Proof
from ..base.progress import Progress, ReportProgress, until_stopped
from ..base.tuples import NamedTuple
from ..errors import Corrupt, ObjectMissing, Refused, StalePlan, SystemFailed, Unsupported
from ..model.inventory import PackInfo
from ..model.plans import ExpirePlan, Step
from ..repo.objdir import ObjectDir
from ..state.superseded import read_state

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any

    from ..fs.delete_many import Freeing


LOOK_AGAIN_NS = 5_000_000
"""Nanoseconds between two searches for git processes while pages are hidden; git hardly writes an index faster."""


class Proved(NamedTuple):
    """Packs that may be deleted, the packs that hold their objects, and the packs that must stay, with the reasons.

    `doubtful`: packs that must stay because git reads another copy of an object, which is damaged or wrong.
    """

    doomed: tuple[str, ...]
    takers: dict[str, tuple[str, ...]]
    kept_back: tuple[Step, ...]
    doubtful: tuple[Step, ...] = ()


def prove_doomed(
    objdir: ObjectDir, plan: ExpirePlan, report: ReportProgress | None = None, progress: Progress | None = None
) -> Proved:
    """Prove which planned pages may be deleted; a page that is not proved stays.

    Raises StalePlan or Corrupt about the index, Refused in a precious-objects repository.
    """
    if objdir.settings.precious_objects:
        raise Refused("cannot delete packs in a precious-objects repo")
    kept_back: list[Step] = []
    takers: dict[str, tuple[str, ...]] = {}
    with ExitStack() as stack:
        midx = open_midx(objdir.index_path, objdir.object_format)
        if midx is not None:
            stack.enter_context(midx)
        if (midx.trailer if midx else None) != plan.based_on:
            raise StalePlan("the combined index changed after planning")
        if midx is not None:
            midx.check_trailer()
        idx_files = _open_doomed(objdir, stack, plan, kept_back)
        prover = _Prover(objdir, stack, midx, plan)
        for number, (name, files) in enumerate(until_stopped(idx_files.items(), progress), start=1):
            try:
                takers[name] = prover.prove(name, files[name])
            except (ObjectMissing, Corrupt, SystemFailed, Unsupported) as error:
                kept_back.append(Step(pack=name, action="leave", reason=str(error)))
            if report:
                report("Proving superseded pages", number, len(idx_files))
        doubtful = tuple(
            Step(pack=name, action="leave", reason=reason)
            for name, reason in prover.check_copies(report, progress).items()
            if takers.pop(name, None) is not None
        )
    return Proved(doomed=tuple(takers), takers=takers, kept_back=(*kept_back, *doubtful), doubtful=doubtful)


def _open_doomed(objdir: ObjectDir, stack: ExitStack, plan: ExpirePlan, kept_back: list[Step]) -> dict[str, IdxFiles]:
    """Return the idx of each doomed page. A page that is protected now, or cannot be read, stays."""
    names = []
    there = set(os.listdir(objdir.pack_dir))
    for pack in plan.doomed:
        reason = fs.protection(objdir, there, pack.name)
        if reason:
            kept_back.append(Step(pack=pack.name, action="leave", reason=reason))
        else:
            names.append(pack.name)
    try:
        together = stack.enter_context(IdxFiles(objdir.pack_dir, names, objdir.object_format))
        return dict.fromkeys(names, together)
    except FileNotFoundError as error:
        raise StalePlan(f"a superseded page went away: {error}") from error
    except (Corrupt, SystemFailed, Unsupported):
        pass  # one of them cannot be read: find it
    opened: dict[str, IdxFiles] = {}
    for name in names:
        try:
            opened[name] = stack.enter_context(IdxFiles(objdir.pack_dir, [name], objdir.object_format))
        except (Corrupt, SystemFailed, Unsupported) as error:
            kept_back.append(Step(pack=name, action="leave", reason=str(error)))
    return opened


def _merged_from(objdir: ObjectDir) -> dict[str, set[str]]:
    """Return, for each source of a merge, the pages whose .keep says that they replace it."""
    pages: dict[str, set[str]] = {}
    kept = [file.removesuffix(".keep") for file in os.listdir(objdir.pack_dir) if file.endswith(".keep")]
    for page, hold in fs.holds_of(objdir.pack_dir, kept).items():
        for source in hold.sources:
            pages.setdefault(source, set()).add(page)
    return pages


class _Prover:
    """Proves doomed pages one after the other; opens each pack that stays when a proof first needs it."""

    def __init__(self, objdir: ObjectDir, stack: ExitStack, midx: Midx | None, plan: ExpirePlan) -> None:
        self._objdir = objdir
        self._stack = stack
        self._doomed = {pack.name for pack in plan.doomed}
        self._names = midx.pack_names() if midx else ()
        # Only objects that the index does not name are searched outside it.
        self._outside = plan.takers if any(not pack.is_indexed for pack in plan.doomed) else ()
        self._matched: set[str] = set()
        try:
            self._idx = stack.enter_context(IdxFiles(objdir.pack_dir, list(self._outside), objdir.object_format))
        except FileNotFoundError as error:
            raise StalePlan(f"a pack went away: {error}") from error
        except (Corrupt, SystemFailed, Unsupported):
            # An unreadable pack proves nothing; other packs may.
            self._outside = tuple(
                name for name in self._outside if not idx_fault(objdir.pack_dir, name, objdir.object_format)
            )
            self._idx = stack.enter_context(IdxFiles(objdir.pack_dir, list(self._outside), objdir.object_format))
        self._proof = stack.enter_context(Proof(midx, [self._idx[name] for name in self._outside]))
        self._numbers = {name: number for number, name in enumerate((*self._names, *self._outside))}
        self._merged_from = _merged_from(objdir)
        self._proved: list[str] = []
        self._moves = read_state(objdir).moves

    def prove(self, name: str, idx: Any) -> tuple[str, ...]:
        """Return the packs that hold this page's objects. Raise ObjectMissing if the page must stay."""
        path = self._objdir.pack_path(name, ".idx")
        trusted = (self._numbers.get(page) for page in self._pages_from(name))
        place = self._proof.begin(idx, (number for number in trusted if number is not None))
        self._proved.append(name)
        while True:
            winners, outside, missing = self._proof.holders(place, path)
            if missing is None:
                break
            unopened = [number for number in winners if not self._proof.is_live(number)]
            if any(self._names[number] in self._doomed for number in unopened):
                raise missing
            for number in unopened:
                self._open_live(number)
        for number in outside:
            self._match(self._outside[number], self._idx)
        takers = tuple(self._names[number] for number in winners)
        for move in self._moves:
            winner = move.holds(name, takers)
            if winner is not None:
                raise ObjectMissing(f"open readers may not find its objects in '{winner}', which was there before")
        return (*takers, *(self._outside[number] for number in outside))

    def _pages_from(self, name: str) -> set[str]:
        """Return the pages merged from this one, directly or through others. Merging has proved their objects (I13)."""
        found: set[str] = set()
        todo = [name]
        while todo:
            pages = self._merged_from.get(todo.pop(), set()) - found
            found |= pages
            todo += pages
        return found

    def check_copies(self, report: ReportProgress | None, progress: Progress | None) -> dict[str, str]:
        """Return the proved pages that rely on a copy that is damaged or another object, with the reason."""
        wrong: dict[str, str] = {}
        spans = self._proof.unchecked()
        names = (*self._names, *self._outside)
        for count, span in enumerate(until_stopped(spans, progress), start=1):
            holder = names[span[0]]
            try:
                found = self._proof.check_copies(self._objdir.pack_path(holder), span, progress)
                for doomed, oid in found.items():
                    wrong[self._proved[doomed]] = (
                        f"object {oid} in '{holder}', which git reads, is damaged or another object"
                    )
            except (Corrupt, SystemFailed, Unsupported) as error:
                wrong.update((self._proved[doomed], str(error)) for doomed in self._proof.doomed_among(*span[1:]))
            if report:
                report("Checking copies that stay", count, len(spans))
        return wrong

    def _open_live(self, number: int) -> None:
        """Open a pack that stays. Raise ObjectMissing for a cruft pack, which git prunes by its objects' times."""
        name = self._names[number]
        if os.path.lexists(self._objdir.pack_path(name, ".mtimes")):
            raise ObjectMissing(f"some of its objects are only in the cruft pack '{name}' else")
        files = self._stack.enter_context(IdxFiles(self._objdir.pack_dir, [name], self._objdir.object_format))
        self._match(name, files)
        self._proof.add_live(number, files[name])

    def _match(self, name: str, files: IdxFiles) -> None:
        """Raise Corrupt unless the pack belongs to its idx."""
        if name not in self._matched:
            match_pack(self._objdir.pack_path(name), files[name])
            self._matched.add(name)


def delete_packs(
    objdir: ObjectDir,
    space: fs.Workspace,
    proved: Proved,
    report: ReportProgress | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[str, ...], int, tuple[Step, ...]]:
    """Unlink the proved pages, after an index without them was published.

    Returns their names, the freed bytes, and the steps that the system refused; the next expire tries those again.

    I9: If git wrote an object of the page again (it then only sets the mtime of the file), the newer mtime is copied to
    the packs that hold the objects. Otherwise `git gc` could prune the object. If these packs belong to another user,
    who alone may set their mtime, the page stays.

    I5, I7: `git repack` and git's commands for the index take no lock. Such a process has listed these pages, and may
    delete a pack that holds their objects, or write an index in which the pages win. So nothing is deleted while one
    runs. First all .idx files are moved to a place from which they can be restored. A process that has listed a page
    meanwhile is still running, or has deleted its packs, or has written an index that names the page. The checks after
    the move find each of these cases, and restore all pages. Raises StalePlan if it was an index.
    """
    deleting = _Deleting(objdir, space, proved, report)
    hidden: dict[str, str] = {}
    # This is checked before any page is hidden: a reader may use that index at this moment.
    if names_any(objdir, proved.doomed):
        raise StalePlan("somebody wrote an index with the superseded pages meanwhile")
    if fs.deleters(objdir):
        return (), 0, ()
    try:
        deleting.hide_all(hidden, progress)
        if names_any(objdir, hidden):
            raise StalePlan("somebody wrote an index with the superseded pages meanwhile")
        is_safe = not fs.deleters(objdir) and _are_there(objdir, proved, hidden)
    except BaseException:
        _bring_back(objdir, hidden)
        raise
    if not is_safe:
        _bring_back(objdir, hidden)
        return (), 0, ()
    deleting.delete(hidden)
    fs.fsync_dir(objdir.pack_dir)
    return tuple(deleting.deleted), deleting.freed, tuple(deleting.failed)


def _bring_back(objdir: ObjectDir, hidden: dict[str, str]) -> None:
    for name, path in hidden.items():
        fs.rename(path, objdir.pack_path(name, ".idx"))


def _are_there(objdir: ObjectDir, proved: Proved, names: Iterable[str]) -> bool:
    """Return whether every pack that holds objects of these pages exists."""
    there = set(os.listdir(objdir.pack_dir))
    takers = {taker for name in names for taker in proved.takers[name]}
    return all(f"{taker}.pack" in there and f"{taker}.idx" in there for taker in takers)


class _Deleting:
    """Deletes packs, and collects the names `deleted`, the bytes `freed`, and the steps that `failed`."""

    def __init__(self, objdir: ObjectDir, space: fs.Workspace, proved: Proved, report: ReportProgress | None) -> None:
        self.deleted: list[str] = []
        self.freed = 0
        self.failed: list[Step] = []
        self._objdir = objdir
        self._space = space
        self._proved = proved
        self._report = report
        self._mtimes: dict[str, int] = {}
        self._there = set(os.listdir(objdir.pack_dir))

    def hide_all(self, hidden: dict[str, str], progress: Progress | None) -> None:
        """Move the .idx files away, and add the new path of each to `hidden`.

        If a git process begins meanwhile, the rest stays: it may write an index that names the packs it has listed, and
        readers of that index would miss objects until the .idx files are restored.
        """
        looked_ns = time.monotonic_ns()
        for name in until_stopped(self._proved.doomed, progress):
            if path := self._hide(name):
                hidden[name] = path
            if time.monotonic_ns() - looked_ns >= LOOK_AGAIN_NS:
                if fs.deleters(self._objdir):
                    return
                looked_ns = time.monotonic_ns()

    def _hide(self, name: str) -> str:
        """Move the .idx away, and return its new path; "" if the page is protected now, or gone."""
        if self._is_protected(name):
            return ""
        try:
            return fs.hide_idx(self._objdir, self._space, name)
        except FileNotFoundError:
            return ""

    def delete(self, hidden: dict[str, str]) -> None:
        """Delete the packs whose .idx files are hidden; restore the .idx of a pack that has to stay."""
        from ..fs.delete_many import Freeing  # start-up cost: mostly nothing is deleted

        with Freeing() as freeing:
            for number, (name, path) in enumerate(hidden.items(), start=1):
                if self._report:
                    self._report("Deleting superseded pages", number, len(hidden))
                if self._is_protected(name) or not self._delete(name, path, freeing):
                    fs.rename(path, self._objdir.pack_path(name, ".idx"))

    def _is_protected(self, name: str) -> bool:
        # receive-pack creates the .keep first when a push brings the pack again; this is the last check for it
        if os.path.lexists(self._objdir.pack_path(name, ".keep")):
            self._there.add(f"{name}.keep")
        return bool(fs.protection(self._objdir, self._there, name))

    def _delete(self, name: str, idx_path: str, freeing: Freeing) -> bool:
        try:
            stat = os.stat(self._objdir.pack_path(name))
        except FileNotFoundError:  # another repack has deleted it
            return fs.unlink(idx_path)
        try:
            for taker in self._proved.takers[name]:
                if self._mtimes.get(taker, 0) < stat.st_mtime_ns:
                    self._mtimes[taker] = fs.make_as_young(self._objdir.pack_path(taker), stat.st_mtime_ns)
        except FileNotFoundError:  # another repack has deleted a pack that the proof needs
            return False
        except SystemFailed as error:
            if error.errno != errno.EPERM:
                raise
            return False
        try:
            fs.unlink_pack(self._objdir, name, self._there, freeing.unlink)
        except SystemFailed as error:
            self.failed.append(Step(pack=name, action="leave", reason=str(error)))
            return False
        fs.unlink(idx_path)
        self.deleted.append(name)
        self.freed += stat.st_size
        return True


def end_holds(objdir: ObjectDir, packs: Iterable[PackInfo], now: int) -> tuple[str, ...]:
    """I14: remove the .keep of the pages whose hold is over. Return their names."""
    there = set(os.listdir(objdir.pack_dir))
    ended = []
    for pack in packs:
        if not pack.held or f"{pack.name}.keep" not in there or f"{pack.name}.idx" not in there:
            continue
        path = objdir.pack_path(pack.name, ".keep")
        hold = fs.read_hold(path)
        if hold is None:
            continue
        try:
            mtime = int(os.stat(objdir.pack_path(pack.name)).st_mtime)
        except FileNotFoundError:
            continue
        sources = sum(f"{name}.idx" in there for name in hold.sources)
        seen = pack._replace(held=hold.kind, held_for=sources, mtime=mtime)
        if seen.hold_is_over(objdir.settings.keep_new, now):
            fs.unlink(path)
            ended.append(pack.name)
    return tuple(ended)


def names_any(objdir: ObjectDir, packs: Collection[str]) -> bool:
    """Return whether the index on disk names one of these packs."""
    midx = open_midx(objdir.index_path, objdir.object_format)
    if midx is None:
        return False
    with midx:
        return not frozenset(packs).isdisjoint(midx.pack_names())
