"""Write the planned pages, then an index that points into them. Deletes nothing.

I3, I4, I9: See pages.py; the directory is synced before the index names a page. I13: The C core checks every copied
entry, and every object that was chosen among several copies. A copy that is damaged, or is another object than its idx
says, stays in its pack.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from .. import fs
from .._core.base import directory
from .._core.format import IdxFiles, Midx, idx_fault, open_midx
from .._core.merge import DamagedCopy, Merge, MergeStats, PageForm
from ..base.progress import Progress, ReportProgress
from ..errors import Corrupt, StalePlan, Stopped, SystemFailed, Unsupported
from ..model.plans import RepackPlan, Step
from ..model.results import LeftOut, RepackResult
from ..repo.objdir import ObjectDir
from .pages import Page, drop_pages, publish_pages, write_page
from .room import require

TITLE = "Merging objects"

AHEAD = 32
"""Number of packs that the disk reads at a time."""

LIE = "its content is another object than this id says"


def write_pages(
    objdir: ObjectDir,
    space: fs.Workspace,
    plan: RepackPlan,
    report: ReportProgress | None = None,
    progress: Progress | None = None,
    *,
    room: int = 0,
) -> RepackResult:
    """Write and publish the planned pages. The caller writes the index next.

    1. pages: write, fsync               a crash leaves temporary files
    2. names: .keep, .pack, then .idx    a crash leaves extra packs; every object readable
    3. fsync of the directory            from here on the index may name them

    A source that is damaged as a whole or cannot be read is left out, and is in `bad_packs` and `complaints`. Raises
    StalePlan if a source is gone; SystemFailed if the disk would have less than `room` bytes left; and Stopped soon
    after another thread has called `progress.stop()`. After the last two no page has a name.
    """
    bad: dict[str, str] = {}
    while True:
        batch = tuple(pack for pack in plan.batch if pack.name not in bad)
        if bad and len(batch) < 2:
            result = _nothing_gained((), "all but one of the packs to be merged cannot be read")
            break
        try:
            result = _write_pages(objdir, space, plan._replace(batch=batch), report, progress, room)
            break
        except _BadSources as error:
            bad.update(error.reasons)
    steps = tuple(Step(pack=name, action="leave", reason=reason) for name, reason in bad.items())
    return result._replace(bad_packs=steps, complaints=tuple(bad.values()))


class _BadSources(Exception):
    """Packs that the merge must leave out, with the reasons."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__()
        self.reasons = reasons


def _write_pages(
    objdir: ObjectDir,
    space: fs.Workspace,
    plan: RepackPlan,
    report: ReportProgress | None,
    progress: Progress | None,
    room: int,
) -> RepackResult:
    names = [pack.name for pack in plan.batch]
    with ExitStack() as stack:
        midx = open_midx(objdir.index_path, objdir.object_format)
        if midx is not None:
            stack.enter_context(midx)
        if (midx.trailer if midx else None) != plan.based_on:
            raise StalePlan("the combined index changed after planning")
        try:
            idx_files = stack.enter_context(_open_idx_files(objdir, names))
            merge = _open_merge(objdir, stack, idx_files, plan, report, progress)
        except FileNotFoundError as error:
            raise StalePlan(f"a pack to be merged went away: {error}") from error
        try:
            not_counted = _packs_not_counted(objdir, plan, midx)
            stats, pages, left_out = write_all(space, merge, midx, not_counted, report, progress)
        except SystemFailed as error:
            bad = _source_of(objdir, names, error)
            if bad is None:
                raise
            raise _BadSources({bad: str(error)}) from None
        lies = tuple(LeftOut(pack=pack, oid=oid, reason=LIE) for pack, oid in merge.lies())
        stuck = {left.pack for left in left_out}
        if stuck and len(set(names) - stuck) < 2:
            # Packs that must stay because of damaged objects do not become fewer by repeated merges.
            drop_pages(pages)
            return _nothing_gained(left_out, "only packs with damaged objects are left to merge")
    if room:
        _require_room(objdir, pages, room)
    pages, merged = _without_same(pages, names)
    # A pack that must stay because of a damaged object is not replaced.
    hold = fs.Hold(is_new=_has_new(plan), sources=tuple(name for name in merged if name not in stuck))
    published = publish_pages(objdir, pages, newest_ns=_newest_mtime(objdir, names), hold=hold, report=report)
    return RepackResult(
        merged=merged,
        pages=published,
        object_count=stats.object_count,
        source_bytes=sum(pack.size for pack in plan.batch),
        rebuilt_count=stats.rebuilt_count,
        cut_count=stats.cut_count,
        left_out=(*left_out, *lies),
    )


def _require_room(objdir: ObjectDir, pages: list[Page], room: int) -> None:
    """Drop the pages and raise SystemFailed if the steps after them would find the disk full."""
    try:
        require(objdir, room)
    except SystemFailed:
        drop_pages(pages)
        raise


def _open_idx_files(objdir: ObjectDir, names: list[str]) -> IdxFiles:
    """Open the idx files. Raise FileNotFoundError if one is gone."""
    try:
        return IdxFiles(objdir.pack_dir, names, objdir.object_format)
    except FileNotFoundError:
        raise
    except (Corrupt, SystemFailed, Unsupported) as error:
        bad = {name: fault for name in names if (fault := idx_fault(objdir.pack_dir, name, objdir.object_format))}
        if not bad:
            raise
        raise _BadSources(bad) from error


def _source_of(objdir: ObjectDir, names: list[str], error: SystemFailed) -> str | None:
    """Return the source that could not be read; None when the error is about something else."""
    folder, name = os.path.split(str(error.filename))
    stem = name.removesuffix(".pack")
    return stem if folder == objdir.pack_dir and stem in names else None


def _without_same(pages: list[Page], names: list[str]) -> tuple[list[Page], tuple[str, ...]]:
    """Return the pages without a last page that equals one of the sources byte for byte; that source stays.

    A lone page is kept in any case: it gets another name, and the packs become fewer.
    """
    same = {page.name for page in pages}.intersection(names) if len(pages) > 1 else set()
    drop_pages(page for page in pages if page.name in same)
    return [page for page in pages if page.name not in same], tuple(name for name in names if name not in same)


def _has_new(plan: RepackPlan) -> bool:
    """Return whether a source has objects that perhaps no ref names yet; then the pages have them too."""
    return any(pack.held == "new" for pack in plan.batch)


def _packs_not_counted(objdir: ObjectDir, plan: RepackPlan, midx: Midx | None) -> set[str]:
    """Return the packs of the index whose copies do not count, so that the copies in the sources are taken.

    These are cruft packs, because git prunes their objects; and, for new objects, all packs without a .keep, because
    `git repack -a -d` would drop their unreachable objects (I14).
    """
    there = set(os.listdir(objdir.pack_dir))
    named = midx.pack_names() if midx else ()
    doubtful = {name for name in named if f"{name}.mtimes" in there}
    if _has_new(plan):
        doubtful.update(name for name in named if f"{name}.keep" not in there)
    return doubtful


def _open_merge(
    objdir: ObjectDir,
    stack: ExitStack,
    idx_files: IdxFiles,
    plan: RepackPlan,
    report: ReportProgress | None,
    progress: Progress | None,
) -> Merge:
    names = [pack.name for pack in plan.batch]
    merge = stack.enter_context(
        Merge(
            objdir.pack_dir,
            stack.enter_context(directory(objdir.pack_dir)),
            idx_files,
            objdir.object_format,
            PageForm(plan.page_objects, plan.page_bytes, plan.depth, objdir.settings.compression),
        )
    )
    bad: dict[str, str] = {}
    for number, name in enumerate(names):
        if not number % AHEAD:
            merge.read_ahead(names[number : number + AHEAD])
            if report:
                report("Reading packs", number, len(names))
        try:
            merge.add(name, progress)
        except FileNotFoundError:
            raise
        except (Corrupt, SystemFailed, Unsupported) as error:
            bad[name] = str(error)
    if bad:
        raise _BadSources(bad)
    if report:
        report("Reading packs", len(names), len(names))
    return merge


def write_all(
    space: fs.Workspace,
    merge: Merge,
    midx: Midx | None,
    not_counted: set[str],
    report: ReportProgress | None,
    progress: Progress | None,
    *,
    reverse: bool = False,
) -> tuple[MergeStats, list[Page], tuple[LeftOut, ...]]:
    """Write every page. If a source entry turns out to be damaged, check all entries, and begin again without bad ones.

    The same is done if sources disagree on an object, or if a page has other content than an id says.
    """
    causes: dict[str, Corrupt] = {}
    while True:
        stats = merge.plan(midx, not_counted, reverse=reverse, progress=progress)
        pages: list[Page] = []
        done = 0
        if stats.conflict_count:
            merge.check_all(progress)
            continue
        try:
            for number in range(stats.page_count):
                if report:
                    report(TITLE, done, stats.object_count)
                pages.append(_write_page(space, merge, number, progress))
                done += pages[-1].object_count
            merge.prove()
        except DamagedCopy as error:
            drop_pages(pages)
            causes[os.path.basename(error.cause.path).removesuffix(".pack")] = error.cause
            merge.check_all(progress)
            continue
        except FileNotFoundError as error:
            drop_pages(pages)
            raise StalePlan(f"a pack to be merged went away: {error}") from error
        except (Stopped, SystemFailed):
            drop_pages(pages)
            raise
        if report:
            report(TITLE, stats.object_count, stats.object_count)
        left_out = tuple(
            LeftOut(pack=pack, oid=oid, reason=str(causes.get(pack, "its entry is damaged")))
            for pack, oid in merge.left_out()
        )
        return stats, pages, left_out


def _write_page(space: fs.Workspace, merge: Merge, number: int, progress: Progress | None) -> Page:
    def write(pack: fs.TempFile, idx: fs.TempFile) -> str:
        return merge.write_page(number, pack.fd, idx.fd, pack.path, progress)

    page = write_page(space, merge.page_objects(number), write)
    return page._replace(sources=merge.page_sources(number))


def _nothing_gained(left_out: tuple[LeftOut, ...], reason: str) -> RepackResult:
    return RepackResult(merged=(), pages=(), object_count=0, source_bytes=0, left_out=left_out, reason=reason)


def _newest_mtime(objdir: ObjectDir, names: list[str]) -> int:
    """Return the mtime (ns) of the youngest source."""
    newest = 0
    for name in names:
        path = objdir.pack_path(name)
        try:
            newest = max(newest, os.stat(path).st_mtime_ns)
        except FileNotFoundError as error:
            raise StalePlan(f"a pack to be merged went away: {path}") from error
    return newest
