"""Delete pages of an archive that a repack or a save replaced: look, prove, delete. plan.py decides which are due.

Each key of a page must first be found, with sound content, in a page that the list names; otherwise the page stays. A
page that another process has open with the original's lock stays too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from .. import fs
from .._core.v1 import IndexedPage, PageFile, Rows
from ..base.progress import ReportProgress
from ..base.tuples import NamedTuple
from ..errors import Corrupt, DamagedArchive, Locked, ObjectMissing
from ..fs.archives import unlink_archive_page
from ..fs.installing import put_file
from .indexing import RAW, known_pages
from .listing import INDEX_NAME, Listing, open_index
from .pages import write_list
from .reader import Archive

TITLE = "Proving pages"


class ReplacedPages(NamedTuple):
    """The pages that wait to be deleted. `remembered`: those recorded in the list, because a save replaced them."""

    pages: tuple[IndexedPage, ...]
    remembered: frozenset[IndexedPage]
    is_raw: bool


class ProvedPages(NamedTuple):
    """Pages that may be deleted, each with its bytes; pages that must stay, each with the reason."""

    pages: tuple[tuple[str, int], ...]
    kept: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _size in self.pages)


def look_for_replaced(listing: Listing, *, now: int) -> ReplacedPages:
    """Return the existing pages that the list or the index calls replaced, since `now` at the latest."""
    known = known_pages(listing.directory)
    remembered = [IndexedPage(name, superseded=True, since=min(now, since)) for name, since in listing.replaced]
    pages = tuple(
        page._replace(since=min(now, page.since))
        for page in {page.name: page for page in (*remembered, *known.pages) if page.superseded}.values()
        if _is_there(listing, page)
    )
    return ReplacedPages(pages, frozenset(remembered), known.kind == RAW)


def prove_pages(
    listing: Listing, due: Sequence[IndexedPage], found: ReplacedPages, report: ReportProgress | None
) -> ProvedPages:
    """Return which of these pages are superfluous beside the pages of the list. Change nothing."""
    proved: list[tuple[str, int]] = []
    kept: list[tuple[str, str]] = []
    with Archive(listing.directory, listing.names) as archive:
        for number, page in enumerate(due):
            if report:
                report(TITLE, number, len(due))
            path = listing.path(page.name)
            if page in found.remembered:
                why_kept = why_not_same(archive, path)
            else:
                why_kept = _why_not_proved(archive, path, raw=found.is_raw)
            if why_kept:
                kept.append((page.name, why_kept))
            else:
                proved.append((page.name, os.path.getsize(path)))
    return ProvedPages(tuple(proved), tuple(kept))


def delete_pages(listing: Listing, proved: ProvedPages) -> ProvedPages:
    """Delete proved pages, and remove them from list and index. Return the deleted pages, and those that stay.

    1. unlink each; fsync         a crash leaves names of missing pages in the index: readers skip them
    2. the list, then the index, without them
    """
    deleted: list[tuple[str, int]] = []
    kept = list(proved.kept)
    for name, size in proved.pages:
        why_kept = _delete(listing.path(name))
        if why_kept:
            kept.append((name, why_kept))
        else:
            deleted.append((name, size))
    if deleted:
        fs.fsync_dir(listing.directory)
        _forget(listing, [name for name, _size in deleted])
    return ProvedPages(tuple(deleted), tuple(kept))


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
    """Return why a page that a save replaced has to stay; "" if the archive has each of its values, unchanged."""
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
            # The index may name a page that save() replaced: readers skip pages that are not in the list.
            image = index.forgetting({page.name for page in index.pages if page.superseded and page.name in names})
        put_file(os.path.join(listing.directory, INDEX_NAME), image, like=index.path)
