"""v1 archives: the pages of the library that git-gpa continues. One function a verb; the API for app servers.

`Archive` reads values by key. verify looks at everything; import brings the objects into a repository, export makes
pages of a repository's objects; repack merges small pages of an archive and indexes it, expire deletes what that
replaced. A page that has its name is never written to.

`directory` is the folder of an archive, `pages_file` the list of its pages (see listing.py), `path` a repository
(default: the current directory). `report(title, done, total)` is called now and then while a long step goes on.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import ExitStack

from .. import fs
from .._core.base import Progress
from ..base.arguments import checked
from ..base.progress import ReportProgress
from ..errors import Corrupt, GpaError, Unsupported
from ..fs.installing import put_file
from ..repo.discover import find_object_dir
from ..repo.refs import current_refs, make_refs
from ..store.page_store import PageStore
from ..verbs.at_work import at_work
from ..verbs.index import write_index
from ..verbs.session import now
from .expire import ProvedPages, delete_pages, look_for_replaced, prove_pages
from .exporting import export_objects, wanted_objects
from .importing import Importer, ImportPlan, batches_of, check_format, open_store, plan_import, refuse_hopeless
from .indexing import RAW, known_pages
from .listing import LIST_NAME, Listing, find_pages, open_index
from .pages import archive_at_work
from .plan import ArchiveExpirePlan, plan_expire_archive
from .reader import Archive
from .refs import follow_head, packed_refs, read_packed_refs
from .repack import Sources, repack_pages
from .scan import Scan, scan_archive
from .values import (
    ArchiveExpireResult,
    ArchiveRepackPlan,
    ArchiveRepackResult,
    ExportResult,
    Finding,
    ImportResult,
    Unindexed,
    VerifyArchiveResult,
)

LIST_HINT = "write their names into a file, the oldest first, and name it with --pages"
GRACE_SECONDS = 3600
"""Seconds for which a page that a repack replaced stays, as gpa.expireGrace for packs."""


# ---- verify ----


@checked
def verify_archive(
    directory: str, *, pages_file: str | None = None, raw: bool = False, report: ReportProgress | None = None
) -> VerifyArchiveResult:
    """Return all findings about pages, entries and the combined index.

    With `raw`, or if repack_archive() was called with it, values may be of any kind; otherwise each must be the git
    object whose id is its key.
    """
    listing = _listing(directory, pages_file)
    with scan_archive(listing, objects=not (raw or _is_raw(listing)), report=report) as scan:
        return VerifyArchiveResult(
            pages=len(scan.names),
            objects=scan.sound,
            shadowed=scan.sound - scan.winners,
            findings=(*scan.findings, *_index_findings(listing)),
            unindexed=scan.unindexed(),
            strays=listing.strays,
        )


def _listing(directory: str, pages_file: str | None) -> Listing:
    listing = find_pages(directory, pages_file)
    if not listing.names and not listing.strays:
        raise GpaError(f"there is no page in '{directory}'")
    return listing


def _index_findings(listing: Listing) -> list[Finding]:
    try:
        index = open_index(listing.directory)
        if index is not None:
            with index:
                index.check()
    except (Corrupt, Unsupported) as error:
        return [Finding("", "index", str(error), lost=False)]
    return []


# ---- import ----


@checked
def import_archive(
    directory: str,
    *,
    pages_file: str | None = None,
    refs_file: str | None = None,
    delta: bool = False,
    rescue: bool = False,
    dry_run: bool = False,
    path: str | None = None,
    object_dir: str | None = None,
    report: ReportProgress | None = None,
    stop: Progress | None = None,
) -> ImportResult:
    """Bring all sound objects that the repository lacks into it, as pages, and index these; then create refs.

    `refs_file`: a packed-refs file. With `delta` git compresses each page. With `rescue` pages that the list does not
    name are read too, and commits and tags that only look like such are taken from bytes that no entry names.

    Damaged objects are left out and listed. Raises DamagedArchive, with nothing done, if no object is sound, and
    Unsupported for a SHA-256 repository.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    check_format(objdir)
    refs = read_packed_refs(refs_file) if refs_file else {}
    with (
        scan_archive(_listing(directory, pages_file), strays=rescue, report=report, stop=stop) as scan,
        open_store(objdir) as store,
    ):
        plan = plan_import(scan, store.__contains__, refs, rescue=rescue)
        refuse_hopeless(scan, plan)
        result = _planned(scan, plan)
        if dry_run:
            return result
        result = result._replace(dry_run=False)
        if plan.object_count:
            settings = objdir.settings
            batches = batches_of(scan, plan, page_objects=settings.page_objects, page_bytes=settings.page_bytes)
            with at_work(objdir, now) as session:
                importer = Importer(objdir, session.space, scan, path=path, delta=delta, report=report, stop=stop)
                pages = importer.write(batches, plan.object_count)
                midx = write_index(session)
            result = result._replace(pages=pages, page_bytes=sum(page.size for page in pages), midx=midx)
        if not refs_file:
            return result
        done = make_refs(path, refs, store.__contains__)
        follow_head(path, refs_file)
        return result._replace(refs=done.created, refs_left=done.left)


def _planned(scan: Scan, plan: ImportPlan) -> ImportResult:
    """Return the result that the import would have."""
    return ImportResult(
        archive_pages=len(scan.names),
        archive_bytes=scan.archive_bytes,
        entries=scan.entries,
        damaged=sum(bool(finding.key) for finding in scan.findings),
        shadowed=scan.sound - scan.winners,
        rescued=len(plan.rescued),
        present=plan.present,
        imported=plan.object_count,
        pages=(),
        page_bytes=0,
        findings=tuple(scan.findings),
        unindexed=scan.unindexed(plan.explained),
        strays=scan.listing.strays,
        dry_run=True,
    )


# ---- export ----


@checked
def export_archive(
    directory: str,
    revs: Collection[str] = (),
    *,
    all_refs: bool = False,
    pages_file: str | None = None,
    refs_file: str | None = None,
    path: str | None = None,
    object_dir: str | None = None,
    report: ReportProgress | None = None,
) -> ExportResult:
    """Add the objects reachable from `revs` or all refs, or without either every object, to a new or existing archive.

    The list, by default `pages` in the folder, then names the new pages too. `refs_file` gets the refs whose objects
    the archive has, as a packed-refs file.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    check_format(objdir)
    with PageStore.open(objdir.objects, object_format="sha1", verify=True) as store:
        oids = wanted_objects(path, store, revs, all_refs=all_refs)
        return _export(directory, store, oids, pages_file, refs_file, path, report)


def _export(
    directory: str,
    store: PageStore,
    oids: Iterable[bytes],
    pages_file: str | None,
    refs_file: str | None,
    path: str | None,
    report: ReportProgress | None,
) -> ExportResult:
    fs.make_dir(os.path.realpath(directory))
    # a missing list is created
    there = pages_file if pages_file and os.path.exists(pages_file) else None
    with archive_at_work(directory, there) as (space, listing):
        if listing.names and listing.list_path != (os.path.realpath(pages_file) if pages_file else listing.list_path):
            raise GpaError(f"there are pages in '{directory}' which '{pages_file}' does not name")
        if listing.names and not listing.list_path:
            raise GpaError(f"there are pages in '{directory}', and no list says which", hint=LIST_HINT)
        list_path = pages_file or os.path.join(listing.directory, LIST_NAME)
        result = export_objects(space, listing, list_path, store, oids, report)
        if not refs_file:
            return result
        with Archive(directory, find_pages(directory, list_path).names) as archive:
            refs = {ref: oid for ref, oid in current_refs(path).items() if bytes.fromhex(oid) in archive}
    put_file(refs_file, packed_refs(refs), like=refs_file)
    return result._replace(refs=len(refs))


# ---- repack ----


@checked
def repack_archive(
    directory: str, *, pages_file: str | None = None, raw: bool = False, report: ReportProgress | None = None
) -> ArchiveRepackResult:
    """Merge small pages into full ones, put these into the list in their place, and index all that the list names.

    With `raw`, or if it was given before, values may be of any kind; otherwise only pages of sound git objects are
    merged. The merged pages stay until expire_archive(). Raises StalePlan if the list changes meanwhile.
    """
    with archive_at_work(directory, pages_file) as (space, listing), ExitStack() as stack:
        sources = Sources(_with_list(listing), raw=raw or _is_raw(listing), stack=stack)
        return repack_pages(space, sources, sources.plan(), now=now(), report=report)


@checked
def plan_repack_archive_of(directory: str, *, pages_file: str | None = None, raw: bool = False) -> ArchiveRepackPlan:
    """Return the plan of a repack_archive() that would start now."""
    listing = _with_list(find_pages(directory, pages_file))
    with ExitStack() as stack:
        return Sources(listing, raw=raw or _is_raw(listing), stack=stack).plan()


def _with_list(listing: Listing) -> Listing:
    if not listing.list_path:
        raise GpaError(f"no list says which pages are in '{listing.directory}'", hint=LIST_HINT)
    return listing


def _is_raw(listing: Listing) -> bool:
    return known_pages(listing.directory).kind == RAW


# ---- expire ----


@checked
def expire_archive(
    directory: str,
    *,
    pages_file: str | None = None,
    grace_seconds: int = GRACE_SECONDS,
    dry_run: bool = False,
    report: ReportProgress | None = None,
) -> ArchiveExpireResult:
    """Delete pages that repack_archive() replaced at least `grace_seconds` ago, once they are proved superfluous.

    With `dry_run`, only name them.
    """
    if dry_run:
        plan, proved = _prove(find_pages(directory, pages_file), grace_seconds, report)
        return _expired(plan, proved, dry_run=True)
    with archive_at_work(directory, pages_file) as (_space, listing):
        plan, proved = _prove(listing, grace_seconds, report)
        return _expired(plan, delete_pages(listing, proved), dry_run=False)


def _prove(
    listing: Listing, grace_seconds: int, report: ReportProgress | None
) -> tuple[ArchiveExpirePlan, ProvedPages]:
    found = look_for_replaced(listing, now=now())
    plan = plan_expire_archive(found.pages, grace_seconds=grace_seconds, now=now())
    return plan, prove_pages(listing, plan.due, found, report)


def _expired(plan: ArchiveExpirePlan, done: ProvedPages, *, dry_run: bool) -> ArchiveExpireResult:
    place = {page.name: number for number, page in enumerate(plan.due)}
    return ArchiveExpireResult(
        deleted=done.names,
        freed_bytes=sum(size for _name, size in done.pages),
        waiting=len(plan.waiting),
        next_due=plan.next_due,
        kept_back=tuple(sorted(done.kept, key=lambda one: place[one[0]])),
        reason="" if done.pages else _why_none(plan),
        dry_run=dry_run,
    )


def _why_none(plan: ArchiveExpirePlan) -> str:
    if plan.due:
        return "no superseded page could be deleted"
    return "superseded pages wait for the end of their grace" if plan.waiting else "no page is superseded"


__all__ = [
    "GRACE_SECONDS",
    "Archive",
    "ArchiveExpireResult",
    "ArchiveRepackPlan",
    "ArchiveRepackResult",
    "ExportResult",
    "Finding",
    "ImportResult",
    "Unindexed",
    "VerifyArchiveResult",
    "expire_archive",
    "export_archive",
    "import_archive",
    "plan_repack_archive_of",
    "repack_archive",
    "verify_archive",
]
