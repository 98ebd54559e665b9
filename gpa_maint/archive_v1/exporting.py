"""Write a repository's objects into an archive, as pages that the original library reads.

The archive may exist: objects that it has are not written again, and only its list changes. Objects are hashed while
they are read, so no page gets content that does not belong to its key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from .. import fs
from .._core.v1 import CAPACITY, DATA_MOST, TYPE_SIZE, PageFileWriter
from ..base.progress import ReportProgress
from ..errors import GpaError
from ..repo.git import run_git
from ..store.page_store import PageStore
from .listing import Listing
from .pages import NewPage, drop_temporaries, write_archive_page, write_list
from .reader import Archive
from .values import ExportResult

TITLE = "Exporting objects"
AT_ONCE_BYTES = 16 << 20
"""Bytes of content in memory at a time; a larger object is copied in pieces."""
PIECE = 1 << 20

Batch = list[tuple[bytes, str, int]]
"""Raw id, type, size."""


def wanted_objects(path: str | None, store: PageStore, revs: Iterable[str], *, all_refs: bool) -> Iterable[bytes]:
    """Return the objects reachable from revisions (as for git rev-list) or all refs; without either, every object.

    Raises GitFailed.
    """
    words = list(revs)
    if not words and not all_refs:
        return store
    for word in words:
        if word.startswith("-"):
            raise GpaError(f"'{word}' is not a revision")
    options = ["rev-list", "--objects", "--no-object-names", *(["--all"] if all_refs else [])]
    answer = run_git([*options, *words, "--"], cwd=path)
    return map(bytes.fromhex, answer.split())


class Exporter:
    """Writes objects of a store as pages; `left_out` are ids (hex) of objects too large for any page."""

    def __init__(self, space: fs.TempFiles, store: PageStore, report: ReportProgress | None) -> None:
        self.left_out: list[str] = []
        self._space = space
        self._store = store
        self._report = report
        self._done = self._total = 0

    def write(self, oids: list[bytes]) -> list[NewPage]:
        self._total = len(oids)
        pages = []
        for batch in self._batches(oids):
            pages.append(write_archive_page(self._space, partial(self._fill, batch)))
            self._done += len(batch)
        if self._report and oids:
            self._report(TITLE, self._total, self._total)
        return pages

    def _batches(self, oids: Iterable[bytes]) -> Iterator[Batch]:
        batch: Batch = []
        size = 0
        for oid in oids:
            kind, object_size = self._store.info(oid)
            if object_size + TYPE_SIZE > DATA_MOST:
                self.left_out.append(oid.hex())
                continue
            if batch and (len(batch) == CAPACITY or size + object_size + TYPE_SIZE > DATA_MOST):
                yield batch
                batch, size = [], 0
            batch.append((oid, kind, object_size))
            size += object_size + TYPE_SIZE
        if batch:
            yield batch

    def _fill(self, batch: Batch, writer: PageFileWriter) -> None:
        for run in _runs(batch):
            if self._report:
                self._report(TITLE, self._done + writer.item_count, self._total)
            if run[0][2] > AT_ONCE_BYTES:
                self._stream(run[0][0], writer)
                continue
            found = self._store.read_many([oid for oid, _kind, _size in run])
            for (oid, _kind, _size), (kind, content) in zip(run, found, strict=True):
                writer.add(oid, kind, content)

    def _stream(self, oid: bytes, writer: PageFileWriter) -> None:
        with self._store.stream(oid) as stream:
            writer.begin(oid, stream.type, stream.size)
            while piece := stream.read(PIECE):
                writer.piece(piece)


def _runs(batch: Batch) -> Iterator[Batch]:
    """Yield neighbours that fit into memory together; a large object alone."""
    run: Batch = []
    size = 0
    for one in batch:
        if run and size + one[2] > AT_ONCE_BYTES:
            yield run
            run, size = [], 0
        run.append(one)
        size += one[2]
    if run:
        yield run


def export_objects(
    space: fs.TempFiles,
    listing: Listing,
    list_path: str,
    store: PageStore,
    oids: Iterable[bytes],
    report: ReportProgress | None,
) -> ExportResult:
    """Add the objects that the archive lacks, in pages behind the existing ones.

    1. pages: write, fsync, name                 a crash leaves temporary files and their second names
    2. fsync of the directory; second names go   a crash leaves pages that no list names; the next run makes them again
    3. list                                      done
    """
    with Archive(listing.directory, listing.names) as archive:
        wanted = list(oids)
        new = [oid for oid in wanted if oid not in archive]
    exporter = Exporter(space, store, report)
    pages = exporter.write(new)
    if pages:
        fs.fsync_dir(listing.directory)
        drop_temporaries(pages)
    names = tuple(page.info.name for page in pages if page.info.name not in listing.names)
    if names or not listing.list_path:
        write_list(list_path, (*listing.names, *names), listing.replaced)
    return ExportResult(
        directory=listing.directory,
        pages=tuple(page.info for page in pages),
        objects=sum(page.info.object_count for page in pages),
        present=len(wanted) - len(new),
        left_out=tuple(exporter.left_out),
    )
