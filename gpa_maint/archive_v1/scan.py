"""Check every entry of every page of an archive, for verify and import. Change nothing.

No page and no entry is trusted. If header and file do not agree, all entries and data that the file may hold are
checked, and those count whose content belongs to their key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .._core.base import Progress
from .._core.v1 import BEHIND, Entry, PageFile, Rows
from ..base.progress import ReportProgress
from ..errors import Corrupt, DamagedArchive, SystemFailed
from .listing import Listing
from .rescue import Gap, Rescued
from .values import Finding, Unindexed

TITLE = "Checking objects"
SOUND = ("", "duplicate")
MISUSED = ("no-type", "bad-type", "wrong-id")
"""Faults of entries whose value is inside the page."""
DUPLICATE = "an earlier entry of the page has the same key"


class Scan:
    """The pages, numbered as in `names`, and their rows, which know who wins; read-only, open in a `with`.

    `pages[n]` is None where page n cannot be read at all. `rescued_pages` are those whose header is not believed, or
    whose index was not written as a whole.
    """

    def __init__(self, listing: Listing, names: tuple[str, ...], *, objects: bool) -> None:
        self.listing = listing
        self.names = names
        self.objects = objects
        self.pages: list[PageFile | None] = []
        self.rows = Rows(0)
        self.findings: list[Finding] = []
        self.rescued_pages: set[int] = set()
        self.gaps: list[Gap] = []
        self.entries = self.sound = self.winners = 0
        self._whole: dict[int, PageFile] = {}
        self._stack = ExitStack()

    @property
    def archive_bytes(self) -> int:
        return sum(page.size for page in self.pages if page is not None)

    def page(self, number: int) -> PageFile:
        """Return a page that has this row."""
        page = self.pages[number]
        assert page is not None
        return page

    def whole(self, number: int) -> PageFile:
        """Return the file with everything behind its data."""
        if number not in self._whole:
            page = PageFile(self.page(number).path, rescue=True)
            self._whole[number] = self._stack.enter_context(page)
        return self._whole[number]

    def object(self, entry: Entry) -> tuple[str, memoryview]:
        """Return type and content, valid while the scan is open. Raise DamagedArchive."""
        page = self.whole(entry.page) if entry.slot == BEHIND else self.page(entry.page)
        return page.object(entry)

    # -- Reading it all

    def open_pages(self) -> None:
        for number, name in enumerate(self.names):
            path = self.listing.path(name)
            try:
                page = self._stack.enter_context(PageFile(path))
                if page.is_torn:
                    raise DamagedArchive(
                        path, f"there are entries behind the {page.item_count} of its header", fault="torn"
                    )
                self.pages.append(page)
            except DamagedArchive as error:
                self.findings.append(Finding(name, error.fault, error.reason))
                self.pages.append(self._stack.enter_context(PageFile(path, rescue=True)))
                self.rescued_pages.add(number)
            except FileNotFoundError:
                self.findings.append(Finding(name, "missing", "the list names it, and it is not there"))
                self.pages.append(None)
            except (Corrupt, SystemFailed) as error:
                self.findings.append(Finding(name, "unreadable", str(error)))
                self.pages.append(None)

    def read_rows(self, report: ReportProgress | None, stop: Progress | None) -> None:
        total = sum(page.item_count for page in self.pages if page is not None)
        self.rows = Rows(total)
        for number, page in enumerate(self.pages):
            if page is None:
                continue
            self.rows.add_page(page, number, objects=self.objects, progress=stop)
            if report:
                report(TITLE, len(self.rows), total)
        self.winners = self.rows.choose(only_sound=True)

    def judge_rows(self) -> None:
        """Turn the faults of single entries into findings, in the order of the pages."""
        found: list[tuple[int, int, Finding]] = []
        empty: dict[int, int] = {}
        won = b""
        for entry in self.rows:
            won = entry.key if entry.wins else won
            self.sound += entry.fault in SOUND
            if entry.fault == "empty":
                empty[entry.page] = empty.get(entry.page, 0) + 1
            elif entry.fault:
                found.append((entry.page, entry.slot, self._finding(entry, lost=entry.key != won)))
        for number in empty.keys() - self.rescued_pages:
            reason = f"{empty[number]} of the {self.page(number).item_count} entries of its header are zeros"
            found.append((number, -1, Finding(self.names[number], "torn", reason)))
            self.rescued_pages.add(number)
        self.entries = len(self.rows) - sum(empty.values())
        self.findings += [finding for _page, _slot, finding in sorted(found, key=lambda one: one[:2])]

    def _finding(self, entry: Entry, *, lost: bool) -> Finding:
        return entry_finding(self.names[entry.page], self.page(entry.page), entry, objects=self.objects, lost=lost)

    def find_gaps(self) -> None:
        """Note the parts of each page's data that no entry names, and sort the rows as they are stored."""
        self.rows.sort_stored()
        ends = [0] * len(self.pages)
        for entry in self.rows:
            if self._covers(entry):
                self._add_gap(entry.page, ends[entry.page], entry.offset)
                ends[entry.page] = max(ends[entry.page], entry.offset + entry.size)
        for number, page in enumerate(self.pages):
            if page is not None:
                self._add_gap(number, ends[number], page.behind_size)

    def _covers(self, entry: Entry) -> bool:
        """Return whether the entry names these bytes, correctly or not."""
        return entry.fault in SOUND or (entry.page not in self.rescued_pages and entry.fault in MISUSED)

    def _add_gap(self, page: int, start: int, end: int) -> None:
        if start < end:
            self.gaps.append(Gap(page, start, end))

    def gap_content(self, gap: Gap) -> memoryview:
        """Return the bytes of a gap, valid while the scan is open."""
        return self.page(gap.page).behind(gap.start)[: gap.end - gap.start]

    def unindexed(self, rescued: Rescued | None = None) -> tuple[Unindexed, ...]:
        """Return the gaps of each page, and how much of them the rescued objects explain."""
        sizes, found = Counter[int](), Counter[int]()
        counts = Counter(entry.page for entry in rescued.entries) if rescued else Counter[int]()
        for gap in self.gaps:
            sizes[gap.page] += gap.end - gap.start
        for span in rescued.spans if rescued else ():
            found[span.page] += span.end - span.start
        return tuple(
            Unindexed(self.names[number], sizes[number], counts[number], found[number]) for number in sorted(sizes)
        )


def entry_finding(name: str, page: PageFile, entry: Entry, *, objects: bool, lost: bool) -> Finding:
    """Return a message about the fault of an entry."""
    reason = DUPLICATE
    try:
        _ = page.object(entry) if objects else page.value(entry)
    except DamagedArchive as error:
        reason = error.reason
    return Finding(name, entry.fault, reason, entry.key.hex(), lost)


@contextmanager
def scan_archive(
    listing: Listing,
    *,
    objects: bool = True,
    strays: bool = False,
    report: ReportProgress | None = None,
    stop: Progress | None = None,
) -> Iterator[Scan]:
    """Read everything. With `objects` values are git objects, whose content is compared with their keys.

    `strays` are read too if asked for, as if they were the oldest pages. Raises Stopped.
    """
    scan = Scan(listing, (*(listing.strays if strays else ()), *listing.names), objects=objects)
    with scan._stack:
        scan.open_pages()
        scan.read_rows(report, stop)
        scan.judge_rows()
        scan.find_gaps()
        yield scan
