"""Delete pages of an archive that a repack replaced, once their grace is over.

Each key of a page is first found, with sound content, in a page that the list names; a page of which one is not stays.
So does one that another process has open with the original's lock.
"""

from __future__ import annotations

import os

from .. import fs
from .._core.v1 import IndexedPage, PageFile, Rows
from ..base.progress import ReportProgress
from ..errors import Corrupt, DamagedArchive, Locked, ObjectMissing
from ..fs.archives import unlink_archive_page
from ..fs.installing import put_file
from .indexing import RAW, known_pages
from .listing import INDEX_NAME, Listing, open_index
from .pages import write_list
from .reader import Archive
from .values import ArchiveExpireResult

TITLE = "Proving pages"


def expire_pages(
    listing: Listing, *, grace_seconds: int, now: int, dry_run: bool, report: ReportProgress | None
) -> ArchiveExpireResult:
    """Delete what is superseded for long enough, and let the index forget it.

    1. proof, then unlink, page by page; fsync    a crash leaves names in the index that are not there: passed over
    2. index without them                         done
    """
    known = known_pages(listing.directory)
    remembered = [IndexedPage(name, superseded=True, since=min(now, since)) for name, since in listing.replaced]
    replaced = [
        page._replace(since=min(now, page.since))
        for page in {page.name: page for page in (*remembered, *known.pages) if page.superseded}.values()
        if _is_there(listing, page)
    ]
    due = [page for page in replaced if page.since + grace_seconds <= now]
    waiting = [page.since + grace_seconds for page in replaced if page not in due]
    kept: list[tuple[str, str]] = []
    deleted: list[str] = []
    freed = 0
    with Archive(listing.directory, listing.names) as archive:
        for number, page in enumerate(due):
            if report:
                report(TITLE, number, len(due))
            path = listing.path(page.name)
            if page in remembered:
                why_kept = why_not_same(archive, path)
            else:
                why_kept = _why_not_proved(archive, path, raw=known.kind == RAW)
            size = 0 if why_kept else os.path.getsize(path)
            if not why_kept and not dry_run:
                why_kept = _delete(path)
            if why_kept:
                kept.append((page.name, why_kept))
            else:
                deleted.append(page.name)
                freed += size
    if deleted and not dry_run:
        fs.fsync_dir(listing.directory)
        _forget(listing, deleted)
    reason = "" if deleted else _reason(bool(replaced), bool(due))
    next_due = min(waiting, default=None)
    return ArchiveExpireResult(tuple(deleted), freed, len(waiting), next_due, tuple(kept), reason, dry_run)


def _is_there(listing: Listing, page: IndexedPage) -> bool:
    return page.name not in listing.names and os.path.exists(listing.path(page.name))


def _why_not_proved(archive: Archive, path: str, *, raw: bool) -> str:
    try:
        with PageFile(path) as page:
            rows = Rows(page.item_count)
            rows.add_page(page, 0, objects=False)
            keys = [entry.key for entry in rows]
    except Corrupt as error:
        return str(error)
    for key in keys:
        try:
            archive.check(key, objects=not raw)
        except (ObjectMissing, DamagedArchive) as error:
            return f"object {key.hex()} is nowhere else: {error}"
    return ""


def why_not_same(archive: Archive, path: str) -> str:
    """Why a page that a save replaced has to stay, or "": the archive gives each of its values just as it has it."""
    try:
        with PageFile(path) as page:
            rows = Rows(page.item_count)
            rows.add_page(page, 0, objects=False)
            other = next((entry.key for entry in rows if archive.get(entry.key) != page.value(entry)), None)
    except (Corrupt, ObjectMissing) as error:
        return str(error)
    return f"the value of {other.hex()} is another one elsewhere" if other else ""


def _delete(path: str) -> str:
    try:
        unlink_archive_page(path)
    except Locked as error:
        return str(error)
    return ""


def _forget(listing: Listing, names: list[str]) -> None:
    left = tuple(one for one in listing.replaced if one[0] not in names)
    if left != listing.replaced:
        write_list(listing.list_path, listing.names, left)
    index = open_index(listing.directory)
    if index is not None:
        with index:
            # One that save() replaced may be led to: whoever reads the index passes over pages that the list has not.
            image = index.forgetting({page.name for page in index.pages if page.superseded and page.name in names})
        put_file(os.path.join(listing.directory, INDEX_NAME), image, like=index.path)


def _reason(any_replaced: bool, any_due: bool) -> str:
    if not any_replaced:
        return "no page is superseded"
    return "no superseded page could be deleted" if any_due else "superseded pages wait for the end of their grace"
