"""Write an archive's git objects into a repository, as pages. The archive does not change.

I13: The id of each object is computed twice: in the scan of the archive, and from the bytes that are deflated. I3, I4:
See apply/pages.py. Each page gets its name as soon as it is finished. So an import after a killed one continues,
because existing objects are not imported again.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from .. import fs
from .._core.base import Progress
from .._core.merge import PageWriter
from .._core.v1 import Entry
from ..apply.pages import Page, publish_pages, write_page
from ..base.progress import ReportProgress
from ..base.tuples import NamedTuple
from ..errors import DamagedArchive, Unsupported
from ..model.results import PageInfo
from ..repo.git import run_git
from ..repo.objdir import ObjectDir
from ..store.page_store import PageStore
from .rescue import Rescued, references, rescue_objects
from .scan import Scan

TITLE = "Importing objects"
REPORT_EVERY = 64
RANKS = {"commit": 0, "tag": 1, "tree": 2, "blob": 3}
"""Order of the types in a page, as in git."""

Batch = list[Entry]


class ImportPlan(NamedTuple):
    """Objects that the repository lacks: indexes into the scan's rows, in the order of storage, and rescued ones.

    `explained`: objects found in bytes that no entry names. `present`: objects that both have.
    """

    places: Sequence[int]
    rescued: tuple[Entry, ...]
    explained: Rescued
    present: int

    @property
    def object_count(self) -> int:
        return len(self.places) + len(self.rescued)


def plan_import(scan: Scan, has: Callable[[bytes], bool], refs: Mapping[str, str], *, rescue: bool) -> ImportPlan:
    """Return the plan: one sound copy of each object that the repository lacks, and of each rescued object.

    A rescued object has no entry, but a ref or an object names it. With `rescue`, commits and tags that nothing names
    are taken too.
    """
    places = array("I")
    present = 0
    for place, entry in enumerate(scan.rows):
        if not entry.wins:
            continue
        if has(entry.key):
            present += 1
        else:
            places.append(place)
    gaps = ((gap, scan.gap_content(gap)) for gap in scan.gaps)
    explained = rescue_objects(gaps, partial(_named, scan, refs), unnamed=rescue)
    new = {entry.key: entry for entry in explained.entries}
    for entry in scan.rows if new else ():
        if entry.wins:
            new.pop(entry.key, None)
    rescued = tuple(entry for entry in new.values() if not has(entry.key))
    return ImportPlan(places, rescued, explained, present + len(new) - len(rescued))


def _named(scan: Scan, refs: Mapping[str, str], ids: Collection[bytes]) -> Iterator[bytes]:
    """Return those of `ids` that a ref or a sound object of the archive names. It reads all of them."""
    yield from (oid for oid in map(bytes.fromhex, refs.values()) if oid in ids)
    for entry in scan.rows:
        if entry.wins and entry.type != "blob":
            kind, content = scan.object(entry)
            yield from (oid for oid in references(kind, bytes(content)) if oid in ids)


def batches_of(scan: Scan, plan: ImportPlan, *, page_objects: int, page_bytes: int) -> Iterator[Batch]:
    """Yield the objects of each page: those that were stored together, in git's order.

    The sizes of the objects decide when a page is full. An object larger than a page gets a page of its own.
    """
    batch: Batch = []
    size = 0
    for entry in _entries(scan, plan):
        if batch and (len(batch) == page_objects or size + entry.size > page_bytes):
            yield sorted(batch, key=lambda one: RANKS[one.type])
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield sorted(batch, key=lambda one: RANKS[one.type])


def _entries(scan: Scan, plan: ImportPlan) -> Iterator[Entry]:
    yield from (scan.rows[place] for place in plan.places)
    yield from plan.rescued


class Importer:
    """Writes batches as pages; each is published and durable before the next is begun."""

    def __init__(
        self,
        objdir: ObjectDir,
        space: fs.Workspace,
        scan: Scan,
        *,
        path: str | None,
        delta: bool,
        report: ReportProgress | None,
        stop: Progress | None,
    ) -> None:
        """Set the repository `path`. With `delta`, git compresses each page with deltas."""
        self._objdir = objdir
        self._space = space
        self._scan = scan
        self._path = path
        self._delta = delta
        self._report = report
        self._stop = stop
        self._done = 0

    def write(self, batches: Iterable[Batch], total: int) -> tuple[PageInfo, ...]:
        """Return the pages. Raise DamagedArchive if an object has changed since the scan, or Stopped."""
        pages: list[PageInfo] = []
        for batch in batches:
            page = write_page(self._space, len(batch), partial(self._fill, batch, total))
            pages += self._publish_with_deltas(page, batch) if self._delta else self._publish(page)
            self._done += len(batch)
        if self._report and total:
            self._report(TITLE, total, total)
        return tuple(pages)

    def _publish(self, page: Page) -> tuple[PageInfo, ...]:
        return publish_pages(self._objdir, [page], newest_ns=0, hold=fs.Hold(is_new=True))

    def _fill(self, batch: Batch, total: int, pack: fs.TempFile, idx: fs.TempFile) -> str:
        settings = self._objdir.settings
        with PageWriter(
            pack.fd, pack.path, self._objdir.object_format, object_count=len(batch), level=settings.compression
        ) as writer:
            for number, entry in enumerate(batch):
                if self._report and number % REPORT_EVERY == 0:
                    self._report(TITLE, self._done + number, total)
                kind, content = self._scan.object(entry)
                writer.add(entry.key, kind, content, self._stop)
            return writer.finish(idx.fd)

    def _publish_with_deltas(self, page: Page, batch: Batch) -> tuple[PageInfo, ...]:
        """Let git make a pack of the same objects, with deltas, and publish that instead; it sees no other object."""
        # Without --no-reuse-delta git assumes that neighbours in a pack make no good deltas.
        options = ["-q", "--no-reuse-delta", "--delta-base-offset", f"--depth={self._objdir.settings.depth}"]
        with fs.private_objects(self._space, page.pack, page.idx, page.name) as objects:
            stem = f"{objects}/pack/delta"
            trailer = run_git(
                ["-c", "pack.packSizeLimit=0", "pack-objects", *options, stem],
                cwd=self._path,
                stdin="".join(f"{entry.key.hex()}\n" for entry in batch),
                objects=objects,
            ).strip()
            pack, idx = fs.adopt_pack(f"{stem}-{trailer}", self._objdir.settings.shared)
            size = os.path.getsize(pack.path)
            return self._publish(page._replace(name=f"pack-{trailer}", pack=pack, idx=idx, size=size))


def check_format(objdir: ObjectDir) -> None:
    if objdir.object_format != "sha1":
        raise Unsupported(f"a v1 archive holds SHA-1 objects, and the repository is {objdir.object_format}")


def refuse_hopeless(scan: Scan, plan: ImportPlan) -> None:
    """Raise the first finding if the archive has no sound object."""
    if scan.findings and not scan.sound and not plan.explained.entries:
        first = scan.findings[0]
        what = f"object {first.key}: {first.reason}" if first.key else first.reason
        raise DamagedArchive(scan.listing.path(first.page), what, fault=first.fault)


def open_store(objdir: ObjectDir) -> PageStore:
    return PageStore.open(objdir.objects, object_format=objdir.object_format)
