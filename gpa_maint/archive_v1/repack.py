"""Small pages of an archive merged into full ones, and one index over all of them. Deletes nothing.

Values are copied unchanged. A page with a damaged entry stays, also in the list. If several pages hold an object, one
copy goes into a new page, which is read first, unless a page that stays has a newer sound copy. So every key has the
same value as before, whichever page it is read from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import groupby

from .. import fs
from .._core.v1 import CAPACITY, DATA_MOST, Entry, PageFile, PageFileWriter, Rows
from ..base.progress import ReportProgress
from ..errors import DamagedArchive, StalePlan
from ..fs.installing import put_file
from .indexing import OBJECTS, RAW, index_over, known_pages, refuse_other_list
from .listing import INDEX_NAME, Listing, find_pages
from .pages import NewPage, drop_temporaries, write_archive_page, write_list
from .plan import plan_repack_archive
from .scan import SOUND, entry_finding
from .values import ArchiveRepackPlan, ArchiveRepackResult, Finding

TITLE = "Merging objects"


class Sources:
    """The pages of a list, open until `stack` is closed; every entry of the small ones is checked."""

    def __init__(self, listing: Listing, *, raw: bool, stack: ExitStack) -> None:
        """Open the pages. Raise FileGone if one is missing: the list must be corrected first."""
        self.listing = listing
        self.raw = raw
        self.pages: list[PageFile | None] = []
        self.findings: list[Finding] = []
        self.left: dict[str, str] = {}
        self.small: list[int] = []
        for number, name in enumerate(listing.names):
            why_left = self._open(number, name, stack)
            if why_left:
                self.left[name] = why_left
            else:
                self.small.append(number)

    def _open(self, number: int, name: str, stack: ExitStack) -> str:
        """Return why the page is not merged, or ""."""
        try:
            page = stack.enter_context(PageFile(self.listing.path(name)))
        except DamagedArchive as error:
            self.findings.append(Finding(name, error.fault, error.reason, lost=False))
            self.pages.append(None)
            return "it is damaged"
        self.pages.append(page)
        if page.item_count == CAPACITY:
            return "it is full"
        return "it is large" if page.data_size > DATA_MOST // 2 else self._damage(number, page)

    def _damage(self, number: int, page: PageFile) -> str:
        rows = Rows(page.item_count)
        rows.add_page(page, number, objects=not self.raw)
        damaged = [entry for entry in rows if entry.fault not in SOUND]
        name = self.listing.names[number]
        self.findings += [entry_finding(name, page, entry, objects=not self.raw, lost=False) for entry in damaged]
        return "it has damaged entries" if damaged else ""

    def plan(self) -> ArchiveRepackPlan:
        """Return the plan: which of these pages are merged."""
        small = {self.listing.names[number]: self.page(number).item_count for number in self.small}
        return plan_repack_archive(self.listing, small, self.left)

    def page(self, number: int) -> PageFile:
        page = self.pages[number]
        assert page is not None
        return page

    def is_sound(self, entry: Entry) -> bool:
        try:
            self.page(entry.page).object(entry)
        except DamagedArchive:
            return False
        return True


def repack_pages(
    space: fs.TempFiles, sources: Sources, plan: ArchiveRepackPlan, *, now: int, report: ReportProgress | None
) -> ArchiveRepackResult:
    """Write the planned pages, an index over the new list, and then that list.

    1. pages: write, fsync, name              a crash leaves temporary files and their second names: cleared away
    2. index, which knows the new pages       a crash leaves the old list, which still names all it needs
    3. the temporary names go, then the list  done; the sources wait for expire

    Without a plan only the index is made, unless there is one already over this very list. StalePlan when the list was
    changed meanwhile.
    """
    listing = sources.listing
    known = known_pages(listing.directory)
    refuse_other_list(listing, known)
    pages = _write_pages(space, sources, report) if plan.batch else []
    made = tuple(page.info.name for page in pages)
    if pages:
        fs.fsync_dir(listing.directory)
    names = (*(name for name in listing.names if name not in plan.batch), *made)
    kind = RAW if sources.raw else OBJECTS
    index = index_over(listing.directory, names, known, kind=kind, made=made, merged=plan.batch, now=now)
    _check_list(listing)
    if index is not None:
        put_file(os.path.join(listing.directory, INDEX_NAME), index.image, like=listing.list_path)
    drop_temporaries(pages)
    if plan.batch:
        _check_list(listing)
        write_list(listing.list_path, names, listing.replaced)
    return ArchiveRepackResult(
        merged=plan.batch,
        pages=tuple(page.info for page in pages),
        objects=sum(page.info.object_count for page in pages),
        source_bytes=sum(sources.page(number).size for number in sources.small) if plan.batch else 0,
        indexed=index.object_count if index is not None else 0,
        index_written=index is not None,
        findings=tuple(sources.findings),
        reason=plan.reason,
    )


def _check_list(listing: Listing) -> None:
    if find_pages(listing.directory, listing.list_path).names != listing.names:
        raise StalePlan(f"'{listing.list_path}' was changed meanwhile", hint="nothing is lost; run again")


def _write_pages(space: fs.TempFiles, sources: Sources, report: ReportProgress | None) -> list[NewPage]:
    rows = Rows(sum(page.item_count for page in sources.pages if page is not None))
    for number, page in enumerate(sources.pages):
        if page is not None:
            rows.add_page(page, number, objects=False)
    total = _mark_copied(sources, rows)
    pages: list[NewPage] = []
    done = 0
    for batch in _batches(rows):
        pages.append(write_archive_page(space, partial(_fill, sources, batch)))
        done += len(batch)
        if report:
            report(TITLE, done, total)
    return pages


def _mark_copied(sources: Sources, rows: Rows) -> int:
    """Let the rows win that go into a new page, and no others, in the stored order. Return their number."""
    rows.choose(only_sound=False)
    merged = set(sources.small)
    total = 0
    for _key, group in groupby(enumerate(rows), key=lambda one: one[1].key):
        copies = list(group)
        chosen = _chosen(sources, [entry for _place, entry in copies], merged)
        for place, entry in copies:
            rows.let_win(place, entry is chosen)
        total += chosen is not None
    rows.sort_stored()
    return total


def _chosen(sources: Sources, copies: list[Entry], merged: set[int]) -> Entry | None:
    """Return, of all copies of an object, newest first, the one for a new page."""
    if all(entry.page not in merged for entry in copies):
        return None
    for entry in copies:
        if entry.page in merged:
            return entry
        # An object may be taken from an older page. An older copy of another value is a different value.
        if sources.raw or sources.is_sound(entry):
            return None
    return None


def _batches(rows: Rows) -> Iterator[list[Entry]]:
    """Yield the entries of each page, in the order in which they were set."""
    batch: list[Entry] = []
    size = 0
    for entry in rows:
        if not entry.wins:
            continue
        if batch and (len(batch) == CAPACITY or size + entry.size > DATA_MOST):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def _fill(sources: Sources, batch: list[Entry], writer: PageFileWriter) -> None:
    for entry in batch:
        writer.add(entry.key, "", sources.page(entry.page).value(entry))
